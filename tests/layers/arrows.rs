//! Which package may depend on which.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Each of our packages and which of ours it may depend on; `fsync-tests` may know everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("fsync-core", &[]),
    ("fsync-runtime", &[]),
    ("fsync-server", &["fsync-core", "fsync-runtime"]),
    ("fsync-agent", &["fsync-core", "fsync-runtime"]),
    ("fsync-controller", &["fsync-core", "fsync-runtime"]),
    (
        "fsync-demo",
        &["fsync-core", "fsync-runtime", "fsync-server", "fsync-agent"],
    ),
    ("loadtest", &["fsync-core", "fsync-runtime", "fsync-agent"]),
];

/// All that core may use of others: encodings, hashes, errors. No I/O, no async, no clock, no
/// randomness.
const CORE_CRATES: &[&str] = &[
    "blake3",
    "fastcdc",
    "minicbor",
    "serde",
    "serde_json",
    "thiserror",
];

/// Crates that one package keeps to itself.
const OWNED: &[(&str, &[&str])] = &[
    // The admin port of every service is in the runtime.
    ("axum", &["fsync-runtime", "fsync-server", "fsync-tests"]),
    ("socketioxide", &["fsync-server"]),
    ("object_store", &["fsync-server"]),
    ("fred", &["fsync-server"]),
    (
        "rust_socketio",
        &["fsync-agent", "fsync-server", "fsync-tests"],
    ),
    ("kube", &["fsync-controller"]),
    ("k8s-openapi", &["fsync-controller"]),
    ("notify", &["fsync-agent"]),
    ("ignore", &["fsync-agent"]),
    ("redb", &["fsync-server", "fsync-agent", "fsync-tests"]),
    ("indicatif", &["fsync-agent"]),
    ("tracing-subscriber", &["fsync-runtime", "fsync-tests"]),
];

/// One dependency as a manifest states it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    name: String,
    is_dev: bool,
}

/// Returns our packages with their direct dependencies.
fn packages() -> Result<BTreeMap<String, BTreeSet<Dependency>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &Value, key: &str| {
        value[key]
            .as_array()
            .cloned()
            .with_context(|| key.to_owned())
    };
    list(&metadata, "packages")?
        .iter()
        .map(|package| {
            let dependencies = list(package, "dependencies")?;
            let dependencies = dependencies.iter().map(dependency).collect::<Result<_>>()?;
            Ok((text(package, "name")?, dependencies))
        })
        .collect()
}

fn dependency(value: &Value) -> Result<Dependency> {
    Ok(Dependency {
        name: text(value, "name")?,
        is_dev: value["kind"] == "dev",
    })
}

fn text(value: &Value, key: &str) -> Result<String> {
    value[key]
        .as_str()
        .map(str::to_owned)
        .with_context(|| key.to_owned())
}

#[test]
fn packages_depend_only_along_the_arrows() -> Result<()> {
    let mut breaches = Vec::new();
    for (package, dependencies) in packages()? {
        if package == "fsync-tests" {
            continue;
        }
        let allowed = ARROWS.iter().find(|(name, _)| *name == package);
        let (_, allowed) = allowed.with_context(|| format!("{package} is not in the table"))?;
        let ours = dependencies.iter().filter(|d| d.name.starts_with("fsync-"));
        let wrong = ours.filter(|d| !allowed.contains(&d.name.as_str()));
        breaches.extend(wrong.map(|d| format!("{package} -> {}", d.name)));
    }
    assert_eq!(breaches, [""; 0]);
    Ok(())
}

#[test]
fn core_uses_nothing_that_could_do_io() -> Result<()> {
    let packages = packages()?;
    let core = packages.get("fsync-core").context("fsync-core")?;
    let others: Vec<_> = core
        .iter()
        .filter(|d| !d.is_dev && !CORE_CRATES.contains(&d.name.as_str()))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    Ok(())
}

#[test]
fn owned_crates_stay_with_their_owners() -> Result<()> {
    let mut breaches = Vec::new();
    for (package, dependencies) in packages()? {
        for (name, owners) in OWNED {
            let has = dependencies.iter().any(|d| d.name == *name);
            if has && !owners.contains(&package.as_str()) {
                breaches.push(format!("{package} -> {name}"));
            }
        }
    }
    assert_eq!(breaches, [""; 0]);
    Ok(())
}
