//! Long work beside threads that others wait for. Why by a signal:
//! `docs/decisions/0105-what-takes-long-takes-turns.md`.
#![expect(unsafe_code, reason = "a timer that interrupts one thread, and a signal handler")]

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;

/// How long a thread works before it rests, at most.
const TURN: Duration = Duration::from_micros(500);
/// How long it rests: what others have the CPU for in between, at least.
const REST: Duration = Duration::from_millis(1);
/// Go preempts its goroutines by this one too: it is ignored by default, and nothing else here
/// asks the kernel for it.
const SIGNAL: libc::c_int = libc::SIGURG;

/// Does what takes long, and rests for a millisecond after every half of one, so that a worker on the
/// same CPU does not wait for its end. What takes less is not interrupted. System calls are begun
/// again, as with `SA_RESTART`; what may not be interrupted (`EINTR`) is none of it.
pub fn in_turns<T>(work: impl FnOnce() -> T) -> T {
    let pace = Pace::begin();
    if let Err(error) = &pace {
        tracing::warn!(%error, "no timer: work that takes long keeps the CPU for as long as the kernel lets it");
    }
    work()
}

thread_local! {
    /// The timer of the thread's work, while there is some.
    static TIMER: Cell<Option<libc::timer_t>> = const { Cell::new(None) };
}

/// While it lives, the calling thread rests now and then.
struct Pace {
    /// It is the thread's that made it.
    _thread: PhantomData<*const ()>,
}

impl Pace {
    fn begin() -> io::Result<Self> {
        handle()?;
        // SAFETY: zero is a value for all of its fields.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = SIGNAL;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer = MaybeUninit::uninit();
        // SAFETY: the event is read, and the timer written.
        checked(unsafe {
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, timer.as_mut_ptr())
        })?;
        // SAFETY: the call has succeeded.
        let timer = unsafe { timer.assume_init() };
        TIMER.set(Some(timer));
        let pace = Self { _thread: PhantomData };
        arm(timer)?;
        Ok(pace)
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        // A signal that is under way finds none.
        if let Some(timer) = TIMER.take() {
            // SAFETY: the timer is ours, and nobody knows it any more.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

/// Lets the next turn begin. Not at fixed intervals: whoever had to wait for the CPU has not worked.
fn arm(timer: libc::timer_t) -> io::Result<()> {
    let turn = libc::itimerspec { it_interval: spec(Duration::ZERO), it_value: spec(TURN) };
    // SAFETY: the timer is ours, and the times are read only.
    checked(unsafe { libc::timer_settime(timer, 0, &raw const turn, ptr::null_mut()) })
}

/// Installs the handler, once.
fn handle() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        // SAFETY: zero is a value for all of its fields.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = rest as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler does nothing that a signal handler may not.
        let answer = unsafe { libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) };
        Errno::result(answer).map(drop)
    });
    installed.map_err(io::Error::from)
}

/// Only what a signal handler may do: system calls, and a variable of the thread that is there from
/// the beginning.
extern "C" fn rest(_: libc::c_int) {
    let Some(timer) = TIMER.get() else { return };
    let before = Errno::last_raw();
    let time = spec(REST);
    // SAFETY: the time is read only.
    unsafe {
        libc::syscall(
            libc::SYS_clock_nanosleep,
            libc::CLOCK_MONOTONIC,
            0,
            &raw const time,
            ptr::null_mut::<libc::timespec>(),
        );
    }
    // The timer is there, so there is no error; if there were, the work would go on without rests.
    let _armed = arm(timer);
    Errno::set_raw(before);
}

/// Less than a second.
const fn spec(time: Duration) -> libc::timespec {
    libc::timespec { tv_sec: 0, tv_nsec: time.subsec_nanos() as libc::c_long }
}

fn checked(answer: libc::c_int) -> io::Result<()> {
    Ok(Errno::result(answer).map(drop)?)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Times that the calling thread left the CPU by itself.
    fn rests() -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    }

    /// Works for several turns; answers whether it did without a rest.
    fn works_through() -> bool {
        let before = rests();
        (0..1_000).for_each(|_| _ = rests());
        rests() == before
    }

    #[test]
    fn a_thread_rests_while_it_works_in_turns_and_not_after_it() {
        let other = thread::spawn(|| {
            in_turns(|| (0..10).for_each(|_| assert!(!works_through(), "it does not rest")));
            // It may have to wait for the memory of the process now and then, as others start threads.
            assert!((0..100).any(|_| works_through()), "it rests on");
        });
        other.join().unwrap();
    }

    #[test]
    fn errors_of_the_work_are_not_touched() {
        in_turns(|| {
            Errno::set_raw(libc::ENOLINK);
            rest(SIGNAL);
            assert_eq!(Errno::last(), Errno::ENOLINK);
        });
    }
}
