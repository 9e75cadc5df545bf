//! Load of our own, for what wrk and h2load do not do: a full handshake for every request, each
//! token exactly once, thousands of idle connections, and the time of every single answer.
//!
//! A client is a process of its own, frozen and thawed like wrk. It tells what came of it in one
//! line of JSON, when it is through or when its standard input ends.

mod engine;
mod idle;
mod tls;
mod transport;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

/// What a client asks for, and how.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Target {
    /// Address of the gateway's port.
    pub(crate) address: SocketAddr,
    /// Path of every request.
    pub(crate) path: String,
    /// Speak TLS.
    #[arg(long)]
    pub(crate) tls: bool,
    /// Connections at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// A file with a token per line.
    #[arg(long)]
    pub(crate) tokens: Option<PathBuf>,
}

/// The kinds of load.
#[derive(clap::Subcommand, Clone, Debug)]
pub(crate) enum Client {
    /// A new connection for every request, until standard input ends.
    Handshakes {
        /// To whom.
        #[command(flatten)]
        target: Target,
        /// Resume sessions.
        #[arg(long)]
        resume: bool,
    },
    /// Every token once, on connections that stay.
    Once {
        /// To whom.
        #[command(flatten)]
        target: Target,
        /// So many tokens of the file at most.
        #[arg(long)]
        most: usize,
    },
    /// Requests on connections that stay, until standard input ends; the time of every answer goes
    /// to a file.
    Timed {
        /// To whom.
        #[command(flatten)]
        target: Target,
        /// Lines of two numbers: when, in microseconds since 1970, and how many of them it took.
        #[arg(long)]
        log: PathBuf,
    },
    /// Connections that have had one answer each, held until standard input ends.
    Idle {
        /// To whom.
        #[command(flatten)]
        target: Target,
    },
}

/// What came of a load.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Report {
    /// Answers as expected: 200.
    pub(crate) answered: u64,
    /// Other answers, and connections that failed.
    pub(crate) failed: u64,
    /// Full handshakes.
    pub(crate) full: u64,
    /// Resumed ones.
    pub(crate) resumed: u64,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    /// Half of the answers came within these microseconds.
    pub(crate) p50_us: f64,
    /// 99 % came within these.
    pub(crate) p99_us: f64,
    /// What the first failure was.
    pub(crate) first_failure: Option<String>,
}

/// Runs a load to its end.
pub(crate) fn run(client: &Client) -> Result<()> {
    let report = match client {
        Client::Handshakes { target, resume } => engine::handshakes(target, *resume)?,
        Client::Once { target, most } => engine::once(target, *most)?,
        Client::Timed { target, log } => engine::timed(target, log)?,
        Client::Idle { target } => return idle::hold(target),
    };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
