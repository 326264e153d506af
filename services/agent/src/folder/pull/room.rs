//! A disk that is full or read-only: a large file without room is left out of an apply and all else
//! goes on; where nothing can be written, all that is to come waits.

use fsync_core::path::RelPath;

use super::{Folder, FolderError};
use crate::apply::{ApplyError, discard};
use crate::files::{FilesError, Problem};

/// Returns what the user is told of a step that the disk refused.
pub(super) fn text(path: &RelPath, error: &FilesError) -> String {
    match error.problem {
        Problem::NoSpace => {
            format!("the disk is full: no room for {path} ({error}); free some, all else goes on")
        }
        Problem::ReadOnly => format!(
            "paused: the disk is read-only ({error}); what others changed is put here once it can be \
             written again"
        ),
        _ => format!("{error}; trying again"),
    }
}

impl Folder {
    /// Leaves out the large file of a batch if the disk has no room for it, with what is staged of
    /// it; returns any other error.
    pub(super) fn no_room(
        &mut self,
        at: usize,
        error: ApplyError,
    ) -> Result<Option<ApplyError>, FolderError> {
        let error = match error {
            ApplyError::Files(error) if error.is(Problem::NoSpace) => error,
            other => return Ok(Some(other)),
        };
        let batches = self.pull.applying.as_mut().map(|a| &mut a.batches);
        let Some(batch) = batches.and_then(|batches| batches.remove(at)) else {
            return Ok(Some(error.into()));
        };
        if let Some(large) = &batch.large {
            discard(&*self.parts.files, &self.parts.state, &large.content())?;
        }
        let path = batch.steps.first().map(|step| step.path().clone());
        if let Some(applying) = &mut self.pull.applying {
            applying.trouble = path.map(|path| text(&path, &error));
        }
        Ok(None)
    }
}
