//! Steering: which (address, port) belongs to which listener slot, and which socket takes it.

use crate::abi;

/// Key of `GATEWAY_PORTS`: an address and port of a Gateway listener. The unspecified address
/// stands for every local address of its family. IPv4 is written IPv4-mapped (`::ffff:a.b.c.d`),
/// the unspecified IPv4 address too (`::ffff:0.0.0.0`).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct GatewayPort {
    /// Address in network order, IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
    /// Port in host order; of a range, the first.
    pub port: u16,
    /// 4 or 6.
    pub family: u16,
}

/// Value of `GATEWAY_PORTS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct GatewayPortEntry {
    /// Listener slot: the row group in `PACKET_COUNTERS`.
    pub listener: u32,
    /// Workers that share the listener's connections.
    pub workers: u32,
    /// Secret of the flow hash, so that a stranger cannot aim many connections at one worker.
    pub seed: u64,
}

/// Key of `REOPENED`: a connection by its ends, IPv4 written IPv4-mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Tuple {
    /// The client's address, in network order.
    pub source: [u8; 16],
    /// Our address, in network order.
    pub destination: [u8; 16],
    /// The client's port, in host order.
    pub source_port: u16,
    /// Our port, in host order.
    pub destination_port: u16,
    /// 4 or 6.
    pub family: u32,
}

/// Value of `REOPENED`: who takes the connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Reopening {
    /// When its SYN was seen, in nanoseconds since boot.
    pub at: u64,
    /// Row of `WORKER_SOCKETS`.
    pub worker_socket: u32,
    /// Zero.
    pub reserved: u32,
}

impl Reopening {
    /// How long it stands for the SYN that was seen, in nanoseconds: a second.
    pub const LIFETIME: u64 = 1_000_000_000;
}

/// The name row of a listener slot, in `LISTENER_NAMES`: NUL-padded UTF-8, empty when the slot was
/// never used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct ListenerName {
    /// Bytes of the name that are used.
    pub length: u32,
    /// Zero.
    pub reserved: u32,
    /// The listener as configured, such as `default/quickstart/http`. Signed bytes, because those
    /// are shown as text in a map dump.
    pub name: [i8; abi::LISTENER_NAME_BYTES],
}

/// An address family, numbered as its row group in `WORKER_SOCKETS`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Family {
    /// IPv4.
    V4 = 0,
    /// IPv6.
    V6 = 1,
}

impl Family {
    /// The number used in [`GatewayPort::family`].
    pub const fn number(self) -> u16 {
        match self {
            Self::V4 => 4,
            Self::V6 => 6,
        }
    }
}

/// Rows of `WORKER_SOCKETS`.
pub const WORKER_SOCKETS: u32 = 2 * abi::MAX_WORKERS;

/// Number of the row in `WORKER_SOCKETS` that holds a worker's listening socket of a family.
pub const fn worker_socket(family: Family, worker: u32) -> u32 {
    (family as u32) * abi::MAX_WORKERS + worker
}

/// Rows of `PORT_ENTRIES`, one per port: what `GATEWAY_PORTS` has for the unspecified address.
pub const PORTS: u32 = 65_536;

/// Where a port's two bits stand in `PORT_FILTER`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortFilter {
    /// Row of the map.
    pub row: u32,
    /// Position of the lower bit.
    pub shift: u32,
}

impl PortFilter {
    /// Rows of the map: 65,536 ports, 32 to a row.
    pub const ROWS: u32 = 2_048;
    /// Bit: `GATEWAY_PORTS` holds this port for the unspecified address of some family.
    pub const ANY_ADDRESS: u64 = 1;
    /// Bit: `GATEWAY_PORTS` holds this port for some particular address.
    pub const NAMED_ADDRESS: u64 = 2;
    /// Both bits.
    pub const MASK: u64 = 3;

    /// The place of `port`.
    pub const fn of(port: u16) -> Self {
        Self { row: port as u32 / 32, shift: port as u32 % 32 * 2 }
    }
}

/// Where a port's sixteen bits stand in `PORT_FIRST`: the first port of the range that it is in, 0 if
/// it is itself the first. A packet of the range is looked up in `GATEWAY_PORTS` under that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PortFirst {
    /// Row of the map.
    pub row: u32,
    /// Position of the lowest bit.
    pub shift: u32,
}

impl PortFirst {
    /// Rows of the map: 65,536 ports, 4 to a row.
    pub const ROWS: u32 = 16_384;
    /// The bits of one port.
    pub const MASK: u64 = 0xffff;

    /// The place of `port`.
    pub const fn of(port: u16) -> Self {
        Self { row: port as u32 / 4, shift: port as u32 % 4 * 16 }
    }
}
