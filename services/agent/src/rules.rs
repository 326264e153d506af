//! Which paths are ignored: nested `.fsyncignore` files with the semantics of `.gitignore`, over a
//! short default list.
//!
//! Guarantees: the rule file nearest to a path decides, the last matching line in it; what is below
//! an ignored directory is ignored; a conflict copy is never ignored. `!.git` in a rule file brings
//! `.git` in.
//! Does not: ignore anything else of its own accord (SQLite journals are synced).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use fsync_core::path::{Name, RelPath};
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::files::{Files, Kind, Place, Problem};

/// Name of the rule files; they are synced with the tree.
pub const RULE_FILE: &str = ".fsyncignore";
/// What is ignored without any rule file: repositories, and names that editors use for a moment.
pub const DEFAULT_RULES: [&str; 7] = [
    ".git",
    ".fsync",
    ".#*",
    ".~lock.*#",
    "*___jb_*___",
    "4913",
    "*.sw[a-p]",
];
/// Longest rule file that is read, in bytes.
const RULE_FILE_BYTES: usize = 1024 * 1024;
const CONFLICT_MARK: &[u8] = b" (conflicted copy ";

static DEFAULTS: LazyLock<Gitignore> =
    LazyLock::new(|| build(&RelPath::root(), &DEFAULT_RULES.join("\n")));

/// The rules that hold in one directory; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rules(Option<Arc<Level>>);

#[derive(Debug)]
struct Level {
    rules: Gitignore,
    above: Rules,
}

/// Returns whether a name is that of a rule file.
pub fn is_rule_file(name: &Name) -> bool {
    name.as_bytes() == RULE_FILE.as_bytes()
}

impl Rules {
    /// Returns the rules of a folder that has no rule file.
    pub fn defaults() -> Self {
        Self(None)
    }

    /// Reads the rule files from the root down to `dir`, that of `dir` included.
    pub fn load(files: &dyn Files, dir: &RelPath) -> Self {
        let mut rules = Self::defaults().enter(files, &RelPath::root());
        let mut at = RelPath::root();
        for name in dir.names() {
            at = at.join(&name);
            rules = rules.enter(files, &at);
        }
        rules
    }

    /// Returns the rules inside `dir`, whose parent has these; reads the rule file in it, if there
    /// is one.
    #[must_use]
    pub fn enter(&self, files: &dyn Files, dir: &RelPath) -> Self {
        let Ok(name) = Name::new(RULE_FILE.as_bytes()) else {
            return self.clone();
        };
        match read_rules(files, &dir.join(&name)) {
            Some(text) => self.with_text(dir, &text),
            None => self.clone(),
        }
    }

    /// Returns these rules with the text of the rule file of `dir` on top.
    #[must_use]
    pub fn with_text(&self, dir: &RelPath, text: &str) -> Self {
        Self(Some(Arc::new(Level {
            rules: build(dir, text),
            above: self.clone(),
        })))
    }

    /// Returns whether `path` is ignored, given that no directory above it is.
    pub fn is_ignored(&self, path: &RelPath, kind: Kind) -> bool {
        let Some((_, name)) = path.split_last() else {
            return false;
        };
        let is_copy = name
            .as_bytes()
            .windows(CONFLICT_MARK.len())
            .any(|w| w == CONFLICT_MARK);
        if is_copy || is_rule_file(&name) {
            return false;
        }
        let path = Path::new(OsStr::from_bytes(path.as_bytes()));
        let mut at = self;
        while let Self(Some(level)) = at {
            let found = level.rules.matched(path, kind == Kind::Dir);
            if !found.is_none() {
                return found.is_ignore();
            }
            at = &level.above;
        }
        DEFAULTS.matched(path, kind == Kind::Dir).is_ignore()
    }

    /// Returns whether `path` or a directory above it is ignored.
    pub fn is_hidden(files: &dyn Files, path: &RelPath, kind: Kind) -> bool {
        let mut rules = Self::defaults().enter(files, &RelPath::root());
        let mut at = RelPath::root();
        let depth = path.depth();
        for (number, name) in path.names().enumerate() {
            at = at.join(&name);
            let is_last = number + 1 == depth;
            if rules.is_ignored(&at, if is_last { kind } else { Kind::Dir }) {
                return true;
            }
            if !is_last {
                rules = rules.enter(files, &at);
            }
        }
        false
    }
}

/// A line that is no valid pattern is passed over, as git does.
fn build(dir: &RelPath, text: &str) -> Gitignore {
    let mut builder = GitignoreBuilder::new(OsStr::from_bytes(dir.as_bytes()));
    for line in text.lines() {
        if let Err(error) = builder.add_line(None, line) {
            tracing::debug!(%dir, line, %error, "rule passed over");
        }
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

fn read_rules(files: &dyn Files, path: &RelPath) -> Option<String> {
    let file = match files.open(Place::Tree(path)) {
        Ok(file) => file,
        Err(error) => {
            if !error.is(Problem::NotFound) {
                tracing::warn!(%path, %error, "rule file not read");
            }
            return None;
        }
    };
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while bytes.len() < RULE_FILE_BYTES {
        match file.read_at(bytes.len() as u64, &mut buffer) {
            Ok(0) => break,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) => {
                tracing::warn!(%path, %error, "rule file not read");
                return None;
            }
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn defaults_hide_repositories_and_editor_names_only() {
        let rules = Rules::defaults();
        for hidden in [
            ".git",
            "a/.git",
            ".#x",
            ".~lock.a.odt#",
            "x___jb_tmp___",
            "4913",
            ".a.swp",
        ] {
            assert!(rules.is_ignored(&path(hidden), Kind::File), "{hidden}");
        }
        for seen in [
            "a",
            ".gitignore",
            "a.db-wal",
            "a.db-shm",
            "x.swz",
            "49131",
            "node_modules",
        ] {
            assert!(!rules.is_ignored(&path(seen), Kind::File), "{seen}");
        }
    }

    #[test]
    fn rule_files_nest_and_the_nearest_decides() {
        let top = Rules::defaults().with_text(&RelPath::root(), "*.o\n!.git\n/build/\n");
        assert!(!top.is_ignored(&path(".git"), Kind::Dir));
        assert!(top.is_ignored(&path("a/x.o"), Kind::File));
        assert!(top.is_ignored(&path("build"), Kind::Dir));
        assert!(!top.is_ignored(&path("build"), Kind::File));
        assert!(!top.is_ignored(&path("a/build"), Kind::Dir));
        let inner = top.with_text(&path("a"), "!x.o\nlocal\n");
        assert!(!inner.is_ignored(&path("a/x.o"), Kind::File));
        assert!(inner.is_ignored(&path("a/y.o"), Kind::File));
        assert!(inner.is_ignored(&path("a/b/local"), Kind::File));
    }

    #[test]
    fn conflict_copies_and_rule_files_are_never_ignored() {
        let rules = Rules::defaults().with_text(&RelPath::root(), "*\n");
        assert!(rules.is_ignored(&path("a"), Kind::File));
        let copy = path("a (conflicted copy box 2026-01-31 235959Z).txt");
        assert!(!rules.is_ignored(&copy, Kind::File));
        assert!(!rules.is_ignored(&path(".fsyncignore"), Kind::File));
    }
}
