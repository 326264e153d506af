//! One `SyncTree`: its policy on the service, its status in Kubernetes, and its end.
//!
//! Guarantees: what is not valid reaches no server; of several objects for one tree only the oldest
//! acts, also at its end; a status is written by server-side apply, under a name of its own, and
//! only if it says something new ([`crate::pace`]).
//! Does not: remove a tree. With its object goes its policy, and nothing of what it holds.
//! Place: called by the kube runtime through [`crate::app`], at most once at a time per object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fsync_core::admin::TreeStatus;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::reflector::Store;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::condition::{Finding, Reason};
use crate::context::{Context, MANAGER, ReconcileError, again, later, turn};
use crate::crd::{SyncTree, SyncTreeStatus};
use crate::metrics::{self, Kind};
use crate::server::{Server, ServerError};
use crate::unreadable;
use desired::Wanted;

pub mod desired;

/// Keeps an object until the service knows of its end.
pub const FINALIZER: &str = "fsync.dev/tree";
/// Time between two looks at a tree.
const LOOK: Duration = Duration::from_secs(10);

/// What reconciles of trees need.
#[derive(Debug)]
pub struct Trees {
    /// What all reconciles need.
    pub context: Arc<Context>,
    /// All objects of the kind, to find those that are about the same tree.
    pub all: Store<DeserializeGuard<SyncTree>>,
}

impl Trees {
    /// Returns the older object that is about the same tree, if there is one.
    fn elder(&self, tree: &SyncTree) -> Option<Finding> {
        let all = self.all.state();
        let readable = all.iter().filter_map(|one| one.0.as_ref().ok());
        desired::elder(tree, readable).map(desired::conflict)
    }
}

/// Looks at an object, which may be one that cannot be read.
///
/// # Errors
/// As [`reconcile`].
pub async fn look_at(
    object: Arc<DeserializeGuard<SyncTree>>,
    trees: Arc<Trees>,
) -> Result<Action, ReconcileError> {
    match &object.0 {
        Ok(tree) => reconcile(Arc::new(tree.clone()), trees).await,
        Err(why) => unreadable::tell(&object, &why.error, &trees.context, Kind::Tree).await,
    }
}

/// Brings the service and an object's status where the object says.
///
/// # Errors
/// [`ReconcileError`]: come back later.
pub async fn reconcile(tree: Arc<SyncTree>, trees: Arc<Trees>) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let namespace = tree.namespace().unwrap_or_default();
    let api = Api::namespaced(trees.context.client.clone(), &namespace);
    let result = finalizer(&api, FINALIZER, tree, async |event| match event {
        Event::Apply(tree) => apply(&api, &tree, &trees).await,
        Event::Cleanup(tree) => clean_up(&api, &tree, &trees).await,
    });
    let result = result.await.map_err(unwrapped);
    metrics::took(Kind::Tree, started.elapsed());
    result
}

/// Says when an object whose reconcile failed is looked at again.
pub fn failed(tree: &DeserializeGuard<SyncTree>, error: &ReconcileError, trees: &Trees) -> Action {
    again(&trees.context, Kind::Tree, tree, error)
}

fn unwrapped(error: kube::runtime::finalizer::Error<ReconcileError>) -> ReconcileError {
    use kube::runtime::finalizer::Error;
    match error {
        Error::ApplyFailed(error) | Error::CleanupFailed(error) => error,
        other => ReconcileError::Finalizer(other.to_string()),
    }
}

async fn apply(
    api: &Api<SyncTree>,
    tree: &SyncTree,
    trees: &Trees,
) -> Result<Action, ReconcileError> {
    let context = &trees.context;
    let turn = turn(tree);
    if let Some(wait) = context.pace.wait(&turn, Instant::now()) {
        return Ok(later(wait));
    }
    let (finding, said) = look(tree, trees).await;
    settle(api, tree, context, (&finding, said.as_ref())).await?;
    let now = Instant::now();
    Ok(later(match finding.reason {
        Reason::Invalid => return Ok(Action::await_change()),
        Reason::Unreachable | Reason::Unauthorized | Reason::Unsupported | Reason::Refused => {
            context.pace.failed(&turn, now)
        }
        _ => context.pace.done(&turn, now, LOOK),
    }))
}

/// Returns what is the case with the object, and what the service says of its tree.
async fn look(tree: &SyncTree, trees: &Trees) -> (Finding, Option<TreeStatus>) {
    let wanted = match desired::wanted(&tree.spec) {
        Ok(wanted) => wanted,
        Err(invalid) => return (Finding::new(Reason::Invalid, invalid.to_string()), None),
    };
    if let Some(conflict) = trees.elder(tree) {
        return (conflict, None);
    }
    match in_step(&trees.context.server, &wanted).await {
        Ok(said) => {
            let message = "the service holds this tree's policy";
            (Finding::new(Reason::Applied, message), Some(said))
        }
        Err(error) => (error.finding(), None),
    }
}

/// Brings the service's policy where it should be; returns how the tree is.
async fn in_step(server: &Server, wanted: &Wanted) -> Result<TreeStatus, ServerError> {
    let said = server.tree(&wanted.key).await?;
    let policy = said.policy.clone().unwrap_or_default();
    if policy != wanted.policy {
        server.put_policy(&wanted.key, &wanted.policy).await?;
        tracing::info!(tree = %wanted.key, "policy changed");
    }
    Ok(said)
}

/// Writes down what was found, if it says something new.
async fn settle(
    api: &Api<SyncTree>,
    tree: &SyncTree,
    context: &Context,
    (finding, said): (&Finding, Option<&TreeStatus>),
) -> Result<(), ReconcileError> {
    metrics::reconciled(Kind::Tree, finding.reason.as_str());
    let before = tree.status.clone().unwrap_or_default();
    let status = desired::status(tree, said, finding, Timestamp::now());
    let turn = turn(tree);
    let is_news = status.conditions != before.conditions;
    let may_write = is_news || context.pace.may_write(&turn, Instant::now());
    if status != before && may_write {
        write(api, tree, &status).await?;
        context.pace.wrote(&turn, Instant::now());
    }
    if finding.is_news(&before.conditions) {
        context.tell(&tree.object_ref(&()), finding).await;
    }
    Ok(())
}

async fn write(
    api: &Api<SyncTree>,
    tree: &SyncTree,
    status: &SyncTreeStatus,
) -> Result<(), ReconcileError> {
    let patch = json!({
        "apiVersion": SyncTree::api_version(&()),
        "kind": SyncTree::kind(&()),
        "status": status,
    });
    let how = PatchParams::apply(MANAGER).force();
    api.patch_status(&tree.name_any(), &how, &Patch::Apply(&patch))
        .await?;
    Ok(())
}

async fn clean_up(
    api: &Api<SyncTree>,
    tree: &SyncTree,
    trees: &Trees,
) -> Result<Action, ReconcileError> {
    let context = &trees.context;
    // What was never valid, or never counted, left nothing on the service.
    if let (Ok(key), None) = (desired::key(&tree.spec), trees.elder(tree)) {
        if let Err(error) = context.server.delete_policy(&key).await {
            settle(api, tree, context, (&error.finding(), None)).await?;
            return Err(error.into());
        }
        tracing::info!(tree = %key, "object of a tree ended");
    }
    context.pace.forget(&turn(tree));
    Ok(Action::await_change())
}
