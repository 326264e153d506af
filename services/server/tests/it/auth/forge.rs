//! Tokens made by hand: what the library that checks them must not be tricked by.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use fsync_core::wire::ErrorCode;
use ring::hmac;
use serde_json::{Value, json};

use super::{Key, claims, key, now};
use crate::agent::Agent;

pub(super) fn encode(value: &Value) -> String {
    BASE64.encode(value.to_string())
}

/// Signs what is given with a secret, by HMAC with SHA-256, whatever the header says.
pub(super) fn hmac_signed(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", BASE64.encode(signature.as_ref()))
}

/// A token with a good header and signature.
pub(crate) fn signed(key: &Key, claims: &Value) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    hmac_signed(key.text.as_bytes(), &header, claims)
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Everything wrong with claims, signed well.
fn bad_claims() -> Vec<(&'static str, Value)> {
    let many: Vec<String> = (0..257).map(|n| format!("t{n}:r")).collect();
    vec![
        ("expired", with("exp", json!(now() - 1))),
        ("expired long ago", with("exp", json!(0))),
        ("no expiry", without("exp")),
        ("expiry is text", with("exp", json!("9999999999"))),
        ("expiry is null", with("exp", Value::Null)),
        ("expiry is a list", with("exp", json!([9_999_999_999_u64]))),
        ("expiry is negative", with("exp", json!(-1))),
        ("expiry is beyond numbers", with("exp", json!(1e300))),
        ("begins later", with("nbf", json!(now() + 3600))),
        ("begins at the end of time", with("nbf", json!(u64::MAX))),
        ("begins at text", with("nbf", json!("0"))),
        ("made later", with("iat", json!(now() + 3600))),
        ("another issuer", with("iss", json!("somebody"))),
        ("issuers in a list", with("iss", json!(["fsync", "x"]))),
        ("no issuer", without("iss")),
        ("issuer null", with("iss", Value::Null)),
        ("another audience", with("aud", json!("somebody"))),
        ("other audiences", with("aud", json!(["somebody", "else"]))),
        ("no audience", without("aud")),
        ("audience in an object", with("aud", json!({"fsync": true}))),
        ("audience is a prefix", with("aud", json!("fsyn"))),
        ("no subject", without("sub")),
        ("empty subject", with("sub", json!(""))),
        ("subject with a line", with("sub", json!("anna\nadmin"))),
        ("subject is a number", with("sub", json!(7))),
        ("subject too long", with("sub", json!("a".repeat(300)))),
        ("empty id", with("jti", json!(""))),
        ("id with a space", with("jti", json!("a b"))),
        ("tenant with a slash", with("tenant", json!("team/x"))),
        ("tenant empty", with("tenant", json!(""))),
        ("tenant is a star", with("tenant", json!("*"))),
        ("tenant in a list", with("tenant", json!(["default"]))),
        ("no trees", without("trees")),
        ("trees as text", with("trees", json!("docs:rw"))),
        ("a tree without a right", with("trees", json!(["docs"]))),
        (
            "a tree with another right",
            with("trees", json!(["docs:root"])),
        ),
        (
            "a tree of another tenant",
            with("trees", json!(["docs:rw", "team/docs:rw"])),
        ),
        ("a path for a tree", with("trees", json!(["../docs:rw"]))),
        ("a star in the middle", with("trees", json!(["d*s:rw"]))),
        ("a star for the tenant", with("trees", json!(["*/docs:rw"]))),
        ("too many trees", with("trees", json!(many))),
        ("agent is a path", with("agent", json!("../x"))),
        ("claims are a list", json!(["docs:rw"])),
        ("claims are null", Value::Null),
    ]
}

/// Everything wrong with a header, with good claims, signed with the server's secret.
fn bad_headers() -> Vec<(&'static str, Value)> {
    let jwk = json!({"kty": "oct", "k": BASE64.encode("my own secret of 32 bytes, or more")});
    vec![
        ("alg none", json!({"alg": "none"})),
        ("alg None", json!({"alg": "None"})),
        ("alg nOnE", json!({"alg": "nOnE"})),
        ("alg empty", json!({"alg": ""})),
        ("alg null", json!({"alg": null})),
        ("alg in a list", json!({"alg": ["HS256"]})),
        ("no alg", json!({"typ": "JWT"})),
        ("alg HS384", json!({"alg": "HS384"})),
        ("alg HS512", json!({"alg": "HS512"})),
        ("alg RS256", json!({"alg": "RS256"})),
        ("alg PS256", json!({"alg": "PS256"})),
        ("alg ES256", json!({"alg": "ES256"})),
        ("alg EdDSA", json!({"alg": "EdDSA"})),
        ("alg hs256", json!({"alg": "hs256"})),
        ("another key", json!({"alg": "HS256", "kid": "other"})),
        (
            "key is a path",
            json!({"alg": "HS256", "kid": "../../dev/null"}),
        ),
        (
            "key is SQL",
            json!({"alg": "HS256", "kid": "x' UNION SELECT 'key"}),
        ),
        ("key is an object", json!({"alg": "HS256", "kid": {"a": 1}})),
        ("key is empty", json!({"alg": "HS256", "kid": ""})),
        ("crit", json!({"alg": "HS256", "crit": ["exp"]})),
        ("compressed", json!({"alg": "HS256", "zip": "DEF"})),
        ("encrypted", json!({"alg": "HS256", "enc": "A128GCM"})),
        ("its own key", json!({"alg": "RS256", "jwk": jwk})),
        ("header is a list", json!(["HS256"])),
        ("header is null", Value::Null),
    ]
}

/// Texts that are no tokens, or are good ones that were bent.
fn bent(good: &str) -> Vec<(&'static str, String)> {
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, tail) = (parts[0], parts[1], parts[2]);
    let admin = encode(&with("trees", json!(["*:admin"])));
    vec![
        ("empty", String::new()),
        ("a word", "x".to_owned()),
        ("dots", "..".to_owned()),
        ("many dots", ".".repeat(1000)),
        ("no signature", format!("{head}.{body}.")),
        ("no dot for the signature", format!("{head}.{body}")),
        ("no claims", format!("{head}..{tail}")),
        ("no header", format!(".{body}.{tail}")),
        ("a fourth part", format!("{good}.{tail}")),
        ("other claims", format!("{head}.{admin}.{tail}")),
        ("swapped", format!("{body}.{head}.{tail}")),
        ("half a signature", format!("{head}.{body}.{}", &tail[..20])),
        ("a longer signature", format!("{good}AAAA")),
        ("a padded signature", format!("{good}=")),
        (
            "signature of another alphabet",
            format!("{head}.{body}.{}", "+/".repeat(21)),
        ),
        ("huge", "a".repeat(20 * 1024)),
        (
            "huge claims",
            format!("{head}.{}.{tail}", "A".repeat(12_000)),
        ),
        (
            "deep claims",
            format!("{head}.{}.{tail}", BASE64.encode("[".repeat(3000))),
        ),
        ("not base64", format!("{head}.{{}}.{tail}")),
        ("percent", good.replace('.', "%2e")),
    ]
}

fn all_bad(key: &Key) -> Vec<(String, String)> {
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let secret = key.text.as_bytes();
    let mut all = Vec::new();
    for (name, claims) in bad_claims() {
        all.push((
            format!("claims: {name}"),
            hmac_signed(secret, &header, &claims),
        ));
    }
    for (name, bad) in bad_headers() {
        all.push((
            format!("header: {name}"),
            hmac_signed(secret, &bad, &claims()),
        ));
        // Unsigned, as `none` would have it.
        let unsigned = format!("{}.{}.", encode(&bad), encode(&claims()));
        all.push((format!("header: {name}, unsigned"), unsigned));
    }
    for (name, text) in bent(&signed(key, &claims())) {
        all.push((format!("bent: {name}"), text));
    }
    for (name, secret) in [
        ("an empty secret", &b""[..]),
        ("another secret", b"another secret of many many bytes"),
        ("a part of the secret", &secret[..32]),
        ("the secret and a line", &[secret, b"\n"].concat()),
    ] {
        // ring takes no empty key for HMAC from a file, but a token may be signed with one.
        all.push((
            format!("signed with {name}"),
            hmac_signed(secret, &header, &claims()),
        ));
    }
    all
}

#[tokio::test]
async fn no_trick_makes_a_token() {
    let key = key();
    let server = key.server().await;
    let ask = async |token: &str| {
        let agent = Agent::with_token(&server.url(), "default/docs", token);
        agent.get_json::<Value>("/v1/trees/default/docs/head").await
    };
    let bad = all_bad(&key);
    assert!(bad.len() > 100, "{}", bad.len());
    for (name, token) in bad {
        let refused = ask(&token).await.expect_err(&name);
        assert_eq!(refused.code, ErrorCode::Unauthorized, "{name}");
        // What was sent is not repeated.
        assert!(!refused.message.contains(&key.text), "{name}");
        assert!(refused.message.len() < 500, "{name}: {}", refused.message);
    }
    // The server goes on, and good ones are good.
    for (name, good) in [
        ("as it is", signed(&key, &claims())),
        ("no id", signed(&key, &without("jti"))),
        ("no tenant", signed(&key, &without("tenant"))),
        ("not made at any time", signed(&key, &without("iat"))),
        (
            "one of several audiences",
            signed(&key, &with("aud", json!(["x", "fsync"]))),
        ),
        (
            "more claims",
            signed(&key, &with("email", json!("anna@example.org"))),
        ),
    ] {
        let answer = ask(&good).await;
        assert!(answer.is_ok(), "{name}: {answer:?}");
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_token_in_another_place_is_none() {
    let key = key();
    let server = key.server().await;
    let token = signed(&key, &claims());
    let url = format!("{}/v1/trees/default/docs/head", server.url());
    let client = reqwest::Client::new();
    let bearer = format!("Bearer {token}");
    for (name, request) in [
        ("nowhere", client.get(&url)),
        ("query", client.get(format!("{url}?token={token}"))),
        ("query", client.get(format!("{url}?access_token={token}"))),
        (
            "cookie",
            client.get(&url).header("cookie", format!("token={token}")),
        ),
        ("basic", client.get(&url).basic_auth(&token, Some(&token))),
        (
            "no scheme",
            client.get(&url).header("authorization", &token),
        ),
        (
            "another scheme",
            client
                .get(&url)
                .header("authorization", format!("JWT {token}")),
        ),
        (
            "twice",
            client
                .get(&url)
                .header("authorization", &bearer)
                .header("authorization", &bearer),
        ),
        (
            "other bytes",
            client
                .get(&url)
                .header("authorization", &b"Bearer \xff\xfe"[..]),
        ),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401, "{name}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "{name}");
    }
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let request = client
            .get(&url)
            .header("authorization", format!("{scheme} {token}"));
        assert_eq!(
            request.send().await.unwrap().status().as_u16(),
            200,
            "{scheme}"
        );
    }
    server.shutdown().await.unwrap();
}
