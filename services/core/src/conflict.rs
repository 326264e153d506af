//! The names of conflict copies.
//!
//! `stem (conflicted copy AGENT 2026-01-31 235959Z).ext`, with agent and time of the losing
//! revision; a second content under the same name gets the first hex digits of its content id.
//! Names depend on their arguments alone, so every agent and every replica finds the same ones.

use crate::id::ObjectId;
use crate::label::AgentName;
use crate::limits;
use crate::path::Name;
use crate::revision::Timestamp;

/// Marks a conflict copy; names that hold it are never ignored.
pub const CONFLICT_MARK: &str = "(conflicted copy ";

/// Returns whether a name is one that [`candidates`] gives.
pub fn is_conflict_copy(name: &Name) -> bool {
    let mark = CONFLICT_MARK.as_bytes();
    name.as_bytes().windows(mark.len()).any(|w| w == mark)
}

/// Returns the names to try for a losing version, in order; the last one holds its whole content
/// id.
pub fn candidates<'a>(
    name: &'a Name,
    author: &AgentName,
    time: Timestamp,
    content: &ObjectId,
) -> impl Iterator<Item = Name> + 'a {
    let digits = content.to_string();
    let mark = format!("{CONFLICT_MARK}{author} {}", format_time(time));
    [0, 8, 16, 64].into_iter().map(move |count| {
        let more = if count == 0 {
            String::new()
        } else {
            format!(" {}", &digits[..count])
        };
        insert_mark(name, &format!(" {mark}{more})"))
    })
}

fn insert_mark(name: &Name, mark: &str) -> Name {
    let (stem, extension) = split_extension(name.as_bytes());
    // A very long extension is no extension: it must not push the mark out.
    let room = limits::NAME_BYTES - mark.len();
    let extension = if extension.len() > room / 2 {
        &[][..]
    } else {
        extension
    };
    let stem = cut(stem, room - extension.len());
    let bytes = [stem, mark.as_bytes(), extension].concat();
    Name::new(bytes).unwrap_or_else(|_| name.clone())
}

fn split_extension(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|b| *b == b'.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, &[]),
    }
}

/// Cuts to at most `room` bytes, not inside a UTF-8 character.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let is_boundary = |at: &usize| stem[*at] & 0b1100_0000 != 0b1000_0000;
    let end = (room.saturating_sub(3)..=room)
        .rev()
        .find(is_boundary)
        .unwrap_or(room);
    &stem[..end]
}

/// Formats as `2026-01-31 235959Z`, UTC. Source of the calendar arithmetic: Howard Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
pub fn format_time(time: Timestamp) -> String {
    let seconds = time.0 / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    // Five digits would make the mark longer than the room that is reckoned with.
    let year = (year_of_era + era * 400 + u64::from(month <= 2)).min(9999);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ObjectKind;

    fn first(name: &str) -> String {
        let author = "laptop-7f3a".parse().unwrap();
        let content = ObjectId::of(ObjectKind::Chunk, b"x");
        let name = Name::new(name.as_bytes()).unwrap();
        candidates(&name, &author, Timestamp(1_769_903_999_000), &content)
            .next()
            .unwrap()
            .to_string()
    }

    #[test]
    fn the_mark_stands_before_the_extension() {
        assert_eq!(
            first("a.tar.gz"),
            "a.tar (conflicted copy laptop-7f3a 2026-01-31 235959Z).gz"
        );
        assert_eq!(
            first(".bashrc"),
            ".bashrc (conflicted copy laptop-7f3a 2026-01-31 235959Z)"
        );
        assert_eq!(
            first("plain"),
            "plain (conflicted copy laptop-7f3a 2026-01-31 235959Z)"
        );
    }

    #[test]
    fn a_long_stem_is_cut_between_characters() {
        let name = first(&format!("{}.txt", "ä".repeat(120)));
        assert!(
            name.len() <= limits::NAME_BYTES && name.ends_with("Z).txt"),
            "{name}"
        );
        assert!(!name.contains('\u{fffd}'));
    }

    #[test]
    fn times_follow_the_calendar() {
        let table = [
            (0, "1970-01-01 000000Z"),
            (951_782_400_000, "2000-02-29 000000Z"),
            (4_107_542_399_000, "2100-02-28 235959Z"),
            (u64::MAX, "9999-"),
        ];
        for (time, expected) in table {
            assert!(format_time(Timestamp(time)).starts_with(expected), "{time}");
        }
    }
}
