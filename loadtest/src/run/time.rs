//! Times on the command line, down to a millisecond.

use std::time::Duration;

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: use a number with ms, s, m or h, as in 150ms or 60s")]
pub(crate) struct BadTime(String);

/// Parses a number with a unit.
///
/// # Errors
/// [`BadTime`], with how to write one.
pub(crate) fn duration(text: &str) -> Result<Duration, BadTime> {
    let bad = || BadTime(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        _ => return Err(bad()),
    };
    let number: u64 = number.parse().map_err(|_no_number| bad())?;
    let millis = number.checked_mul(millis).ok_or_else(bad)?;
    Ok(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit() {
        for (text, millis) in [
            ("150ms", 150),
            ("0s", 0),
            ("2m", 120_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "1 s",
            "1d",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
