//! Runs other programs: found on PATH or in the system folders, with the right privilege, and with
//! an error that names the command line.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// Lines of a log file that are shown when its command fails.
const LOG_TAIL: usize = 30;
/// How often a long command reports where no terminal shows a running counter.
const REPORT_EVERY: Duration = Duration::from_secs(15);

/// A cargo command in the workspace root.
///
/// The variables that `cargo run` sets for xtask itself are taken away: build scripts that watch
/// them would otherwise run again under every other cargo.
pub(crate) fn cargo<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut cargo = Command::new(workspace::variable("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(workspace::root()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME"];
        if own.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Finds a program on PATH, or where Debian puts those of the administrator, which a plain user's
/// PATH leaves out.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = workspace::variable("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// The command line as a user would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end with our own output; an unsuccessful end is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns what it printed, or nothing if it cannot run or does not succeed.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a long command with its output in a file, and says every now and then that it still runs.
pub(crate) fn run_logged(what: &str, command: &mut Command, log: &Path) -> Result<()> {
    if let Some(folder) = log.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().with_context(|| log.display().to_string())?;
    let started = now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    say(&format!("{what} (output in {})", log.display()));
    let mut progress = Progress { started, reported: started, shown: false };
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| line(command))? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(200));
        progress.tick()?;
    };
    progress.end()?;
    if !status.success() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(LOG_TAIL)..] {
            eprintln!("    {line}");
        }
        bail!("`{}` ended with {status}; all of its output is in {}", line(command), log.display());
    }
    say(&format!("{what}: done in {} s", started.elapsed().as_secs()));
    Ok(())
}

/// One line of xtask's own.
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// A counter of seconds on a terminal, a line now and then elsewhere.
struct Progress {
    started: Instant,
    reported: Instant,
    shown: bool,
}

impl Progress {
    fn tick(&mut self) -> Result<()> {
        let seconds = self.started.elapsed().as_secs();
        let mut out = io::stderr();
        if out.is_terminal() {
            write!(out, "\r  {seconds} s ")?;
            out.flush()?;
            self.shown = true;
        } else if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = now();
            writeln!(out, "  ... {seconds} s")?;
        }
        Ok(())
    }

    /// Leaves the line of the counter empty.
    fn end(self) -> Result<()> {
        if self.shown {
            write!(io::stderr(), "\r\x1b[K")?;
        }
        Ok(())
    }
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "progress of a build; no decision hangs on it")]
    Instant::now()
}

/// How a privileged command can be run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// We are root.
    Root,
    /// sudo works, asking for a password only where a terminal is there to ask on.
    Sudo,
    /// Neither.
    None,
}

impl Privilege {
    /// Finds out, without asking anybody anything.
    pub(crate) fn find() -> Self {
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            return Self::Root;
        }
        let sudo = find("sudo").is_some()
            && (io::stdin().is_terminal()
                || output(Command::new("sudo").args(["-n", "true"])).is_some());
        if sudo { Self::Sudo } else { Self::None }
    }

    /// The words before a privileged command, or none if there is no way to run one.
    pub(crate) fn prefix(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Root => Some(&[]),
            Self::Sudo if io::stdin().is_terminal() => Some(&["sudo", "-E"]),
            Self::Sudo => Some(&["sudo", "-n", "-E"]),
            Self::None => None,
        }
    }

    /// A command with privilege, or none if there is no way to run one.
    pub(crate) fn command(self, words: &[&str]) -> Option<Command> {
        let words = [self.prefix()?, words].concat();
        let mut command = Command::new(words.first()?);
        command.args(words.get(1..)?);
        Some(command)
    }
}
