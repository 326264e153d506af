//! TLS of the listener: certificate, key and the authority of clients, read again when they change.
//!
//! Guarantees: TLS 1.2 and 1.3 only, by rustls; files that cannot be used when they change leave the
//! ones before in place, and say so; with an authority of clients nobody speaks without a
//! certificate of it.
//! Task: `tls`, looks at the files every [`LOOK`]; ends at shutdown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use fsync_runtime::Shutdown;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info};

/// Time between two looks whether a file changed.
const LOOK: Duration = Duration::from_secs(2);

/// Where certificates are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: PathBuf,
    /// The authority of clients, if they must show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be spoken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag} {path} cannot be used: {reason}")]
pub struct TlsError {
    flag: &'static str,
    path: PathBuf,
    reason: String,
}

impl TlsFiles {
    fn read(&self) -> Result<ServerConfig, TlsError> {
        let failed = |flag, path: &Path, reason: &dyn fmt::Display| TlsError {
            flag,
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let bad_certificate =
            |e: &dyn fmt::Display| failed("--tls-cert-file", &self.certificate, e);
        let bad_key = |e: &dyn fmt::Display| failed("--tls-key-file", &self.key, e);
        let chain = CertificateDer::pem_file_iter(&self.certificate);
        let chain = chain.and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|e| bad_certificate(&e))?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|e| bad_key(&e))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|e| bad_certificate(&e))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let bad = |e: &dyn fmt::Display| failed("--tls-client-ca-file", path, e);
                let mut roots = RootCertStore::empty();
                for root in CertificateDer::pem_file_iter(path).map_err(|e| bad(&e))? {
                    let root = root.map_err(|e| bad(&e))?;
                    roots.add(root).map_err(|e| bad(&e))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| bad(&e))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| bad_certificate(&e))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let files = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ];
        let stamp = |path: &PathBuf| {
            let about = std::fs::metadata(path).ok()?;
            Some((about.modified().ok()?, about.len()))
        };
        files.into_iter().flatten().map(stamp).collect()
    }
}

/// What connections are accepted with; clones share it.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<TlsAcceptor>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files, and again whenever they change.
    ///
    /// # Errors
    /// [`TlsError`] that names the flag and the file.
    pub fn start(files: TlsFiles, tasks: &Shutdown) -> Result<Self, TlsError> {
        let seen = files.stamps();
        let config = Arc::new(files.read()?);
        let tls = Self(Arc::new(RwLock::new(TlsAcceptor::from(config))));
        drop(tasks.spawn("tls", watch(tls.clone(), files, seen, tasks.clone())));
        Ok(tls)
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let acceptor = self.0.read();
        acceptor.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn watch(
    tls: Tls,
    files: TlsFiles,
    mut seen: Vec<Option<(SystemTime, u64)>>,
    tasks: Shutdown,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = tasks.triggered() => return,
        }
        let now = files.stamps();
        if now == seen {
            continue;
        }
        match files.read() {
            Ok(config) => {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                *tls.0.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
                info!("the certificate was read again");
                seen = now;
            }
            // Certificate and key may change one after the other: the next look tries again.
            Err(error) => error!(%error, "the certificate before stays in use"),
        }
    }
}
