//! Names, numbers and sizes that both halves must agree on.

/// Version of every layout in this crate; part of the pin path.
pub const ABI_VERSION: u32 = 1;

/// Where maps and links are pinned: `<bpffs>/gateway/v<ABI_VERSION>/`.
pub const PIN_DIRECTORY: &str = "/sys/fs/bpf/gateway/v1";

/// Most path slots, slot 0 (*no path*) included.
pub const MAX_PATHS: u32 = 16_384;
/// Most workers of one daemon; each owns one row per path slot.
pub const MAX_WORKERS: u32 = 64;
/// Most listener slots, slot 0 (*no listener*) included.
pub const MAX_LISTENERS: u32 = 64;
/// Most CPUs with a row of their own in `PACKET_COUNTERS`.
pub const MAX_CPUS: u32 = 256;
/// Most static deny prefixes per address family.
pub const MAX_DENY_SOURCES: u32 = 65_536;

/// Bytes of a path pattern's name row; longer names are cut.
pub const PATH_NAME_BYTES: usize = 240;
/// Bytes of a listener's name row; longer names are cut.
pub const LISTENER_NAME_BYTES: usize = 120;
