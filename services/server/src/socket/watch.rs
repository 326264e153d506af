//! `POST watch`: a socket of the hub that lives for one request, for agents whose network breaks
//! WebSockets.
//!
//! Guarantees: an answer has the current heads of all trees; none waits longer than
//! [`limits::WATCH_MS`]; whatever ends the request, the hub forgets it.
//! Does not: remember anything between two requests. What moved in between shows as another head
//! than the agent knows of.

use std::sync::Arc;
use std::time::Duration;

use fsync_core::limits;
use fsync_core::service::error::ServiceError;
use fsync_core::service::subscribe::{Frame, Input, SocketNo};
use fsync_core::wire::{
    Bye, ByeCode, ErrorBody, ErrorCode, Head, Heads, Subscribe, TreeHead, Watch, WatchAnswer,
    Watched,
};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, timeout_at};

use super::{BUFFER_FRAMES, Listener, Sockets};
use crate::auth::Identity;

/// When an agent comes back that could not be answered, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Leaves the hub, in whatever way the request ended.
struct Visit<'a>(&'a Sockets, SocketNo);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.gone(self.1);
    }
}

/// Hands a frame to a request; `false` if it has enough.
pub(super) fn offer(request: &Sender<Frame>, frame: &Frame) -> bool {
    match request.try_send(frame.clone()) {
        Err(mpsc::error::TrySendError::Full(_)) => false,
        // One that has ended takes no more; it is about to leave the hub.
        Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => true,
    }
}

impl Sockets {
    /// Answers with the heads of trees: at once if one is not as the agent knows it, else with the
    /// next news or when the time is up.
    ///
    /// # Errors
    /// What a `subscribe` is refused for; `Unavailable` if the replica ends.
    pub async fn watch(
        &self,
        identity: Arc<Identity>,
        watch: Watch,
    ) -> Result<WatchAnswer, ErrorBody> {
        if self.is_closing() {
            return Err(unavailable("the server is shutting down: reconnect", None));
        }
        let wait = Duration::from_millis(watch.wait_ms.min(limits::WATCH_MS));
        let (subscribe, known) = split(watch);
        let seat = self.admit_request(&identity, &subscribe).await?;
        let (sender, mut frames) = mpsc::channel(BUFFER_FRAMES);
        let number = self.next_number();
        self.enter(number, Listener::Watch(sender), (identity, seat));
        let visit = Visit(self, number);
        self.input(Input::Subscribe(number, subscribe));
        let answer = news(&mut frames, &known, wait).await;
        drop(visit);
        answer
    }
}

/// Makes a `subscribe` of a `watch`, and what the agent knows of the same trees.
fn split(watch: Watch) -> (Subscribe, Vec<Option<Head>>) {
    let known = watch.trees.iter().map(|tree| tree.known).collect();
    let cursors = watch.trees.into_iter().map(|Watched { cursor, .. }| cursor);
    let subscribe = Subscribe {
        id: watch.id,
        trees: cursors.collect(),
    };
    (subscribe, known)
}

async fn news(
    frames: &mut Receiver<Frame>,
    known: &[Option<Head>],
    wait: Duration,
) -> Result<WatchAnswer, ErrorBody> {
    let until = Instant::now() + wait;
    let mut answer = WatchAnswer {
        heads: first(frames).await?,
        refs: Vec::new(),
        wants: Vec::new(),
    };
    let heads = answer.heads.trees.iter().map(|tree| tree.head);
    if heads.ne(known.iter().copied()) {
        return Ok(answer);
    }
    while answer.refs.is_empty() && answer.wants.is_empty() {
        match timeout_at(until, frames.recv()).await {
            Ok(Some(frame)) => take(&mut answer, frame)?,
            Ok(None) | Err(_) => break,
        }
    }
    // What came at the same moment goes along.
    while let Ok(frame) = frames.try_recv() {
        take(&mut answer, frame)?;
    }
    Ok(answer)
}

/// Waits for the heads, which the hub looks up.
async fn first(frames: &mut Receiver<Frame>) -> Result<Heads, ErrorBody> {
    loop {
        match frames.recv().await {
            Some(Frame::Heads(heads)) if heads.id.is_some() => return Ok(heads),
            Some(Frame::Error(error)) => return Err(error.error),
            Some(Frame::Bye(bye)) => return Err(unavailable(&bye.reason, Some(&bye))),
            // Anything else is in the heads, or will be told again.
            Some(_) => {}
            None => return Err(unavailable("the tree starts anew: ask again", None)),
        }
    }
}

fn take(answer: &mut WatchAnswer, frame: Frame) -> Result<(), ErrorBody> {
    match frame {
        Frame::Ref(moved) => {
            let told = |tree: &&mut TreeHead| tree.tree == moved.tree;
            if let Some(tree) = answer.heads.trees.iter_mut().find(told) {
                tree.head = Some(moved.head);
            }
            answer.refs.push(moved);
        }
        Frame::Want(want) => answer.wants.push(want),
        Frame::Bye(bye) => return Err(unavailable(&bye.reason, Some(&bye))),
        Frame::Error(error) => return Err(error.error),
        // A beacon says what the heads say; others are not seen from here.
        Frame::Heads(_) | Frame::Presence(_) => {}
    }
    Ok(())
}

fn unavailable(reason: &str, bye: Option<&Bye>) -> ErrorBody {
    if bye.is_some_and(|bye| bye.code == ByeCode::Denied) {
        return ErrorBody {
            code: ErrorCode::Unauthorized,
            message: reason.to_owned(),
            missing: Vec::new(),
            retry_after_ms: None,
        };
    }
    let error = ServiceError::Unavailable {
        reason: reason.to_owned(),
        retry_after_ms: bye.and_then(|bye| bye.retry_after_ms).unwrap_or(RETRY_MS),
    };
    error.to_body()
}
