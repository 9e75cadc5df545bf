//! Subcommands, each wired to what does it.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::bpf::{self, BpfError};
use crate::cli::Command;
use crate::cli::generate::GenerateCommand;
use crate::cli::tools::TokenCommand;
use crate::counters::{self, Regions};
use crate::model::topology::Proxies;
use crate::sys::memory;
use crate::{admin, control, doctor, telemetry, tools};

/// Does what the command line says.
pub fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(arguments) => {
            telemetry::start(&arguments.log)?;
            if let Err(error) = memory::small_pages() {
                tracing::warn!(%error, "memory comes in large pages: more of it is used");
            }
            super::run(&arguments.settings())?;
        }
        Command::Check(arguments) => {
            let config = &arguments.config;
            let proxies = Proxies::new(&config.trusted_proxy);
            let checked = control::check::run(&config.config, &config.ignore_kind, proxies);
            print!("{}", checked.render());
            if !checked.is_good() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Stats(arguments) => {
            let directory = &arguments.pin.pin_directory;
            let regions = pinned(directory)?;
            if arguments.audit {
                let audit = counters::audit(&regions);
                print(arguments.json.then(|| format!("{:#}", audit.json())), &audit);
                return Ok(status(audit.holds()));
            }
            let attached = || bpf::pinned_attachments(directory);
            admin::stats::print(&regions, &attached, arguments.json, arguments.watch)?;
        }
        Command::Doctor(arguments) => {
            let report = doctor::examine(&arguments);
            print(arguments.json.then(|| format!("{:#}", report.json())), &report);
            return Ok(status(report.is_good()));
        }
        Command::Explain(arguments) => {
            let explanation = tools::explain::run(&arguments)?;
            print(arguments.json.then(|| explanation.json()).transpose()?, &explanation);
            return Ok(status(explanation.is_forwarded()));
        }
        Command::Token(TokenCommand::Inspect(arguments)) => {
            let inspection = tools::inspect::run(&arguments)?;
            print(arguments.json.then(|| inspection.json()).transpose()?, &inspection);
            return Ok(status(inspection.is_good()));
        }
        Command::Verify(arguments) => {
            let verified = tools::verify::run(&arguments)?;
            print(arguments.json.then(|| verified.json()).transpose()?, &verified);
            return Ok(status(verified.is_good()));
        }
        Command::Generate(GenerateCommand::Jwt(arguments)) => {
            let (mut answers, mut questions) = (io::stdin().lock(), io::stderr());
            print!("{}", tools::generate::jwt(&arguments, &mut answers, &mut questions)?);
        }
        Command::Bans(command) => return super::bans_command::run(command),
        Command::Unload(arguments) => {
            for path in bpf::unload(&arguments.pin.pin_directory)? {
                println!("removed {}", path.display());
            }
            for address in super::routes::unload(&arguments.pin.pin_directory)? {
                println!("removed the local route of {address}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The counters of a daemon, running or not.
fn pinned(directory: &Path) -> Result<Regions, BpfError> {
    Regions::open(|map| bpf::pinned_region(directory, map))
}

/// Prints JSON where it was asked for, else the text.
fn print(json: Option<String>, text: &impl std::fmt::Display) {
    match json {
        Some(json) => println!("{json}"),
        None => print!("{text}"),
    }
}

fn status(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
