//! Subcommands, each wired to what does it.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::bpf::{self, BpfError};
use crate::cli::Command;
use crate::counters::Regions;
use crate::{admin, control, telemetry};

/// Does what the command line says.
pub fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            telemetry::start(&arguments.log)?;
            super::run(&arguments.settings())?;
        }
        Command::Check(arguments) => {
            let config = &arguments.config;
            let checked = control::check::run(&config.config, &config.ignore_kind);
            print!("{}", checked.render());
            if !checked.is_good() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Stats(arguments) => {
            let regions = pinned(&arguments.pin.pin_directory)?;
            admin::stats::print(&regions, arguments.json, arguments.watch)?;
        }
        Command::Unload(arguments) => {
            for path in bpf::unload(&arguments.pin.pin_directory)? {
                println!("removed {}", path.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The counters of a daemon, running or not.
fn pinned(directory: &Path) -> Result<Regions, BpfError> {
    Regions::open(|map| bpf::pinned_region(directory, map))
}
