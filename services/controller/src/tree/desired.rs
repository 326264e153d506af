//! What a `SyncTree` asks for, in the service's own types; and what is said of it. Pure.

use fsync_core::admin::{Access, Policy, TreeRetention, TreeStatus};
use fsync_core::label::{LabelError, TenantName, TreeKey, TreeName};
use fsync_core::limits::LimitError;
use fsync_core::rights::TokenNameError;
use fsync_runtime::args::BadDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use crate::condition::{Finding, Reason};
use crate::crd::{SyncTree, SyncTreeSpec, SyncTreeStatus, TreeAccess, strongest};

/// What the service is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which tree.
    pub key: TreeKey,
    /// What is to hold for it.
    pub policy: Policy,
}

/// Why a spec cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A name is none.
    #[error("spec.{field}: {source}")]
    Name {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        #[source]
        source: LabelError,
    },
    /// A duration is none.
    #[error("spec.retention.age: {0}")]
    Age(#[from] BadDuration),
    /// A number is too small.
    #[error("spec.{field} is {value}, and must be at least {least}")]
    Number {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: i64,
        /// What it may say.
        least: u64,
    },
    /// A subject is none.
    #[error("spec.access[{at}].subject: {source}")]
    Subject {
        /// Which entry.
        at: usize,
        /// What is wrong.
        #[source]
        source: TokenNameError,
    },
    /// An entry says nothing.
    #[error("spec.access[{at}].rights is empty: name read, write or admin")]
    Rights {
        /// Which entry.
        at: usize,
    },
    /// There is too much of something.
    #[error("spec: {0}")]
    Limit(#[from] LimitError),
}

/// Returns which tree an object is about.
///
/// # Errors
/// [`Invalid::Name`].
pub fn key(spec: &SyncTreeSpec) -> Result<TreeKey, Invalid> {
    let named = |field| move |source| Invalid::Name { field, source };
    let tenant: TenantName = spec.tenant.parse().map_err(named("tenant"))?;
    let name: TreeName = spec.name.parse().map_err(named("name"))?;
    Ok(TreeKey { tenant, name })
}

/// Returns what a spec asks for.
///
/// # Errors
/// [`Invalid`] names the field: tell the user.
pub fn wanted(spec: &SyncTreeSpec) -> Result<Wanted, Invalid> {
    let key = key(spec)?;
    let quota = spec.quota.as_ref().and_then(|quota| quota.bytes);
    let quota_bytes = quota.map(|n| at_least("quota.bytes", n, 0)).transpose()?;
    let access = spec.access.iter().enumerate();
    let policy = Policy {
        retention: retention(spec)?,
        quota_bytes,
        access: access
            .map(|(at, one)| allowed(at, one))
            .collect::<Result<_, _>>()?,
    };
    policy.check()?;
    Ok(Wanted { key, policy })
}

fn retention(spec: &SyncTreeSpec) -> Result<Option<TreeRetention>, Invalid> {
    let Some(given) = &spec.retention else {
        return Ok(None);
    };
    let age = given.age.as_deref().map(fsync_runtime::duration);
    let revisions = given.revisions;
    let retention = TreeRetention {
        age_seconds: age.transpose()?.map(|age| age.as_secs()),
        revisions: revisions
            .map(|n| at_least("retention.revisions", n, 1))
            .transpose()?,
    };
    // Nothing said is the same as no word about it.
    Ok((retention != TreeRetention::default()).then_some(retention))
}

fn at_least(field: &'static str, value: i64, least: u64) -> Result<u64, Invalid> {
    let number = u64::try_from(value).ok().filter(|n| *n >= least);
    number.ok_or(Invalid::Number {
        field,
        value,
        least,
    })
}

fn allowed(at: usize, one: &TreeAccess) -> Result<Access, Invalid> {
    let subject = one.subject.parse();
    Ok(Access {
        subject: subject.map_err(|source| Invalid::Subject { at, source })?,
        right: strongest(&one.rights).ok_or(Invalid::Rights { at })?,
    })
}

/// Returns the older object that is about the same tree, if there is one: only the oldest counts.
pub fn elder<'a>(
    tree: &SyncTree,
    all: impl IntoIterator<Item = &'a SyncTree>,
) -> Option<&'a SyncTree> {
    let key = key(&tree.spec).ok()?;
    let age = |one: &SyncTree| (one.creation_timestamp(), one.uid());
    let own = age(tree);
    let is_elder = |one: &&SyncTree| {
        one.uid() != tree.uid() && self::key(&one.spec).as_ref() == Ok(&key) && age(one) < own
    };
    all.into_iter().filter(is_elder).min_by_key(|one| age(one))
}

/// Returns what is said of an object that another one stands before.
pub fn conflict(elder: &SyncTree) -> Finding {
    let name = elder.name_any();
    let message = format!(
        "the older SyncTree {name} is about the same tree: only that one counts, delete one of them"
    );
    Finding::new(Reason::Conflict, message)
}

/// Returns an object's status: what the service says, or what it said last, and what was found.
pub fn status(
    tree: &SyncTree,
    said: Option<&TreeStatus>,
    finding: &Finding,
    now: Timestamp,
) -> SyncTreeStatus {
    let before = tree.status.clone().unwrap_or_default();
    let conditions = ready_of(tree, &before.conditions, finding, now);
    let mut status = match said {
        None => before,
        Some(said) => numbers(said),
    };
    status.conditions = conditions;
    status.observed_generation = tree.meta().generation;
    status
}

fn ready_of(
    tree: &SyncTree,
    before: &[Condition],
    finding: &Finding,
    now: Timestamp,
) -> Vec<Condition> {
    vec![finding.condition(before, tree.meta().generation, now)]
}

fn numbers(said: &TreeStatus) -> SyncTreeStatus {
    let head = said.head.as_ref();
    SyncTreeStatus {
        head: head.map(|head| head.revision.to_string()),
        epoch: head.map(|head| head.epoch.0.to_string()),
        seq: head.map(|head| signed(head.seq.0)),
        bytes: Some(signed(said.bytes)),
        objects: Some(signed(said.objects)),
        agents: Some(i32::try_from(said.agents).unwrap_or(i32::MAX)),
        last_change: said.changed_ms.and_then(|at| time(at.0)),
        ..SyncTreeStatus::default()
    }
}

/// Returns a number as the API has it, which knows no larger ones.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns a time in whole seconds, as the API has it.
pub(crate) fn time(ms: u64) -> Option<Time> {
    let seconds = i64::try_from(ms / 1000).ok()?;
    Timestamp::from_second(seconds).ok().map(Time)
}

#[cfg(test)]
mod tests;
