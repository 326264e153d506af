//! Where a change stands in a trace: W3C trace context, as it travels in messages.
//!
//! Guarantees: only what the standard allows is a [`TraceContext`]; what a peer sends that is none
//! is dropped, never an error: a trace is no reason to refuse a change.
//! Does not: make spans. Drivers do; the logic hands contexts on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// Where the trace's id stands in it.
const TRACE: std::ops::Range<usize> = 3..35;
/// Where the span's id stands in it.
const SPAN: std::ops::Range<usize> = 36..52;

/// A `traceparent` of version 00: trace, span and flags in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext(String);

/// A text that is no `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of version 00")]
pub struct NoTraceContext;

/// Number of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub u128);

impl TraceContext {
    /// Returns it as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the trace.
    pub fn trace_id(&self) -> TraceId {
        TraceId(u128::from_str_radix(&self.0[TRACE], 16).unwrap_or_default())
    }

    /// Reads a message's field: what is none is left out.
    ///
    /// # Errors
    /// Only those of the format around it.
    pub fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Self>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        Ok(text.and_then(|text| text.parse().ok()))
    }
}

impl FromStr for TraceContext {
    type Err = NoTraceContext;

    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        let bytes = text.as_bytes();
        let is_hex = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let is_shaped = bytes.len() == LENGTH
            && text.starts_with("00-")
            && bytes[TRACE].iter().all(is_hex)
            && bytes[TRACE.end] == b'-'
            && bytes[SPAN].iter().all(is_hex)
            && bytes[SPAN.end] == b'-'
            && bytes[SPAN.end + 1..].iter().all(is_hex);
        let is_set = |part: &[u8]| part.iter().any(|b| *b != b'0');
        match is_shaped && is_set(&bytes[TRACE]) && is_set(&bytes[SPAN]) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoTraceContext),
        }
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for TraceId {
    type Err = NoTraceContext;

    fn from_str(text: &str) -> Result<Self, NoTraceContext> {
        let is_hex = text.len() == TRACE.len() && text.bytes().all(|b| b.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex);
        number.map(Self).ok_or(NoTraceContext)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_what_the_standard_allows_is_a_context() {
        let context: TraceContext = GOOD.parse().unwrap();
        assert_eq!(
            context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        for text in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
        ] {
            assert_eq!(text.parse::<TraceContext>(), Err(NoTraceContext), "{text}");
        }
    }

    #[test]
    fn a_message_with_another_text_loses_only_that() {
        #[derive(Deserialize)]
        struct Message {
            #[serde(default, deserialize_with = "TraceContext::lenient")]
            trace: Option<TraceContext>,
        }
        let read = |text: &str| serde_json::from_str::<Message>(text).unwrap().trace;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"trace":"nonsense"}"#), None);
        let good = format!(r#"{{"trace":"{GOOD}"}}"#);
        assert_eq!(read(&good).unwrap().as_str(), GOOD);
    }
}
