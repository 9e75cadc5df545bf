//! The build system, in Rust: `cargo xtask <command>`.
//!
//! One file per command; `workspace` knows paths and pinned versions, `command` runs programs. Every
//! command pays for compiling this crate, so it depends on clap and anyhow only. Whatever needs more
//! (the demo backend of `run`) is a program of its own.

mod bench;
mod build;
mod ci;
mod command;
mod dist;
mod fuzz;
mod run;
mod setup;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The build system of the gateway.
#[derive(Parser)]
#[command(bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install what the build and the tests need
    Setup,
    /// Build the kernel object and the daemon, in release mode
    Build(build::Options),
    /// Build the daemon for shipping: compiled twice, laid out by what load in between showed
    Dist,
    /// Build, then serve the quickstart with a demo backend until Ctrl-C
    Run(run::Options),
    /// Run the test suites: unit, kernel, e2e, conformance, icount and fuzz, or those named
    Test(test::Options),
    /// Measure what a request costs, this gateway and others side by side
    Bench(bench::Options),
    /// Check the rules that no lint can express: layers, unsafe, docs, links
    Tidy,
    /// Run what a change must pass: format, lints, tidy, licences, then all tests
    Ci,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Command::Build(options) => build::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Dist => dist::run().map(|()| ExitCode::SUCCESS),
        Command::Run(options) => run::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options).map(|()| ExitCode::SUCCESS),
        Command::Tidy => tidy::run().map(|()| ExitCode::SUCCESS),
        Command::Ci => ci::run(),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
