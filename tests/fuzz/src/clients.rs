//! What proxies say of clients: a PROXY header has one length whatever follows it and however it
//! arrives, and a client is an address that stands in `X-Forwarded-For` as far as it is believed.

use std::net::IpAddr;

use gateway_daemon::request::RequestView;
use gateway_daemon::request::proxy_header::{Heard, LONGEST, read};
use http::HeaderValue;

use super::setting::conn;

/// The bytes are what a connection begins with, and also the value of `X-Forwarded-For`.
pub fn holds(bytes: &[u8]) {
    header(bytes);
    forwarded(bytes);
}

fn header(bytes: &[u8]) {
    let Some(length) = complete(bytes) else { return };
    assert!(length <= LONGEST);
    let header = &bytes[..length];
    let heard = read(header);
    assert!(
        (0..length)
            .all(|end| matches!(read(&header[..end]), Ok(Heard::More(1..) | Heard::Line(1..))))
    );
    for behind in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\n", b"\x16\x03\x01", header] {
        let stream = [header, behind].concat();
        assert_eq!(complete(&stream), Some(length), "what follows is no part of it");
        assert_eq!(read(&stream[..length]), heard);
    }
}

/// How much of a stream is its header; none where it is not complete, or none.
fn complete(stream: &[u8]) -> Option<usize> {
    let mut taken = 0;
    loop {
        let wanted = match read(&stream[..taken]) {
            Ok(Heard::Source(_)) => return Some(taken),
            Ok(Heard::More(wanted)) => wanted,
            Ok(Heard::Line(most)) => {
                let rest = &stream[taken..stream.len().min(taken + most)];
                rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1)
            }
            Err(_) => return None,
        };
        assert!(taken + wanted <= LONGEST);
        if wanted == 0 || taken + wanted > stream.len() {
            return None;
        }
        taken += wanted;
    }
}

fn forwarded(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut parts = http::Request::new(()).into_parts().0;
    parts.headers.insert("host", HeaderValue::from_static("a.test"));
    parts.headers.insert("x-forwarded-for", value);
    let Ok(mut view) = RequestView::read(parts, &conn()) else { return };
    let entries: Vec<&[u8]> = bytes.rsplit(|byte| *byte == b',').collect();
    let address = |entry: &[u8]| {
        let text = std::str::from_utf8(entry.trim_ascii()).ok()?;
        text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
    };
    for proxies in 1..5 {
        let nearest = view.forwarded_for(proxies, |_| false);
        let farthest = view.forwarded_for(proxies, |_| true);
        let enough = entries.len() >= proxies as usize;
        let believed = entries.iter().take(proxies as usize).map(|entry| address(entry));
        let believed: Vec<_> = believed.collect();
        assert_eq!(nearest, believed[0].filter(|_| enough), "nobody in between is a proxy");
        let all = enough && believed.iter().all(Option::is_some);
        assert_eq!(farthest, believed[believed.len() - 1].filter(|_| all), "everybody is one");
    }
    // Who relays it adds one entry, and takes none away.
    let source = IpAddr::from([192, 0, 2, 1]);
    view.believe_proxy(source);
    assert_eq!(view.forwarded_for(1, |_| false), Some(source));
}
