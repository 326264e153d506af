//! Where a server is: a URL without a path, as flags give it.

use std::fmt;
use std::str::FromStr;

/// A text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no URL of a server: give http://HOST:PORT or https://HOST:PORT, without a path")]
pub struct BadUrl(String);

/// `http://HOST:PORT` or `https://HOST:PORT`, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Returns the URL of a path.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BaseUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = || BadUrl(text.to_owned());
        let url = reqwest::Url::parse(text).map_err(|_e| bad())?;
        let is_good = matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !is_good {
            return Err(bad());
        }
        Ok(Self(text.trim_end_matches('/').to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_nothing_behind_it() {
        assert_eq!(
            "http://fsync:9090/".parse(),
            Ok(BaseUrl("http://fsync:9090".to_owned()))
        );
        assert!("https://fsync.example.com".parse::<BaseUrl>().is_ok());
        for bad in [
            "",
            "fsync:9090",
            "ftp://x",
            "http://x/y",
            "http://x?y",
            "http://a:b@x",
        ] {
            assert_eq!(bad.parse::<BaseUrl>(), Err(BadUrl(bad.to_owned())));
        }
    }
}
