//! Objects that cannot be read: the kinds that are installed are newer than this controller.
//!
//! Guarantees: one such object stops no other; it gets its condition and its event, once for each
//! of its specs and hour.
//! Does not: anything to the tree or the token that it is about, not even at its end.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::condition::{Finding, Reason};
use crate::context::{Context, MANAGER, ReconcileError, later, turn};
use crate::metrics::{self, Kind};

/// Time between two words about the same spec.
const AGAIN: Duration = Duration::from_secs(3600);

/// Says of an object that it cannot be read, and why.
pub(crate) async fn tell<K>(
    object: &DeserializeGuard<K>,
    why: &str,
    context: &Context,
    kind: Kind,
) -> Result<Action, ReconcileError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + Debug,
{
    let turn = turn(object);
    if let Some(wait) = context.pace.wait(&turn, Instant::now()) {
        return Ok(later(wait));
    }
    metrics::reconciled(kind, Reason::Invalid.as_str());
    let message = format!("this controller cannot read it: {why}");
    let finding = Finding::new(Reason::Invalid, message);
    // What its conditions were before cannot be read either.
    let condition = finding.condition(&[], object.meta().generation, Timestamp::now());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "status": {"conditions": [condition]},
    });
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<DeserializeGuard<K>> = Api::namespaced(context.client.clone(), &namespace);
    let how = PatchParams::apply(MANAGER).force();
    api.patch_status(&object.name_any(), &how, &Patch::Apply(&patch))
        .await?;
    context.tell(&object.object_ref(&()), &finding).await;
    Ok(later(context.pace.done(&turn, Instant::now(), AGAIN)))
}
