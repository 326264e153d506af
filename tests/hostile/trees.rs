//! Trees that are sound node by node and too much as a whole.

use anyhow::{Context, Result};
use fsync_tests::wait::PATIENCE;

use crate::forge::{Item, Raw, dir};
use crate::trial::Trial;

/// Levels of directories below one another: more than a path may have.
const DEEP: usize = 600;

/// Makes directories above a leaf; returns all nodes, the top one last.
fn nested(count: usize) -> Vec<Raw> {
    let content = Raw::chunk("content");
    let mut nodes = vec![content.clone(), dir(&[Item::file(b"f", &content)])];
    for _ in 0..count {
        let above = nodes.last().map(|below| dir(&[Item::dir(b"d", below)]));
        nodes.extend(above);
    }
    nodes
}

#[test]
fn a_tree_deeper_than_any_path_is_left_alone() -> Result<()> {
    let mut trial = Trial::start()?;
    let nodes = nested(DEEP);
    let root = nodes.last().cloned().context("there is a root")?;
    trial.publish(&root, nodes);
    trial.agent.process.line_after("cannot be used", PATIENCE)?;
    trial.unharmed()?;
    trial.survives("after it")
}

#[test]
fn times_that_no_clock_shows_are_put_as_they_can_be() -> Result<()> {
    let mut trial = Trial::start()?;
    let content = Raw::chunk("timeless");
    for (number, mtime) in [i64::MIN, -1, 0, i64::MAX].into_iter().enumerate() {
        let name = format!("t{number}");
        let root = Trial::tree(&[Item::file(name.as_bytes(), &content).with_mtime(mtime)]);
        trial.publish(&root, [content.clone()]);
        trial.until_there(&name)?;
        trial.unharmed()?;
    }
    trial.survives("after all times")
}
