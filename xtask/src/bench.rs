//! `cargo xtask bench`: what a request costs this gateway, and what it costs others.
//!
//! This installs the others, builds the daemon and the program that measures (`tests/bench/`), and
//! becomes that program, as root. What is measured, and how, is in `docs/benchmarks.md`. What the kernel
//! half costs is measured by another program, see `packets`; what parts of the daemon cost, by `micro`.

mod micro;
mod packets;
pub(crate) mod peers;

#[path = "../../tests/bench/src/options.rs"]
mod options;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{self, Privilege};
use crate::{build, dist, setup, workspace};

pub(crate) use options::{Options, Profile};

/// Sets up, builds, and becomes the program that measures; returns only if that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    match options.scenarios.split_first() {
        Some((first, sections)) if first == packets::NAME => {
            return packets::run(options, sections);
        }
        Some((first, names)) if first == micro::NAME => return micro::run(options, names),
        _ => {}
    }
    if !options.compare.is_empty() || options.report.is_some() {
        return read(options);
    }
    setup::run()?;
    let envoy = peers::install()?;
    let daemon = match options.profile {
        Profile::Release => build::daemon(&[])?,
        Profile::Dist => dist::daemon()?,
    };
    let program = build::bench()?;
    let mut words: Vec<OsString> = vec!["run".into()];
    let flag = |name: &str, value: PathBuf| [name.into(), value.into_os_string()];
    words.extend(flag("--envoy", envoy));
    words.extend(flag("--daemon", daemon));
    words.extend(flag("--folder", workspace::target_dir()?.join("bench")));
    words.extend(typed());
    let mut command = as_root(&program, &words)?;
    let line = command::line(&command);
    Err(command.exec()).with_context(|| format!("cannot start `{line}`"))
}

/// Builds the program that measures.
pub(crate) fn program() -> Result<PathBuf> {
    build::bench()
}

/// What takes no measuring.
fn read(options: &Options) -> Result<()> {
    let program = build::bench()?;
    let mut command = Command::new(program);
    match &options.report {
        Some(file) => command.arg("report").arg(file),
        None => command.arg("compare").args(&options.compare),
    };
    if options.document {
        command.arg("--document").arg(workspace::root().join("docs"));
    }
    command::run(&mut command)
}

/// The words that the user typed after `bench`; they were understood here already.
fn typed() -> impl Iterator<Item = OsString> {
    std::env::args_os().skip_while(|word| word != "bench").skip(1)
}

/// The program that measures, as root: namespaces, other people's processes and the kernel half take
/// that.
pub(crate) fn as_root(program: &std::path::Path, words: &[OsString]) -> Result<Command> {
    let prefix = Privilege::find().prefix().with_context(
        || "measuring makes network namespaces: it needs root, and here is neither root nor a usable sudo",
    )?;
    let mut all = prefix.iter().map(OsString::from).chain([program.as_os_str().to_owned()]);
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).args(words).current_dir(workspace::root());
    Ok(command)
}
