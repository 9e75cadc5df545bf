//! Settings: what the command line and the environment mean, read once at start.
//!
//! `cli.rs` holds the raw words; nothing else reads the environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use gateway_common::bans::BanMode;

use crate::model::attachment::{LocalRoutes, TcOrder, XdpPlace, XdpWish};
use crate::model::ban::SynBudget;
use crate::model::policy::Cidr;

/// Whether the kernel half is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Datapath {
    /// Steering, dropping and packet counters by eBPF.
    Ebpf,
    /// Plain sockets; verdicts are the same.
    Off,
}

impl Datapath {
    /// The word on the command line.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ebpf => "ebpf",
            Self::Off => "off",
        }
    }
}

/// Where access log lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccessLogTarget {
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
    /// Appended to a file.
    File(PathBuf),
}

/// Everything `run` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Manifest files and directories.
    pub config: Vec<PathBuf>,
    /// Kinds that are reported and ignored.
    pub ignore_kinds: Vec<String>,
    /// Who may speak for clients.
    pub trusted_proxies: Vec<Cidr>,
    /// Interfaces to attach to.
    pub interfaces: Vec<String>,
    /// Kernel half or not.
    pub datapath: Datapath,
    /// Whether XDP has to run.
    pub xdp: XdpWish,
    /// Where XDP should run.
    pub xdp_place: XdpPlace,
    /// Where our TC programs stand among those of others.
    pub tc_order: TcOrder,
    /// What is done about addresses of Gateways that this node does not own.
    pub local_routes: LocalRoutes,
    /// Sources dropped at XDP.
    pub deny_sources: Vec<Cidr>,
    /// Worker threads.
    pub workers: u32,
    /// Admin address; none: no admin listener.
    pub admin: Option<SocketAddr>,
    /// Access log.
    pub access_log: AccessLogTarget,
    /// How long requests under way may take after SIGTERM.
    pub drain_timeout: Duration,
    /// Limits of the request path.
    pub limits: Limits,
    /// Where maps are pinned.
    pub pin_directory: PathBuf,
    /// Remove the pinned counters too when the daemon ends.
    pub unpin_on_exit: bool,
    /// Take over from a daemon that runs.
    pub takeover: bool,
    /// Fetching keys.
    pub keys: Keys,
    /// Bans.
    pub bans: Bans,
}

/// Who is banned, and for how long.
#[derive(Clone, Debug)]
pub struct Bans {
    /// Whether strikes count and bans drop.
    pub mode: BanMode,
    /// Strikes within the window that ban.
    pub threshold: u32,
    /// From a source's first strike.
    pub window: Duration,
    /// How long a ban lasts.
    pub duration: Duration,
    /// Bans at a time.
    pub max_entries: u32,
    /// Percent of the packets to gateway ports that bans may meet.
    pub max_share: u8,
    /// Never banned, and without a budget of connections.
    pub trusted: Vec<Cidr>,
    /// Budgets of new connections; none: unlimited.
    pub budget: Option<SynBudget>,
    /// How long a good token gives its source the larger budget.
    pub earned_duration: Duration,
}

/// How keys of issuers are fetched and kept.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Where the last good key sets are kept.
    pub state_directory: PathBuf,
    /// Certificate authorities to trust; none: the system's.
    pub authorities: Option<PathBuf>,
    /// Whether keys may come from loopback and private addresses.
    pub allow_private: bool,
}

/// Limits of the request path; each is a flag.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request head (HTTP/1) or header list (HTTP/2).
    pub max_head_bytes: u32,
    /// Header fields of a request.
    pub max_headers: u32,
    /// From the first byte of a connection or head to the end of the head.
    pub head_timeout: Duration,
    /// A connection between requests.
    pub idle_timeout: Duration,
    /// A request under way without a byte moving to or from the client.
    pub stream_idle_timeout: Duration,
    /// TLS handshake.
    pub handshake_timeout: Duration,
    /// Connections per listener port.
    pub max_connections: u32,
    /// Concurrent streams of an HTTP/2 connection.
    pub h2_max_streams: u32,
    /// HTTP/2 streams reset by the client before they were answered, per connection.
    pub h2_max_pending_resets: u32,
    /// Connecting to an upstream endpoint.
    pub upstream_connect_timeout: Duration,
    /// From the last byte of a request to the head of the upstream's response.
    pub upstream_timeout: Duration,
    /// An upstream connection without a request.
    pub upstream_idle_timeout: Duration,
    /// Idle upstream connections kept, per worker and endpoint.
    pub upstream_max_idle: u32,
    /// Verified tokens kept, per worker.
    pub token_cache: u32,
    /// Bytes that verified tokens may take, per worker.
    pub token_cache_bytes: u32,
    /// Refused tokens kept, per worker.
    pub refused_token_cache: u32,
    /// Bytes that refused tokens may take, per worker.
    pub refused_token_cache_bytes: u32,
}

/// Worker threads by default: one per core, as far as the kernel maps reach.
pub(crate) fn cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores).unwrap_or(u32::MAX).min(gateway_common::abi::MAX_WORKERS)
}
