//! The report is one file that needs nothing else, and shows what it was given.

use super::*;
use crate::run::outcome::Event;
use crate::run::sample_outcome;

#[test]
fn a_report_is_one_file_that_asks_nobody() {
    let html = html(&sample_outcome());
    assert!(html.starts_with("<!doctype html>") && html.ends_with("</html>\n"));
    for word in [
        "<script", "http://", "https://", "url(", "@import", "NaN", "inf",
    ] {
        assert!(!html.contains(word), "{word}");
    }
    assert_eq!(html.matches("<svg").count(), 5);
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
}

#[test]
fn events_are_marked_in_every_plot_over_time_and_cannot_write_html() {
    let mut outcome = sample_outcome();
    outcome.events = vec![Event {
        second: 3.0,
        what: "<b>kill</b> & more".to_owned(),
        lost: 7,
        ..Event::default()
    }];
    outcome.series = (0..9)
        .map(|second| Second {
            second: f64::from(second),
            connected: 10,
            p50: Some(1.0),
            p99: None,
            ..Second::default()
        })
        .collect();
    let html = html(&outcome);
    assert!(!html.contains("<b>kill"));
    let marks = html.matches("stroke-dasharray").count();
    assert_eq!(marks, 4);
    assert!(html.contains("&lt;b&gt;kill&lt;/b&gt; &amp; more</td><td>7</td>"));
}

#[test]
fn a_failed_run_says_why_at_the_top() {
    let mut outcome = sample_outcome();
    outcome.verdict.is_passed = false;
    outcome.verdict.reasons = vec!["acknowledged edits lost: 2".to_owned()];
    let html = html(&outcome);
    assert!(html.contains("<p class=\"failed\"><b>Failed: acknowledged edits lost: 2</b></p>"));
}
