//! Which file may name what, and what every file has.
//!
//! Read is the code alone: comments and the unit tests at the end of a file are left out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Longest source file in lines; above 400 a file asks for a look, above this it is split.
const FILE_LINES: usize = 600;

/// A word, the folder where it is watched, and the files (or folders, ending in `/`) that may name
/// it.
const NAMED_ONLY_BY: &[(&str, &str, &[&str])] = &[
    ("std::fs", "services/agent/src", AGENT_FILES),
    ("tokio::fs", "services/agent/src", &[]),
    ("notify::", "services/agent/src", &["watch.rs", "watch/"]),
    ("rust_socketio", "services/agent/src", &["client/socket.rs"]),
    ("reqwest", "services/agent/src", &["client/"]),
    ("redb::", "services/agent/src", &["state.rs", "state/"]),
    (
        "axum",
        "services/server/src",
        &["http.rs", "http/", "listen.rs", "app.rs"],
    ),
    (
        "socketioxide",
        "services/server/src",
        &["socket.rs", "socket/", "app.rs"],
    ),
    (
        "object_store",
        "services/server/src",
        &["blobs.rs", "blobs/", "app.rs"],
    ),
    (
        "fred::",
        "services/server/src",
        &[
            "redis.rs",
            "redis/",
            "journal/redis.rs",
            "journal/redis/",
            "blobs/redis.rs",
            "bus/redis.rs",
            "bus/redis/",
        ],
    ),
    (
        "redb::",
        "services/server/src",
        // The wiring names our own module of that name.
        &["journal/redb.rs", "journal/redb/", "app/parts.rs"],
    ),
    (
        "reqwest",
        "services/controller/src",
        &["server.rs", "server/", "app.rs"],
    ),
    (
        "std::fs",
        "services/controller/src",
        &["server/credential.rs"],
    ),
    ("kube", "services/controller/src/server", &[]),
    // Holding no key and no store is what makes the controller harmless.
    ("redis", "services/controller/src", &[]),
    ("jsonwebtoken", "services/controller/src", &[]),
    ("tokio::spawn", "", SPAWNERS),
    ("task::spawn", "", SPAWNERS),
    ("process::exit", "", SPAWNERS),
    ("set_var(", "", &[]),
    ("std::fs", "services/core/src", &[]),
    (
        "std::time::",
        "services/core/src",
        &["engine.rs", "engine/", "service.rs", "service/", "clock.rs"],
    ),
    ("SystemTime", "services/core/src", &[]),
    ("Instant", "services/core/src", &[]),
    ("async fn", "services/core/src", &[]),
];

/// The synced folder is touched through `Files` alone; the others handle the agent's own state
/// directory and marker.
const AGENT_FILES: &[&str] = &[
    "files/disk.rs",
    "files/disk/",
    "marker.rs",
    "marker/",
    // The files that its flags name.
    "commands/sync.rs",
    "client/token.rs",
    "control.rs",
    "control/",
    "state.rs",
    "state/",
];

/// Every task starts in the tracker, so that every process can end all of its own.
const SPAWNERS: &[&str] = &["services/runtime/src/shutdown.rs"];

/// A source file: path from the repository's top, and text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Returns the lines of code with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .map(|line| line.split("//").next().unwrap_or_default())
            .enumerate()
            .map(|(at, line)| (at + 1, line))
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/")
    }
}

fn top() -> Result<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(tests
        .parent()
        .context("tests lies in the repository")?
        .to_path_buf())
}

/// Returns all Rust sources, sorted by path.
fn sources() -> Result<Vec<Source>> {
    let top = top()?;
    let mut found = Vec::new();
    let mut dirs: Vec<PathBuf> = ["services", "loadtest", "tests"]
        .map(|d| top.join(d))
        .into();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() && !path.ends_with("target") {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(Source {
                    path: path.strip_prefix(&top)?.to_string_lossy().into_owned(),
                    text: fs::read_to_string(&path)?,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn is_allowed(path: &str, folder: &str, files: &[&str]) -> bool {
    let inside = path
        .strip_prefix(folder)
        .unwrap_or(path)
        .trim_start_matches('/');
    files
        .iter()
        .any(|file| inside == *file || (file.ends_with('/') && inside.starts_with(file)))
}

#[test]
fn words_are_named_only_where_they_belong() -> Result<()> {
    let mut breaches = Vec::new();
    for source in sources()?.iter().filter(|source| !source.is_test()) {
        for (word, folder, files) in NAMED_ONLY_BY {
            if !source.path.starts_with(folder) || is_allowed(&source.path, folder, files) {
                continue;
            }
            let hits = source.code().filter(|(_, line)| line.contains(word));
            breaches.extend(hits.map(|(at, _)| format!("{}:{at} names {word}", source.path)));
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
    Ok(())
}

#[test]
fn every_file_says_first_what_it_is() -> Result<()> {
    let sources = sources()?;
    let has_head = |s: &&Source| s.text.starts_with("//! ");
    let without: Vec<_> = sources
        .iter()
        .filter(|s| !has_head(s))
        .map(|s| &s.path)
        .collect();
    assert!(without.is_empty(), "{without:#?}");
    Ok(())
}

#[test]
fn no_file_is_too_long() -> Result<()> {
    let sources = sources()?;
    let long = sources.iter().map(|s| (s.text.lines().count(), &s.path));
    let long: Vec<_> = long.filter(|(lines, _)| *lines > FILE_LINES).collect();
    assert!(long.is_empty(), "{long:#?}");
    Ok(())
}

#[test]
fn no_module_is_called_mod() -> Result<()> {
    let sources = sources()?;
    let found: Vec<_> = sources
        .iter()
        .filter(|s| s.path.ends_with("/mod.rs"))
        .map(|s| &s.path)
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    Ok(())
}
