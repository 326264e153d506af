//! The blob store: packs of objects under `packs/TENANT/XX/PACK` in any `object_store`.
//!
//! Shape of a stored pack: a transfer pack (see `fsync_core::pack`; a revision in it is skipped by
//! readers), then its footer (`blobs/footer.rs`).
//! Guarantees: [`Blobs::put`] is durable when it returns (the local store syncs files and
//! directories; S3 answers when it has the whole pack, with its checksum); the footer is the
//! index's truth, so that a lost journal's object index can be rebuilt; every id in it was verified
//! by whoever put it; names of packs are random, so several replicas may write to one store.
//! Does not: verify on read; `store.rs` does.
//! Place: with `blobs/` the only code but `app.rs` that knows `object_store`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use fsync_core::label::TenantName;
use fsync_core::pack::{Object, PackWriter};
use fsync_core::service::record::{PackEntry, PackId, PackPlace};
use fsync_runtime::fault::{self, Point};
use fsync_runtime::span;
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tracing::Instrument;

use crate::clock;
use crate::cluster::ClusterId;
use crate::metrics::{BlobOp, metrics};
use crate::redis::Redis;

mod answer;
mod checkpoints;
mod error;
mod footer;
mod hot;
mod parts;
mod redis;
pub mod s3;

use answer::{failed, is_gone, place};
use error::StoreName;
pub use error::{BlobError, Refusal};
use hot::Hot;
use redis::RedisStore;
use s3::S3Config;

/// Packs that are read at the same time for one request.
const PARALLEL_READS: usize = 4;
/// Bytes at a pack's end that are read for its footer: that of 1,500 objects is in them.
const FOOTER_READ_BYTES: u64 = 64 * 1024;

/// Where the number of the service stands that a store belongs to.
const OWNER: &str = "service";

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
    /// Its size.
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970 by the store's clock.
    pub written_ms: u64,
}

/// The blob store.
#[derive(Debug, Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    name: StoreName,
    /// What was read lately, of a store behind a network; the system remembers files by itself.
    hot: Option<Hot>,
}

impl Blobs {
    /// Opens a directory as a store, making it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be made or read.
    pub fn directory(path: &FilePath) -> Result<Self, BlobError> {
        let name = StoreName::Local(path.display().to_string().into());
        let made = std::fs::create_dir_all(path).map_err(|source| object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(source),
        });
        let opened = made.and_then(|()| LocalFileSystem::new_with_prefix(path));
        let store = opened.map_err(|source| failed(&name, "", source))?;
        let store = Arc::new(store.with_fsync(true));
        Ok(Self {
            store,
            name,
            hot: None,
        })
    }

    /// Makes a store that ends with the process.
    pub fn memory() -> Self {
        let name = StoreName::Local("memory".into());
        Self {
            store: Arc::new(InMemory::new()),
            name,
            hot: None,
        }
    }

    /// Opens a bucket as a store; nothing is asked of it yet.
    ///
    /// # Errors
    /// What is configured cannot be used.
    pub fn bucket(config: &S3Config) -> Result<Self, BlobError> {
        let name = StoreName::Remote(config.name().into());
        let store = config.build().map_err(|source| failed(&name, "", source))?;
        let hot = Some(Hot::new(Arc::clone(&store), name.clone()));
        Ok(Self { store, name, hot })
    }

    /// Keeps contents in Redis.
    pub fn redis(redis: Redis, address: &str) -> Self {
        let name = StoreName::Redis(address.into());
        let store: Arc<dyn ObjectStore> = Arc::new(RedisStore::new(redis));
        let hot = Some(Hot::new(Arc::clone(&store), name.clone()));
        Self { store, name, hot }
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
        let mut pieces = pack;
        pieces.push(Bytes::from(footer::write(entries)));
        let payload = PutPayload::from_iter(pieces.iter().cloned());
        fault::before(Point::BlobPut);
        let span = span!(
            "blobs.put",
            otel.kind = "client",
            fsync.objects = entries.len(),
            fsync.bytes = payload.content_length(),
        );
        let stored = async {
            match self.is_remote() && parts::is_large(&payload) {
                true => parts::put(&*self.store, &path, &payload).await,
                false => self.store.put(&path, payload).await.map(drop),
            }
        };
        let (start, bytes) = (Instant::now(), pieces.iter().map(Bytes::len).sum::<usize>());
        let stored = stored.instrument(span).await;
        metrics().blob(BlobOp::Put, bytes as u64, start.elapsed());
        fault::after(Point::BlobPut);
        stored.map_err(|source| self.failed(&path, source))?;
        if let Some(hot) = &self.hot {
            hot.keep(id, &pieces);
        }
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
            let path = path_of(tenant, pack);
            let start = Instant::now();
            let bytes = match &self.hot {
                Some(hot) => hot.read(pack, &path, &runs).await?,
                None => self.read_pack(&path, &runs).await?,
            };
            let read = bytes.iter().flatten().map(Bytes::len).sum::<usize>();
            metrics().blob(BlobOp::Get, read as u64, start.elapsed());
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

    /// Makes the next read of packs ask the store again.
    pub fn forget(&self, packs: impl IntoIterator<Item = PackId>) {
        if let Some(hot) = &self.hot {
            packs.into_iter().for_each(|pack| hot.forget(pack));
        }
    }

    async fn read_pack(
        &self,
        path: &Path,
        runs: &[PackPlace],
    ) -> Result<Vec<Result<Bytes, Gone>>, BlobError> {
        let ranges: Vec<_> = runs.iter().map(range_of).collect();
        match self.store.get_ranges(path, &ranges).await {
            Ok(bytes) => Ok(bytes.into_iter().map(Ok).collect()),
            Err(error) if is_gone(&self.name, &error) => Ok(vec![Err(Gone::Pack); runs.len()]),
            Err(source) => match self.store.head(path).await {
                Ok(meta) if ranges.iter().any(|range| range.end > meta.size) => {
                    self.read_short(path, &ranges, meta.size).await
                }
                _ => Err(self.failed(path, source)),
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
        let read = self.store.get_ranges(path, &there).await;
        let mut read = read
            .map_err(|source| self.failed(path, source))?
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
    /// As [`Blobs::footer_of`].
    pub async fn footer(
        &self,
        tenant: &TenantName,
        pack: PackId,
    ) -> Result<Vec<PackEntry>, BlobError> {
        let path = path_of(tenant, pack);
        let head = self.store.head(&path).await;
        let size = head.map_err(|source| self.failed(&path, source))?.size;
        self.footer_at(&path, size).await
    }

    /// Reads the footer of a pack that was listed: one request, a second one if it is long.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if it is none, or the store's error.
    pub async fn footer_of(
        &self,
        tenant: &TenantName,
        stored: &StoredPack,
    ) -> Result<Vec<PackEntry>, BlobError> {
        self.footer_at(&path_of(tenant, stored.pack), stored.bytes)
            .await
    }

    async fn footer_at(&self, path: &Path, size: u64) -> Result<Vec<PackEntry>, BlobError> {
        let failed = |source| self.failed(path, source);
        let damaged = |reason| BlobError::Damaged {
            path: place(&self.name, path.as_ref()),
            reason,
        };
        // A range that counts from the end is not understood by every server if the pack is shorter.
        let end = size.saturating_sub(FOOTER_READ_BYTES)..size;
        if end.is_empty() {
            return Err(damaged("it is empty"));
        }
        let end = self.store.get_range(path, end).await.map_err(failed)?;
        let length = footer::length(&end).map_err(damaged)?;
        let whole = match end.len().checked_sub(length) {
            Some(start) => end.slice(start..),
            None => {
                let start = size.checked_sub(length as u64);
                let start = start.ok_or_else(|| damaged("its footer is longer than itself"))?;
                let read = self.store.get_range(path, start..size).await;
                read.map_err(failed)?
            }
        };
        footer::read(&whole).map_err(damaged)
    }

    /// Returns all packs of a tenant.
    ///
    /// # Errors
    /// The store's error.
    pub async fn list(&self, tenant: &TenantName) -> Result<Vec<StoredPack>, BlobError> {
        let prefix = Path::from_iter(["packs", tenant.as_str()]);
        let failed = |source| self.failed(&prefix, source);
        let mut packs = Vec::new();
        let mut listed = self.store.list(Some(&prefix));
        while let Some(meta) = listed.try_next().await.map_err(failed)? {
            let name = meta.location.filename().unwrap_or_default();
            if let Ok(number) = u128::from_str_radix(name, 16) {
                packs.push(StoredPack {
                    pack: PackId(number),
                    bytes: meta.size,
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
        let listed = self.store.list_with_delimiter(Some(&prefix)).await;
        let listed = listed.map_err(|source| self.failed(&prefix, source))?;
        let names = listed.common_prefixes.iter().filter_map(|p| p.filename());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// Deletes a pack; one that is gone already is fine.
    ///
    /// # Errors
    /// The store's error.
    pub async fn delete(&self, tenant: &TenantName, pack: PackId) -> Result<(), BlobError> {
        let path = path_of(tenant, pack);
        match self.store.delete(&path).await {
            Ok(()) => Ok(()),
            Err(error) if is_gone(&self.name, &error) => Ok(()),
            Err(source) => Err(self.failed(&path, source)),
        }
    }

    /// Returns what the store is called in messages.
    pub fn name(&self) -> String {
        self.name.to_string()
    }

    /// Returns the number of the service that the store belongs to, if it has one yet.
    ///
    /// # Errors
    /// The store's error.
    pub async fn owner(&self) -> Result<Option<ClusterId>, BlobError> {
        let path = Path::from(OWNER);
        let read = match self.store.get(&path).await {
            Ok(found) => found.bytes().await,
            Err(error) if is_gone(&self.name, &error) => return Ok(None),
            Err(error) => Err(error),
        };
        let bytes = read.map_err(|source| self.failed(&path, source))?;
        let text = std::str::from_utf8(&bytes).ok();
        let id = text.and_then(|text| text.trim_end().parse().ok());
        let reason = "it holds no service's number";
        id.map(Some).ok_or_else(|| BlobError::Damaged {
            path: place(&self.name, path.as_ref()),
            reason,
        })
    }

    /// Gives the store a number unless it has one; returns what it has then. Of several at the same
    /// time one wins.
    ///
    /// # Errors
    /// The store's error.
    pub async fn own(&self, cluster: ClusterId) -> Result<ClusterId, BlobError> {
        let path = Path::from(OWNER);
        let payload = PutPayload::from(format!("{cluster}\n"));
        match self
            .store
            .put_opts(&path, payload, PutMode::Create.into())
            .await
        {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(self.failed(&path, source)),
        }
        // Read even if it was written: some servers do not know the condition, and the last one
        // wins there.
        let owner = self.owner().await?;
        owner.ok_or_else(|| BlobError::Busy {
            at: place(&self.name, path.as_ref()),
            reason: "what was just written is not there".to_owned(),
        })
    }

    fn is_remote(&self) -> bool {
        matches!(self.name, StoreName::Remote(_))
    }

    fn failed(&self, path: &Path, source: object_store::Error) -> BlobError {
        failed(&self.name, path.as_ref(), source)
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
