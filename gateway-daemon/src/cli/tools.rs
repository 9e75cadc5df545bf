//! Arguments of the tools for people: raw words.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigArgs;

/// Where keys are that the daemon fetched.
#[derive(Args, Clone, Debug)]
pub struct KeptKeysArgs {
    /// Where the daemon keeps the keys that it fetched: tools fetch none themselves.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/lib/gateway",
        env = "GATEWAY_STATE_DIRECTORY"
    )]
    pub state_directory: PathBuf,
}

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Keys that are not in the files.
    #[command(flatten)]
    pub keys: KeptKeysArgs,
    /// The request: `METHOD URL`, such as `GET https://gw.example.test:8443/productpage`.
    #[arg(long, value_name = "METHOD URL")]
    pub request: String,
    /// A header line `Name: value` (repeatable); `Host` replaces the authority of the URL.
    #[arg(long, value_name = "LINE")]
    pub header: Vec<String>,
    /// A file with a token for `Authorization: Bearer`; `-` is standard input.
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// The address at the other end of the connection: the client's, or a proxy's in front.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub peer: IpAddr,
    /// The client's address as the PROXY header says it, where the port expects one; without it the
    /// header says that the proxy speaks for itself.
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// The listener's port, where it is reached through another one than the URL's.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The gateway's address that the request is sent to, where Gateways have addresses of their own.
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The configuration that the gateway should serve.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Keys that are not in the files.
    #[command(flatten)]
    pub keys: KeptKeysArgs,
    /// The live gateway, such as `https://gw.example.test:8443/productpage`.
    #[arg(long, value_name = "URL")]
    pub url: String,
    /// A file with a valid token; `-` is standard input. Without it the first row is not run.
    #[arg(long, value_name = "PATH")]
    pub token_file: Option<PathBuf>,
    /// A path that wants a token [default: that of the URL].
    #[arg(long, value_name = "PATH")]
    pub path: Option<String>,
    /// A path that wants none.
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub open_path: String,
    /// A header line `Name: value` for every request (repeatable).
    #[arg(long, value_name = "LINE")]
    pub header: Vec<String>,
    /// Connect there, whatever the URL's host resolves to.
    #[arg(long, value_name = "ADDR:PORT")]
    pub connect: Option<SocketAddr>,
    /// The listener's port, where it is reached through another one than the URL's.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Certificates to trust, as PEM, instead of the system's.
    #[arg(long, value_name = "PATH")]
    pub cacert: Option<PathBuf>,
    /// Trust any certificate.
    #[arg(long, conflicts_with = "cacert")]
    pub insecure: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `token` does.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Decode a token and check it against the configuration; exits 1 if no rule accepts it.
    Inspect(InspectArgs),
}

/// Arguments of `token inspect`.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// Manifest files or directories; without them the token is only decoded.
    #[arg(long, num_args = 1.., value_name = "PATH", env = "GATEWAY_CONFIG", value_delimiter = ',')]
    pub config: Vec<PathBuf>,
    /// A kind that is not ours: report and ignore it instead of refusing (repeatable).
    #[arg(long, value_name = "KIND", env = "GATEWAY_IGNORE_KIND", value_delimiter = ',')]
    pub ignore_kind: Vec<String>,
    /// Keys that are not in the files.
    #[command(flatten)]
    pub keys: KeptKeysArgs,
    /// A file with the token; `-` is standard input.
    #[arg(long, value_name = "PATH", default_value = "-")]
    pub token_file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
