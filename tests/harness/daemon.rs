//! A daemon process under test: started, waited for, asked, stopped.

use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::environment::daemon_binary;
use crate::netns::Netns;
use crate::patience;
use crate::shell;

/// How a daemon is started.
#[derive(Debug)]
pub struct Start<'t> {
    /// The namespace it runs in; none: this one.
    pub netns: Option<&'t Netns>,
    /// Manifests: a file or directory.
    pub config: &'t Path,
    /// Arguments after `run --config PATH`.
    pub arguments: &'t [&'t str],
}

/// A running daemon. Dropped, it is killed and its pins are removed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    directory: TempDir,
    pins: String,
}

impl Start<'_> {
    /// Starts and waits until the daemon says that it is ready.
    pub fn ready(self) -> Result<Daemon> {
        let notify = tempfile::tempdir()?;
        let socket = notify.path().join("notify");
        let ready = UnixDatagram::bind(&socket)?;
        ready.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut daemon = self.spawn(Some(&socket))?;
        let mut message = [0; 512];
        let outcome = patience::until(|| {
            if let Ok(Some(status)) = daemon.child.try_wait() {
                return Some(Err(status));
            }
            let length = ready.recv(&mut message).ok()?;
            message[..length].starts_with(b"READY=1").then_some(Ok(()))
        });
        match outcome {
            Some(Ok(())) => Ok(daemon),
            Some(Err(status)) => bail!("the daemon ended with {status}:\n{}", daemon.log()),
            None => bail!("the daemon is not ready:\n{}", daemon.log()),
        }
    }

    /// Starts, expects the daemon to end by itself, and gives its status and log.
    pub fn fails(self) -> Result<(ExitStatus, String)> {
        let mut daemon = self.spawn(None)?;
        let status = daemon.ended()?;
        Ok((status, daemon.log()))
    }

    fn spawn(self, notify: Option<&Path>) -> Result<Daemon> {
        let directory = tempfile::tempdir()?;
        let pins = format!("/sys/fs/bpf/gateway-test/{}", unique(&directory));
        let mut command = match self.netns {
            None => Command::new(daemon_binary()?),
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", netns.path())).arg("--").arg(daemon_binary()?);
                command
            }
        };
        command
            .args(["run", "--config"])
            .arg(self.config)
            .args(["--pin-directory", &pins])
            .args(self.arguments)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(File::create(directory.path().join("out"))?)
            .stderr(File::create(directory.path().join("err"))?);
        if let Some(socket) = notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        let child = command.spawn().context("cannot start the daemon")?;
        Ok(Daemon { child, directory, pins })
    }
}

fn unique(directory: &TempDir) -> String {
    let name = directory.path().file_name().unwrap_or_default();
    format!("{}{}", std::process::id(), name.to_string_lossy().replace('.', "-"))
}

impl Daemon {
    /// What it logged so far.
    pub fn log(&self) -> String {
        self.read("err")
    }

    /// Its standard output so far: the access log.
    pub fn access_log(&self) -> Vec<serde_json::Value> {
        self.read("out").lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn read(&self, name: &str) -> String {
        let mut bytes = Vec::new();
        match File::open(self.directory.path().join(name)) {
            Ok(mut file) => match file.read_to_end(&mut bytes) {
                Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => format!("(log unreadable: {error})"),
            },
            Err(error) => format!("(no log: {error})"),
        }
    }

    /// Waits until the condition holds.
    pub fn until<T>(&self, what: &str, check: impl FnMut() -> Option<T>) -> Result<T> {
        patience::until(check).with_context(|| {
            format!("waited in vain for {what}; the daemon's log:\n{}", self.log())
        })
    }

    /// Its bpffs directory.
    pub fn pins(&self) -> &str {
        &self.pins
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("cannot send {signal}"))
    }

    /// The counters, as `gateway-daemon stats --json` prints them from the pins.
    pub fn stats(&self) -> Result<serde_json::Value> {
        let binary = daemon_binary()?;
        let binary = binary.to_str().context("the daemon's path is not UTF-8")?;
        let text = shell::run(binary, &["stats", "--json", "--pin-directory", &self.pins])?;
        serde_json::from_str(&text).context("`stats --json` printed no JSON")
    }

    /// Waits for the process to end by itself.
    pub fn ended(&mut self) -> Result<ExitStatus> {
        patience::until(|| self.child.try_wait().transpose())
            .with_context(|| format!("the daemon does not end:\n{}", self.log()))?
            .context("cannot wait for the daemon")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.child.kill().and_then(|()| self.child.wait())
        {
            eprintln!("cannot end the daemon: {error}");
        }
        if let Err(error) = std::fs::remove_dir_all(&self.pins)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("cannot remove the pins {}: {error}", self.pins);
        }
    }
}
