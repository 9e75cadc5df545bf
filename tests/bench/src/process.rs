//! A process that is measured, or that helps to: started on one core, stopped and continued, with
//! the CPU time and the memory of its whole tree.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use crate::clock;

/// How long a process may take to end once it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to start, and where.
pub(crate) struct Launch {
    name: String,
    words: Vec<OsString>,
    core: usize,
    log: Option<PathBuf>,
    variables: Vec<(&'static str, OsString)>,
    namespace: Option<PathBuf>,
    piped: bool,
}

impl Launch {
    /// A command line for one core.
    pub(crate) fn new(name: &str, core: usize, words: Vec<OsString>) -> Self {
        Self {
            name: name.to_owned(),
            words,
            core,
            log: None,
            variables: Vec::new(),
            namespace: None,
            piped: false,
        }
    }

    /// What it prints goes to this file.
    pub(crate) fn log(mut self, path: PathBuf) -> Self {
        self.log = Some(path);
        self
    }

    /// One variable of its environment.
    pub(crate) fn variable(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// It lives in the network namespace that this file stands for.
    pub(crate) fn namespace(mut self, path: Option<PathBuf>) -> Self {
        self.namespace = path;
        self
    }

    /// Its standard input and output are pipes of ours.
    pub(crate) fn piped(mut self) -> Self {
        self.piped = true;
        self
    }

    /// Starts it.
    pub(crate) fn start(self) -> Result<Process> {
        let (program, arguments) = self.words.split_first().context("no program to start")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        if self.piped {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        } else {
            command.stdin(Stdio::null()).stdout(self.output()?);
        }
        command.stderr(self.output()?);
        let namespace = self.namespace.as_deref().map(open).transpose()?;
        let core = self.core;
        // Core and namespace are a thread's own, and a child inherits them from the thread that
        // starts it: this one, which ends at once.
        let spawned = std::thread::scope(|scope| {
            let thread = scope.spawn(move || -> Result<Child> {
                pin(core)?;
                if let Some(namespace) = namespace {
                    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)
                        .context("cannot enter a network namespace")?;
                }
                command.spawn().context("spawn")
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let child = spawned.with_context(|| {
            format!("cannot start {} (`{}`)", self.name, program.to_string_lossy())
        })?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        Ok(Process { child, pid, name: self.name, log: self.log })
    }

    fn output(&self) -> Result<Stdio> {
        let Some(path) = &self.log else { return Ok(Stdio::null()) };
        let file = File::options().create(true).append(true).open(path);
        Ok(file.with_context(|| format!("cannot write {}", path.display()))?.into())
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Pins the calling thread to a core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).context("no such core")?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on core {core}"))
}

/// A running process. Dropped, it is asked to end, and made to if it does not.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    name: String,
    log: Option<PathBuf>,
}

impl Process {
    /// Freezes it.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it run on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The file that stands for its network namespace.
    pub(crate) fn namespace(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.pid))
    }

    /// Its standard input and output, where they are pipes; to be taken once.
    pub(crate) fn pipes(
        &mut self,
    ) -> Result<(std::process::ChildStdin, std::process::ChildStdout)> {
        let pipes = self.child.stdin.take().zip(self.child.stdout.take());
        pipes.with_context(|| format!("{} has no pipes", self.name))
    }

    /// An error that shows its log, if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait().context("wait")? {
            bail!("{} ended with {status}:\n{}", self.name, self.tail());
        }
        Ok(())
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> String {
        let text = self.log.as_ref().and_then(|log| std::fs::read_to_string(log).ok());
        let text = text.unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// CPU time of the tree so far: every thread, those that ended included, in user space and in
    /// the kernel.
    pub(crate) fn cpu(&self) -> Duration {
        self.tree().into_iter().filter_map(cpu_of).sum()
    }

    /// Memory of the tree now, in KiB: pages that several share are divided among them.
    pub(crate) fn memory(&self) -> u64 {
        let proportional = |pid| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            kibibytes(&text.unwrap_or_default(), "Pss:")
        };
        self.tree().into_iter().map(proportional).sum()
    }

    /// Itself and all that descend from it.
    fn tree(&self) -> Vec<i32> {
        let parents = parents();
        let mut tree = vec![self.pid.as_raw()];
        let mut at = 0;
        while let Some(&parent) = tree.get(at) {
            tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        tree
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self, patience: Duration) -> Result<()> {
        let end = clock::now() + patience;
        while self.child.try_wait().context("wait")?.is_none() {
            if clock::now() > end {
                bail!("{} does not end:\n{}", self.name, self.tail());
            }
            clock::pause(1);
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever is frozen must run to see that it is asked to end.
        let asked = self.signal(Signal::SIGTERM).and_then(|()| self.thaw());
        if asked.and_then(|()| self.ended(PATIENCE)).is_err() {
            let _gone = self.child.kill();
            let _reaped = self.child.wait();
        }
    }
}

fn cpu_of(pid: i32) -> Option<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid)).ok()?;
    clock_gettime(clock).ok().map(Duration::from)
}

/// Every process here and its parent.
fn parents() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent(&stat)?))
    })
    .collect()
}

/// The parent's id in a line of `/proc/PID/stat`; the name, in parentheses, may hold anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

fn kibibytes(rollup: &str, field: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read() {
        assert_eq!(parent("42 (a) b (c) S 7 42 42 0"), Some(7));
        assert_eq!(parent("42 (a"), None);
        assert_eq!(kibibytes("Rss: 12 kB\nPss:      345 kB\nPss_Dirty: 9 kB\n", "Pss:"), 345);
        assert_eq!(kibibytes("", "Pss:"), 0);
    }

    fn is_stopped(pid: i32) -> Result<bool> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.contains(") T "))
    }

    #[test]
    fn cpu_time_of_a_child_is_counted_and_the_child_ends() -> Result<()> {
        let words = ["sh", "-c", "while :; do :; done"].map(OsString::from).to_vec();
        let process = Launch::new("busy", 0, words).start()?;
        while process.cpu() < Duration::from_millis(20) {
            clock::pause(5);
        }
        process.freeze()?;
        // A core that others want too takes its time to get to the signal.
        while !is_stopped(process.pid())? {
            clock::pause(5);
        }
        let frozen = process.cpu();
        clock::pause(30);
        assert_eq!(process.cpu(), frozen);
        let pid = process.pid();
        drop(process);
        assert!(!parents().iter().any(|(found, _)| *found == pid));
        Ok(())
    }
}
