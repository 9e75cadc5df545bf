//! Every map, named and sized as `gateway_common::abi` says. The loader sets the number of rows
//! where it depends on CPUs or workers.

use aya_ebpf::bindings::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, LruHashMap, SockMap};
use aya_ebpf::macros::btf_map;
use gateway_common::abi;
use gateway_common::bans::{Ban, DenyFilter, GuardSettings, SourceV4, SourceV6};
use gateway_common::budget::{CpuState, Earned, SynBucket};
use gateway_common::counters::{
    PACKET_ROWS_PER_CPU, PacketCounters, RequestCounters, WireCounters,
};
use gateway_common::flow::FlowPath;
use gateway_common::path::PathName;
use gateway_common::reasons::ReasonCounters;
use gateway_common::steering::{
    GatewayPort, GatewayPortEntry, ListenerName, PORTS, PortFilter, PortFirst, Reopening, Tuple,
    WORKER_SOCKETS as SOCKETS,
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

#[btf_map]
pub(crate) static FLOW_PATHS: Array<u64, { FlowPath::ROWS as usize }, MMAPABLE> = Array::new();

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
pub(crate) static PORT_FIRST: Array<u64, { PortFirst::ROWS as usize }> = Array::new();

#[btf_map]
pub(crate) static PORT_ENTRIES: Array<GatewayPortEntry, { PORTS as usize }, MMAPABLE> =
    Array::new();

#[btf_map]
pub(crate) static DENY_FILTER: Array<u64, { DenyFilter::ROWS as usize }, MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static WORKER_SOCKETS: SockMap<{ SOCKETS as usize }> = SockMap::new();

#[btf_map]
pub(crate) static REOPENED: LruHashMap<Tuple, Reopening, { abi::MAX_REOPENED as usize }> =
    LruHashMap::new();

#[btf_map]
pub(crate) static DENY_SOURCES_V4: LpmTrie<[u8; 4], u32, { abi::MAX_DENY_SOURCES as usize }> =
    LpmTrie::new();

#[btf_map]
pub(crate) static DENY_SOURCES_V6: LpmTrie<[u8; 16], u32, { abi::MAX_DENY_SOURCES as usize }> =
    LpmTrie::new();

/// Not preallocated: programs add nothing, and most nodes ban few.
type Bans<S> =
    HashMap<S, Ban, { abi::MAX_BANNED_SOURCES as usize }, { BPF_F_NO_PREALLOC as usize }>;

#[btf_map]
pub(crate) static BANNED_SOURCES_V4: Bans<SourceV4> = HashMap::new();

#[btf_map]
pub(crate) static BANNED_SOURCES_V6: Bans<SourceV6> = HashMap::new();

#[btf_map]
pub(crate) static GUARD_SETTINGS: Array<GuardSettings, 1> = Array::new();

const BUCKETS: usize = abi::MAX_SYN_BUCKETS as usize;

#[btf_map]
pub(crate) static SYN_BUCKETS_V4: LruHashMap<SourceV4, SynBucket, BUCKETS> = LruHashMap::new();

#[btf_map]
pub(crate) static SYN_BUCKETS_V6: LruHashMap<SourceV6, SynBucket, BUCKETS> = LruHashMap::new();

const EARNED: usize = abi::MAX_EARNED_SOURCES as usize;

#[btf_map]
pub(crate) static EARNED_SOURCES_V4: LruHashMap<SourceV4, Earned, EARNED> = LruHashMap::new();

#[btf_map]
pub(crate) static EARNED_SOURCES_V6: LruHashMap<SourceV6, Earned, EARNED> = LruHashMap::new();

const TRUSTED: usize = abi::MAX_TRUSTED_SOURCES as usize;

#[btf_map]
pub(crate) static TRUSTED_SOURCES_V4: LpmTrie<[u8; 4], u32, TRUSTED> = LpmTrie::new();

#[btf_map]
pub(crate) static TRUSTED_SOURCES_V6: LpmTrie<[u8; 16], u32, TRUSTED> = LpmTrie::new();

/// A ring buffer's definition. That of aya-ebpf has a value size, which libbpf refuses.
#[repr(C)]
pub(crate) struct Ring<const BYTES: usize> {
    r#type: *const [i32; BPF_MAP_TYPE_RINGBUF as usize],
    max_entries: *const [i32; BYTES],
}

// SAFETY: the pointers are types for the loader to read, and null.
unsafe impl<const BYTES: usize> Sync for Ring<BYTES> {}

#[btf_map]
pub(crate) static CPU_STATE: Array<CpuState, { abi::MAX_CPUS as usize }, MMAPABLE> = Array::new();

#[btf_map]
pub(crate) static EVENTS: Ring<{ abi::EVENT_BYTES as usize }> =
    Ring { r#type: core::ptr::null(), max_entries: core::ptr::null() };
