//! Packets, byte by byte. Checksums are zero: the programs do not look at them.

use std::net::IpAddr;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

const TCP: u8 = 6;

/// A TCP segment in the making.
#[derive(Clone)]
pub(crate) struct Segment {
    source: IpAddr,
    destination: IpAddr,
    ports: (u16, u16),
    flags: u8,
    /// `EtherType`s of VLAN tags, outermost first.
    tags: Vec<u16>,
    /// Bytes of IPv4 options.
    options: usize,
    /// IPv6 extension headers: type and length in bytes.
    extensions: Vec<(u8, usize)>,
    /// IPv4 flags and fragment offset.
    fragment: u16,
    payload: usize,
}

/// A SYN between two addresses of one family.
pub(crate) fn syn(source: &str, destination: &str, port: u16) -> Segment {
    Segment {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        ports: (40_000, port),
        flags: SYN,
        tags: Vec::new(),
        options: 0,
        extensions: Vec::new(),
        fragment: 0,
        payload: 0,
    }
}

impl Segment {
    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn source_port(mut self, port: u16) -> Self {
        self.ports.0 = port;
        self
    }

    pub(crate) fn tag(mut self, ethertype: u16) -> Self {
        self.tags.push(ethertype);
        self
    }

    pub(crate) fn options(mut self, bytes: usize) -> Self {
        self.options = bytes;
        self
    }

    pub(crate) fn extension(mut self, kind: u8, bytes: usize) -> Self {
        self.extensions.push((kind, bytes));
        self
    }

    pub(crate) fn fragment(mut self, field: u16) -> Self {
        self.fragment = field;
        self
    }

    pub(crate) fn payload(mut self, bytes: usize) -> Self {
        self.payload = bytes;
        self
    }

    /// The packet, from its Ethernet header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 12];
        for tag in &self.tags {
            out.extend(tag.to_be_bytes());
            out.extend(10_u16.to_be_bytes());
        }
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                out.extend([0x08, 0x00]);
                let header = 20 + self.options;
                let total = u16::try_from(header + 20 + self.payload).unwrap();
                out.extend([0x40 | u8::try_from(header / 4).unwrap(), 0]);
                out.extend(total.to_be_bytes());
                out.extend([0, 0]);
                out.extend(self.fragment.to_be_bytes());
                out.extend([64, TCP, 0, 0]);
                out.extend(source.octets());
                out.extend(destination.octets());
                out.extend(vec![1; self.options]);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                out.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                let extensions: usize = self.extensions.iter().map(|(_, bytes)| bytes).sum();
                let length = u16::try_from(extensions + 20 + self.payload).unwrap();
                out.extend(length.to_be_bytes());
                let mut kinds = self.extensions.iter().map(|&(kind, _)| kind).chain([TCP]);
                out.extend([kinds.next().unwrap(), 64]);
                out.extend(source.octets());
                out.extend(destination.octets());
                for (&(kind, bytes), next) in self.extensions.iter().zip(kinds) {
                    // AH counts words of four less two, the others words of eight less one.
                    let length = if kind == 51 { bytes / 4 - 2 } else { bytes / 8 - 1 };
                    out.extend([next, u8::try_from(length).unwrap()]);
                    out.extend(vec![0; bytes - 2]);
                }
            }
            _ => panic!("two families"),
        }
        out.extend(self.ports.0.to_be_bytes());
        out.extend(self.ports.1.to_be_bytes());
        out.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        out.extend(vec![0; self.payload]);
        out
    }

    /// The packet's first bytes.
    pub(crate) fn cut(&self, length: usize) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.truncate(length);
        bytes
    }

    /// The packet with one byte replaced.
    pub(crate) fn with(&self, offset: usize, byte: u8) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes[offset] = byte;
        bytes
    }
}
