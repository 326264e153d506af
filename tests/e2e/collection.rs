//! Garbage is collected all the time while agents send and change what they send.

use std::ffi::OsStr;
use std::fs;

use anyhow::Result;
use fsync_tests::System;
use fsync_tests::folder::{noise, write};
use fsync_tests::process::run;

/// Everything that is not the head is garbage as soon as it may be.
const EAGER: [&str; 8] = [
    "--gc-interval",
    "1s",
    "--gc-grace",
    "0s",
    "--retain",
    "0s",
    "--retain-revisions",
    "1",
];

#[test]
fn a_collection_that_runs_all_the_time_takes_nothing_that_is_needed() -> Result<()> {
    let system = System::new()?;
    let mut server = system.server_on("127.0.0.1:0", &EAGER)?;
    let a = system.agent("a", &server)?;
    let b = system.agent("b", &server)?;
    for round in 0..12u32 {
        // Large files go through upload sessions; what was sent before is needed again, is not,
        // and is sent anew.
        let large = noise(round / 2, 6_000_000);
        write(&a.root, &format!("large/{}", round % 3), &large)?;
        write(
            &b.root,
            &format!("small/{round}"),
            format!("content {}", round % 4),
        )?;
        write(&b.root, "same", format!("content {}", round % 2))?;
        if round % 3 == 2 {
            fs::remove_dir_all(a.root.join("large"))?;
            a.flush()?;
        }
        if round % 4 == 3 {
            system.in_step("a", "b")?;
        }
    }
    a.flush()?;
    b.flush()?;
    system.in_step("a", "b")?;
    // A newcomer gets all that is left.
    let c = system.agent("c", &server)?;
    system.in_step("a", "c")?;
    drop((a, b, c));
    assert!(server.process.stop()?.success());
    let data = system.path("data");
    // By what is kept, not by what is kept usually.
    let mut args = vec!["fsck".as_ref(), "--data-dir".as_ref(), data.as_os_str()];
    args.extend(EAGER.iter().skip(2).map(OsStr::new));
    run("fsync-server", args)?.success()?;
    Ok(())
}
