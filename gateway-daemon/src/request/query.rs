//! Query parameters, read without copying where nothing is escaped.

use std::borrow::Cow;

use super::path::escape;

/// Parameters of a query in order, names and values still encoded.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// Decodes `%XX`; `+` and broken escapes stay.
pub(super) fn decode(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if memchr::memchr(b'%', bytes).is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let value = escape(&bytes[at..]);
        out.push(value.unwrap_or(byte));
        at += if value.is_some() { 3 } else { 1 };
    }
    Cow::Owned(out)
}

/// The query without any parameter of this name; the others stay byte for byte. None when nothing
/// is left.
pub(super) fn without(query: &str, name: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(query.len());
    let kept = query.split('&').filter(|pair| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
        *decode(key) != *name
    });
    let mut any = false;
    for pair in kept {
        if any {
            out.push('&');
        }
        out.push_str(pair);
        any = true;
    }
    (!out.is_empty()).then_some(out)
}

/// Encodes everything that could be taken for something else than text.
pub(super) fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    encoded.collect()
}
