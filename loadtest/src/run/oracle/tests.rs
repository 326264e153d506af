//! The oracle finds each fault that it is there for, and nothing where there is none.

use super::*;
use crate::run::diary::{Ack, Notices};

const EPOCH: Epoch = Epoch(7);

fn revision(number: u64) -> RevisionId {
    RevisionId::of(&number.to_be_bytes())
}

fn content(number: u64) -> ObjectId {
    ObjectId::of(fsync_core::id::ObjectKind::Chunk, &number.to_be_bytes())
}

fn head(seq: u64) -> Head {
    Head {
        epoch: EPOCH,
        seq: Seq(seq),
        revision: revision(seq),
    }
}

fn got(seq: u64, at: u64) -> Delivery {
    Delivery::of(&head(seq), Micros(at))
}

/// An edit that became the head at `seq`.
fn edit(seq: u64, intended: u64) -> Edit {
    Edit {
        intended: Micros(intended),
        sent: Micros(intended),
        content: content(seq),
        revision: revision(seq),
        ack: Some(Ack {
            at: Micros(intended + 1),
            epoch: EPOCH,
            seq: Seq(seq),
        }),
    }
}

/// Agent 0 made the edits 2 and 3; agent 1 got all heads.
fn sound() -> (Diary, Diary) {
    let author = Diary {
        agent: 0,
        edits: vec![edit(2, 100), edit(3, 200)],
        deliveries: vec![got(1, 0), got(2, 101), got(3, 201)],
        end: Some(head(3)),
        ..Diary::default()
    };
    let reader = Diary {
        agent: 1,
        deliveries: vec![got(1, 0), got(2, 110), got(3, 230)],
        end: Some(head(3)),
        ..Diary::default()
    };
    (author, reader)
}

fn judged(author: &Diary, reader: &Diary) -> Judgement {
    let lineage = (1..=3).map(revision).collect();
    judge(&Facts {
        head: Some(head(3)),
        lineage: Some(&lineage),
        contents: &BTreeMap::from([(0, Some(content(3)))]),
        diaries: &[author, reader],
    })
}

const SOUND: Counts = Counts {
    acknowledged: 2,
    unacknowledged: 0,
    lost: 0,
    wrong_contents: 0,
    due: 2,
    undelivered: 0,
    twice: 0,
    backwards: 0,
    forked: 0,
    behind: 0,
};

#[test]
fn a_sound_run_has_no_fault_and_times_from_the_intended_moment() {
    let (author, reader) = sound();
    let judgement = judged(&author, &reader);
    assert_eq!(judgement.counts, SOUND);
    let reach = |intended, took| Reach {
        intended: Micros(intended),
        took: Micros(took),
    };
    assert_eq!(judgement.reached, [reach(100, 10), reach(200, 30)]);
    assert!(SOUND.faults().iter().all(|(_, count)| *count == 0));
}

#[test]
fn a_head_that_holds_two_edits_delivers_both() {
    let (author, mut reader) = sound();
    reader.deliveries.remove(1);
    let judgement = judged(&author, &reader);
    assert_eq!(judgement.counts, SOUND);
    assert_eq!(judgement.reached[0].took, Micros(130));
}

/// Changes a sound run and names the counts that must differ.
type Fault = (&'static str, fn(&mut Diary, &mut Diary), Counts);

const EDIT_FAULTS: &[Fault] = &[
    (
        "an acknowledged revision is not in the lineage",
        |author, _| author.edits[0].revision = revision(99),
        Counts { lost: 1, ..SOUND },
    ),
    (
        "the head has another content than the last edit",
        |author, _| author.edits[1].content = content(98),
        Counts {
            wrong_contents: 1,
            ..SOUND
        },
    ),
    (
        "an answer never came",
        |author, _| author.edits[1].ack = None,
        Counts {
            acknowledged: 1,
            unacknowledged: 1,
            due: 1,
            ..SOUND
        },
    ),
    (
        "an edit was never sent",
        |author, _| author.unsent = 3,
        Counts {
            unacknowledged: 3,
            ..SOUND
        },
    ),
];

const DELIVERY_FAULTS: &[Fault] = &[
    (
        "the last head did not come",
        |_, reader| {
            reader.deliveries.pop();
        },
        Counts {
            undelivered: 1,
            ..SOUND
        },
    ),
    (
        "a head came twice",
        |_, reader| reader.deliveries.push(got(3, 240)),
        Counts { twice: 1, ..SOUND },
    ),
    (
        "heads came in the wrong order",
        |_, reader| reader.deliveries.swap(1, 2),
        Counts {
            backwards: 1,
            ..SOUND
        },
    ),
    (
        "a socket told of an older head",
        |_, reader| {
            reader.notices = Notices {
                refs: 2,
                repeated: 0,
                backwards: 1,
            }
        },
        Counts {
            backwards: 1,
            ..SOUND
        },
    ),
    (
        "two agents got two refs at one place",
        |_, reader| reader.deliveries[1].mark ^= 1,
        Counts { forked: 1, ..SOUND },
    ),
    (
        "an agent ended before the head",
        |_, reader| reader.end = Some(head(2)),
        Counts { behind: 1, ..SOUND },
    ),
    (
        "an agent never got anything",
        |_, reader| {
            reader.deliveries.clear();
            reader.end = None;
        },
        Counts {
            undelivered: 2,
            behind: 1,
            ..SOUND
        },
    ),
];

#[test]
fn each_fault_is_found_and_counted_alone() {
    for (name, make, expected) in EDIT_FAULTS.iter().chain(DELIVERY_FAULTS) {
        let (mut author, mut reader) = sound();
        make(&mut author, &mut reader);
        assert_eq!(judged(&author, &reader).counts, *expected, "{name}");
    }
}

#[test]
fn a_new_epoch_is_later_than_the_old_one_whatever_its_seqs() {
    let (mut author, mut reader) = sound();
    let newer = Epoch(1);
    let mut third = edit(1, 300);
    third.ack = third.ack.map(|ack| Ack {
        epoch: newer,
        ..ack
    });
    let delivery = |at| Delivery {
        epoch: newer,
        ..got(1, at)
    };
    third.content = content(3);
    author.edits.push(third);
    author.deliveries.push(delivery(301));
    reader.deliveries.push(delivery(333));
    let judgement = judged(&author, &reader);
    assert_eq!(
        judgement.counts,
        Counts {
            acknowledged: 3,
            due: 3,
            ..SOUND
        }
    );
    assert_eq!(judgement.reached[2].took, Micros(33));
}

#[test]
fn where_nobody_can_be_asked_nobody_is_on_the_head_and_nothing_is_called_lost() {
    let (author, reader) = sound();
    let judgement = judge(&Facts {
        head: None,
        lineage: None,
        contents: &BTreeMap::new(),
        diaries: &[&author, &reader],
    });
    assert_eq!(judgement.counts, Counts { behind: 2, ..SOUND });
}
