//! Replicas behind real reverse proxies: over TLS, with and without WebSockets, with clients of
//! another make.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fsync_tests::folder::{self, write};
use fsync_tests::ingress::{Ingress, Kind};
use fsync_tests::process::Process;
use fsync_tests::redis::RedisServer;
use fsync_tests::{Agent, Server, System, wait};
use serde_json::Value;

/// Words of an agent that asks by HTTP, and of one that goes back.
const BY_HTTP: &str = "WebSockets do not pass";
const BACK: &str = "WebSockets pass again";
/// How soon an edit must be elsewhere by HTTP; far below the 10 s after which an agent that hears
/// nothing asks again.
const SOON: Duration = Duration::from_secs(5);

/// Two replicas on one Redis behind a proxy.
struct Site {
    system: System,
    replicas: Vec<Server>,
    ingress: Ingress,
    redis: RedisServer,
}

impl Site {
    fn new(kind: Kind, passes_websockets: bool) -> Result<Self> {
        let redis = RedisServer::start()?;
        let system = System::new()?;
        let start = |_| system.server_on("127.0.0.1:0", &["--redis", &redis.url()]);
        let replicas = (0..2).map(start).collect::<Result<Vec<_>>>()?;
        let all: Vec<&Server> = replicas.iter().collect();
        let ingress = Ingress::start(kind, &all, passes_websockets)?;
        Ok(Self {
            system,
            replicas,
            ingress,
            redis,
        })
    }

    /// Starts a replica again where one was.
    fn replica(&self, address: &str) -> Result<Server> {
        let flags = ["--redis", &self.redis.url()];
        self.system.server_on(address, &flags)
    }

    fn agent(&self, name: &str) -> Result<Agent> {
        let ca = self.ingress.ca_file().display().to_string();
        let flags = ["--ca-file", &ca, "--log-level", "info"];
        let mut agent = self.system.agent_with(name, &self.ingress.url(), &flags)?;
        agent.process.line_after("connected to ", wait::PATIENCE)?;
        Ok(agent)
    }

    fn client(&self, transport: &str) -> Result<Process> {
        let mut command = Command::new("node");
        command
            .env("NODE_PATH", node_modules()?)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/ingress/client.cjs"))
            .args([&self.ingress.url(), transport])
            .arg(self.ingress.ca_file());
        Process::spawn("node", command, &self.system.path("logs")).context("node is needed")
    }
}

/// Where `tests/run` puts the packages of other makers.
fn node_modules() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = cache.or(home).context("there is no HOME")?;
    Ok(cache.join("fsync-tools/socket.io/node_modules"))
}

fn until_said(agent: &Agent, words: &str) -> Result<()> {
    wait::until("the agent says so", wait::PATIENCE, || {
        ensure!(agent.process.stderr().contains(words), "{words:?}");
        Ok(())
    })
}

/// Returns the data of the next event of a client.
fn heard(client: &mut Process, event: &str) -> Result<Value> {
    let mark = format!("{{\"event\":\"{event}\",\"data\":");
    let rest = client.line_after(&mark, wait::PATIENCE)?;
    Ok(serde_json::from_str(
        rest.strip_suffix('}').unwrap_or(&rest),
    )?)
}

/// Waits until a client is told of a head after this one, by a ref or when it subscribes again.
fn until_newer(client: &mut Process, seq: u64) -> Result<u64> {
    wait::until("the client is told the head", wait::PATIENCE, || {
        let told: Value = serde_json::from_str(&client.line(wait::PATIENCE)?)?;
        let data = &told["data"];
        let found = data["seq"].as_u64();
        let found = found.or_else(|| data["trees"][0]["head"]["seq"].as_u64());
        found.filter(|found| *found > seq).context(told.to_string())
    })
}

fn both_proxies(test: impl Fn(Kind) -> Result<()>) -> Result<()> {
    for kind in [Kind::Haproxy, Kind::Nginx] {
        test(kind).with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

#[test]
fn agents_are_in_step_and_survive_a_replica() -> Result<()> {
    both_proxies(|kind| {
        let mut site = Site::new(kind, true)?;
        let (a, b) = (site.agent("a")?, site.agent("b")?);
        write(&a.root, "one", "1")?;
        write(&b.root, "large", "x".repeat(3_000_000))?;
        site.system.in_step("a", "b")?;
        site.replicas[0].process.kill()?;
        write(&a.root, "two", "2")?;
        write(&b.root, "three", "3")?;
        site.system.in_step("a", "b")?;
        ensure!(folder::list(&a.root)?.len() == 4);
        for agent in [&a, &b] {
            let told = agent.process.stderr();
            ensure!(!told.contains(BY_HTTP), "{told}");
        }
        Ok(())
    })
}

#[test]
fn agents_without_websockets_ask_by_http_and_go_back_later() -> Result<()> {
    both_proxies(|kind| {
        let mut site = Site::new(kind, false)?;
        let (a, b) = (site.agent("a")?, site.agent("b")?);
        for agent in [&a, &b] {
            until_said(agent, BY_HTTP)?;
        }
        site.system.in_step("a", "b")?;
        for n in 0..5 {
            let name = format!("f{n}");
            write(&a.root, &name, "quick")?;
            wait::until("it is at b soon", SOON, || {
                ensure!(b.root.join(&name).exists());
                Ok(())
            })?;
        }
        site.replicas[1].process.kill()?;
        write(&b.root, "after a kill", "3")?;
        site.system.in_step("a", "b")?;
        site.ingress.restart(true)?;
        for agent in [&a, &b] {
            until_said(agent, BACK)?;
        }
        write(&a.root, "by socket", "4")?;
        site.system.in_step("a", "b")
    })
}

#[test]
fn clients_of_another_make_hear_of_changes() -> Result<()> {
    both_proxies(|kind| {
        for transport in ["websocket", "polling"] {
            let mut site = Site::new(kind, true)?;
            let a = site.agent("a")?;
            let mut client = site.client(transport)?;
            assert_eq!(heard(&mut client, "connect")?, transport);
            let heads = heard(&mut client, "heads")?;
            assert_eq!(heads["id"], 1, "{heads}");
            write(&a.root, "f", "1")?;
            let told = heard(&mut client, "ref")?;
            assert_eq!(told["tree"], "default/docs", "{told}");
            // Whichever of the two it is on: it comes to the other, and is told the head there.
            let mut seq = told["seq"].as_u64().context("a seq")?;
            for replica in [0, 1] {
                let address = site.replicas[replica].url.replace("http://", "");
                site.replicas[replica].process.kill()?;
                write(&a.root, "f", format!("{transport} {replica}"))?;
                a.flush()?;
                seq = until_newer(&mut client, seq)?;
                site.replicas[replica] = site.replica(&address)?;
            }
        }
        Ok(())
    })
}
