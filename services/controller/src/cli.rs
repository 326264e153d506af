//! The command line: verbs and flags of `fsync-controller`, and how they become a [`Config`].

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use fsync_runtime::{LogArgs, duration};

use crate::context::MANAGER;
use crate::server::BaseUrl;

/// Keeps trees and tokens of an fsync service as objects of Kubernetes say.
#[derive(Debug, Parser)]
#[command(name = "fsync-controller", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
    /// Flags of the log
    #[command(flatten)]
    pub log: LogArgs,
}

/// Verbs.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Run until a signal
    Run(RunArgs),
    /// Print the definitions of the kinds, as YAML
    Crds,
}

/// Flags of a controller that runs.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The server's admin port, as http://HOST:9090
    #[arg(long, env = "FSYNC_SERVER_ADMIN", value_name = "URL")]
    server_admin: BaseUrl,
    /// File with the credential that the server was given with the flag of the same name; it is
    /// read again when it changes
    #[arg(long, env = "FSYNC_ADMIN_TOKEN_FILE", value_name = "FILE")]
    admin_token_file: PathBuf,
    /// What Secrets tell agents of where the server is
    #[arg(long, env = "FSYNC_SERVER_URL", value_name = "URL")]
    server_url: BaseUrl,
    /// The only namespace that is looked at [default: the pod's own]
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
    /// Lease that decides which replica acts
    #[arg(long, env = "FSYNC_LEASE", default_value = MANAGER, value_name = "NAME")]
    lease: String,
    /// Name of this replica, unlike that of any other [default: one made of the process's id]
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,
    /// Where /livez, /readyz, /startupz and /metrics are answered; not at all if not given
    #[arg(long, env = "FSYNC_ADMIN_LISTEN", value_name = "HOST:PORT")]
    admin_listen: Option<String>,
    /// Time between two collections of garbage that the server is told to start; 0s leaves that to
    /// the server
    #[arg(long, env = "FSYNC_GC_SCHEDULE", default_value = "0s", value_parser = duration)]
    gc_schedule: Duration,
}

/// How a controller runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server's admin port.
    pub server_admin: BaseUrl,
    /// The credential for it.
    pub admin_token_file: PathBuf,
    /// What Secrets tell agents.
    pub server_url: BaseUrl,
    /// The namespace; the pod's own if not given.
    pub namespace: Option<String>,
    /// The Lease.
    pub lease: String,
    /// Who this replica is.
    pub identity: String,
    /// The own admin port.
    pub admin_listen: Option<SocketAddr>,
    /// Time between two orders of garbage collection.
    pub gc_schedule: Option<Duration>,
}

/// A flag that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An address is none.
    #[error("{flag}: {text:?} is no address: give HOST:PORT, as in 0.0.0.0:9090")]
    Address {
        /// Which flag.
        flag: &'static str,
        /// What it says.
        text: String,
    },
    /// A name is empty.
    #[error("{0} must not be empty")]
    Empty(&'static str),
}

impl RunArgs {
    /// Returns the validated configuration.
    ///
    /// # Errors
    /// [`ConfigError`] that says which flag to change.
    pub fn to_config(&self) -> Result<Config, ConfigError> {
        let identity = self.identity.clone();
        let identity = identity.unwrap_or_else(|| format!("{MANAGER}-{}", std::process::id()));
        let names = [
            ("--lease", Some(&self.lease)),
            ("--identity", Some(&identity)),
            ("--namespace", self.namespace.as_ref()),
        ];
        let is_empty = |name: Option<&String>| name.is_some_and(String::is_empty);
        if let Some((flag, _)) = names.into_iter().find(|(_, name)| is_empty(*name)) {
            return Err(ConfigError::Empty(flag));
        }
        let listen = self.admin_listen.as_deref();
        Ok(Config {
            server_admin: self.server_admin.clone(),
            admin_token_file: self.admin_token_file.clone(),
            server_url: self.server_url.clone(),
            namespace: self.namespace.clone(),
            lease: self.lease.clone(),
            identity,
            admin_listen: listen.map(|at| address("--admin-listen", at)).transpose()?,
            gc_schedule: Some(self.gc_schedule).filter(|time| !time.is_zero()),
        })
    }
}

fn address(flag: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    let bad = || ConfigError::Address {
        flag,
        text: text.to_owned(),
    };
    let mut found = text.to_socket_addrs().map_err(|_e| bad())?;
    found.next().ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &[&str]) -> Result<Config, ConfigError> {
        let given = [
            "fsync-controller",
            "run",
            "--server-admin=http://fsync-control:9090",
            "--admin-token-file=/etc/fsync/admin/token",
            "--server-url=http://fsync:8484",
        ];
        let cli = Cli::try_parse_from(given.iter().chain(more)).unwrap();
        match cli.verb {
            Verb::Run(args) => args.to_config(),
            Verb::Crds => panic!("another verb"),
        }
    }

    #[test]
    fn three_flags_are_enough() {
        let config = config(&["--identity=one"]).unwrap();
        assert_eq!(config.server_url.as_str(), "http://fsync:8484");
        assert_eq!(
            (config.lease.as_str(), config.identity.as_str()),
            (MANAGER, "one")
        );
        assert_eq!((config.gc_schedule, config.admin_listen), (None, None));
    }

    #[test]
    fn what_cannot_be_used_names_its_flag() {
        let error = config(&["--admin-listen=here"]).unwrap_err().to_string();
        assert!(error.starts_with("--admin-listen: \"here\""), "{error}");
        assert_eq!(
            config(&["--lease="]).unwrap_err(),
            ConfigError::Empty("--lease")
        );
    }

    #[test]
    fn a_schedule_is_a_duration() {
        let config = config(&["--gc-schedule=6h"]).unwrap();
        assert_eq!(config.gc_schedule, Some(Duration::from_secs(6 * 3600)));
    }
}
