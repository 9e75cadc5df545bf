//! Commands of the system, run to the end with their output kept.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Runs a command; an error shows the whole line and what it printed.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = output(program, arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "`{program} {}`: {}\n{text}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(text)
}

/// Runs a command whatever its status.
pub fn output(program: &str, arguments: &[&str]) -> Result<Output> {
    Command::new(program).args(arguments).output().with_context(|| {
        format!(
            "cannot run `{program}`: is it installed? `cargo xtask setup` installs what tests need"
        )
    })
}
