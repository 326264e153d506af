//! Names of trees, tenants and agents.

use fsync_core::label::{AgentName, TreeKey, TreeName};
use fsync_core::limits::LABEL_BYTES;
use proptest::prelude::*;

#[test]
fn labels_are_short_and_safe_in_urls_keys_and_file_names() {
    let longest = "x".repeat(LABEL_BYTES);
    let too_long = "x".repeat(LABEL_BYTES + 1);
    let table = [
        ("a", true),
        ("0", true),
        ("My.tree_2-b", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        (".hidden", false),
        ("-flag", false),
        ("_x", false),
        ("a b", false),
        ("a/b", false),
        ("a%2f", false),
        ("ä", false),
        ("a\0", false),
        ("a\n", false),
    ];
    for (text, expected) in table {
        assert_eq!(text.parse::<TreeName>().is_ok(), expected, "{text:?}");
    }
}

#[test]
fn a_tree_without_a_tenant_belongs_to_the_default_one() {
    let table = [
        ("docs", Some("default/docs")),
        ("acme/docs", Some("acme/docs")),
        ("acme/", None),
        ("/docs", None),
        ("a/b/c", None),
        ("", None),
    ];
    for (text, expected) in table {
        let key = text.parse::<TreeKey>().ok().map(|k| k.to_string());
        assert_eq!(key.as_deref(), expected, "{text:?}");
    }
}

#[test]
fn a_refusal_names_what_was_refused_and_what_is_allowed() {
    let error = "a b".parse::<TreeName>().unwrap_err().to_string();
    assert!(
        error.contains("\"a b\" is not a valid tree name: use 1 to 64"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn any_text_can_become_an_agent_name(text in ".*") {
        let name = AgentName::from_lossy(&text);
        prop_assert_eq!(name.as_str().parse::<AgentName>(), Ok(name.clone()));
    }
}
