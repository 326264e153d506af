//! syncthing, from Debian's package: one device per replica, each connected with every other.
//!
//! Guarantees: loopback only; no relays, no discovery, no upgrades, no reports. A folder is watched
//! with the shortest delay that the tool takes.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::http::ask;
use super::tool::{REPLICAS, Tool};
use crate::process::Process;
use crate::wait::{PATIENCE, until};

const KEY: &str = "X-API-Key: model\r\n";
const CONFLICT_MARK: &str = ".sync-conflict-";
/// Time for which it must have said so: nothing it says is about the future, and it looks for changes
/// with a delay of its own.
const QUIET: Duration = Duration::from_millis(1200);

/// One device.
#[derive(Debug)]
struct Device {
    id: String,
    gui: SocketAddr,
    listen: SocketAddr,
    process: Option<Process>,
}

/// See the module's head.
#[derive(Debug)]
pub struct Syncthing {
    dir: TempDir,
    devices: Vec<Device>,
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .context("syncthing: apt-get install syncthing")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

impl Syncthing {
    /// Makes keys and configurations.
    ///
    /// # Errors
    /// If it is not installed.
    pub fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut devices = Vec::new();
        for replica in 0..REPLICAS {
            let home = dir.path().join(format!("home-{replica}"));
            let syncthing = || {
                let mut command = Command::new("syncthing");
                command.env("HOME", dir.path());
                command
            };
            output(
                syncthing()
                    .arg("generate")
                    .arg("--home")
                    .arg(&home)
                    .args(["--no-default-folder", "--skip-port-probing"]),
            )?;
            let id = output(syncthing().arg("--home").arg(&home).arg("--device-id"))?;
            devices.push(Device {
                id,
                gui: free_address()?,
                listen: free_address()?,
                process: None,
            });
        }
        let tool = Self { dir, devices };
        for replica in 0..REPLICAS {
            fs::write(tool.home(replica).join("config.xml"), tool.config(replica)?)?;
        }
        Ok(tool)
    }

    fn home(&self, replica: usize) -> PathBuf {
        self.dir.path().join(format!("home-{replica}"))
    }

    fn config(&self, replica: usize) -> Result<String> {
        let mut text = String::from("<configuration version=\"35\">\n");
        let folder = self.folder(replica);
        writeln!(
            text,
            "<folder id=\"docs\" path=\"{}\" type=\"sendreceive\" rescanIntervalS=\"3600\" \
             fsWatcherEnabled=\"true\" fsWatcherDelayS=\"1\"><maxConflicts>-1</maxConflicts>",
            folder.display()
        )?;
        for device in &self.devices {
            writeln!(text, "<device id=\"{}\"></device>", device.id)?;
        }
        text.push_str("</folder>\n");
        for device in &self.devices {
            let (id, address) = (&device.id, device.listen);
            writeln!(
                text,
                "<device id=\"{id}\" compression=\"never\"><address>tcp://{address}</address></device>"
            )?;
        }
        let device = &self.devices[replica];
        writeln!(
            text,
            "<gui enabled=\"true\"><address>{}</address><apikey>model</apikey></gui>\n<options>\
             <listenAddress>tcp://{}</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>\
             <localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled>\
             <natEnabled>false</natEnabled><urAccepted>-1</urAccepted><reconnectionIntervalS>1</reconnectionIntervalS>\
             <crashReportingEnabled>false</crashReportingEnabled><autoUpgradeIntervalH>0</autoUpgradeIntervalH>\
             <startBrowser>false</startBrowser></options>\n</configuration>",
            device.gui, device.listen
        )?;
        Ok(text)
    }

    fn ask(&self, replica: usize, method: &str, path: &str) -> Result<Value> {
        ask(
            self.devices[replica].gui,
            method,
            &format!("/rest/{path}"),
            KEY,
        )
    }

    /// Returns an error that says what is not in step, as the tool tells it.
    fn in_step(&self) -> Result<()> {
        for replica in 0..REPLICAS {
            self.ask(replica, "POST", "db/scan?folder=docs")?;
        }
        for replica in 0..REPLICAS {
            let status = self.ask(replica, "GET", "db/status?folder=docs")?;
            let is_idle = status["state"] == "idle" && status["needTotalItems"] == 0;
            ensure!(is_idle, "replica {replica}: {status}");
            for other in (0..REPLICAS).filter(|other| *other != replica) {
                let id = &self.devices[other].id;
                let path = format!("db/completion?folder=docs&device={id}");
                let completion = self.ask(replica, "GET", &path)?;
                let is_complete = completion["completion"] == 100
                    && completion["needItems"] == 0
                    && completion["needDeletes"] == 0;
                ensure!(is_complete, "replica {replica} of {other}: {completion}");
            }
            let connections = self.ask(replica, "GET", "system/connections")?;
            let connections = connections["connections"].as_object();
            let connected = connections.map_or(0, |all| {
                all.values().filter(|c| c["connected"] == true).count()
            });
            ensure!(
                connected == REPLICAS - 1,
                "replica {replica}: {connected} connections"
            );
        }
        Ok(())
    }
}

impl Tool for Syncthing {
    fn name(&self) -> Result<String> {
        let text = output(Command::new("syncthing").arg("--version"))?;
        Ok(text.split(' ').take(2).collect::<Vec<_>>().join(" "))
    }

    fn folder(&self, replica: usize) -> PathBuf {
        self.dir.path().join(format!("user-{replica}"))
    }

    fn start(&mut self, replica: usize) -> Result<()> {
        fs::create_dir_all(self.folder(replica).join(".stfolder"))?;
        let mut command = Command::new("syncthing");
        command.arg("--home").arg(self.home(replica));
        command.args(["--no-browser", "--no-restart", "--no-upgrade"]);
        command.env("HOME", self.dir.path()).env("STNOUPGRADE", "1");
        let process = Process::spawn("syncthing", command, self.dir.path())?;
        self.devices[replica].process = Some(process);
        until("syncthing answers", PATIENCE, || {
            self.ask(replica, "GET", "system/ping")
        })?;
        Ok(())
    }

    fn stop(&mut self, replica: usize) -> Result<()> {
        let mut process = self.devices[replica].process.take().context("it runs")?;
        process.stop()?;
        Ok(())
    }

    fn quiet(&mut self) -> Result<()> {
        let mut since: Option<Instant> = None;
        until("syncthing is in step", PATIENCE * 2, || {
            if let Err(error) = self.in_step() {
                since = None;
                return Err(error);
            }
            let quiet = since.get_or_insert_with(Instant::now).elapsed();
            ensure!(quiet >= QUIET, "in step for {quiet:?} only");
            Ok(())
        })
    }

    fn original(&self, name: &str) -> Option<String> {
        let (stem, rest) = name.split_once(CONFLICT_MARK)?;
        let extension = rest.find('.').map_or("", |at| &rest[at..]);
        Some(format!("{stem}{extension}"))
    }

    fn is_own(&self, name: &str) -> bool {
        // The second is a file on its way, which may be left behind.
        name == ".stfolder" || name.starts_with(".syncthing.")
    }
}
