//! Gateways side by side on one machine: what a request costs each of them. `cargo xtask bench`
//! builds this program, installs the others, and starts it as root; `docs/benchmarks.md` says what
//! it measures.

mod check;
mod client;
mod clock;
mod compare;
mod document;
mod field;
mod keeper;
mod load;
mod material;
mod memory;
mod micro;
mod noise;
mod once;
mod options;
mod peer;
mod picture;
mod process;
mod profile;
mod relay;
mod reload;
mod results;
mod room;
mod run;
mod scenario;
mod shell;
mod start;
mod stats;
mod table;
mod turns;
mod upstream;
mod verdict;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use options::Options;
use peer::Programs;

#[derive(Parser)]
#[command(bin_name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, in namespaces of its own
    Run(RunArgs),
    /// Print the tables of a file of results
    Report {
        /// The file
        file: PathBuf,
        /// Write its figures into the documents of this folder
        #[arg(long)]
        document: Option<PathBuf>,
    },
    /// Print the tables of the micro benchmarks
    Micro {
        /// Where criterion left what it measured
        home: PathBuf,
        /// Write them into the documents of this folder
        #[arg(long)]
        document: Option<PathBuf>,
    },
    /// Compare two files of results
    Compare {
        /// The older one
        before: PathBuf,
        /// The newer one
        after: PathBuf,
    },
    /// Measure; the first process of its namespaces
    #[command(hide = true)]
    Inside(RunArgs),
    /// Answer the gateways' requests
    #[command(hide = true)]
    Upstream {
        /// Where to listen
        addresses: Vec<SocketAddr>,
    },
    /// Move bytes
    #[command(hide = true)]
    Relay {
        /// Where to listen
        listen: SocketAddr,
        /// Where to
        upstream: SocketAddr,
    },
    /// Make load
    #[command(hide = true)]
    Client {
        /// Of which kind
        #[command(subcommand)]
        kind: client::Client,
    },
}

#[derive(clap::Args)]
struct RunArgs {
    /// Where other programs lie
    #[command(flatten)]
    programs: Programs,
    /// Where keys, configurations, logs and results go
    #[arg(long)]
    folder: PathBuf,
    /// What the user said
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    let done = match Cli::parse_from(&words).command {
        Command::Run(arguments) => begin(&arguments, words),
        Command::Report { file, document } => {
            run::report(&file, document.as_deref()).map(|()| ExitCode::SUCCESS)
        }
        Command::Micro { home, document } => {
            micro::report(&home, document.as_deref()).map(|()| ExitCode::SUCCESS)
        }
        Command::Compare { before, after } => {
            compare::compare(&before, &after).map(|()| ExitCode::SUCCESS)
        }
        Command::Inside(arguments) => inside(arguments).map(|()| ExitCode::SUCCESS),
        Command::Upstream { addresses } => upstream::serve(&addresses).map(|()| ExitCode::SUCCESS),
        Command::Relay { listen, upstream } => {
            relay::serve(listen, upstream).map(|()| ExitCode::SUCCESS)
        }
        Command::Client { kind } => client::run(&kind).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Starts over in namespaces of its own.
fn begin(arguments: &RunArgs, words: Vec<OsString>) -> Result<ExitCode> {
    // What cannot be measured is said before anything is started.
    run::chosen(&profile::without_word(&arguments.options).unwrap_or(arguments.options.clone()))?;
    let mut inside = vec![OsString::from("inside")];
    inside.extend(words.into_iter().skip(2));
    keeper::keep(&inside)
}

fn inside(arguments: RunArgs) -> Result<()> {
    keeper::settle()?;
    let RunArgs { programs, folder, options } = arguments;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    // Gateways have folders of their own, and take paths from there.
    let folder = folder.canonicalize().with_context(|| folder.display().to_string())?;
    if let Some(options) = profile::without_word(&options) {
        return profile::run(&options, programs, &folder);
    }
    let into = options.into.clone().unwrap_or_else(|| run::default_file(&folder));
    run::run(&options, programs, &folder, &into)
}
