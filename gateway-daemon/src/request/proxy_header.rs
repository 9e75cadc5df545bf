//! The header that a connection may begin with, by which a proxy tells whose it is: the PROXY
//! protocol, versions 1 and 2 (haproxy, `doc/proxy-protocol.txt`).
//!
//! A header is read without a byte of what follows it, so every answer says how much more is surely
//! part of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::model::topology::ProxyFault;

const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The shortest header: `PROXY UNKNOWN` and its line end.
const SHORTEST: usize = 15;
/// The longest line of version 1.
const LONGEST_LINE: usize = 107;
/// What comes before the addresses in version 2.
const V2_FIXED: usize = 16;
/// The longest header of version 2 that is read, with what proxies add behind the addresses.
pub const LONGEST: usize = 4_096;

/// How far a header has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heard {
    /// It is complete: the source of the connection; none where the proxy speaks for itself, or does
    /// not know.
    Source(Option<SocketAddr>),
    /// So many bytes more are part of it, at least.
    More(usize),
    /// It goes on to the next line feed, and at most so many bytes.
    Line(usize),
}

/// Reads what has come of a header.
pub fn read(bytes: &[u8]) -> Result<Heard, ProxyFault> {
    let begins = |start: &[u8]| {
        let known = bytes.len().min(start.len());
        bytes[..known] == start[..known]
    };
    let (v1, v2) = (begins(V1), begins(V2));
    if !v1 && !v2 {
        return Err(ProxyFault::Missing);
    }
    if bytes.len() < SHORTEST {
        return Ok(Heard::More(SHORTEST - bytes.len()));
    }
    if v1 { line(bytes) } else { binary(bytes) }
}

/// Version 1: one line of text.
fn line(bytes: &[u8]) -> Result<Heard, ProxyFault> {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) if end >= LONGEST_LINE => Err(ProxyFault::TooLong),
        Some(end) if end + 1 == bytes.len() => source_of_line(bytes).ok_or(ProxyFault::Malformed),
        // What comes behind a line that ended early was taken for a part of it.
        Some(_) => Err(ProxyFault::Malformed),
        None if bytes.len() >= LONGEST_LINE => Err(ProxyFault::TooLong),
        None => Ok(Heard::Line(LONGEST_LINE - bytes.len())),
    }
}

fn source_of_line(line: &[u8]) -> Option<Heard> {
    let text = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let words: Vec<&str> = text.split(' ').collect();
    if let ["PROXY", "UNKNOWN", ..] = words[..] {
        return Some(Heard::Source(None));
    }
    let ["PROXY", family, source, destination, source_port, destination_port] = words[..] else {
        return None;
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    let source = SocketAddr::new(address(source)?.to_canonical(), port(source_port)?);
    address(destination)?;
    port(destination_port)?;
    Some(Heard::Source(Some(source)))
}

/// A port in decimal, without sign and leading zeros.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leads = text.len() > 1 && text.starts_with('0');
    if digits && !leads { text.parse().ok() } else { None }
}

/// Version 2: fixed fields, then addresses, then what nobody here looks at.
fn binary(bytes: &[u8]) -> Result<Heard, ProxyFault> {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED) else {
        return Ok(Heard::More(V2_FIXED - bytes.len()));
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let own = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyFault::Malformed),
    };
    // A stream over IPv4 or IPv6, or what the proxy does not say.
    let addresses = match fixed[13] {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        _ if own => 0,
        _ => return Err(ProxyFault::Malformed),
    };
    if V2_FIXED + length > LONGEST {
        return Err(ProxyFault::TooLong);
    }
    if !own && length < addresses {
        return Err(ProxyFault::Malformed);
    }
    if rest.len() < length {
        return Ok(Heard::More(length - rest.len()));
    }
    if own {
        return Ok(Heard::Source(None));
    }
    Ok(Heard::Source(source_of_block(&rest[..addresses])))
}

/// The source of an address block: both addresses, then both ports.
fn source_of_block(block: &[u8]) -> Option<SocketAddr> {
    let (address, ports) = match block.len() {
        12 => (IpAddr::from(*block.first_chunk::<4>()?), &block[8..]),
        36 => (IpAddr::from(*block.first_chunk::<16>()?), &block[32..]),
        _ => return None,
    };
    let port = u16::from_be_bytes(*ports.first_chunk()?);
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Heard {
        Heard::Source(text.parse().ok())
    }

    const NOBODY: Result<Heard, ProxyFault> = Ok(Heard::Source(None));
    const MALFORMED: Result<Heard, ProxyFault> = Err(ProxyFault::Malformed);

    #[test]
    fn lines_of_version_1_are_read() {
        let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                       ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
        let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
        assert_eq!((longest.len(), unknown.len()), (104, LONGEST_LINE));
        let rows = [
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", Ok(source("192.0.2.1:56324"))),
            ("PROXY TCP6 2001:db8::1 fd00::1 1 2\r\n", Ok(source("[2001:db8::1]:1"))),
            ("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:10.0.0.1 1 2\r\n", Ok(source("192.0.2.1:1"))),
            (longest, Ok(source("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"))),
            ("PROXY UNKNOWN\r\n", NOBODY),
            (&unknown, NOBODY),
            (&too_long, Err(ProxyFault::TooLong)),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 0 443\r\n", Ok(source("192.0.2.1:0"))),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 1\r\n", MALFORMED),
            ("PROXY TCP4  192.0.2.1 10.0.0.1 56324 443\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 \r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 +1 443\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 01 443\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1 1 -1\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 10.0.0.1  \r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.01 10.0.0.1 1 2\r\n", MALFORMED),
            ("PROXY TCP4 2001:db8::1 fd00::1 1 2\r\n", MALFORMED),
            ("PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED),
            ("PROXY TCP4 example.test 10.0.0.1 1 2\r\n", MALFORMED),
            ("PROXY TCP4 192.0.2.1 example.test 1 2\r\n", MALFORMED),
            ("PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED),
            ("PROXY tcp4 192.0.2.1 10.0.0.1 1 2\r\n", MALFORMED),
            ("PROXY UNKNOWNS\r\n", MALFORMED),
            ("PROXY A\r\nGET / \r\n", MALFORMED),
        ];
        for (text, expected) in rows {
            assert_eq!(read(text.as_bytes()), expected, "{text:?}");
        }
    }

    /// A header of version 2.
    fn header(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2, &[version_command, family], &length, block].concat()
    }

    fn v4() -> Vec<u8> {
        vec![192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb]
    }

    fn v6() -> Vec<u8> {
        let (from, to): (Ipv6Addr, Ipv6Addr) =
            ("2001:db8::1".parse().unwrap(), "fd00::1".parse().unwrap());
        [&from.octets()[..], &to.octets(), &[0, 1, 0, 2]].concat()
    }

    #[test]
    fn headers_of_version_2_are_read() {
        let tlv = |block: Vec<u8>| [block, vec![0xea, 0, 3, 1, 2, 3]].concat();
        let full = vec![0; LONGEST - V2_FIXED];
        let more = vec![0; LONGEST - V2_FIXED + 1];
        let rows = [
            ("IPv4", header(0x21, 0x11, &v4()), Ok(source("192.0.2.1:56324"))),
            ("IPv6", header(0x21, 0x21, &v6()), Ok(source("[2001:db8::1]:1"))),
            ("IPv4 with a TLV", header(0x21, 0x11, &tlv(v4())), Ok(source("192.0.2.1:56324"))),
            ("IPv6 with a TLV", header(0x21, 0x21, &tlv(v6())), Ok(source("[2001:db8::1]:1"))),
            (
                "a broken TLV",
                header(0x21, 0x11, &[v4(), vec![1]].concat()),
                Ok(source("192.0.2.1:56324")),
            ),
            ("local", header(0x20, 0x00, &[]), NOBODY),
            ("local with addresses", header(0x20, 0x11, &v4()), NOBODY),
            ("local of a family unknown", header(0x20, 0x7f, &[1, 2, 3]), NOBODY),
            ("unspecified", header(0x21, 0x00, &[]), NOBODY),
            ("unspecified with something", header(0x21, 0x00, &v4()), NOBODY),
            ("the longest", header(0x20, 0x00, &full), NOBODY),
            (
                "a longer one",
                header(0x20, 0x00, &more)[..V2_FIXED].to_vec(),
                Err(ProxyFault::TooLong),
            ),
            ("another version", header(0x11, 0x11, &v4()), MALFORMED),
            ("another command", header(0x22, 0x11, &v4()), MALFORMED),
            ("datagrams", header(0x21, 0x12, &v4()), MALFORMED),
            ("a Unix socket", header(0x21, 0x31, &[0; 216]), MALFORMED),
            ("IPv4 cut short", header(0x21, 0x11, &v4()[..11]), MALFORMED),
            ("IPv6 cut short", header(0x21, 0x21, &v6()[..35]), MALFORMED),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(read(&bytes), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_header_is_known_by_its_first_byte_that_differs() {
        for text in [
            "G",
            "GET / HTTP/1.1\r\n",
            "PROXX",
            "PROXY\t",
            "\r\n\r\nG",
            "\r\n\r\n\0\r\nQUIT\r",
            "\x16\x03\x01",
        ] {
            assert_eq!(read(text.as_bytes()), Err(ProxyFault::Missing), "{text:?}");
        }
    }

    /// Reads as a connection does: never a byte more than is surely part of the header.
    fn feed(stream: &[u8]) -> (Result<Heard, ProxyFault>, usize) {
        let mut taken = 0;
        loop {
            let wanted = match read(&stream[..taken]) {
                Ok(Heard::More(wanted)) => wanted,
                Ok(Heard::Line(most)) => {
                    let rest = &stream[taken..stream.len().min(taken + most)];
                    rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1)
                }
                other => return (other, taken),
            };
            if wanted == 0 || taken + wanted > stream.len() {
                return (read(&stream[..taken]), taken);
            }
            taken += wanted;
        }
    }

    #[test]
    fn nothing_behind_a_header_is_taken() {
        let headers = [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n".to_vec(),
            header(0x20, 0x00, &[]),
            header(0x21, 0x11, &v4()),
            header(0x21, 0x21, &[v6(), vec![0xea; 100]].concat()),
        ];
        for bytes in headers {
            for behind in ["", "GET / HTTP/1.1\r\n\r\n", "PROXY UNKNOWN\r\n"] {
                let stream = [&bytes, behind.as_bytes()].concat();
                let (heard, taken) = feed(&stream);
                assert!(matches!(heard, Ok(Heard::Source(_))), "{bytes:?}: {heard:?}");
                assert_eq!(taken, bytes.len(), "{bytes:?}");
            }
            for end in 0..bytes.len() {
                let heard = read(&bytes[..end]);
                assert!(
                    matches!(heard, Ok(Heard::More(1..) | Heard::Line(1..))),
                    "{bytes:?} {end}: {heard:?}"
                );
            }
        }
    }

    #[test]
    fn any_bytes_have_an_answer_within_bounds() {
        // A generator of our own (xorshift), so that every run sees the same bytes.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let seeds = [
            header(0x21, 0x11, &v4()),
            header(0x21, 0x21, &v6()),
            b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(),
        ];
        for round in 0..100_000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..=next() % 3 {
                let at = usize::try_from(next()).unwrap_or_default() % bytes.len();
                bytes[at] = u8::try_from(next() & 0xff).unwrap_or_default();
            }
            let (_, taken) = feed(&bytes);
            assert!(taken <= bytes.len());
            match read(&bytes) {
                Ok(Heard::More(more)) => assert!(more > 0 && bytes.len() + more <= LONGEST),
                Ok(Heard::Line(more)) => assert!(more > 0 && bytes.len() + more <= LONGEST_LINE),
                Ok(Heard::Source(_)) | Err(_) => {}
            }
        }
    }
}
