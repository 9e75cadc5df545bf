//! The command line: raw words. `settings.rs` says what they mean.

pub mod attach;
pub mod bans;
pub mod doctor;
pub mod generate;
pub mod tools;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::policy::Cidr;
use crate::settings::{AccessLogTarget, Datapath, Keys, Limits, Settings};

/// An ingress gateway: one privileged daemon per node.
///
/// Terminates TLS, verifies JWTs, decides by policy and proxies; configured by Gateway API and
/// Istio security manifests.
#[derive(Debug, Parser)]
#[command(name = "gateway-daemon", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve.
    Run(Box<RunArgs>),
    /// Read the manifests, print the conditions of every object; exits 1 on any error.
    Check(CheckArgs),
    /// Print the counters from the pinned maps, also while the daemon is down.
    Stats(StatsArgs),
    /// Tell whether this machine can run the gateway, and what to do where it cannot: kernel,
    /// interfaces, privileges, limits, pins, ports. Changes nothing; exits 1 if something is in
    /// the way.
    Doctor(doctor::DoctorArgs),
    /// Walk one request through the data path's own code, offline, and tell what decided and why;
    /// exits 0 if it is forwarded, else 1.
    Explain(tools::ExplainArgs),
    /// Send four requests to the live gateway (valid token, none, bad, open path) and compare their
    /// statuses with 200, 403, 401, 200; exits 1 if one differs.
    Verify(tools::VerifyArgs),
    /// Write manifests.
    #[command(subcommand)]
    Generate(generate::GenerateCommand),
    /// Look at tokens.
    #[command(subcommand)]
    Token(tools::TokenCommand),
    /// List and change bans in the pinned maps, also while the daemon is down.
    #[command(subcommand)]
    Bans(bans::BansCommand),
    /// Remove everything that the daemon pinned in bpffs.
    Unload(UnloadArgs),
}

/// Arguments of `unload`.
#[derive(Args, Debug)]
pub struct UnloadArgs {
    /// Where.
    #[command(flatten)]
    pub pin: PinArgs,
}

/// Where maps are pinned.
#[derive(Args, Clone, Debug)]
pub struct PinArgs {
    /// Directory in bpffs where the maps are pinned; daemons that run side by side need one each.
    #[arg(long, value_name = "PATH", default_value = gateway_common::abi::PIN_DIRECTORY, env = "GATEWAY_PIN_DIRECTORY")]
    pub pin_directory: PathBuf,
}

/// Arguments that name the configuration.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Manifest files or directories (YAML or JSON, several documents per file).
    #[arg(long, required = true, num_args = 1.., value_name = "PATH", env = "GATEWAY_CONFIG", value_delimiter = ',')]
    pub config: Vec<PathBuf>,
    /// A kind that is not ours: report and ignore it instead of refusing (repeatable).
    #[arg(long, value_name = "KIND", env = "GATEWAY_IGNORE_KIND", value_delimiter = ',')]
    pub ignore_kind: Vec<String>,
    /// Address or CIDR of proxies in front that may say who the client is, where a Gateway's
    /// gatewayTopology trusts any; they are never banned (repeatable).
    #[arg(long, value_name = "CIDR", env = "GATEWAY_TRUSTED_PROXY", value_delimiter = ',', value_parser = parse_cidr)]
    pub trusted_proxy: Vec<Cidr>,
}

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `stats`.
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// Where.
    #[command(flatten)]
    pub pin: PinArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print again every second until interrupted.
    #[arg(long)]
    pub watch: bool,
    /// Check instead that every sum of the ledger holds, also while the daemon serves; exits 1 and
    /// names row and both sides if one does not.
    #[arg(long, conflicts_with = "watch")]
    pub audit: bool,
}

/// `--datapath`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum DatapathWord {
    /// Attach the kernel half; exit if that fails.
    Ebpf,
    /// Serve without the kernel half.
    Off,
}

/// `--takeover`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TakeoverWord {
    /// Take over; the other one drains and ends.
    Auto,
    /// Refuse.
    Off,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Interface to attach the kernel half to (repeatable).
    #[arg(
        long,
        value_name = "IF",
        default_value = "lo",
        env = "GATEWAY_INTERFACE",
        value_delimiter = ','
    )]
    pub interface: Vec<String>,
    /// Whether the kernel half steers, drops and counts packets.
    #[arg(long, value_enum, default_value = "ebpf", env = "GATEWAY_DATAPATH")]
    pub datapath: DatapathWord,
    /// Attaching.
    #[command(flatten)]
    pub attach: attach::AttachArgs,
    /// Source address or CIDR whose packets to gateway ports are dropped at XDP (repeatable).
    #[arg(long, value_name = "CIDR", env = "GATEWAY_DENY_SOURCE", value_delimiter = ',', value_parser = parse_cidr)]
    pub deny_source: Vec<Cidr>,
    /// Worker threads [default: the number of cores].
    #[arg(long, value_name = "N", env = "GATEWAY_WORKERS", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: Option<u32>,
    /// Loopback address for /metrics, /healthz, /readyz and /stats, or `off`. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT|off", default_value = "127.0.0.1:9901", env = "GATEWAY_ADMIN", value_parser = parse_admin)]
    pub admin: Admin,
    /// One JSON line per request: `-` is standard output.
    #[arg(
        long,
        value_name = "-|off|PATH",
        default_value = "-",
        env = "GATEWAY_ACCESS_LOG",
        allow_hyphen_values = true
    )]
    pub access_log: String,
    /// Log level, or a filter such as `info,gateway_daemon::control=debug`; logs go to standard error.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "GATEWAY_LOG")]
    pub log: String,
    /// Seconds that requests under way may take after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value = "30", env = "GATEWAY_DRAIN_TIMEOUT", value_parser = parse_seconds)]
    pub drain_timeout: Duration,
    /// Remove the pinned counters too when the daemon ends.
    #[arg(long, env = "GATEWAY_UNPIN_ON_EXIT")]
    pub unpin_on_exit: bool,
    /// Whether to take over from a daemon that runs with the same --pin-directory, or to refuse to
    /// start.
    #[arg(long, value_enum, default_value = "auto", env = "GATEWAY_TAKEOVER")]
    pub takeover: TakeoverWord,
    /// Where maps are pinned.
    #[command(flatten)]
    pub pin: PinArgs,
    /// Keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// Bans.
    #[command(flatten)]
    pub bans: bans::BanArgs,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// How keys of issuers are fetched and kept.
#[derive(Args, Debug)]
#[command(next_help_heading = "Keys")]
pub struct KeyArgs {
    /// Directory where the last good key set of each issuer is kept; made if it is not there.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/lib/gateway",
        env = "GATEWAY_STATE_DIRECTORY"
    )]
    pub state_directory: PathBuf,
    /// Certificate authorities (PEM) to trust when fetching keys [default: the system's].
    #[arg(long, value_name = "PATH", env = "GATEWAY_JWKS_CA")]
    pub jwks_ca: Option<PathBuf>,
    /// Fetch keys from loopback and private addresses too; never from link-local ones.
    #[arg(long, env = "GATEWAY_JWKS_ALLOW_PRIVATE")]
    pub jwks_allow_private: bool,
}

/// Limits of the request path.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Bytes of a request head, request line included (431 beyond; 8192 at least).
    #[arg(long, value_name = "BYTES", default_value_t = 61_440, env = "GATEWAY_MAX_HEAD_BYTES", value_parser = clap::value_parser!(u32).range(8192..=1_048_576))]
    pub max_head_bytes: u32,
    /// Header fields of a request (431 beyond).
    #[arg(long, value_name = "N", default_value_t = 100, env = "GATEWAY_MAX_HEADERS", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_headers: u32,
    /// Seconds from accepting a connection, or from the first byte of a later head, to the end of the head.
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "GATEWAY_HEAD_TIMEOUT", value_parser = parse_seconds)]
    pub head_timeout: Duration,
    /// Seconds that a client connection may stay open between requests.
    #[arg(long, value_name = "SECONDS", default_value = "75", env = "GATEWAY_IDLE_TIMEOUT", value_parser = parse_seconds)]
    pub idle_timeout: Duration,
    /// Seconds that a request under way may pass without a byte moving.
    #[arg(long, value_name = "SECONDS", default_value = "300", env = "GATEWAY_STREAM_IDLE_TIMEOUT", value_parser = parse_seconds)]
    pub stream_idle_timeout: Duration,
    /// Seconds for a TLS handshake.
    #[arg(long, value_name = "SECONDS", default_value = "10", env = "GATEWAY_HANDSHAKE_TIMEOUT", value_parser = parse_seconds)]
    pub handshake_timeout: Duration,
    /// Open client connections per listener port; more are closed at once.
    #[arg(long, value_name = "N", default_value_t = 20_000, env = "GATEWAY_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// Concurrent streams per HTTP/2 connection.
    #[arg(long, value_name = "N", default_value_t = 100, env = "GATEWAY_H2_MAX_STREAMS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub h2_max_streams: u32,
    /// Streams that an HTTP/2 client may reset before they are answered; more end the connection.
    #[arg(long, value_name = "N", default_value_t = 20, env = "GATEWAY_H2_MAX_PENDING_RESETS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub h2_max_pending_resets: u32,
    /// Seconds for connecting to an upstream endpoint.
    #[arg(long, value_name = "SECONDS", default_value = "5", env = "GATEWAY_UPSTREAM_CONNECT_TIMEOUT", value_parser = parse_seconds)]
    pub upstream_connect_timeout: Duration,
    /// Seconds from the last byte of a request to the head of the upstream's response (504 beyond).
    #[arg(long, value_name = "SECONDS", default_value = "60", env = "GATEWAY_UPSTREAM_TIMEOUT", value_parser = parse_seconds)]
    pub upstream_timeout: Duration,
    /// Seconds that an idle upstream connection is kept.
    #[arg(long, value_name = "SECONDS", default_value = "60", env = "GATEWAY_UPSTREAM_IDLE_TIMEOUT", value_parser = parse_seconds)]
    pub upstream_idle_timeout: Duration,
    /// Idle upstream connections kept per worker and endpoint.
    #[arg(long, value_name = "N", default_value_t = 2_048, env = "GATEWAY_UPSTREAM_MAX_IDLE")]
    pub upstream_max_idle: u32,
    /// Verified tokens kept per worker, so that a token's signature is checked once.
    #[arg(long, value_name = "N", default_value_t = 32_768, env = "GATEWAY_TOKEN_CACHE")]
    pub token_cache: u32,
    /// Bytes that verified tokens may take per worker.
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, env = "GATEWAY_TOKEN_CACHE_BYTES")]
    pub token_cache_bytes: u32,
    /// Refused tokens kept per worker, so that a flood of one bad token costs no signature check.
    #[arg(long, value_name = "N", default_value_t = 4_096, env = "GATEWAY_REFUSED_TOKEN_CACHE")]
    pub refused_token_cache: u32,
    /// Bytes that refused tokens may take per worker.
    #[arg(long, value_name = "BYTES", default_value_t = 8 << 20, env = "GATEWAY_REFUSED_TOKEN_CACHE_BYTES")]
    pub refused_token_cache_bytes: u32,
}

/// `--admin`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Admin {
    /// Listen here.
    At(SocketAddr),
    /// Do not listen.
    Off,
}

fn parse_admin(text: &str) -> Result<Admin, String> {
    if text == "off" {
        return Ok(Admin::Off);
    }
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "use an address and port such as 127.0.0.1:9901, or \"off\"".to_owned())?;
    if !address.ip().is_loopback() {
        return Err(
            "the admin listener shows internals without authentication, so it takes a loopback \
                    address only, such as 127.0.0.1:9901"
                .to_owned(),
        );
    }
    Ok(Admin::At(address))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "use a number of seconds above zero, such as 10 or 0.5".to_owned())
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    Cidr::parse(text).map_err(|error| error.to_string())
}

impl RunArgs {
    /// Reads the words together with the machine's number of cores and the environment.
    pub fn settings(self) -> Settings {
        let limits = self.limits;
        Settings {
            config: self.config.config,
            ignore_kinds: self.config.ignore_kind,
            trusted_proxies: self.config.trusted_proxy.clone(),
            interfaces: self.interface,
            datapath: match self.datapath {
                DatapathWord::Ebpf => Datapath::Ebpf,
                DatapathWord::Off => Datapath::Off,
            },
            xdp: self.attach.xdp(),
            xdp_place: self.attach.place(),
            tc_order: self.attach.order(),
            local_routes: self.attach.local_routes(),
            deny_sources: self.deny_source,
            workers: self.workers.unwrap_or_else(crate::settings::cores),
            admin: match self.admin {
                Admin::At(address) => Some(address),
                Admin::Off => None,
            },
            access_log: match self.access_log.as_str() {
                "-" => AccessLogTarget::Stdout,
                "off" => AccessLogTarget::Off,
                path => AccessLogTarget::File(path.into()),
            },
            drain_timeout: self.drain_timeout,
            pin_directory: self.pin.pin_directory,
            unpin_on_exit: self.unpin_on_exit,
            takeover: self.takeover == TakeoverWord::Auto,
            keys: Keys {
                state_directory: self.keys.state_directory,
                authorities: self.keys.jwks_ca,
                allow_private: self.keys.jwks_allow_private,
            },
            bans: self.bans.settings(&self.config.trusted_proxy),
            limits: Limits {
                max_head_bytes: limits.max_head_bytes,
                max_headers: limits.max_headers,
                head_timeout: limits.head_timeout,
                idle_timeout: limits.idle_timeout,
                stream_idle_timeout: limits.stream_idle_timeout,
                handshake_timeout: limits.handshake_timeout,
                max_connections: limits.max_connections,
                h2_max_streams: limits.h2_max_streams,
                h2_max_pending_resets: limits.h2_max_pending_resets,
                upstream_connect_timeout: limits.upstream_connect_timeout,
                upstream_timeout: limits.upstream_timeout,
                upstream_idle_timeout: limits.upstream_idle_timeout,
                upstream_max_idle: limits.upstream_max_idle,
                token_cache: limits.token_cache,
                token_cache_bytes: limits.token_cache_bytes,
                refused_token_cache_bytes: limits.refused_token_cache_bytes,
                refused_token_cache: limits.refused_token_cache,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn run(arguments: &[&str]) -> Result<Settings, String> {
        let words = ["gateway-daemon", "run", "--config", "x"].iter().chain(arguments);
        match Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Command::Run(arguments) => Ok(arguments.settings()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn has_safe_defaults() {
        let settings = run(&[]).expect("the least command line");
        assert_eq!(settings.interfaces, ["lo"]);
        assert_eq!(settings.datapath, Datapath::Ebpf);
        assert_eq!(settings.access_log, AccessLogTarget::Stdout);
        assert_eq!(settings.admin, Some(SocketAddr::from(([127, 0, 0, 1], 9901))));
        assert!(settings.workers >= 1);
        assert_eq!(settings.limits.max_headers, 100);
    }

    #[test]
    fn reads_words() {
        let words = [
            "--interface",
            "a",
            "--interface",
            "b",
            "--datapath",
            "off",
            "--admin",
            "off",
            "--access-log",
            "-",
            "--drain-timeout",
            "0.5",
            "--workers",
            "3",
            "--deny-source",
            "10.0.0.0/8",
            "--deny-source",
            "2001:db8::1",
        ];
        let settings = run(&words).expect("a full command line");
        assert_eq!(settings.interfaces, ["a", "b"]);
        assert_eq!(settings.datapath, Datapath::Off);
        assert_eq!(settings.admin, None);
        assert_eq!(settings.drain_timeout, Duration::from_millis(500));
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.deny_sources.len(), 2);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for (words, complaint) in [
            (["--admin", "0.0.0.0:1"], "loopback"),
            (["--admin", "nowhere"], "127.0.0.1:9901"),
            (["--workers", "0"], "1..=64"),
            (["--workers", "65"], "1..=64"),
            (["--drain-timeout", "0"], "above zero"),
            (["--drain-timeout", "-1"], "unexpected argument"),
            (["--deny-source", "10.0.0.0/33"], "CIDR"),
            (["--datapath", "maybe"], "ebpf"),
            (["--bans", "on"], "enforce"),
            (["--xdp", "on"], "auto"),
            (["--xdp-mode", "skb"], "generic"),
            (["--tc-order", "1"], "first"),
            (["--local-routes", "on"], "always"),
            (["--ban-threshold", "0"], "1..="),
            (["--syn-burst", "0"], "1..="),
            (["--ban-max-share", "101"], "1..=100"),
            (["--ban-max-entries", "65537"], "1..=65536"),
            (["--trusted-source", "proxy"], "CIDR"),
        ] {
            let error = run(&words).expect_err(complaint);
            assert!(error.contains(complaint), "{words:?}: {error}");
        }
    }

    #[test]
    fn every_reason_is_documented() {
        let text = include_str!("../../docs/operations.md");
        for reason in crate::model::reason::Reason::ALL {
            assert!(text.contains(reason.word()), "docs/operations.md knows no {}", reason.word());
        }
    }

    #[test]
    fn every_flag_of_run_is_documented_and_has_its_variable() {
        let text = include_str!("../../docs/operations.md");
        let command = Cli::command();
        let run = command.find_subcommand("run").expect("run");
        for argument in run.get_arguments() {
            let Some(long) = argument.get_long().filter(|long| *long != "help") else { continue };
            assert!(text.contains(&format!("`--{long}")), "docs/operations.md knows no --{long}");
            let variable = format!("GATEWAY_{}", long.to_uppercase().replace('-', "_"));
            let known = argument.get_env().map(|env| env.to_string_lossy().into_owned());
            assert_eq!(known, Some(variable), "--{long}");
        }
    }
}
