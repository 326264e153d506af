//! The tables of the redb journal, and how rows are encoded.
//!
//! Trees and tenants are numbered, so that the many rows carry four bytes of them instead of a
//! name.
//!
//! ```text
//! meta            name                    -> number (version, next tree, next tenant, inline bytes, cluster high, cluster low,
//!                                            revocations)
//! trees           "tenant/name"           -> (tree, tenant)
//! tenants         "tenant"                -> (tenant, generation)
//! heads           tree                    -> (epoch, seq, ref)
//! lineage         tree ref                -> seq
//! revisions       (tree, seq)             -> ref | committed ms u64 BE | encoded revision
//! objects         tenant id               -> kind u8 | bytes u32 LE | born ms u64 LE [| pack u128 LE | offset u32 LE]
//! lost            tenant id               -> row of `objects` whose place was found empty
//! inline          tenant id               -> body of an object that is in no pack yet
//! complete        tree id                 -> (marked ms, bytes)
//! usage           tree                    -> (bytes, objects) of `complete`
//! policies        "tenant/name"           -> policy as JSON
//! packs           (tenant, pack)          -> bytes
//! doomed          (tenant, pack)          -> since ms
//! uploads         upload                  -> (tree, expires ms)
//! upload_objects  upload id               -> ()
//! revoked         who (`auth/revoked.rs`) -> since ms
//! ```

use ::redb::{ReadableTable, Table, TableDefinition, WriteTransaction};
use fsync_core::admin::Policy;
use fsync_core::id::{ID_BYTES, ObjectId, RevisionId};
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::record::Usage;
use fsync_core::wire::{Epoch, Head, Seq};

use super::{JournalError, failed, store_error};
use crate::cluster::ClusterId;
use crate::journal::rows::ObjectRow;

/// A tree's or tenant's number, then an id.
pub(super) const OWNED_ID_BYTES: usize = 4 + ID_BYTES;
/// An upload's number, then an id.
pub(super) const UPLOAD_ID_BYTES: usize = 8 + ID_BYTES;
/// Version of these tables; another one is not opened.
const VERSION: u64 = 2;

pub(super) type OwnedId = &'static [u8; OWNED_ID_BYTES];

pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(super) const TREES: TableDefinition<'_, &str, (u32, u32)> = TableDefinition::new("trees");
pub(super) const TENANTS: TableDefinition<'_, &str, (u32, u64)> = TableDefinition::new("tenants");
pub(super) const HEADS: TableDefinition<'_, u32, (u64, u64, &[u8; ID_BYTES])> =
    TableDefinition::new("heads");
pub(super) const LINEAGE: TableDefinition<'_, OwnedId, u64> = TableDefinition::new("lineage");
pub(super) const REVISIONS: TableDefinition<'_, (u32, u64), &[u8]> =
    TableDefinition::new("revisions");
pub(super) const OBJECTS: TableDefinition<'_, OwnedId, &[u8]> = TableDefinition::new("objects");
pub(super) const LOST: TableDefinition<'_, OwnedId, &[u8]> = TableDefinition::new("lost");
pub(super) const INLINE: TableDefinition<'_, OwnedId, &[u8]> = TableDefinition::new("inline");
pub(super) const COMPLETE: TableDefinition<'_, OwnedId, (u64, u32)> =
    TableDefinition::new("complete");
pub(super) const USAGE: TableDefinition<'_, u32, (u64, u64)> = TableDefinition::new("usage");
pub(super) const POLICIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("policies");
pub(super) const PACKS: TableDefinition<'_, (u32, u128), u64> = TableDefinition::new("packs");
pub(super) const DOOMED: TableDefinition<'_, (u32, u128), u64> = TableDefinition::new("doomed");
pub(super) const UPLOADS: TableDefinition<'_, u64, (u32, u64)> = TableDefinition::new("uploads");
pub(super) const UPLOAD_OBJECTS: TableDefinition<'_, &[u8; UPLOAD_ID_BYTES], ()> =
    TableDefinition::new("upload_objects");
pub(super) const REVOKED: TableDefinition<'_, &str, u64> = TableDefinition::new("revoked");

/// How often the list of revocations changed.
pub(super) const REVOCATIONS: &str = "revocations";
/// Bytes of objects that are in no pack yet.
pub(super) const INLINE_BYTES: &str = "inline bytes";
/// Both halves of the number of the service that the journal belongs to.
pub(super) const CLUSTER: [&str; 2] = ["cluster high", "cluster low"];
const NEXT_TREE: &str = "next tree";
const NEXT_TENANT: &str = "next tenant";

/// All tables of one write transaction.
pub(super) struct Tables<'t> {
    pub(super) meta: Table<'t, &'static str, u64>,
    pub(super) trees: Table<'t, &'static str, (u32, u32)>,
    pub(super) tenants: Table<'t, &'static str, (u32, u64)>,
    pub(super) heads: Table<'t, u32, (u64, u64, &'static [u8; ID_BYTES])>,
    pub(super) lineage: Table<'t, OwnedId, u64>,
    pub(super) revisions: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) objects: Table<'t, OwnedId, &'static [u8]>,
    pub(super) lost: Table<'t, OwnedId, &'static [u8]>,
    pub(super) inline: Table<'t, OwnedId, &'static [u8]>,
    pub(super) complete: Table<'t, OwnedId, (u64, u32)>,
    pub(super) usage: Table<'t, u32, (u64, u64)>,
    pub(super) policies: Table<'t, &'static str, &'static [u8]>,
    pub(super) packs: Table<'t, (u32, u128), u64>,
    pub(super) doomed: Table<'t, (u32, u128), u64>,
    pub(super) uploads: Table<'t, u64, (u32, u64)>,
    pub(super) upload_objects: Table<'t, &'static [u8; UPLOAD_ID_BYTES], ()>,
    pub(super) revoked: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, JournalError> {
        Ok(Self {
            meta: transaction.open_table(META).map_err(store_error)?,
            trees: transaction.open_table(TREES).map_err(store_error)?,
            tenants: transaction.open_table(TENANTS).map_err(store_error)?,
            heads: transaction.open_table(HEADS).map_err(store_error)?,
            lineage: transaction.open_table(LINEAGE).map_err(store_error)?,
            revisions: transaction.open_table(REVISIONS).map_err(store_error)?,
            objects: transaction.open_table(OBJECTS).map_err(store_error)?,
            lost: transaction.open_table(LOST).map_err(store_error)?,
            inline: transaction.open_table(INLINE).map_err(store_error)?,
            complete: transaction.open_table(COMPLETE).map_err(store_error)?,
            usage: transaction.open_table(USAGE).map_err(store_error)?,
            policies: transaction.open_table(POLICIES).map_err(store_error)?,
            packs: transaction.open_table(PACKS).map_err(store_error)?,
            doomed: transaction.open_table(DOOMED).map_err(store_error)?,
            uploads: transaction.open_table(UPLOADS).map_err(store_error)?,
            upload_objects: transaction
                .open_table(UPLOAD_OBJECTS)
                .map_err(store_error)?,
            revoked: transaction.open_table(REVOKED).map_err(store_error)?,
        })
    }

    /// Gives the journal a number unless it has one; returns what it has then.
    pub(super) fn join(&mut self, cluster: ClusterId) -> Result<ClusterId, JournalError> {
        let [high, low] = CLUSTER;
        if let Some(found) = cluster_of(self.number(high)?, self.number(low)?) {
            return Ok(found);
        }
        let bytes = cluster.0.to_be_bytes();
        for (name, half) in CLUSTER.into_iter().zip(bytes.chunks_exact(8)) {
            let half = half.try_into().map(u64::from_be_bytes);
            self.set_number(name, half.unwrap_or_default())?;
        }
        Ok(cluster)
    }

    /// Returns how much is stored for a tree.
    pub(super) fn usage(&self, tree: u32) -> Result<Usage, JournalError> {
        let row = self.usage.get(tree).map_err(store_error)?;
        Ok(row.map_or(Usage::default(), |row| usage_row(row.value())))
    }

    /// Notes how much is stored for a tree.
    pub(super) fn set_usage(&mut self, tree: u32, usage: Usage) -> Result<(), JournalError> {
        let row = (usage.bytes, usage.objects);
        self.usage.insert(tree, row).map_err(store_error)?;
        Ok(())
    }

    /// Sets or removes a tree's policy.
    pub(super) fn set_policy(
        &mut self,
        tree: &TreeKey,
        policy: Option<&Policy>,
    ) -> Result<(), JournalError> {
        let name = tree.to_string();
        match policy {
            Some(policy) => {
                let json = serde_json::to_vec(policy);
                let json = json.map_err(|e| failed(&format!("a policy does not encode: {e}")))?;
                self.policies
                    .insert(name.as_str(), json.as_slice())
                    .map_err(store_error)?;
            }
            None => {
                self.policies.remove(name.as_str()).map_err(store_error)?;
            }
        }
        Ok(())
    }

    /// Writes the version of a new journal; refuses one of another version.
    pub(super) fn check_version(mut self) -> Result<(), JournalError> {
        match self.number("version")? {
            0 => self.set_number("version", VERSION),
            VERSION => Ok(()),
            other => Err(failed(&format!(
                "it has version {other}, this program reads version {VERSION}: use the program that wrote it"
            ))),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, JournalError> {
        let value = self.meta.get(name).map_err(store_error)?;
        Ok(value.map_or(0, |v| v.value()))
    }

    pub(super) fn set_number(&mut self, name: &str, value: u64) -> Result<(), JournalError> {
        self.meta.insert(name, value).map_err(store_error)?;
        Ok(())
    }

    /// Returns a tenant's number and generation, making it if it is new.
    pub(super) fn tenant(&mut self, name: &TenantName) -> Result<(u32, u64), JournalError> {
        if let Some(row) = self.tenants.get(name.as_str()).map_err(store_error)? {
            return Ok(row.value());
        }
        let number = self.take_number(NEXT_TENANT)?;
        self.tenants
            .insert(name.as_str(), (number, 0))
            .map_err(store_error)?;
        Ok((number, 0))
    }

    /// Raises a tenant's generation: what was admitted before it may be gone.
    pub(super) fn raise_generation(&mut self, name: &TenantName) -> Result<(), JournalError> {
        let (number, generation) = self.tenant(name)?;
        self.tenants
            .insert(name.as_str(), (number, generation + 1))
            .map_err(store_error)?;
        Ok(())
    }

    /// Returns a tree's and its tenant's numbers, making them if they are new.
    pub(super) fn tree(&mut self, key: &TreeKey) -> Result<(u32, u32), JournalError> {
        let name = key.to_string();
        if let Some(row) = self.trees.get(name.as_str()).map_err(store_error)? {
            return Ok(row.value());
        }
        let (tenant, _) = self.tenant(&key.tenant)?;
        let tree = self.take_number(NEXT_TREE)?;
        self.trees
            .insert(name.as_str(), (tree, tenant))
            .map_err(store_error)?;
        Ok((tree, tenant))
    }

    fn take_number(&mut self, name: &str) -> Result<u32, JournalError> {
        let number = self.number(name)?;
        self.set_number(name, number + 1)?;
        u32::try_from(number).map_err(|e| failed(&format!("too many of {name}: {e}")))
    }
}

/// Reads a row of `usage`.
pub(super) fn usage_row((bytes, objects): (u64, u64)) -> Usage {
    Usage { bytes, objects }
}

/// Reads a row of `heads`.
pub(super) fn head_row((epoch, seq, id): (u64, u64, &[u8; ID_BYTES])) -> Head {
    Head {
        epoch: Epoch(epoch),
        seq: Seq(seq),
        revision: RevisionId::from_bytes(*id),
    }
}

/// Joins an owner's number and an object's id into a key.
pub(super) fn object_key(owner: u32, id: &ObjectId) -> [u8; OWNED_ID_BYTES] {
    owned(owner, id.as_bytes())
}

/// Joins a tree's number and a revision's id into a key.
pub(super) fn revision_key(tree: u32, id: &RevisionId) -> [u8; OWNED_ID_BYTES] {
    owned(tree, id.as_bytes())
}

fn owned(owner: u32, id: &[u8; ID_BYTES]) -> [u8; OWNED_ID_BYTES] {
    let mut key = [0; OWNED_ID_BYTES];
    key[..4].copy_from_slice(&owner.to_be_bytes());
    key[4..].copy_from_slice(id);
    key
}

/// Returns first and last key of an owner.
pub(super) fn owner_range(owner: u32) -> ([u8; OWNED_ID_BYTES], [u8; OWNED_ID_BYTES]) {
    (
        owned(owner, &[0; ID_BYTES]),
        owned(owner, &[0xff; ID_BYTES]),
    )
}

/// A row of `objects` or `lost` with its key.
pub(super) type KeyedRow = ([u8; OWNED_ID_BYTES], ObjectRow);

/// Returns a tenant's rows of `objects` or `lost`.
pub(super) fn rows_of(
    table: &impl ReadableTable<OwnedId, &'static [u8]>,
    tenant: u32,
) -> Result<impl Iterator<Item = Result<KeyedRow, JournalError>>, JournalError> {
    let (first, last) = owner_range(tenant);
    let rows = table
        .range::<&[u8; OWNED_ID_BYTES]>(&first..=&last)
        .map_err(store_error)?;
    Ok(rows.map(|row| {
        let (key, row) = row.map_err(store_error)?;
        Ok((*key.value(), ObjectRow::decode(row.value())?))
    }))
}

/// Returns the owner in a key.
pub(super) fn owner_of(key: &[u8; OWNED_ID_BYTES]) -> u32 {
    u32::from_be_bytes([key[0], key[1], key[2], key[3]])
}

/// Returns the id in a key.
pub(super) fn id_of(key: &[u8; OWNED_ID_BYTES]) -> ObjectId {
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&key[4..]);
    ObjectId::from_bytes(id)
}

/// Joins an upload's number and an object's id into a key.
pub(super) fn upload_key(upload: u64, id: &[u8; ID_BYTES]) -> [u8; UPLOAD_ID_BYTES] {
    let mut key = [0; UPLOAD_ID_BYTES];
    key[..8].copy_from_slice(&upload.to_be_bytes());
    key[8..].copy_from_slice(id);
    key
}

/// Returns first and last key of an upload.
pub(super) fn upload_range(upload: u64) -> ([u8; UPLOAD_ID_BYTES], [u8; UPLOAD_ID_BYTES]) {
    (
        upload_key(upload, &[0; ID_BYTES]),
        upload_key(upload, &[0xff; ID_BYTES]),
    )
}

/// Returns the object in an upload's key.
pub(super) fn uploaded_id(key: &[u8; UPLOAD_ID_BYTES]) -> ObjectId {
    let mut id = [0; ID_BYTES];
    id.copy_from_slice(&key[8..]);
    ObjectId::from_bytes(id)
}

/// Returns the number whose halves these are; a journal that has none has zeros.
pub(super) fn cluster_of(high: u64, low: u64) -> Option<ClusterId> {
    let number = u128::from(high) << u64::BITS | u128::from(low);
    (number != 0).then_some(ClusterId(number))
}
