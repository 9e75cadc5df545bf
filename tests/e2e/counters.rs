//! Counters: named in `bpftool map dump`, balanced under killed clients, kept while the daemon is
//! down and over its restart.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use gateway_tests::shell::run;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::setting::{HTTP, HTTPS, Options, setting};

/// `seen` equals the sum of the verdicts, in packets and bytes, for every listener and hook.
fn packets_balance(stats: &Value) {
    let rows = stats["listeners"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(!rows.is_empty(), "{stats:#}");
    for row in rows {
        for unit in ["packets", "bytes"] {
            let verdicts = row["verdicts"].as_object().into_iter().flatten();
            let sum: u64 = verdicts.filter_map(|(_, volume)| volume[unit].as_u64()).sum();
            assert_eq!(row["seen"][unit].as_u64(), Some(sum), "{unit} of {row:#}");
        }
    }
}

/// Requests equal the sum of their verdicts, for every path.
fn requests_balance(stats: &Value) {
    for path in stats["paths"].as_array().into_iter().flatten() {
        let verdicts = path["verdicts"].as_object().into_iter().flatten();
        let sum: u64 = verdicts.filter_map(|(_, count)| count.as_u64()).sum();
        assert_eq!(path["requests"].as_u64(), Some(sum), "{path:#}");
    }
}

#[test]
fn bpftool_shows_named_fields() -> Result<()> {
    let setting = setting()?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/productpage")])?.status, 403);
    setting.verdicts(1)?;
    for (map, fields) in [
        ("REQUEST_COUNTERS", &["requests", "denied", "response_bytes"][..]),
        ("PACKET_COUNTERS", &["seen", "steered", "packets", "bytes"]),
        ("PATH_NAMES", &["name", "length"]),
        ("GATEWAY_PORTS", &["port", "listener"]),
    ] {
        let pin = format!("{}/{map}", setting.daemon.pins());
        let dump = run("bpftool", &["map", "dump", "pinned", &pin])?;
        for field in fields {
            assert!(dump.contains(&format!("\"{field}\":")), "{map}: no {field}");
        }
    }
    let pin = format!("{}/REQUEST_COUNTERS", setting.daemon.pins());
    let dump: Value =
        serde_json::from_str(&run("bpftool", &["--json", "map", "dump", "pinned", &pin])?)?;
    let rows = dump.as_array().context("no rows")?.iter().map(|row| &row["formatted"]["value"]);
    let denied: u64 = rows.filter_map(|row| row["denied"].as_u64()).sum();
    assert_eq!(denied, 1);
    Ok(())
}

#[test]
fn sums_hold_with_clients_killed_in_the_middle() -> Result<()> {
    let setting = Options {
        answer: Some(Arc::new(|seen, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
            if seen.target == "/slow" {
                std::thread::sleep(std::time::Duration::from_secs(2));
            }
            stream.write_all(&vec![b'x'; 1_000_000])?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    for _ in 0..10 {
        let mut killed = setting.connect()?;
        killed.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")?;
        drop(killed);
        let mut reading = setting.connect()?;
        reading.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")?;
        drop(reading);
        let mut uploading = setting.connect()?;
        uploading.send(b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")?;
        drop(uploading);
        assert_eq!(setting.exchange("GET /big HTTP/1.1\r\nHost: a\r\n\r\n")?.body.len(), 1_000_000);
    }
    let verdicts = setting.verdicts(40)?;
    assert!(verdicts["aborted"].as_u64() >= Some(10), "{verdicts:?}");
    assert!(verdicts["allowed"].as_u64() >= Some(10), "{verdicts:?}");
    let stats = setting.daemon.until("closed connections", || {
        let stats = setting.daemon.stats().ok()?;
        let connections = &stats["connections"];
        (connections["accepted"] == connections["served"]).then_some(stats)
    })?;
    requests_balance(&stats);
    packets_balance(&stats);
    let logged = setting.daemon.until("40 access log lines", || {
        let lines = setting.daemon.access_log();
        (lines.len() >= 40).then_some(lines)
    })?;
    assert_eq!(logged.len(), 40);
    Ok(())
}

/// Bytes that left for a path: those for permitted requests, those for refusals.
fn wire(stats: &Value, path: &str) -> Result<[u64; 2]> {
    let mut rows = stats["paths"].as_array().context("no paths")?.iter();
    let row = rows.find(|row| row["path"] == path).with_context(|| format!("no {path}"))?;
    let bytes = |verdict: &str| row["wire"][verdict]["bytes"].as_u64().context("no bytes");
    Ok([bytes("allowed")?, bytes("refused")?])
}

#[test]
fn what_leaves_counts_for_the_path_that_is_answered() -> Result<()> {
    const BODY: usize = 100_000;
    let setting = Options {
        answer: Some(Arc::new(|_, stream| {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n")?;
            stream.write_all(&vec![b'x'; BODY])?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    // One connection, of which requests in turn are answered for two paths.
    let mut client = setting.connect()?;
    for _ in 0..3 {
        client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")?;
        assert_eq!(client.response(false)?.body.len(), BODY);
        client.send(b"GET /productpage HTTP/1.1\r\nHost: a\r\n\r\n")?;
        assert_eq!(client.response(false)?.status, 403);
    }
    let tls = ["--http1.1", "--http2"];
    for version in tls {
        assert_eq!(setting.curl_tls(&[version, &format!("{HTTPS}/x")])?.status, 200);
    }
    setting.verdicts(8)?;
    let stats = setting.daemon.stats()?;
    let [allowed, refused] = wire(&stats, "PathPrefix /")?;
    // Not more than a tenth for headers, records and acknowledgements.
    let bodies = ((3 + tls.len()) * BODY) as u64;
    assert!((bodies..bodies / 10 * 11).contains(&allowed), "{allowed} for {bodies}");
    assert_eq!(refused, 0);
    let [allowed, refused] = wire(&stats, "Exact /productpage")?;
    assert_eq!(allowed, 0);
    assert!((3 * 100..3 * 1_000).contains(&refused), "{refused} for three refusals");
    Ok(())
}

#[test]
fn counts_survive_the_daemon() -> Result<()> {
    let mut setting = setting()?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    setting.verdicts(1)?;
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    let stats = setting.daemon.stats()?;
    requests_balance(&stats);
    packets_balance(&stats);
    assert_eq!(crate::setting::sum_verdicts(&stats)["allowed"], 1);
    Ok(())
}

#[test]
fn refusals_are_logged_with_their_reason_and_no_token() -> Result<()> {
    let setting = setting()?;
    let secret = "Authorization: Bearer abc.def.ghi";
    assert_eq!(
        setting.curl(&["--header", secret, &format!("{HTTP}/x?access_token=zzz")])?.status,
        401
    );
    assert_eq!(setting.curl(&[&format!("{HTTP}/productpage")])?.status, 403);
    let lines = setting.daemon.until("two lines", || {
        let lines = setting.daemon.access_log();
        (lines.len() == 2).then_some(lines)
    })?;
    assert_eq!(lines[0]["verdict"], "unauthenticated");
    assert_eq!(lines[0]["reason"], "token_malformed");
    assert_eq!(lines[0]["path"], "/x");
    assert_eq!(lines[1]["verdict"], "denied");
    assert_eq!(lines[1]["reason"], "policy_denied");
    assert_eq!(lines[1]["policy"], "default/productpage-needs-token");
    assert_eq!(lines[1]["rule"], 0);
    assert_eq!(lines[1]["path_pattern"], "Exact /productpage");
    let text = format!("{lines:?}{}", setting.daemon.log());
    for secret in ["abc.def", "ghi", "zzz"] {
        assert!(!text.contains(secret), "{secret} was logged");
    }
    Ok(())
}
