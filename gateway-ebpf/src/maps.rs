//! Every map, named and sized as `gateway_common::abi` says. The loader sets the number of rows
//! where it depends on CPUs or workers.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, SockMap};
use aya_ebpf::macros::btf_map;
use gateway_common::abi;
use gateway_common::counters::{
    PACKET_ROWS_PER_CPU, PacketCounters, RequestCounters, WireCounters,
};
use gateway_common::path::PathName;
use gateway_common::reasons::ReasonCounters;
use gateway_common::steering::{
    GatewayPort, GatewayPortEntry, ListenerName, PortFilter, WORKER_SOCKETS as SOCKETS,
};

const MMAPABLE: usize = BPF_F_MMAPABLE as usize;
const PATHS: usize = abi::MAX_PATHS as usize;

#[btf_map]
pub(crate) static PACKET_COUNTERS: Array<
    PacketCounters,
    { PACKET_ROWS_PER_CPU as usize },
    MMAPABLE,
> = Array::new();

#[btf_map]
pub(crate) static WIRE_COUNTERS: Array<WireCounters, PATHS, MMAPABLE> = Array::new();

/// The daemon's. It is declared here so that it has types in a dump, and is made with the rest.
#[btf_map]
pub(crate) static REQUEST_COUNTERS: Array<RequestCounters, PATHS, MMAPABLE> = Array::new();

/// The daemon's, likewise.
#[btf_map]
pub(crate) static REASON_COUNTERS: Array<ReasonCounters, { abi::MAX_WORKERS as usize }, MMAPABLE> =
    Array::new();

/// The daemon's, likewise.
#[btf_map]
pub(crate) static PATH_NAMES: Array<PathName, PATHS, MMAPABLE> = Array::new();

/// The daemon's, likewise.
#[btf_map]
pub(crate) static LISTENER_NAMES: Array<ListenerName, { abi::MAX_LISTENERS as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub(crate) static GATEWAY_PORTS: HashMap<
    GatewayPort,
    GatewayPortEntry,
    { abi::MAX_GATEWAY_PORTS as usize },
> = HashMap::new();

#[btf_map]
pub(crate) static PORT_FILTER: Array<u64, { PortFilter::ROWS as usize }> = Array::new();

#[btf_map]
pub(crate) static WORKER_SOCKETS: SockMap<{ SOCKETS as usize }> = SockMap::new();

#[btf_map]
pub(crate) static DENY_SOURCES_V4: LpmTrie<[u8; 4], u32, { abi::MAX_DENY_SOURCES as usize }> =
    LpmTrie::new();

#[btf_map]
pub(crate) static DENY_SOURCES_V6: LpmTrie<[u8; 16], u32, { abi::MAX_DENY_SOURCES as usize }> =
    LpmTrie::new();
