//! What the kernel half costs, and what it holds off. Prints JSON; progress goes to standard error.
//!
//! - `test-run`: nanoseconds a packet by `BPF_PROG_TEST_RUN`, as ratios to a program that only passes
//!   packets, taken in turn within the same run.
//! - `drop`: packets a second that are dropped by a ban, beside nftables dropping the same sources.
//! - `flood`: requests of clients with good tokens while one address floods with SYNs. Takes the
//!   daemon from `GATEWAY_DAEMON_BIN`.
//!
//! Nothing here is a test: a figure of a shared machine proves nothing by itself. Needs root; all of it
//! happens in namespaces of its own.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement ends at a surprise")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod drop;
mod flood;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../kernel/packet.rs"]
mod packet;
mod pump;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../kernel/sandbox.rs"]
mod sandbox;
mod test_run;

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Measures, in so many rounds.
type Measure = fn(usize) -> Value;

/// What can be measured.
const SECTIONS: [(&str, Measure); 3] =
    [("test-run", test_run::measure), ("drop", drop::measure), ("flood", flood::measure)];
/// Rounds, unless `--rounds N` says otherwise.
const ROUNDS: usize = 9;

fn main() {
    let mut rounds = ROUNDS;
    let mut wanted = Vec::new();
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--rounds" => rounds = words.next().and_then(|n| n.parse().ok()).expect("--rounds N"),
            // Cargo says so to every benchmark.
            "--bench" => {}
            word => wanted.push(word.to_owned()),
        }
    }
    let known = |word: &String| SECTIONS.iter().any(|(name, _)| name == word);
    if let Some(word) = wanted.iter().find(|word| !known(word)) {
        eprintln!("{word} is none of {:?}", SECTIONS.map(|(name, _)| name));
        std::process::exit(2);
    }
    let mut report = json!({
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim(),
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "unix_time": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        "rounds": rounds,
    });
    for (name, measure) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            eprintln!("{name}: {rounds} rounds");
            // A thread of its own: it moves into namespaces of its own.
            let measured = std::thread::spawn(move || measure(rounds)).join();
            report[name] = measured.expect("the measurement broke off");
        }
    }
    println!("{report:#}");
}

/// The middle of some figures, and their ends.
fn spread(figures: &[f64]) -> (f64, f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

/// Rounded to hundredths.
fn short(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
