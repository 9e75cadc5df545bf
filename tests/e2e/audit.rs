//! `stats --audit`: the ledger balances under load, resets, killed clients and reloads, also after
//! kill -9; a row that does not is named.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use gateway_tests::environment::daemon_binary;
use gateway_tests::shell::{output, run};
use nix::sys::signal::Signal;

use crate::setting::{HTTP, HTTPS, Options, Setting, setting, token};

/// The audit's words and whether it found every sum to hold.
pub(crate) fn audit(setting: &Setting) -> Result<(String, bool)> {
    let binary = daemon_binary()?;
    let arguments = ["stats", "--audit", "--pin-directory", setting.daemon.pins()];
    let output = output(&binary.to_string_lossy(), &arguments)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.code() == Some(0) || output.status.code() == Some(1),
        "{}: {text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((text, output.status.success()))
}

/// A curl in the client's namespace that the test will kill.
fn curl_to_kill(setting: &Setting, url: &str) -> Result<Child> {
    Command::new("nsenter")
        .args([&format!("--net={}", setting.pair.client.path()), "--", "curl", "--silent"])
        .args(["--insecure", "--resolve", "gw.example.test:8443:10.77.0.1"])
        .args(["--limit-rate", "10K", "--output", "/dev/null", url])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start curl")
}

/// One round of what real clients do, good and bad.
fn round(setting: &Setting, token: &str) -> Result<()> {
    let get = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n");
    let good = format!("Authorization: Bearer {token}\r\n");
    let mut client = setting.connect()?;
    for (path, header, status) in [
        ("/x", "", 200),
        ("/productpage", good.as_str(), 200),
        ("/productpage", "", 403),
        ("/x", "Authorization: Bearer a.b.c\r\n", 401),
    ] {
        let response = client.exchange(get(path, header).as_bytes(), false)?;
        ensure!(response.status == status, "{path}: {}", response.status);
    }
    // Reset with an answer under way.
    let mut reset = setting.connect()?;
    reset.send(get("/big", "").as_bytes())?;
    reset.reset()?;
    // No HTTP, and no TLS where there should be.
    setting.exchange("garbage\r\n\r\n").map(drop).or_else(|error| closed_early(&error))?;
    let mut no_tls = setting.connect_to(([10, 77, 0, 1], 8443).into())?;
    no_tls.send(b"GET / HTTP/1.1\r\n\r\n")?;
    drop(no_tls);
    let mut killed = [
        curl_to_kill(setting, &format!("{HTTP}/big"))?,
        curl_to_kill(setting, &format!("{HTTPS}/big"))?,
    ];
    std::thread::sleep(std::time::Duration::from_millis(50));
    for child in &mut killed {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

/// A connection that ends before its answer could be read is one of the cases.
fn closed_early(error: &anyhow::Error) -> Result<()> {
    ensure!(error.to_string().contains("closed without a response"), "{error:#}");
    Ok(())
}

#[test]
fn the_ledger_balances_under_load_and_after_it() -> Result<()> {
    let setting = Options {
        answer: Some(Arc::new(|_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")?;
            stream.write_all(&vec![b'x'; 200_000])?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    let token = token()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| -> Result<u32> {
                    let mut rounds = 0;
                    while !stop.load(Ordering::Relaxed) {
                        round(&setting, &token)?;
                        rounds += 1;
                    }
                    Ok(rounds)
                })
            })
            .collect();
        let audits = (0..4).try_for_each(|_| {
            setting.daemon.signal(Signal::SIGHUP)?;
            let (text, holds) = audit(&setting)?;
            ensure!(holds, "while the node is busy:\n{text}");
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let rounds = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            ensure!(rounds > 0, "a client did nothing");
        }
        audits
    })?;
    let stats = setting.daemon.until("closed connections", || {
        let stats = setting.daemon.stats().ok()?;
        (stats["connections"]["open"] == 0).then_some(stats)
    })?;
    assert!(stats["connections"]["handshake_failed"].as_u64() > Some(0), "{stats:#}");
    let sum = crate::setting::sum_verdicts(&stats);
    for verdict in ["allowed", "unauthenticated", "denied", "bad_request", "aborted"] {
        assert!(sum[verdict].as_u64() > Some(0), "no {verdict}: {sum:?}");
    }
    let (text, holds) = audit(&setting)?;
    assert!(holds, "{text}");
    Ok(())
}

#[test]
fn connections_of_a_killed_daemon_are_lost_and_not_forgotten() -> Result<()> {
    let mut setting = setting()?;
    let mut open = setting.connect()?;
    assert_eq!(open.exchange(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", false)?.status, 200);
    assert_eq!(setting.daemon.stats()?["connections"]["open"], 1);
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    let (text, holds) = audit(&setting)?;
    assert!(holds, "{text}");
    setting.daemon = setting.daemon.again(&[])?;
    let connections = setting.daemon.stats()?["connections"].clone();
    assert_eq!((&connections["open"], &connections["lost"]), (&0.into(), &1.into()));
    let (text, holds) = audit(&setting)?;
    assert!(holds, "{text}");
    Ok(())
}

#[test]
fn a_row_that_does_not_balance_is_named() -> Result<()> {
    let setting = setting()?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    setting.verdicts(1)?;
    let pin = format!("{}/REQUEST_COUNTERS", setting.daemon.pins());
    let mut words = vec!["map", "update", "pinned", pin.as_str(), "key", "2", "0", "0", "0"];
    words.extend(["value", "7"]);
    words.resize(words.len() + 191, "0");
    run("bpftool", &words)?;
    let (text, holds) = audit(&setting)?;
    assert!(!holds, "{text}");
    let fault = "fault: REQUEST_COUNTERS row 2 (worker 0, Exact /productpage): requests = sum of \
                 verdicts: 7 is not 0";
    assert!(text.contains(fault), "{text}");
    Ok(())
}
