//! What proxies in front say of a request: `X-Forwarded-For`, `-Proto`, `-Host`. Believed only where
//! somebody says so.

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};

use super::{RequestView, Scheme};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

impl RequestView {
    /// The client, where so many proxies stand in front and the nearest of them is one. None where
    /// the header names fewer addresses, or something that is none.
    pub fn forwarded_for(&self, proxies: u32, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        client(self.headers().get(FOR)?.as_bytes(), proxies, is_proxy)
    }

    /// Takes a proxy's word for how its client reached it, and adds the address that the proxy itself
    /// came from. From here on these headers are what the upstream gets. Answers the scheme.
    pub fn believe_proxy(&mut self, source: IpAddr) -> Scheme {
        let proto = self.headers.get(PROTO).map(HeaderValue::as_bytes);
        self.scheme = match proto {
            Some(word) if word.eq_ignore_ascii_case(b"https") => Scheme::Https,
            Some(word) if word.eq_ignore_ascii_case(b"http") => Scheme::Http,
            _ => self.scheme,
        };
        self.headers.insert(PROTO, HeaderValue::from_static(self.scheme.as_str()));
        let mut chain = match self.headers.get(FOR) {
            Some(chain) if !chain.is_empty() => [chain.as_bytes(), b","].concat(),
            _ => Vec::new(),
        };
        chain.extend_from_slice(source.to_string().as_bytes());
        // A header's value, a comma and an address: all of it may stand in a header.
        if let Ok(chain) = HeaderValue::from_bytes(&chain) {
            self.headers.insert(FOR, chain);
        }
        if !self.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(self.authority())
        {
            self.headers.insert(HOST, host);
        }
        self.scheme
    }
}

/// The client by `X-Forwarded-For`: the address that many places from the right. An entry was written
/// by whoever stands one place further to the right, so it is believed only where that one is a proxy:
/// whoever is none is the client itself. None where there are fewer addresses, or what is looked at is
/// none.
fn client(header: &[u8], proxies: u32, is_proxy: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let entries = || header.rsplit(|byte| *byte == b',');
    let proxies = usize::try_from(proxies).unwrap_or(usize::MAX);
    entries().nth(proxies.checked_sub(1)?)?;
    let mut client = None;
    for entry in entries().take(proxies) {
        let address = std::str::from_utf8(entry.trim_ascii()).ok()?.parse::<IpAddr>().ok()?;
        client = Some(address.to_canonical());
        if !is_proxy(address) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies are in `10.0.0.0/8` and `fd00::/8`.
    fn is_proxy(address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.octets()[0] == 0xfd,
        }
    }

    #[test]
    fn the_client_stands_as_many_places_from_the_right_as_there_are_proxies() {
        let rows: [(&str, u32, Option<&str>); 29] = [
            ("192.0.2.1", 0, None),
            ("192.0.2.1", 1, Some("192.0.2.1")),
            ("1.1.1.1, 192.0.2.1", 1, Some("192.0.2.1")),
            ("1.1.1.1, 192.0.2.1, 10.0.0.1", 2, Some("192.0.2.1")),
            ("1.1.1.1,192.0.2.1,10.0.0.1,10.0.0.2", 3, Some("192.0.2.1")),
            ("  1.1.1.1 \t,\t192.0.2.1 ", 1, Some("192.0.2.1")),
            // Fewer than there should be.
            ("192.0.2.1", 2, None),
            ("192.0.2.1, 10.0.0.1", 3, None),
            ("10.0.0.1", u32::MAX, None),
            ("", 1, None),
            // A proxy that is none: it is the client, and what it wrote is nobody's word.
            ("1.1.1.1, 192.0.2.1", 2, Some("192.0.2.1")),
            ("1.1.1.1, 192.0.2.1, 10.0.0.1", 3, Some("192.0.2.1")),
            ("1.1.1.1, 10.0.0.1, 192.0.2.1", 3, Some("192.0.2.1")),
            // What is no address.
            ("unknown", 1, None),
            ("1.1.1.1, ", 1, None),
            ("1.1.1.1, _hidden", 1, None),
            ("192.0.2.1:1234", 1, None),
            ("192.0.2", 1, None),
            ("192.0.2.01", 1, None),
            ("192.0.2.256", 1, None),
            ("192.0.2.1 192.0.2.2", 1, None),
            ("\"192.0.2.1\"", 1, None),
            ("x, 10.0.0.1", 2, None),
            // Garbage further to the left is nobody's business.
            ("x, 192.0.2.1", 1, Some("192.0.2.1")),
            ("2001:db8::1", 1, Some("2001:db8::1")),
            ("2001:DB8:0::1, fd00::1", 2, Some("2001:db8::1")),
            ("[2001:db8::1]", 1, None),
            ("fe80::1%eth0", 1, None),
            ("::ffff:192.0.2.1", 1, Some("192.0.2.1")),
        ];
        for (header, proxies, expected) in rows {
            let found = client(header.as_bytes(), proxies, is_proxy);
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(found, expected, "{header:?} with {proxies} proxies");
        }
        assert_eq!(client(b"1.1.1.1, \xff", 1, is_proxy), None);
    }

    /// Header lines.
    type Lines = &'static [(&'static str, &'static str)];

    fn view(lines: Lines) -> RequestView {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.headers.insert("host", HeaderValue::from_static("a.test"));
        for (name, value) in lines {
            parts.headers.append(*name, HeaderValue::from_static(value));
        }
        RequestView::read(parts, &super::super::tests::conn()).unwrap()
    }

    #[test]
    fn several_lines_are_one_list() {
        let view = view(&[
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", ""),
            ("x-forwarded-for", "192.0.2.1, 10.0.0.1"),
        ]);
        assert_eq!(view.forwarded_for(1, is_proxy), "10.0.0.1".parse().ok());
        assert_eq!(view.forwarded_for(2, is_proxy), "192.0.2.1".parse().ok());
        assert_eq!(view.forwarded_for(3, is_proxy), "192.0.2.1".parse().ok());
        assert_eq!(view.forwarded_for(4, is_proxy), None);
    }

    #[test]
    fn the_upstream_gets_the_proxys_words_and_its_address() {
        let rows: [(Lines, Scheme, [&str; 3]); 5] = [
            (&[], Scheme::Http, ["10.0.0.1", "http", "a.test"]),
            (
                &[
                    ("x-forwarded-for", "192.0.2.1"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "b.test"),
                ],
                Scheme::Https,
                ["192.0.2.1,10.0.0.1", "https", "b.test"],
            ),
            (&[("x-forwarded-for", "")], Scheme::Http, ["10.0.0.1", "http", "a.test"]),
            (&[("x-forwarded-proto", "HTTPS")], Scheme::Https, ["10.0.0.1", "https", "a.test"]),
            (&[("x-forwarded-proto", "https,http")], Scheme::Http, ["10.0.0.1", "http", "a.test"]),
        ];
        for (lines, scheme, expected) in rows {
            let mut view = view(lines);
            assert_eq!(view.believe_proxy("10.0.0.1".parse().unwrap()), scheme, "{lines:?}");
            assert_eq!(view.scheme(), scheme, "{lines:?}");
            let headers =
                [FOR, PROTO, HOST].map(|name| view.headers()[name].to_str().unwrap().to_owned());
            assert_eq!(headers, expected, "{lines:?}");
        }
    }
}
