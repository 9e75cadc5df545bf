//! `cargo xtask build`: the daemon with the kernel object inside, in release mode.
//!
//! The daemon's build script builds the kernel object; this command makes sure that it could,
//! and that what it built is in the daemon and no stub.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{command, setup, test, workspace};

const ELF_MAGIC: &[u8] = b"\x7fELF";
/// The machine of an ELF file for BPF, little endian.
const EM_BPF: [u8; 2] = [247, 0];

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
    let daemon = daemon(&options.cargo)?;
    command::say(&format!("built {}", daemon.display()));
    Ok(())
}

/// Builds the daemon for shipping, makes sure that the kernel object is inside, and returns its path.
pub(crate) fn daemon(more: &[String]) -> Result<PathBuf> {
    let mut cargo = command::cargo(["build", "--release", "--package", "gateway-daemon"]);
    command::run(cargo.args(more))?;
    built("release", "gateway-daemon").and_then(with_kernel_object)
}

/// Builds the program that `run` starts and returns its path.
pub(crate) fn demo() -> Result<PathBuf> {
    let package = ["--package", "xtask", "--bin", "demo", "--features", "demo"];
    command::run(command::cargo(["build", "--release"]).args(package))?;
    built("release", "demo")
}

/// Builds the program that measures and returns its path.
pub(crate) fn bench() -> Result<PathBuf> {
    let package = ["--package", "gateway-bench", "--bin", "bench"];
    command::run(command::cargo(["build", "--release"]).args(package))?;
    built("release", "bench")
}

/// Builds daemon and demo program for the tests, quickly and with checks of arithmetic, and returns
/// their paths in this order.
pub(crate) fn under_test() -> Result<(PathBuf, PathBuf)> {
    // The packages and features of the test suites, so that dependencies are built once.
    let programs = ["--bin", "gateway-daemon", "--bin", "demo"];
    command::run(command::cargo(["build"]).args(test::ALL_PACKAGES).args(programs))?;
    Ok((built("debug", "gateway-daemon").and_then(with_kernel_object)?, built("debug", "demo")?))
}

fn built(folder: &str, program: &str) -> Result<PathBuf> {
    Ok(workspace::target_dir()?.join(folder).join(program))
}

/// Makes sure that a daemon has the kernel half in it.
pub(crate) fn with_kernel_object(daemon: PathBuf) -> Result<PathBuf> {
    let bytes = std::fs::read(&daemon).with_context(|| daemon.display().to_string())?;
    if !has_kernel_object(&bytes) {
        bail!(
            "{} was built without the kernel half; the warnings of its build script tell why",
            daemon.display()
        );
    }
    Ok(daemon)
}

/// Whether a program contains an object file for BPF.
fn has_kernel_object(program: &[u8]) -> bool {
    // In an ELF header the machine follows the identification and the type.
    let machine = 18;
    let starts = program.iter().enumerate().filter(|(_, byte)| **byte == ELF_MAGIC[0]);
    starts.map(|(at, _)| &program[at..]).any(|header| {
        header.starts_with(ELF_MAGIC)
            && header.get(machine..).is_some_and(|m| m.starts_with(&EM_BPF))
    })
}

#[cfg(test)]
mod tests {
    use super::has_kernel_object;

    fn header(machine: u8) -> Vec<u8> {
        [b"\x7fELF\x02\x01\x01", &[0; 9][..], &[1, 0, machine, 0]].concat()
    }

    #[test]
    fn a_kernel_object_is_known_by_its_header() {
        let (host, bpf) = (62, 247);
        let table = [
            ("a program with an object", [header(host), vec![7, 0x7f], header(bpf)].concat(), true),
            ("a program with a stub", [header(host), vec![0; 64]].concat(), false),
            ("a header cut short", header(bpf)[..18].to_vec(), false),
            ("nothing", vec![], false),
        ];
        for (name, program, expected) in table {
            assert_eq!(has_kernel_object(&program), expected, "{name}");
        }
    }
}
