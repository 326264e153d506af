//! Who may ask: the tree of a request together with the right that its handler needs. A handler
//! cannot name a tree without one of these, so no route can forget the check.
//!
//! Guarantees: the token is checked before the tree is looked up, and the right before anything is
//! read of it; to a caller without any right an unknown tree and a forbidden one are the same, in
//! words and in work done. Who may read is told that he may not write.
//! Place: the only extractors of trees; denied attempts go to the access log.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use fsync_core::label::TreeKey;
use fsync_core::rights::Right;
use fsync_core::service::error::ServiceError;
use fsync_core::wire::ErrorCode;

use super::Api;
use super::error::ApiError;
use super::json::content_length;
use crate::access_log::{self, Attempt};
use crate::auth::{AuthError, Identity};

/// A tree that the caller may read.
pub(super) struct Reads(pub(super) TreeKey);

/// A tree that the caller may change, and who the caller is.
pub(super) struct Writes(pub(super) TreeKey, pub(super) Arc<Identity>);

impl FromRequestParts<Api> for Reads {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let (tree, _) = admit(parts, api, Right::Read).await?;
        Ok(Self(tree))
    }
}

impl FromRequestParts<Api> for Writes {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let (tree, identity) = admit(parts, api, Right::Write).await?;
        Ok(Self(tree, identity))
    }
}

/// Who calls, on a route that names trees in its body.
pub(super) struct Caller(pub(super) Arc<Identity>);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        identify(parts, api).await.map(Self)
    }
}

/// Says who calls, and counts it.
async fn identify(parts: &Parts, api: &Api) -> Result<Arc<Identity>, ApiError> {
    let token = match token_of(parts) {
        Ok(token) => api.checks.auth.check(token).await,
        Err(error) => Err(error),
    };
    let identity = token.map_err(|error| {
        tell(parts, "-", None, error.as_str());
        ApiError(error.to_body())
    })?;
    let bytes = content_length(&parts.headers).unwrap_or_default();
    let counted = api.checks.rates.request_of(&identity, bytes as u64);
    counted.map_err(|passed| {
        tell(parts, identity.subject(), None, passed.name);
        ApiError(passed.to_body())
    })?;
    Ok(identity)
}

async fn admit(
    parts: &mut Parts,
    api: &Api,
    needed: Right,
) -> Result<(TreeKey, Arc<Identity>), ApiError> {
    let identity = identify(parts, api).await?;
    let path = Path::<Names>::from_request_parts(parts, api).await;
    let tree = path
        .map_err(|e| ApiError::malformed("the tree's path", e))
        .and_then(|Path(names)| names.to_key())?;
    let right = api.checks.right_to(&identity, &tree, needed).await;
    match right.map_err(ApiError::from)? {
        Some(right) if right >= needed => Ok((tree, identity)),
        Some(_) => {
            tell(parts, identity.subject(), Some(&tree), "read only");
            let message = format!("the token allows to read {tree}, not to change it");
            Err(ApiError::new(ErrorCode::Forbidden, message))
        }
        None => {
            tell(parts, identity.subject(), Some(&tree), "no right");
            Err(ServiceError::NotFound(format!("tree {tree}")).into())
        }
    }
}

fn tell(parts: &Parts, subject: &str, tree: Option<&TreeKey>, reason: &str) {
    access_log::denied(&Attempt {
        subject,
        action: parts.method.as_str(),
        place: parts.uri.path(),
        tree,
        reason,
    });
}

#[derive(serde::Deserialize)]
pub(super) struct Names {
    tenant: String,
    tree: String,
}

impl Names {
    /// Returns the tree that a path names.
    pub(super) fn to_key(&self) -> Result<TreeKey, ApiError> {
        let tenant = self.tenant.parse();
        let name = self.tree.parse();
        Ok(TreeKey {
            tenant: tenant.map_err(|e| ApiError::malformed("the tenant", e))?,
            name: name.map_err(|e| ApiError::malformed("the tree", e))?,
        })
    }
}

/// Returns the bearer token of a request; two of them are none.
fn token_of(parts: &Parts) -> Result<Option<&str>, AuthError> {
    let mut values = parts.headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthError::Malformed("there are two of them"));
    }
    let text = value.to_str().ok();
    let token = text.and_then(|text| text.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token {
        Some((_, token)) => Ok(Some(token.trim_start())),
        None => Err(AuthError::Malformed("Authorization must be: Bearer TOKEN")),
    }
}
