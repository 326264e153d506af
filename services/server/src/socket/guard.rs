//! Who may hold a socket, and hear of which trees: at the handshake, at each `subscribe`, and again
//! every second.
//!
//! Guarantees: a token that expired, was revoked, or whose key was withdrawn ends its sockets within
//! a second after this replica knows, with a `bye` that is terminal for that token.

use std::sync::Arc;
use std::time::Duration;

use fsync_core::rights::Right;
use fsync_core::service::error::ServiceError;
use fsync_core::service::subscribe::SocketNo;
use fsync_core::wire::{Bye, ByeCode, ErrorBody, Handshake, PROTOCOL_VERSION, Subscribe};
use serde_json::Value;

use super::seats::Seat;
use super::{Listener, Refused, Sockets};
use crate::access_log::{self, Attempt};
use crate::auth::{AuthError, Identity};

/// Time between two looks at all sockets.
const LOOK: Duration = Duration::from_secs(1);
/// How long a socket may take from being let in to being there; it is done within milliseconds.
const UNBORN: Duration = Duration::from_secs(5);

impl Sockets {
    /// Says who connects.
    pub(super) async fn check(
        &self,
        auth: Result<Value, String>,
    ) -> Result<(Handshake, Arc<Identity>), Refused> {
        let auth = auth.map_err(Refused::Malformed)?;
        // The version first: another version may say the rest differently.
        let protocol = auth
            .get("protocol")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let protocol = u32::try_from(protocol).unwrap_or(u32::MAX);
        if auth.is_object() && protocol != PROTOCOL_VERSION {
            return Err(Refused::Protocol(protocol));
        }
        let handshake: Handshake =
            serde_json::from_value(auth).map_err(|e| Refused::Malformed(e.to_string()))?;
        let identity = self.0.checks.auth.check(handshake.token.as_deref()).await;
        let identity = identity.map_err(|error| {
            denied("-", handshake.agent.as_str(), error.as_str());
            match error {
                AuthError::NoKeys(_) => Refused::NoKeys(error),
                error => Refused::Token(error),
            }
        })?;
        if !identity.is_agent(&handshake.agent) {
            denied(
                identity.subject(),
                handshake.agent.as_str(),
                "another agent",
            );
            return Err(Refused::Agent(handshake.agent));
        }
        Ok((handshake, identity))
    }

    /// Counts a socket that was let in.
    pub(super) fn seat(&self, identity: &Identity) -> Result<Seat, Refused> {
        let counted = self.0.checks.rates.handshake_of(identity);
        let seat = counted.and_then(|()| self.0.seats.take(identity));
        seat.map_err(|passed| {
            denied(identity.subject(), "-", passed.name);
            Refused::Limit(passed)
        })
    }

    /// Lets a request wait for news of trees: it is a socket as long as it waits.
    pub(super) async fn admit_request(
        &self,
        identity: &Identity,
        request: &Subscribe,
    ) -> Result<Seat, ErrorBody> {
        let checked = self.check_trees(identity, request).await;
        checked.map_err(|error| error.to_body())?;
        self.0.seats.take(identity).map_err(|passed| {
            denied(identity.subject(), "-", passed.name);
            passed.to_body()
        })
    }

    /// Refuses a subscription as a whole if it names a tree that the caller may not read; an unknown
    /// tree looks no different to him.
    pub(super) async fn check_trees(
        &self,
        identity: &Identity,
        request: &Subscribe,
    ) -> Result<(), ServiceError> {
        for cursor in &request.trees {
            let right = self.0.checks.right_to(identity, &cursor.tree, Right::Read);
            if right.await?.is_none() {
                access_log::denied(&Attempt {
                    subject: identity.subject(),
                    action: "subscribe",
                    place: "-",
                    tree: Some(&cursor.tree),
                    reason: "no right",
                });
                return Err(ServiceError::NotFound(format!("tree {}", cursor.tree)));
            }
        }
        Ok(())
    }

    /// Forgets sockets whose connection ended while they were let in: nobody tells of their end.
    fn forget_unborn(&self) {
        let unborn: Vec<SocketNo> = {
            let state = self.lock();
            let peers = state.sockets.iter();
            peers
                .filter(|(_, peer)| match &peer.listener {
                    Listener::Socket(socket) => {
                        !socket.connected() && peer.since.elapsed() > UNBORN
                    }
                    Listener::Watch(_) => false,
                })
                .map(|(number, _)| *number)
                .collect()
        };
        for number in unborn {
            self.gone(number);
        }
    }

    /// Ends sockets whose token is not good any more.
    fn expel_all(&self) {
        let auth = &self.0.checks.auth;
        let bad: Vec<(SocketNo, AuthError)> = {
            let state = self.lock();
            let peers = state.sockets.iter();
            peers
                .filter_map(|(number, peer)| {
                    let error = auth.still_good(&peer.identity).err()?;
                    denied(peer.identity.subject(), "an open socket", error.as_str());
                    Some((*number, error))
                })
                .collect()
        };
        for (number, error) in bad {
            let bye = Bye {
                code: ByeCode::Denied,
                reason: error.to_string(),
                retry_after_ms: None,
            };
            self.leave(number, bye);
        }
    }
}

fn denied(subject: &str, place: &str, reason: &str) {
    access_log::denied(&Attempt {
        subject,
        action: "connect",
        place,
        tree: None,
        reason,
    });
}

/// Whether the token alone lets the caller read all trees of a subscription.
pub(super) fn may_by_token(identity: &Identity, request: &Subscribe) -> bool {
    let mut trees = request.trees.iter();
    trees.all(|cursor| identity.right_to(&cursor.tree).is_some())
}

/// Looks at all sockets until the shutdown.
pub(super) async fn expel(sockets: Sockets) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {
                sockets.expel_all();
                sockets.forget_unborn();
            }
            () = sockets.0.tasks.triggered() => return,
        }
    }
}
