//! Tokens of an OpenID Connect issuer: keys by URL, cached, rotated, withdrawn; three algorithms,
//! and no way from one to another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use fsync_core::wire::ErrorCode;
use fsync_server::auth::{Audience, Issuer, Tokens};
use fsync_server::config::Access;
use fsync_server::{Config, Server};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};

use super::{claims, forge};
use crate::agent::Agent;

/// A key of the issuer.
enum Pair {
    Ed(Ed25519KeyPair),
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    fn ed() -> Self {
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap())
    }

    fn ec() -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        Self::Ec(pair.unwrap())
    }

    fn rsa(bits: &str) -> Self {
        let made = std::process::Command::new("openssl")
            .args([
                "genpkey",
                "-algorithm",
                "RSA",
                "-outform",
                "DER",
                "-pkeyopt",
            ])
            .arg(format!("rsa_keygen_bits:{bits}"))
            .output()
            .unwrap();
        // Older releases of openssl say it the old way.
        let pair =
            RsaKeyPair::from_pkcs8(&made.stdout).or_else(|_| RsaKeyPair::from_der(&made.stdout));
        Self::Rsa(pair.unwrap())
    }

    fn alg(&self) -> &'static str {
        match self {
            Self::Ed(_) => "EdDSA",
            Self::Ec(_) => "ES256",
            Self::Rsa(_) => "RS256",
        }
    }

    /// Returns the public key, as the issuer publishes it.
    fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Ed(pair) => {
                let x = BASE64.encode(pair.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "use": "sig", "x": x})
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y})
            }
            Self::Rsa(pair) => {
                let key: ring::rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                let (n, e) = (BASE64.encode(key.n), BASE64.encode(key.e));
                json!({"kty": "RSA", "kid": kid, "alg": "RS256", "use": "sig", "n": n, "e": e})
            }
        }
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", forge::encode(header), forge::encode(claims));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Ed(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Self::Ec(pair) => pair
                .sign(&random, message.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(
                    &RSA_PKCS1_SHA256,
                    &random,
                    message.as_bytes(),
                    &mut signature,
                );
                signed.unwrap();
                signature
            }
        };
        format!("{message}.{}", BASE64.encode(signature))
    }

    fn token(&self, kid: &str) -> String {
        self.sign(&json!({"alg": self.alg(), "kid": kid}), &of_issuer())
    }
}

fn of_issuer() -> Value {
    let mut claims = claims();
    claims["iss"] = json!("https://issuer.example");
    claims["aud"] = json!("files");
    claims
}

/// An issuer that really answers.
struct Site {
    keys: Arc<Mutex<Value>>,
    asked: Arc<AtomicUsize>,
    url: String,
}

async fn site(keys: Value) -> Site {
    let keys = Arc::new(Mutex::new(json!({ "keys": keys })));
    let asked = Arc::new(AtomicUsize::new(0));
    let (shown, counted) = (keys.clone(), asked.clone());
    let answer = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let text = shown.lock().unwrap().to_string();
        std::future::ready(text)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let routes = Router::new().route("/keys", get(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Site { keys, asked, url }
}

async fn server(url: &str) -> Server {
    let tokens = Tokens {
        issuer: Issuer::Jwks(url.parse().unwrap()),
        audience: Audience {
            issuer: "https://issuer.example".to_owned(),
            audience: "files".to_owned(),
        },
    };
    let config = Config {
        access: Access::Tokens(Box::new(tokens)),
        ..Config::memory()
    };
    Server::start(config).await.unwrap()
}

async fn ask(server: &Server, token: &str) -> Result<(), ErrorCode> {
    let agent = Agent::with_token(&server.url(), "default/docs", token);
    let answer = agent.get_json::<Value>("/v1/trees/default/docs/head").await;
    answer.map(drop).map_err(|error| error.code)
}

const REFUSED: Result<(), ErrorCode> = Err(ErrorCode::Unauthorized);

#[tokio::test(flavor = "multi_thread")]
async fn three_algorithms_are_taken_and_never_for_one_another() {
    let (ed, ec, rsa) = (Pair::ed(), Pair::ec(), Pair::rsa("2048"));
    let weak = Pair::rsa("2048");
    let pairs = [("ed", &ed), ("ec", &ec), ("rsa", &rsa)];
    let site = site(pairs.iter().map(|(kid, pair)| pair.jwk(kid)).collect()).await;
    let server = server(&site.url).await;
    for (kid, pair) in pairs {
        assert_eq!(ask(&server, &pair.token(kid)).await, Ok(()), "{kid}");
        for (other, _) in pairs.iter().filter(|(other, _)| *other != kid) {
            let token = pair.sign(&json!({"alg": pair.alg(), "kid": other}), &of_issuer());
            assert_eq!(ask(&server, &token).await, REFUSED, "{kid} for {other}");
        }
        // The public key is no secret: whoever signs with it by HMAC knows nothing.
        let jwk = pair.jwk(kid);
        let secrets: Vec<Vec<u8>> = ["x", "n"]
            .iter()
            .filter_map(|name| jwk[name].as_str())
            .flat_map(|text| [text.as_bytes().to_vec(), BASE64.decode(text).unwrap()])
            .chain([jwk.to_string().into_bytes()])
            .collect();
        for secret in secrets {
            for alg in ["HS256", pair.alg()] {
                let header = json!({"alg": alg, "kid": kid});
                let token = forge::hmac_signed(&secret, &header, &of_issuer());
                assert_eq!(
                    ask(&server, &token).await,
                    REFUSED,
                    "{kid} as a secret, {alg}"
                );
            }
        }
        // A key that the token brings along, or an address of one, is not looked at.
        let own = weak.jwk(kid);
        let header = json!({"alg": "RS256", "kid": kid, "jwk": own, "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/"});
        assert_eq!(
            ask(&server, &weak.sign(&header, &of_issuer())).await,
            REFUSED,
            "{kid}"
        );
        let unsigned = format!(
            "{}.{}.",
            forge::encode(&json!({"alg": "none", "kid": kid})),
            forge::encode(&of_issuer())
        );
        assert_eq!(ask(&server, &unsigned).await, REFUSED, "{kid} unsigned");
        let nameless = pair.sign(&json!({"alg": pair.alg()}), &of_issuer());
        assert_eq!(
            ask(&server, &nameless).await,
            REFUSED,
            "{kid} without a name"
        );
    }
    let ours = ed.sign(&json!({"alg": "EdDSA", "kid": "ed"}), &claims());
    assert_eq!(
        ask(&server, &ours).await,
        REFUSED,
        "another issuer and audience"
    );
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn invented_key_names_do_not_reach_the_issuer() {
    let ed = Pair::ed();
    let site = site(json!([ed.jwk("1")])).await;
    let server = server(&site.url).await;
    assert_eq!(ask(&server, &ed.token("1")).await, Ok(()));
    let before = site.asked.load(Ordering::Relaxed);
    for n in 0..50 {
        assert_eq!(
            ask(&server, &ed.token(&format!("invented-{n}"))).await,
            REFUSED
        );
    }
    assert!(site.asked.load(Ordering::Relaxed) <= before + 1);
    server.shutdown().await.unwrap();
}

/// Waits for the pause between two questions to the issuer, in real time.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_and_a_withdrawn_one_ends_what_it_signed() {
    let (old, new) = (Pair::ed(), Pair::ec());
    let site = site(json!([old.jwk("old")])).await;
    let server = server(&site.url).await;
    assert_eq!(ask(&server, &old.token("old")).await, Ok(()));
    *site.keys.lock().unwrap() = json!({"keys": [new.jwk("new")]});
    let end = std::time::Instant::now() + Duration::from_secs(15);
    while ask(&server, &new.token("new")).await != Ok(()) {
        assert!(std::time::Instant::now() < end, "the new key is not found");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // It was checked before; that does not help it.
    assert_eq!(ask(&server, &old.token("old")).await, REFUSED);
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_shuts_nobody_in_and_nobody_out_for_good() {
    let ed = Pair::ed();
    let port = crate::redis::free_port();
    let server = server(&format!("http://127.0.0.1:{port}/keys")).await;
    assert_eq!(
        ask(&server, &ed.token("1")).await,
        Err(ErrorCode::Unavailable)
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn keys_may_come_from_a_file() {
    let ed = Pair::ed();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    std::fs::write(&path, json!({"keys": [ed.jwk("1")]}).to_string()).unwrap();
    let server = server(&format!("file://{}", path.display())).await;
    assert_eq!(ask(&server, &ed.token("1")).await, Ok(()));
    server.shutdown().await.unwrap();
}
