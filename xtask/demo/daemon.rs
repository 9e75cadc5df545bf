//! The daemon as a child: started, known to be ready by `sd_notify`, stopped, cleaned up after.

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::sync::watch;

use crate::certificate;

/// What the daemon pins; the folder above the version, since all of it is the daemon's.
const PINS: &str = "/sys/fs/bpf/gateway";

/// A running daemon.
pub(crate) struct Daemon {
    program: PathBuf,
    pid: Pid,
    /// Its end, once known.
    status: watch::Receiver<Option<ExitStatus>>,
    notifications: UnixDatagram,
    /// Where the daemon finds that socket.
    _folder: TempDir,
    /// Whether there were pins before: those are somebody else's.
    had_pins: bool,
}

impl Daemon {
    /// Starts it on the quickstart's manifests.
    pub(crate) fn start(program: &Path, examples: &Path, more: &[String]) -> Result<Self> {
        let had_pins = Path::new(PINS).exists();
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let socket = folder.path().join("notify");
        let notifications = UnixDatagram::bind(&socket)
            .context("cannot make a socket for the daemon's notifications")?;

        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(examples);
        command.arg("--config").arg(examples.join(certificate::FOLDER));
        command.args(["--interface", "lo"]).args(more);
        command.env("NOTIFY_SOCKET", socket).stdin(Stdio::null());
        // A demo takes over from nobody, unless an argument says so.
        command.env("GATEWAY_TAKEOVER", "off");
        // Ctrl-C reaches this process alone, which then asks the daemon to stop, once.
        command.process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start the daemon, {}", program.display()))?;
        let pid = Pid::from_child(&child);
        let (ended, status) = watch::channel(None);
        std::thread::spawn(move || {
            let status = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(1));
            ended.send_replace(Some(status));
        });
        Ok(Self {
            program: program.to_owned(),
            pid,
            status,
            notifications,
            _folder: folder,
            had_pins,
        })
    }

    /// Waits until it serves: true if it does, an error if it ended instead.
    pub(crate) async fn ready(&mut self) -> Result<bool> {
        let mut message = [0; 1024];
        loop {
            tokio::select! {
                received = self.notifications.recv(&mut message) => {
                    let length = received.context("waiting for the daemon")?;
                    if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                        return Ok(true);
                    }
                }
                status = ended(&mut self.status) => bail!("the daemon ended early, with {status}"),
            }
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) {
        ended(&mut self.status).await;
    }

    /// Asks it to stop, waits until it has, and removes what it pinned.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if self.status.borrow().is_none() {
            eprintln!("stopping the daemon");
            kill_process(self.pid, Signal::TERM).context("cannot stop the daemon")?;
        }
        let status = ended(&mut self.status).await;
        if !self.had_pins && Path::new(PINS).exists() {
            let unload = Command::new(&self.program).arg("unload").stdout(Stdio::null()).status();
            if !unload.context("cannot start `gateway-daemon unload`")?.success() {
                bail!("`gateway-daemon unload` failed; the pins in {PINS} are still there");
            }
        }
        if !status.success() {
            bail!("the daemon ended with {status}");
        }
        Ok(())
    }
}

async fn ended(status: &mut watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
    // The sender sends once and then drops, so an error means that the value is there already.
    let known = status.wait_for(Option::is_some).await.map(|status| *status);
    known.ok().flatten().unwrap_or_else(|| ExitStatus::from_raw(1))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A daemon made of shell, in a folder of its own.
    fn scripted(script: &str) -> Result<(TempDir, PathBuf)> {
        let folder = tempfile::tempdir()?;
        let program = folder.path().join("daemon");
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok((folder, program))
    }

    #[tokio::test]
    async fn an_early_end_is_an_error_that_names_the_status() -> Result<()> {
        let (folder, program) = scripted("exit 7")?;
        let mut daemon = Daemon::start(&program, folder.path(), &[])?;
        let error = daemon.ready().await.expect_err("it is not ready");
        assert!(error.to_string().contains('7'), "{error}");
        assert!(daemon.stop().await.is_err());
        Ok(())
    }

    #[tokio::test]
    async fn a_demo_does_not_take_over_from_a_gateway_that_runs() -> Result<()> {
        let (folder, program) = scripted("[ \"$GATEWAY_TAKEOVER\" = off ] && exit 7; exit 8")?;
        let mut daemon = Daemon::start(&program, folder.path(), &[])?;
        let error = daemon.ready().await.expect_err("it is not ready");
        assert!(error.to_string().contains('7'), "{error}");
        Ok(())
    }

    #[tokio::test]
    async fn a_stop_asks_once_and_waits() -> Result<()> {
        let (folder, program) = scripted("trap 'exit 0' TERM; while :; do sleep 0.1; done")?;
        let daemon = Daemon::start(&program, folder.path(), &[])?;
        // The shell sets its trap in the meantime.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        daemon.stop().await
    }
}
