//! Path normalisation, done once: what is decided here is what the upstream gets.
//!
//! The steps are Istio's default (`BASE`): `\` becomes `/`, escapes of unreserved characters are
//! decoded (RFC 3986 6.2.2.2), dot segments are resolved (RFC 3986 5.2.4), slashes are kept. A
//! segment that is literally `.` or `..` with a path parameter (`..;x`) is a dot segment too,
//! because servlet containers read it so; its parameter goes on to the next `/`, over any `\`.
//! Anything else about a path stays as it was sent.

use std::borrow::Cow;

use crate::model::reason::Reason;

/// What a byte of a path asks for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Class {
    /// Stays.
    Plain,
    /// `/`.
    Slash,
    /// `.`: may begin a dot segment.
    Dot,
    /// Needs the slow way: `%`, `\`, and what RFC 3986 does not allow in a path.
    Work,
    /// Never allowed: controls, blanks, DEL, and bytes above 0x7f.
    Bad,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Plain; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match byte {
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b'%' | b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Work,
            0..=0x20 | 0x7f..=0xff => Class::Bad,
            _ => Class::Plain,
        };
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

/// Normalises the path of a request target. Borrowed when it is normal already.
pub(super) fn normalise(path: &str) -> Result<Cow<'_, str>, Reason> {
    if !path.starts_with('/') {
        return Err(Reason::PathInvalid);
    }
    if is_normal(path.as_bytes())? {
        return Ok(Cow::Borrowed(path));
    }
    rewrite(path).map(Cow::Owned)
}

/// Whether the path is its own normal form; the one pass that most requests need.
fn is_normal(path: &[u8]) -> Result<bool, Reason> {
    let mut normal = true;
    let mut previous = Class::Plain;
    for (at, &byte) in path.iter().enumerate() {
        let class = CLASSES[usize::from(byte)];
        match class {
            Class::Plain | Class::Slash => {}
            Class::Work => normal = false,
            Class::Bad => return Err(Reason::PathInvalid),
            Class::Dot => normal &= previous != Class::Slash || !dotted(&path[at..]),
        }
        previous = class;
    }
    Ok(normal)
}

/// Whether a text that begins with a dot begins with a dot segment. May say yes too often (for
/// `/..a`), which only costs time.
fn dotted(rest: &[u8]) -> bool {
    matches!(rest.get(1), None | Some(b'/' | b';' | b'.'))
}

/// Builds the normal form, segment by segment.
fn rewrite(path: &str) -> Result<String, Reason> {
    let mut out = String::with_capacity(path.len());
    let mut decoded = String::new();
    let mut rest = Some(&path[1..]);
    while let Some(text) = rest {
        let (raw, next) = segment(text);
        rest = next;
        decoded.clear();
        let mut dots = literal_dots(raw);
        if dots.is_none() {
            decode(raw, &mut decoded)?;
            dots = exact_dots(&decoded);
        }
        match dots {
            None => {
                out.push('/');
                out.push_str(&decoded);
            }
            Some(dots) => {
                if dots == Dots::Parent {
                    out.truncate(out.rfind('/').unwrap_or(0));
                }
                if rest.is_none() {
                    out.push('/');
                }
            }
        }
    }
    Ok(out)
}

/// The first segment of a text, and what follows its separator.
fn segment(text: &str) -> (&str, Option<&str>) {
    let separator = |byte: char| byte == '/' || byte == '\\';
    let end = text.find(separator);
    let first = &text[..end.unwrap_or(text.len())];
    let end =
        if first.contains(';') && literal_dots(first).is_some() { text.find('/') } else { end };
    match end {
        Some(end) => (&text[..end], Some(&text[end + 1..])),
        None => (text, None),
    }
}

/// A dot segment.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Dots {
    Here,
    Parent,
}

fn exact_dots(segment: &str) -> Option<Dots> {
    match segment {
        "." => Some(Dots::Here),
        ".." => Some(Dots::Parent),
        _ => None,
    }
}

/// Dot segments as sent, with or without a path parameter.
fn literal_dots(segment: &str) -> Option<Dots> {
    exact_dots(segment.split_once(';').map_or(segment, |(name, _)| name))
}

/// Decodes escapes of unreserved characters, encodes what a path may not hold.
fn decode(segment: &str, out: &mut String) -> Result<(), Reason> {
    let bytes = segment.as_bytes();
    let mut at = 0;
    let mut escapes = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, escape(&bytes[at..])) {
            (b'%', Some(0)) => return Err(Reason::PathInvalid),
            (b'%', Some(value)) if is_unreserved(value) => {
                out.push(char::from(value));
                at += 3;
            }
            (b'%', Some(_)) => {
                out.push_str(&segment[at..at + 3]);
                escapes += 1;
                at += 3;
            }
            (b'%', None) => {
                out.push('%');
                at += 1;
            }
            (_, _) => {
                if CLASSES[usize::from(byte)] == Class::Work {
                    out.push('%');
                    out.push(hex_digit(byte >> 4));
                    out.push(hex_digit(byte & 15));
                    escapes += 1;
                } else {
                    out.push(char::from(byte));
                }
                at += 1;
            }
        }
    }
    // `%%32e` would become `%2e`: an escape that nobody sent, for the upstream to decode.
    if count_escapes(out.as_bytes()) != escapes {
        return Err(Reason::PathInvalid);
    }
    Ok(())
}

fn count_escapes(bytes: &[u8]) -> usize {
    let percent = |at: &usize| bytes[*at] == b'%' && escape(&bytes[*at..]).is_some();
    (0..bytes.len()).filter(percent).count()
}

/// The value of the `%XX` that `bytes` begins with.
pub(super) fn escape(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'%', high, low, ..] => Some(hex_value(*high)? << 4 | hex_value(*low)?),
        _ => None,
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

fn hex_digit(value: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(value & 15)])
}

/// RFC 3986 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}
