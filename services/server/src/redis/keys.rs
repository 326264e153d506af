//! Every key and channel in Redis, and which hash tag it carries.
//!
//! ```text
//! PREFIX:{pNN.x}:trees                    set of "tenant/name": the trees of this partition
//! PREFIX:{pNN.x}:wake                     sharded channel: wake-ups of this partition, and probes
//! PREFIX:{pNN.x}:head:TENANT/NAME         hash epoch, seq, ref, gen (counts what was taken from the tree), bytes (of
//!                                         what is complete)
//! PREFIX:{pNN.x}:log:TENANT/NAME          stream SEQ-0 -> r: ref | committed ms u64 BE | encoded revision
//! PREFIX:{pNN.x}:lineage:TENANT/NAME      hash ref -> seq
//! PREFIX:{pNN.x}:complete:TENANT/NAME     hash id -> "marked ms:bytes"
//! PREFIX:{pNN.x}:policy:TENANT/NAME       policy as JSON
//! PREFIX:{pNN.x}:uploads:TENANT/NAME      hash upload -> expires ms
//! PREFIX:{pNN.x}:upload.N:TENANT/NAME     set of ids that upload N holds
//! PREFIX:{t.TENANT}:packs                 hash pack -> bytes
//! PREFIX:{t.TENANT}:doomed                hash pack -> since ms
//! PREFIX:{o.TENANT.NN}:index              hash id -> row (`journal/rows.rs`)
//! PREFIX:{o.TENANT.NN}:lost               hash id -> row whose place was found empty
//! PREFIX:{o.TENANT.NN}:inline             hash id -> body of an object that is in no pack yet
//! PREFIX:{o.TENANT.NN}:bytes              bytes in `inline`
//! PREFIX:{meta}:cluster                   number of the service, the same as in its blob store
//! PREFIX:{meta}:collector                 token of the replica that collects garbage
//! PREFIX:{meta}:revoked                   hash who (`auth/revoked.rs`) -> since ms
//! PREFIX:{meta}:revoked.version           counts the changes of `revoked`
//! PREFIX:{meta}:probe                     written and removed at start, to see that scripts may
//! PREFIX:b:PATH, PREFIX:{b.DIR}:names, PREFIX:{b}:dirs    contents, see `blobs/redis.rs`
//! ```
//!
//! Guarantees: all keys of a tree and its channel are in one slot of a Cluster; partitions are
//! spread evenly over all slots, so that any number of masters gets an even share; a tenant's
//! object index is spread over [`SHARDS`] slots by id, in the order of ids.

use std::sync::LazyLock;

use fred::util::redis_keyslot;
use fsync_core::id::ObjectId;
use fsync_core::label::{TenantName, TreeKey};
use fsync_core::service::record::UploadId;

/// Partitions of all trees: enough for an even share on any Cluster, few enough that a replica may
/// listen to all.
pub(crate) const PARTITIONS: u16 = 128;
/// Parts of a tenant's object index.
pub(crate) const SHARDS: u8 = 32;
const SLOTS: u16 = 16_384;

/// The partition of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Partition(u16);

impl Partition {
    /// Returns the partition that a tree is in.
    pub(crate) fn of(tree: &TreeKey) -> Self {
        Self(redis_keyslot(tree.to_string().as_bytes()) % PARTITIONS)
    }

    /// Returns all partitions.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS).map(Self)
    }

    /// Returns the partition of any number.
    pub(crate) fn nth(number: u64) -> Self {
        Self(u16::try_from(number % u64::from(PARTITIONS)).unwrap_or_default())
    }

    fn tag(self) -> &'static str {
        &TAGS[usize::from(self.0)]
    }
}

/// For each partition a tag whose slot lies in the partition's own run of slots.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let run = SLOTS / PARTITIONS;
    let tag = |partition: u16| {
        let mut tags = (0u32..).map(|n| format!("p{partition}.{n}"));
        let is_in_run = |tag: &String| redis_keyslot(tag.as_bytes()) / run == partition;
        tags.find(is_in_run).unwrap_or_default()
    };
    (0..PARTITIONS).map(tag).collect()
});

/// A part of a tenant's object index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shard(u8);

impl Shard {
    /// Returns the shard of an object; shards are in the order of their ids.
    pub(crate) fn of(id: &ObjectId) -> Self {
        Self(id.as_bytes()[0] / (u8::MAX / SHARDS + 1))
    }

    /// Returns all shards, in the order of their ids.
    pub(crate) fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..SHARDS).map(Self)
    }
}

/// The keys of one service; another prefix is another service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, tag: &str, rest: &str) -> String {
        format!("{}:{{{tag}}}:{rest}", self.prefix)
    }

    fn of_tree(&self, tree: &TreeKey, what: &str) -> String {
        let tag = Partition::of(tree).tag();
        format!("{}:{{{tag}}}:{what}:{tree}", self.prefix)
    }

    fn of_tenant(&self, tenant: &TenantName, what: &str) -> String {
        self.key(&format!("t.{tenant}"), what)
    }

    fn of_shard(&self, tenant: &TenantName, shard: Shard, what: &str) -> String {
        self.key(&format!("o.{tenant}.{}", shard.0), what)
    }

    pub(crate) fn trees(&self, partition: Partition) -> String {
        self.key(partition.tag(), "trees")
    }

    pub(crate) fn wake(&self, partition: Partition) -> String {
        self.key(partition.tag(), "wake")
    }

    pub(crate) fn head(&self, tree: &TreeKey) -> String {
        self.of_tree(tree, "head")
    }

    pub(crate) fn log(&self, tree: &TreeKey) -> String {
        self.of_tree(tree, "log")
    }

    pub(crate) fn lineage(&self, tree: &TreeKey) -> String {
        self.of_tree(tree, "lineage")
    }

    pub(crate) fn complete(&self, tree: &TreeKey) -> String {
        self.of_tree(tree, "complete")
    }

    pub(crate) fn policy(&self, tree: &TreeKey) -> String {
        self.of_tree(tree, "policy")
    }

    pub(crate) fn uploads(&self, tree: &TreeKey) -> String {
        self.of_tree(tree, "uploads")
    }

    pub(crate) fn upload(&self, tree: &TreeKey, upload: UploadId) -> String {
        self.of_tree(tree, &format!("upload.{}", upload.0))
    }

    pub(crate) fn packs(&self, tenant: &TenantName) -> String {
        self.of_tenant(tenant, "packs")
    }

    pub(crate) fn doomed(&self, tenant: &TenantName) -> String {
        self.of_tenant(tenant, "doomed")
    }

    pub(crate) fn index(&self, tenant: &TenantName, shard: Shard) -> String {
        self.of_shard(tenant, shard, "index")
    }

    pub(crate) fn lost(&self, tenant: &TenantName, shard: Shard) -> String {
        self.of_shard(tenant, shard, "lost")
    }

    pub(crate) fn inline(&self, tenant: &TenantName, shard: Shard) -> String {
        self.of_shard(tenant, shard, "inline")
    }

    pub(crate) fn inline_bytes(&self, tenant: &TenantName, shard: Shard) -> String {
        self.of_shard(tenant, shard, "bytes")
    }

    pub(crate) fn blob(&self, path: &str) -> String {
        format!("{}:b:{path}", self.prefix)
    }

    pub(crate) fn blob_names(&self, dir: &str) -> String {
        self.key(&format!("b.{dir}"), "names")
    }

    pub(crate) fn blob_dirs(&self) -> String {
        self.key("b", "dirs")
    }

    pub(crate) fn collector(&self) -> String {
        self.key("meta", "collector")
    }

    pub(crate) fn cluster(&self) -> String {
        self.key("meta", "cluster")
    }

    pub(crate) fn revoked(&self) -> String {
        self.key("meta", "revoked")
    }

    pub(crate) fn revoked_version(&self) -> String {
        self.key("meta", "revoked.version")
    }

    pub(crate) fn probe(&self) -> String {
        self.key("meta", "probe")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_tree_and_its_channel_share_a_slot() {
        let keys = Keys::new("fsync");
        let tree: TreeKey = "team/docs".parse().unwrap();
        let slots = [
            keys.head(&tree),
            keys.log(&tree),
            keys.lineage(&tree),
            keys.complete(&tree),
            keys.uploads(&tree),
            keys.upload(&tree, UploadId(7)),
            keys.trees(Partition::of(&tree)),
            keys.wake(Partition::of(&tree)),
        ]
        .map(|key| redis_keyslot(key.as_bytes()));
        assert!(slots.iter().all(|slot| *slot == slots[0]), "{slots:?}");
    }

    #[test]
    fn partitions_are_an_even_share_of_any_cluster() {
        let slots = Partition::all().map(|p| redis_keyslot(p.tag().as_bytes()));
        let runs: Vec<u16> = slots.map(|slot| slot / (SLOTS / PARTITIONS)).collect();
        assert_eq!(runs, (0..PARTITIONS).collect::<Vec<_>>());
    }

    #[test]
    fn keys_never_change_once_they_are_stored() {
        let keys = Keys::new("fsync");
        let tree: TreeKey = "team/docs".parse().unwrap();
        let tenant = tree.tenant.clone();
        assert_eq!(keys.head(&tree), "fsync:{p43.40}:head:team/docs");
        let shard = Shard::of(&ObjectId::from_bytes([0xff; 32]));
        assert_eq!(keys.index(&tenant, shard), "fsync:{o.team.31}:index");
    }
}
