//! What is written for an `AgentToken`: its Secret and its status.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;

use crate::context::{Context, MANAGER};
use crate::crd::{AgentToken, AgentTokenStatus};

/// HTTP status of something that is there already.
const CONFLICT: u16 = 409;
/// HTTP status of something that is not there.
const NOT_FOUND: u16 = 404;

/// The objects of one namespace.
pub(super) struct Store {
    pub(super) tokens: Api<AgentToken>,
    secrets: Api<Secret>,
}

impl Store {
    pub(super) fn new(context: &Context, token: &AgentToken) -> Self {
        let namespace = token.namespace().unwrap_or_default();
        Self {
            tokens: Api::namespaced(context.client.clone(), &namespace),
            secrets: Api::namespaced(context.client.clone(), &namespace),
        }
    }

    pub(super) async fn secret(&self, name: &str) -> Result<Option<Secret>, kube::Error> {
        self.secrets.get_opt(name).await
    }

    /// Makes a Secret; `false` if somebody has made one of that name. An apply would have changed
    /// that one.
    pub(super) async fn create(&self, secret: &Secret) -> Result<bool, kube::Error> {
        let how = PostParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PostParams::default()
        };
        match self.secrets.create(&how, secret).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == CONFLICT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Changes a Secret of ours.
    pub(super) async fn write(&self, secret: &Secret) -> Result<(), kube::Error> {
        let how = PatchParams::apply(MANAGER).force();
        let name = secret.name_any();
        self.secrets
            .patch(&name, &how, &Patch::Apply(secret))
            .await?;
        Ok(())
    }

    /// Deletes the very Secret that was looked at.
    pub(super) async fn delete(&self, secret: &Secret) -> Result<(), kube::Error> {
        let how = DeleteParams::default().preconditions(Preconditions {
            uid: secret.uid(),
            resource_version: None,
        });
        match self.secrets.delete(&secret.name_any(), &how).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == NOT_FOUND => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn write_status(
        &self,
        token: &AgentToken,
        status: &AgentTokenStatus,
    ) -> Result<(), kube::Error> {
        let patch = json!({
            "apiVersion": AgentToken::api_version(&()),
            "kind": AgentToken::kind(&()),
            "status": status,
        });
        let how = PatchParams::apply(MANAGER).force();
        let name = token.name_any();
        self.tokens
            .patch_status(&name, &how, &Patch::Apply(&patch))
            .await?;
        Ok(())
    }
}
