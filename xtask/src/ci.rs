//! `cargo xtask ci`: everything a change must pass, cheap checks first.
//!
//! `.ci/run` and the workflow file only call this. It ends with the summary of `cargo xtask test`.

use std::process::ExitCode;

use anyhow::Result;

use crate::{command, setup, test};

/// Runs all of it.
pub(crate) fn run() -> Result<ExitCode> {
    setup::run()?;
    for check in CHECKS {
        command::say(&format!("cargo {}", check.join(" ")));
        command::run(&mut command::cargo(*check))?;
    }
    test::run(&test::Options::default())
}

const CHECKS: &[&[&str]] = &[
    &["fmt", "--all", "--check"],
    &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
];
