//! One `AgentToken`: its Secret, the tokens that were made for it, and its end.
//!
//! Guarantees: a Secret that is not the object's own is never written; a token that was replaced
//! because its end was near runs out by itself, so that pods that started with it go on; one that
//! was ordered as something else is revoked once the new one is in the Secret; all of an object's
//! tokens are revoked when it ends. A crash between any two steps forgets no token that anybody
//! could have read (`desired.rs`).
//! Does not: watch Secrets, which would need the right to list all of a namespace; each is looked
//! at every [`LOOK`].
//! Place: called by the kube runtime through [`crate::app`], at most once at a time per object.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::{Resource, ResourceExt};

use crate::condition::{Finding, Reason};
use crate::context::{Context, ReconcileError, again, later, turn};
use crate::crd::{AgentToken, AgentTokenStatus};
use crate::metrics::{self, Kind};
use crate::server::ServerError;
use crate::unreadable;
use desired::{Held, Need, Wanted};
use store::Store;

pub mod desired;
mod store;

/// Keeps an object until its tokens are revoked.
pub const FINALIZER: &str = "fsync.dev/token";
/// HTTP statuses from here on say nothing about what was done.
const SERVER_ERRORS: u16 = 500;
/// Time between two looks at a Secret.
const LOOK: Duration = Duration::from_secs(30);

/// Why an object is not ready, or why nothing can be said of it.
#[derive(Debug)]
enum Stop {
    Finding(Finding),
    Error(ReconcileError),
}

impl From<ServerError> for Stop {
    fn from(error: ServerError) -> Self {
        Self::Finding(error.finding())
    }
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Error(error.into())
    }
}

impl From<desired::Invalid> for Stop {
    fn from(invalid: desired::Invalid) -> Self {
        Self::Finding(Finding::new(Reason::Invalid, invalid.to_string()))
    }
}

/// Looks at an object, which may be one that cannot be read.
///
/// # Errors
/// As [`reconcile`].
pub async fn look_at(
    object: Arc<DeserializeGuard<AgentToken>>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    match &object.0 {
        Ok(token) => reconcile(Arc::new(token.clone()), context).await,
        Err(why) => unreadable::tell(&object, &why.error, &context, Kind::Token).await,
    }
}

/// Brings an object's Secret where the object says.
///
/// # Errors
/// [`ReconcileError`]: come back later.
pub async fn reconcile(
    token: Arc<AgentToken>,
    context: Arc<Context>,
) -> Result<Action, ReconcileError> {
    let started = Instant::now();
    let store = Store::new(&context, &token);
    let result = finalizer(&store.tokens, FINALIZER, token, async |event| match event {
        Event::Apply(token) => apply(&store, &token, &context).await,
        Event::Cleanup(token) => clean_up(&store, &token, &context).await,
    });
    let result = result.await.map_err(unwrapped);
    metrics::took(Kind::Token, started.elapsed());
    result
}

/// Says when an object whose reconcile failed is looked at again.
pub fn failed(
    token: &DeserializeGuard<AgentToken>,
    error: &ReconcileError,
    context: &Context,
) -> Action {
    again(context, Kind::Token, token, error)
}

fn unwrapped(error: kube::runtime::finalizer::Error<ReconcileError>) -> ReconcileError {
    use kube::runtime::finalizer::Error;
    match error {
        Error::ApplyFailed(error) | Error::CleanupFailed(error) => error,
        other => ReconcileError::Finalizer(other.to_string()),
    }
}

async fn apply(
    store: &Store,
    token: &AgentToken,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let turn = turn(token);
    if let Some(wait) = context.pace.wait(&turn, Instant::now()) {
        return Ok(later(wait));
    }
    let mut status = token.status.clone().unwrap_or_default();
    let finding = match issue(store, token, context, &mut status).await {
        Ok(()) => {
            let message = format!("Secret {} holds a good token", name_of(&status));
            Finding::new(Reason::Issued, message)
        }
        Err(Stop::Finding(finding)) => finding,
        Err(Stop::Error(error)) => return Err(error),
    };
    settle(store, token, context, (status, &finding)).await?;
    let now = Instant::now();
    Ok(later(match finding.reason {
        Reason::Invalid => return Ok(Action::await_change()),
        Reason::Unreachable | Reason::Unauthorized | Reason::Unsupported | Reason::Refused => {
            context.pace.failed(&turn, now)
        }
        _ => context.pace.done(&turn, now, LOOK),
    }))
}

fn name_of(status: &AgentTokenStatus) -> &str {
    status.secret_name.as_deref().unwrap_or_default()
}

/// Brings Secret and status where they should be.
async fn issue(
    store: &Store,
    token: &AgentToken,
    context: &Context,
    status: &mut AgentTokenStatus,
) -> Result<(), Stop> {
    let wanted = desired::wanted(&token.name_any(), &token.spec)?;
    let secret = store.secret(&wanted.secret).await?;
    if let Some(secret) = &secret
        && !desired::is_ours(secret, token)
    {
        let name = &wanted.secret;
        let message = format!(
            "Secret {name} is not of this AgentToken and is left alone: set spec.secretName, or \
             delete that Secret"
        );
        return Err(Stop::Finding(Finding::new(Reason::SecretTaken, message)));
    }
    let held = secret.as_ref().and_then(desired::held);
    let now = Timestamp::now();
    let held = match desired::need(&wanted, held.as_ref(), &context.server_url, now) {
        Need::Nothing => held,
        Need::Address => {
            if let Some(secret) = &secret {
                store
                    .write(&desired::moved(secret, token, &context.server_url))
                    .await?;
            }
            held
        }
        Need::Token(cause) => {
            if let Some(held) = &held
                && status.token_id.as_ref() != Some(&held.id)
            {
                note(context, status, held, &wanted.secret).await?;
                // The Secret will not say it any more.
                store.write_status(token, status).await?;
            }
            Some(mint(store, token, context, (&wanted, secret.is_some(), cause)).await?)
        }
    };
    if let Some(held) = &held {
        leave_old(store, token, context, (status, &wanted)).await?;
        note(context, status, held, &wanted.secret).await?;
    }
    Ok(())
}

/// Has a token made and puts it into the Secret.
async fn mint(
    store: &Store,
    token: &AgentToken,
    context: &Context,
    (wanted, is_there, cause): (&Wanted, bool, desired::Cause),
) -> Result<Held, Stop> {
    let issued = context.server.mint(&wanted.order).await?;
    metrics::minted(cause.as_str());
    let secret = desired::secret(token, wanted, &issued, &context.server_url);
    let written = match is_there {
        true => store.write(&secret).await.map(|()| true),
        false => store.create(&secret).await,
    };
    // What was refused stands nowhere. After another error it may be in the Secret or not: the next
    // look tells, and where it is not, its text is lost, so that nobody can use it.
    let is_refused = match &written {
        Ok(is_written) => !is_written,
        Err(kube::Error::Api(status)) => status.code < SERVER_ERRORS,
        Err(_) => false,
    };
    if is_refused {
        revoke(context, issued.id.as_str()).await?;
    }
    if !written? {
        let message = format!("Secret {} was made by somebody meanwhile", wanted.secret);
        return Err(Stop::Finding(Finding::new(Reason::SecretTaken, message)));
    }
    let (name, secret_name, id) = (token.name_any(), &wanted.secret, &issued.id);
    tracing::info!(name, secret = secret_name, %id, cause = cause.as_str(), "token made");
    let unreadable = || {
        let message = "the server's answer has no good times";
        Stop::Finding(Finding::new(Reason::Unsupported, message))
    };
    desired::held(&secret).ok_or_else(unreadable)
}

/// Revokes what the Secret's token replaced for good, and notes in the status what is left.
async fn note(
    context: &Context,
    status: &mut AgentTokenStatus,
    held: &Held,
    secret: &str,
) -> Result<(), Stop> {
    let account = desired::account(status, held, Timestamp::now());
    for id in &account.revoke {
        revoke(context, id).await?;
    }
    desired::record(status, held, secret, account);
    Ok(())
}

/// Takes the Secret away that an object used before its `secretName` was changed.
async fn leave_old(
    store: &Store,
    token: &AgentToken,
    context: &Context,
    (status, wanted): (&AgentTokenStatus, &Wanted),
) -> Result<(), Stop> {
    let Some(old) = status.secret_name.as_ref() else {
        return Ok(());
    };
    if *old == wanted.secret {
        return Ok(());
    }
    end_secret(store, token, context, old).await
}

/// Revokes the token of a Secret of ours and deletes it.
async fn end_secret(
    store: &Store,
    token: &AgentToken,
    context: &Context,
    name: &str,
) -> Result<(), Stop> {
    let secret = store.secret(name).await?;
    let Some(secret) = secret.filter(|secret| desired::is_ours(secret, token)) else {
        return Ok(());
    };
    if let Some(held) = desired::held(&secret)
        && held.expires > Timestamp::now()
    {
        revoke(context, &held.id).await?;
    }
    Ok(store.delete(&secret).await?)
}

async fn revoke(context: &Context, id: &str) -> Result<(), ServerError> {
    if let Some(id) = desired::id(id) {
        tracing::info!(%id, "token revoked");
        context.server.revoke(id).await?;
        metrics::revoked();
    }
    Ok(())
}

/// Writes down what was found, if it says something new.
async fn settle(
    store: &Store,
    token: &AgentToken,
    context: &Context,
    (mut status, finding): (AgentTokenStatus, &Finding),
) -> Result<(), ReconcileError> {
    metrics::reconciled(Kind::Token, finding.reason.as_str());
    let before = token.status.clone().unwrap_or_default();
    let generation = token.meta().generation;
    status.conditions = vec![finding.condition(&before.conditions, generation, Timestamp::now())];
    status.observed_generation = generation;
    if status != before {
        store.write_status(token, &status).await?;
    }
    if finding.is_news(&before.conditions) {
        context.tell(&token.object_ref(&()), finding).await;
    }
    Ok(())
}

async fn clean_up(
    store: &Store,
    token: &AgentToken,
    context: &Context,
) -> Result<Action, ReconcileError> {
    match end(store, token, context).await {
        Ok(()) => {
            context.pace.forget(&turn(token));
            tracing::info!(name = token.name_any(), "tokens of an object ended");
            Ok(Action::await_change())
        }
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Finding(finding)) => {
            let status = token.status.clone().unwrap_or_default();
            settle(store, token, context, (status, &finding)).await?;
            Err(ReconcileError::Unfinished(finding.message))
        }
    }
}

/// Revokes every token of an object that is still good, and deletes its Secret.
async fn end(store: &Store, token: &AgentToken, context: &Context) -> Result<(), Stop> {
    let status = token.status.clone().unwrap_or_default();
    for one in desired::good(&status, Timestamp::now()) {
        revoke(context, &one.id).await?;
    }
    let wanted = desired::wanted(&token.name_any(), &token.spec).ok();
    let mut names: Vec<String> = wanted.into_iter().map(|wanted| wanted.secret).collect();
    names.extend(status.secret_name);
    names.dedup();
    for name in &names {
        end_secret(store, token, context, name).await?;
    }
    Ok(())
}
