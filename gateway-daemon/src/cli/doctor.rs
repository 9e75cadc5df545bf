//! The words of `doctor`: those of `run` that matter to the machine.

use std::path::PathBuf;

use clap::Args;

use super::attach::AttachArgs;
use super::{Admin, DatapathWord, PinArgs, parse_admin};

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Manifests, to see whether their ports are taken.
    #[arg(long, num_args = 1.., value_name = "PATH", env = "GATEWAY_CONFIG", value_delimiter = ',')]
    pub config: Vec<PathBuf>,
    /// Interface that the kernel half will be attached to (repeatable).
    #[arg(
        long,
        value_name = "IF",
        default_value = "lo",
        env = "GATEWAY_INTERFACE",
        value_delimiter = ','
    )]
    pub interface: Vec<String>,
    /// Whether the kernel half is to be used.
    #[arg(long, value_enum, default_value = "ebpf", env = "GATEWAY_DATAPATH")]
    pub datapath: DatapathWord,
    /// Attaching.
    #[command(flatten)]
    pub attach: AttachArgs,
    /// The admin address, or `off`.
    #[arg(long, value_name = "ADDR:PORT|off", default_value = "127.0.0.1:9901", env = "GATEWAY_ADMIN", value_parser = parse_admin)]
    pub admin: Admin,
    /// Open client connections per listener port.
    #[arg(long, value_name = "N", default_value_t = 20_000, env = "GATEWAY_MAX_CONNECTIONS")]
    pub max_connections: u32,
    /// Where.
    #[command(flatten)]
    pub pin: PinArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
