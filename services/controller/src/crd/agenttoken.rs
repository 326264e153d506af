//! `AgentToken`: a token for agents that is kept fresh in a Secret.

use fsync_core::label::DEFAULT_TENANT;
use fsync_core::limits;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{self, RightWord};

/// Most trees of one object. Fewer than a token may name, so that the rule about durations stays
/// cheap enough for the API server.
const TREES: usize = 128;
const TTL: &str = "720h";

/// What is wanted.
#[derive(CustomResource, Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "fsync.dev",
    version = "v1alpha1",
    kind = "AgentToken",
    doc = "A token for agents, kept fresh in a Secret together with the server's URL.",
    namespaced,
    shortname = "atoken",
    category = "fsync",
    status = "AgentTokenStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name": "Subject", "type": "string", "jsonPath": ".spec.subject"}"#,
    printcolumn = r#"{"name": "Secret", "type": "string", "jsonPath": ".status.secretName"}"#,
    printcolumn = r#"{"name": "Expires", "type": "string", "jsonPath": ".status.expiresAt"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Tenant", "type": "string", "priority": 1, "jsonPath": ".spec.tenant"}"#
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.rotateBefore) || duration(self.rotateBefore) < duration(self.ttl)",
    "message": "spec.rotateBefore must be shorter than spec.ttl",
}]))]
pub struct AgentTokenSpec {
    /// Whom the token is for, as the audit log names them.
    #[schemars(length(min = 1, max = limits::TOKEN_NAME_BYTES))]
    pub subject: String,
    /// Tenant of the trees.
    #[serde(default = "default_tenant")]
    #[schemars(length(min = 1, max = limits::LABEL_BYTES), regex(pattern = shared::LABEL))]
    pub tenant: String,
    /// What the token may do.
    #[schemars(
        length(min = 1, max = TREES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub trees: Vec<TokenTree>,
    /// How long one token is valid, as in `720h`.
    #[serde(default = "default_ttl")]
    #[schemars(length(max = 16), regex(pattern = shared::GO_DURATION))]
    pub ttl: String,
    /// So long before its end a token is replaced; a third of `ttl` if it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = shared::GO_DURATION))]
    pub rotate_before: Option<String>,
    /// Secret with `token` and `server`, in the same namespace; named as this object if it is not
    /// given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = shared::OBJECT_NAME))]
    pub secret_name: Option<String>,
}

/// Trees by name, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct TokenTree {
    /// Name of a tree, or a pattern such as `team-*`.
    #[schemars(length(min = 1, max = limits::LABEL_BYTES), regex(pattern = shared::LABEL_PATTERN))]
    pub name: String,
    /// What may be done with it.
    #[schemars(length(min = 1, max = shared::RIGHTS), extend("x-kubernetes-list-type" = "set"))]
    pub rights: Vec<RightWord>,
}

/// What is the case. The token itself is in the Secret only.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct AgentTokenStatus {
    /// Secret that holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub secret_name: Option<String>,
    /// Names the token for `fsync-server revoke`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = limits::TOKEN_NAME_BYTES))]
    pub token_id: Option<String>,
    /// Names what the token and the earlier ones were ordered as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub order: Option<String>,
    /// When the token was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::time")]
    pub issued_at: Option<Time>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::time")]
    pub expires_at: Option<Time>,
    /// Tokens that were replaced and are still good; they end with this object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub earlier: Vec<EarlierToken>,
    /// What is the case with the object, by type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "shared::conditions")]
    pub conditions: Vec<Condition>,
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
}

/// A token that was replaced and is still good.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct EarlierToken {
    /// Names it.
    #[schemars(length(max = limits::TOKEN_NAME_BYTES))]
    pub id: String,
    /// When it ends.
    #[schemars(schema_with = "shared::time")]
    pub expires_at: Time,
}

fn default_tenant() -> String {
    DEFAULT_TENANT.to_owned()
}

fn default_ttl() -> String {
    TTL.to_owned()
}
