//! Parses the command line and calls the library.

use std::process::ExitCode;

use clap::Parser;
use gateway_daemon::app;
use gateway_daemon::cli::Cli;
use gateway_daemon::sys::allocator::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    match app::dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gateway-daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}
