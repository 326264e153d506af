//! Flags that all binaries share, as clap groups to flatten into their own.
//!
//! Every flag can be given as an `FSYNC_*` environment variable as well; the flag wins.

use std::time::Duration;

use clap::{Args, ValueEnum};

/// How much is logged, and in which shape.
#[derive(Debug, Clone, Default, Args)]
pub struct LogArgs {
    /// What to log to stderr: a level (error, warn, info, debug, trace) or a filter as
    /// `info,fsync_server=debug`
    #[arg(
        long,
        env = "FSYNC_LOG",
        value_name = "FILTER",
        global = true,
        hide_env_values = true
    )]
    pub log_level: Option<String>,
    /// Shape of the log lines
    #[arg(
        long,
        env = "FSYNC_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        global = true,
        hide_env_values = true
    )]
    pub log_format: LogFormat,
}

/// Shape of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: use a number with s, m, h or d, as in 30d")]
pub struct BadDuration(String);

/// Parses a duration flag: a number with the unit `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`BadDuration`], with how to write one.
pub fn duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    let unit = text.chars().next_back().ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_e| bad())?;
    let seconds = number.checked_mul(seconds).ok_or_else(bad)?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        log: LogArgs,
        #[command(subcommand)]
        verb: Option<Verb>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Verb {
        Run,
    }

    #[test]
    fn log_flags_are_accepted_after_the_verb_too() {
        let cli = Cli::parse_from(["x", "run", "--log-level", "debug", "--log-format", "json"]);
        assert!(matches!(cli.verb, Some(Verb::Run)));
        assert_eq!(cli.log.log_level.as_deref(), Some("debug"));
        assert_eq!(cli.log.log_format, LogFormat::Json);
    }

    #[test]
    fn an_unknown_format_is_refused() {
        assert!(Cli::try_parse_from(["x", "--log-format", "xml"]).is_err());
    }
    #[test]
    fn durations_carry_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "5", "d", "1y", "99999999999999999999d", "1 d", "ö"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
