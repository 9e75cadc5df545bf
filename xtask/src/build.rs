//! `cargo xtask build`: the daemon with the kernel object inside, in release mode.
//!
//! The daemon's build script builds the kernel object; this command only makes sure that it could.

use std::path::PathBuf;

use anyhow::Result;

use crate::{command, setup, workspace};

/// What to build.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments for cargo build
    #[arg(last = true)]
    cargo: Vec<String>,
}

/// Sets up, then builds.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    let daemon = daemon(Profile::Release, &options.cargo)?;
    command::say(&format!("built {}", daemon.display()));
    Ok(())
}

/// How much the compiler optimises.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// Quick to build, with checks of arithmetic; for the tests.
    Dev,
    /// What is shipped.
    Release,
}

/// Builds the daemon and returns its path.
pub(crate) fn daemon(profile: Profile, more: &[String]) -> Result<PathBuf> {
    let words = ["--package", "gateway-daemon"];
    let program = program(profile, "gateway-daemon", words, more)?;
    Ok(program)
}

/// Builds the program that `run` starts and returns its path.
pub(crate) fn demo(profile: Profile) -> Result<PathBuf> {
    program(profile, "demo", ["--package", "xtask", "--bin", "demo", "--features", "demo"], &[])
}

fn program<const N: usize>(
    profile: Profile,
    name: &str,
    words: [&str; N],
    more: &[String],
) -> Result<PathBuf> {
    let mut cargo = command::cargo(["build"]);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            cargo.arg("--release");
            "release"
        }
    };
    command::run(cargo.args(words).args(more))?;
    Ok(workspace::target_dir()?.join(folder).join(name))
}
