//! Grants as text, and what they allow.

use fsync_core::label::TreeKey;
use fsync_core::rights::{Grant, GrantError, Right, Rights};

fn rights(grants: &[&str]) -> Rights {
    let grants = grants.iter().map(|text| text.parse().unwrap()).collect();
    Rights::new("team".parse().unwrap(), grants).unwrap()
}

fn tree(text: &str) -> TreeKey {
    text.parse().unwrap()
}

#[test]
fn a_grant_covers_its_name_or_its_prefix_in_its_tenant_only() {
    use Right::{Admin, Read, Write};
    let some = rights(&["docs:r", "team/notes-*:rw", "notes-old:admin"]);
    let all = rights(&["*:rw"]);
    for (rights, name, expected) in [
        (&some, "team/docs", Some(Read)),
        (&some, "team/docs2", None),
        (&some, "team/Docs", None),
        (&some, "team/notes-1", Some(Write)),
        (&some, "team/notes", None),
        (&some, "team/notes-old", Some(Admin)),
        (&some, "other/docs", None),
        (&some, "docs", None),
        (&all, "team/anything", Some(Write)),
        (&all, "other/anything", None),
        (&all, "default/anything", None),
    ] {
        assert_eq!(rights.to(&tree(name)), expected, "{name}");
    }
    assert_eq!(rights(&[]).to(&tree("team/docs")), None);
}

#[test]
fn rights_include_those_before_them() {
    assert!(Right::Admin > Right::Write && Right::Write > Right::Read);
}

#[test]
fn a_grant_of_another_tenant_is_refused() {
    let grant: Grant = "other/docs:rw".parse().unwrap();
    let refused = Rights::new("team".parse().unwrap(), vec![grant]).unwrap_err();
    assert!(matches!(refused, GrantError::Tenant { .. }), "{refused}");
}

#[test]
fn grants_come_back_as_they_went_and_others_are_none() {
    for text in ["docs:r", "team/docs:rw", "a-*:admin", "*:r", "team/*:rw"] {
        assert_eq!(text.parse::<Grant>().unwrap().to_string(), text);
    }
    for text in [
        "",
        ":",
        "docs",
        "docs:",
        "docs:x",
        "docs:RW",
        ":rw",
        "/docs:rw",
        "a/b/c:rw",
        "*a:rw",
        "a*b:rw",
        "**:rw",
        "../x:rw",
        "-*:rw",
        "team/:rw",
        "*/docs:rw",
        "te*/docs:rw",
        "a b:rw",
        "docs:rw:rw:",
    ] {
        assert!(text.parse::<Grant>().is_err(), "{text:?}");
    }
}

#[test]
fn a_token_names_a_bounded_number_of_trees() {
    let grants = |n: usize| (0..n).map(|n| format!("t{n}:r").parse().unwrap()).collect();
    let tenant = || "team".parse().unwrap();
    assert!(Rights::new(tenant(), grants(256)).is_ok());
    let refused = Rights::new(tenant(), grants(257)).unwrap_err();
    assert!(refused.to_string().contains("256"), "{refused}");
}
