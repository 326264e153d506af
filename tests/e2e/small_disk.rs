//! A disk that fills up while changes from elsewhere are applied.

use std::fs;

use anyhow::Result;
use fsync_tests::System;
use fsync_tests::folder::{self, write};
use fsync_tests::launch::Kind;
use fsync_tests::wait::{PATIENCE, until};

#[test]
fn a_full_disk_holds_up_only_what_has_no_room() -> Result<()> {
    let system = System::new()?;
    let server = system.server()?;
    let a = system.agent("a", &server)?;
    let Some(disk) = system.mount("b", Kind::Tmpfs(8 << 20))? else {
        return Ok(());
    };
    let mut b = system.agent_on(&disk, "b", &server)?;
    let large = ["large/1", "large/2", "large/3"];
    for (name, byte) in large.into_iter().zip(1..) {
        write(&a.root, name, vec![byte; 5 << 20])?;
    }
    a.flush()?;
    b.process
        .line_after("the disk is full: no room for large/", PATIENCE)?;
    write(&a.root, "small", "there is room for this")?;
    until("small is at b", PATIENCE, || {
        Ok(fs::read(b.root.join("small"))?)
    })?;
    for name in &large[1..] {
        fs::remove_file(a.root.join(name))?;
    }
    until("a and b are the same", PATIENCE, || {
        folder::same(&a.root, &b.root)
    })
}
