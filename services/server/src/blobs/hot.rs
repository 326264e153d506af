//! What was read lately from a store behind a network, in blocks: many readers cost one read.
//!
//! Guarantees: at most [`GENERATION_BYTES`] twice are kept; a block that is on its way is read
//! once, however many wait for it, and is read anew after an error; a reader that goes away stops
//! only what nobody else waits for; what turned out to be wrong is read anew ([`Hot::forget`]).
//! Does not: verify; `store.rs` does. Packs never change, so a block that is true stays true.
//! Costs: a small object costs one request for its block, never its whole pack; what stands side by
//! side is asked for together, up to [`SEGMENT_BLOCKS`] blocks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use fsync_core::limits;
use fsync_core::service::record::{PackId, PackPlace};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared, try_join_all};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::Gone;
use super::answer::{failed, is_gone};
use super::error::{BlobError, StoreName};

/// A block, in bytes: at this size a store's answer still takes as long as an empty one.
const BLOCK_BYTES: usize = 128 * 1024;
/// Blocks that one request asks for at most.
const SEGMENT_BLOCKS: u32 = 8;
/// Bytes of blocks in one generation; the older of two goes when the younger is full.
const GENERATION_BYTES: usize = 4 * limits::PACK_BYTES;
/// Packs up to this size, in bytes, are kept when they are written: somebody reads a small change
/// at once.
const KEPT_PACK_BYTES: usize = 4 * BLOCK_BYTES;

/// A block of a pack, by its number.
type BlockId = (PackId, u32);
/// What a request for some blocks brings: as many as there are, the last one shorter; `Err` if the
/// pack is gone.
type Segment = Result<Result<Arc<Vec<Bytes>>, Gone>, BlobError>;
type Flight = BoxFuture<'static, Segment>;

/// The blocks.
#[derive(Debug, Clone)]
pub(super) struct Hot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    name: StoreName,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    young: HashMap<BlockId, Bytes>,
    old: HashMap<BlockId, Bytes>,
    young_bytes: usize,
    /// Blocks on their way, each with the first block of its request.
    flights: HashMap<BlockId, (u32, WeakShared<Flight>)>,
}

/// What a reader waits for: blocks that are here, and requests by their first block.
#[derive(Default)]
struct Plan {
    here: BTreeMap<u32, Bytes>,
    flights: BTreeMap<u32, Shared<Flight>>,
}

impl Hot {
    pub(super) fn new(store: Arc<dyn ObjectStore>, name: StoreName) -> Self {
        let blocks = Mutex::default();
        Self(Arc::new(Inner {
            store,
            name,
            blocks,
        }))
    }

    /// Reads runs of one pack, in the order asked.
    pub(super) async fn read(
        &self,
        pack: PackId,
        path: &Path,
        runs: &[PackPlace],
    ) -> Result<Vec<Result<Bytes, Gone>>, BlobError> {
        let wanted: BTreeSet<u32> = runs.iter().flat_map(blocks_of).collect();
        let Plan { mut here, flights } = self.plan(pack, path, &wanted);
        let landed = try_join_all(
            flights
                .into_iter()
                .map(async |(first, flight)| Ok((first, flight.await?))),
        );
        for (first, blocks) in landed.await? {
            match blocks {
                Ok(blocks) => here.extend((first..).zip(blocks.iter().cloned())),
                Err(gone) => return Ok(vec![Err(gone); runs.len()]),
            }
        }
        Ok(runs.iter().map(|run| cut(&here, run)).collect())
    }

    /// Keeps a pack that was just written, if it is small.
    pub(super) fn keep(&self, pack: PackId, pieces: &[Bytes]) {
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if bytes > KEPT_PACK_BYTES {
            return;
        }
        let mut whole = BytesMut::with_capacity(bytes);
        pieces
            .iter()
            .for_each(|piece| whole.extend_from_slice(piece));
        let mut blocks = self.0.lock();
        for (number, block) in (0..).zip(whole.chunks(BLOCK_BYTES)) {
            blocks.insert((pack, number), Bytes::copy_from_slice(block));
        }
    }

    /// Forgets what was read of a pack, so that it is read anew.
    pub(super) fn forget(&self, pack: PackId) {
        let mut blocks = self.0.lock();
        blocks.old.retain(|(of, _), _| *of != pack);
        blocks.flights.retain(|(of, _), _| *of != pack);
        let mut dropped = 0;
        blocks.young.retain(|(of, _), block| {
            dropped += if *of == pack { block.len() } else { 0 };
            *of != pack
        });
        blocks.young_bytes -= dropped;
    }

    fn plan(&self, pack: PackId, path: &Path, wanted: &BTreeSet<u32>) -> Plan {
        let mut blocks = self.0.lock();
        let mut plan = Plan::default();
        let mut absent = Vec::new();
        for &number in wanted {
            if let Some(block) = blocks.get((pack, number)) {
                plan.here.insert(number, block);
            } else if let Some((first, flight)) = blocks.flight((pack, number)) {
                plan.flights.insert(first, flight);
            } else {
                absent.push(number);
            }
        }
        for numbers in absent
            .chunk_by(|a, b| a + 1 == *b)
            .flat_map(|run| run.chunks(SEGMENT_BLOCKS as usize))
        {
            let (first, count) = (numbers[0], numbers.len());
            let inner = Arc::clone(&self.0);
            let path = path.clone();
            let flight: Flight =
                async move { inner.fetch((pack, first), count, &path).await }.boxed();
            let flight = flight.shared();
            if let Some(weak) = flight.downgrade() {
                let entries = numbers
                    .iter()
                    .map(|number| ((pack, *number), (first, weak.clone())));
                blocks.flights.extend(entries);
            }
            plan.flights.insert(first, flight);
        }
        plan
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads `count` blocks from a first one on, and keeps them.
    async fn fetch(&self, (pack, first): BlockId, count: usize, path: &Path) -> Segment {
        let start = u64::from(first) * BLOCK_BYTES as u64;
        let read = self
            .store
            .get_range(path, start..start + (count * BLOCK_BYTES) as u64)
            .await;
        let found = match read {
            Ok(bytes) => Ok(bytes),
            Err(error) if is_gone(&self.name, &error) => Err(Gone::Pack),
            Err(error) => match self.store.head(path).await {
                // The pack was cut short: nothing is there from `start` on.
                Ok(meta) if meta.size <= start => Ok(Bytes::new()),
                _ => {
                    self.land((pack, first), count, &[]);
                    return Err(failed(&self.name, path.as_ref(), error));
                }
            },
        };
        // Each block has memory of its own, so that one that goes gives it back.
        let found = found.map(|bytes| {
            bytes
                .chunks(BLOCK_BYTES)
                .map(Bytes::copy_from_slice)
                .collect::<Vec<_>>()
        });
        self.land((pack, first), count, found.as_deref().unwrap_or_default());
        Ok(found.map(Arc::new))
    }

    fn land(&self, (pack, first): BlockId, count: usize, found: &[Bytes]) {
        let mut blocks = self.lock();
        for number in (first..).take(count) {
            blocks.flights.remove(&(pack, number));
        }
        for (number, block) in (first..).zip(found) {
            blocks.insert((pack, number), block.clone());
        }
    }
}

impl Blocks {
    fn get(&mut self, id: BlockId) -> Option<Bytes> {
        if let Some(block) = self.young.get(&id) {
            return Some(block.clone());
        }
        let block = self.old.remove(&id)?;
        self.insert(id, block.clone());
        Some(block)
    }

    fn insert(&mut self, id: BlockId, block: Bytes) {
        if self.young_bytes + block.len() > GENERATION_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += block.len();
        if let Some(before) = self.young.insert(id, block) {
            self.young_bytes -= before.len();
        }
    }

    /// Returns the request that brings a block, unless everybody who waited for it has gone.
    fn flight(&mut self, id: BlockId) -> Option<(u32, Shared<Flight>)> {
        let (first, weak) = self.flights.get(&id)?;
        match weak.upgrade() {
            Some(flight) => Some((*first, flight)),
            None => {
                self.flights.remove(&id);
                None
            }
        }
    }
}

fn block_of(at: usize) -> u32 {
    u32::try_from(at / BLOCK_BYTES).unwrap_or(u32::MAX)
}

fn blocks_of(run: &PackPlace) -> std::ops::RangeInclusive<u32> {
    let start = run.offset as usize;
    block_of(start)..=block_of(start + (run.bytes as usize).saturating_sub(1))
}

/// Cuts a run out of the blocks that it lies in.
fn cut(blocks: &BTreeMap<u32, Bytes>, run: &PackPlace) -> Result<Bytes, Gone> {
    let (start, bytes) = (run.offset as usize, run.bytes as usize);
    let part = |number: u32| {
        let base = number as usize * BLOCK_BYTES;
        let from = start.saturating_sub(base);
        let to = (start + bytes - base).min(BLOCK_BYTES);
        let block = blocks.get(&number)?;
        (to <= block.len()).then(|| block.slice(from..to))
    };
    let parts: Option<Vec<Bytes>> = blocks_of(run).map(part).collect();
    let parts = parts.ok_or(Gone::Run)?;
    match <[Bytes; 1]>::try_from(parts) {
        Ok([only]) => Ok(only),
        Err(parts) => Ok(parts.concat().into()),
    }
}

#[cfg(test)]
mod tests {
    use object_store::PutPayload;
    use object_store::memory::InMemory;

    use super::*;

    const PACK: PackId = PackId(7);

    fn place(offset: usize, bytes: usize) -> PackPlace {
        let number = |n| u32::try_from(n).expect("small");
        PackPlace {
            pack: PACK,
            offset: number(offset),
            bytes: number(bytes),
        }
    }

    async fn hot_over(bytes: Vec<u8>) -> (Hot, Arc<InMemory>, Path) {
        let store = Arc::new(InMemory::new());
        let path = Path::from("pack");
        store
            .put(&path, PutPayload::from(bytes))
            .await
            .expect("memory");
        let name = StoreName::Local("memory".into());
        (
            Hot::new(Arc::clone(&store) as Arc<dyn ObjectStore>, name),
            store,
            path,
        )
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n / 251 + n).to_le_bytes()[0]).collect()
    }

    #[tokio::test]
    async fn runs_are_cut_out_of_blocks_also_across_their_edges() {
        let whole = bytes(3 * BLOCK_BYTES + 100);
        let (hot, _, path) = hot_over(whole.clone()).await;
        let runs = [
            place(0, 10),
            place(BLOCK_BYTES - 1, 2),
            place(5, 3 * BLOCK_BYTES),
            place(3 * BLOCK_BYTES + 90, 10),
            place(7, 0),
        ];
        let read = hot.read(PACK, &path, &runs).await.unwrap();
        for (run, found) in runs.iter().zip(read) {
            let start = run.offset as usize;
            assert_eq!(
                found.unwrap(),
                whole[start..start + run.bytes as usize],
                "{run:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_pack_lacks_is_gone_and_the_rest_is_read() {
        let (hot, store, path) = hot_over(bytes(BLOCK_BYTES + 100)).await;
        let runs = [
            place(0, 10),
            place(BLOCK_BYTES + 90, 11),
            place(5 * BLOCK_BYTES, 1),
        ];
        let read = hot.read(PACK, &path, &runs).await.unwrap();
        assert!(read[0].is_ok());
        assert_eq!((&read[1], &read[2]), (&Err(Gone::Run), &Err(Gone::Run)));
        store.delete(&path).await.unwrap();
        assert!(
            hot.read(PACK, &path, &runs[..1]).await.unwrap()[0].is_ok(),
            "it is kept"
        );
        hot.forget(PACK);
        assert_eq!(
            hot.read(PACK, &path, &runs[..1]).await.unwrap(),
            [Err(Gone::Pack)]
        );
    }

    #[tokio::test]
    async fn a_small_pack_is_read_from_memory_after_it_was_written() {
        let (hot, store, path) = hot_over(bytes(1000)).await;
        store.delete(&path).await.unwrap();
        hot.keep(
            PACK,
            &[
                Bytes::from(bytes(600)),
                Bytes::from(bytes(1000)[600..].to_vec()),
            ],
        );
        assert_eq!(
            hot.read(PACK, &path, &[place(600, 400)]).await.unwrap(),
            [Ok(bytes(1000)[600..].to_vec().into())]
        );
    }

    #[test]
    fn at_most_two_generations_are_kept() {
        let mut blocks = Blocks::default();
        for number in 0..1000 {
            blocks.insert((PACK, number), Bytes::from(vec![0; BLOCK_BYTES]));
        }
        let kept = blocks.young.len() + blocks.old.len();
        assert!(kept * BLOCK_BYTES <= 2 * GENERATION_BYTES, "{kept}");
        assert!(blocks.get((PACK, 999)).is_some());
    }
}
