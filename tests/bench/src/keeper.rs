//! Where everything happens: network, mount and process namespaces of the benchmark's own.
//!
//! The program that a user starts only keeps the one that measures. That one is the first process of
//! its namespaces: when it ends, or is killed, the kernel ends everything it started, and network,
//! bpffs and pins are gone with it. So there is nothing to clean up, whatever happened.

use std::ffi::OsString;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::shell;

/// Exit status of a run that was interrupted, as shells have it.
const INTERRUPTED: u8 = 130;

/// Starts this program again with these words in namespaces of its own, and waits for its end.
pub(crate) fn keep(words: &[OsString]) -> Result<ExitCode> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("cannot block signals")?;
    let kept = Arc::new(AtomicI32::new(0));
    let interrupted = Arc::new(AtomicI32::new(0));
    // Threads come before the namespace of processes: after that this process can start none.
    let (pid, told) = (Arc::clone(&kept), Arc::clone(&interrupted));
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            told.store(1, Ordering::Relaxed);
            let pid = pid.load(Ordering::Relaxed);
            if pid == 0 || kill(Pid::from_raw(pid), Signal::SIGKILL).is_err() {
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    });
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("making namespaces needs root")?;
    // Children inherit what is blocked.
    signals.thread_unblock().context("cannot unblock signals")?;
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut child = Command::new(own).args(words).spawn().context("cannot start again")?;
    kept.store(i32::try_from(child.id())?, Ordering::Relaxed);
    signals.thread_block().context("cannot block signals")?;
    let status = child.wait().context("cannot wait for the benchmark")?;
    if interrupted.load(Ordering::Relaxed) == 1 {
        eprintln!("interrupted; all that was started has ended");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes this process, the first one of its namespaces, at home in them.
pub(crate) fn settle() -> Result<()> {
    // Should the keeper be killed, this process goes too, and with it all others.
    set_pdeathsig(Signal::SIGKILL).context("prctl")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)
        .context("cannot make mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)
        .context("cannot mount /proc")?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none)
        .context("cannot mount bpffs on /sys/fs/bpf")?;
    shell::run("ip", &["link", "set", "lo", "up"])?;
    Ok(())
}
