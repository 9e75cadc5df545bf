//! What a Referer may look like (RFC 9110 10.1.3): a URL with a host, or a relative one, in both
//! cases without fragment. Anything else is taken away before anybody looks, as Envoy does.

/// Whether a value is a Referer.
pub(super) fn is_url(value: &[u8]) -> bool {
    memchr::memmem::find(value, b"://")
        .is_some_and(|at| is_scheme(&value[..at]) && is_hierarchy(&value[at + 3..]))
        || is_relative(value)
}

fn is_scheme(text: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(inner)
}

/// What follows `scheme://`: host, perhaps a port, and whatever is printable but a fragment. User
/// information is somebody's secret, and no part of it.
fn is_hierarchy(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(text.len());
    let (authority, rest) = text.split_at(end);
    is_authority(authority) && rest.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

fn is_authority(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', inner @ ..] => match inner.iter().position(|byte| *byte == b']') {
            Some(end) => inner.split_at(end + 1),
            None => return false,
        },
        _ => text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len())),
    };
    let host_fits = match host {
        [] => false,
        [inner @ .., b']'] => inner.iter().all(|b| b.is_ascii_hexdigit() || b":.".contains(b)),
        name => name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(byte)),
    };
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] => {
            let number = str::from_utf8(digits).ok().and_then(|text| text.parse::<u16>().ok());
            digits.iter().all(u8::is_ascii_digit) && number.is_some()
        }
        _ => false,
    };
    host_fits && port_fits
}

/// A relative reference (RFC 3986 4.2): no colon before the first slash.
fn is_relative(value: &[u8]) -> bool {
    let first = value.split(|byte| *byte == b'/').next().unwrap_or_default();
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(byte);
    !first.contains(&b':') && value.iter().all(fits)
}

#[cfg(test)]
mod tests {
    use super::is_url;

    #[test]
    fn referers_are_urls_without_fragment() {
        let good = [
            "",
            "http://a.test/x",
            "https://a.test",
            "http://a.test?x",
            "http://[::1]:80/",
            "http://-a..b/",
            "HTTP://A.TEST/\"<[\\^`{|%",
            "android-app://com.x/",
            "/a:b",
            "a/b:c",
            "?q",
            "//a.test:80/x",
            "!$&'()*+,;=~%zz",
        ];
        let bad = [
            "#f",
            "/a#f",
            "http://a.test/x#f",
            "http://u:p@a.test/",
            "http://u@a.test/",
            "about:blank",
            "http:/a",
            "http://",
            "http:///x",
            "1http://a/",
            "http://a_b.test/",
            "http://a.test:/",
            "http://a.test:x/",
            "http://a.test:+1/",
            "http://a.test:99999/",
            "http://[::1",
            "http://[::1]x",
            "http://[]:a",
            "http://a.test/a b",
            "http://a.test/\u{e9}",
            "a b",
            "\u{e9}",
            "/a\"b",
            "/a\\b",
        ];
        for value in good {
            assert!(is_url(value.as_bytes()), "{value}");
        }
        for value in bad {
            assert!(!is_url(value.as_bytes()), "{value}");
        }
    }
}
