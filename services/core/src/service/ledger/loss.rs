//! Objects whose places were found empty: they are lacking, but owed to the trees that they are
//! complete for.

use super::{Ledger, Row};
use crate::id::ObjectId;
use crate::label::{TenantName, TreeKey};
use crate::service::record::{Loss, Place};

impl Ledger {
    /// Forgets places that were found empty, unless an object stands elsewhere by now; returns how
    /// many.
    ///
    /// The objects are lacking from then on; storing one again gives it back to all trees that it
    /// is complete for.
    pub fn lose(&mut self, tenant: &TenantName, losses: &[Loss]) -> u64 {
        let Some(state) = self.tenants.get_mut(tenant) else {
            return 0;
        };
        let is_lost = |id: &ObjectId, row: &Row| match row.place {
            Place::Inline(_) => false,
            Place::Pack(place) => losses.iter().any(|loss| match loss {
                Loss::Pack(pack) => *pack == place.pack,
                Loss::Object(lost, at) => lost == id && *at == place,
            }),
        };
        let lost: Vec<(ObjectId, Row)> = state
            .objects
            .extract_if(.., |id, row| is_lost(id, row))
            .collect();
        let count = lost.len() as u64;
        state.lost.extend(lost);
        state.generation += u64::from(count > 0);
        count
    }

    /// Returns up to `limit` lost objects that are complete for a tree, from `from` on in order of
    /// ids and round.
    pub fn lost(&self, tree: &TreeKey, from: ObjectId, limit: usize) -> Vec<ObjectId> {
        let (Some(tenant), Some(state)) = (self.tenants.get(&tree.tenant), self.trees.get(tree))
        else {
            return Vec::new();
        };
        let rows = tenant.lost.range(from..).chain(tenant.lost.range(..from));
        let owed = rows.filter(|(id, _)| state.complete.contains_key(id));
        owed.map(|(id, _)| *id).take(limit).collect()
    }

    /// Returns those of `ids` that are complete for a tree, whether they are here or lost.
    pub fn owned(&self, tree: &TreeKey, ids: &[ObjectId]) -> Vec<ObjectId> {
        let Some(state) = self.trees.get(tree) else {
            return Vec::new();
        };
        let owned = ids.iter().filter(|id| state.complete.contains_key(id));
        owned.copied().collect()
    }
}
