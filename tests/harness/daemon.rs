//! A daemon process under test: started, waited for, asked, stopped.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

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

/// A running daemon. Dropped, it is killed; with the last daemon of a pin directory go the pins.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    directory: TempDir,
    words: Vec<OsString>,
    pins: Arc<Pins>,
    /// Where it tells a service manager how it is.
    notify: UnixDatagram,
    notices: Mutex<Vec<String>>,
}

/// A pin directory of a test's own.
#[derive(Debug)]
struct Pins(String);

impl Start<'_> {
    /// Starts and waits until the daemon says that it is ready.
    pub fn ready(self) -> Result<Daemon> {
        let (words, pins) = self.words()?;
        ready(words, pins)
    }

    /// Starts, expects the daemon to end by itself, and gives its status and log.
    pub fn fails(self) -> Result<(ExitStatus, String)> {
        let (words, pins) = self.words()?;
        fails(words, pins)
    }

    fn words(self) -> Result<(Vec<OsString>, Arc<Pins>)> {
        let pins = Arc::new(Pins(format!("/sys/fs/bpf/gateway-test/{}", unique()?)));
        let mut words: Vec<OsString> = Vec::new();
        if let Some(netns) = self.netns {
            words.extend(["nsenter".into(), format!("--net={}", netns.path()).into(), "--".into()]);
        }
        words.push(daemon_binary()?.into());
        words.extend(["run".into(), "--config".into(), self.config.into()]);
        words.extend(["--pin-directory".into(), (&pins.0).into()]);
        words.extend(self.arguments.iter().map(OsString::from));
        Ok((words, pins))
    }
}

fn ready(words: Vec<OsString>, pins: Arc<Pins>) -> Result<Daemon> {
    let mut daemon = spawn(words, pins)?;
    daemon.ready()?;
    Ok(daemon)
}

fn fails(words: Vec<OsString>, pins: Arc<Pins>) -> Result<(ExitStatus, String)> {
    let mut daemon = spawn(words, pins)?;
    let status = daemon.ended()?;
    Ok((status, daemon.log()))
}

fn spawn(words: Vec<OsString>, pins: Arc<Pins>) -> Result<Daemon> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("notify");
    let notify = UnixDatagram::bind(&socket)?;
    notify.set_nonblocking(true)?;
    let (program, arguments) = words.split_first().context("no program")?;
    let child = Command::new(program)
        .args(arguments)
        .env("NOTIFY_SOCKET", socket)
        .stdin(Stdio::null())
        .stdout(File::create(directory.path().join("out"))?)
        .stderr(File::create(directory.path().join("err"))?)
        .spawn()
        .context("cannot start the daemon")?;
    Ok(Daemon { child, directory, words, pins, notify, notices: Mutex::default() })
}

/// A name that no other test of this machine uses now.
fn unique() -> Result<String> {
    let directory = tempfile::tempdir()?;
    let name = directory.path().file_name().unwrap_or_default();
    Ok(format!("{}{}", std::process::id(), name.to_string_lossy().replace('.', "-")))
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

    /// Waits until it says that it is ready.
    pub fn ready(&mut self) -> Result<()> {
        let outcome = patience::until(|| {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            self.notices().iter().any(|notice| notice == "READY=1").then_some(Ok(()))
        });
        match outcome {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => bail!("the daemon ended with {status}:\n{}", self.log()),
            None => bail!("the daemon is not ready:\n{}", self.log()),
        }
    }

    /// What it told the service manager so far.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        let mut message = [0; 512];
        while let Ok(length) = self.notify.recv(&mut message) {
            notices.push(String::from_utf8_lossy(&message[..length]).trim().to_owned());
        }
        notices.clone()
    }

    /// Its bpffs directory.
    pub fn pins(&self) -> &str {
        &self.pins.0
    }

    /// Starts another one with the same words and pins and more arguments, and waits until it is
    /// ready.
    pub fn again(&self, more: &[&str]) -> Result<Self> {
        let (words, pins) = self.words(more);
        ready(words, pins)
    }

    /// As [`Self::again`], but by another binary.
    pub fn again_by(&self, binary: &Path) -> Result<Self> {
        let (mut words, pins) = self.words(&[]);
        let ours = daemon_binary()?;
        for word in words.iter_mut().filter(|word| **word == *ours) {
            *word = binary.into();
        }
        ready(words, pins)
    }

    /// As [`Self::again`], but waits for nothing.
    pub fn beside(&self, more: &[&str]) -> Result<Self> {
        let (words, pins) = self.words(more);
        spawn(words, pins)
    }

    /// As [`Self::again`], but expects it to end by itself, and gives its status and log.
    pub fn again_fails(&self, more: &[&str]) -> Result<(ExitStatus, String)> {
        let (words, pins) = self.words(more);
        fails(words, pins)
    }

    fn words(&self, more: &[&str]) -> (Vec<OsString>, Arc<Pins>) {
        let mut words = self.words.clone();
        // A flag that may be given once takes another value.
        if let ["--workers", number] = more
            && let Some(at) = words.iter().position(|word| word == "--workers")
        {
            words[at + 1] = number.into();
        } else {
            words.extend(more.iter().map(OsString::from));
        }
        (words, Arc::clone(&self.pins))
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
        let text = shell::run(binary, &["stats", "--json", "--pin-directory", self.pins()])?;
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
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("cannot remove the pins {}: {error}", self.0);
        }
    }
}
