//! What an operator reads: every metric that the server's table names is on the admin port, under
//! just this name and type, and moves when things happen.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::write;
use fsync_tests::{System, wait};

/// README's table: name, type, and what it says.
fn table() -> Vec<(String, String)> {
    const README: &str = include_str!("../../README.md");
    let rows = README.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.strip_suffix('`')?;
        let kind = cells.next()?;
        let is_kind = matches!(kind, "counter" | "gauge" | "histogram");
        is_kind.then(|| (name.to_owned(), kind.to_owned()))
    });
    rows.collect()
}

fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok(body.to_owned())
}

/// Returns the types that the text declares, and the sum of all samples of each name.
fn read(text: &str) -> (BTreeMap<String, String>, BTreeMap<String, f64>) {
    let (mut kinds, mut values) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                kinds.insert(name.to_owned(), kind.to_owned());
            }
        } else if !line.starts_with('#')
            && let Some((name, value)) = line.rsplit_once(' ')
        {
            let name = name.split('{').next().unwrap_or(name);
            *values.entry(name.to_owned()).or_default() += value.parse().unwrap_or(0.0);
        }
    }
    (kinds, values)
}

#[test]
fn metrics_are_as_the_readme_says_and_move() -> Result<()> {
    let system = System::new()?;
    let mut server = system.launch_server(
        "127.0.0.1:0",
        &["--admin-listen", "127.0.0.1:0", "--gc-interval", "1s"],
        &[],
    )?;
    let url = server.line_after("listening on ", wait::PATIENCE)?;
    let told = server.stderr();
    let admin = told
        .lines()
        .find(|line| line.contains("admin port"))
        .and_then(|line| line.rsplit_once("address="))
        .with_context(|| told.clone())?
        .1
        .trim()
        .to_owned();
    let mut agent = system.agent_with("a", &url, &[])?;
    agent.process.line_after("connected to ", wait::PATIENCE)?;
    write(&agent.root, "f", "1")?;
    agent.flush()?;
    let (_, values) = read(&get(&admin, "/metrics")?);
    let value = |name: &str| values.get(name).copied().unwrap_or_default();
    ensure!(value("fsync_connections") >= 1.0, "{values:?}");
    ensure!(value("fsync_commits_total") >= 1.0, "{values:?}");
    ensure!(
        value("fsync_journal_cas_duration_seconds_count") >= 1.0,
        "{values:?}"
    );
    ensure!(
        value("http_server_request_duration_seconds_count") >= 1.0,
        "{values:?}"
    );
    wait::until("garbage was collected", wait::PATIENCE, || {
        let (_, values) = read(&get(&admin, "/metrics")?);
        let runs = values.get("fsync_gc_runs_total").copied();
        ensure!(runs >= Some(1.0), "{values:?}");
        Ok(())
    })?;
    let (kinds, _) = read(&get(&admin, "/metrics")?);
    let table = table();
    ensure!(table.len() > 10, "README has no table of metrics");
    for (name, kind) in &kinds {
        let row = table.iter().find(|(row, _)| row == name);
        let row = row.with_context(|| format!("{name} is not in README"))?;
        ensure!(row.1 == *kind, "{name} is a {kind}, README says {}", row.1);
    }
    Ok(())
}
