//! Programs that are run to their end, with their output kept.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Runs a program; an error shows the whole line and what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).output();
    let output = output.with_context(|| format!("cannot start `{program}`"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}`: {}\n{text}{errors}", arguments.join(" "), output.status);
    }
    Ok(text)
}
