//! The kinds of `fsync.dev/v1alpha1`, as the API server knows them: the source of the chart
//! `fsync-crds`.
//!
//! Guarantees: every limit that the service has stands in the schemas too, so that what cannot work
//! is refused when it is written; what a schema cannot say is checked by `tree::desired` and
//! `token::desired`.
//! Place: `fsync-controller crds` prints them ([`yaml`]), `charts/definitions` makes the chart's
//! templates of that.

use kube::CustomResourceExt;
use serde_json::Value;

mod agenttoken;
mod shared;
mod synctree;

pub use agenttoken::{AgentToken, AgentTokenSpec, AgentTokenStatus, EarlierToken, TokenTree};
pub use shared::RightWord;
pub(crate) use shared::strongest;
pub use synctree::{SyncTree, SyncTreeSpec, SyncTreeStatus, TreeAccess, TreeQuota, TreeRetention};

/// API group of the kinds.
pub const GROUP: &str = "fsync.dev";
/// Version of the kinds.
pub const VERSION: &str = "v1alpha1";

/// Returns both definitions as YAML documents.
///
/// # Errors
/// If they cannot be written as YAML.
pub fn yaml() -> Result<String, Box<dyn std::error::Error>> {
    let mut text = String::new();
    for definition in [SyncTree::crd(), AgentToken::crd()] {
        let mut value = serde_json::to_value(definition)?;
        plain(&mut value);
        text.push_str("---\n");
        text.push_str(&serde_saphyr::to_string(&value)?);
    }
    Ok(text)
}

/// Takes away what says nothing to an API server (whatever may be left out may not be null as well),
/// and writes numbers and texts as people would.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, value| !(key == "nullable" && value.is_boolean()));
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|n| n.fract() == 0.0);
            if let Some(text) = whole.filter(|_| number.is_f64()).map(|n| format!("{n:.0}"))
                && let Ok(integer) = text.parse::<i64>()
            {
                *number = integer.into();
            }
        }
        // A description is as wide as the source that it stands in.
        Value::String(text) => *text = text.replace('\n', " "),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_two_documents_without_null() {
        let text = yaml().unwrap();
        assert_eq!(text.matches("---\n").count(), 2);
        assert!(text.contains("synctrees.fsync.dev") && text.contains("agenttokens.fsync.dev"));
        assert!(!text.contains("nullable"));
        assert!(text.contains("minimum: 0\n") && !text.contains("minimum: 0.0"));
    }
}
