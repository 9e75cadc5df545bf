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

/// The daemon as it is shipped: `GATEWAY_RELEASE_BIN`, as `cargo xtask test` sets it.
pub fn release_daemon_binary() -> Result<PathBuf> {
    let path = std::env::var_os("GATEWAY_RELEASE_BIN")
        .context("GATEWAY_RELEASE_BIN is not set: run this with `cargo xtask test icount`")?;
    Ok(PathBuf::from(path))
}

/// Whether expected values are to be written anew: `cargo xtask test --bless`.
pub fn blesses() -> bool {
    std::env::var_os("GATEWAY_BLESS").is_some()
}

/// Whether this is continuous integration, where nothing may be absent.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some()
}
