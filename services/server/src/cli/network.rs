//! Flags that say how callers connect: TLS, and which web pages may ask.

use std::path::PathBuf;

use clap::Args;

use crate::config::{ConfigError, Origin};
use crate::listen::tls::TlsFiles;

/// How callers connect.
#[derive(Debug, Clone, Args)]
pub(super) struct NetworkArgs {
    /// Speak TLS with this certificate (PEM, with those between it and its authority); read again
    /// when it changes
    #[arg(long, env = "FSYNC_TLS_CERT_FILE", value_name = "FILE")]
    tls_cert_file: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, env = "FSYNC_TLS_KEY_FILE", value_name = "FILE")]
    tls_key_file: Option<PathBuf>,
    /// Let only those connect who show a certificate of this authority (PEM)
    #[arg(long, env = "FSYNC_TLS_CLIENT_CA_FILE", value_name = "FILE")]
    tls_client_ca_file: Option<PathBuf>,
    /// Web pages that may ask, as https://HOST:PORT; more with commas [default: none]
    #[arg(
        long,
        env = "FSYNC_CORS_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    cors_origin: Vec<String>,
}

impl NetworkArgs {
    pub(super) fn to_tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: self.tls_client_ca_file.clone(),
            })),
            (None, None) if self.tls_client_ca_file.is_none() => Ok(None),
            _ => Err(ConfigError::Tls),
        }
    }

    pub(super) fn to_origins(&self) -> Result<Vec<Origin>, ConfigError> {
        self.cors_origin.iter().map(|text| text.parse()).collect()
    }
}
