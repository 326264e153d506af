//! Real trees: the sources of our own dependencies, and a git working copy with its `.git`.
//!
//! `FSYNC_E2E_FILES` says how many files of the registry are taken (default 20,000).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::{self, write};
use fsync_tests::{System, wait};

/// Real trees take their time on a busy machine.
const LONG: Duration = Duration::from_secs(280);

/// Returns the unpacked packages of the cargo registry, by name and version.
fn packages() -> Result<Vec<PathBuf>> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let registry = home.context("a home directory")?.join("registry/src");
    let mut found = Vec::new();
    for index in fs::read_dir(&registry).with_context(|| registry.display().to_string())? {
        for package in fs::read_dir(index?.path())? {
            found.push(package?.path());
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "{} holds no package", registry.display());
    Ok(found)
}

/// Copies all but the times: packages carry one and the same time, by which git tells no version
/// from another.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let all = ["-dR", "--preserve=mode"];
    run(Command::new("cp").args(all).arg(from.join(".")).arg(to))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    let said: String = said.chars().take(2_000).collect();
    ensure!(output.status.success(), "{command:?}: {errors}{said}");
    Ok(())
}

fn in_step(system: &System) -> Result<()> {
    wait::until("a and b are the same", LONG, || {
        folder::same(&system.path("a"), &system.path("b"))
    })
}

#[test]
fn the_registry_of_our_dependencies_stays_in_step() -> Result<()> {
    let most = std::env::var("FSYNC_E2E_FILES").ok();
    let most = most.map_or(Ok(20_000), |text| text.parse::<usize>())?;
    let system = System::new()?;
    let server = system.server()?;
    let root = system.folder("a")?;
    let mut count = 0;
    for package in packages()? {
        let name = package.file_name().context("a package has a name")?;
        copy(&package, &root.join(name))?;
        count += folder::list(&root.join(name))?.len();
        if count >= most {
            break;
        }
    }
    let _a = system.agent("a", &server)?;
    let mut b = system.agent("b", &server)?;
    wait::until_true("the first files are there", LONG, || {
        fs::read_dir(&b.root).is_ok_and(|dir| dir.count() > 2)
    })?;
    b.process.kill()?;
    let mut b = system.agent("b", &server)?;
    in_step(&system)?;
    edit_everything(&root)?;
    b.process.kill()?;
    let _b = system.agent("b", &server)?;
    in_step(&system)
}

/// Renames, edits and deletes some of what stands in a folder, in an order that is the same each
/// time.
fn edit_everything(root: &Path) -> Result<()> {
    let mut packages: Vec<_> = fs::read_dir(root)?.collect::<Result<_, _>>()?;
    packages.sort_by_key(fs::DirEntry::file_name);
    for (at, package) in packages.iter().enumerate() {
        let path = package.path();
        if path.ends_with(folder::MARKER) || !path.is_dir() {
            continue;
        }
        match at % 10 {
            1 => fs::rename(&path, path.with_extension("renamed"))?,
            2 => write(&path, "Cargo.toml", "# edited\n")?,
            3 => write(&path, "new/dir/file", format!("{at}"))?,
            4 if at < 30 => fs::remove_dir_all(&path)?,
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn a_git_working_copy_survives_checkouts_and_a_kill() -> Result<()> {
    let (old, new) = two_versions()?;
    let system = System::new()?;
    let server = system.server()?;
    let root = system.folder("a")?;
    write(&root, ".fsyncignore", "!.git\n")?;
    git(&root, &["init", "-q", "-b", "main"])?;
    for (version, tag) in [(&old, "old"), (&new, "new")] {
        copy(version, &root)?;
        git(&root, &["add", "-A"])?;
        git(&root, &["commit", "-q", "-m", tag])?;
        git(&root, &["tag", tag])?;
    }
    let _a = system.agent("a", &server)?;
    let mut b = system.agent("b", &server)?;
    in_step(&system)?;
    for tag in ["old", "new", "old"] {
        git(&root, &["checkout", "-q", tag])?;
        b.process.kill()?;
        b = system.agent("b", &server)?;
        in_step(&system)?;
        git(&b.root, &["fsck", "--strict"])?;
        is_at(&b.root, tag)?;
    }
    Ok(())
}

/// Returns two versions of one package of the registry.
fn two_versions() -> Result<(PathBuf, PathBuf)> {
    let mut by_name: BTreeMap<String, PathBuf> = BTreeMap::new();
    for path in packages()? {
        let name = path
            .file_name()
            .context("a package has a name")?
            .to_string_lossy()
            .into_owned();
        let (name, _) = name.rsplit_once('-').context("a package has a version")?;
        if let Some(other) = by_name.insert(name.to_owned(), path.clone()) {
            return Ok((other, path));
        }
    }
    anyhow::bail!("no package of the registry has two versions")
}

/// Checks that a working copy is at a tag. `git diff` writes the index that it reads, which would be
/// an edit of this folder's, and a conflict with the next checkout: it gets one of its own.
fn is_at(dir: &Path, tag: &str) -> Result<()> {
    let index = tempfile::NamedTempFile::new()?;
    fs::copy(dir.join(".git/index"), index.path())?;
    let diff = ["diff", "--exit-code", tag];
    run(git_in(dir, &diff).env("GIT_INDEX_FILE", index.path()))
}

fn git(dir: &Path, args: &[&str]) -> Result<()> {
    run(&mut git_in(dir, args))
}

fn git_in(dir: &Path, args: &[&str]) -> Command {
    let identity = [
        "-c",
        "user.name=test",
        "-c",
        "user.email=test@localhost",
        "-c",
        "gc.auto=0",
    ];
    let mut command = Command::new("git");
    command.current_dir(dir).args(identity).args(args);
    command
}
