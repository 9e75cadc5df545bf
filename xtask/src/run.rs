//! `cargo xtask run`: builds, then hands over to the demo program, as root.
//!
//! Everything is built as the user. What follows (backend, daemon, their end) is the demo program's,
//! which takes the place of this process, so that signals reach it whoever sends them.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{self, Privilege};
use crate::{build, setup, workspace};

/// How to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments for the daemon
    #[arg(last = true)]
    daemon: Vec<String>,
}

/// Sets up, builds, and becomes the demo program; returns only if that fails.
pub(crate) fn run(options: &Options) -> Result<()> {
    setup::run()?;
    let daemon = build::daemon(&[])?;
    let demo = build::demo()?;
    let examples = PathBuf::from("examples/quickstart");
    let mut certificate = Command::new(&demo);
    certificate.arg("certificate").arg(&examples).current_dir(workspace::root());
    command::run(&mut certificate)?;

    let prefix = Privilege::find().prefix().with_context(|| {
        "the daemon loads programs into the kernel: it needs root (CAP_BPF, CAP_NET_ADMIN, \
         CAP_PERFMON), and here is neither root nor a usable sudo"
    })?;
    let mut words = prefix.iter().map(Into::into).chain([demo.into_os_string()]);
    let mut serve = Command::new(words.next().unwrap_or_default());
    serve.args(words).arg("serve").arg("--daemon").arg(daemon).arg("--examples").arg(examples);
    serve.arg("--").args(&options.daemon).current_dir(workspace::root());
    let line = command::line(&serve);
    Err(serve.exec()).with_context(|| format!("cannot start `{line}`"))
}
