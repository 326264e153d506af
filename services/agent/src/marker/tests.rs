//! The rules of the marker, one test each.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Place {
    root: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        fs::canonicalize(dir).unwrap()
    }

    fn wish(&self, dir: &Path, state: &str) -> Wish {
        Wish {
            dir: dir.to_owned(),
            tree: "docs".parse().unwrap(),
            server: "http://localhost:8484".parse().unwrap(),
            agent: None,
            state_dir: Some(self.root.path().join("state").join(state)),
            token_file: None,
            ca_file: None,
        }
    }
}

#[test]
fn a_folder_is_opened_found_and_opened_again_with_the_same_identity() {
    let place = Place::new();
    let dir = place.dir("a");
    let wish = place.wish(&dir, "a");
    let first = Claim::take(&wish).unwrap();
    let config = first.config.clone();
    assert_eq!(
        find(&place.dir("a/sub/deep"), None).unwrap(),
        (dir, config.clone())
    );
    assert!(config.agent.as_str().ends_with(&config.folder[..4]));
    drop(first);
    let mut again = wish;
    again.state_dir = None;
    again.server = "http://other:1".parse().unwrap();
    let second = Claim::take(&again).unwrap();
    assert_eq!(second.config.folder, config.folder);
    assert_eq!(second.config.state_dir, config.state_dir);
    assert_eq!(second.config.server, again.server);
}

#[test]
fn what_is_no_usable_folder_is_refused() {
    let place = Place::new();
    let open = |path: &Path| Claim::take(&place.wish(path, "s")).unwrap_err();
    let missing = place.root.path().join("missing");
    assert!(matches!(open(&missing), MarkerError::Missing { .. }));
    let file = place.root.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(open(&file), MarkerError::NotADirectory { .. }));
    assert!(matches!(
        open(&file.join("x")),
        MarkerError::NotADirectory { .. }
    ));
    let closed = place.dir("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_err() {
        assert!(matches!(open(&closed), MarkerError::Unreadable { .. }));
    }
    assert!(!place.root.path().join("state").exists());
}

#[test]
fn a_marker_that_is_a_link_is_never_followed() {
    let place = Place::new();
    let (dir, elsewhere) = (place.dir("a"), place.dir("elsewhere"));
    symlink(&elsewhere, dir.join(MARKER_DIR)).unwrap();
    let refused = Claim::take(&place.wish(&dir, "s")).unwrap_err();
    assert!(
        matches!(refused, MarkerError::NoOwnMarker { .. }),
        "{refused}"
    );
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert!(!place.root.path().join("state").exists());
}

#[test]
fn one_agent_per_folder() {
    let place = Place::new();
    let dir = place.dir("a");
    let _first = Claim::take(&place.wish(&dir, "a")).unwrap();
    let error = Claim::take(&place.wish(&dir, "b")).unwrap_err();
    assert!(matches!(error, MarkerError::AlreadySynced { .. }));
    assert!(error.to_string().contains("fsync-agent status"));
}

#[test]
fn one_folder_per_state_directory() {
    let place = Place::new();
    let first = Claim::take(&place.wish(&place.dir("a"), "s")).unwrap();
    let error = Claim::take(&place.wish(&place.dir("b"), "s")).unwrap_err();
    assert!(matches!(error, MarkerError::StateOfOther { .. }));
    drop(first);
    let error = Claim::take(&place.wish(&place.dir("b"), "s")).unwrap_err();
    assert!(matches!(error, MarkerError::StateOfOther { .. }));
}

#[test]
fn state_is_never_inside_the_folder() {
    let place = Place::new();
    let dir = place.dir("a");
    let mut wish = place.wish(&dir, "s");
    wish.state_dir = Some(dir.join("new/state"));
    let error = Claim::take(&wish).unwrap_err();
    assert!(matches!(error, MarkerError::StateInside { .. }));
    symlink(&dir, place.root.path().join("link")).unwrap();
    wish.state_dir = Some(place.root.path().join("link/state"));
    let error = Claim::take(&wish).unwrap_err();
    assert!(matches!(error, MarkerError::StateInside { .. }));
    assert!(!dir.join("new").exists());
}

#[test]
fn folders_do_not_nest() {
    let place = Place::new();
    let outer = place.dir("outer");
    let inner = place.dir("outer/x/inner");
    let first = Claim::take(&place.wish(&inner, "inner")).unwrap();
    let error = Claim::take(&place.wish(&outer, "outer")).unwrap_err();
    assert!(matches!(&error, MarkerError::ContainsOther { inner: i, .. } if *i == inner));
    drop(first);
    fs::remove_dir_all(inner.join(MARKER_DIR)).unwrap();
    let _outer = Claim::take(&place.wish(&outer, "outer")).unwrap();
    let error = Claim::take(&place.wish(&inner, "inner2")).unwrap_err();
    assert!(matches!(&error, MarkerError::InsideOther { outer: o, .. } if *o == outer));
    assert!(!inner.join(MARKER_DIR).exists());
}

#[test]
fn a_folder_keeps_its_tree() {
    let place = Place::new();
    let dir = place.dir("a");
    let mut wish = place.wish(&dir, "a");
    drop(Claim::take(&wish).unwrap());
    wish.tree = "team/other".parse().unwrap();
    let error = Claim::take(&wish).unwrap_err();
    assert!(matches!(error, MarkerError::OtherTree { .. }));
}

#[test]
fn a_moved_folder_keeps_its_identity_and_a_copied_one_gets_its_own() {
    let place = Place::new();
    let (a, b) = (place.dir("a"), place.root.path().join("b"));
    let first = Claim::take(&place.wish(&a, "a")).unwrap().config;
    fs::rename(&a, &b).unwrap();
    let mut wish = place.wish(&b, "a");
    wish.state_dir = None;
    let moved = Claim::take(&wish).unwrap();
    assert_eq!(moved.config.folder, first.folder);
    let c = place.dir("c/.fsync");
    fs::copy(b.join(".fsync/config.json"), c.join("config.json")).unwrap();
    let mut wish = place.wish(&place.dir("c"), "c");
    wish.state_dir = Some(place.root.path().join("state/c"));
    let copied = Claim::take(&wish).unwrap();
    assert_ne!(copied.config.folder, first.folder);
}

#[test]
fn a_broken_marker_is_named() {
    let place = Place::new();
    let dir = place.dir("a");
    fs::write(place.dir("a/.fsync").join(CONFIG), "{").unwrap();
    let error = Claim::take(&place.wish(&dir, "s")).unwrap_err();
    assert!(error.to_string().contains(".fsync/config.json"), "{error}");
}

#[test]
fn verbs_outside_of_a_synced_folder_say_how_to_start() {
    let place = Place::new();
    let error = find(&place.dir("a"), None).unwrap_err();
    assert!(error.to_string().contains("fsync-agent sync"), "{error}");
}

#[test]
fn a_folder_without_its_marker_is_found_by_its_state() {
    let place = Place::new();
    let dir = place.dir("a");
    let claim = Claim::take(&place.wish(&dir, "a")).unwrap();
    place.dir("state/broken");
    fs::write(place.root.path().join("state/broken/folder.json"), "{").unwrap();
    fs::rename(&dir, place.root.path().join("away")).unwrap();
    let state = claim.config.state_dir.clone();
    let states = state.parent().unwrap();
    let expected = (dir.clone(), claim.config.clone());
    assert_eq!(find::by_state(states, &dir), Some(expected.clone()));
    assert_eq!(
        find::by_state(states, &dir.join("sub")),
        Some(expected.clone())
    );
    assert_eq!(find::by_state(states, states), None);
    assert_eq!(find(&dir, Some(&state)).unwrap(), expected.clone());
    // A state of the same folder from before does not matter.
    let old = place.dir("state/a-older");
    for name in ["folder.json", CONFIG] {
        fs::copy(state.join(name), old.join(name)).unwrap();
    }
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    let mark = fs::File::options()
        .write(true)
        .open(old.join("folder.json"));
    mark.unwrap().set_modified(long_ago).unwrap();
    let mut other = expected.1.clone();
    other.state_dir = old.clone();
    fs::write(old.join(CONFIG), serde_json::to_vec(&other).unwrap()).unwrap();
    assert_eq!(find::by_state(states, &dir), Some(expected));
    let error = find(&dir, Some(states)).unwrap_err();
    assert!(matches!(error, MarkerError::NoState { .. }), "{error}");
}

#[test]
fn a_directory_that_replaced_the_folder_is_opened_unless_it_is_another_synced_folder() {
    let place = Place::new();
    let (dir, away) = (place.dir("a"), place.root.path().join("away"));
    let claim = Claim::take(&place.wish(&dir, "a")).unwrap();
    let other = place.dir("b");
    let config = Claim::take(&place.wish(&other, "b")).unwrap().config;
    fs::rename(&dir, &away).unwrap();
    fs::rename(&other, &dir).unwrap();
    let error = claim.renew().unwrap_err();
    assert!(matches!(error, MarkerError::OtherFolder { .. }), "{error}");
    assert_eq!(read_config(&dir).unwrap(), Some(config), "it is left alone");
    fs::rename(&dir, &other).unwrap();
    place.dir("a/inner/.fsync");
    fs::copy(
        other.join(".fsync").join(CONFIG),
        dir.join("inner/.fsync").join(CONFIG),
    )
    .unwrap();
    let error = claim.renew().unwrap_err();
    assert!(
        matches!(error, MarkerError::ContainsOther { .. }),
        "{error}"
    );
    fs::remove_dir_all(dir.join("inner")).unwrap();
    assert_eq!(claim.renew().unwrap().config, claim.config);
    assert_eq!(read_config(&dir).unwrap(), Some(claim.config.clone()));
}
