//! Tests of `request`, tables with named rows.

use std::net::{Ipv4Addr, SocketAddr};

use http::{Request, Uri, Version};

use super::*;

pub(super) fn conn() -> ConnMeta {
    ConnMeta {
        peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 40000)),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
        scheme: Scheme::Http,
        sni: None,
        proxied: None,
    }
}

/// Reads `GET target` with these headers over HTTP/1.1.
fn read(target: &str, headers: &[(&str, &str)]) -> Result<RequestView, Reason> {
    read_as(Version::HTTP_11, "GET", target, headers)
}

fn read_as(
    version: Version,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<RequestView, Reason> {
    let uri = target.parse::<Uri>().map_err(|_| Reason::MalformedRequest)?;
    let mut request = Request::builder().method(method).uri(uri).version(version);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    RequestView::read(request.body(()).unwrap().into_parts().0, &conn())
}

fn target(target: &str) -> Result<String, Reason> {
    read(target, &[("host", "a.test")]).map(|view| view.path_and_query().to_string())
}

#[test]
fn paths_are_normalised_as_istio_does() {
    let rows = [
        // Nothing to do.
        ("/", "/"),
        ("/a/b?x=%2e&y", "/a/b?x=%2e&y"),
        ("/.well-known/x", "/.well-known/x"),
        ("/..../admin", "/..../admin"),
        ("/a..", "/a.."),
        // Slashes are kept, backslashes become slashes.
        ("//a//b/", "//a//b/"),
        ("/app/\\/\\/\\admin", "/app//////admin"),
        ("/x\\..\\admin", "/admin"),
        // Escapes: only unreserved characters are decoded, once.
        ("/%41%5a%61%7a%30%39%2d%2e%5f%7e", "/AZaz09-._~"),
        ("/%2f..%2F%5c%5C%3b%20%c3%A9", "/%2f..%2F%5c%5C%3b%20%c3%A9"),
        ("/%252e%252e/admin", "/%252e%252e/admin"),
        ("/a%zz%", "/a%zz%"),
        ("/%1f%7f", "/%1f%7f"),
        // Dot segments.
        ("/a/../b", "/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
        ("/../x", "/x"),
        ("/x/.", "/x/"),
        ("/a//../b", "/a/b"),
        ("/..//admin", "//admin"),
        ("/.//admin", "//admin"),
        ("/app//../../admin", "/admin"),
        ("/%2e", "/"),
        ("/x/.%2E/admin", "/admin"),
        ("/a/%2e%2e%2fb", "/a/..%2fb"),
        ("/a/b%2e%2e", "/a/b.."),
        // Dot segments with path parameters, where the dots are literal.
        ("/x/..;/admin", "/admin"),
        ("/a/.;x/b", "/a/b"),
        ("/.;", "/"),
        ("/a/..;%2f/b", "/b"),
        ("/a;x/..;y/c", "/c"),
        ("/a/%2e%2e;x/b", "/a/..;x/b"),
        ("/a/.%2e;/b", "/a/..;/b"),
        ("/;/admin", "/;/admin"),
        ("/admin;a=b", "/admin;a=b"),
        // Such a parameter ends at a slash, not at a backslash.
        ("/x/..;y\\a/b", "/b"),
        ("/x/.;y\\..;z", "/x/"),
        ("/..;\\a\\b", "/"),
        ("/a\\b/..;/c", "/a/c"),
        ("/x\\..;y/a", "/a"),
        ("/x/..\\;/a", "/;/a"),
        // What a path may not hold is encoded.
        ("/p\"x{y}^|", "/p%22x%7By%7D%5E%7C"),
        // Fragments go, queries stay as they are.
        ("/app#/../admin", "/app"),
        ("/a?b=../%41#c", "/a?b=../%41"),
        // Absolute-form.
        ("http://b.test", "/"),
        ("http://b.test#x/y", "/"),
        ("http://b.test/#x/y", "/"),
        ("http://b.test?q", "/?q"),
        ("http://b.test/x/../y?q", "/y?q"),
    ];
    for (sent, expected) in rows {
        assert_eq!(target(sent).as_deref(), Ok(expected), "{sent}");
        let view = read(sent, &[("host", "a.test")]).unwrap();
        let line = Uri::from(view.into_upstream().target);
        assert_eq!(line.path_and_query().map(PathAndQuery::as_str), Some(expected), "{sent}");
        assert!(!line.path().is_empty(), "{sent}: an empty request line");
    }
}

#[test]
fn paths_that_fool_somebody_are_refused() {
    for sent in ["/a%00", "/%00/b", "*", "/caf\u{e9}", "/a?caf\u{e9}", "/%%32%65/x", "/%%32e"] {
        assert_eq!(target(sent), Err(Reason::PathInvalid), "{sent}");
    }
    assert_eq!(target("ftp://a.test/"), Err(Reason::MalformedRequest));
}

/// hyper refuses them with the same words before there is a request.
#[test]
fn characters_that_no_target_has_are_refused() {
    for sent in ["/<a", "/a>", "/`", "/a?\"", "/a?<", "/a?>", "/\t", "/a b", "/\u{7f}"] {
        assert_eq!(target(sent), Err(Reason::MalformedRequest), "{sent:?}");
    }
}

#[test]
fn one_host_is_what_a_request_has() {
    type Row = (
        &'static str,
        &'static [(&'static str, &'static str)],
        Result<(&'static str, &'static str), Reason>,
    );
    let rows: [Row; 20] = [
        ("/", &[("host", "A.test:80")], Ok(("A.test:80", "a.test"))),
        ("/", &[("host", "")], Ok(("", ""))),
        ("/", &[("host", "a.test:")], Ok(("a.test:", "a.test"))),
        ("/", &[("host", "a.test.")], Ok(("a.test.", "a.test."))),
        ("/", &[("host", "[::1]:80")], Ok(("[::1]:80", "[::1]"))),
        ("http://B.test/", &[("host", "other")], Ok(("B.test", "b.test"))),
        ("http://b.test:81/", &[], Ok(("b.test:81", "b.test"))),
        ("/", &[], Err(Reason::HostInvalid)),
        ("/", &[("host", "a.test"), ("host", "a.test")], Err(Reason::HostInvalid)),
        ("/", &[("host", "user@a.test")], Err(Reason::HostInvalid)),
        ("http://user@a.test/", &[("host", "a.test")], Err(Reason::HostInvalid)),
        ("/", &[("host", "a.test,b.test")], Err(Reason::HostInvalid)),
        ("/", &[("host", "a.test/x")], Err(Reason::HostInvalid)),
        ("/", &[("host", "a.test:80:80")], Err(Reason::HostInvalid)),
        ("/", &[("host", "a.test:99999")], Err(Reason::HostInvalid)),
        ("/", &[("host", "a.test:x")], Err(Reason::HostInvalid)),
        ("/", &[("host", "a%2etest")], Err(Reason::HostInvalid)),
        ("/", &[("host", "[a]")], Err(Reason::HostInvalid)),
        ("http://a_b.test:/", &[], Ok(("a_b.test:", "a_b.test"))),
        ("/", &[("host", "[::1"), ("x", "y")], Err(Reason::HostInvalid)),
    ];
    for (sent, headers, expected) in rows {
        let read = read(sent, headers);
        let found = read.as_ref().map(|v| (v.authority(), v.host())).map_err(|r| *r);
        assert_eq!(found, expected, "{sent} {headers:?}");
        if let Ok(view) = read {
            assert_eq!(view.headers()[http::header::HOST], view.authority());
        }
    }
}

#[test]
fn each_request_of_a_connection_has_its_own_host() {
    let last = LastAuthority::default();
    let read = |host: &str| {
        let mut parts = Request::new(()).into_parts().0;
        parts.headers.insert("host", host.parse().unwrap());
        let view = RequestView::read_after(parts, &conn(), &last)?;
        Ok::<_, Reason>((view.authority().to_owned(), view.host().to_owned()))
    };
    let is = |authority: &str, host: &str| Ok((authority.to_owned(), host.to_owned()));
    for _ in 0..2 {
        assert_eq!(read("A.test:80"), is("A.test:80", "a.test"));
        assert_eq!(read("A.test:80"), is("A.test:80", "a.test"));
        assert_eq!(read("a.test:80"), is("a.test:80", "a.test"));
        assert_eq!(read("a.test"), is("a.test", "a.test"));
        assert_eq!(read("a@test"), Err(Reason::HostInvalid));
        assert_eq!(read("a@test"), Err(Reason::HostInvalid), "nor later");
        assert_eq!(read("b.test"), is("b.test", "b.test"));
        let long = "c".repeat(300);
        assert_eq!(read(&long), is(&long, &long));
    }
}

#[test]
fn http2_hosts_agree_with_the_authority() {
    let h2 = |host: &str| {
        let headers = [("host", host)];
        let headers = if host.is_empty() { &[][..] } else { &headers[..] };
        read_as(Version::HTTP_2, "GET", "https://a.test/x", headers).map(|v| v.host().to_owned())
    };
    assert_eq!(h2(""), Ok("a.test".to_owned()));
    assert_eq!(h2("A.TEST"), Ok("a.test".to_owned()));
    assert_eq!(h2("b.test"), Err(Reason::HostInvalid));
}

#[test]
fn the_scheme_is_that_of_the_connection() {
    for target in ["http://a.test/", "https://a.test/"] {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let view = read_as(version, "GET", target, &[("host", "a.test")]).unwrap();
            assert_eq!(view.scheme(), Scheme::Http, "{target} {version:?}");
        }
    }
}

#[test]
fn hop_by_hop_headers_go_before_anybody_looks() {
    let headers = [
        ("host", "a.test"),
        ("connection", "Authorization, x-drop"),
        ("connection", "keep-alive,, upgrade, transfer-encoding"),
        ("connection", "no name, \"x-keep\", x-keep;q=1, \u{e9}"),
        ("authorization", "Bearer t"),
        ("x-drop", "1"),
        ("x-keep", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("te", "gzip;q=0.5, trailers"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("expect", "100-Continue"),
        ("expect", "tea"),
        ("x-forwarded-client-cert", "By=spiffe://a;URI=spiffe://b"),
        ("x-envoy-internal", "true"),
        ("x-envoy-decorator-operation", "x"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
    ];
    let head = read("/", &headers).unwrap().into_upstream();
    let names: Vec<_> = head.headers.keys().map(http::HeaderName::as_str).collect();
    assert_eq!(names, ["host", "x-keep"]);
    assert!(head.te_trailers);
    assert_eq!(head.upgrade.unwrap(), "websocket");
}

#[test]
fn nominations_have_limits() {
    let rows = [
        ("connection", "host", Reason::MalformedRequest),
        ("connection", "Content-Length", Reason::MalformedRequest),
        ("connection", "x-forwarded-for", Reason::MalformedRequest),
        ("connection", ":path", Reason::MalformedRequest),
        ("connection", "a,b,c,d,e,f,g,h,i,j", Reason::MalformedRequest),
    ];
    for (name, value, reason) in rows {
        let refused = read("/", &[("host", "a.test"), (name, value)]).map(|_| ());
        assert_eq!(refused, Err(reason), "{name}: {value}");
    }
    let both = [("host", "a"), ("content-length", "1"), ("transfer-encoding", "chunked")];
    assert_eq!(read("/", &both).map(|_| ()), Err(Reason::AmbiguousFraming));
}

#[test]
fn methods_are_the_known_ones() {
    let read = |m: &str| {
        let h1 = read_as(Version::HTTP_11, m, "/", &[("host", "a")]).map(|_| ());
        let h2 = read_as(Version::HTTP_2, m, "http://a/", &[]).map(|_| ());
        assert_eq!(h1, h2, "{m}");
        h1
    };
    for method in ["GET", "HEAD", "TRACE", "PROPFIND", "ACL", "VERSION-CONTROL", "QUERY"] {
        assert_eq!(read(method), Ok(()), "{method}");
    }
    assert_eq!(read("CONNECT"), Err(Reason::NotSupported));
    for method in ["get", "Get", "GETX", "FOO"] {
        assert_eq!(read(method), Err(Reason::MalformedRequest), "{method}");
    }
}

#[test]
fn repeated_lines_are_joined_where_the_header_is_one_line() {
    let headers = [
        ("host", "a"),
        ("authorization", "Basic a"),
        ("authorization", "Bearer b"),
        ("x-q", "1"),
        ("x-q", "2"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("origin", ""),
        ("origin", "http://o.test"),
        ("origin", ""),
        ("referer", "no url"),
    ];
    let view = read("/", &headers).unwrap();
    let lines = |view: &HeaderMap, name: &str| {
        view.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(view.headers(), "authorization"), ["Basic a,Bearer b"]);
    assert_eq!(lines(view.headers(), "x-q"), ["1", "2"]);
    assert_eq!(lines(view.headers(), "cookie"), ["a=1", "b=2"]);
    assert_eq!(lines(view.headers(), "origin"), ["http://o.test"], "an empty line adds nothing");
    assert!(!view.headers().contains_key("referer"));
    let head = view.into_upstream();
    assert_eq!(lines(&head.headers, "cookie"), ["a=1; b=2"]);
}

#[test]
fn removed_parameters_leave_the_others_alone() {
    let rows = [
        ("/p?tok=x", "/p"),
        ("/p?q=a%20b%26c&tok=x&flag&a=1", "/p?q=a%20b%26c&flag&a=1"),
        ("/p?%74ok=x&tok=y&TOK=z", "/p?TOK=z"),
        ("/p?tokx=1", "/p?tokx=1"),
        ("/p", "/p"),
    ];
    for (sent, expected) in rows {
        let mut view = read(sent, &[("host", "a")]).unwrap();
        let realm = view.realm();
        view.remove_param("tok").unwrap();
        assert_eq!(view.path_and_query().as_str(), expected, "{sent}");
        assert_eq!(view.realm(), realm, "the realm shows what was sent");
    }
}

#[test]
fn parameters_are_decoded_and_the_first_counts() {
    let view = read("/?a=1%2B+%zz&a=2&B=3&empty=&bare", &[("host", "a")]).unwrap();
    let rows: [(&str, Option<&[u8]>); 5] = [
        ("a", Some(b"1++%zz")),
        ("b", None),
        ("B", Some(b"3")),
        ("empty", Some(b"")),
        ("bare", Some(b"")),
    ];
    for (name, expected) in rows {
        assert_eq!(view.param(name).as_deref(), expected, "{name}");
    }
}

#[test]
fn the_realm_cuts_path_and_query_only() {
    let long = format!("/{}", "x".repeat(300));
    let view = read(&long, &[("host", "A.test:80")]).unwrap();
    assert_eq!(view.realm(), format!("http://A.test:80{}", &long[..256]));
}

/// A small generator, so that rows need no seed file: xorshift over an alphabet of what matters.
fn generated(count: usize) -> impl Iterator<Item = String> {
    const PIECES: [&str; 22] = [
        "/", "//", ".", "..", "%2e", "%2E", "%2f", "%5c", "\\", ";", "..;", ".;x", "a", "admin",
        "%", "%zz", "%41", "%25", "\"", "{", "~", "%c3%a9",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        let mut target = String::from("/");
        for _ in 0..8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            target.push_str(PIECES[usize::try_from(state % 22).unwrap()]);
        }
        target
    })
    .take(count)
}

#[test]
fn the_decided_path_is_the_forwarded_path() {
    for sent in generated(20_000) {
        let Ok(view) = read(&sent, &[("host", "a")]) else {
            continue;
        };
        let decided = view.path().to_owned();
        let dots = decided.split('/').any(|s| matches!(s, "." | ".."));
        assert!(decided.starts_with('/') && !dots, "{sent} gives {decided}");
        assert!(!decided.contains('\\') && !decided.to_ascii_lowercase().contains("%2e"), "{sent}");
        let head = view.into_upstream();
        assert_eq!(head.target.path(), decided, "{sent}");
        // What another reader of the same rules makes of the upstream's line is the same line,
        // unless it has an encoded `..;`, which SEMANTICS leaves to the upstream.
        if !decided.contains("/.;") && !decided.contains("/..;") {
            assert_eq!(target(&decided).as_deref(), Ok(decided.as_str()), "{sent}");
        }
    }
}

#[test]
fn set_parameters_replace_their_name_and_are_encoded() {
    for (target, name, value, expected) in [
        ("/x", "a", "1", "/x?a=1"),
        ("/x?a=1&b=%32&%61=3", "a", "x", "/x?b=%32&a=x"),
        ("/x?b", "a b", "&=#é%", "/x?b&a%20b=%26%3D%23%C3%A9%25"),
    ] {
        let mut view = read(target, &[("host", "a")]).unwrap();
        view.set_param(name, value).unwrap();
        assert_eq!(view.path_and_query().as_str(), expected, "{target}");
    }
}

#[test]
fn a_request_id_is_the_clients_own() {
    let view = read("/", &[("host", "a.test"), ("x-request-id", "mine")]).unwrap();
    assert_eq!(view.headers()["x-request-id"], "mine", "policies see it");
    assert_eq!(view.into_upstream().headers["x-request-id"], "mine");
    let none = read("/", &[("host", "a.test")]).unwrap();
    assert!(!none.into_upstream().headers.contains_key("x-request-id"), "none is made");
}
