//! Tables of what an `AgentToken` asks for, and of what becomes of its tokens.

use fsync_core::service::Now;
use serde_json::json;

use super::*;

fn spec(value: serde_json::Value) -> AgentTokenSpec {
    serde_json::from_value(value).unwrap()
}

fn token(value: serde_json::Value) -> AgentToken {
    let mut token = AgentToken::new("ci", spec(value));
    token.metadata.uid = Some("uid-ci".to_owned());
    token.metadata.namespace = Some("apps".to_owned());
    token
}

fn plain() -> serde_json::Value {
    json!({"subject": "ci", "trees": [{"name": "docs-*", "rights": ["read", "write"]}]})
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn url(text: &str) -> BaseUrl {
    text.parse().unwrap()
}

fn issued(id: &str) -> IssuedToken {
    IssuedToken {
        token: format!("text-of-{id}"),
        id: id.parse().unwrap(),
        issued_ms: Now(1_000_000),
        expires_ms: Now(10_000_000),
    }
}

fn held_of(id: &str, mark: &str) -> Held {
    Held {
        id: id.to_owned(),
        mark: mark.to_owned(),
        issued: at(1000),
        expires: at(10_000),
        is_whole: true,
        server: Some("http://fsync:8484".to_owned()),
    }
}

#[test]
fn an_order_says_what_the_spec_says() {
    let wanted = wanted("ci", &spec(plain())).unwrap();
    let trees: Vec<String> = wanted.order.trees.iter().map(ToString::to_string).collect();
    assert_eq!(trees, ["docs-*:rw"]);
    assert_eq!(wanted.order.tenant.as_str(), "default");
    assert_eq!(wanted.order.ttl_seconds, 720 * 3600);
    assert_eq!(wanted.rotate_before, Duration::from_secs(240 * 3600));
    assert_eq!(wanted.secret, "ci");
}

#[test]
fn every_field_makes_another_order() {
    let mark = |change: serde_json::Value| {
        let mut value = plain();
        for (key, new) in change.as_object().unwrap() {
            value[key] = new.clone();
        }
        wanted("ci", &spec(value)).unwrap().mark
    };
    let own = mark(json!({}));
    assert_eq!(
        own,
        mark(json!({"rotateBefore": "1h"})),
        "the same token may be replaced sooner"
    );
    for change in [
        json!({"subject": "other"}),
        json!({"tenant": "team"}),
        json!({"trees": [{"name": "docs-*", "rights": ["read"]}]}),
        json!({"ttl": "24h"}),
        json!({"secretName": "elsewhere"}),
    ] {
        assert_ne!(own, mark(change.clone()), "{change}");
    }
}

#[test]
fn what_cannot_be_names_its_field() {
    let tree = |name: &str, rights: &[&str]| json!([{"name": name, "rights": rights}]);
    let rows = [
        (json!({"subject": "a b"}), "spec.subject: "),
        (json!({"tenant": "a/b"}), "spec.tenant: "),
        (json!({"trees": []}), "spec.trees: "),
        (
            json!({"trees": tree("do*cs", &["read"])}),
            "spec.trees[0]: ",
        ),
        (json!({"trees": tree("docs", &[])}), "spec.trees[0].rights "),
        (
            json!({"trees": tree("team/docs", &["read"])}),
            "spec.trees: ",
        ),
        (json!({"ttl": "soon"}), "spec.ttl is \"soon\""),
        (
            json!({"ttl": "1h", "rotateBefore": "1d"}),
            "spec.rotateBefore is \"1d\"",
        ),
        (
            json!({"ttl": "1h", "rotateBefore": "59m30s"}),
            "spec.rotateBefore leaves ",
        ),
        (json!({"ttl": "30s"}), "spec.rotateBefore leaves "),
    ];
    for (change, field) in rows {
        let mut value = plain();
        for (key, new) in change.as_object().unwrap() {
            value[key] = new.clone();
        }
        let error = wanted("ci", &spec(value)).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error} is not about {field}");
    }
}

#[test]
fn a_secret_says_again_what_was_put_into_it() {
    let token = token(plain());
    let wanted = wanted("ci", &token.spec).unwrap();
    let secret = secret(&token, &wanted, &issued("one"), &url("http://fsync:8484"));
    assert_eq!(held(&secret), Some(held_of("one", &wanted.mark)));
    assert!(is_ours(&secret, &token));
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    let owner = &secret.owner_references()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.controller),
        ("AgentToken", Some(true))
    );
    let notes = format!("{:?}", secret.metadata);
    assert!(
        !notes.contains("text-of-one"),
        "the text stands in the data only"
    );
}

#[test]
fn a_secret_of_somebody_else_is_none_of_ours() {
    let token = token(plain());
    assert!(!is_ours(&Secret::default(), &token));
    assert_eq!(held(&Secret::default()), None);
    let wanted = wanted("ci", &token.spec).unwrap();
    let secret = secret(&token, &wanted, &issued("one"), &url("http://fsync:8484"));
    let mut recreated = token;
    recreated.metadata.uid = Some("uid-other".to_owned());
    assert!(!is_ours(&secret, &recreated));
}

#[test]
fn a_token_is_made_when_there_is_none_or_another_or_its_end_is_near() {
    let wanted = Wanted {
        rotate_before: Duration::from_secs(3000),
        ..wanted("ci", &spec(plain())).unwrap()
    };
    let fsync = url("http://fsync:8484");
    let good = held_of("one", &wanted.mark);
    let of = |held: &Held, now| need(&wanted, Some(held), &fsync, at(now));
    assert_eq!(
        need(&wanted, None, &fsync, at(2000)),
        Need::Token(Cause::Missing)
    );
    assert_eq!(of(&good, 2000), Need::Nothing);
    assert_eq!(of(&good, 6999), Need::Nothing);
    assert_eq!(of(&good, 7000), Need::Token(Cause::Due));
    assert_eq!(
        of(&held_of("one", "other"), 2000),
        Need::Token(Cause::Changed)
    );
    let damaged = Held {
        is_whole: false,
        ..good.clone()
    };
    assert_eq!(of(&damaged, 2000), Need::Token(Cause::Missing));
    assert_eq!(
        need(&wanted, Some(&good), &url("https://new"), at(2000)),
        Need::Address
    );
}

#[test]
fn a_token_that_got_less_time_than_asked_for_is_used_a_minute() {
    let short = Held {
        expires: at(1100),
        ..held_of("one", "m")
    };
    assert_eq!(due(&short, Duration::from_secs(3000)), at(1060));
}

#[test]
fn a_damaged_text_is_noticed() {
    let token = token(plain());
    let wanted = wanted("ci", &token.spec).unwrap();
    let mut secret = secret(&token, &wanted, &issued("one"), &url("http://fsync:8484"));
    let data = secret.data.as_mut().unwrap();
    data.insert(TOKEN_KEY.to_owned(), ByteString(b"edited".to_vec()));
    assert!(!held(&secret).unwrap().is_whole);
    secret.data = None;
    assert!(!held(&secret).unwrap().is_whole);
}

#[test]
fn a_moved_server_changes_the_url_alone() {
    let token = token(plain());
    let wanted = wanted("ci", &token.spec).unwrap();
    let mut old = secret(&token, &wanted, &issued("one"), &url("http://fsync:8484"));
    old.annotations_mut()
        .insert("other".to_owned(), "x".to_owned());
    let new = moved(&old, &token, &url("https://new"));
    let held = held(&new).unwrap();
    assert_eq!(held.server.as_deref(), Some("https://new"));
    assert!(held.is_whole);
    assert!(
        !new.annotations().contains_key("other"),
        "others' notes are not ours to own"
    );
}

fn status(id: &str, mark: &str, earlier: &[(&str, i64)]) -> AgentTokenStatus {
    AgentTokenStatus {
        token_id: Some(id.to_owned()),
        order: Some(mark.to_owned()),
        expires_at: Some(Time(at(10_000))),
        earlier: earlier
            .iter()
            .map(|(id, end)| EarlierToken {
                id: (*id).to_owned(),
                expires_at: Time(at(*end)),
            })
            .collect(),
        ..AgentTokenStatus::default()
    }
}

fn ids(earlier: &[EarlierToken]) -> Vec<&str> {
    earlier.iter().map(|one| one.id.as_str()).collect()
}

#[test]
fn what_an_ordinary_rotation_replaces_runs_out() {
    let before = status("one", "m", &[("zero", 5000), ("ended", 100)]);
    let account = account(&before, &held_of("two", "m"), at(2000));
    assert_eq!(account.revoke, [""; 0]);
    assert_eq!(ids(&account.earlier), ["zero", "one"]);
}

#[test]
fn what_another_order_replaces_is_revoked() {
    let before = status("one", "old", &[("zero", 5000), ("ended", 100)]);
    let account = account(&before, &held_of("two", "new"), at(2000));
    assert_eq!(account.revoke, ["zero", "one"]);
    assert_eq!(account.earlier, []);
}

#[test]
fn the_same_token_changes_nothing() {
    let mut before = status("one", "m", &[("zero", 5000)]);
    let held = held_of("one", "m");
    let first = account(&before, &held, at(2000));
    assert_eq!((first.revoke.len(), ids(&first.earlier)), (0, vec!["zero"]));
    record(&mut before, &held, "ci", first);
    let once = before.clone();
    let second = account(&before, &held, at(2000));
    record(&mut before, &held, "ci", second);
    assert_eq!(before, once);
}

#[test]
fn too_many_earlier_ones_are_revoked_from_the_oldest() {
    let names: Vec<String> = (0..EARLIER).map(|n| format!("t{n}")).collect();
    let earlier: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 9000)).collect();
    let account = account(&status("now", "m", &earlier), &held_of("next", "m"), at(1));
    assert_eq!(account.revoke, ["t0"]);
    assert_eq!(account.earlier.len(), EARLIER);
}

#[test]
fn a_status_without_tokens_names_none() {
    assert_eq!(good(&AgentTokenStatus::default(), at(0)), []);
}
