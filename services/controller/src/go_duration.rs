//! Durations as Go and Kubernetes write them: `720h`, `1h30m`.

use std::time::Duration;

/// Returns the duration; `None` for a text that is none, or that no clock could hold.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..end].parse().ok()?;
        let unit = match rest.as_bytes()[end] {
            b'h' => 3600,
            b'm' => 60,
            b's' => 1,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[end + 1..];
    }
    let is_some = !text.is_empty() && i64::try_from(total).is_ok();
    is_some.then_some(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_added() {
        let rows = [
            ("720h", Some(2_592_000)),
            ("1h30m", Some(5400)),
            ("59m59s", Some(3599)),
            ("0s", Some(0)),
            ("", None),
            ("h", None),
            ("10", None),
            ("1d", None),
            ("-1h", None),
            ("1ö", None),
            ("99999999999999999999h", None),
            ("9999999999999999h", None),
        ];
        for (text, seconds) in rows {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
