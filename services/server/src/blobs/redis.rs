//! Contents in Redis: for small services that have nothing else that all replicas reach.
//!
//! ```text
//! PREFIX:b:PATH                 the object
//! PREFIX:{b.DIR}:names          hash path -> "bytes written_ms"; DIR is the path's first two names
//! PREFIX:{b}:dirs               set of all DIRs
//! ```
//! Guarantees: an object is listed only after it is there, and deleted only after it is listed no
//! more; objects are spread over a Cluster by their names.
//! Does not: take large objects in parts, copy, or know versions; packs need none of it.
//! Costs: everything is in Redis's memory. A range takes one round trip, and one more if it is
//! short.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use chrono::DateTime;
use fred::types::Value;
use futures_util::future::{BoxFuture, try_join_all};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};

use crate::clock;
use crate::redis::{Redis, RedisError, bytes, decimal, list, number, pairs};

const STORE: &str = "Redis";
/// Names in a directory's own name.
const DIR_NAMES: usize = 2;

/// The store.
#[derive(Debug, Clone)]
pub(super) struct RedisStore {
    redis: Redis,
}

impl fmt::Display for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

fn generic(error: RedisError) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(error),
    }
}

fn damaged(what: &str) -> Error {
    generic(RedisError::Refused(format!(
        "it holds {what} that is none of ours"
    )))
}

fn not_found(path: &Path) -> Error {
    Error::NotFound {
        path: path.to_string(),
        source: "there is no such key".into(),
    }
}

/// Returns the directory that an object is listed in.
fn dir_of(path: &Path) -> String {
    let names: Vec<_> = path.parts().collect();
    let count = DIR_NAMES.min(names.len().saturating_sub(1));
    let names = names[..count].iter().map(|name| name.as_ref().to_owned());
    names.collect::<Vec<_>>().join("/")
}

fn meta_of(path: &str, text: &[u8]) -> Option<ObjectMeta> {
    let text = std::str::from_utf8(text).ok()?;
    let (size, written) = text.split_once(' ')?;
    Some(ObjectMeta {
        location: Path::from(path),
        last_modified: DateTime::from_timestamp_millis(written.parse().ok()?)?,
        size: size.parse().ok()?,
        e_tag: None,
        version: None,
    })
}

impl RedisStore {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis }
    }

    fn key(&self, path: &Path) -> String {
        self.redis.keys().blob(path.as_ref())
    }

    async fn call(&self, command: &'static str, key: String, args: Vec<Bytes>) -> Result<Value> {
        self.redis.call(command, key, args).await.map_err(generic)
    }

    async fn size(&self, path: &Path) -> Result<u64> {
        let size = self.call("STRLEN", self.key(path), Vec::new()).await?;
        // No object is empty.
        match number(&size) {
            None | Some(0) => Err(not_found(path)),
            Some(size) => Ok(size),
        }
    }

    async fn run(&self, path: &Path, range: &Range<u64>) -> Result<Bytes> {
        let args = vec![decimal(range.start), decimal(range.end.saturating_sub(1))];
        let read = self.call("GETRANGE", self.key(path), args).await?;
        let read = bytes(read).unwrap_or_default();
        if read.len() as u64 == range.end - range.start {
            return Ok(read);
        }
        let size = self.size(path).await?;
        Err(generic(RedisError::Refused(format!(
            "{path} has {size} bytes, {}..{} were asked for",
            range.start, range.end
        ))))
    }

    async fn remove(&self, path: Path) -> Result<Path> {
        let names = self.redis.keys().blob_names(&dir_of(&path));
        let name = Bytes::from(path.to_string());
        self.call("HDEL", names, vec![name]).await?;
        self.call("DEL", self.key(&path), Vec::new()).await?;
        Ok(path)
    }

    async fn dirs(&self) -> Result<Vec<String>> {
        let found = self
            .call("SMEMBERS", self.redis.keys().blob_dirs(), Vec::new())
            .await?;
        let text = |value: Value| value.into_string().ok_or_else(|| damaged("a directory"));
        list(found).into_iter().map(text).collect()
    }

    async fn names(&self, dir: &str) -> Result<Vec<ObjectMeta>> {
        let found = self
            .call("HGETALL", self.redis.keys().blob_names(dir), Vec::new())
            .await?;
        let mut metas = Vec::new();
        for (path, meta) in pairs(found) {
            let path = path.into_string().ok_or_else(|| damaged("a name"))?;
            let meta = bytes(meta).and_then(|meta| meta_of(&path, &meta));
            metas.push(meta.ok_or_else(|| damaged("a listing"))?);
        }
        metas.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(metas)
    }

    async fn listed(self, prefix: Option<Path>) -> Result<Vec<ObjectMeta>> {
        let within = |dir: &str| match &prefix {
            None => true,
            Some(prefix) => {
                let (dir, prefix) = (format!("{dir}/"), format!("{prefix}/"));
                dir.starts_with(&prefix) || prefix.starts_with(&dir) || dir == "/"
            }
        };
        let dirs: Vec<String> = self
            .dirs()
            .await?
            .into_iter()
            .filter(|d| within(d))
            .collect();
        let found = try_join_all(dirs.iter().map(|dir| self.names(dir))).await?;
        let mut found: Vec<ObjectMeta> = found.into_iter().flatten().collect();
        if let Some(prefix) = &prefix {
            found.retain(|meta| meta.location.prefix_matches(prefix));
        }
        Ok(found)
    }
}

#[async_trait::async_trait]
impl ObjectStore for RedisStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let body = Bytes::from(payload);
        let size = body.len();
        let mut args = vec![body];
        match opts.mode {
            PutMode::Overwrite => {}
            PutMode::Create => args.push(Bytes::from_static(b"NX")),
            PutMode::Update(_) => return Err(unsupported("an update by version")),
        }
        let stored = self.call("SET", self.key(location), args).await?;
        if stored.is_null() {
            return Err(Error::AlreadyExists {
                path: location.to_string(),
                source: "the key is taken".into(),
            });
        }
        let dir = dir_of(location);
        let meta = Bytes::from(format!("{size} {}", clock::now().0));
        let names = self.redis.keys().blob_names(&dir);
        let name = Bytes::from(location.to_string());
        self.call("HSET", names, vec![name, meta]).await?;
        let dirs = self.redis.keys().blob_dirs();
        self.call("SADD", dirs, vec![Bytes::from(dir)]).await?;
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        })
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(unsupported("an object in parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let size = self.size(location).await?;
        let range = match &options.range {
            None => 0..size,
            Some(range) => range.as_range(size).map_err(|source| Error::Generic {
                store: STORE,
                source: Box::new(source),
            })?,
        };
        let body = match options.head {
            true => Bytes::new(),
            false => self.run(location, &range).await?,
        };
        let body: BoxStream<'static, Result<Bytes>> =
            futures_util::stream::once(std::future::ready(Ok(body))).boxed();
        Ok(GetResult {
            payload: GetResultPayload::Stream(body),
            meta: ObjectMeta {
                location: location.clone(),
                last_modified: DateTime::UNIX_EPOCH,
                size,
                e_tag: None,
                version: None,
            },
            range,
            attributes: Attributes::default(),
            extensions: Default::default(),
        })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        try_join_all(ranges.iter().map(|range| self.run(location, range))).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let remove = move |path| -> BoxFuture<'static, Result<Path>> {
            let store = store.clone();
            async move { store.remove(path).await }.boxed()
        };
        locations.and_then(remove).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let listed = self.clone().listed(prefix.cloned());
        let all = listed.map_ok(|metas| futures_util::stream::iter(metas.into_iter().map(Ok)));
        all.try_flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let depth = prefix.map_or(0, |prefix| prefix.parts().count());
        let (mut objects, mut common_prefixes) = (Vec::new(), Vec::new());
        for meta in self.clone().listed(prefix.cloned()).await? {
            let names: Vec<_> = meta.location.parts().collect();
            if names.len() == depth + 1 {
                objects.push(meta);
                continue;
            }
            let dir = Path::from_iter(names.into_iter().take(depth + 1));
            if common_prefixes.last() != Some(&dir) {
                common_prefixes.push(dir);
            }
        }
        common_prefixes.sort();
        common_prefixes.dedup();
        Ok(ListResult {
            common_prefixes,
            objects,
            extensions: Default::default(),
        })
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _options: CopyOptions) -> Result<()> {
        Err(unsupported("a copy"))
    }
}

fn unsupported(what: &str) -> Error {
    Error::NotImplemented {
        operation: what.to_owned(),
        implementer: STORE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_listed_by_their_first_two_names() {
        for (path, dir) in [
            ("service", ""),
            ("checkpoints/default/docs", "checkpoints/default"),
            ("packs/team/ab/abcd", "packs/team"),
        ] {
            assert_eq!(dir_of(&Path::from(path)), dir);
        }
    }
}
