//! Flags that say who may connect.

use std::path::PathBuf;

use clap::Args;

use crate::auth::{Audience, Issuer, OURS, Secret, Tokens};
use crate::config::{Access, ConfigError};

/// Who may connect.
#[derive(Debug, Clone, Args)]
pub(super) struct AccessArgs {
    /// Ask for tokens that were signed with the key in this file (`fsync-server token` makes both);
    /// more files, with commas, while keys are changed
    #[arg(
        long,
        env = "FSYNC_AUTH_HS256_FILE",
        value_name = "FILE",
        value_delimiter = ','
    )]
    auth_hs256_file: Vec<PathBuf>,
    /// Ask for tokens of an OpenID Connect issuer, whose public keys are there
    #[arg(long, env = "FSYNC_AUTH_JWKS", value_name = "URL")]
    auth_jwks: Option<String>,
    /// What tokens must say of who made them, claim iss [default: fsync with --auth-hs256-file]
    #[arg(long, env = "FSYNC_AUTH_ISSUER", value_name = "TEXT")]
    auth_issuer: Option<String>,
    /// What tokens must say of whom they are for, claim aud [default: fsync with --auth-hs256-file]
    #[arg(long, env = "FSYNC_AUTH_AUDIENCE", value_name = "TEXT")]
    auth_audience: Option<String>,
    /// Let anybody who reaches the address read and write all trees
    #[arg(long, env = "FSYNC_INSECURE_NO_AUTH")]
    insecure_no_auth: bool,
}

impl AccessArgs {
    /// Reads the files that are named.
    pub(super) fn to_access(&self) -> Result<Access, ConfigError> {
        let ways = [
            !self.auth_hs256_file.is_empty(),
            self.auth_jwks.is_some(),
            self.insecure_no_auth,
        ];
        if ways.into_iter().filter(|given| *given).count() > 1 {
            return Err(ConfigError::Access);
        }
        if self.insecure_no_auth {
            return Ok(Access::Anyone);
        }
        if let Some(url) = &self.auth_jwks {
            let (issuer, audience) = (self.auth_issuer.clone(), self.auth_audience.clone());
            let given = issuer.zip(audience);
            let given = given.filter(|(i, a)| !i.is_empty() && !a.is_empty());
            let (issuer, audience) = given.ok_or(ConfigError::Audience)?;
            return Ok(Access::Tokens(Box::new(Tokens {
                issuer: Issuer::Jwks(url.parse()?),
                audience: Audience { issuer, audience },
            })));
        }
        if self.auth_hs256_file.is_empty() {
            return Ok(Access::Loopback);
        }
        let secrets = self.auth_hs256_file.iter().map(|path| Secret::read(path));
        let ours = |given: &Option<String>| given.clone().unwrap_or_else(|| OURS.to_owned());
        Ok(Access::Tokens(Box::new(Tokens {
            issuer: Issuer::Secrets(secrets.collect::<Result<_, _>>()?),
            audience: Audience {
                issuer: ours(&self.auth_issuer),
                audience: ours(&self.auth_audience),
            },
        })))
    }
}
