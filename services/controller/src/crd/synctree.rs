//! `SyncTree`: a tree of the service, and what is to be the case with it.

use fsync_core::label::DEFAULT_TENANT;
use fsync_core::limits;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{self, RightWord};

/// What is wanted.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fsync.dev",
    version = "v1alpha1",
    kind = "SyncTree",
    doc = "A tree, the identity of a shared folder on the service, and what is to be the case with it. Without the object the tree stays.",
    namespaced,
    shortname = "stree",
    category = "fsync",
    status = "SyncTreeStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Tree", "type": "string", "jsonPath": ".spec.name"}"#,
    printcolumn = r#"{"name": "Head", "type": "string", "jsonPath": ".status.head"}"#,
    printcolumn = r#"{"name": "Seq", "type": "integer", "jsonPath": ".status.seq"}"#,
    printcolumn = r#"{"name": "Bytes", "type": "integer", "jsonPath": ".status.bytes"}"#,
    printcolumn = r#"{"name": "Agents", "type": "integer", "jsonPath": ".status.agents"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Changed", "type": "date", "jsonPath": ".status.lastChange"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Tenant", "type": "string", "priority": 1, "jsonPath": ".spec.tenant"}"#,
    printcolumn = r#"{"name": "Objects", "type": "integer", "priority": 1, "jsonPath": ".status.objects"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct SyncTreeSpec {
    /// Name of the tree on the service. It cannot be changed.
    #[schemars(
        length(min = 1, max = limits::LABEL_BYTES),
        regex(pattern = shared::LABEL),
        extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "spec.name cannot be changed: make another SyncTree"}])
    )]
    pub name: String,
    /// Tenant that the tree belongs to. It cannot be changed.
    #[serde(default = "default_tenant")]
    #[schemars(
        length(min = 1, max = limits::LABEL_BYTES),
        regex(pattern = shared::LABEL),
        extend("x-kubernetes-validations" = [{"rule": "self == oldSelf", "message": "spec.tenant cannot be changed: make another SyncTree"}])
    )]
    pub tenant: String,
    /// What of the history is kept, in place of what the server is set to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<TreeRetention>,
    /// Limits of the tree; a change that would exceed one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<TreeQuota>,
    /// Who may use the tree, beside whoever's token says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = limits::POLICY_SUBJECTS),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["subject"])
    )]
    pub access: Vec<TreeAccess>,
}

/// What of the history is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct TreeRetention {
    /// Contents of revisions younger than this are kept, as in `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = shared::DURATION))]
    pub age: Option<String>,
    /// So many newest revisions are kept, however old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub revisions: Option<i64>,
}

/// Limits of the tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct TreeQuota {
    /// Bytes that may be stored for the tree, its history included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes: Option<i64>,
}

/// One subject and its rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct TreeAccess {
    /// Subject of the tokens.
    #[schemars(length(min = 1, max = limits::TOKEN_NAME_BYTES))]
    pub subject: String,
    /// What they may do.
    #[schemars(length(min = 1, max = shared::RIGHTS), extend("x-kubernetes-list-type" = "set"))]
    pub rights: Vec<RightWord>,
}

/// What is the case, at most 10 seconds old.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct SyncTreeStatus {
    /// Ref of the newest revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub head: Option<String>,
    /// Changes when the service lost the history before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub epoch: Option<String>,
    /// Number of the newest revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub seq: Option<i64>,
    /// Bytes that are stored for the tree, its history included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes: Option<i64>,
    /// Objects that are stored for the tree, its history included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub objects: Option<i64>,
    /// Agents that listen to it at the replica of the server that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub agents: Option<i32>,
    /// When the newest revision was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::time")]
    pub last_change: Option<Time>,
    /// What is the case with the object, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shared::conditions")]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

fn default_tenant() -> String {
    DEFAULT_TENANT.to_owned()
}
