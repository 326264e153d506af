//! Events and answers: what parses is serialised to what parses to the same.
//!
//! HTTP bodies are read from bytes, Socket.IO events from JSON values that another crate parsed:
//! both ways are tried.
#![no_main]

use std::fmt::Debug;

use fsync_core::exception::Exception;
use fsync_core::limits;
use fsync_core::wire;
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    if data.len() > limits::FRAME_BYTES {
        return;
    }
    let value: Option<Value> = serde_json::from_slice(data).ok();
    // What the server reads.
    check::<wire::Handshake>(data, value.as_ref());
    check::<wire::Subscribe>(data, value.as_ref());
    check::<wire::Presence>(data, value.as_ref());
    check::<wire::ObjectsRequest>(data, value.as_ref());
    check::<wire::UploadRequest>(data, value.as_ref());
    check::<wire::KnownRequest>(data, value.as_ref());
    // What the agent reads.
    check::<wire::Version>(data, value.as_ref());
    check::<wire::Heads>(data, value.as_ref());
    check::<wire::RefEvent>(data, value.as_ref());
    check::<wire::Bye>(data, value.as_ref());
    check::<wire::Want>(data, value.as_ref());
    check::<wire::ErrorEvent>(data, value.as_ref());
    check::<wire::ErrorBody>(data, value.as_ref());
    check::<wire::HeadAnswer>(data, value.as_ref());
    check::<wire::CommitAnswer>(data, value.as_ref());
    check::<wire::HaveAnswer>(data, value.as_ref());
    check::<wire::UploadAnswer>(data, value.as_ref());
    check::<wire::LogAnswer>(data, value.as_ref());
    check::<wire::KnownAnswer>(data, value.as_ref());
    // What the agent keeps on disk.
    check::<Exception>(data, value.as_ref());
});

fn check<T>(data: &[u8], value: Option<&Value>)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let of_bytes = serde_json::from_slice::<T>(data).ok();
    let of_value = value.and_then(|value| T::deserialize(value).ok());
    for parsed in [&of_bytes, &of_value].into_iter().flatten() {
        let text = match serde_json::to_vec(parsed) {
            Ok(text) => text,
            Err(error) => panic!("{parsed:?} does not serialise: {error}"),
        };
        match serde_json::from_slice::<T>(&text) {
            Ok(again) => assert_eq!(again, *parsed),
            Err(error) => panic!("{parsed:?} does not parse again: {error}"),
        }
    }
    // A key that stands twice is an error to one and the last one wins to the other; beside that
    // both must mean the same.
    if let (Some(a), Some(b)) = (of_bytes, of_value) {
        assert_eq!(a, b, "bytes and value are read otherwise");
    }
}
