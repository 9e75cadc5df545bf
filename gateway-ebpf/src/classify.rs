//! What a TCP segment means for its connection.

use crate::parse::Headers;

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

impl Headers {
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

#[cfg(test)]
mod tests {
    use gateway_common::steering::Family;

    use super::*;

    #[test]
    fn only_a_bare_syn_opens_and_only_a_bare_ack_acknowledges() {
        const PSH: u8 = 0x08;
        const ECE_AND_CWR: u8 = 0xc0;
        let rows = [
            ("SYN", SYN, Arrival::Opens),
            ("SYN with ECN", SYN | ECE_AND_CWR, Arrival::Opens),
            ("ACK", ACK, Arrival::Acknowledges),
            ("ACK with data", ACK | PSH, Arrival::Acknowledges),
            ("SYN and ACK", SYN | ACK, Arrival::Continues),
            ("SYN and FIN", SYN | FIN, Arrival::Continues),
            ("RST", RST, Arrival::Continues),
            ("FIN and ACK", FIN | ACK, Arrival::Continues),
            ("nothing", 0, Arrival::Continues),
        ];
        for (name, flags, expected) in rows {
            let headers = Headers {
                family: Family::V6,
                source_port: 1,
                destination_port: 2,
                flags,
                network: 14,
                transport: 54,
                payload: 74,
            };
            assert_eq!(headers.arrival(), expected, "{name}");
        }
    }

    #[test]
    fn a_batch_has_headers_for_every_segment() {
        assert_eq!(wire_bytes(1_514, 1, 66), 1_514);
        assert_eq!(wire_bytes(66 + 3_000, 3, 66), 3 * 66 + 3_000);
        assert_eq!(wire_bytes(60, 0, 66), 60);
    }
}
