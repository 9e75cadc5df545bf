//! `cargo xtask ci`: everything a change must pass, cheap checks first.
//!
//! `.ci/run` and the workflow file only call this. It ends with the summary of `cargo xtask test`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::command::{self, say};
use crate::{setup, test, tidy, workspace};

/// What cargo checks; `doc` for links in documentation that lead nowhere.
const CARGO_CHECKS: &[&str] = &[
    "fmt --all --check",
    "clippy --workspace --all-targets --features xtask/demo --locked -- -D warnings",
    // The kernel half as far as the host's compiler can read it; it does not unwind.
    "clippy --package gateway-ebpf --features bpf --bin gateway --locked \
     --config profile.dev.panic='abort' -- -D warnings",
    "doc --workspace --no-deps --locked",
];

/// Runs all of it.
pub(crate) fn run() -> Result<ExitCode> {
    setup::run()?;
    tidy::run()?;
    for check in CARGO_CHECKS {
        let mut cargo = command::cargo(check.split_whitespace());
        say(&format!("cargo {check}"));
        command::run(cargo.env("RUSTDOCFLAGS", "-D warnings"))?;
    }
    deny()?;
    test::run(&test::Options::default())
}

/// Licences, duplicate versions and sources of all crates; known vulnerabilities too where their
/// database can be had.
fn deny() -> Result<()> {
    let program = setup::cargo_deny()?;
    let with_database = command::output(cargo_deny(&program).args(["fetch", "db"])).is_some();
    let mut check = cargo_deny(&program);
    check.args(["check", "bans", "licenses", "sources"]);
    if with_database {
        check.arg("advisories");
    } else {
        say(
            "the advisory database cannot be fetched from here: known vulnerabilities go unchecked",
        );
    }
    say(&command::line(&check));
    command::run(&mut check)
}

fn cargo_deny(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--config", ".cargo/deny.toml"]).current_dir(workspace::root());
    command
}
