//! The server's admin API (`core/admin.rs`), one method for each request.
//!
//! Guarantees: every request has an end ([`ANSWER`]); an answer is read up to a limit; the
//! credential is read from its file again ([`credential`]), and neither it nor a token that was
//! made is ever part of an error, a log line or a `Debug` text.
//! Does not: retry. Who calls decides, by the error's kind ([`ServerError::reason`]).

use std::time::Duration;

use fsync_core::admin::{self, IssuedToken, Policy, Revoke, TokenOrder, TreeStatus};
use fsync_core::label::TreeKey;
use fsync_core::rights::TokenName;
use fsync_core::wire::ErrorBody;
use reqwest::{Client, Method, StatusCode, redirect};
use serde::Serialize;

mod credential;
mod error;
mod url;

pub use credential::{Credential, CredentialError};
pub use error::ServerError;
pub use url::{BadUrl, BaseUrl};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for a whole answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Longest answer that is read: a status with the largest policy.
const ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// The server's admin API; clones share its connections.
#[derive(Debug, Clone)]
pub struct Server {
    client: Client,
    base: BaseUrl,
    credential: Credential,
}

/// What became of an order for a collection of garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcStart {
    /// It started.
    Started,
    /// One was running already.
    Running,
}

impl Server {
    /// Sets the client up; talks to nobody yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub fn new(base: BaseUrl, credential: Credential) -> Result<Self, reqwest::Error> {
        fsync_runtime::crypto::install();
        let client = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            base,
            credential,
        })
    }

    /// Returns how a tree is.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn tree(&self, tree: &TreeKey) -> Result<TreeStatus, ServerError> {
        let path = admin::tree_path(tree);
        parse(&self.ask(Method::GET, &path, None::<&()>).await?)
    }

    /// Says what is to hold for a tree, in place of what was said before.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn put_policy(&self, tree: &TreeKey, policy: &Policy) -> Result<(), ServerError> {
        let path = admin::policy_path(tree);
        self.ask(Method::PUT, &path, Some(policy)).await.map(drop)
    }

    /// Takes back what was said of a tree; the tree stays. What was never said is no error.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn delete_policy(&self, tree: &TreeKey) -> Result<(), ServerError> {
        let path = admin::policy_path(tree);
        let answer = self.ask(Method::DELETE, &path, None::<&()>);
        answer.await.map(drop)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn mint(&self, order: &TokenOrder) -> Result<IssuedToken, ServerError> {
        let body = self.ask(Method::POST, admin::TOKENS, Some(order)).await?;
        parse(&body)
    }

    /// Shuts a token out; one that is shut out already is no error.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn revoke(&self, id: TokenName) -> Result<(), ServerError> {
        let revoke = Revoke { id };
        let answer = self.ask(Method::POST, admin::REVOKE, Some(&revoke));
        answer.await.map(drop)
    }

    /// Starts a collection of garbage.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn start_gc(&self) -> Result<GcStart, ServerError> {
        match self.ask(Method::POST, admin::GC, None::<&()>).await {
            Ok(_) => Ok(GcStart::Started),
            Err(ServerError::Refused { status: 409, .. }) => Ok(GcStart::Running),
            Err(error) => Err(error),
        }
    }

    async fn ask<T: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: Option<&T>,
    ) -> Result<Vec<u8>, ServerError> {
        let mut request = self.client.request(method, self.base.join(path));
        request = request.bearer_auth(self.credential.current()?.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut answer = request.send().await.map_err(ServerError::no_answer)?;
        let status = answer.status();
        let mut read = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(ServerError::no_answer)? {
            if read.len() + piece.len() > ANSWER_BYTES {
                return Err(ServerError::Unsupported(
                    "its answer is too long".to_owned(),
                ));
            }
            read.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(read);
        }
        Err(sort(status, &read))
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, ServerError> {
    // The reason without the text, in which a token may stand.
    serde_json::from_slice(body).map_err(|error| {
        let (kind, line, column) = (error.classify(), error.line(), error.column());
        ServerError::Unsupported(format!("{kind:?} error at {line}:{column} of its answer"))
    })
}

fn sort(status: StatusCode, body: &[u8]) -> ServerError {
    let said = serde_json::from_slice::<ErrorBody>(body).ok();
    let code = said.as_ref().map(|body| body.code);
    let message = said.map_or_else(String::new, |body| body.message);
    match status {
        // With a code it is the server's own: it took the credential, and does not do what is asked.
        StatusCode::FORBIDDEN if code.is_some() => ServerError::Refused {
            status: status.as_u16(),
            code,
            message,
        },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ServerError::Unauthorized(message),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if code.is_none() => {
            ServerError::Unsupported(format!(
                "it answers {status}: it was started without --admin-token-file, or is older"
            ))
        }
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            ServerError::Busy {
                status: status.as_u16(),
                message,
            }
        }
        _ => ServerError::Refused {
            status: status.as_u16(),
            code,
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_sorted_by_what_to_do() {
        use crate::condition::Reason;
        let of = |status: u16, body: &str| {
            sort(StatusCode::from_u16(status).unwrap(), body.as_bytes()).reason()
        };
        let not_found = r#"{"code":"not_found","message":"no such tree"}"#;
        assert_eq!(of(401, ""), Reason::Unauthorized);
        assert_eq!(of(403, ""), Reason::Unauthorized);
        let no_key = r#"{"code":"forbidden","message":"this server makes no tokens"}"#;
        assert_eq!(of(403, no_key), Reason::Refused);
        assert_eq!(of(404, ""), Reason::Unsupported);
        assert_eq!(of(404, not_found), Reason::Refused);
        assert_eq!(of(429, ""), Reason::Unreachable);
        assert_eq!(of(503, "<html>"), Reason::Unreachable);
        assert_eq!(
            of(400, r#"{"code":"malformed","message":"unknown field"}"#),
            Reason::Refused
        );
        assert_eq!(of(302, ""), Reason::Refused);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_repeated() {
        let error = parse::<IssuedToken>(br#"{"token": "secret-text", "id": 7}"#).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
