//! Start and stop: readiness as a set of named tasks, drain guards, signals, and the service
//! manager's readiness protocol.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What still has to happen before the daemon is ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    tasks: BTreeSet<&'static str>,
    draining: bool,
}

impl Readiness {
    /// Adds a task; it is done when the value is dropped.
    #[must_use]
    pub fn task(&self, name: &'static str) -> ReadinessTask {
        self.lock().tasks.insert(name);
        ReadinessTask { readiness: self.clone(), name }
    }

    /// What is missing; empty: ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let pending = self.lock();
        if pending.draining {
            return vec!["draining"];
        }
        pending.tasks.iter().copied().collect()
    }

    /// Not ready from here on: no more requests, please.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing under this lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that readiness waits for.
#[derive(Debug)]
pub struct ReadinessTask {
    readiness: Readiness,
    name: &'static str,
}

impl Drop for ReadinessTask {
    fn drop(&mut self) {
        self.readiness.lock().tasks.remove(self.name);
    }
}

/// Held by whoever has to finish before the daemon may end.
#[derive(Clone, Debug)]
pub struct DrainGuard {
    _alive: Sender<()>,
}

/// Waits for every [`DrainGuard`].
#[derive(Debug)]
pub struct Drained(Receiver<()>);

/// A guard to clone and its waiting end.
pub fn drain() -> (DrainGuard, Drained) {
    let (alive, dropped) = channel();
    (DrainGuard { _alive: alive }, Drained(dropped))
}

impl Drained {
    /// Whether every guard was dropped within `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        // Nothing is ever sent: either all senders are gone, or the time is up.
        matches!(self.0.recv_timeout(timeout), Err(std::sync::mpsc::RecvTimeoutError::Disconnected))
    }
}

/// What the outside asks of the daemon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Request {
    /// SIGTERM or SIGINT: finish what is under way and end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
}

/// The signals that the daemon listens to.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Starts listening; inside a runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next request from outside.
    pub async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop,
            _ = self.interrupt.recv() => Request::Stop,
            _ = self.hang_up.recv() => Request::Reload,
        }
    }
}

/// Tells the service manager, where `NOTIFY_SOCKET` is set (`sd_notify(3)`).
pub fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}

/// Tells the service manager that a process has taken over from this one: within one service it is
/// the service's main process from here on, else this service ends.
pub fn relieved(by: u32) {
    notify(if is_in_our_service(by) {
        sd_notify::NotifyState::MainPid(by)
    } else {
        sd_notify::NotifyState::Stopping
    });
}

/// Whether a process is in our control group, which is what a service is to systemd.
fn is_in_our_service(pid: u32) -> bool {
    let group = |process: &str| fs::read_to_string(format!("/proc/{process}/cgroup")).ok();
    pid != 0 && group("self").is_some_and(|own| group(&pid.to_string()) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_every_task_is_dropped() {
        let readiness = Readiness::default();
        let (a, b) = (readiness.task("configuration"), readiness.task("kernel half"));
        assert_eq!(readiness.missing(), ["configuration", "kernel half"]);
        drop(a);
        assert_eq!(readiness.missing(), ["kernel half"]);
        drop(b);
        assert!(readiness.missing().is_empty());
        readiness.drain();
        assert_eq!(readiness.missing(), ["draining"]);
    }

    #[test]
    fn a_process_of_another_service_is_no_main_process_of_ours() {
        assert!(is_in_our_service(std::process::id()));
        assert!(!is_in_our_service(0));
        assert!(!is_in_our_service(u32::MAX));
    }

    #[test]
    fn waits_for_every_guard() {
        let (guard, drained) = drain();
        let other = guard.clone();
        drop(guard);
        assert!(!drained.wait(Duration::from_millis(1)));
        drop(other);
        assert!(drained.wait(Duration::from_mins(1)));
    }
}
