//! The admin API: what `fsync_core::admin` lists, on the admin port, for whoever has its credential.
//!
//! Guarantees: the credential is asked for before a path is looked at; its file is read at each
//! request, so that a new one counts at once; who made or shut out which token and whose policy was
//! changed is in the access log, tokens are not.
//! Place: `app.rs` puts it behind the admin port once the stores are open.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use fsync_core::admin::{self, IssuedToken, Policy, Revoke, TokenOrder, TreeStatus};
use fsync_core::label::TreeKey;
use fsync_core::service::error::ServiceError;
use fsync_core::wire::ErrorCode;
use tower::ServiceExt;

use super::access::Names;
use super::json::Body;
use crate::access_log;
use crate::auth::{Audience, Issuer, MintError, Order, Revocation, Revoked, Secret, Tokens, mint};
use crate::clock;
use crate::config::Access;
use crate::gc::Starter;
use crate::http::error::ApiError;
use crate::policies::Policies;
use crate::socket::Sockets;
use crate::store::Store;

/// How the access log calls whoever has the credential.
const SUBJECT: &str = "admin API";

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Trees.
    pub store: Store,
    /// What holds for them.
    pub policies: Policies,
    /// Who listens to them here.
    pub sockets: Sockets,
    /// What makes tokens.
    pub signer: Option<Arc<Signer>>,
    /// What collects garbage.
    pub collector: Starter,
    /// Where the credential is.
    pub credential: Arc<PathBuf>,
}

/// What makes tokens.
#[derive(Debug)]
pub struct Signer {
    secret: Secret,
    audience: Audience,
}

impl Signer {
    /// Returns what makes the tokens that a server takes, if it can make them itself.
    pub fn of(access: &Access) -> Option<Arc<Self>> {
        let Access::Tokens(tokens) = access else {
            return None;
        };
        let Tokens { issuer, audience } = &**tokens;
        let Issuer::Secrets(secrets) = issuer else {
            return None;
        };
        let secret = secrets.first()?.clone();
        let audience = audience.clone();
        Some(Arc::new(Self { secret, audience }))
    }
}

/// Routes that are not there yet when a port is opened; clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Late(Arc<OnceLock<Router>>);

impl Late {
    /// Puts the routes in place.
    pub fn set(&self, routes: Router) {
        // There is one server in an admin port.
        drop(self.0.set(routes));
    }

    /// Answers with the routes, or that there are none.
    pub async fn answer(self, request: Request) -> Response {
        match self.0.get() {
            Some(routes) => routes.clone().oneshot(request).await.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

/// Returns the routes.
pub fn routes(admin: Admin) -> Router {
    let tree = format!("{}/trees/{{tenant}}/{{tree}}", admin::ROOT);
    Router::new()
        .route(&tree, get(status))
        .route(
            &format!("{tree}/policy"),
            put(set_policy).delete(remove_policy),
        )
        .route(admin::TOKENS, post(make_token))
        .route(admin::REVOKE, post(revoke))
        .route(admin::GC, post(collect))
        .fallback(unknown)
        .with_state(admin.clone())
        .layer(from_fn_with_state(admin, guard))
}

/// Lets nobody on who does not have the credential.
async fn guard(
    State(admin): State<Admin>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let path = Arc::clone(&admin.credential);
    let secret = admin.store.busy(move || Secret::read(&path)).await?;
    let secret = secret.map_err(|e| ApiError::new(ErrorCode::Internal, e.to_string()))?;
    let given = request.headers().get(AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match given.is_some_and(|token| secret.is(token)) {
        true => Ok(next.run(request).await),
        false => {
            let message = "the admin API wants its credential: Authorization: Bearer CREDENTIAL";
            access_log::denied(&access_log::Attempt {
                subject: SUBJECT,
                action: request.method().as_str(),
                place: request.uri().path(),
                tree: None,
                reason: "wrong credential",
            });
            Err(ApiError::new(ErrorCode::Unauthorized, message))
        }
    }
}

async fn unknown() -> ApiError {
    let message = "this is not a path of the admin API; fsync_core::admin lists them";
    std::future::ready(ApiError::new(ErrorCode::NotFound, message)).await
}

async fn status(
    State(admin): State<Admin>,
    Path(names): Path<Names>,
) -> Result<Json<TreeStatus>, ApiError> {
    let tree = names.to_key()?;
    let journal = admin.store.journal();
    let newest = journal.log(tree.clone(), None, 1);
    let (heads, newest, usage) = tokio::try_join!(
        journal.heads(vec![tree.clone()]),
        newest,
        journal.usage(tree.clone()),
    )
    .map_err(ServiceError::from)?;
    let policy = admin.policies.of(&tree).await?;
    Ok(Json(TreeStatus {
        head: heads.into_iter().next().flatten(),
        changed_ms: newest.first().map(|stored| stored.committed),
        bytes: usage.bytes,
        objects: usage.objects,
        agents: admin.sockets.listeners(&tree) as u64,
        policy: policy.map(|policy| (*policy).clone()),
    }))
}

async fn set_policy(
    State(admin): State<Admin>,
    Path(names): Path<Names>,
    Body(policy): Body<Policy>,
) -> Result<StatusCode, ApiError> {
    let tree = names.to_key()?;
    let checked = policy.check();
    checked.map_err(|e| ApiError::new(ErrorCode::TooLarge, e.to_string()))?;
    access_log::allowed(SUBJECT, "set the policy", &tree, "");
    admin.policies.set(&tree, Some(policy)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove_policy(
    State(admin): State<Admin>,
    Path(names): Path<Names>,
) -> Result<StatusCode, ApiError> {
    let tree: TreeKey = names.to_key()?;
    access_log::allowed(SUBJECT, "remove the policy", &tree, "");
    admin.policies.set(&tree, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn make_token(
    State(admin): State<Admin>,
    Body(order): Body<TokenOrder>,
) -> Result<Json<IssuedToken>, ApiError> {
    let Some(signer) = &admin.signer else {
        let message = "this server makes no tokens: it has no key of its own (--auth-hs256-file); \
                       ask the issuer whose tokens it takes";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    };
    let about = format!("{} for {}", order.tenant, order.subject);
    let order = Order {
        subject: order.subject,
        tenant: order.tenant,
        grants: order.trees,
        agent: order.agent,
        ttl: Duration::from_secs(order.ttl_seconds),
        audience: signer.audience.clone(),
    };
    let minted = mint(&signer.secret, order).map_err(|error| match error {
        MintError::Sign(_) => ApiError::new(ErrorCode::Internal, error.to_string()),
        _ => ApiError::malformed("the token cannot be made", error),
    })?;
    tracing::info!(target: access_log::TARGET, id = %minted.id, about, "a token was made");
    Ok(Json(IssuedToken {
        token: minted.text,
        id: minted.id,
        issued_ms: minted.issued,
        expires_ms: minted.expires,
    }))
}

async fn revoke(
    State(admin): State<Admin>,
    Body(order): Body<Revoke>,
) -> Result<StatusCode, ApiError> {
    tracing::info!(target: access_log::TARGET, id = %order.id, "a token is shut out");
    let revocation = Revocation {
        who: Revoked::Token(order.id),
        since_ms: clock::now().0,
    };
    let is_kept = admin.store.journal().revoke(revocation).await;
    match is_kept.map_err(ServiceError::from)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => {
            let message = "the list of revocations is full: change the key that signs tokens";
            Err(ApiError::new(ErrorCode::StoreFull, message))
        }
    }
}

async fn collect(State(admin): State<Admin>) -> StatusCode {
    std::future::ready(match admin.collector.start() {
        true => StatusCode::ACCEPTED,
        false => StatusCode::CONFLICT,
    })
    .await
}
