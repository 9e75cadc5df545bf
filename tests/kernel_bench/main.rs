//! What the kernel half costs, and what it holds off: `cargo xtask bench packets`. Prints JSON, or writes it
//! (`--into FILE`) and the tables of `docs/packets.md` (`--document FOLDER`).
//!
//! - `test-run`: nanoseconds a packet by `BPF_PROG_TEST_RUN`, as ratios to a program that only passes
//!   packets, taken in turn within the same run.
//! - `drop`: packets a second that are dropped by a ban, beside nftables dropping the same sources.
//! - `flood`: requests of clients with good tokens while one address floods with SYNs, or with
//!   connections. Takes the daemon from `GATEWAY_DAEMON_BIN`.
//!
//! Nothing here is a test: a figure of a shared machine proves nothing by itself. Needs root; all of it
//! happens in namespaces of its own.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement ends at a surprise")]
#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod document;
mod drop;
mod flood;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../kernel/packet.rs"]
mod packet;
mod pump;
#[expect(dead_code, reason = "the tests use all of it")]
#[path = "../kernel/sandbox.rs"]
mod sandbox;
mod steady;
mod test_run;

use std::env;
use std::num::NonZero;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// Measures, in so many rounds.
type Measure = fn(usize) -> Value;

/// What can be measured.
const SECTIONS: [(&str, Measure); 3] =
    [("test-run", test_run::measure), ("drop", drop::measure), ("flood", flood::measure)];
/// Rounds, unless `--rounds N` says otherwise.
const ROUNDS: usize = 9;

/// What the command line says.
struct Words {
    rounds: usize,
    sections: Vec<String>,
    into: Option<PathBuf>,
    document: Option<PathBuf>,
}

impl Words {
    fn read() -> Self {
        let mut read = Self { rounds: ROUNDS, sections: vec![], into: None, document: None };
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut next = || words.next().expect("a value is missing");
            match word.as_str() {
                "--rounds" => read.rounds = next().parse().expect("--rounds N"),
                "--into" => read.into = Some(next().into()),
                "--document" => read.document = Some(next().into()),
                // Cargo says so to every benchmark.
                "--bench" => {}
                _ => read.sections.push(word),
            }
        }
        read
    }
}

fn main() {
    let words = Words::read();
    let known = |word: &String| SECTIONS.iter().any(|(name, _)| name == word);
    if let Some(word) = words.sections.iter().find(|word| !known(word)) {
        eprintln!("{word} is none of {:?}", SECTIONS.map(|(name, _)| name));
        std::process::exit(2);
    }
    let rounds = words.rounds;
    let mut report = Map::new();
    for (name, measure) in SECTIONS {
        if words.sections.is_empty() || words.sections.iter().any(|word| word == name) {
            eprintln!("{name}: {rounds} rounds");
            // A thread of its own: it moves into namespaces of its own.
            let measured = std::thread::spawn(move || measure(rounds)).join();
            let mut measured = measured.expect("the measurement broke off");
            measured["machine"] = machine(rounds);
            report.insert(name.to_owned(), measured);
        }
    }
    if let Some(docs) = &words.document {
        document::write(docs, &report);
    }
    let report = serde_json::to_string_pretty(&Value::from(report)).expect("it is JSON");
    match words.into {
        Some(file) => std::fs::write(file, report + "\n").expect("the file can be written"),
        None => println!("{report}"),
    }
}

/// Where and when.
fn machine(rounds: usize) -> Value {
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let names = |line: &str| Some(line.strip_prefix("model name")?.split_once(": ")?.1.to_owned());
    json!({
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim(),
        "cpu": processors.lines().find_map(names),
        "cpus": std::thread::available_parallelism().map_or(0, NonZero::get),
        "date": sandbox::run("date -u +%F").trim(),
        "rounds": rounds,
    })
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
