//! What `cargo xtask run` starts: the demo backend, and the daemon before it.
//!
//! A program of its own, because it needs an HTTP server and a certificate maker that no other
//! command of xtask should pay for; and because it may have to run as root, which a build must not.
//! It ends with SIGINT or SIGTERM, or when the daemon does, and leaves nothing behind: the daemon
//! is asked to stop, and pins that were not there before are removed.

mod backend;
mod certificate;
mod daemon;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use daemon::Daemon;

/// The backend and the daemon of `cargo xtask run`.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make the certificate of the HTTPS listener, as a Secret, if it is not there
    Certificate {
        /// The folder of the manifests
        examples: PathBuf,
    },
    /// Serve until stopped
    Serve {
        /// The daemon's program
        #[arg(long)]
        daemon: PathBuf,
        /// The folder of the manifests
        #[arg(long)]
        examples: PathBuf,
        /// Arguments for the daemon
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Certificate { examples } => certificate::make(&examples),
        Command::Serve { daemon, examples, arguments } => {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start the runtime")
                .and_then(|runtime| runtime.block_on(serve(daemon, examples, arguments)))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(program: PathBuf, examples: PathBuf, arguments: Vec<String>) -> Result<()> {
    // Signals are caught before anything is started that they must stop.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let backend = backend::bind()?;
    tokio::spawn(backend::serve(backend));

    let mut daemon = Daemon::start(&program, &examples, &arguments)?;
    let ready = tokio::select! {
        ready = daemon.ready() => ready,
        _ = interrupt.recv() => Ok(false),
        _ = terminate.recv() => Ok(false),
    };
    if matches!(ready, Ok(true)) {
        print!("{}", things_to_try(&program));
        tokio::select! {
            () = daemon.ended() => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
    let stopped = daemon.stop().await;
    ready.and(stopped)
}

/// The lines that README shows too, with the daemon where it really lies.
fn things_to_try(program: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = program.strip_prefix(here).unwrap_or(program);
    let words = program.display().to_string();
    include_str!("try.txt").replace("target/release/gateway-daemon", &words)
}
