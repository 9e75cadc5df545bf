//! Steering: which (address, port) belongs to which listener slot.

/// Key of `GATEWAY_PORTS`: an address and port of a Gateway listener. The unspecified address
/// stands for every local address of its family. IPv4 is written IPv4-mapped (`::ffff:a.b.c.d`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(C)]
pub struct GatewayPort {
    /// Address in network order, IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
    /// Port in host order.
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
}
