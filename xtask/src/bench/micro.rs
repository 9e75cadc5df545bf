//! `cargo xtask bench micro`: what parts of the daemon cost by themselves.
//!
//! The benchmarks are criterion's, in `gateway-daemon/benches/micro/`; the program that compares gateways
//! reads what they leave behind and makes the tables of `docs/performance.md`.

use std::io::ErrorKind;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::{Options, Profile};
use crate::{build, command, setup, workspace};

/// The word for it among scenarios.
pub(super) const NAME: &str = "micro";
/// Seconds for each of some 60 benchmarks, so that all of them take four minutes.
const TIMES: [&str; 4] = ["--warm-up-time", "1", "--measurement-time", "2"];

pub(super) fn run(options: &Options, names: &[String]) -> Result<()> {
    ensure!(
        names.is_empty()
            && !(options.quick || options.twice)
            && options.profile == Profile::Release
            && options.peers.is_empty()
            && options.into.is_none(),
        "{NAME} takes --document only; one by name is measured by \
         `cargo bench -p gateway-daemon --bench {NAME} -- NAME`"
    );
    setup::run()?;
    let program = build::bench()?;
    let home = workspace::target_dir()?.join("bench").join(NAME);
    // What an earlier run found, of benchmarks that are gone.
    match std::fs::remove_dir_all(&home) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| home.display().to_string());
        }
        _ => {}
    }
    let mut cargo = command::cargo(["bench", "--package", "gateway-daemon", "--bench", NAME]);
    cargo.env("CRITERION_HOME", &home).args(["--", "--noplot"]).args(TIMES);
    command::run(&mut cargo)?;
    let mut report = Command::new(program);
    report.arg(NAME).arg(&home);
    if options.document {
        report.arg("--document").arg(workspace::root().join("docs"));
    }
    command::run(&mut report)
}
