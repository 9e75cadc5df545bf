//! What a TCP segment means for its connection.

use crate::parse::Segment;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a segment that arrives means for its connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Arrival {
    /// It asks for a new connection.
    Opens,
    /// It acknowledges: almost always within a connection that exists, but with SYN cookies in use
    /// it may be what makes one.
    Acknowledges,
    /// It cannot make a connection.
    Continues,
}

impl Segment {
    /// What it means for its connection when it arrives.
    #[inline(always)]
    pub fn arrival(&self) -> Arrival {
        match self.flags & (FIN | SYN | RST | ACK) {
            SYN => Arrival::Opens,
            ACK => Arrival::Acknowledges,
            _ => Arrival::Continues,
        }
    }
}

/// Bytes on the wire of a batch that the kernel carries as one packet (GSO, GRO): each segment
/// has headers of its own, the batch has them once.
#[inline(always)]
pub fn wire_bytes(length: u64, segments: u64, headers: u64) -> u64 {
    length + segments.saturating_sub(1) * headers
}
