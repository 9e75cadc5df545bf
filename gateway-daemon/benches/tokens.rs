//! `cargo bench --bench tokens`: ten million different tokens are shown to a worker's token cache, and
//! what it takes is printed on the way. It fails where that is not bounded.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

#[path = "../tests/token_memory/flood.rs"]
mod flood;

use flood::{Flood, resident};
use gateway_daemon::clock;

const STEPS: u64 = 10;
const STEP: u64 = 1_000_000;

fn main() -> ExitCode {
    // Cargo asks for a list of benchmarks where it runs them as tests.
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let before = resident();
    let mut flood = Flood::new();
    let mut most = 0;
    say(format_args!(
        "{:>12} {:>8} {:>12} {:>12}  per token",
        "tokens", "entries", "accounted", "resident"
    ));
    for step in 1..=STEPS {
        let started = clock::monotonic();
        flood.go_on(STEP);
        let each = started.elapsed() / u32::try_from(STEP).unwrap_or(1);
        let (entries, bytes) = flood.held();
        let taken = resident().saturating_sub(before);
        most = taken.max(most);
        row(step * STEP, entries, bytes, taken, each);
    }
    if most < flood.budget() * 3 / 2 {
        return ExitCode::SUCCESS;
    }
    say(format_args!("{most} bytes are more than the limits allow"));
    ExitCode::FAILURE
}

fn row(tokens: u64, entries: u64, bytes: u64, taken: u64, each: Duration) {
    say(format_args!("{tokens:>12} {entries:>8} {bytes:>12} {taken:>12}  {each:?}"));
}

fn say(line: std::fmt::Arguments<'_>) {
    // Nobody reads on: nobody is told.
    let _unread = writeln!(std::io::stdout(), "{line}");
}
