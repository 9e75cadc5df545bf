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
    let mut arguments = vec!["build", "--package", "gateway-daemon"];
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            arguments.push("--release");
            "release"
        }
    };
    arguments.extend(more.iter().map(String::as_str));
    command::run(&mut command::cargo(arguments))?;
    Ok(workspace::target_dir()?.join(folder).join("gateway-daemon"))
}
