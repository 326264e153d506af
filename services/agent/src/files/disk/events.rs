//! Disks that cannot tell of all changes: what is changed on another machine, below an overlay or by
//! the program behind a FUSE mount raises no event here.

use std::path::Path;

/// Type numbers of file systems (`statfs(2)`), with their names.
const WITHOUT_EVENTS: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x794c_7630, "overlayfs"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
];

/// Returns the name of the file system at a path if changes that are made elsewhere raise no event;
/// `None` also if it cannot be asked.
pub(crate) fn without_events(path: &Path) -> Option<&'static str> {
    let found = rustix::fs::statfs(path).ok()?;
    let found = u32::try_from(found.f_type & 0xffff_ffff).ok()?;
    WITHOUT_EVENTS
        .iter()
        .find(|(number, _)| *number == found)
        .map(|(_, name)| *name)
}
