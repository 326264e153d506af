//! Large packs go to a bucket in parts: each is sent, and sent again, by itself.
//!
//! Guarantees: there is nothing of a pack under its name before the last step; parts of one that
//! failed are removed, as far as the store answers.

use fsync_core::limits;
use futures_util::future::try_join_all;
use object_store::path::Path;
use object_store::{
    MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, PutPayloadMut, Result,
};
use tracing::warn;

/// Packs up to this size, in bytes, go in one request: all but those that end in a large chunk.
const WHOLE_BYTES: usize = limits::PACK_BYTES + 1024 * 1024;
/// Parts of larger ones, in bytes; S3 takes none below 5 MiB but the last.
const PART_BYTES: usize = 6 * 1024 * 1024;

/// Returns whether a pack goes in parts.
pub(super) fn is_large(pack: &PutPayload) -> bool {
    pack.content_length() > WHOLE_BYTES
}

/// Stores a pack; durable when it returns.
pub(super) async fn put(store: &dyn ObjectStore, path: &Path, pack: &PutPayload) -> Result<()> {
    let mut upload = store.put_multipart(path).await?;
    let sent: Vec<_> = cut(pack)
        .into_iter()
        .map(|part| upload.put_part(part))
        .collect();
    let ended = match try_join_all(sent).await {
        Ok(_) => upload.complete().await.map(drop),
        Err(error) => Err(error),
    };
    if ended.is_err()
        && let Err(error) = upload.abort().await
    {
        warn!(%path, %error, "parts of a pack stay until the bucket's rule for unfinished uploads");
    }
    ended
}

/// Cuts a pack into parts, without copying it.
fn cut(pack: &PutPayload) -> Vec<PutPayload> {
    let mut parts = Vec::new();
    let mut part = PutPayloadMut::new();
    for piece in pack {
        let mut piece = piece.clone();
        while !piece.is_empty() {
            let room = PART_BYTES - part.content_length();
            part.push(piece.split_to(piece.len().min(room)));
            if part.content_length() == PART_BYTES {
                parts.push(std::mem::take(&mut part).freeze());
            }
        }
    }
    if !part.is_empty() {
        parts.push(part.freeze());
    }
    parts
}
