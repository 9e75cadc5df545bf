//! `cargo xtask build`: the daemon with the kernel object inside, in release mode.
//!
//! The daemon's build script builds the kernel object; this command makes sure that it could,
//! and that what it built is in the daemon and no stub.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{command, setup, workspace};

/// Where the daemon's build script leaves the kernel object, whatever the target directory.
const KERNEL_OBJECT: &str = "target/bpf/bpfel-unknown-none/release/gateway";

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

/// Builds the daemon, makes sure that the kernel object is inside, and returns its path.
pub(crate) fn daemon(profile: Profile, more: &[String]) -> Result<PathBuf> {
    let daemon = program(profile, "gateway-daemon", ["--package", "gateway-daemon"], more)?;
    let object = read(&workspace::root().join(KERNEL_OBJECT)).context(
        "the daemon's build script did not build the kernel object; set-up is complete, \
                  so its warnings above tell why",
    )?;
    if !contains(&read(&daemon)?, &object) {
        bail!("{} was built without the kernel object {KERNEL_OBJECT}", daemon.display());
    }
    Ok(daemon)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

fn contains(program: &[u8], object: &[u8]) -> bool {
    let Some(first) = object.first() else { return false };
    let mut starts = program.iter().enumerate().filter(|(_, byte)| *byte == first);
    starts.any(|(at, _)| program[at..].starts_with(object))
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

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn an_object_is_found_only_whole() {
        let table = [
            ("inside", &b"abcabd-"[..], &b"abd"[..], true),
            ("at the end", b"xxabd", b"abd", true),
            ("in part", b"xxab", b"abd", false),
            ("a stub", b"abd", b"", false),
        ];
        for (name, program, object, expected) in table {
            assert_eq!(contains(program, object), expected, "{name}");
        }
    }
}
