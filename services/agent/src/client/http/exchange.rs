//! One exchange with the server: building a request, sending it with patience that fits its size,
//! sorting what comes back.

use std::time::Duration;

use bytes::Bytes;
use fsync_core::limits;
use fsync_core::wire::{ErrorBody, PACK_TYPE, TRACE_HEADER};
use fsync_runtime::trace;
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Http, root_cause};
use crate::client::error::ClientError;
use crate::client::packs::read_piece;

/// Slowest upload that is waited for, in bytes per second.
const SLOWEST_BYTES_PER_SECOND: u64 = 16 * 1024;

impl Http {
    pub(super) fn request(&self, method: Method, url: String) -> RequestBuilder {
        let mut request = self.line.client().request(method, url);
        if let Some(context) = trace::current() {
            request = request.header(TRACE_HEADER, context);
        }
        match self.token.current() {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    pub(super) fn tree_request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request(method, self.server.tree_path(&self.tree, path))
    }

    pub(super) fn pack_request(&self, method: Method, path: &str, pack: Bytes) -> RequestBuilder {
        self.tree_request(method, path)
            .header(reqwest::header::CONTENT_TYPE, PACK_TYPE)
            .body(pack)
    }

    pub(super) fn json_request(
        &self,
        path: &'static str,
        body: &impl Serialize,
    ) -> Result<(RequestBuilder, usize), ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.bad(path, e.to_string()))?;
        let bytes = body.len();
        let request = self
            .tree_request(Method::POST, path)
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body);
        Ok((request, bytes))
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        what: &'static str,
        request: RequestBuilder,
        body_bytes: usize,
    ) -> Result<T, ClientError> {
        let mut response = self.send(what, request, body_bytes).await?;
        let body = self.read_body(what, &mut response).await?;
        serde_json::from_slice(&body).map_err(|e| self.bad(what, e.to_string()))
    }

    /// Sends and turns every status but success into a typed error.
    pub(super) async fn send(
        &self,
        what: &'static str,
        request: RequestBuilder,
        body_bytes: usize,
    ) -> Result<Response, ClientError> {
        let mut response = self.send_raw(request, body_bytes).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = self.read_body(what, &mut response).await?;
        Err(self.sort_error(what, status, &body))
    }

    pub(super) async fn send_raw(
        &self,
        request: RequestBuilder,
        body_bytes: usize,
    ) -> Result<Response, ClientError> {
        let wait = self.line.wait();
        let patience =
            wait.answer + Duration::from_secs(body_bytes as u64 / SLOWEST_BYTES_PER_SECOND);
        let unreachable = |reason| ClientError::Unreachable {
            server: self.server.clone(),
            reason,
        };
        match tokio::time::timeout(patience, request.send()).await {
            Ok(Ok(response)) => {
                self.line.heard();
                Ok(response)
            }
            Ok(Err(error)) => Err(unreachable(root_cause(&error))),
            Err(_elapsed) => {
                self.line.missed(&wait);
                Err(unreachable(format!(
                    "no answer within {} s",
                    patience.as_secs()
                )))
            }
        }
    }

    pub(super) async fn read_body(
        &self,
        what: &'static str,
        response: &mut Response,
    ) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(piece) = read_piece(&self.server, response).await? {
            limits::check(
                "JSON answer in bytes",
                limits::JSON_BYTES,
                body.len() + piece.len(),
            )
            .map_err(|e| self.bad(what, e.to_string()))?;
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    pub(super) fn sort_error(
        &self,
        what: &'static str,
        status: reqwest::StatusCode,
        body: &[u8],
    ) -> ClientError {
        if let Ok(body) = serde_json::from_slice::<ErrorBody>(body) {
            return ClientError::from_body(&self.server, body);
        }
        // Not our words: a proxy on the way says that nobody is behind it.
        if matches!(status.as_u16(), 429 | 502..=504) {
            return ClientError::Unreachable {
                server: self.server.clone(),
                reason: format!("a proxy answers {status}"),
            };
        }
        self.bad(what, format!("status {status} without an fsync error"))
    }

    pub(super) fn bad(&self, what: &'static str, reason: String) -> ClientError {
        ClientError::BadAnswer {
            server: self.server.clone(),
            what,
            reason,
        }
    }
}
