//! The object index: rows of a tenant's objects, spread over shards by id.
//!
//! Guarantees: an object that is there stays where it is and only becomes young again; what was
//! lost is there again once it is stored.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use fsync_core::id::{ObjectId, ObjectKind};
use fsync_core::label::TenantName;
use fsync_core::nodes::NewNodes;
use fsync_core::service::Now;
use fsync_core::service::record::{PackEntry, PackId, Payload, Place};
use futures_util::future::try_join_all;

use super::{CALL_OBJECTS, JournalError, Shared, damaged};
use crate::journal::rows::ObjectRow;
use crate::redis::keys::Shard;
use crate::redis::script::{LOCATE, REPOINT, STORE};
use crate::redis::{bytes, decimal, list, pairs};

/// An object with its row, and its body if it is inline.
type Entry = (ObjectId, ObjectRow, Bytes);

impl Shared {
    /// Stores objects and notes their packs.
    pub(super) async fn store(
        &self,
        tenant: &TenantName,
        payloads: impl Iterator<Item = &Payload>,
        now: Now,
    ) -> Result<(), JournalError> {
        let mut entries = Vec::new();
        for payload in payloads {
            match payload {
                Payload::Inline(objects) => entries.extend(
                    objects
                        .iter()
                        .map(|object| inline((object.kind, object.id, &object.bytes), now)),
                ),
                Payload::Packed(pack, packed) => {
                    self.note_pack(tenant, *pack, packed).await?;
                    entries.extend(packed.iter().map(|entry| {
                        let row = ObjectRow {
                            kind: entry.kind,
                            bytes: entry.bytes,
                            born: now,
                            pack: Some((*pack, entry.offset)),
                        };
                        (entry.id, row, Bytes::new())
                    }));
                }
            }
        }
        self.put(tenant, entries).await
    }

    /// Stores nodes that merges made.
    pub(super) async fn store_made(
        &self,
        tenant: &TenantName,
        made: &NewNodes,
        now: Now,
    ) -> Result<(), JournalError> {
        let entries = made.iter().map(|made| inline(made, now)).collect();
        self.put(tenant, entries).await
    }

    async fn put(&self, tenant: &TenantName, entries: Vec<Entry>) -> Result<(), JournalError> {
        let mut shards: BTreeMap<Shard, Vec<Bytes>> = BTreeMap::new();
        for (id, row, body) in entries {
            let args = shards.entry(Shard::of(&id)).or_default();
            args.extend([id_arg(&id), Bytes::from(row.encode()), body]);
        }
        let keys = self.redis.keys();
        let calls = chunked(&shards, 3).map(async |(shard, args)| {
            let touched = vec![
                keys.index(tenant, shard),
                keys.lost(tenant, shard),
                keys.inline(tenant, shard),
                keys.inline_bytes(tenant, shard),
            ];
            self.redis.run(&STORE, touched, args).await
        });
        try_join_all(calls).await?;
        Ok(())
    }

    pub(super) async fn places(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<(ObjectKind, Place)>>, JournalError> {
        let found = self.located(tenant, ids).await?;
        let place = |(row, body): (ObjectRow, Option<Bytes>)| match (row.place(), body) {
            (Some(place), _) => Some((row.kind, Place::Pack(place))),
            (None, Some(body)) => Some((row.kind, Place::Inline(body.into()))),
            (None, None) => None,
        };
        Ok(found
            .into_iter()
            .map(|found| found.and_then(place))
            .collect())
    }

    /// Returns the rows of objects, in the order asked.
    pub(super) async fn rows(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<ObjectRow>>, JournalError> {
        let parts = parts_of(ids);
        let calls = parts.iter().map(|(shard, at)| {
            let key = self.redis.keys().index(tenant, *shard);
            self.redis.call("HMGET", key, asked(ids, at))
        });
        let mut rows = vec![None; ids.len()];
        for ((_, at), found) in parts.iter().zip(try_join_all(calls).await?) {
            for (at, row) in at.iter().zip(list(found)) {
                rows[*at] = bytes(row).map(|row| ObjectRow::decode(&row)).transpose()?;
            }
        }
        Ok(rows)
    }

    async fn located(
        &self,
        tenant: &TenantName,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<(ObjectRow, Option<Bytes>)>>, JournalError> {
        let parts = parts_of(ids);
        let calls = parts.iter().map(|(shard, at)| {
            let keys = self.redis.keys();
            let touched = vec![keys.index(tenant, *shard), keys.inline(tenant, *shard)];
            self.redis.run(&LOCATE, touched, asked(ids, at))
        });
        let mut rows = vec![None; ids.len()];
        for ((_, at), found) in parts.iter().zip(try_join_all(calls).await?) {
            for (at, (row, body)) in at.iter().zip(pairs(found)) {
                let row = bytes(row).map(|row| ObjectRow::decode(&row)).transpose()?;
                rows[*at] = row.map(|row| (row, bytes(body)));
            }
        }
        Ok(rows)
    }

    /// Points objects that are still at `from` to their places in a new pack.
    pub(super) async fn point_to(
        &self,
        tenant: &TenantName,
        from: Option<PackId>,
        (pack, entries): (PackId, &[PackEntry]),
    ) -> Result<(), JournalError> {
        // Noted first: a collector that sees places in an unknown pack would take its file.
        self.note_pack(tenant, pack, entries).await?;
        let mut shards: BTreeMap<Shard, Vec<Bytes>> = BTreeMap::new();
        for entry in entries {
            let mut place = BytesMut::new();
            place.put_u128_le(pack.0);
            place.put_u32_le(entry.offset);
            let args = shards.entry(Shard::of(&entry.id)).or_default();
            args.extend([id_arg(&entry.id), place.freeze()]);
        }
        let keys = self.redis.keys();
        let from = from.map_or_else(Bytes::new, |pack| {
            Bytes::copy_from_slice(&pack.0.to_le_bytes())
        });
        let calls = chunked(&shards, 2).map(async |(shard, mut args)| {
            let touched = vec![
                keys.index(tenant, shard),
                keys.inline(tenant, shard),
                keys.inline_bytes(tenant, shard),
            ];
            args.insert(0, from.clone());
            self.redis.run(&REPOINT, touched, args).await
        });
        try_join_all(calls).await?;
        Ok(())
    }

    /// Reads a whole hash, in steps that never hold Redis up.
    pub(super) async fn scan(&self, key: String) -> Result<Vec<(Bytes, Bytes)>, JournalError> {
        let mut cursor = Bytes::from_static(b"0");
        let mut found = Vec::new();
        loop {
            let count = [Bytes::from_static(b"COUNT"), decimal(CALL_OBJECTS as u64)];
            let args = [cursor].into_iter().chain(count).collect();
            let mut page = list(self.redis.call("HSCAN", key.clone(), args).await?).into_iter();
            let (next, rows) = (page.next().and_then(bytes), page.next());
            for (field, value) in rows.into_iter().flat_map(pairs) {
                let row = bytes(field).zip(bytes(value));
                found.push(row.ok_or_else(|| damaged("a hash"))?);
            }
            cursor = next.ok_or_else(|| damaged("a cursor"))?;
            if *cursor == *b"0" {
                // A row may come twice while the hash grows.
                found.sort_unstable();
                found.dedup_by(|a, b| a.0 == b.0);
                return Ok(found);
            }
        }
    }
}

fn inline((kind, id, body): (ObjectKind, ObjectId, &[u8]), now: Now) -> Entry {
    let row = ObjectRow {
        kind,
        bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
        born: now,
        pack: None,
    };
    (id, row, Bytes::copy_from_slice(body))
}

pub(super) fn id_arg(id: &ObjectId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

/// Cuts the arguments of each shard into calls of bounded length; an object has `width` of them.
pub(super) fn chunked(
    shards: &BTreeMap<Shard, Vec<Bytes>>,
    width: usize,
) -> impl Iterator<Item = (Shard, Vec<Bytes>)> {
    shards.iter().flat_map(move |(shard, args)| {
        let calls = args.chunks(CALL_OBJECTS * width);
        calls.map(|args| (*shard, args.to_vec()))
    })
}

/// Groups ids by shard: which of them one call asks for.
fn parts_of(ids: &[ObjectId]) -> Vec<(Shard, Vec<usize>)> {
    let mut shards: BTreeMap<Shard, Vec<usize>> = BTreeMap::new();
    for (at, id) in ids.iter().enumerate() {
        shards.entry(Shard::of(id)).or_default().push(at);
    }
    let parts = shards.iter().flat_map(|(shard, at)| {
        let parts = at.chunks(CALL_OBJECTS);
        parts.map(|part| (*shard, part.to_vec()))
    });
    parts.collect()
}

fn asked(ids: &[ObjectId], at: &[usize]) -> Vec<Bytes> {
    at.iter().map(|at| id_arg(&ids[*at])).collect()
}
