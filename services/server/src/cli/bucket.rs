//! What the environment says of a bucket: the standard `AWS_*` variables and the file of profiles.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::blobs::s3::{Credentials, S3Config};
use crate::config::ConfigError;

/// Reads a bucket's URL, and the credentials for it.
///
/// The keys are those of `AWS_ACCESS_KEY_ID`, else of the profile `AWS_PROFILE` in
/// `AWS_SHARED_CREDENTIALS_FILE` or
/// `~/.aws/credentials`; without any, `object_store` tries the cloud's own ways.
pub(super) fn from_environment(url: &str) -> Result<S3Config, ConfigError> {
    let mut config: S3Config = url.parse()?;
    config.credentials = match of_variables() {
        Some(keys) => Some(keys),
        None => of_file()?,
    };
    config.ca_file = variable("AWS_CA_BUNDLE").map(PathBuf::from);
    Ok(config)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn of_variables() -> Option<Credentials> {
    Some(Credentials {
        access_key_id: variable("AWS_ACCESS_KEY_ID")?,
        secret_access_key: variable("AWS_SECRET_ACCESS_KEY")?,
        session_token: variable("AWS_SESSION_TOKEN"),
    })
}

fn of_file() -> Result<Option<Credentials>, ConfigError> {
    let named = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let is_named = named.is_some();
    let in_home = || Some(Path::new(&variable("HOME")?).join(".aws/credentials"));
    let Some(path) = named.or_else(in_home) else {
        return Ok(None);
    };
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Credentials::of_profile(&text, &profile)),
        Err(error) if error.kind() == ErrorKind::NotFound && !is_named => Ok(None),
        Err(error) => Err(ConfigError::Credentials {
            path: path.display().to_string(),
            reason: error.to_string(),
        }),
    }
}
