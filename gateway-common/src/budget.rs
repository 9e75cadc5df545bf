//! Budgets for new connections, and events that the programs tell of. Times are nanoseconds of
//! `CLOCK_BOOTTIME`.

/// Value of `SYN_BUCKETS_V4` and `SYN_BUCKETS_V6`, whose keys are those of bans.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct SynBucket {
    /// When the source's connections so far are paid for (GCRA's theoretical arrival time).
    pub due: u64,
    /// When it was last told of that the source is over its budget.
    pub told: u64,
}

/// Value of `EARNED_SOURCES_V4` and `EARNED_SOURCES_V6`, whose keys are those of bans.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Earned {
    /// Until when the source has the larger budget.
    pub expires: u64,
}

/// A row of `CPU_STATE`: what the programs keep of their own on a CPU. Alone in its cache line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C, align(64))]
pub struct CpuState {
    /// The kernel's ticks when the time was read last.
    pub ticks: u64,
    /// The time that was read.
    pub now: u64,
    /// Events that found no room in `EVENTS`.
    pub events_lost: u64,
    /// Zero; fills the row to 64 bytes.
    pub reserved: [u64; 5],
}

/// A record of `EVENTS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Event {
    /// When.
    pub at: u64,
    /// An [`EventKind`].
    pub kind: u32,
    /// 4 or 6.
    pub family: u32,
    /// The packet's source, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum EventKind {
    /// A ban met its first packet.
    BanHit = 0,
    /// A source is over its budget of connections; told once a minute.
    SynLimited = 1,
}

impl EventKind {
    /// The kind of a number.
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::BanHit),
            1 => Some(Self::SynLimited),
            _ => None,
        }
    }
}

impl Event {
    /// Bytes of a record.
    pub const BYTES: usize = size_of::<Self>();

    /// Reads a record.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (mut at, mut kind, mut family, mut source) = ([0; 8], [0; 4], [0; 4], [0; 16]);
        at.copy_from_slice(&bytes[..8]);
        kind.copy_from_slice(&bytes[8..12]);
        family.copy_from_slice(&bytes[12..16]);
        source.copy_from_slice(&bytes[16..]);
        Self {
            at: u64::from_ne_bytes(at),
            kind: u32::from_ne_bytes(kind),
            family: u32::from_ne_bytes(family),
            source,
        }
    }
}
