//! What an agent does next: the order of its jobs, and how it paces itself.

use std::time::Duration;

use fsync_core::clock::Moment;
use fsync_core::engine::changes::{Change, ChangeKind, Scope};
use fsync_core::engine::{Activity, Compared, Effect, Engine, Failure, Input};
use fsync_core::id::RevisionId;
use fsync_core::wire::{Epoch, Head, Seq};

use crate::fixtures::path;

/// An engine and its clock.
#[derive(Default)]
struct Agent {
    engine: Engine,
    now: Moment,
}

impl Agent {
    /// Returns what an input makes it do, without what it shows and when it wakes.
    fn take(&mut self, input: Input) -> Vec<Effect> {
        let effects = self.engine.handle(input, self.now);
        let is_work = |effect: &Effect| !matches!(effect, Effect::Show(_) | Effect::WakeAt(_));
        effects.into_iter().filter(is_work).collect()
    }

    /// Returns what happens after this time.
    fn wait(&mut self, millis: u64) -> Vec<Effect> {
        self.now = self.now.after(Duration::from_millis(millis));
        self.take(Input::Tick)
    }

    /// Starts and connects; folder and head are in step.
    fn in_step() -> Self {
        let mut agent = Self::default();
        let started = agent.take(Input::Started { has_pending: false });
        assert_eq!(started, [Effect::Scan(Scope::Everything)]);
        assert_eq!(agent.take(scanned()), []);
        assert_eq!(agent.take(Input::Connected), [Effect::Subscribe]);
        assert_eq!(agent.take(told(1)), [compare(1)]);
        assert_eq!(agent.take(Input::Compared(Compared::InStep)), []);
        assert_eq!(agent.engine.activity(), Activity::InStep);
        agent
    }

    /// The user saves a file; its scan finds something to push.
    fn save(&mut self) -> Vec<Effect> {
        assert_eq!(self.take(changed("f")), [scan("f")]);
        assert_eq!(self.take(scanned()), [compare(1)]);
        self.take(Input::Compared(Compared::NeedsPush { can_apply: false }))
    }
}

fn head(number: u8) -> Head {
    Head {
        epoch: Epoch(1),
        seq: Seq(u64::from(number)),
        revision: RevisionId::from_bytes([number; 32]),
    }
}

fn told(number: u8) -> Input {
    Input::Head {
        head: Some(head(number)),
        base_known: Some(true),
        is_answer: true,
    }
}

fn changed(at: &str) -> Input {
    Input::Changed(vec![Change {
        path: path(at),
        kind: ChangeKind::Finished,
    }])
}

fn scan(at: &str) -> Effect {
    Effect::Scan(Scope::Paths([(path(at), false)].into()))
}

fn look_again(at: &str) -> Effect {
    Effect::Scan(Scope::Paths([(path(at), true)].into()))
}

fn scanned() -> Input {
    Input::Scanned { busy: Vec::new() }
}

fn compare(number: u8) -> Effect {
    Effect::Compare(Some(head(number)))
}

#[test]
fn a_save_is_scanned_compared_and_pushed() {
    let mut agent = Agent::in_step();
    assert_eq!(agent.save(), [Effect::Push]);
    assert_eq!(agent.take(Input::Pushed { head: head(2) }), [compare(2)]);
    assert_eq!(agent.take(Input::Compared(Compared::InStep)), []);
}

#[test]
fn a_push_whose_file_was_renamed_is_made_anew_at_once() {
    let mut agent = Agent::in_step();
    assert_eq!(agent.save(), [Effect::Push]);
    let stale = vec![path("f")];
    assert_eq!(
        agent.take(Input::PushImpossible { stale }),
        [look_again("f")]
    );
    assert_eq!(agent.take(scanned()), [compare(1)]);
}

#[test]
fn a_path_that_a_step_found_gone_is_looked_at_with_where_it_went() {
    let mut agent = Agent::in_step();
    assert_eq!(agent.take(told(2)), [compare(2)]);
    let apply = Input::Compared(Compared::NeedsApply);
    assert_eq!(agent.take(apply), [Effect::Apply]);
    let stale = vec![path("f")];
    let applied = Input::Applied { stale };
    assert_eq!(agent.take(applied), [], "the watcher may not have told yet");
    let renamed = [("f", ChangeKind::Gone), ("g", ChangeKind::Finished)];
    let changes = renamed.map(|(at, kind)| Change {
        path: path(at),
        kind,
    });
    let scope = [(path("f"), true), (path("g"), false)];
    let scan = Effect::Scan(Scope::Paths(scope.into()));
    assert_eq!(agent.take(Input::Changed(changes.into())), [scan]);
    assert_eq!(agent.take(scanned()), []);
    assert_eq!(agent.wait(30), [compare(2)]);
}

#[test]
fn a_step_that_found_something_else_is_not_tried_again_before_a_scan() {
    let mut agent = Agent::in_step();
    assert_eq!(agent.take(told(2)), [compare(2)]);
    let apply = Input::Compared(Compared::NeedsApply);
    assert_eq!(agent.take(apply), [Effect::Apply]);
    let stale = vec![path("f")];
    assert_eq!(agent.take(Input::Applied { stale }), []);
    assert_eq!(agent.wait(30), [look_again("f")]);
    assert_eq!(agent.take(scanned()), [compare(2)]);
}

#[test]
fn a_file_that_is_written_all_the_time_is_tried_less_and_less() {
    let mut agent = Agent::in_step();
    assert_eq!(agent.save(), [Effect::Push]);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let stale = vec![path("f")];
        agent.take(Input::PushImpossible { stale });
        let before = agent.now;
        let mut next = agent.take(scanned());
        while next.is_empty() {
            next = agent.wait(100);
        }
        assert_eq!(next, [compare(1)]);
        pauses.push(agent.now.since(before).as_millis());
        let push = Input::Compared(Compared::NeedsPush { can_apply: false });
        assert_eq!(agent.take(push), [Effect::Push]);
    }
    assert_eq!(pauses, [0, 0, 200, 400, 800, 1600]);
}

#[test]
fn an_unsent_revision_goes_before_everything_else() {
    let mut agent = Agent::default();
    agent.take(Input::Started { has_pending: true });
    agent.take(scanned());
    agent.take(Input::Connected);
    assert_eq!(agent.take(told(1)), [Effect::Resend]);
    assert_eq!(agent.take(Input::PushDropped), [compare(1)]);
}

#[test]
fn both_directions_take_turns() {
    let mut agent = Agent::in_step();
    let both = || Input::Compared(Compared::NeedsPush { can_apply: true });
    agent.take(changed("f"));
    agent.take(scanned());
    assert_eq!(agent.take(both()), [Effect::Apply]);
    let applied = Input::Applied { stale: Vec::new() };
    assert_eq!(agent.take(applied), [compare(1)]);
    assert_eq!(agent.take(both()), [Effect::Push]);
    assert_eq!(agent.take(Input::Pushed { head: head(2) }), [compare(2)]);
    assert_eq!(agent.take(both()), [Effect::Apply]);
}

#[test]
fn nothing_moves_while_the_root_is_held() {
    let mut agent = Agent::in_step();
    agent.take(Input::Root { is_sound: false });
    assert_eq!(agent.take(changed("f")), []);
    assert_eq!(agent.take(told(2)), []);
    assert_eq!(agent.engine.activity(), Activity::RootHeld);
    let sound = agent.take(Input::Root { is_sound: true });
    assert_eq!(sound, [Effect::Scan(Scope::Everything)]);
}

#[test]
fn without_a_connection_edits_are_scanned_and_kept() {
    let mut agent = Agent::in_step();
    agent.take(Input::Disconnected);
    assert_eq!(agent.take(changed("f")), [scan("f")]);
    assert_eq!(agent.take(scanned()), []);
    assert_eq!(agent.take(Input::Connected), [Effect::Subscribe]);
    assert_eq!(agent.take(told(1)), [compare(1)]);
}

#[test]
fn a_base_that_the_server_does_not_know_is_dropped_before_the_comparison() {
    let mut agent = Agent::in_step();
    assert_eq!(agent.save(), [Effect::Push]);
    let next = agent.take(Input::Failed(Failure::BaseLost));
    assert_eq!(next, [Effect::Resend]);
    agent.take(Input::PushDropped);
    let again = agent.take(Input::Failed(Failure::BaseLost));
    assert_eq!(again, [Effect::DropBase, compare(1)]);
}

#[test]
fn a_flush_ends_when_a_scan_and_a_head_from_after_it_are_in_step() {
    let mut agent = Agent::in_step();
    let asked = agent.take(Input::Flush(7));
    assert_eq!(asked, [Effect::Subscribe, Effect::Scan(Scope::Everything)]);
    assert_eq!(agent.take(scanned()), [compare(1)]);
    assert_eq!(agent.take(Input::Compared(Compared::InStep)), []);
    assert_eq!(agent.take(told(1)), [compare(1)]);
    let ended = agent.take(Input::Compared(Compared::InStep));
    assert_eq!(ended, [Effect::Flushed(7)]);
}
