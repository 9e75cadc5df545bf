//! `cargo xtask test [suite...]`: runs test suites, cheap ones first, and sums up.
//!
//! `unit` is what lies beside the code, `fuzz` has a file of its own; the others are the binaries of
//! the `tests` member. A suite that drives a daemon gets the path of one in `GATEWAY_DAEMON_BIN`, and
//! that of the demo program of `cargo xtask run` in `GATEWAY_DEMO_BIN`; `icount` gets that of a daemon
//! as it is shipped in `GATEWAY_RELEASE_BIN`. A suite that needs root is started through sudo where we
//! are not root, and fails where there is no sudo either. The last line printed is the sum over all
//! suites: `N passed, N failed`.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::command::{self, Privilege, say};
use crate::{build, fuzz, setup};

/// What to test.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Suites to run; all of them if none is named
    suites: Vec<Suite>,
    /// Write expected values anew where a suite has them, instead of comparing (icount)
    #[arg(long)]
    bless: bool,
    /// Arguments for the test binaries, such as a name to filter by
    #[arg(last = true)]
    binary: Vec<String>,
}

/// The same packages and features for every call of cargo, so that dependencies are built once.
pub(crate) const ALL_PACKAGES: &[&str] = &["--workspace", "--features", "xtask/demo"];

/// A group of tests with the same needs, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Suite {
    /// Tests beside the code; no privilege
    Unit,
    /// Kernel programs run on packets, through the verifier
    Kernel,
    /// A daemon in network namespaces, asked by curl
    E2e,
    /// Recorded behaviour of Envoy and the specifications
    Conformance,
    /// Instructions per request against a budget
    Icount,
    /// A minute for each fuzz target, where there is a nightly toolchain
    Fuzz,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Kernel => "kernel",
            Self::E2e => "e2e",
            Self::Conformance => "conformance",
            Self::Icount => "icount",
            Self::Fuzz => "fuzz",
        }
    }

    /// What `cargo test` is told, in one call or several.
    fn calls(self) -> Vec<Vec<&'static str>> {
        match self {
            Self::Unit => vec![
                [ALL_PACKAGES, &["--exclude", "gateway-tests"]].concat(),
                vec!["--package", "gateway-tests", "--lib"],
            ],
            Self::E2e => vec![[ALL_PACKAGES, &["--test", "e2e", "--test", "readme"]].concat()],
            Self::Kernel | Self::Conformance | Self::Icount => {
                vec![[ALL_PACKAGES, &["--test", self.name()]].concat()]
            }
            Self::Fuzz => vec![],
        }
    }

    /// Whether it loads programs into the kernel or makes network namespaces.
    fn needs_root(self) -> bool {
        matches!(self, Self::Kernel | Self::E2e)
    }

    fn needs_daemon(self) -> bool {
        matches!(self, Self::E2e | Self::Conformance)
    }
}

/// Sets up, runs the suites and prints the sum.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    setup::run()?;
    let mut suites = options.suites.clone();
    if suites.is_empty() {
        suites = Suite::value_variants().to_vec();
    }
    suites.sort_unstable();
    suites.dedup();

    let mut programs = Vec::new();
    if suites.contains(&Suite::Icount) {
        say("building the daemon as it is shipped");
        programs.push(("GATEWAY_RELEASE_BIN", build::daemon(&[])?));
    }
    if options.bless {
        programs.push(("GATEWAY_BLESS", "yes".into()));
    }
    if suites.iter().any(|suite| suite.needs_daemon()) {
        say("building the programs under test");
        let (daemon, demo) = build::under_test()?;
        programs.extend([("GATEWAY_DAEMON_BIN", daemon), ("GATEWAY_DEMO_BIN", demo)]);
    }
    let privilege = Privilege::find();
    let mut results = Vec::new();
    for suite in suites {
        eprintln!("\n===== {} =====", suite.name());
        let result = run_suite(suite, privilege, &programs, &options.binary)?;
        results.push((suite, result));
    }
    println!();
    for (suite, result) in &results {
        println!("{:12} {result}", suite.name());
    }
    let sum = results.iter().fold(Tally::default(), |sum, (_, result)| sum.plus(*result));
    println!("{} passed, {} failed", sum.passed, sum.failed);
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_suite(
    suite: Suite,
    privilege: Privilege,
    programs: &[(&str, PathBuf)],
    binary: &[String],
) -> Result<Tally> {
    if suite == Suite::Fuzz {
        return fuzz::run(binary);
    }
    let mut tally = Tally::default();
    if suite.needs_root() && privilege == Privilege::None {
        say(&format!(
            "suite {} loads BPF programs and makes network namespaces: it needs root \
             (CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF), and here is neither root nor a usable sudo",
            suite.name()
        ));
        tally.failed += 1;
        return Ok(tally);
    }
    for words in suite.calls() {
        let mut cargo = command::cargo(["test", "--no-fail-fast"]);
        cargo.args(words);
        cargo.envs(programs.iter().map(|(name, path)| (name, path)));
        if suite.needs_root() && privilege == Privilege::Sudo {
            // Cargo builds as the user; only the test binary runs as root.
            let runner = privilege.prefix().unwrap_or_default().join(" ");
            cargo.env(runner_variable(), runner);
        }
        tally = tally.plus(run_cargo_test(cargo.arg("--").args(binary))?);
    }
    Ok(tally)
}

/// The variable by which cargo is told to start binaries of this machine's target through another
/// program.
pub(crate) fn runner_variable() -> String {
    let architecture = std::env::consts::ARCH.to_uppercase();
    format!("CARGO_TARGET_{architecture}_UNKNOWN_LINUX_GNU_RUNNER")
}

/// Runs one cargo command, passing its output on and adding up the result lines in it.
fn run_cargo_test(cargo: &mut Command) -> Result<Tally> {
    let line = command::line(cargo);
    let mut child = cargo.stdout(Stdio::piped()).spawn().with_context(|| line.clone())?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).split(b'\n') {
            let text = text.with_context(|| format!("reading from `{line}`"))?;
            let text = String::from_utf8_lossy(&text);
            println!("{text}");
            tally = tally.plus(Tally::of_line(&text).unwrap_or_default());
        }
    }
    let status = child.wait().with_context(|| line.clone())?;
    if !status.success() && tally.failed == 0 {
        // It did not build, or a binary died: no result line tells of that.
        say(&format!("`{line}` ended with {status}"));
        tally.failed += 1;
    }
    Ok(tally)
}

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// What the sum says besides.
    note: Option<&'static str>,
}

impl Tally {
    /// Some that passed.
    pub(crate) fn passed(passed: u64) -> Self {
        Self { passed, ..Self::default() }
    }

    /// Some that failed.
    pub(crate) fn failed(failed: u64) -> Self {
        Self { failed, ..Self::default() }
    }

    /// None, for this reason.
    pub(crate) fn not_run(note: &'static str) -> Self {
        Self { note: Some(note), ..Self::default() }
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let mut tally = Self::default();
        for count in counts.split("; ") {
            let (number, what) = count.split_once(' ')?;
            let field = match what {
                "passed" => &mut tally.passed,
                "failed" => &mut tally.failed,
                "ignored" => &mut tally.ignored,
                _ => continue,
            };
            *field = number.parse().ok()?;
        }
        Some(tally)
    }

    /// Both together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            note: self.note.or(other.note),
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(out, ", {} ignored", self.ignored)?;
        }
        if let Some(note) = self.note {
            write!(out, ", {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_read() {
        let line = "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(
            Tally::of_line(line),
            Some(Tally { passed: 3, failed: 2, ignored: 1, note: None })
        );
        assert_eq!(Tally::of_line("test result: ok. some passed; 0 failed"), None);
        assert_eq!(Tally::of_line("running 3 tests"), None);
    }

    #[test]
    fn a_command_that_dies_without_a_result_counts_as_failed() -> Result<()> {
        let tally = run_cargo_test(&mut Command::new("false"))?;
        assert_eq!(tally, Tally { failed: 1, ..Tally::default() });
        Ok(())
    }

    #[test]
    fn suites_run_cheap_ones_first() {
        let names: Vec<_> = Suite::value_variants().iter().map(|suite| suite.name()).collect();
        assert_eq!(names, ["unit", "kernel", "e2e", "conformance", "icount", "fuzz"]);
    }
}
