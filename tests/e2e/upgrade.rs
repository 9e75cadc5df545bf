//! A daemon that is started beside a running one takes over from it, and no client notices: sockets,
//! steering, programs, counters and bans change hands, the old one drains and ends.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gateway_tests::curl::curl;
use gateway_tests::daemon::Daemon;
use gateway_tests::environment::daemon_binary;
use gateway_tests::load::{self, Outcome, Progress, Speech};
use gateway_tests::manifests;
use gateway_tests::raw::Client;
use gateway_tests::shell::run;
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::setting::{HTTP, Options, Setting, sum_verdicts, token};

const ADMIN: &str = "127.0.0.1:9901";
const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

/// Two clients of each kind.
fn speeches(setting: &Setting) -> Result<Vec<Speech>> {
    let clear = SocketAddr::from(([10, 77, 0, 1], 8080));
    let tls = SocketAddr::from(([10, 77, 0, 1], 8443));
    let certificate = std::fs::read_to_string(&setting.certificate)?;
    let kinds = [
        Speech::Http(clear),
        Speech::Https(tls, "gw.example.test", certificate),
        Speech::Http2(clear),
    ];
    Ok(kinds.into_iter().flat_map(|kind| [kind.clone(), kind]).collect())
}

/// Nobody was let down, and nobody had to connect more often than once per daemon.
fn assert_served(outcomes: &[Outcome], daemons: u64) -> u64 {
    for outcome in outcomes {
        assert!(outcome.failures.is_empty(), "{outcome}");
        assert!(outcome.answered > 20, "{outcome}");
        assert!(outcome.connections <= daemons, "connections are kept: {outcome}");
    }
    outcomes.iter().map(|outcome| outcome.answered).sum()
}

/// The ledger balances.
fn audit(setting: &Setting) -> Result<()> {
    let (text, holds) = crate::audit::audit(setting)?;
    ensure!(holds, "{text}");
    Ok(())
}

/// A copy of the daemon, as another version would lie on the disk.
fn other_binary() -> Result<(TempDir, PathBuf)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("gateway-daemon");
    std::fs::copy(daemon_binary()?, &path)?;
    Ok((directory, path))
}

/// Numbers of the programs that are attached to `g0`.
fn programs(setting: &Setting) -> Result<Vec<u64>> {
    let shown = setting.pair.gateway.run("bpftool", &["net", "show", "dev", "g0", "--json"])?;
    let shown: Value = serde_json::from_str(&shown)?;
    let mut ids = Vec::new();
    collect(&shown, &mut ids);
    ensure!(!ids.is_empty(), "no programs in {shown}");
    Ok(ids)
}

fn collect(value: &Value, ids: &mut Vec<u64>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, ids)),
        Value::Object(fields) => {
            ids.extend(fields.get("id").or(fields.get("prog_id")).and_then(Value::as_u64));
            fields.values().for_each(|value| collect(value, ids));
        }
        _ => {}
    }
}

/// Whether nothing that only grows has shrunk.
fn assert_grown(before: &Value, after: &Value) {
    let sum = |stats: &Value| sum_verdicts(stats).values().filter_map(Value::as_u64).sum::<u64>();
    assert!(sum(after) >= sum(before), "{before:#}\n{after:#}");
    let accepted = |stats: &Value| stats["connections"]["accepted"].as_u64();
    assert!(accepted(after) >= accepted(before), "{before:#}\n{after:#}");
}

/// Starts the next daemon in place of the running one, which ends.
fn relieve(setting: &mut Setting, next: Daemon) -> Result<Daemon> {
    let mut old = std::mem::replace(&mut setting.daemon, next);
    ensure!(old.ended()?.success(), "{}", old.log());
    Ok(old)
}

#[test]
fn an_upgrade_and_its_rollback_fail_no_request() -> Result<()> {
    let mut setting = Options::default().start()?;
    let (_directory, other) = other_binary()?;
    let stop = AtomicBool::new(false);
    let pins = setting.daemon.pins().to_owned();
    let (speeches, client) = (speeches(&setting)?, Arc::clone(&setting.pair));
    let ((), outcomes) = load::under(&client.client, &speeches, |progress| {
        std::thread::scope(|scope| {
            let audits = scope.spawn(|| watch(&pins, &stop));
            let result = upgrade_twice(&mut setting, progress, &other);
            stop.store(true, Ordering::Relaxed);
            let audited = audits.join().map_err(|_| anyhow::anyhow!("the audit panicked"))??;
            assert!(audited > 3, "the ledger was audited {audited} times");
            result
        })
    })?;
    let answered = assert_served(&outcomes, 3);
    let stats = setting.daemon.until("every request", || {
        let stats = setting.daemon.stats().ok()?;
        (sum_verdicts(&stats)["allowed"].as_u64() >= Some(answered)).then_some(stats)
    })?;
    assert_eq!(sum_verdicts(&stats)["allowed"], answered, "each was counted once: {stats:#}");
    assert_eq!(stats["connections"]["lost"], 0, "{stats:#}");
    audit(&setting)?;
    setting.daemon.signal(Signal::SIGTERM)?;
    assert!(setting.daemon.ended()?.success());
    let link = setting.pair.gateway.ip(&["-details", "link", "show", "dev", "g0"])?;
    assert!(!link.contains("xdp"), "the last one detaches: {link}");
    Ok(())
}

/// Audits until told to stop; tells how often.
fn watch(pins: &str, stop: &AtomicBool) -> Result<u32> {
    let binary = daemon_binary()?;
    let binary = binary.to_string_lossy();
    let mut last: Option<Value> = None;
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return Ok(number);
        }
        let stats = run(&binary, &["stats", "--json", "--pin-directory", pins])?;
        let stats: Value = serde_json::from_str(&stats)?;
        if let Some(last) = &last {
            assert_grown(last, &stats);
        }
        last = Some(stats);
        run(&binary, &["stats", "--audit", "--pin-directory", pins])?;
    }
    Ok(0)
}

/// The upgrade, and back; each daemon answers some of the load.
fn upgrade_twice(
    setting: &mut Setting,
    progress: &Progress,
    other: &std::path::Path,
) -> Result<()> {
    progress.more(200)?;
    let first = programs(setting)?;
    let next = setting.daemon.again_by(other)?;
    let old = relieve(setting, next)?;
    assert!(old.log().contains("relieved by a successor"), "{}", old.log());
    let second = programs(setting)?;
    assert_eq!(first.len(), second.len(), "replaced, not added");
    assert!(first.iter().all(|id| !second.contains(id)), "{first:?} {second:?}");
    progress.more(200)?;
    let next = setting.daemon.again(&[])?;
    relieve(setting, next)?;
    assert_eq!(programs(setting)?.len(), first.len());
    progress.more(200)?;
    assert!(!setting.daemon.access_log().is_empty(), "the last one answers");
    Ok(())
}

/// Kills a daemon, and waits until it is gone.
fn killed(mut daemon: Daemon) -> Result<()> {
    daemon.signal(Signal::SIGKILL)?;
    daemon.ended()?;
    Ok(())
}

/// Manifests that make a daemon which takes over wait before it is ready: an issuer whose keys
/// never come. The listener that keeps them from coming has to stay.
fn slow_manifests(setting: &Setting) -> Result<(TempDir, TcpListener)> {
    let silent = setting.pair.gateway.inside(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
    let uri = format!("http://{}/keys", silent.local_addr()?);
    let directory = tempfile::tempdir()?;
    let text = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
         metadata: {{ name: slow, namespace: default }}\nspec:\n  jwtRules:\n  \
         - {{ issuer: slow, jwksUri: \"{uri}\", timeout: 60s }}\n"
    );
    std::fs::write(directory.path().join("slow.yaml"), text)?;
    Ok((directory, silent))
}

/// A successor that has attached its programs and is not ready yet.
fn half_way(setting: &Setting) -> Result<(Daemon, TcpListener)> {
    let (directory, silent) = slow_manifests(setting)?;
    let path = directory.path().to_string_lossy().into_owned();
    let state = setting.manifests.path().to_string_lossy().into_owned();
    let arguments = ["--config", &path, "--jwks-allow-private", "--state-directory", &state];
    let before = programs(setting)?;
    let next = setting.daemon.beside(&arguments)?;
    next.until("its programs to be attached", || {
        (programs(setting).ok()? != before).then_some(())
    })?;
    Ok((next, silent))
}

fn assert_serves(setting: &Setting) -> Result<()> {
    let client = setting.connect()?.exchange(GET, false)?;
    ensure!(client.status == 200, "{client:?}");
    Ok(())
}

#[test]
fn a_successor_that_fails_leaves_the_old_one_as_it_was() -> Result<()> {
    let setting = Options::default().start()?;
    let mut kept = setting.connect()?;
    assert_eq!(kept.exchange(GET, false)?.status, 200);
    let before = programs(&setting)?;
    let broken = tempfile::tempdir()?;
    std::fs::write(broken.path().join("broken.yaml"), "kind: Gateway\nspec: ]\n")?;
    let broken = broken.path().to_string_lossy().into_owned();
    let rows: [(&str, &[&str], &str); 4] = [
        ("configuration", &["--config", &broken], "broken.yaml:2"),
        ("interface", &["--interface", "nothere0"], "interface nothere0 does not exist"),
        ("rows", &["--workers", "5"], "use --workers 2 or fewer"),
        ("access log", &["--access-log", "/no/such/directory/log"], "--access-log: cannot open"),
    ];
    for (name, arguments, said) in rows {
        let (status, log) = setting.daemon.again_fails(arguments)?;
        assert_eq!(status.code(), Some(1), "{name}: {log}");
        assert!(log.contains(said), "{name}: {log}");
        assert_eq!(kept.exchange(GET, false)?.status, 200, "{name}");
        setting
            .daemon
            .until("its own programs", || (programs(&setting).ok()? == before).then_some(()))?;
        assert_serves(&setting)?;
    }
    // Killed in the middle, with its programs attached.
    let (next, _silent) = half_way(&setting)?;
    assert_serves(&setting)?;
    killed(next)?;
    setting
        .daemon
        .until("its own programs again", || (programs(&setting).ok()? == before).then_some(()))?;
    assert_serves(&setting)?;
    assert_eq!(kept.exchange(GET, false)?.status, 200);
    audit(&setting)?;
    setting.manifests.write("more.yaml", "kind: Gateway\nspec: ]\n")?;
    setting
        .daemon
        .until("reloads go on", || setting.daemon.log().contains("more.yaml:2").then_some(()))
}

#[test]
fn a_successor_serves_in_place_of_an_old_one_that_is_killed_meanwhile() -> Result<()> {
    let mut setting = Options::default().start()?;
    let mut open = setting.connect()?;
    assert_eq!(open.exchange(GET, false)?.status, 200);
    let (mut next, silent) = half_way(&setting)?;
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    assert!(open.is_closed()?, "its connections go with it");
    // Nobody accepts for a moment, and the sockets are there all the same.
    let mut waiting = setting.connect()?;
    waiting.send(GET)?;
    drop(silent);
    next.ready()?;
    setting.daemon = next;
    assert_eq!(waiting.response(false)?.status, 200, "who came in between is served");
    assert!(setting.daemon.log().contains("died while it handed over"), "{}", setting.daemon.log());
    setting.daemon.until("what it left open to be lost", || {
        let stats = setting.daemon.stats().ok()?;
        (stats["connections"]["lost"] == 1).then_some(())
    })?;
    audit(&setting)
}

#[test]
fn bans_go_on_and_the_admin_listener_is_handed_over() -> Result<()> {
    const BAD: &str = "10.78.0.2";
    // The connections of a banned source do not end by themselves.
    let arguments =
        ["--bans", "enforce", "--ban-threshold", "5", "--admin", ADMIN, "--drain-timeout", "1"];
    let mut setting = Options { arguments: &arguments, ..Options::default() }.start()?;
    let forged = {
        let token = token()?;
        let (signed, signature) = token.rsplit_once('.').context("no signature")?;
        format!("{signed}.{}", signature.chars().rev().collect::<String>())
    };
    let forge = |setting: &Setting| {
        let header = format!("Authorization: Bearer {forged}");
        let url = format!("{HTTP}/productpage");
        setting.curl(&["--interface", BAD, "--connect-timeout", "1", "--header", &header, &url])
    };
    let bans = |setting: &Setting, words: &[&str]| -> Result<String> {
        let pins = ["--pin-directory", setting.daemon.pins()];
        run(&daemon_binary()?.to_string_lossy(), &[&["bans"], words, &pins].concat())
    };
    let is_banned =
        |setting: &Setting| bans(setting, &["list"]).ok().map(|list| list.contains(BAD));
    let ban = |setting: &Setting| {
        setting.daemon.until("the ban", || {
            // The last one is not answered any more.
            drop(forge(setting));
            is_banned(setting)?.then_some(())
        })
    };
    let refused = |setting: &Setting| {
        let url = format!("{HTTP}/x");
        setting.curl(&["--interface", BAD, "--connect-timeout", "1", &url]).is_err()
    };
    ban(&setting)?;
    let next = setting.daemon.again(&[])?;
    relieve(&mut setting, next)?;
    assert_eq!(is_banned(&setting), Some(true));
    assert!(refused(&setting), "banned still");
    bans(&setting, &["remove", BAD])?;
    ban(&setting)?;
    assert!(refused(&setting), "the new one bans too");
    let page = curl(Some(&setting.pair.gateway), &[&format!("http://{ADMIN}/metrics")])?.body;
    let own = "gateway_bans_total{reason=\"token_signature\"} 1";
    assert!(page.contains(own), "the new one's own numbers: {page}");
    Ok(())
}

#[test]
fn another_layout_is_refused_and_the_running_daemon_goes_on() -> Result<()> {
    let setting = Options::default().start()?;
    assert_serves(&setting)?;
    let pin = format!("{}/PATH_NAMES", setting.daemon.pins());
    std::fs::remove_file(&pin)?;
    let words = ["map", "create", &pin, "type", "array", "key", "4", "value", "256", "entries"];
    run("bpftool", &[words.as_slice(), &["16384", "name", "other", "flags", "1024"]].concat())?;
    let before = programs(&setting)?;
    let (status, log) = setting.daemon.again_fails(&[])?;
    assert_eq!(status.code(), Some(1), "{log}");
    let said = format!("the pinned map {pin} has value size 256, this version needs 248");
    assert!(log.contains(&said), "{log}");
    assert_eq!(programs(&setting)?, before);
    assert_serves(&setting)?;
    let failed = "not relieved: a successor did not begin to serve; serving on";
    setting.daemon.until(failed, || setting.daemon.log().contains(failed).then_some(()))
}

#[test]
fn takeover_off_refuses_and_an_ending_daemon_is_not_taken_over() -> Result<()> {
    let mut setting = Options {
        answer: Some(Arc::new(|_, stream| {
            std::thread::sleep(Duration::from_secs(5));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    let (status, log) = setting.daemon.again_fails(&["--takeover", "off"])?;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("another gateway-daemon uses"), "{log}");
    let mut busy = setting.connect()?;
    busy.send(GET)?;
    setting
        .daemon
        .until("the request upstream", || (!setting.origin.take().is_empty()).then_some(()))?;
    setting.daemon.signal(Signal::SIGTERM)?;
    setting
        .daemon
        .until("the drain", || setting.daemon.log().contains("draining").then_some(()))?;
    let (status, log) = setting.daemon.again_fails(&[])?;
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("it cannot be taken over: it is ending"), "{log}");
    assert_eq!(busy.response(false)?.status, 200, "the drain is not disturbed");
    assert!(setting.daemon.ended()?.success());
    Ok(())
}

/// A gateway behind which every request takes until the test lets it go.
fn held() -> Result<(Setting, Arc<AtomicBool>)> {
    let go = Arc::<AtomicBool>::default();
    let wait = Arc::clone(&go);
    let setting = Options {
        answer: Some(Arc::new(move |seen, stream| {
            while seen.target == "/held" && !wait.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    Ok((setting, go))
}

/// A client whose request is under way.
fn hold(setting: &Setting) -> Result<Client> {
    let mut client = setting.connect()?;
    client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")?;
    setting.daemon.until("the request upstream", || {
        setting.origin.take().iter().any(|seen| seen.target == "/held").then_some(())
    })?;
    Ok(client)
}

#[test]
fn requests_under_way_finish_and_idle_connections_stay_usable() -> Result<()> {
    let (mut setting, go) = held()?;
    let mut busy = hold(&setting)?;
    let mut idle = setting.connect()?;
    assert_eq!(idle.exchange(GET, false)?.header("connection"), None);
    let next = setting.daemon.again(&[])?;
    let mut old = std::mem::replace(&mut setting.daemon, next);
    // The new one is ready before the old one's workers know that they are to leave.
    old.until("the drain", || old.log().contains("draining").then_some(()))?;
    let last = idle.exchange(GET, false)?;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(idle.is_closed()?);
    old.until("its lines about both", || (old.access_log().len() == 2).then_some(()))?;
    go.store(true, Ordering::Relaxed);
    let last = busy.response(false)?;
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(old.ended()?.success(), "{}", old.log());
    let notices = old.notices();
    let main = format!("MAINPID={}", setting.daemon.pid());
    assert!(notices.contains(&main) && !notices.contains(&"STOPPING=1".to_owned()), "{notices:?}");
    audit(&setting)
}

#[test]
fn a_rollback_does_not_wait_for_the_drain() -> Result<()> {
    let (mut setting, go) = held()?;
    let mut first = hold(&setting)?;
    let next = setting.daemon.again(&[])?;
    let mut oldest = std::mem::replace(&mut setting.daemon, next);
    let mut second = hold(&setting)?;
    let next = setting.daemon.again(&[])?;
    let mut older = std::mem::replace(&mut setting.daemon, next);
    let mut third = hold(&setting)?;
    audit(&setting)?;
    go.store(true, Ordering::Relaxed);
    for client in [&mut first, &mut second, &mut third] {
        assert_eq!(client.response(false)?.status, 200);
    }
    assert!(oldest.ended()?.success() && older.ended()?.success());
    setting.daemon.until("the others to have ended", || {
        setting.daemon.log().contains("the daemons before this one have ended").then_some(())
    })?;
    drop(third);
    setting.daemon.until("all connections to be closed", || {
        let stats = setting.daemon.stats().ok()?;
        (stats["connections"]["open"] == 0 && stats["connections"]["lost"] == 0).then_some(())
    })?;
    audit(&setting)
}

#[test]
fn a_successor_that_is_killed_while_the_old_one_drains_can_be_started_again() -> Result<()> {
    let (mut setting, go) = held()?;
    let mut busy = hold(&setting)?;
    let next = setting.daemon.again(&[])?;
    let mut old = std::mem::replace(&mut setting.daemon, next);
    let mut lost = setting.connect()?;
    assert_eq!(lost.exchange(GET, false)?.status, 200);
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    assert!(lost.is_closed()?);
    setting.daemon = setting.daemon.again(&[])?;
    assert_serves(&setting)?;
    let open = |stats: &Value| stats["connections"]["open"].as_u64();
    assert!(open(&setting.daemon.stats()?) >= Some(1), "the old one's is open");
    audit(&setting)?;
    go.store(true, Ordering::Relaxed);
    assert_eq!(busy.response(false)?.status, 200);
    assert!(old.ended()?.success(), "{}", old.log());
    setting.daemon.until("the killed one's connection to be lost", || {
        let stats = setting.daemon.stats().ok()?;
        (stats["connections"]["lost"] == 1 && open(&stats) == Some(0)).then_some(())
    })?;
    audit(&setting)?;
    assert_serves(&setting)
}

#[test]
fn what_an_old_one_that_is_killed_while_it_drains_left_open_is_lost() -> Result<()> {
    let (mut setting, _held) = held()?;
    let mut busy = hold(&setting)?;
    let next = setting.daemon.again(&[])?;
    killed(std::mem::replace(&mut setting.daemon, next))?;
    assert!(busy.is_closed()?);
    let mut open = setting.connect()?;
    assert_eq!(open.exchange(GET, false)?.status, 200);
    setting.daemon.until("its connection to be lost", || {
        let stats = setting.daemon.stats().ok()?;
        let (open, lost) = (&stats["connections"]["open"], &stats["connections"]["lost"]);
        (*open == 1 && *lost == 1).then_some(())
    })?;
    audit(&setting)?;
    assert_eq!(open.exchange(GET, false)?.status, 200);
    Ok(())
}

#[test]
fn a_daemon_that_is_told_to_stop_while_it_hands_over_hands_over_first() -> Result<()> {
    let mut setting = Options::default().start()?;
    let (mut next, silent) = half_way(&setting)?;
    setting.daemon.signal(Signal::SIGTERM)?;
    assert_serves(&setting)?;
    drop(silent);
    next.ready()?;
    let old = relieve(&mut setting, next)?;
    assert!(old.log().contains("relieved by a successor"), "{}", old.log());
    assert_serves(&setting)
}

#[test]
fn a_daemon_that_is_told_to_stop_stops_where_nobody_takes_over_after_all() -> Result<()> {
    let mut setting = Options::default().start()?;
    let (next, _silent) = half_way(&setting)?;
    setting.daemon.signal(Signal::SIGTERM)?;
    killed(next)?;
    assert!(setting.daemon.ended()?.success());
    assert!(setting.connect().is_err());
    let link = setting.pair.gateway.ip(&["-details", "link", "show", "dev", "g0"])?;
    assert!(!link.contains("xdp"), "it detaches: {link}");
    Ok(())
}

#[test]
fn a_reload_after_a_takeover_opens_and_closes_ports() -> Result<()> {
    for datapath in ["ebpf", "off"] {
        let arguments = ["--datapath", datapath];
        let mut setting = Options { arguments: &arguments, ..Options::default() }.start()?;
        let next = setting.daemon.again(&[])?;
        relieve(&mut setting, next)?;
        let base = std::fs::read_to_string(setting.manifests.path().join("base.yaml"))?;
        let http = manifests::http_listener("http", 8080);
        setting
            .manifests
            .write("base.yaml", &base.replace(&http, &http.replace("8080", "8090")))?;
        let address = SocketAddr::from(([10, 77, 0, 1], 8090));
        setting.daemon.until("the new port", || {
            let mut client = setting.connect_to(address).ok()?;
            (client.exchange(GET, false).ok()?.status == 200).then_some(())
        })?;
        setting
            .daemon
            .until("the old port to be gone", || setting.connect().is_err().then_some(()))?;
    }
    Ok(())
}

#[test]
fn other_numbers_of_workers_share_the_sockets() -> Result<()> {
    let mut setting = Options::default().start()?;
    for workers in ["1", "2"] {
        let next = setting.daemon.again(&["--workers", workers])?;
        relieve(&mut setting, next)?;
        let outcomes =
            load::under(&setting.pair.client, &speeches(&setting)?, |progress| progress.more(300))?;
        assert_served(&outcomes.1, 1);
    }
    audit(&setting)
}

#[test]
fn without_the_kernel_half_sockets_and_counters_are_handed_over_too() -> Result<()> {
    let arguments = ["--datapath", "off", "--admin", ADMIN];
    let mut setting = Options { arguments: &arguments, ..Options::default() }.start()?;
    let (_directory, other) = other_binary()?;
    let pair = Arc::clone(&setting.pair);
    let ((), outcomes) = load::under(&pair.client, &speeches(&setting)?, |progress| {
        progress.more(200)?;
        let next = setting.daemon.again_by(&other)?;
        relieve(&mut setting, next)?;
        progress.more(200)?;
        let next = setting.daemon.again(&[])?;
        relieve(&mut setting, next)?;
        progress.more(200)
    })?;
    let answered = assert_served(&outcomes, 3);
    let url = format!("http://{ADMIN}/stats");
    let stats = setting.daemon.until("every request", || {
        let body = curl(Some(&setting.pair.gateway), &[&url]).ok()?.body;
        let stats: Value = serde_json::from_str(&body).ok()?;
        (sum_verdicts(&stats)["allowed"].as_u64() >= Some(answered)).then_some(stats)
    })?;
    assert_eq!(sum_verdicts(&stats)["allowed"], answered, "{stats:#}");
    assert_eq!(stats["connections"]["lost"], 0, "{stats:#}");
    // A name is taken once, also without pins.
    let (end, log) = setting.daemon.again_fails(&["--takeover", "off"])?;
    assert_eq!(end.code(), Some(1), "{log}");
    assert!(log.contains("another gateway-daemon without the kernel half goes by"), "{log}");
    Ok(())
}
