//! Faults put into the product on purpose, so that the simulator can show that it finds them.
//!
//! Guarantees: without the feature `mutants` [`is_on`] is false and inlined, so that nothing of this
//! is in a shipped program. With it one mutant at a time is on, in the whole process.
//! Place: each stands where it changes something, in core and agent; `tests/sim/mutants.rs` knows
//! the seeds that kill them.

macro_rules! mutants {
    ($($(#[$doc:meta])+ $mutant:ident $name:literal,)+) => {
        /// What is done wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[$doc])+ $mutant,)+
        }

        impl Mutant {
            /// All mutants.
            pub const ALL: &'static [Self] = &[$(Self::$mutant),+];

            /// Returns its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$mutant => $name,)+
                }
            }
        }
    };
}

mutants! {
    /// A head is believed even if it is older than what is known.
    OldHead "old-head",
    /// A watcher that lost events changes nothing.
    DeafOverflow "deaf-overflow",
    /// The losing version of a conflict is not kept.
    NoCopy "no-copy",
    /// A delete wins over an edit.
    DeleteWins "delete-wins",
    /// Steps are carried out that take unsent edits off their paths.
    UnsafeSteps "unsafe-steps",
    /// Revisions carry no move hints.
    NoMoves "no-moves",
    /// Commits are answered before the journal has them.
    EarlyAnswer "early-answer",
    /// A commit replaces whatever the head is by now.
    BlindCommit "blind-commit",
    /// Nobody is told of a new head.
    NoPublish "no-publish",
    /// The synced tree moves before the push was acknowledged.
    EarlySync "early-sync",
    /// What a plan expects at a path is not looked at again before the step.
    NoCheck "no-check",
    /// What an exchange or a remove took off a path is not looked at.
    NoSecondLook "no-second-look",
    /// What is taken off a path is removed instead of being kept in the trash.
    NoTrash "no-trash",
    /// A stamp is believed however soon after a change it was taken.
    TrustTick "trust-tick",
    /// What an interrupted apply left is not sorted out.
    NoRecovery "no-recovery",
    /// Intents need not be durable before what they announce.
    LazyIntents "lazy-intents",
    /// Staged files are put in place before they are durable.
    NoStageSync "no-stage-sync",
    /// Intents end before directories are durable.
    NoDirSync "no-dir-sync",
    /// What was handed out is not made durable.
    NoSettle "no-settle",
}

#[cfg(feature = "mutants")]
mod on {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Mutant;

    /// One more than the number of the mutant that is on.
    static ON: AtomicUsize = AtomicUsize::new(0);

    /// Returns whether this mutant is on.
    pub fn is_on(mutant: Mutant) -> bool {
        ON.load(Ordering::Relaxed) == 1 + mutant as usize
    }

    /// Turns one mutant on, or all off.
    pub fn set(mutant: Option<Mutant>) {
        ON.store(
            mutant.map_or(0, |mutant| 1 + mutant as usize),
            Ordering::Relaxed,
        );
    }
}

#[cfg(feature = "mutants")]
pub use on::{is_on, set};

/// Returns whether this mutant is on: never, in a build without them.
#[cfg(not(feature = "mutants"))]
#[inline]
pub const fn is_on(_: Mutant) -> bool {
    false
}
