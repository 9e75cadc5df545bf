//! Instructions per request in user space, counted by callgrind for the daemon as it is shipped, and
//! held against `budget.toml`. Time varies from run to run; this does not.
//!
//! One daemon serves all rows, one request at a time, so that every run does the same. What is
//! counted, and why, is in `docs/decisions/0096-instruction-budget.md`.

mod budget;
mod callgrind;
mod load;
mod profile;

use std::path::Path;

use anyhow::{Context, Result};
use gateway_tests::{environment, shell};

use budget::Budget;
use callgrind::Callgrind;
use load::{Kind, Load};

/// Requests before the count begins: caches fill, buffers grow, the connection to the upstream opens.
const WARM: usize = 100;
/// Requests that are counted.
const COUNTED: usize = 400;
/// The same for rows of which each request opens a connection.
const CONNECTIONS: usize = 60;

/// A row of the budget: its name, and what is asked.
const ROWS: [(&str, Kind); 7] = [
    ("plain", Kind::Plain),
    ("token", Kind::Token),
    ("denied", Kind::Denied),
    ("forged", Kind::Forged),
    ("tls", Kind::Tls),
    ("h2", Kind::H2),
    ("handshake", Kind::Handshake),
];

#[test]
fn instructions_per_request_stay_within_the_budget() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("icount/budget.toml");
    let load = Load::new()?;
    let daemon = Callgrind::start(load.manifests(), load.plain)?;
    let mut measured = Budget::of(compiler()?);
    for (name, kind) in ROWS {
        let count = count(&daemon, &load, name, kind).with_context(|| format!("row {name}"))?;
        println!("{name}: {count} instructions per request");
        measured.put(name, count);
    }
    if environment::blesses() {
        return measured.write(&path);
    }
    let budget = Budget::read(&path)?;
    let caveat = budget.caveat(&measured).unwrap_or_default();
    println!("{caveat}");
    let findings = budget.compare(&measured);
    assert!(findings.is_empty(), "{}\n{caveat}\n{}", findings.join("\n"), budget::HINT);
    Ok(())
}

/// The compiler in use here, which made the daemon: its version, and what it compiles for.
fn compiler() -> Result<String> {
    let text = shell::run("rustc", &["--version", "--verbose"])?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    let host = value("host: ").context("rustc names no host")?;
    Ok(format!("{}, {host}", text.lines().next().unwrap_or_default()))
}

fn count(daemon: &Callgrind, load: &Load, name: &str, kind: Kind) -> Result<u64> {
    let (warm, counted) = match kind {
        Kind::Handshake => (WARM / 10, CONNECTIONS),
        _ => (WARM, COUNTED),
    };
    let profile = load.run(kind, warm, counted, |work| daemon.counted(name, work))?;
    let own = profile.own();
    println!("{name}, by function:");
    for (function, instructions) in own.iter().take(12) {
        println!("  {:>8} {function}", instructions / counted as u64);
    }
    Ok(own.iter().map(|(_, instructions)| instructions).sum::<u64>() / counted as u64)
}
