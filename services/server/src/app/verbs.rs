//! What is done once on the stores of a server that does not run, or that several replicas share.
//!
//! Boxed, as all that other packages call.

use std::collections::BTreeSet;

use fsync_core::label::TenantName;
use fsync_runtime::Shutdown;

use super::error::StartError;
use super::parts::{connect, existing_parts};
use crate::auth::{REVOCATIONS, Revocation};
use crate::bus::Later;
use crate::cluster::{self, ClusterId};
use crate::config::{Config, ConfigError};
use crate::{checkpoint, fsck, gc, revoke};

/// Collects garbage once in the stores of a server that does not run.
///
/// # Errors
/// [`StartError`]; `InUse` while the server runs, which collects by itself.
pub fn collect_once(config: &Config, is_dry: bool) -> Later<'_, Result<gc::Collected, StartError>> {
    Box::pin(collect(config, is_dry))
}

async fn collect(config: &Config, is_dry: bool) -> Result<gc::Collected, StartError> {
    let tasks = Shutdown::new();
    let parts = existing_parts(config, &tasks).await?;
    let collected = gc::collect_alone(&parts.store, &config.retention, is_dry).await;
    parts.store.journal().close().await?;
    // The bus, if there is one, ends by itself.
    tasks.trigger();
    collected?.ok_or_else(|| ConfigError::SharedGc.into())
}

/// Takes the journal's heads for the truth, whatever the blob store remembers; returns how many it
/// remembered otherwise.
///
/// # Errors
/// [`StartError`]; `InUse` while the server runs.
pub fn accept_once(config: &Config) -> Later<'_, Result<usize, StartError>> {
    Box::pin(accept(config))
}

async fn accept(config: &Config) -> Result<usize, StartError> {
    let tasks = Shutdown::new();
    let parts = existing_parts(config, &tasks).await?;
    let trees = parts.store.journal().trees().await?;
    let tenants: BTreeSet<TenantName> = trees.into_iter().map(|tree| tree.tenant).collect();
    let mut count = 0;
    for tenant in &tenants {
        count += checkpoint::accept(&parts.store, tenant).await?;
    }
    parts.store.journal().close().await?;
    tasks.trigger();
    Ok(count)
}

/// Checks the stores of a server that does not run.
///
/// # Errors
/// [`StartError`]; `InUse` while the server runs.
pub fn check_once(config: &Config, repairs: bool) -> Later<'_, Result<fsck::Report, StartError>> {
    Box::pin(check(config, repairs))
}

async fn check(config: &Config, repairs: bool) -> Result<fsck::Report, StartError> {
    let tasks = Shutdown::new();
    let parts = existing_parts(config, &tasks).await?;
    let checked = fsck::check(&parts.store, &config.retention, repairs).await;
    parts.store.journal().close().await?;
    // The bus, if there is one, ends by itself.
    tasks.trigger();
    Ok(checked?)
}

/// Shuts a token or a subject out, in the journal that replicas share, or by a note to the server
/// that has it open.
///
/// # Errors
/// [`StartError`] that says what to change.
pub async fn revoke_once(config: &Config, revocation: Revocation) -> Result<(), StartError> {
    let tasks = Shutdown::new();
    let parts = match existing_parts(config, &tasks).await {
        Ok(parts) => parts,
        Err(StartError::InUse(_)) => {
            let left = revoke::leave_note(&config.data_dir, &revocation).await;
            return left.map_err(StartError::Revoke);
        }
        Err(error) => return Err(error),
    };
    let revoked = parts.store.journal().revoke(revocation).await;
    parts.store.journal().close().await?;
    tasks.trigger();
    match revoked? {
        true => Ok(()),
        false => Err(StartError::Revoke(format!(
            "{REVOCATIONS} revocations are kept already: change the key instead"
        ))),
    }
}

/// Makes a new journal that of the service whose contents the blob store holds.
///
/// # Errors
/// [`StartError`] that says why not.
pub fn adopt_once(config: &Config) -> Later<'_, Result<ClusterId, StartError>> {
    Box::pin(adopt(config))
}

async fn adopt(config: &Config) -> Result<ClusterId, StartError> {
    let tasks = Shutdown::new();
    let parts = connect(config, &tasks).await?;
    let adopted = cluster::adopt(parts.store.journal(), parts.store.blobs()).await;
    parts.store.journal().close().await?;
    tasks.trigger();
    Ok(adopted?)
}
