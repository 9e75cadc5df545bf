//! Framing that could smuggle is refused, with 400 or, where it is a coding that nobody knows, with 501;
//! it closes the connection, and never reaches the upstream.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};

use crate::setting::{count, setting};

const GET: &str = "GET /x HTTP/1.1\r\nHost: a\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: a\r\n";

const UNKNOWN_CODING: &str = "a coding that nobody knows";

fn rows() -> Vec<(&'static str, String)> {
    let chunked = format!("{POST}Transfer-Encoding: chunked\r\n\r\n");
    vec![
        (
            "both framings",
            format!("{POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        (
            "both, other order",
            format!("{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
        ),
        ("two lengths", format!("{POST}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab")),
        ("signed length", format!("{POST}Content-Length: +1\r\n\r\na")),
        ("equal lengths", format!("{POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na")),
        (UNKNOWN_CODING, format!("{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")),
        ("coding with a blank", format!("{POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n")),
        ("bare LF", "GET /x HTTP/1.1\nHost: a\n\n".into()),
        ("bare LF in a header", format!("{GET}X: y\nZ: w\r\n\r\n")),
        ("bare CR in a header", format!("{GET}X: y\rZ: w\r\n\r\n")),
        ("obs-fold", format!("{GET}X: y\r\n z\r\n\r\n")),
        ("blank before a colon", format!("{GET}X : y\r\n\r\n")),
        ("blank in a name", format!("{GET}X Y: z\r\n\r\n")),
        ("no colon", format!("{GET}X\r\n\r\n")),
        ("NUL in a value", format!("{GET}X: a\0b\r\n\r\n")),
        ("two hosts", format!("{GET}Host: b\r\n\r\n")),
        ("equal hosts", format!("{GET}Host: a\r\n\r\n")),
        ("no host", "GET /x HTTP/1.1\r\n\r\n".into()),
        ("chunk size not hexadecimal", format!("{chunked}zz\r\n\r\n")),
        ("chunk longer than said", format!("{chunked}1\r\nabc\r\n0\r\n\r\n")),
        ("chunk size over range", format!("{chunked}fffffffffffffffff\r\na\r\n0\r\n\r\n")),
        ("chunk line with a bare LF", format!("{chunked}1\na\r\n0\r\n\r\n")),
    ]
}

#[test]
fn refuses_what_could_smuggle() -> Result<()> {
    let setting = setting()?;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let rows = rows();
    for (name, request) in &rows {
        let mut client = setting.connect()?;
        let response = client
            .exchange(format!("{request}{smuggled}").as_bytes(), false)
            .with_context(|| (*name).to_owned())?;
        let status = if *name == UNKNOWN_CODING { 501 } else { 400 };
        assert_eq!(response.status, status, "{name}: {response:?}");
        assert!(client.is_closed()?, "{name}: the connection stays open");
        for seen in setting.origin.take() {
            assert_ne!(seen.target, "/smuggled", "{name}");
        }
    }
    let verdicts = setting.verdicts(rows.len() as u64)?;
    assert_eq!(verdicts["bad_request"].as_u64(), Some(rows.len() as u64), "{verdicts:?}");
    assert_eq!(count(&verdicts), rows.len() as u64, "{verdicts:?}");
    Ok(())
}

#[test]
fn http_1_0_is_served_with_a_host() -> Result<()> {
    let setting = setting()?;
    let mut client = setting.connect()?;
    let answer = client.exchange(b"GET /old HTTP/1.0\r\nHost: a\r\n\r\n", false)?;
    assert_eq!((answer.status, setting.origin.take()[0].target.as_str()), (200, "/old"));
    assert!(client.is_closed()?, "HTTP/1.0 keeps no connection unasked");
    let mut client = setting.connect()?;
    assert_eq!(client.exchange(b"GET /old HTTP/1.0\r\n\r\n", false)?.status, 400);
    assert!(setting.origin.take().is_empty());
    Ok(())
}

#[test]
fn keeps_step_over_pipelined_requests() -> Result<()> {
    let setting = setting()?;
    let mut client = setting.connect()?;
    let body = "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\nc";
    let chunks = "POST /two HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n\n\n\r\n0\r\n\r\n";
    let last = "GET /three HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(format!("{body}{chunks}{last}").as_bytes())?;
    for target in ["/one", "/two", "/three"] {
        assert_eq!(client.response(false)?.status, 200, "{target}");
    }
    let seen: Vec<_> = setting.origin.take().into_iter().map(|s| (s.target, s.body)).collect();
    let wanted = [("/one", "a\nb\nc"), ("/two", "\n\n"), ("/three", "")];
    assert_eq!(seen, wanted.map(|(t, b)| (t.to_owned(), b.to_owned())));
    Ok(())
}

#[test]
fn a_workers_own_port_is_no_way_in() -> Result<()> {
    let setting = setting()?;
    let listening = setting.pair.gateway.run("ss", &["-Hltn"])?;
    let ports: Vec<u16> = listening
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3)?.strip_prefix("127.0.0.1:")?.parse().ok())
        .filter(|&port| port != setting.origin.address.port())
        .collect();
    assert!(!ports.is_empty(), "no worker listens on loopback:\n{listening}");
    for port in ports {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut client =
            setting.pair.gateway.inside(|| gateway_tests::raw::Client::connect(address))?;
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")?;
        assert!(client.is_closed()?, "port {port} answers");
    }
    assert!(setting.origin.take().is_empty());
    Ok(())
}
