//! An issuer's public keys, from its JWKS URL: kept, read again when they are old, and when a token
//! names one that is not here.
//!
//! Guarantees: whoever invents key names costs the issuer one request in [`AGAIN`] at most; an
//! answer that cannot be used changes nothing; what is in a token (`jwk`, `jku`, `x5u`) is never
//! used as a key or as an address.
//! Does not: take symmetric keys, keys for encryption, RSA below 2,048 bits.
//! Task: `jwks`, started by `auth.rs`, reads the keys every [`REFRESH`]; ends at shutdown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use fsync_runtime::Shutdown;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;
use tokio::time::Instant;
use tracing::{info, warn};

use super::keys::Key;

/// Time between two looks for new keys, and for ones that were withdrawn.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Shortest time between two requests to the issuer.
const AGAIN: Duration = Duration::from_secs(10);
/// Longest wait for the issuer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer, in bytes: hundreds of keys.
const ANSWER_BYTES: usize = 256 * 1024;
/// Most keys that are used.
const KEYS: usize = 64;

/// Why the URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "--auth-jwks {0:?} cannot be used: give https://HOST/PATH (http:// only on this machine) or file:///PATH"
)]
pub struct JwksUrlError(String);

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

impl std::str::FromStr for JwksUrl {
    type Err = JwksUrlError;

    fn from_str(text: &str) -> Result<Self, JwksUrlError> {
        let bad = || JwksUrlError(text.to_owned());
        let url = Url::parse(text).map_err(|_invalid| bad())?;
        let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_good = match url.scheme() {
            "https" => url.has_host(),
            "http" => is_local,
            "file" => !url.path().is_empty(),
            _ => false,
        };
        let has_secret = !url.username().is_empty() || url.password().is_some();
        (is_good && !has_secret)
            .then_some(Self(url))
            .ok_or_else(bad)
    }
}

/// An issuer's keys; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Jwks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: JwksUrl,
    client: reqwest::Client,
    tasks: Shutdown,
    keys: RwLock<Known>,
    /// When the issuer may be asked again; held while it is asked.
    next: tokio::sync::Mutex<Option<Instant>>,
    last_error: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Known {
    keys: BTreeMap<String, Key>,
    /// Whether the issuer ever answered.
    is_read: bool,
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Found {
    Key(Key),
    /// The issuer has none of this name.
    Unknown,
    /// The issuer never answered.
    NoKeys(String),
}

impl Jwks {
    pub(super) fn new(url: JwksUrl, tasks: &Shutdown) -> Result<Self, String> {
        fsync_runtime::crypto::install();
        let client = reqwest::Client::builder()
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            // A redirect could lead to plain text or to machines that only the server reaches.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self(Arc::new(Inner {
            url,
            client,
            tasks: tasks.clone(),
            keys: RwLock::default(),
            next: tokio::sync::Mutex::default(),
            last_error: Mutex::default(),
        })))
    }

    /// Returns a key, from the issuer if it is not here.
    pub(super) async fn key(&self, name: &str) -> Found {
        if let Some(key) = self.known(name) {
            return Found::Key(key);
        }
        self.refresh(AGAIN).await;
        match self.known(name) {
            Some(key) => Found::Key(key),
            None if self.is_read() => Found::Unknown,
            None => {
                let error = self.0.last_error.lock();
                let error = error.unwrap_or_else(PoisonError::into_inner).clone();
                Found::NoKeys(error.unwrap_or_else(|| "it was not asked yet".to_owned()))
            }
        }
    }

    /// Returns whether a key of this name signs still.
    pub(super) fn is_known(&self, name: &str) -> bool {
        let known = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.contains_key(name)
    }

    fn known(&self, name: &str) -> Option<Key> {
        let known = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        known.keys.get(name).cloned()
    }

    fn is_read(&self) -> bool {
        let known = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        known.is_read
    }

    /// Asks the issuer, unless it was asked within `pause`.
    async fn refresh(&self, pause: Duration) {
        // Those who wait here find the answer of the one who asked.
        let mut next = self.0.next.lock().await;
        if next.is_some_and(|at| Instant::now() < at) {
            return;
        }
        let read = self.fetch().await;
        *next = Some(Instant::now() + pause);
        let error = match read {
            Ok(keys) => {
                self.take(keys);
                None
            }
            Err(error) => {
                warn!(
                    error,
                    "the issuer's keys cannot be read; those at hand are used"
                );
                Some(error)
            }
        };
        *self
            .0
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = error;
    }

    fn take(&self, keys: BTreeMap<String, Key>) {
        let mut known = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        if !known.is_read || !keys.keys().eq(known.keys.keys()) {
            info!(keys = keys.len(), "the issuer's keys were read");
        }
        *known = Known {
            keys,
            is_read: true,
        };
    }

    async fn fetch(&self) -> Result<BTreeMap<String, Key>, String> {
        let url = &self.0.url.0;
        let bytes = if url.scheme() == "file" {
            let path = url.path().to_owned();
            let read = move || std::fs::read(path);
            let tasks = &self.0.tasks;
            tasks
                .spawn_blocking("jwks file", read)
                .await
                .map_err(|e| e.to_string())?
                .map_err(|e| e.to_string())?
        } else {
            self.download().await?
        };
        usable(&bytes)
    }

    async fn download(&self) -> Result<Vec<u8>, String> {
        let told = |e: reqwest::Error| e.without_url().to_string();
        let answer = self.0.client.get(self.0.url.0.clone()).send().await;
        let mut answer = answer
            .and_then(reqwest::Response::error_for_status)
            .map_err(told)?;
        if !answer.status().is_success() {
            return Err(format!("the issuer answers {}", answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(told)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > ANSWER_BYTES {
                return Err(format!("the issuer's answer is over {ANSWER_BYTES} bytes"));
            }
        }
        Ok(bytes)
    }
}

/// Reads the keys every while until the shutdown.
pub(super) async fn run(jwks: Jwks, tasks: Shutdown) {
    loop {
        jwks.refresh(AGAIN).await;
        let pause = match jwks.is_read() {
            true => REFRESH,
            false => AGAIN,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = tasks.triggered() => return,
        }
    }
}

/// Returns the keys of an answer that sign tokens in a way that is known here.
fn usable(bytes: &[u8]) -> Result<BTreeMap<String, Key>, String> {
    #[derive(serde::Deserialize)]
    struct Answer {
        keys: Vec<serde_json::Value>,
    }
    let answer: Answer =
        serde_json::from_slice(bytes).map_err(|e| format!("it is no JWKS: {e}"))?;
    // One key that is not understood must not take the others with it.
    let keys = answer
        .keys
        .into_iter()
        .filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
    let mut known = BTreeMap::new();
    for key in keys.filter_map(|jwk| key_of(&jwk)).take(KEYS) {
        if let Some(twin) = known.insert(key.name.clone(), key) {
            warn!(
                key = twin.name,
                "the issuer has two keys of one name; the last one counts"
            );
        }
    }
    Ok(known)
}

fn key_of(jwk: &Jwk) -> Option<Key> {
    let is_for_signatures = matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    );
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        // Other kinds, and symmetric keys: one in a public list is known to everybody.
        _ => return None,
    };
    if !is_for_signatures || jwk.common.key_algorithm.is_some_and(|given| given != named) {
        return None;
    }
    Some(Key {
        name: jwk.common.key_id.clone()?,
        algorithm,
        decoding: DecodingKey::from_jwk(jwk).ok()?,
    })
}

/// Checks that an answer is what this file takes it for.
#[cfg(test)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;

    use super::*;

    #[test]
    fn addresses_that_others_could_read_along_are_refused() {
        for good in [
            "https://issuer.example/keys",
            "http://127.0.0.1:8080/keys",
            "http://localhost/keys",
            "file:///etc/fsync/keys.json",
        ] {
            assert!(good.parse::<JwksUrl>().is_ok(), "{good}");
        }
        for bad in [
            "http://issuer.example/keys",
            "http://127.0.0.1.example/keys",
            "ftp://issuer.example/keys",
            "https://me:secret@issuer.example/keys",
            "issuer.example",
            "",
        ] {
            assert!(bad.parse::<JwksUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_public_keys_for_signatures_are_used() {
        let ed = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
        let list = format!(
            r#"{{"keys":[
                {{{ed},"kid":"good"}},
                {{{ed},"kid":"encrypts","use":"enc"}},
                {{{ed},"kid":"other","alg":"RS256"}},
                {{{ed}}},
                {{"kty":"oct","kid":"secret","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}},
                {{"kty":"EC","crv":"P-384","kid":"curve","x":"AA","y":"AA"}},
                {{"kty":"what","kid":"odd"}}, 7, null, {{}}
            ]}}"#
        );
        let keys = usable(list.as_bytes()).unwrap();
        let names: Vec<&str> = keys.keys().map(String::as_str).collect();
        assert_eq!(names, ["good"]);
        assert!(usable(b"[]").is_err() && usable(b"").is_err());
    }

    /// What [`JwkSet`] refuses as a whole is taken key by key.
    #[test]
    fn an_odd_key_does_not_take_the_others_with_it() {
        assert!(serde_json::from_str::<JwkSet>(r#"{"keys":[7]}"#).is_err());
        assert!(usable(br#"{"keys":[7]}"#).unwrap().is_empty());
    }
}
