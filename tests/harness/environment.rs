//! What the test runner tells by environment.
#![expect(clippy::disallowed_methods, reason = "tests have no settings.rs")]

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The daemon under test: `GATEWAY_DAEMON_BIN`, as `cargo xtask test` sets it.
pub fn daemon_binary() -> Result<PathBuf> {
    let path = std::env::var_os("GATEWAY_DAEMON_BIN")
        .context("GATEWAY_DAEMON_BIN is not set: run these tests with `cargo xtask test`")?;
    Ok(PathBuf::from(path))
}

/// Whether this is continuous integration, where nothing may be absent.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}
