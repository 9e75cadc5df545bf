//! The daemon under callgrind, which is told from outside when to begin counting and when to write
//! down what it counted.

use std::cell::Cell;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use gateway_tests::{environment, patience, raw, shell};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::profile::Profile;

/// A daemon under callgrind. Dropped, it is killed.
pub(crate) struct Callgrind {
    child: Child,
    folder: TempDir,
    /// Files that callgrind wrote so far.
    dumps: Cell<u32>,
}

impl Callgrind {
    /// Starts the daemon on some manifests, and waits until it answers at an address.
    pub(crate) fn start(manifests: &Path, address: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let errors = File::create(folder.path().join("err"))?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let child = Command::new("valgrind")
            .arg("--tool=callgrind")
            .args(["--instr-atstart=no", "--dump-line=no"])
            .args(["--compress-strings=no", "--compress-pos=no"])
            .arg(format!("--callgrind-out-file={}", path("out")))
            .arg(format!("--vgdb-prefix={}", path("vgdb")))
            .arg(environment::release_daemon_binary()?)
            .args(["run", "--datapath", "off", "--workers", "1", "--admin", "off"])
            .args(["--access-log", "off", "--log", "warn", "--state-directory", &path("state")])
            .args(["--pin-directory", &path("pins"), "--takeover", "off"])
            .arg("--config")
            .arg(manifests)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .context("cannot start valgrind: `cargo xtask setup` installs it")?;
        let mut daemon = Self { child, folder, dumps: Cell::new(0) };
        daemon.wait(address)?;
        daemon.tell(&["instrumentation", "on"])?;
        Ok(daemon)
    }

    fn wait(&mut self, address: SocketAddr) -> Result<()> {
        let outcome = patience::until(|| {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            raw::Client::connect(address).is_ok().then_some(Ok(()))
        });
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => bail!("the daemon ended with {status}:\n{}", self.log()),
            None => bail!("the daemon does not listen:\n{}", self.log()),
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("err")).unwrap_or_default()
    }

    /// Counts while some work is done.
    pub(crate) fn counted(
        &self,
        name: &str,
        work: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Profile> {
        self.tell(&["zero"])?;
        work().with_context(|| self.log())?;
        self.tell(&["dump", name])?;
        self.dumps.set(self.dumps.get() + 1);
        let path = self.folder.path().join(format!("out.{}", self.dumps.get()));
        let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(Profile::parse(&String::from_utf8_lossy(&text)))
    }

    /// A command to callgrind, which does it before the answer comes.
    fn tell(&self, words: &[&str]) -> Result<()> {
        let prefix: PathBuf = self.folder.path().join("vgdb");
        let prefix = format!("--vgdb-prefix={}", prefix.display());
        let pid = format!("--pid={}", self.child.id());
        shell::run("vgdb", &[&[prefix.as_str(), pid.as_str()], words].concat()).map(|_| ())
    }
}

impl Drop for Callgrind {
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).unwrap_or_default();
        let killed = kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(std::io::Error::from);
        if let Err(error) = killed.and_then(|()| self.child.wait()) {
            eprintln!("cannot end the daemon: {error}");
        }
    }
}
