//! `cargo xtask bench packets`: what a packet costs, and what the kernel half holds off.
//!
//! The program that measures is a benchmark of the tests (`tests/kernel_bench/`), because it runs the
//! programs as the kernel tests do. `docs/packets.md` says what is measured and shows what was found.

use anyhow::{Result, bail, ensure};

use super::{Options, Profile};
use crate::command::{self, Privilege};
use crate::{build, setup, test, workspace};

/// The word for it among scenarios; sections may follow.
pub(super) const NAME: &str = "packets";

pub(super) fn run(options: &Options, sections: &[String]) -> Result<()> {
    ensure!(
        !(options.quick || options.twice)
            && options.profile == Profile::Release
            && options.peers.is_empty(),
        "{NAME} takes --rounds, --into and --document only"
    );
    setup::run()?;
    if command::find("nft").is_none() {
        setup::packages(&["nftables".to_owned()])?;
    }
    let daemon = build::daemon(&[])?;
    let mut cargo = command::cargo(["bench", "--package", "gateway-tests", "--bench", "kernel"]);
    cargo.env("GATEWAY_DAEMON_BIN", daemon);
    match Privilege::find().prefix() {
        // Cargo builds as the user; only the program runs as root.
        Some(prefix) if !prefix.is_empty() => {
            cargo.env(test::runner_variable(), prefix.join(" "));
        }
        Some(_) => {}
        None => bail!("measuring packets needs root, and here is neither root nor a usable sudo"),
    }
    cargo.arg("--").args(sections).args(["--rounds", &options.rounds.to_string()]);
    if let Some(file) = &options.into {
        cargo.arg("--into").arg(std::path::absolute(file)?);
    }
    if options.document {
        cargo.arg("--document").arg(workspace::root().join("docs"));
    }
    command::run(&mut cargo)
}
