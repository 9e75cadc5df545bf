//! Parses the command line and calls the library.

use std::process::ExitCode;

use clap::Parser;
use gateway_daemon::app;
use gateway_daemon::cli::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match app::dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gateway-daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
