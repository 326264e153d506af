//! The service's logic as state machines: commits, merges, subscriptions, wake-ups; `handle(Input,
//! now) -> Vec<Effect>`.
//!
//! Guarantees: durable, then visible, then advertised: a ref leaves [`commit::Commits`] only after
//! the journal said that the commit is durable. A commit is answered by lineage, however late its
//! retry comes. Merges are completed here, from nodes alone.
//! Does not: load, store, send or look at a clock; drivers do (the server over a journal and
//! sockets, the simulator over [`ledger::Ledger`] and its own network), and hand back what came of
//! it as the next input.
//!
//! ```text
//! push ---> commit::Commits --Load--> driver --Loaded--> ... --Commit--> driver --Committed--> Reply, Publish
//!                                                                                                   |
//! subscribe --> subscribe::Hub <------------------------------------------------ Moved -------------+
//! ```

pub mod admit;
pub mod commit;
pub mod delta;
pub mod error;
pub mod facts;
pub mod known;
pub mod ledger;
pub mod mark;
mod presence;
pub mod record;
pub mod subscribe;

/// Milliseconds since 1970 by the driver's clock.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Now(pub u64);

impl Now {
    /// Returns the point `ms` milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}
