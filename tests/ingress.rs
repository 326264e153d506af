//! Real reverse proxies before replicas, as an ingress: TLS, a sticky cookie, one address.
//!
//! Guarantees: a proxy ends with its value, by its own id; started again it is on the same port,
//! with other rules if asked to.
//! Needs `haproxy` or `nginx` in the path, and `openssl` (Debian packages; `.ci/run` installs
//! them).

use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::Server;
use crate::process::Process;
use crate::redis::free_port;
use crate::wait::{PATIENCE, until};

/// The cookie that names a replica.
pub const COOKIE: &str = "fsync_lb";
/// Ports tried, in case that others take them first.
const TRIES: usize = 10;

/// Which proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HAProxy.
    Haproxy,
    /// nginx.
    Nginx,
}

/// A running proxy.
#[derive(Debug)]
pub struct Ingress {
    kind: Kind,
    dir: TempDir,
    replicas: Vec<String>,
    port: u16,
    process: Option<Process>,
}

impl Ingress {
    /// Starts a proxy before some servers; it passes WebSockets on or refuses them.
    ///
    /// # Errors
    /// If it is not installed or does not start.
    pub fn start(kind: Kind, servers: &[&Server], passes_websockets: bool) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("fsync-ingress-")
            .tempdir()?;
        certify(&dir)?;
        let address = |server: &&Server| server.url.trim_start_matches("http://").to_owned();
        let mut ingress = Self {
            kind,
            dir,
            replicas: servers.iter().map(address).collect(),
            port: 0,
            process: None,
        };
        let mut started = Ok(());
        for _ in 0..TRIES {
            ingress.port = free_port()?;
            started = ingress.launch(passes_websockets);
            if started.is_ok() {
                break;
            }
        }
        started.map(|()| ingress)
    }

    /// Returns the URL that agents are given.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns the certificates that agents must trust.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Ends it, which cuts all connections, and starts it again with other rules.
    ///
    /// # Errors
    /// As [`Ingress::start`].
    pub fn restart(&mut self, passes_websockets: bool) -> Result<()> {
        self.stop()?;
        until("the proxy starts again", PATIENCE, || {
            self.launch(passes_websockets)
        })
    }

    /// Ends it in order: workers of a master that was killed would go on, with the old rules.
    fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop().map(drop),
            None => Ok(()),
        }
    }

    fn launch(&mut self, passes_websockets: bool) -> Result<()> {
        let dir = self.dir.path();
        let config = dir.join("proxy.conf");
        let (name, text) = match self.kind {
            Kind::Haproxy => ("haproxy", self.haproxy(passes_websockets)?),
            Kind::Nginx => ("nginx", self.nginx(passes_websockets)?),
        };
        fs::write(&config, text)?;
        let mut command = Command::new(name);
        match self.kind {
            Kind::Haproxy => command.arg("-db").arg("-f").arg(&config),
            Kind::Nginx => command
                .arg("-p")
                .arg(dir)
                .arg("-e")
                .arg("stderr")
                .arg("-c")
                .arg(&config),
        };
        // Debian keeps both where only root looks.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let mut process = Process::spawn(name, command, dir)
            .with_context(|| format!("{name} is needed: apt-get install {name}"))?;
        until("the proxy listens", PATIENCE, || {
            ensure!(process.is_running()?, "{name} ended: {}", process.stderr());
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?)
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn haproxy(&self, passes_websockets: bool) -> Result<String> {
        let pem = self.dir.path().join("both.pem");
        let refuse = match passes_websockets {
            true => "",
            false => "  http-request deny deny_status 403 if { req.hdr(Upgrade) -m found }\n",
        };
        let mut text = format!(
            "global
  maxconn 2000
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option redispatch
  retry-on conn-failure empty-response
frontend public
  bind 127.0.0.1:{} ssl crt {}
{refuse}  default_backend replicas
backend replicas
  balance roundrobin
  cookie {COOKIE} insert indirect nocache httponly secure
  option httpchk GET /v1/version
",
            self.port,
            pem.display()
        );
        for (number, replica) in self.replicas.iter().enumerate() {
            writeln!(
                text,
                "  server r{number} {replica} cookie r{number} check inter 200ms fall 1 rise 1"
            )?;
        }
        Ok(text)
    }

    fn nginx(&self, passes_websockets: bool) -> Result<String> {
        // Without these a proxy passes no WebSocket, as nginx does by itself.
        let upgrade = match passes_websockets {
            true => {
                "proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;"
            }
            false => "",
        };
        let mut servers = String::new();
        for replica in &self.replicas {
            writeln!(servers, "    server {replica} max_fails=1 fail_timeout=1s;")?;
        }
        let dir = self.dir.path().display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("  {what}_temp_path {dir}/{what};\n"))
            .concat();
        Ok(format!(
            "daemon off;
pid {dir}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
{temporary}  access_log off;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  map $cookie_{COOKIE} $replica {{ default $cookie_{COOKIE}; '' $request_id; }}
  upstream replicas {{
    hash $replica consistent;
{servers}  }}
  server {{
    listen 127.0.0.1:{} ssl;
    ssl_certificate {dir}/ca.pem;
    ssl_certificate_key {dir}/key.pem;
    client_max_body_size 16m;
    location / {{
      proxy_pass http://replicas;
      proxy_http_version 1.1;
      {upgrade}
      proxy_connect_timeout 2s;
      proxy_read_timeout 3600s;
      proxy_send_timeout 3600s;
      proxy_request_buffering off;
      proxy_buffering off;
      add_header Set-Cookie \"{COOKIE}=$replica; Path=/; HttpOnly; Secure\" always;
    }}
  }}
}}
",
            self.port
        ))
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        // One that has ended already is what we want.
        drop(self.stop());
    }
}

/// Makes a certificate for 127.0.0.1 that is its own authority.
fn certify(dir: &TempDir) -> Result<()> {
    let path = |name: &str| dir.path().join(name);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-subj", "/CN=fsync ingress", "-addext"])
        .args(["subjectAltName=IP:127.0.0.1", "-addext"])
        .arg("basicConstraints=critical,CA:FALSE")
        .arg("-keyout")
        .arg(path("key.pem"))
        .arg("-out")
        .arg(path("ca.pem"))
        .output()
        .context("openssl is needed")?;
    let words = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "openssl: {words}");
    let both = [fs::read(path("ca.pem"))?, fs::read(path("key.pem"))?].concat();
    Ok(fs::write(path("both.pem"), both)?)
}
