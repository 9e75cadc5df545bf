//! Clients that ask at a steady rate, whatever became of what they asked before: what people see who have
//! come to a gateway. Clients that ask as fast as they are answered measure its capacity instead, and any
//! sender on the same machine takes from that.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gateway_tests::netns::Netns;
use gateway_tests::raw::Client;

/// How long they ask.
const LASTS: Duration = Duration::from_secs(2);
/// That they wait for answers side by side: so many of them.
const CLIENTS: u32 = 16;
/// An answer that comes later is too late.
pub(crate) const IN_TIME: Duration = Duration::from_millis(50);

/// What they saw.
pub(crate) struct Seen {
    /// How many they asked.
    pub(crate) asked: u64,
    /// The share that was answered in time.
    pub(crate) in_time: f64,
    /// Half were answered within this, milliseconds.
    pub(crate) p50: f64,
    /// 99 % were.
    pub(crate) p99: f64,
}

/// Asks so many times a second, each on a connection of its own. All have to be answered with 200, if late.
///
/// The time of an answer counts from when its request was due, also where a client was still waiting then.
pub(crate) fn ask(from: &Netns, to: SocketAddr, head: &str, rate: f64) -> Result<Seen> {
    let each = rate * LASTS.as_secs_f64() / f64::from(CLIENTS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
    let each = each.round() as u32;
    let gap = LASTS / each.max(1);
    let begin = Instant::now() + Duration::from_millis(20);
    let client = |number: u32| {
        let first = begin + gap * number / CLIENTS;
        from.inside(|| (0..each).map(|at| one(first + gap * at, to, head)).collect())
    };
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || client(number))).collect();
        let mut all = Vec::new();
        for client in clients {
            let its: Vec<Duration> = client.join().expect("a client broke off")?;
            all.extend(its);
        }
        anyhow::Ok(all)
    })?;
    took.sort_unstable();
    let share = |share: usize| took.get(took.len() * share / 100).copied();
    let milliseconds = |share: Option<Duration>| share.map(|time| time.as_secs_f64() * 1e3);
    let in_time = u32::try_from(took.partition_point(|time| *time <= IN_TIME))?;
    Ok(Seen {
        asked: took.len() as u64,
        in_time: f64::from(in_time) / f64::from(u32::try_from(took.len())?),
        p50: milliseconds(share(50)).context("nothing was asked")?,
        p99: milliseconds(share(99)).context("nothing was asked")?,
    })
}

/// A request at its time.
fn one(due: Instant, to: SocketAddr, head: &str) -> Result<Duration> {
    std::thread::sleep(due.saturating_duration_since(Instant::now()));
    let mut client = Client::connect(to)?;
    let answer = client.exchange(head.as_bytes(), false)?;
    let took = due.elapsed();
    ensure!(answer.status == 200, "status {}", answer.status);
    // Its port is free again at once.
    client.reset()?;
    Ok(took)
}
