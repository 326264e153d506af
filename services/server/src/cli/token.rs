//! The verbs `token` and `revoke`: what they take, and what they do before a server is needed.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use fsync_core::label::{AgentName, DEFAULT_TENANT, TenantName};
use fsync_core::rights::{Grant, TokenName};
use fsync_runtime::duration;

use crate::auth::{self, Audience, Minted, OURS, Order, Revocation, Revoked, Secret};
use crate::clock;

/// Flags of `token`.
#[derive(Debug, Clone, Args)]
pub struct TokenArgs {
    /// File with the key, the one that the server has as --auth-hs256-file
    #[arg(long, env = "FSYNC_AUTH_HS256_FILE", value_name = "FILE")]
    key_file: PathBuf,
    /// Make a new key in that file first, which must not exist
    #[arg(long)]
    new_key: bool,
    /// Whose token it is: a person, or a person's machine
    #[arg(long, value_name = "NAME", required_unless_present = "new_key")]
    subject: Option<TokenName>,
    /// Which tenant it is for
    #[arg(long, value_name = "TENANT", default_value = DEFAULT_TENANT)]
    tenant: TenantName,
    /// What it allows: NAME:r, NAME:rw or NAME:admin; a * may end the name; as often as needed
    #[arg(long, value_name = "NAME:RIGHT")]
    tree: Vec<Grant>,
    /// The only agent that may use it [default: any]
    #[arg(long, value_name = "NAME")]
    agent_name: Option<AgentName>,
    /// How long it is good
    #[arg(long, default_value = "30d", value_parser = duration)]
    ttl: Duration,
    /// Claim iss
    #[arg(long, env = "FSYNC_AUTH_ISSUER", default_value = OURS, value_name = "TEXT")]
    issuer: String,
    /// Claim aud
    #[arg(long, env = "FSYNC_AUTH_AUDIENCE", default_value = OURS, value_name = "TEXT")]
    audience: String,
}

impl TokenArgs {
    /// Makes the key if that is asked for, then the token; no token if no subject is given.
    ///
    /// # Errors
    /// What to tell the user.
    pub fn run(&self) -> Result<Option<Minted>, Box<dyn std::error::Error>> {
        if self.new_key {
            make_key(&self.key_file)?;
        }
        let secret = Secret::read(&self.key_file)?;
        let Some(subject) = self.subject.clone() else {
            return Ok(None);
        };
        let order = Order {
            subject,
            tenant: self.tenant.clone(),
            grants: self.tree.clone(),
            agent: self.agent_name.clone(),
            ttl: self.ttl,
            audience: Audience {
                issuer: self.issuer.clone(),
                audience: self.audience.clone(),
            },
        };
        Ok(Some(auth::mint(&secret, order)?))
    }
}

fn make_key(path: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| {
        format!(
            "the key file {} cannot be made: {e}; a key that exists is never replaced, give another name",
            path.display()
        )
    };
    let text = Secret::make()?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(failed)?;
    writeln!(file, "{text}")
        .and_then(|()| file.sync_all())
        .map_err(failed)
}

/// Whom `revoke` shuts out.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false, id = "who")]
struct WhoArgs {
    /// Shut out the token with this id, which `token` printed, its claim jti
    #[arg(long, value_name = "ID")]
    id: Option<TokenName>,
    /// Shut out all tokens that this subject has by now
    #[arg(long, value_name = "NAME")]
    subject: Option<TokenName>,
}

/// Flags of `revoke`.
#[derive(Debug, Clone, Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    who: WhoArgs,
    /// Tenant of the subject
    #[arg(long, value_name = "TENANT", default_value = DEFAULT_TENANT, conflicts_with = "id")]
    tenant: TenantName,
}

impl RevokeArgs {
    /// Returns what is to be kept.
    pub fn to_revocation(&self) -> Option<Revocation> {
        let who = match (&self.who.id, &self.who.subject) {
            (Some(id), _) => Revoked::Token(id.clone()),
            (None, Some(subject)) => Revoked::Subject(self.tenant.clone(), subject.clone()),
            (None, None) => return None,
        };
        Some(Revocation {
            who,
            since_ms: clock::now().0,
        })
    }
}
