//! A bucket of S3-compatible storage as a blob store: what its URL says, and how it is reached.
//!
//! Guarantees: credentials never stand in the URL, nor in any output; a request ends within
//! [`REQUEST`], and is made again, after a growing pause with jitter, for at most [`RETRY`], so
//! that whoever waits for it is answered in time; at most [`REQUESTS`] are under way; the store
//! checks a SHA-256 of all that it is sent.
//! Does not: read the environment; `cli.rs` brings what stands there, but for the ways of the cloud
//! itself (web identity, container and instance roles), which `object_store` looks up.
//! Place: opened by `blobs.rs`.

use std::fmt;
use std::path::Path as FilePath;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::limit::LimitStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest time of one request, its body included: a part of a pack at 0.5 MB/s.
const REQUEST: Duration = Duration::from_secs(20);
/// No try begins later than this after the first; agents wait 60 s for an answer.
const RETRY: Duration = Duration::from_secs(10);
const RETRIES: usize = 8;
/// First and longest pause before a request is made again; jitter is added.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Requests that are under way at the same time.
const REQUESTS: usize = 64;
/// Where a bucket is if nothing says so; servers other than Amazon's do not care.
const REGION: &str = "us-east-1";

/// Keys of an account, as `AWS_ACCESS_KEY_ID` and so on or a file of profiles say.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Names the account.
    pub access_key_id: String,
    /// Secret.
    pub secret_access_key: String,
    /// Of keys for a limited time.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads a profile of a file as `~/.aws/credentials`: sections in brackets, `key = value` below
    /// them.
    pub fn of_profile(text: &str, profile: &str) -> Option<Self> {
        let mut is_in = false;
        let (mut key, mut secret, mut session_token) = (None, None, None);
        for line in text.lines().map(str::trim) {
            if let Some(name) = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
            {
                is_in = name.trim() == profile;
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| is_in) else {
                continue;
            };
            let slot = match name.trim() {
                "aws_access_key_id" => &mut key,
                "aws_secret_access_key" => &mut secret,
                "aws_session_token" => &mut session_token,
                _ => continue,
            };
            *slot = Some(value.trim().to_owned());
        }
        Some(Self {
            access_key_id: key?,
            secret_access_key: secret?,
            session_token,
        })
    }
}

/// Which bucket, and what is ours in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    bucket: String,
    prefix: Path,
    endpoint: Option<String>,
    region: Option<String>,
    /// Keys; without them the cloud's own ways are tried.
    pub credentials: Option<Credentials>,
    /// Certificates (PEM) that the server's own may descend from too.
    pub ca_file: Option<std::path::PathBuf>,
}

/// Why a URL names no bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum S3UrlError {
    /// It is not of that shape.
    #[error("it names no bucket (3 to 63 of a-z 0-9 . -)")]
    Bucket,
    /// Something like `KEY:SECRET@` stands in it.
    #[error(
        "credentials do not belong there, where everybody on this machine can read them: put them into \
         AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )]
    Credentials,
    /// The part after the bucket is no path.
    #[error("its prefix must be a path of plain names, as in team/fsync")]
    Prefix,
    /// Something after the question mark is unknown.
    #[error("{0:?} is no setting of it: there are endpoint and region")]
    Setting(String),
    /// The endpoint is no URL.
    #[error("its endpoint must be http://HOST[:PORT] or https://HOST[:PORT]")]
    Endpoint,
}

impl FromStr for S3Config {
    type Err = S3UrlError;

    /// Reads what follows `s3://`: `BUCKET[/PREFIX][?endpoint=URL][&region=NAME]`.
    fn from_str(text: &str) -> Result<Self, S3UrlError> {
        let (place, settings) = text.split_once('?').unwrap_or((text, ""));
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.contains(['@', ':']) {
            return Err(S3UrlError::Credentials);
        }
        let is_plain =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-');
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_plain) {
            return Err(S3UrlError::Bucket);
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_e| S3UrlError::Prefix)?;
        let mut config = Self {
            bucket: bucket.to_owned(),
            prefix,
            endpoint: None,
            region: None,
            credentials: None,
            ca_file: None,
        };
        for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
            match setting.split_once('=') {
                Some(("endpoint", url)) => config.endpoint = Some(endpoint(url)?),
                Some(("region", name)) => config.region = Some(name.to_owned()),
                Some(("access_key_id" | "secret_access_key" | "token", _)) => {
                    return Err(S3UrlError::Credentials);
                }
                // The value may be a secret.
                Some((name, _)) => return Err(S3UrlError::Setting(name.to_owned())),
                None => return Err(S3UrlError::Setting(setting.to_owned())),
            }
        }
        Ok(config)
    }
}

fn endpoint(url: &str) -> Result<String, S3UrlError> {
    let host = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let host = host.ok_or(S3UrlError::Endpoint)?.trim_end_matches('/');
    if host.contains('@') {
        return Err(S3UrlError::Credentials);
    }
    if host.is_empty() || host.contains('/') {
        return Err(S3UrlError::Endpoint);
    }
    Ok(url.trim_end_matches('/').to_owned())
}

impl S3Config {
    /// Returns the bucket and prefix as a URL without anything secret.
    pub fn name(&self) -> String {
        let at = self.endpoint.as_deref().unwrap_or("Amazon");
        match self.prefix.as_ref() {
            "" => format!("s3://{} ({at})", self.bucket),
            prefix => format!("s3://{}/{prefix} ({at})", self.bucket),
        }
    }

    /// Makes the store; nothing is sent yet.
    pub(super) fn build(&self) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
        let is_plain = self
            .endpoint
            .as_deref()
            .is_some_and(|url| url.starts_with("http://"));
        let mut client = ClientOptions::new()
            .with_connect_timeout(CONNECT)
            .with_timeout(REQUEST)
            .with_allow_http(is_plain);
        for certificate in self.certificates()? {
            client = client.with_root_certificate(certificate);
        }
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(&self.bucket)
            .with_client_options(client)
            .with_virtual_hosted_style_request(false)
            .with_checksum_algorithm(Checksum::SHA256)
            // One request for each object: not every server knows the other way, and there are few.
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                backoff: BackoffConfig {
                    init_backoff: BACKOFF_MIN,
                    max_backoff: BACKOFF_MAX,
                    base: 2.0,
                },
                max_retries: RETRIES,
                retry_timeout: RETRY,
            });
        if let Some(url) = &self.endpoint {
            // Stronger than one in the environment.
            builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, url);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        } else if builder
            .get_config_value(&AmazonS3ConfigKey::Region)
            .is_none()
        {
            builder = builder.with_region(REGION);
        }
        if let Some(keys) = &self.credentials {
            builder = builder
                .with_access_key_id(&keys.access_key_id)
                .with_secret_access_key(&keys.secret_access_key);
            if let Some(token) = &keys.session_token {
                builder = builder.with_token(token);
            }
        }
        let store = LimitStore::new(builder.build()?, REQUESTS);
        Ok(match self.prefix.as_ref() {
            "" => Arc::new(store),
            _ => Arc::new(PrefixStore::new(store, self.prefix.clone())),
        })
    }

    fn certificates(&self) -> Result<Vec<object_store::Certificate>, object_store::Error> {
        let Some(path) = &self.ca_file else {
            return Ok(Vec::new());
        };
        let pem = std::fs::read(path).map_err(|source| unreadable(path, &source))?;
        object_store::Certificate::from_pem_bundle(&pem)
    }
}

fn unreadable(path: &FilePath, source: &std::io::Error) -> object_store::Error {
    let reason = format!("AWS_CA_BUNDLE names {}: {source}", path.display());
    object_store::Error::Generic {
        store: "S3",
        source: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<S3Config, S3UrlError> {
        text.parse()
    }

    #[test]
    fn a_url_names_bucket_prefix_endpoint_and_region() {
        let config =
            read("bucket/team/fsync?endpoint=http://127.0.0.1:9000&region=garage").unwrap();
        assert_eq!(
            config.name(),
            "s3://bucket/team/fsync (http://127.0.0.1:9000)"
        );
        assert_eq!(
            (config.bucket.as_str(), config.region.as_deref()),
            ("bucket", Some("garage"))
        );
        assert_eq!(read("bucket").unwrap().name(), "s3://bucket (Amazon)");
        assert_eq!(read("bucket/").unwrap().name(), "s3://bucket (Amazon)");
    }

    #[test]
    fn what_is_no_bucket_says_why() {
        for (text, why) in [
            ("", S3UrlError::Bucket),
            ("My_Bucket", S3UrlError::Bucket),
            ("bucket/a//b", S3UrlError::Prefix),
            ("bucket?endpoint=localhost:9000", S3UrlError::Endpoint),
            ("bucket?endpoint=http://host/path", S3UrlError::Endpoint),
            ("bucket?speed=1", S3UrlError::Setting("speed".to_owned())),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_without_repeating_them() {
        for text in [
            "key:secret@bucket",
            "bucket?secret_access_key=secret",
            "bucket?endpoint=http://me:secret@host",
        ] {
            let refused = read(text).unwrap_err();
            assert_eq!(refused, S3UrlError::Credentials, "{text}");
            assert!(!refused.to_string().contains("secret@"));
        }
    }

    #[test]
    fn a_profile_of_a_file_is_read() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=B\n\n[ two ]\n# no\n\
                    aws_access_key_id=C\naws_secret_access_key = D=\naws_session_token=E\nregion = x\n[empty]\n";
        let of = |profile| Credentials::of_profile(text, profile);
        let default = of("default").unwrap();
        assert_eq!(
            (default.access_key_id.as_str(), default.session_token),
            ("A", None)
        );
        let two = of("two").unwrap();
        assert_eq!(
            (two.secret_access_key.as_str(), two.session_token.as_deref()),
            ("D=", Some("E"))
        );
        assert_eq!((of("empty"), of("none")), (None, None));
        assert!(!format!("{two:?}").contains("D="));
    }
}
