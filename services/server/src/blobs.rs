//! The blob store: packs of objects under `packs/TENANT/XX/PACK` in any `object_store`.
//!
//! Shape of a stored pack: a transfer pack (see `fsync_core::pack`; a revision in it is skipped by
//! readers), then the footer: per object `kind u8 | id (32) | offset u32 LE | bytes u32 LE`, then
//! `count u32 LE | "FSPF" 01`.
//! Guarantees: [`Blobs::put`] is durable when it returns (the local store syncs files and
//! directories); the footer is the index's truth, so that a lost journal's object index can be
//! rebuilt; every id in it was verified by whoever put it.
//! Does not: verify on read; `store.rs` does.
//! Place: the only file but `app.rs` that knows `object_store`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use fsync_core::id::{ID_BYTES, ObjectId, ObjectKind};
use fsync_core::label::TenantName;
use fsync_core::pack::{Object, PackWriter};
use fsync_core::service::error::ServiceError;
use fsync_core::service::record::{PackEntry, PackId, PackPlace};
use fsync_runtime::fault::{self, Point};
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::clock;

const ENTRY_BYTES: usize = 1 + ID_BYTES + 4 + 4;
const TAIL_MAGIC: &[u8; 5] = b"FSPF\x01";
const TAIL_BYTES: usize = 4 + TAIL_MAGIC.len();
/// Packs that are read at the same time for one request.
const PARALLEL_READS: usize = 4;

/// Why the blob store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The store has no room.
    #[error("the blob store is full")]
    Full,
    /// The store failed.
    #[error("the blob store failed at {path}: {source}")]
    Store {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// A pack's footer cannot be read.
    #[error("pack {path} is damaged: {reason}")]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<BlobError> for ServiceError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => Self::StoreFull(error.to_string()),
            BlobError::Store { .. } | BlobError::Damaged { .. } => {
                Self::Internal(error.to_string())
            }
        }
    }
}

/// Why a run could not be read for good; errors that may pass are [`BlobError`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// The pack is not there.
    Pack,
    /// The pack is shorter than that.
    Run,
}

/// A pack as the store lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPack {
    /// Which.
    pub pack: PackId,
    /// When it was written, in milliseconds since 1970 by the store's clock.
    pub written_ms: u64,
}

/// The blob store.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<dyn ObjectStore>);

impl Blobs {
    /// Opens a directory as a store, making it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn directory(path: &FilePath) -> Result<Self, BlobError> {
        let at = path.display().to_string();
        std::fs::create_dir_all(path).map_err(|source| BlobError::Store {
            path: at.clone(),
            source: object_store::Error::Generic {
                store: "LocalFileSystem",
                source: Box::new(source),
            },
        })?;
        let store =
            LocalFileSystem::new_with_prefix(path).map_err(|source| store_error(&at, source))?;
        Ok(Self(Arc::new(store.with_fsync(true))))
    }

    /// Makes a store that ends with the process.
    pub fn memory() -> Self {
        Self(Arc::new(InMemory::new()))
    }

    /// Stores the pieces of a transfer pack, with the places of its objects; durable when it
    /// returns.
    ///
    /// # Errors
    /// [`BlobError`]; nothing counts as stored then.
    pub async fn put(
        &self,
        tenant: &TenantName,
        pack: Vec<Bytes>,
        entries: &[PackEntry],
    ) -> Result<PackId, BlobError> {
        let id = PackId(clock::random_u128());
        let path = path_of(tenant, id);
        let payload = PutPayload::from_iter(pack.into_iter().chain([Bytes::from(footer(entries))]));
        fault::before(Point::BlobPut);
        let stored = self.0.put(&path, payload).await;
        fault::after(Point::BlobPut);
        stored.map_err(|source| store_error(path.as_ref(), source))?;
        Ok(id)
    }

    /// Packs and stores objects; durable when it returns.
    ///
    /// # Errors
    /// As [`Blobs::put`].
    pub async fn put_objects(
        &self,
        tenant: &TenantName,
        objects: Vec<Object>,
    ) -> Result<(PackId, Vec<PackEntry>), BlobError> {
        let mut writer = PackWriter::new();
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            let (kind, id, bytes) = (object.kind, object.id, object.bytes.len());
            let offset = writer.push_object(object);
            entries.push(PackEntry {
                kind,
                id,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            });
        }
        let pieces = writer.into_pieces().into_iter().map(Bytes::from);
        let pack = self.put(tenant, pieces.collect(), &entries).await?;
        Ok((pack, entries))
    }

    /// Reads runs of packs, in the order asked. One read per pack.
    ///
    /// # Errors
    /// [`BlobError`] of the first read that failed otherwise.
    pub async fn read(
        &self,
        tenant: &TenantName,
        places: &[PackPlace],
    ) -> Result<Vec<Result<Bytes, Gone>>, BlobError> {
        let mut by_pack: BTreeMap<PackId, Vec<usize>> = BTreeMap::new();
        for (index, place) in places.iter().enumerate() {
            by_pack.entry(place.pack).or_default().push(index);
        }
        let reads = by_pack.into_iter().map(|(pack, mut indexes)| async move {
            indexes.sort_by_key(|index| places[*index].offset);
            let runs: Vec<PackPlace> = indexes.iter().map(|index| places[*index]).collect();
            let bytes = self.read_pack(&path_of(tenant, pack), &runs).await?;
            Ok::<_, BlobError>((indexes, bytes))
        });
        let mut found = vec![Err(Gone::Pack); places.len()];
        let mut reads = futures_util::stream::iter(reads).buffer_unordered(PARALLEL_READS);
        while let Some((indexes, bytes)) = reads.try_next().await? {
            for (index, bytes) in indexes.into_iter().zip(bytes) {
                found[index] = bytes;
            }
        }
        Ok(found)
    }

    async fn read_pack(
        &self,
        path: &Path,
        runs: &[PackPlace],
    ) -> Result<Vec<Result<Bytes, Gone>>, BlobError> {
        let ranges: Vec<_> = runs.iter().map(range_of).collect();
        match self.0.get_ranges(path, &ranges).await {
            Ok(bytes) => Ok(bytes.into_iter().map(Ok).collect()),
            Err(object_store::Error::NotFound { .. }) => Ok(vec![Err(Gone::Pack); runs.len()]),
            Err(source) => match self.0.head(path).await {
                Ok(meta) if ranges.iter().any(|range| range.end > meta.size) => {
                    self.read_short(path, &ranges, meta.size).await
                }
                _ => Err(store_error(path.as_ref(), source)),
            },
        }
    }

    /// Reads what a pack that was cut short still holds.
    async fn read_short(
        &self,
        path: &Path,
        ranges: &[Range<u64>],
        size: u64,
    ) -> Result<Vec<Result<Bytes, Gone>>, BlobError> {
        let within = |range: &&Range<u64>| range.end <= size;
        let there: Vec<_> = ranges.iter().filter(within).cloned().collect();
        let read = self.0.get_ranges(path, &there).await;
        let mut read = read
            .map_err(|source| store_error(path.as_ref(), source))?
            .into_iter();
        let found = ranges.iter().map(|range| match within(&range) {
            true => read.next().ok_or(Gone::Run),
            false => Err(Gone::Run),
        });
        Ok(found.collect())
    }

    /// Reads a pack's footer.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if it is none, or the store's error.
    pub async fn footer(
        &self,
        tenant: &TenantName,
        pack: PackId,
    ) -> Result<Vec<PackEntry>, BlobError> {
        let path = path_of(tenant, pack);
        let failed = |source| store_error(path.as_ref(), source);
        let damaged = |reason| BlobError::Damaged {
            path: path.to_string(),
            reason,
        };
        let size = self.0.head(&path).await.map_err(failed)?.size;
        let tail_at = size
            .checked_sub(TAIL_BYTES as u64)
            .ok_or_else(|| damaged("it is too short"))?;
        let tail = self
            .0
            .get_range(&path, tail_at..size)
            .await
            .map_err(failed)?;
        let (count, magic) = tail
            .split_first_chunk::<4>()
            .ok_or_else(|| damaged("it is too short"))?;
        if magic != TAIL_MAGIC {
            return Err(damaged("it has no footer"));
        }
        let bytes = u64::from(u32::from_le_bytes(*count)) * ENTRY_BYTES as u64;
        let start = tail_at
            .checked_sub(bytes)
            .ok_or_else(|| damaged("its footer is longer than itself"))?;
        let rows = self
            .0
            .get_range(&path, start..tail_at)
            .await
            .map_err(failed)?;
        let entries = rows.chunks_exact(ENTRY_BYTES).map(read_entry);
        let entries: Option<Vec<_>> = entries.collect();
        entries.ok_or_else(|| damaged("its footer names an unknown kind"))
    }

    /// Returns all packs of a tenant.
    ///
    /// # Errors
    /// The store's error.
    pub async fn list(&self, tenant: &TenantName) -> Result<Vec<StoredPack>, BlobError> {
        let prefix = Path::from_iter(["packs", tenant.as_str()]);
        let failed = |source| store_error(prefix.as_ref(), source);
        let mut packs = Vec::new();
        let mut listed = self.0.list(Some(&prefix));
        while let Some(meta) = listed.try_next().await.map_err(failed)? {
            let name = meta.location.filename().unwrap_or_default();
            if let Ok(number) = u128::from_str_radix(name, 16) {
                packs.push(StoredPack {
                    pack: PackId(number),
                    written_ms: u64::try_from(meta.last_modified.timestamp_millis())
                        .unwrap_or_default(),
                });
            }
        }
        Ok(packs)
    }

    /// Returns the tenants that have packs.
    ///
    /// # Errors
    /// The store's error.
    pub async fn tenants(&self) -> Result<Vec<TenantName>, BlobError> {
        let prefix = Path::from("packs");
        let listed = self.0.list_with_delimiter(Some(&prefix)).await;
        let listed = listed.map_err(|source| store_error(prefix.as_ref(), source))?;
        let names = listed.common_prefixes.iter().filter_map(|p| p.filename());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// Deletes a pack; one that is gone already is fine.
    ///
    /// # Errors
    /// The store's error.
    pub async fn delete(&self, tenant: &TenantName, pack: PackId) -> Result<(), BlobError> {
        let path = path_of(tenant, pack);
        match self.0.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(store_error(path.as_ref(), source)),
        }
    }
}

fn range_of(run: &PackPlace) -> Range<u64> {
    let start = u64::from(run.offset);
    start..start + u64::from(run.bytes)
}

fn path_of(tenant: &TenantName, pack: PackId) -> Path {
    let name = pack.to_string();
    Path::from_iter(["packs", tenant.as_str(), &name[..2], &name])
}

fn footer(entries: &[PackEntry]) -> Vec<u8> {
    let mut footer = Vec::with_capacity(entries.len() * ENTRY_BYTES + TAIL_BYTES);
    for entry in entries {
        footer.push(entry.kind as u8);
        footer.extend_from_slice(entry.id.as_bytes());
        footer.extend_from_slice(&entry.offset.to_le_bytes());
        footer.extend_from_slice(&entry.bytes.to_le_bytes());
    }
    let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
    footer.extend_from_slice(&count.to_le_bytes());
    footer.extend_from_slice(TAIL_MAGIC);
    footer
}

fn read_entry(row: &[u8]) -> Option<PackEntry> {
    let (kind, row) = row.split_first()?;
    let (id, row) = row.split_at_checked(ID_BYTES)?;
    let (offset, bytes) = row.split_first_chunk::<4>()?;
    Some(PackEntry {
        kind: ObjectKind::from_code(*kind)?,
        id: ObjectId::from_slice(id)?,
        offset: u32::from_le_bytes(*offset),
        bytes: u32::from_le_bytes(bytes.try_into().ok()?),
    })
}

fn store_error(path: &str, source: object_store::Error) -> BlobError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&source);
    while let Some(error) = cause {
        let is_full = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::StorageFull);
        if is_full {
            return BlobError::Full;
        }
        cause = error.source();
    }
    BlobError::Store {
        path: path.to_owned(),
        source,
    }
}
