//! Names, numbers and sizes that both halves must agree on.

/// Version of every layout in this crate; part of the pin path.
pub const ABI_VERSION: u32 = 3;

/// Where maps are pinned: `<bpffs>/gateway/v<ABI_VERSION>/<map name>`.
pub const PIN_DIRECTORY: &str = "/sys/fs/bpf/gateway/v3";

/// Most path slots, slot 0 (*no path*) included.
pub const MAX_PATHS: u32 = 16_384;
/// Most workers of one daemon; each owns one row per path slot.
pub const MAX_WORKERS: u32 = 64;
/// Most listener slots, slot 0 (*no listener*) included.
pub const MAX_LISTENERS: u32 = 64;
/// Most (address, port) pairs that can be steered; a range of ports is one of them.
pub const MAX_GATEWAY_PORTS: u32 = 4_096;
/// Most CPUs with a row of their own in `PACKET_COUNTERS`.
pub const MAX_CPUS: u32 = 256;
/// Most static deny prefixes per address family.
pub const MAX_DENY_SOURCES: u32 = 65_536;
/// Most banned sources per address family.
pub const MAX_BANNED_SOURCES: u32 = 65_536;

/// Sources per address family whose connections are counted against a budget; beyond, those not
/// seen for longest begin anew.
pub const MAX_SYN_BUCKETS: u32 = 65_536;
/// Most sources with earned trust per address family; beyond, those not seen for longest lose it.
pub const MAX_EARNED_SOURCES: u32 = 65_536;
/// Most trusted prefixes per address family.
pub const MAX_TRUSTED_SOURCES: u32 = 1_024;
/// Most connections at a time that are being reopened from `TIME_WAIT`: each for as long as its SYN
/// goes from TC to the kernel's lookup.
pub const MAX_REOPENED: u32 = 4_096;
/// Bytes of the ring buffer of events; a power of two and of pages.
pub const EVENT_BYTES: u32 = 65_536;

/// Bytes of a path pattern's name row; longer names are cut.
pub const PATH_NAME_BYTES: usize = 240;
/// Bytes of a listener's name row; longer names are cut.
pub const LISTENER_NAME_BYTES: usize = 120;

/// Names of the programs in the kernel object; at most 15 bytes, so that the kernel shows them
/// whole.
pub mod program {
    /// Counts and drops by source address, before the kernel allocates a socket buffer.
    pub const XDP: &str = "gateway_xdp";
    /// Steers new connections to a worker and counts what arrives.
    pub const TC_INGRESS: &str = "gateway_ingress";
    /// Counts what leaves.
    pub const TC_EGRESS: &str = "gateway_egress";
    /// Answers the kernel's lookup of a listening socket for a connection that TC ingress saw
    /// being reopened from `TIME_WAIT`.
    pub const LOOKUP: &str = "gateway_lookup";
}

/// Names of the maps in the kernel object, and of their pins.
pub mod map {
    /// Array of [`PacketCounters`](crate::counters::PacketCounters), by
    /// [`packet_row`](crate::counters::packet_row).
    pub const PACKET_COUNTERS: &str = "PACKET_COUNTERS";
    /// Array of [`RequestCounters`](crate::counters::RequestCounters), by
    /// [`request_row`](crate::counters::request_row).
    pub const REQUEST_COUNTERS: &str = "REQUEST_COUNTERS";
    /// Array of [`ReasonCounters`](crate::reasons::ReasonCounters), by worker.
    pub const REASON_COUNTERS: &str = "REASON_COUNTERS";
    /// Array of [`WireCounters`](crate::counters::WireCounters), by
    /// [`wire_row`](crate::counters::wire_row).
    pub const WIRE_COUNTERS: &str = "WIRE_COUNTERS";
    /// Array of u64, by [`FlowPath::row`](crate::flow::FlowPath::row): what connections answer.
    pub const FLOW_PATHS: &str = "FLOW_PATHS";
    /// Array of [`PathName`](crate::path::PathName), by path slot.
    pub const PATH_NAMES: &str = "PATH_NAMES";
    /// Array of [`ListenerName`](crate::steering::ListenerName), by listener slot.
    pub const LISTENER_NAMES: &str = "LISTENER_NAMES";
    /// Hash of [`GatewayPort`](crate::steering::GatewayPort) to
    /// [`GatewayPortEntry`](crate::steering::GatewayPortEntry).
    pub const GATEWAY_PORTS: &str = "GATEWAY_PORTS";
    /// Array of u64: two bits per port, so that other ports cost no hash lookup. See
    /// [`PortFilter`](crate::steering::PortFilter).
    pub const PORT_FILTER: &str = "PORT_FILTER";
    /// Array of u64: sixteen bits per port, the first port of the range that it is in. See
    /// [`PortFirst`](crate::steering::PortFirst).
    pub const PORT_FIRST: &str = "PORT_FIRST";
    /// Array of [`GatewayPortEntry`](crate::steering::GatewayPortEntry) by port: the entries for
    /// the unspecified address, where they cost no hash lookup.
    pub const PORT_ENTRIES: &str = "PORT_ENTRIES";
    /// Sockmap of the workers' listening sockets, by
    /// [`worker_socket`](crate::steering::worker_socket).
    pub const WORKER_SOCKETS: &str = "WORKER_SOCKETS";
    /// Hash of [`Tuple`](crate::steering::Tuple) to [`Reopening`](crate::steering::Reopening).
    /// Private to the programs of one start, and not pinned.
    pub const REOPENED: &str = "REOPENED";
    /// Array of u64: a bit per 65,536th of the addresses of a family, 1 where some denied prefix may
    /// be, so that other sources cost no trie lookup. See [`DenyFilter`](crate::bans::DenyFilter).
    pub const DENY_FILTER: &str = "DENY_FILTER";
    /// Longest-prefix trie of denied IPv4 sources.
    pub const DENY_SOURCES_V4: &str = "DENY_SOURCES_V4";
    /// Longest-prefix trie of denied IPv6 sources.
    pub const DENY_SOURCES_V6: &str = "DENY_SOURCES_V6";
    /// Hash of [`SourceV4`](crate::bans::SourceV4) to [`Ban`](crate::bans::Ban).
    pub const BANNED_SOURCES_V4: &str = "BANNED_SOURCES_V4";
    /// Hash of [`SourceV6`](crate::bans::SourceV6) to [`Ban`](crate::bans::Ban).
    pub const BANNED_SOURCES_V6: &str = "BANNED_SOURCES_V6";
    /// Hash of [`SourceV4`](crate::bans::SourceV4) to [`SynBucket`](crate::budget::SynBucket).
    pub const SYN_BUCKETS_V4: &str = "SYN_BUCKETS_V4";
    /// Hash of [`SourceV6`](crate::bans::SourceV6) to [`SynBucket`](crate::budget::SynBucket).
    pub const SYN_BUCKETS_V6: &str = "SYN_BUCKETS_V6";
    /// Hash of [`SourceV4`](crate::bans::SourceV4) to [`Earned`](crate::budget::Earned).
    pub const EARNED_SOURCES_V4: &str = "EARNED_SOURCES_V4";
    /// Hash of [`SourceV6`](crate::bans::SourceV6) to [`Earned`](crate::budget::Earned).
    pub const EARNED_SOURCES_V6: &str = "EARNED_SOURCES_V6";
    /// Longest-prefix trie of trusted IPv4 sources.
    pub const TRUSTED_SOURCES_V4: &str = "TRUSTED_SOURCES_V4";
    /// Longest-prefix trie of trusted IPv6 sources.
    pub const TRUSTED_SOURCES_V6: &str = "TRUSTED_SOURCES_V6";
    /// Array of [`CpuState`](crate::budget::CpuState), by CPU.
    pub const CPU_STATE: &str = "CPU_STATE";
    /// Ring buffer of [`Event`](crate::budget::Event).
    pub const EVENTS: &str = "EVENTS";
    /// Array of one [`GuardSettings`](crate::bans::GuardSettings).
    pub const GUARD_SETTINGS: &str = "GUARD_SETTINGS";
}
