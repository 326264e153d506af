//! The objects of a tenant: stored once, each in a pack or in the journal itself.
//!
//! Guarantees: an object that comes again only becomes young again; one that was lost is here.

use std::collections::BTreeMap;

use super::{PackUse, Row, Tenant};
use crate::id::{ObjectId, ObjectKind};
use crate::service::Now;
use crate::service::record::{PackEntry, PackId, PackPlace, Payload, Place};

impl Tenant {
    /// Stores objects and returns their ids. One that is here already only becomes young again.
    pub(super) fn store(&mut self, payload: Payload, now: Now) -> Vec<ObjectId> {
        match payload {
            Payload::Inline(objects) => objects
                .into_iter()
                .map(|object| {
                    self.store_inline(object.kind, object.id, object.bytes, now);
                    object.id
                })
                .collect(),
            Payload::Packed(pack, entries) => {
                self.note_pack(pack, &entries);
                for entry in &entries {
                    self.lost.remove(&entry.id);
                    let row = self.objects.entry(entry.id).or_insert_with(|| Row {
                        kind: entry.kind,
                        bytes: entry.bytes,
                        place: Place::Pack(place_of(pack, entry)),
                        born: now,
                    });
                    row.born = now;
                }
                entries.into_iter().map(|e| e.id).collect()
            }
        }
    }

    pub(super) fn store_inline(
        &mut self,
        kind: ObjectKind,
        id: ObjectId,
        bytes: Vec<u8>,
        now: Now,
    ) {
        self.lost.remove(&id);
        let row = self.objects.entry(id).or_insert_with(|| Row {
            kind,
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            place: Place::Inline(bytes),
            born: now,
        });
        row.born = now;
    }

    pub(super) fn note_pack(&mut self, pack: PackId, entries: &[PackEntry]) {
        let bytes = entries.iter().map(|e| u64::from(e.bytes)).sum();
        self.packs.insert(pack, bytes);
    }
}

/// Returns the use of the pack that a row is in.
pub(super) fn used<'u>(
    uses: &'u mut BTreeMap<PackId, PackUse>,
    row: &Row,
) -> Option<&'u mut PackUse> {
    let Place::Pack(PackPlace { pack, .. }) = row.place else {
        return None;
    };
    Some(uses.entry(pack).or_insert_with(|| PackUse::unused(pack, 0)))
}

/// Returns where a footer says that its object is.
pub(super) fn place_of(pack: PackId, entry: &PackEntry) -> PackPlace {
    PackPlace {
        pack,
        offset: entry.offset,
        bytes: entry.bytes,
    }
}
