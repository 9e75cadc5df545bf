//! Logs of the daemon itself, by `tracing`, to standard error. Requests are logged by
//! `proxy/access_log.rs`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Why a `--log` value is refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "--log {value:?}: {reason}; use error, warn, info, debug, trace, or a filter such as \"info,gateway_daemon::control=debug\""
)]
pub struct InvalidFilter {
    value: String,
    reason: String,
}

/// Starts logging to standard error.
pub fn start(level: &str) -> Result<(), InvalidFilter> {
    let invalid = |reason: String| InvalidFilter { value: level.to_owned(), reason };
    let filter = EnvFilter::try_new(level).map_err(|error| invalid(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| invalid(error.to_string()))
}
