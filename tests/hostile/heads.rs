//! What comes over the socket: heads that jump, of trees that nobody asked for, and frames that are
//! none.

use std::time::Duration;

use anyhow::{Result, ensure};
use fsync_core::id::{ObjectId, ObjectKind, RevisionId};
use fsync_core::label::TreeKey;
use fsync_core::wire::{
    Bye, ByeCode, Epoch, Head, Heads, NAMESPACE, Presence, PresenceState, RefEvent, Seq, TreeHead,
    Want, event,
};
use fsync_tests::wait::{PATIENCE, until};

use crate::server::{heads, tree};
use crate::socket::Frame;
use crate::trial::Trial;

/// Frames that are sent at once, many more than wait anywhere.
const FLOOD: u64 = 20_000;

fn head(epoch: u64, seq: u64, of: &[u8]) -> Head {
    Head {
        epoch: Epoch(epoch),
        seq: Seq(seq),
        revision: RevisionId::of(of),
    }
}

fn news(tree: TreeKey, head: Head) -> Frame {
    let news = RefEvent {
        tree,
        head,
        root: ObjectId::of(ObjectKind::Directory, b"root"),
        author: "mallory".parse().expect("a valid name"),
        trace: None,
    };
    Frame::event(event::REF, &news)
}

#[test]
fn a_head_that_jumps_all_the_time_is_followed_to_where_it_rests() -> Result<()> {
    let mut trial = Trial::start()?;
    trial.survives("first")?;
    let rest = trial.server.head();
    for number in 0..FLOOD {
        trial.server.tell(&news(
            tree(),
            head(number, FLOOD - number, &number.to_be_bytes()),
        ));
        trial.server.tell(&heads(
            None,
            Some(head(u64::MAX - number, u64::MAX, b"nowhere")),
        ));
        trial.server.tell(&heads(None, None));
    }
    trial.server.tell(&heads(None, rest));
    trial.unharmed()?;
    trial.survives("second")
}

#[test]
fn heads_of_other_trees_are_passed_over() -> Result<()> {
    let mut trial = Trial::start()?;
    trial.survives("first")?;
    let asked = trial.server.asked("delta");
    for name in ["other", "default/docs2", "tenant/docs"] {
        let other: TreeKey = name.parse()?;
        trial
            .server
            .tell(&news(other.clone(), head(7, 1000, b"of another")));
        let trees = vec![
            TreeHead {
                tree: other,
                head: Some(head(7, 1000, b"of another")),
                base_known: Some(false),
            };
            300
        ];
        trial
            .server
            .tell(&Frame::event(event::HEADS, &Heads { id: Some(1), trees }));
    }
    trial.survives("second")?;
    // One for what `survives` published, none for the others.
    let more = trial.server.asked("delta") - asked;
    ensure!(more <= 2, "{more} trees were asked for");
    Ok(())
}

#[test]
fn frames_that_are_none_cost_a_connection_at_most() -> Result<()> {
    let mut trial = Trial::start()?;
    let event = |json: &str| Frame::Text(format!("42{NAMESPACE},{json}"));
    let deep = format!("[\"heads\",{}", "[".repeat(100_000));
    let long = format!("[\"heads\",\"{}\"]", "x".repeat(4 << 20));
    let frames = [
        Frame::Text(String::new()),
        Frame::Text("\u{0}".into()),
        Frame::Text("9".into()),
        Frame::Text("4".into()),
        Frame::Text("42".into()),
        Frame::Text("4299999999999999999999[".into()),
        Frame::Text(format!(
            "459-{NAMESPACE},[\"heads\",{{\"_placeholder\":true,\"num\":0}}]"
        )),
        Frame::Text(format!(
            "44{NAMESPACE},{{\"message\":\"unavailable: come back\"}}"
        )),
        Frame::Text(format!("41{NAMESPACE},")),
        event("[\"heads\"]"),
        event("[\"heads\",7]"),
        event("{}"),
        event("[\"ref\",{\"tree\":\"../../etc\",\"epoch\":1,\"seq\":1,\"ref\":\"00\"}]"),
        event("[\"presence\",{\"tree\":\"default/docs\",\"agent\":\"../x\",\"state\":\"held\"}]"),
        event("[\"no such event\",{}]"),
        event(&deep),
        event(&long),
        Frame::Binary(vec![0xff; 100_000]),
        Frame::Raw(vec![0xff; 64]),
        // A frame that promises 2^63 bytes.
        Frame::Raw(vec![
            0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ]),
    ];
    for (number, frame) in frames.into_iter().enumerate() {
        trial.server.tell(&frame);
        trial.survives(&format!("after frame {number}"))?;
    }
    Ok(())
}

#[test]
fn a_flood_fills_no_memory() -> Result<()> {
    let mut trial = Trial::start()?;
    for number in 0..FLOOD {
        let presence = Presence {
            tree: tree(),
            agent: format!("agent-{number}").parse()?,
            state: PresenceState::InStep,
        };
        trial.server.tell(&Frame::event(event::PRESENCE, &presence));
    }
    trial.survives("after the flood")
}

#[test]
fn a_goodbye_that_asks_for_ever_is_a_minute_at_most_and_none_is_a_storm() -> Result<()> {
    let mut trial = Trial::start()?;
    // At once, again and again: each time the agent comes back, and no faster than it may.
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        let bye = Bye {
            code: ByeCode::Slow,
            reason: "again".into(),
            retry_after_ms: Some(0),
        };
        trial.server.tell(&Frame::event(event::BYE, &bye));
        trial.agent.process.line_after("connected to ", PATIENCE)?;
    }
    ensure!(
        begun.elapsed() > 5 * Duration::from_millis(50),
        "it stormed"
    );
    Ok(())
}

#[test]
fn what_the_folder_never_told_is_not_sent_though_it_is_wanted() -> Result<()> {
    let mut trial = Trial::start()?;
    trial.survives("first")?;
    let secret = std::fs::read(trial.outside().join("secret"))?;
    let objects = vec![ObjectId::of(ObjectKind::Chunk, &secret); 5000];
    let sent = trial.server.asked("uploads");
    trial.server.tell(&Frame::event(
        event::WANT,
        &Want {
            tree: tree(),
            objects,
        },
    ));
    until("it has looked", PATIENCE, || {
        ensure!(trial.server.asked("have") > 0, "not yet");
        Ok(())
    })?;
    trial.survives("second")?;
    assert_eq!(trial.server.asked("uploads"), sent);
    Ok(())
}
