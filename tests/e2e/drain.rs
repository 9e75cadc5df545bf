//! SIGTERM: no more connections, requests under way end well, the programs are detached.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;

use crate::setting::{Options, setting};

#[test]
fn finishes_what_is_under_way() -> Result<()> {
    let mut setting = Options {
        answer: Some(Arc::new(|_, stream| {
            std::thread::sleep(Duration::from_secs(1));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    let mut idle = setting.connect()?;
    // It is the gateway's once something was said on it.
    idle.exchange(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", false)?;
    setting.origin.take();
    let mut busy = setting.connect()?;
    busy.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")?;
    setting
        .daemon
        .until("the request upstream", || (!setting.origin.take().is_empty()).then_some(()))?;
    setting.daemon.signal(Signal::SIGTERM)?;
    assert!(idle.is_closed()?, "an idle connection is closed");
    let response = busy.response(false)?;
    assert_eq!((response.status, response.body.as_str()), (200, "ok"));
    assert_eq!(response.header("connection"), Some("close"));
    assert!(setting.connect().is_err(), "a new connection is taken");
    let status = setting.daemon.ended()?;
    assert!(status.success(), "{status}: {}", setting.daemon.log());
    for interface in ["g0", "lo"] {
        let link = setting.pair.gateway.ip(&["-details", "link", "show", "dev", interface])?;
        assert!(!link.contains("xdp"), "{link}");
    }
    Ok(())
}

#[test]
fn cuts_off_what_takes_too_long() -> Result<()> {
    let mut setting = Options {
        arguments: &["--drain-timeout", "0.2"],
        answer: Some(Arc::new(|_, _| {
            std::thread::sleep(Duration::from_secs(20));
            Ok(false)
        })),
        ..Options::default()
    }
    .start()?;
    let mut busy = setting.connect()?;
    busy.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")?;
    setting
        .daemon
        .until("the request upstream", || (!setting.origin.take().is_empty()).then_some(()))?;
    setting.daemon.signal(Signal::SIGTERM)?;
    assert!(setting.daemon.ended()?.success());
    assert!(busy.is_closed()?);
    let stats = setting.daemon.stats()?;
    assert_eq!(crate::setting::sum_verdicts(&stats)["aborted"], 1, "{stats:#}");
    Ok(())
}

#[test]
fn an_idle_daemon_ends_at_once() -> Result<()> {
    let mut setting = setting()?;
    setting.daemon.signal(Signal::SIGINT)?;
    assert!(setting.daemon.ended()?.success());
    assert!(setting.daemon.log().contains("stopped"));
    Ok(())
}
