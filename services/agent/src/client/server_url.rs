//! The address of a server: `http://` or `https://`, host, port and perhaps a path, and nothing
//! else.

use std::fmt;
use std::str::FromStr;

use fsync_core::label::TreeKey;
use serde::{Deserialize, Serialize};

/// A text that is no server address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a server address: {reason}; give it as http://HOST:PORT or https://HOST, \
     for example --server http://127.0.0.1:8484"
)]
pub struct UrlError {
    text: String,
    reason: String,
}

/// A server's base address, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerUrl(String);

impl ServerUrl {
    /// Returns the address without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether traffic is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("https:")
    }

    /// Returns the address of an HTTP request that belongs to no tree.
    pub fn path(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.0)
    }

    /// Returns the address of an HTTP request of one tree. Labels are URL-safe by their rules.
    pub fn tree_path(&self, tree: &TreeKey, path: &str) -> String {
        format!("{}/v1/trees/{}/{}/{path}", self.0, tree.tenant, tree.name)
    }

    /// Returns where Socket.IO is served.
    pub fn socket_path(&self) -> String {
        format!("{}/socket.io/", self.0)
    }
}

impl FromStr for ServerUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let error = |reason: String| UrlError {
            text: text.chars().take(200).collect(),
            reason,
        };
        let url = reqwest::Url::parse(text).map_err(|e| error(e.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(error(format!("{:?} is not http or https", url.scheme())));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(error("it names no host".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("it holds a user or password".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(error("it holds a query or fragment".to_owned()));
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ServerUrl {
    type Error = UrlError;
    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<ServerUrl> for String {
    fn from(url: ServerUrl) -> Self {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_the_slash_at_their_end() {
        let url: ServerUrl = "http://localhost:8484/".parse().unwrap();
        assert_eq!(url.as_str(), "http://localhost:8484");
        let tree = "a/b".parse().unwrap();
        assert_eq!(
            url.tree_path(&tree, "head"),
            "http://localhost:8484/v1/trees/a/b/head"
        );
    }

    #[test]
    fn a_path_in_front_is_kept() {
        let url: ServerUrl = "https://example.com/sync/".parse().unwrap();
        assert_eq!(url.socket_path(), "https://example.com/sync/socket.io/");
        assert!(url.is_tls());
    }

    #[test]
    fn what_is_no_server_address_is_refused() {
        for text in [
            "",
            "localhost:8484",
            "127.0.0.1:8484",
            "ftp://x",
            "http://",
            "http://user:pw@x",
            "http://x/?a=1",
            "http://x/#a",
        ] {
            let error = text.parse::<ServerUrl>().expect_err(text);
            assert!(error.to_string().contains("--server"), "{error}");
        }
    }
}
