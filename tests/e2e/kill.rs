//! kill -9: packets are dropped and counted on, new connections are refused at once, and the
//! daemon that starts next continues every counter with no program attached twice.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};
use gateway_tests::patience;
use gateway_tests::shell::run;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::setting::{HTTP, Options, Setting, sum_verdicts};

const GATEWAY: ([u8; 4], u16) = ([10, 77, 0, 1], 8080);

/// Packets of a listener at a hook, by verdict.
fn packets(setting: &Setting, hook: &str, verdict: &str) -> Result<u64> {
    let stats = setting.daemon.stats()?;
    let rows = stats["listeners"].as_array().context("rows")?;
    let row = rows.iter().find(|row| row["hook"] == hook && row["listener"] == "*:8080");
    row.and_then(|row| row["verdicts"][verdict]["packets"].as_u64()).context("no such row")
}

/// How a connection from this address of the client fails; none if it does not.
fn connect(setting: &Setting, from: &str) -> Result<Option<ErrorKind>> {
    setting.pair.client.inside(|| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from.parse()?, 0).into())?;
        let gateway = SocketAddr::from(GATEWAY);
        let result = socket.connect_timeout(&gateway.into(), Duration::from_millis(300));
        Ok(result.err().map(|error| error.kind()))
    })
}

/// The programs of `g0`: XDP, TC ingress, TC egress.
fn programs(setting: &Setting) -> Result<usize> {
    let pins = setting.daemon.pins();
    let links = std::fs::read_dir(pins)?.filter_map(Result::ok);
    Ok(links.filter(|entry| entry.file_name().to_string_lossy().starts_with("LINK_")).count())
}

#[test]
fn the_kernel_half_goes_on_without_the_daemon_and_the_next_continues() -> Result<()> {
    let mut setting =
        Options { arguments: &["--deny-source", "10.78.0.2"], ..Options::default() }.start()?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    setting.verdicts(1)?;
    assert_eq!(connect(&setting, "10.78.0.2")?, Some(ErrorKind::TimedOut), "denied");
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;

    let denied = packets(&setting, "xdp", "denied_source")?;
    let unserved = packets(&setting, "tc_ingress", "no_listener")?;
    assert_eq!(connect(&setting, "10.78.0.2")?, Some(ErrorKind::TimedOut), "still denied");
    assert!(packets(&setting, "xdp", "denied_source")? > denied, "dropping is counted on");
    assert_eq!(
        connect(&setting, "10.77.0.2")?,
        Some(ErrorKind::ConnectionRefused),
        "a new connection is refused at once"
    );
    assert_eq!(packets(&setting, "tc_ingress", "no_listener")?, unserved + 1);
    let before = setting.daemon.stats()?;
    assert_eq!(programs(&setting)?, 7, "three on each of g0 and lo, one for the namespace");

    setting.daemon = setting.daemon.again(&[])?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    let stats = setting.daemon.until("the next count", || {
        let stats = setting.daemon.stats().ok()?;
        (sum_verdicts(&stats)["allowed"] == 2).then_some(stats)
    })?;
    for (row, old) in rows(&stats).zip(rows(&before)) {
        assert_eq!((&row["hook"], &row["slot"]), (&old["hook"], &old["slot"]));
        assert!(row["seen"]["packets"].as_u64() >= old["seen"]["packets"].as_u64(), "{row:#}");
    }
    assert_eq!(connect(&setting, "10.78.0.2")?, Some(ErrorKind::TimedOut), "denied again");
    assert_eq!(programs(&setting)?, 7, "replaced, not added");

    setting.daemon.signal(Signal::SIGTERM)?;
    assert!(setting.daemon.ended()?.success());
    assert_eq!(programs(&setting)?, 0);
    let link = setting.pair.gateway.ip(&["-details", "link", "show", "dev", "g0"])?;
    assert!(!link.contains("xdp"), "{link}");
    Ok(())
}

#[test]
fn unload_removes_what_a_killed_daemon_left() -> Result<()> {
    let mut setting = Options::default().start()?;
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    let binary = gateway_tests::environment::daemon_binary()?;
    let pins = setting.daemon.pins();
    run(&binary.to_string_lossy(), &["unload", "--pin-directory", pins])?;
    assert!(!std::path::Path::new(pins).exists());
    let gateway = &setting.pair.gateway;
    // The kernel detaches a link that nobody holds any more a moment later.
    let detached = patience::until(|| {
        let link = gateway.ip(&["-details", "link", "show", "dev", "g0"]).ok()?;
        (!link.contains("xdp")).then_some(())
    });
    detached.context("the XDP program stays")?;
    let listener = gateway.inside(|| Ok(std::net::TcpListener::bind(("0.0.0.0", 8080))?))?;
    let client = setting.pair.client.inside(|| Ok(TcpStream::connect(SocketAddr::from(GATEWAY))?));
    assert!(client.is_ok(), "nothing of the gateway is in the way: {client:?}");
    drop(listener);
    Ok(())
}

fn rows(stats: &Value) -> impl Iterator<Item = &Value> {
    stats["listeners"].as_array().into_iter().flatten()
}
