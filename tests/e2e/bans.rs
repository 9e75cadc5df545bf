//! Bans, from forged tokens to dropped packets: who is banned, who never is, and what is left when
//! the daemon is gone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use gateway_tests::curl::curl;
use gateway_tests::environment::daemon_binary;
use gateway_tests::issuer::{SigningKey, jwks};
use gateway_tests::shell;
use nix::sys::signal::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::setting::{HTTP, Options, Setting, token};

/// Addresses of the client. The gateway has `10.77.0.1` and `10.78.0.1`, so neither is its own.
const BAD: &str = "10.78.0.2";
const GOOD: &str = "10.77.0.2";
/// Of Linux.
const EINPROGRESS: i32 = 115;
pub(crate) const ADMIN: &str = "127.0.0.1:9901";

/// A gateway that bans at the fifth bad token.
fn start(arguments: &[&str]) -> Result<Setting> {
    let mut all = vec!["--admin", ADMIN, "--ban-threshold", "5"];
    all.extend(arguments);
    Options { arguments: &all, ..Options::default() }.start()
}

impl Setting {
    /// Asks from an address with a token; gives the status.
    fn ask(&self, from: &str, token: &str) -> Result<u16> {
        let header = format!("Authorization: Bearer {token}");
        let url = format!("{HTTP}/productpage");
        Ok(self.curl(&["--interface", from, "--header", &header, &url])?.status)
    }

    fn forge(&self, from: &str, times: u32) -> Result<()> {
        for _ in 0..times {
            assert_eq!(self.ask(from, &forged()?)?, 401);
        }
        Ok(())
    }

    /// What `gateway-daemon bans` prints for these words.
    fn bans(&self, words: &[&str]) -> Result<String> {
        shell::run(&binary()?, &self.words(words))
    }

    fn words<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        [&["bans"], words, &["--pin-directory", self.daemon.pins()]].concat()
    }

    /// The sources that are banned, once there are so many.
    pub(crate) fn banned(&self, count: usize) -> Result<Vec<Value>> {
        self.daemon.until(&format!("{count} bans"), || {
            let text = self.bans(&["list", "--json"]).ok()?;
            let list: Value = serde_json::from_str(&text).ok()?;
            let bans = list["bans"].as_array()?.clone();
            (bans.len() == count).then_some(bans)
        })
    }

    /// A metric's value.
    pub(crate) fn metric(&self, sample: &str) -> Result<u64> {
        let page = curl(Some(&self.pair.gateway), &[&format!("http://{ADMIN}/metrics")])?.body;
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).with_context(|| format!("no {sample} in\n{page}"))
    }

    /// Waits until a metric has this value.
    pub(crate) fn metric_is(&self, sample: &str, value: u64) -> Result<()> {
        let what = format!("{sample} {value}");
        self.daemon.until(&what, || (self.metric(sample).ok()? == value).then_some(()))
    }

    /// Waits for a line of the log that has all of these parts.
    pub(crate) fn logs_line(&self, parts: &[&str]) -> Result<()> {
        let has = |line: &str| parts.iter().all(|part| line.contains(part));
        let found = || self.daemon.log().lines().any(has).then_some(());
        self.daemon.until(&format!("{parts:?} in the log"), found)
    }

    /// Packets with a verdict at XDP.
    fn packets(&self, verdict: &str) -> Result<u64> {
        let stats = self.daemon.stats()?;
        let rows = stats["listeners"].as_array().context("no listeners")?;
        let rows = rows.iter().filter(|row| row["hook"] == "xdp");
        Ok(rows.filter_map(|row| row["verdicts"][verdict]["packets"].as_u64()).sum())
    }
}

pub(crate) fn binary() -> Result<String> {
    Ok(daemon_binary()?.to_str().context("the daemon's path is not UTF-8")?.to_owned())
}

/// The demo token with another signature.
pub(crate) fn forged() -> Result<String> {
    let token = token()?;
    let (signed, signature) = token.rsplit_once('.').context("no signature")?;
    let signature: String = signature.chars().rev().collect();
    Ok(format!("{signed}.{signature}"))
}

const STRIKES: &str = "gateway_ban_strikes_total{reason=\"token_signature\"}";

#[test]
fn who_forges_tokens_is_dropped_until_the_ban_is_removed() -> Result<()> {
    let setting = start(&["--bans", "enforce"])?;
    setting.forge(BAD, 5)?;
    let ban = setting.banned(1)?.remove(0);
    assert_eq!((&ban["source"], &ban["strikes"]), (&BAD.into(), &5.into()));
    assert_eq!(ban["reason"], "token_signature");
    let remaining = ban["remaining_seconds"].as_u64();
    assert!(remaining.is_some_and(|left| (300..=600).contains(&left)), "{ban}");
    // The kernel sends the SYN again and again; none of them is answered.
    let url = format!("{HTTP}/x");
    let refused = setting.curl(&["--interface", BAD, "--connect-timeout", "3", &url]);
    let error = format!("{:#}", refused.err().context("a banned source was answered")?);
    assert!(error.contains("timed out") || error.contains("timeout"), "{error}");
    assert!(setting.packets("banned_source")? >= 2, "the SYN and its repetition");
    assert_eq!(setting.ask(GOOD, &token()?)?, 200, "others are served");
    assert!(setting.banned(1)?[0]["packets"].as_u64() >= Some(2));
    let log = setting.daemon.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("source banned")).collect();
    let [line] = lines[..] else { panic!("{lines:?}") };
    for part in ["source=10.78.0.2", "strikes=5", "reason=\"token_signature\"", "seconds=600"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(line.contains("mode=\"enforce\" dropped=true"), "{line}");
    setting.logs_line(&["a ban met its first packet", BAD])?;
    setting.metric_is("gateway_bans_total{reason=\"token_signature\"}", 1)?;
    setting.metric_is("gateway_bans_active", 1)?;
    setting.metric_is("gateway_bans_enforced", 1)?;
    assert_eq!(setting.bans(&["remove", BAD])?, "10.78.0.2 is banned no longer\n");
    assert_eq!(setting.ask(BAD, &token()?)?, 200);
    Ok(())
}

#[test]
fn by_default_a_ban_only_counts() -> Result<()> {
    let setting = start(&[])?;
    // Five lead to a ban, and the rest go on being answered.
    setting.forge(BAD, 9)?;
    let ban = setting.banned(1)?.remove(0);
    assert_eq!(ban["source"], BAD);
    assert_eq!(setting.ask(BAD, &token()?)?, 200);
    assert!(setting.packets("ban_audit")? > 0);
    assert_eq!(setting.packets("banned_source")?, 0);
    let list = setting.bans(&["list"])?;
    assert!(list.starts_with("bans: audit, 1 in force\n"), "{list}");
    assert!(setting.daemon.log().contains("mode=\"audit\" dropped=false"));
    assert!(
        shell::run(&binary()?, &["stats", "--audit", "--pin-directory", setting.daemon.pins()])
            .is_ok()
    );
    Ok(())
}

#[test]
fn a_good_token_cancels_strikes() -> Result<()> {
    let setting = start(&["--bans", "enforce"])?;
    for round in 1..=3 {
        setting.forge(BAD, 4)?;
        setting.metric_is(STRIKES, round * 4)?;
        assert_eq!(setting.ask(BAD, &token()?)?, 200);
        setting.metric_is("gateway_bans_withheld_total{why=\"forgiven\"}", round)?;
    }
    assert_eq!(setting.banned(0)?, [] as [Value; 0]);
    Ok(())
}

/// An issuer of a test's own, whose keys are inline.
fn issuer(keys: &[&SigningKey]) -> String {
    format!(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{ name: own, namespace: default }}
spec:
  targetRefs: [ {{ group: gateway.networking.k8s.io, kind: Gateway, name: ingress }} ]
  jwtRules: [ {{ issuer: own, audiences: [ us ], jwks: '{}' }} ]
",
        jwks(keys)
    )
}

#[test]
fn only_forged_and_malformed_tokens_are_strikes() -> Result<()> {
    let setting = start(&["--bans", "enforce"])?;
    let (key, other) = (SigningKey::new("a")?, SigningKey::new("b")?);
    setting.manifests.write("own.yaml", &issuer(&[&key]))?;
    let claims = |more: &str| format!(r#"{{"iss":"own","sub":"s","aud":"us"{more}}}"#);
    setting.daemon.until("the issuer", || {
        (setting.ask(GOOD, &key.token(&claims(""))).ok()? == 200).then_some(())
    })?;
    let harmless = [
        ("expired", key.token(&claims(r#","exp":1000"#)), 401),
        ("premature", key.token(&claims(r#","nbf":99999999999"#)), 401),
        ("unknown kid", other.token(&claims("")), 401),
        ("another issuer", key.token(r#"{"iss":"nobody"}"#), 401),
        ("another audience", key.token(r#"{"iss":"own","sub":"s","aud":"them"}"#), 403),
        ("an expired forgery", other.token_named("a", &claims(r#","exp":1000"#)), 401),
    ];
    for (name, token, status) in &harmless {
        for _ in 0..6 {
            assert_eq!(setting.ask(BAD, token)?, *status, "{name}");
        }
    }
    for _ in 0..6 {
        let missing = setting.curl(&["--interface", BAD, &format!("{HTTP}/productpage")])?;
        assert_eq!(missing.status, 403, "no token");
    }
    let words = ["token_signature", "token_malformed", "token_algorithm", "token_claim_type"];
    let strikes = |reason: &str| format!("gateway_ban_strikes_total{{reason=\"{reason}\"}}");
    for word in words {
        assert_eq!(setting.metric(&strikes(word))?, 0, "{word}");
    }
    let strike = |name: &str, token: &str| -> Result<()> {
        assert_eq!(setting.ask(BAD, token)?, 401, "{name}");
        setting.metric_is(&strikes(name), 1)
    };
    strike("token_malformed", "no.token")?;
    strike("token_algorithm", "eyJhbGciOiJub25lIn0.e30.e30")?;
    strike("token_claim_type", &key.token(r#"{"iss":"own","exp":"soon"}"#))?;
    assert_eq!(setting.banned(0)?, [] as [Value; 0]);
    strike("token_signature", &other.token_named("a", &claims("")))?;
    assert_eq!(setting.ask(BAD, "no.token")?, 401);
    assert_eq!(setting.banned(1)?[0]["reason"], "token_malformed", "the last one is told");
    Ok(())
}

#[test]
fn loopback_own_and_trusted_sources_are_never_banned() -> Result<()> {
    let setting = start(&["--bans", "enforce", "--trusted-source", "10.78.0.0/24"])?;
    let header = format!("Authorization: Bearer {}", forged()?);
    let local = |url: &str| curl(Some(&setting.pair.gateway), &["--header", &header, url]);
    for _ in 0..6 {
        assert_eq!(setting.ask(BAD, &forged()?)?, 401, "trusted");
        assert_eq!(local("http://127.0.0.1:8080/x")?.status, 401, "loopback");
        assert_eq!(local("http://[::1]:8080/x")?.status, 401, "loopback, IPv6");
        assert_eq!(local("http://10.77.0.1:8080/x")?.status, 401, "the node's own");
        // The client is in the gateway's /64.
        let url = "http://[fd77::1]:8080/x";
        assert_eq!(setting.curl(&["--header", &header, url])?.status, 401, "its own /64");
    }
    setting.metric_is("gateway_bans_withheld_total{why=\"own_address\"}", 2)?;
    setting.metric_is(STRIKES, 12)?;
    setting.forge(GOOD, 5)?;
    assert_eq!(setting.banned(1)?[0]["source"], GOOD);
    // Nor by hand, with the words of `run` or without.
    let output = shell::output(&binary()?, &setting.words(&["add", "10.78.0.9"]))?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("--trusted-source"), "{error}");
    assert_eq!(setting.banned(1)?[0]["source"], GOOD);
    Ok(())
}

#[test]
fn an_ipv6_source_is_its_64() -> Result<()> {
    let setting = start(&["--bans", "enforce"])?;
    for (netns, interface, host) in
        [(&setting.pair.client, "c0", "2"), (&setting.pair.gateway, "g0", "1")]
    {
        let addresses: &[&str] = if host == "2" { &["fd78::2", "fd78::3", "fd79::2"] } else { &[] };
        for address in addresses {
            netns.ip(&["addr", "add", &format!("{address}/128"), "dev", interface, "nodad"])?;
        }
        if host == "1" {
            for route in ["fd78::/64", "fd79::/64"] {
                netns.ip(&["route", "add", route, "via", "fd77::2", "dev", interface])?;
            }
        }
    }
    let header = format!("Authorization: Bearer {}", forged()?);
    let url = "http://[fd77::1]:8080/x";
    for _ in 0..5 {
        let answer = setting.curl(&["--interface", "fd78::2", "--header", &header, url])?;
        assert_eq!(answer.status, 401);
    }
    assert_eq!(setting.banned(1)?[0]["source"], "fd78::/64");
    let neighbour = setting.curl(&["--interface", "fd78::3", "--connect-timeout", "2", url]);
    assert!(neighbour.is_err(), "the /64 is one source");
    assert_eq!(setting.curl(&["--interface", "fd79::2", url])?.status, 200, "the next one is not");
    Ok(())
}

#[test]
fn bans_outlive_the_daemon_and_end_without_it() -> Result<()> {
    let mut setting = start(&["--bans", "enforce"])?;
    setting.forge(BAD, 5)?;
    setting.banned(1)?;
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    assert_eq!(setting.banned(1)?[0]["source"], BAD);
    assert!(setting.bans(&["list"])?.starts_with("bans: enforce, 1 in force\n"));
    let added = setting.bans(&["add", "2001:db8:1:2:3::4", "--duration", "3600"])?;
    assert_eq!(added, "2001:db8:1:2::/64 is banned for 3600 s\n");
    setting.bans(&["add", "192.0.2.1", "--duration", "0.5"])?;
    // Nobody removes it.
    let left = setting.banned(2)?;
    let sources: Vec<_> = left.iter().filter_map(|ban| ban["source"].as_str()).collect();
    assert_eq!(sources, [BAD, "2001:db8:1:2::/64"]);
    assert_eq!((&left[1]["reason"], &left[1]["strikes"]), (&"manual".into(), &0.into()));
    let dump = shell::run("bpftool", &["map", "dump", "pinned", &pin(&setting, "V4")])?;
    assert!(dump.contains("\"expires\":") && dump.contains("\"strikes\": 5"), "{dump}");
    assert!(setting.bans(&["clear"])?.ends_with(" bans\n"));
    setting.banned(0)?;
    Ok(())
}

fn pin(setting: &Setting, family: &str) -> String {
    format!("{}/BANNED_SOURCES_{family}", setting.daemon.pins())
}

#[test]
fn where_there_is_no_room_for_a_ban_the_log_and_the_metrics_say_so() -> Result<()> {
    let setting = start(&["--bans", "enforce", "--ban-max-entries", "1"])?;
    setting.forge(BAD, 5)?;
    setting.banned(1)?;
    setting.forge(GOOD, 5)?;
    setting.metric_is("gateway_bans_withheld_total{why=\"no_room\"}", 1)?;
    setting.logs_line(&["no room to ban a source", "--ban-max-entries", GOOD])?;
    assert_eq!(setting.banned(1)?[0]["source"], BAD);
    assert_eq!(setting.ask(GOOD, &token()?)?, 200);
    Ok(())
}

#[test]
fn bans_that_meet_too_large_a_share_of_the_packets_are_suspended() -> Result<()> {
    let setting = start(&["--bans", "enforce", "--ban-max-share", "50"])?;
    setting.bans(&["add", BAD])?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&setting, &over));
        let suspended = || -> Result<()> {
            setting.logs_line(&["bans suspended", "--ban-max-share"])?;
            setting.metric_is("gateway_bans_suspended", 1)?;
            let list = setting.bans(&["list"])?;
            anyhow::ensure!(list.contains("suspended"), "{list}");
            // It is judged by its tokens, as without bans.
            anyhow::ensure!(setting.ask(BAD, &token()?)? == 200);
            Ok(())
        };
        let suspended = suspended();
        over.store(true, Ordering::Relaxed);
        flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?.and(suspended)
    })?;
    assert!(setting.packets("banned_source")? >= 1_000, "dropped until then");
    assert!(setting.packets("ban_audit")? > 0, "counted from then on");
    Ok(())
}

#[test]
fn the_command_line_says_what_is_wrong() -> Result<()> {
    let setting = start(&["--bans", "audit"])?;
    let own = ["add", "10.77.0.1"];
    let rows: [(&[&str], &str); 7] = [
        (&["add", "127.0.0.1"], "never banned"),
        (&["add", "::1"], "never banned"),
        (&["add", "10.9.0.1", "--trusted-source", "10.9.0.0/16"], "never banned"),
        (&["add", "10.9.0.0/16"], "--deny-source"),
        (&["add", "me"], "not an IP address"),
        (&["add", "10.9.0.1", "--duration", "0"], "above zero"),
        (&["remove", "10.9.0.1"], "is not banned"),
    ];
    for (words, complaint) in rows {
        let output = shell::output(&binary()?, &setting.words(words))?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{words:?}");
        assert!(error.contains(complaint), "{words:?}: {error}");
    }
    let own = setting.pair.gateway.run(&binary()?, &setting.words(&own));
    let error = format!("{:#}", own.err().context("the node's own address was banned")?);
    assert!(error.contains("which is the node's own"), "{error}");
    let output = shell::output(&binary()?, &setting.words(&["add", "10.9.0.1"]))?;
    let remark = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && remark.contains("audit mode"), "{remark}");
    let nowhere = ["bans", "list", "--pin-directory", "/sys/fs/bpf/gateway-test/none"];
    let output = shell::output(&binary()?, &nowhere)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("no gateway-daemon with the kernel half ran here"), "{error}");
    Ok(())
}

#[test]
fn without_the_kernel_half_strikes_count_and_nothing_is_dropped() -> Result<()> {
    let arguments =
        ["--admin", ADMIN, "--datapath", "off", "--bans", "enforce", "--ban-threshold", "5"];
    let setting =
        Options { arguments: &arguments, interfaces: &[], ..Options::default() }.start()?;
    assert!(setting.daemon.log().contains("without the kernel half bans drop nothing"));
    setting.forge(BAD, 9)?;
    setting.metric_is("gateway_bans_active", 1)?;
    setting.metric_is(STRIKES, 9)?;
    assert!(setting.daemon.log().contains("dropped=false"));
    assert_eq!(setting.ask(BAD, &token()?)?, 200);
    Ok(())
}

/// Opens connections from an address without waiting for any, until told to stop. Gives their number.
fn flood(setting: &Setting, over: &AtomicBool) -> Result<usize> {
    const OPEN: usize = 500;
    let to: std::net::SocketAddr = ([10, 77, 0, 1], 8080).into();
    setting.pair.client.inside(|| {
        let mut open = VecDeque::new();
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            // Its port is free again at once.
            socket.set_linger(Some(std::time::Duration::ZERO))?;
            socket.bind(&std::net::SocketAddr::new(BAD.parse()?, 0).into())?;
            let connecting = socket.connect(&to.into());
            anyhow::ensure!(
                connecting.as_ref().is_err_and(|error| error.raw_os_error() == Some(EINPROGRESS)),
                "{connecting:?}"
            );
            sent += 1;
            open.push_back(socket);
            if open.len() > OPEN {
                open.pop_front();
            }
        }
        Ok(sent)
    })
}

#[test]
fn a_flood_of_syns_is_cut_off_and_good_clients_get_through() -> Result<()> {
    const RATE: u64 = 20;
    const REQUESTS: u64 = 400;
    let limits = ["--syn-rate", "20", "--earned-syn-rate", "10000", "--earned-syn-burst", "10000"];
    let setting = start(&limits)?;
    assert_eq!(setting.ask(GOOD, &token()?)?, 200);
    setting.metric_is("gateway_earned_trust_total", 1)?;
    let accepted = || -> Result<u64> {
        setting.daemon.stats()?["connections"]["accepted"].as_u64().context("no connections")
    };
    let before = accepted()?;
    let started = gateway_daemon::clock::monotonic();
    let over = AtomicBool::new(false);
    let head = format!(
        "GET /productpage HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
        token()?
    );
    let sent = std::thread::scope(|scope| -> Result<usize> {
        let flood = scope.spawn(|| flood(&setting, &over));
        // Once it is cut off, and for as long as they take.
        let requests = || -> Result<()> {
            setting.daemon.until("dropped SYNs", || {
                (setting.packets("syn_limited").ok()? > 500).then_some(())
            })?;
            let (from, to) = (GOOD.parse()?, ([10, 77, 0, 1], 8080).into());
            for request in 0..REQUESTS {
                let answer = setting.pair.client.inside(|| {
                    gateway_tests::raw::Client::connect_from(from, to)?
                        .exchange(head.as_bytes(), false)
                })?;
                anyhow::ensure!(answer.status == 200, "request {request}: {}", answer.status);
            }
            Ok(())
        };
        let served = requests();
        over.store(true, Ordering::Relaxed);
        let sent = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?;
        served.and(sent)
    })?;
    let limited = setting.packets("syn_limited")?;
    assert!(limited > 500 && sent > 500, "{limited} of {sent} SYNs were dropped");
    // What got through is what the budget gives: the burst at once, then the rate. Two CPUs that
    // serve the source at the same moment may give the same connection twice.
    let seconds = started.elapsed().as_secs() + 1;
    let most = 2 * (2 * RATE + RATE * seconds);
    let got_through = accepted()? - before - REQUESTS;
    assert!(got_through <= most, "{got_through} connections in {seconds} s, of {sent} SYNs");
    assert!(got_through < sent as u64 / 2, "{got_through} of {sent}");
    let told = "more new connections than --syn-rate";
    setting.logs_line(&[told, BAD])?;
    // Ten times what a stranger has at once, and nothing of it was dropped: that would be told, too.
    let log = setting.daemon.log();
    assert!(!log.lines().any(|line| line.contains(told) && line.contains(GOOD)), "{log}");
    let audit = ["stats", "--audit", "--pin-directory", setting.daemon.pins()];
    shell::run(&binary()?, &audit).map(drop)
}
