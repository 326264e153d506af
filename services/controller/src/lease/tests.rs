//! Who takes the Lease when, without an API server.

use kube::Client;

use super::*;

fn election(identity: &str) -> Election {
    let (service, _handle) = tower_test::mock::pair::<
        http::Request<kube::client::Body>,
        http::Response<kube::client::Body>,
    >();
    let client = Client::new(service, "apps");
    Election::new(Api::namespaced(client, "apps"), "fsync", identity)
}

fn clock(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn written(step: Step) -> LeaseSpec {
    match step {
        Step::Make(spec) | Step::Write(spec) => spec,
        Step::Wait => panic!("it waits"),
    }
}

#[tokio::test]
async fn the_first_makes_it_and_renews_it() {
    let (one, start) = (election("one"), Instant::now());
    let made = one.step(None, start, clock(100));
    assert!(matches!(made, Step::Make(_)));
    let first = written(made);
    assert_eq!(first.holder_identity.as_deref(), Some("one"));
    assert_eq!(
        (first.lease_duration_seconds, first.lease_transitions),
        (Some(15), Some(0))
    );

    let second = written(one.step(Some(first.clone()), start, clock(105)));
    assert_eq!(second.acquire_time, first.acquire_time);
    assert_eq!(second.renew_time, Some(MicroTime(clock(105))));
    assert_eq!(second.lease_transitions, Some(0));
}

#[tokio::test]
async fn the_second_waits_until_nothing_was_renewed_for_a_whole_duration() {
    let (one, two, start) = (election("one"), election("two"), Instant::now());
    let after = |seconds| start + Duration::from_secs(seconds);
    let first = written(one.step(None, start, clock(100)));
    // The other's clock is an hour ahead: it does not matter.
    assert_eq!(
        two.step(Some(first.clone()), after(0), clock(3700)),
        Step::Wait
    );
    let renewed = written(one.step(Some(first), after(10), clock(110)));
    assert_eq!(
        two.step(Some(renewed.clone()), after(14), clock(3714)),
        Step::Wait
    );
    assert_eq!(
        two.step(Some(renewed.clone()), after(28), clock(3728)),
        Step::Wait
    );
    let taken = written(two.step(Some(renewed), after(29), clock(3729)));
    assert_eq!(taken.holder_identity.as_deref(), Some("two"));
    assert_eq!(taken.lease_transitions, Some(1));
    assert_eq!(taken.acquire_time, Some(MicroTime(clock(3729))));

    assert_eq!(one.step(Some(taken), after(30), clock(130)), Step::Wait);
}

#[tokio::test]
async fn one_that_was_given_away_is_taken_at_once() {
    let (one, two, start) = (election("one"), election("two"), Instant::now());
    let first = written(one.step(None, start, clock(100)));
    let free = LeaseSpec {
        holder_identity: None,
        ..first
    };
    let taken = written(two.step(Some(free), start, clock(101)));
    assert_eq!(taken.holder_identity.as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn a_term_ends_by_itself_and_is_prolonged() {
    let (sender, mut term) = watch::channel::<Term>(None);
    lost(&mut term).await;
    sender.send_replace(Some(Instant::now() + ACT));
    gained(&mut term).await;
    let watching = tokio::time::timeout(ACT / 2, lost(&mut term)).await;
    assert!(watching.is_err(), "it holds");
    sender.send_replace(None);
    lost(&mut term).await;
}

/// A replica acts less long than others wait: by what its clock may be slow, and what is under way
/// may take.
#[test]
fn there_is_a_margin() {
    assert!(RENEW + CALL + RETRY < ACT);
    assert!(ACT + RENEW <= DURATION);
}
