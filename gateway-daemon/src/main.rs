//! Parses the command line and calls the library.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use gateway_daemon::cli::{Cli, Command};
use gateway_daemon::{admin, app, bpf, control, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gateway-daemon: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            telemetry::start(&arguments.log)?;
            app::run(&arguments.settings())?;
        }
        Command::Check(arguments) => {
            let checked =
                control::check::run(&arguments.config.config, &arguments.config.ignore_kind);
            print!("{}", checked.render());
            if !checked.is_good() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Stats(arguments) => {
            admin::stats::print(&arguments.pin.pin_directory, arguments.json, arguments.watch)?;
        }
        Command::Unload(arguments) => {
            for path in bpf::unload(&arguments.pin.pin_directory)? {
                println!("removed {}", path.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
