//! The Lua scripts, each with what it takes and answers in its own file under `script/`.
//!
//! Guarantees: a script checks all before its first write, touches keys of one slot only, and may
//! run twice: an answer that was lost is asked for again.

use std::sync::LazyLock;

use fred::util::sha1_hash;

/// A script with the name that Redis gives it.
#[derive(Debug)]
pub(crate) struct Script {
    pub(super) text: &'static str,
    pub(super) hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self {
            text,
            hash: sha1_hash(text),
        }
    }
}

/// Answers a state machine's questions about one tree.
pub(crate) static ASK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/ask.lua")));
/// Moves a head, or does nothing.
pub(crate) static COMMIT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/commit.lua")));
/// Puts a tree's positions into another epoch.
pub(crate) static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/renew.lua")));
/// Makes somebody the collector.
pub(crate) static LEAD: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/lead.lua")));
/// Renews an upload session, and adds objects to it.
pub(crate) static UPLOAD: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/upload.lua")));
/// Ends an upload session that expired.
pub(crate) static EXPIRE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/expire.lua")));
/// Forgets what is complete for a tree.
pub(crate) static FORGET: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/forget.lua")));
/// Adds objects to a shard of the index.
pub(crate) static STORE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/store.lua")));
/// Reads rows of a shard, with the bodies of those that are inline.
pub(crate) static LOCATE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/locate.lua")));
/// Points objects of a shard to another pack.
pub(crate) static REPOINT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/repoint.lua")));
/// Takes rows out of a shard, if they are still what they were.
pub(crate) static TAKE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/take.lua")));
/// Shuts a token or a subject out.
pub(crate) static REVOKE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/revoke.lua")));
/// Shows that scripts may read, write and publish.
pub(crate) static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("script/probe.lua")));
