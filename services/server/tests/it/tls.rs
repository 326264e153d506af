//! TLS of the server itself: trusted certificates, clients' certificates, files that change.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fsync_server::listen::tls::TlsFiles;
use fsync_server::{Config, Server};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Client, Identity};

/// An authority that signs what it is asked to.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Returns a certificate for this machine and its key, in PEM.
    fn sign(&self) -> (String, String) {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &self.0);
        (signed.unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn client(&self) -> reqwest::ClientBuilder {
        fsync_runtime::crypto::install();
        let trusted = Certificate::from_pem(self.pem().as_bytes()).unwrap();
        // No connection is used twice, so that each request sees the certificate of now.
        Client::builder()
            .add_root_certificate(trusted)
            .pool_max_idle_per_host(0)
    }
}

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(signed: &(String, String)) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        files.put(signed);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, (certificate, key): &(String, String)) {
        std::fs::write(self.path("key.pem"), key).unwrap();
        std::fs::write(self.path("certificate.pem"), certificate).unwrap();
    }

    fn config(&self, client_ca: Option<&Path>) -> Config {
        Config {
            tls: Some(TlsFiles {
                certificate: self.path("certificate.pem"),
                key: self.path("key.pem"),
                client_ca: client_ca.map(Path::to_owned),
            }),
            ..Config::memory()
        }
    }
}

fn version(server: &Server) -> String {
    format!("{}/v1/version", server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_trusts_the_authority_speaks_with_the_server() {
    let authority = Authority::new();
    let files = Files::new(&authority.sign());
    let server = Server::start(files.config(None)).await.unwrap();
    assert!(server.url().starts_with("https://"));
    let client = authority.client().build().unwrap();
    let answer = client.get(version(&server)).send().await.unwrap();
    assert!(answer.headers().contains_key("strict-transport-security"));
    assert!(answer.text().await.unwrap().contains("fsync"));
    let stranger = Authority::new().client().build().unwrap();
    assert!(stranger.get(version(&server)).send().await.is_err());
    let plain = version(&server).replace("https", "http");
    assert!(client.get(plain).send().await.is_err());
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::new(&old.sign());
    let server = Server::start(files.config(None)).await.unwrap();
    let (of_old, of_new) = (old.client().build().unwrap(), new.client().build().unwrap());
    files.put(&new.sign());
    let end = Instant::now() + Duration::from_secs(15);
    while of_new.get(version(&server)).send().await.is_err() {
        assert!(Instant::now() < end, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(of_old.get(version(&server)).send().await.is_err());
    files.put(&("no certificate".to_owned(), "no key".to_owned()));
    // Longer than the time between two looks: whoever comes meanwhile is served as before.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        assert!(of_new.get(version(&server)).send().await.is_ok());
    }
    server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_authority_of_clients_nobody_speaks_without_a_certificate() {
    let (authority, of_clients) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.sign());
    let ca = files.path("clients.pem");
    std::fs::write(&ca, of_clients.pem()).unwrap();
    let server = Server::start(files.config(Some(&ca))).await.unwrap();
    let as_client = |signed: (String, String)| {
        let identity = Identity::from_pem(format!("{}{}", signed.0, signed.1).as_bytes());
        authority
            .client()
            .identity(identity.unwrap())
            .build()
            .unwrap()
    };
    let ask = async |client: Client| client.get(version(&server)).send().await.is_ok();
    assert!(ask(as_client(of_clients.sign())).await);
    assert!(!ask(authority.client().build().unwrap()).await);
    assert!(!ask(as_client(authority.sign())).await);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_start() {
    let files = Files::new(&("nothing".to_owned(), "nothing".to_owned()));
    let refused = Server::start(files.config(None))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("--tls-cert-file") || refused.contains("--tls-key-file"),
        "{refused}"
    );
    let one = Authority::new();
    let ((certificate, _), (_, key)) = (one.sign(), one.sign());
    files.put(&(certificate, key));
    let refused = Server::start(files.config(None))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("certificate.pem"), "{refused}");
}
