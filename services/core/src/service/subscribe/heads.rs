//! Heads of the trees that somebody listens to: what was told, what is known, what is true.
//!
//! ```text
//! known, told < truth        a wake-up was lost: look the head up and tell it
//! known > truth, one epoch   the journal went back: its positions get another epoch
//! known, no truth            the journal lost the tree: its agents come back and offer their heads
//! ```

use super::{Effect, Frame, Hub, SLOW_RETRY_MS};
use crate::label::TreeKey;
use crate::service::Now;
use crate::wire::{Bye, ByeCode, Head, RefEvent};

impl Hub {
    /// Returns the trees that somebody listens to.
    pub fn trees(&self) -> Vec<TreeKey> {
        self.listeners.keys().cloned().collect()
    }

    /// Compares the truth about a tree with what its listeners know.
    pub(super) fn compare(
        &mut self,
        tree: TreeKey,
        truth: Option<Head>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.listeners.contains_key(&tree) {
            return;
        }
        match (self.heads.get(&tree).copied(), truth) {
            (None, None) => {}
            (Some(known), Some(truth)) if known == truth => {}
            (Some(known), Some(truth)) if known.epoch == truth.epoch && known.seq >= truth.seq => {
                effects.push(Effect::Renew(tree, truth));
            }
            (_, Some(_)) => effects.push(Effect::LoadRef(tree)),
            (Some(_), None) => self.restart(&tree, now, effects),
        }
    }

    /// Lets the agents of a tree whose head vanished come back and offer theirs.
    fn restart(&mut self, tree: &TreeKey, now: Now, effects: &mut Vec<Effect>) {
        for socket in self.listeners.get(tree).cloned().unwrap_or_default() {
            let bye = Bye {
                code: ByeCode::Shutdown,
                reason: format!("the head of {tree} is lost: reconnect to offer yours"),
                retry_after_ms: Some((now.0 ^ socket.0) % SLOW_RETRY_MS),
            };
            effects.push(Effect::Send(socket, Frame::Bye(bye)));
            effects.push(Effect::Close(socket));
            self.remove(socket, effects);
        }
    }

    /// Keeps the newest head; another epoch replaces the old one.
    pub(super) fn learn(&mut self, tree: &TreeKey, head: Head) {
        if !self.listeners.contains_key(tree) {
            return;
        }
        let known = self.heads.entry(tree.clone()).or_insert(head);
        if known.epoch != head.epoch || known.seq < head.seq {
            *known = head;
        }
    }

    /// Returns whether somebody here would be told of a head.
    pub fn is_news(&self, event: &RefEvent) -> bool {
        let head = event.head;
        let told = self.told.get(&event.tree);
        let is_told = told.is_some_and(|told| told.epoch == head.epoch && told.seq >= head.seq);
        self.listeners.contains_key(&event.tree) && !is_told
    }

    pub(super) fn moved(&mut self, event: &RefEvent, effects: &mut Vec<Effect>) {
        self.learn(&event.tree, event.head);
        let is_news = self.is_news(event);
        let Some(listeners) = self.listeners.get(&event.tree).filter(|_| is_news).cloned() else {
            return;
        };
        self.told.insert(event.tree.clone(), event.head);
        for socket in listeners {
            if let Some(state) = self.sockets.get_mut(&socket) {
                let replaced = state.refs.insert(event.tree.clone(), event.clone());
                self.coalesced += u64::from(replaced.is_some());
            }
            self.flush(socket, effects);
        }
    }
}
