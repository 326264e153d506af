//! What was changed here and may not be sent, because the token only allows to read: it stays on
//! this disk, listed, until the user takes it back or may send it.
//!
//! Guarantees: nothing of it is lost. What was changed is excepted, so that no change of others
//! replaces it; `revert` puts the head's version in its place by an apply like any other, which
//! moves the user's version to the trash.

use fsync_core::engine::Input;
use fsync_core::exception::Exception;
use fsync_core::path::RelPath;
use fsync_core::tree::{self, Edits};

use super::push::{self, Pending};
use super::{Folder, FolderEffect, FolderError, Notice};
use crate::state::Durability;

impl Folder {
    /// The service does not take the unsent revision: its edits stay here.
    pub(super) fn keep_here(
        &mut self,
        pending: &Pending,
        reason: &str,
        out: &mut Vec<FolderEffect>,
    ) -> Result<Input, FolderError> {
        let state = &self.parts.state;
        let edits = tree::differences(&**state, &pending.synced_before, &pending.synced_after)?;
        state.update::<_, FolderError>(Durability::Lazy, |tx| {
            for path in edits.keys() {
                tx.set_exception(path, Some(&Exception::ReadOnly))?;
            }
            Ok(())
        })?;
        self.drop_pending()?;
        let message = format!(
            "{reason}; {} changed paths stay on this disk only, `fsync-agent status` lists them and `fsync-agent revert` \
             puts the head's versions in their place",
            edits.len()
        );
        out.push(FolderEffect::Notice(Notice::Trouble(message)));
        Ok(Input::PushImpossible { stale: Vec::new() })
    }

    /// Gives up what the user gave up, unless something is under way: an apply or a push that began
    /// before ends with what the trees were then, and would undo it.
    pub(super) fn revert_if_idle(&mut self) -> Result<Option<Input>, FolderError> {
        let is_idle = !self.pull.is_applying() && push::load(&self.parts.state)?.is_none();
        if self.reverts.is_empty() || !is_idle {
            return Ok(None);
        }
        let mut paths = Vec::new();
        for at in std::mem::take(&mut self.reverts) {
            paths.extend(self.kept_here(&at)?);
        }
        self.revert(paths).map(Some)
    }

    /// Gives up what was changed here at these paths, in favour of the head.
    fn revert(&mut self, paths: Vec<RelPath>) -> Result<Input, FolderError> {
        let state = std::sync::Arc::clone(&self.parts.state);
        let working = state.snapshot()?.roots()?.working;
        let mut edits = Edits::new();
        for path in &paths {
            // As if it had been agreed: then the head's version is the only change.
            edits.insert(path.clone(), tree::lookup(&*state, &working, path)?);
        }
        state.update::<_, FolderError>(Durability::Lazy, |tx| {
            for path in &paths {
                tx.set_exception(path, None)?;
            }
            Ok(())
        })?;
        self.edit_synced(&edits)?;
        self.is_durable = false;
        Ok(Input::Decided { released: paths })
    }

    /// Returns what was changed here and not sent, at a path and below it.
    ///
    /// # Errors
    /// [`FolderError::State`].
    pub fn kept_here(&self, at: &RelPath) -> Result<Vec<RelPath>, FolderError> {
        let all = self
            .parts
            .state
            .snapshot()?
            .exceptions_within(&RelPath::root())?;
        let kept = all
            .into_iter()
            .filter(|(path, exception)| *exception == Exception::ReadOnly && path.is_within(at));
        Ok(kept.map(|(path, _)| path).collect())
    }
}
