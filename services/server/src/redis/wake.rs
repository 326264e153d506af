//! What travels on a partition's channel: wake-ups and probes.
//!
//! Shape: a wake-up is JSON, `{"after": seq of the head that was replaced, 0 for none, "ref": the
//! event as agents get it}`; a probe is `?REPLICA.NUMBER`.

use fsync_core::wire::{RefEvent, Seq};
use serde::{Deserialize, Serialize};

/// A head moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WakeUp {
    /// The head before; whoever heard of another one missed something.
    pub(crate) after: Seq,
    /// The new head.
    #[serde(rename = "ref")]
    pub(crate) event: RefEvent,
}

/// A message on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A head moved.
    WakeUp(Box<WakeUp>),
    /// A replica listens to itself.
    Probe {
        /// Which.
        replica: u64,
        /// Which of its probes.
        number: u64,
    },
}

impl Message {
    /// Encodes the message.
    pub(crate) fn encode(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::WakeUp(wake_up) => serde_json::to_string(wake_up),
            Self::Probe { replica, number } => Ok(format!("?{replica}.{number}")),
        }
    }

    /// Decodes a message; `None` if it is none of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        if let Some(probe) = text.strip_prefix('?') {
            let (replica, number) = probe.split_once('.')?;
            return Some(Self::Probe {
                replica: replica.parse().ok()?,
                number: number.parse().ok()?,
            });
        }
        let wake_up = serde_json::from_str(text).ok()?;
        Some(Self::WakeUp(Box::new(wake_up)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_went() {
        let probe = Message::Probe {
            replica: 7,
            number: 9,
        };
        assert_eq!(probe.encode().unwrap(), "?7.9");
        assert_eq!(Message::decode("?7.9"), Some(probe));
        let text = format!(
            r#"{{"after":4,"ref":{{"tree":"team/docs","epoch":2,"seq":5,"ref":"{0}","root":"{0}","author":"laptop"}}}}"#,
            "ab".repeat(32)
        );
        let message = Message::decode(&text).unwrap();
        assert_eq!(message.encode().unwrap(), text);
    }

    #[test]
    fn what_is_not_ours_is_no_message() {
        for text in ["", "?", "?x.1", "{}", "null"] {
            assert_eq!(Message::decode(text), None, "{text}");
        }
    }
}
