//! Reads the servers' pages of Prometheus metrics every 10 s.
//!
//! Guarantees: what is read is bounded in bytes and families; a page that cannot be read is noted
//! and tried again, never a reason to fail.
//! Does not: keep labels. The samples of one name are added up.
//! Task: `metrics`, ended by the shutdown token of the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::interval;

use super::agent::Common;

const EVERY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest page that is read.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Names that are kept of a page, in their order there.
const NAMES: usize = 400;

/// One page at one time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Page {
    /// Its address.
    pub(crate) url: String,
    /// When it was read, in seconds of the run.
    pub(crate) second: f64,
    /// Sums by name.
    pub(crate) values: BTreeMap<String, f64>,
}

/// Reads until the run ends.
pub(super) async fn run(common: Arc<Common>, urls: Vec<String>) -> Vec<Page> {
    let stop = common.shutdown.token();
    let mut pages = Vec::new();
    if urls.is_empty() {
        return pages;
    }
    let client = reqwest::Client::builder().timeout(PATIENCE).build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            common.tally.note(format!("metrics: {error}"));
            return pages;
        }
    };
    let mut ticks = interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return pages,
            _ = ticks.tick() => {}
        }
        for url in &urls {
            match read(&client, url).await {
                Ok(text) => pages.push(Page {
                    url: url.clone(),
                    second: common.clock.now().seconds(),
                    values: sums(&text),
                }),
                Err(error) => common.tally.note(format!("metrics of {url}: {error:#}")),
            }
        }
    }
}

async fn read(client: &reqwest::Client, url: &str) -> anyhow::Result<String> {
    let mut response = client.get(url).send().await?.error_for_status()?;
    let mut page = Vec::new();
    while let Some(piece) = response.chunk().await? {
        page.extend_from_slice(&piece);
        anyhow::ensure!(page.len() <= PAGE_BYTES, "more than {PAGE_BYTES} bytes");
    }
    Ok(String::from_utf8(page)?)
}

/// Adds up the samples of each name; buckets of histograms are left out.
fn sums(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    for line in lines {
        let name_end = line.find(['{', ' ']).unwrap_or(line.len());
        let (name, rest) = line.split_at(name_end);
        // Labels may hold spaces and braces: the value stands behind the last brace.
        let value = rest.rsplit_once('}').map_or(rest, |(_, value)| value);
        let value = value
            .split_whitespace()
            .next()
            .and_then(|v| v.parse::<f64>().ok());
        let Some(value) = value.filter(|v| v.is_finite()) else {
            continue;
        };
        if name.ends_with("_bucket") || (sums.len() >= NAMES && !sums.contains_key(name)) {
            continue;
        }
        *sums.entry(name.to_owned()).or_default() += value;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_are_added() {
        let text = "# HELP a x\n# TYPE a counter\na{v=\"1 }\"} 2\na{v=\"2\"} 3 1700000000\n\
                    b 1.5\nc_bucket{le=\"+Inf\"} 9\nd NaN\nbroken\n";
        let expected = BTreeMap::from([("a".to_owned(), 5.0), ("b".to_owned(), 1.5)]);
        assert_eq!(sums(text), expected);
    }
}
