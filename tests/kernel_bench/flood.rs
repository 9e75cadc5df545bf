//! Clients with good tokens while one address floods, with forged SYNs or with connections that it
//! opens: requests a second and the daemon's CPU time, and what clients see that ask at a steady rate, half
//! of what the calm machine serves. In turn: without the flood, with its sender at work against nobody, and
//! with it; by a daemon with budgets, and by one without.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gateway_daemon::sys::link;
use gateway_tests::daemon::{Daemon, Start};
use gateway_tests::manifests::{self, Manifests};
use gateway_tests::netns::Pair;
use gateway_tests::origin::Origin;
use gateway_tests::raw::Client;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::document::WITH_BUDGETS;
use crate::packet::syn;
use crate::pump::{Pump, SOURCE_PORT, Toward, with_checksums};
use crate::{short, spread, steady};

/// Requests per figure, each on a connection of its own.
const REQUESTS: u32 = 1_500;
/// At a time, and how often: 40,000 SYNs or 4,000 connections a second.
const SYNS: u32 = 400;
const CONNECTIONS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(10);
/// Connections that the flooder keeps open before it drops them.
const OPEN: usize = 400;
/// Of what the calm machine serves to a client that asks as fast as it is answered, what steady clients ask.
const STEADY: f64 = 0.5;
/// Nobody's address in a network of the gateway, which forged SYNs come from.
const FLOODER: &str = "10.78.0.66";
/// The client's second address, which connections come from.
const OPENER: &str = "10.78.0.2";
/// Nobody's either; packets for it arrive at the gateway and are dropped there.
const NOBODY: [u8; 4] = [10, 77, 0, 99];
/// Of Linux.
const EINPROGRESS: i32 = 115;
const GATEWAY: ([u8; 4], u16) = ([10, 77, 0, 1], 8080);
/// A connection takes from the budget of its source; the clients have earned more.
const BUDGETS: [&str; 6] =
    ["--syn-rate", "20", "--earned-syn-rate", "100000", "--earned-syn-burst", "100000"];

/// How the flood is made.
#[derive(Clone, Copy, Debug)]
enum Flood {
    Syns,
    Connections,
}

/// Whom it is aimed at.
#[derive(Clone, Copy, Debug)]
enum Target {
    Nobody,
    Gateway,
}

pub(crate) fn measure(rounds: usize) -> Value {
    let daemons = [(WITH_BUDGETS, &BUDGETS[..]), ("without budgets", &[])];
    let mut rows = Vec::new();
    for (name, arguments) in daemons {
        let place = Place::new(arguments).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        for flood in [Flood::Syns, Flood::Connections] {
            let row = row(&place, name, flood, rounds);
            rows.push(row.unwrap_or_else(|error| panic!("{name}, {flood:?}: {error:#}")));
        }
    }
    let rate = |at_a_time| f64::from(at_a_time) / PAUSE.as_secs_f64();
    json!({
        "syns_per_second": rate(SYNS), "connections_per_second": rate(CONNECTIONS), "rows": rows,
    })
}

/// What one daemon did under one flood.
fn row(place: &Place, name: &str, flood: Flood, rounds: usize) -> Result<Value> {
    let (mut calm, mut sender, mut flooded) = (Part::default(), Part::default(), Part::default());
    let mut asked = Vec::new();
    let sent = AtomicU64::new(0);
    let before = place.counts()?;
    for _ in 0..rounds {
        let full = place.rate()?;
        let steady = STEADY * full.0;
        asked.push(steady);
        calm.add(full, place.steady(steady)?);
        let both = || Ok((place.rate()?, place.steady(steady)?));
        let (full, seen) = place.under(flood, Target::Nobody, &AtomicU64::new(0), both)?;
        sender.add(full, seen);
        let (full, seen) = place.under(flood, Target::Gateway, &sent, both)?;
        flooded.add(full, seen);
    }
    let after = place.counts()?;
    let requests = [&calm, &sender, &flooded].map(|part| part.requests).iter().sum::<u64>();
    let ratio = |to: &Part| ratios(&flooded.rates, &to.rates);
    let kept = ratios(&flooded.in_time, &calm.in_time);
    Ok(json!({
        "row": name,
        "flood": format!("{flood:?}").to_lowercase(),
        "requests_per_second": middle(&calm.rates),
        "requests_per_second_sender_alone": middle(&sender.rates),
        "requests_per_second_flooded": middle(&flooded.rates),
        "ratio": middle(&ratio(&calm)), "ratio_ends": ends(&ratio(&calm)),
        "ratio_to_sender_alone": middle(&ratio(&sender)),
        "ratio_to_sender_alone_ends": ends(&ratio(&sender)),
        "daemon_us_per_request": middle(&calm.cpu),
        "daemon_us_per_request_flooded": middle(&flooded.cpu),
        "steady": {
            "asked_per_second": middle(&asked),
            "in_time_ms": steady::IN_TIME.as_millis(),
            "calm": calm.steady(), "sender_alone": sender.steady(), "flooded": flooded.steady(),
            "kept": middle(&kept), "kept_ends": ends(&kept),
        },
        "sent": sent.into_inner(),
        "dropped": after.dropped - before.dropped,
        "accepted_of_the_flood": after.accepted - before.accepted - requests,
        "requests": requests,
    }))
}

fn middle(figures: &[f64]) -> f64 {
    short(spread(figures).0)
}

fn ends(figures: &[f64]) -> [f64; 2] {
    let (_, least, most) = spread(figures);
    [short(least), short(most)]
}

/// Round by round.
fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

/// One of the three parts of a row, figures of its rounds.
#[derive(Default)]
struct Part {
    /// Requests a second of clients that ask as fast as they are answered, and the daemon's CPU time for
    /// each, microseconds.
    rates: Vec<f64>,
    cpu: Vec<f64>,
    /// Steady clients: the share answered in time, milliseconds, and cores that the daemon took.
    in_time: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cores: Vec<f64>,
    /// How many requests were made.
    requests: u64,
}

impl Part {
    fn add(&mut self, (rate, cpu): (f64, f64), (seen, cores): (steady::Seen, f64)) {
        self.rates.push(rate);
        self.cpu.push(cpu);
        self.in_time.push(seen.in_time);
        self.p50.push(seen.p50);
        self.p99.push(seen.p99);
        self.cores.push(cores);
        self.requests += u64::from(REQUESTS) + seen.asked;
    }

    fn steady(&self) -> Value {
        json!({
            "in_time": spread(&self.in_time).0,
            "p50_ms": middle(&self.p50), "p99_ms": middle(&self.p99), "p99_ms_ends": ends(&self.p99),
            "daemon_cores": middle(&self.cores),
        })
    }
}

/// A gateway and a client, joined by a cable.
struct Place {
    daemon: Daemon,
    pair: Pair,
    head: String,
    _origin: Origin,
    _manifests: Manifests,
}

struct Counts {
    dropped: u64,
    accepted: u64,
}

impl Place {
    fn new(arguments: &[&str]) -> Result<Self> {
        let pair = Pair::new()?;
        let origin = Origin::echo(Some(&pair.gateway))?;
        let manifests = Manifests::new()?;
        let listener = manifests::http_listener("http", GATEWAY.1);
        manifests.write("base.yaml", &manifests::base(&listener, origin.address))?;
        let policy = manifests::workspace_file("examples/quickstart/security.yaml")?;
        manifests.write("policy.yaml", &policy.replace("name: quickstart", "name: ingress"))?;
        let mut all = vec!["--interface", "g0", "--admin", "off", "--access-log", "off"];
        all.extend(arguments);
        let start = Start { netns: Some(&pair.gateway), config: manifests.path(), arguments: &all };
        let daemon = start.ready()?;
        // So that answers to the flood leave, as they would to a forged address.
        let shown = pair.client.ip(&["-o", "link", "show", "c0"])?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        let neighbour = words.nth(1).context("no address of c0")?;
        pair.gateway.ip(&["neigh", "add", FLOODER, "lladdr", neighbour, "dev", "g0"])?;
        let nobody = Ipv4Addr::from(NOBODY).to_string();
        let g0 = pair.gateway.inside(|| Ok(link::links()?))?.into_iter();
        let g0 = g0.filter(|link| link.name == "g0").find_map(|link| link.address);
        let g0 = g0.context("no address of g0")?.map(|byte| format!("{byte:02x}")).join(":");
        pair.client.ip(&["neigh", "add", &nobody, "lladdr", &g0, "dev", "c0"])?;
        let token = manifests::workspace_file("examples/quickstart/demo.jwt")?;
        let head = format!(
            "GET /productpage HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n",
            token.trim()
        );
        let place = Self { daemon, pair, head, _origin: origin, _manifests: manifests };
        // The first token earns the budget.
        place.requests(200)?;
        Ok(place)
    }

    /// Requests, each on a connection of its own; all of them have to be answered.
    fn requests(&self, count: u32) -> Result<Duration> {
        self.pair.client.inside(|| {
            let started = Instant::now();
            for _ in 0..count {
                let mut client = Client::connect(SocketAddr::from(GATEWAY))?;
                let answer = client.exchange(self.head.as_bytes(), false)?;
                anyhow::ensure!(answer.status == 200, "status {}", answer.status);
                // Its port is free again at once.
                client.reset()?;
            }
            Ok(started.elapsed())
        })
    }

    /// Requests a second, and microseconds of the daemon's CPU time for each.
    fn rate(&self) -> Result<(f64, f64)> {
        let before = self.cpu()?;
        let elapsed = self.requests(REQUESTS)?;
        let cpu = self.cpu()? - before;
        let count = f64::from(REQUESTS);
        Ok((count / elapsed.as_secs_f64(), cpu * 1e6 / count))
    }

    /// What clients see that ask so often a second, and how many cores the daemon takes meanwhile.
    fn steady(&self, rate: f64) -> Result<(steady::Seen, f64)> {
        let (before, started) = (self.cpu()?, Instant::now());
        let seen = steady::ask(&self.pair.client, SocketAddr::from(GATEWAY), &self.head, rate)?;
        let cores = (self.cpu()? - before) / started.elapsed().as_secs_f64();
        Ok((seen, cores))
    }

    /// Does something while a flood is on.
    fn under<T>(
        &self,
        flood: Flood,
        target: Target,
        sent: &AtomicU64,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| match flood {
                Flood::Syns => self.syns(target, &over, sent),
                Flood::Connections => self.connections(target, &over, sent),
            });
            let done = work();
            over.store(true, Relaxed);
            flood.join().expect("the flood broke off")?;
            done
        })
    }

    /// SYNs from one address and many ports, into the stack of the gateway or nowhere.
    fn syns(&self, target: Target, over: &AtomicBool, sent: &AtomicU64) -> Result<()> {
        self.pair.gateway.inside(|| {
            let toward = match target {
                Target::Nobody => Toward::Nowhere,
                Target::Gateway => Toward::Arriving(link::index("g0")?),
            };
            let mut pump = Pump::new(toward, SOURCE_PORT, 16_384);
            let links = link::links()?;
            let g0 = links.into_iter().find(|link| link.name == "g0").context("no g0")?;
            let frame = frame(g0.address.context("g0 has no hardware address")?);
            paced(over, || {
                pump.send(&frame, SYNS);
                sent.fetch_add(SYNS.into(), Relaxed);
                Ok(())
            })
        })
    }

    /// Connections from one address, opened without waiting for them and dropped after a while.
    fn connections(&self, target: Target, over: &AtomicBool, sent: &AtomicU64) -> Result<()> {
        let to = match target {
            Target::Nobody => SocketAddr::from((NOBODY, GATEWAY.1)),
            Target::Gateway => SocketAddr::from(GATEWAY),
        };
        let from = SocketAddr::new(OPENER.parse()?, 0);
        self.pair.client.inside(|| {
            let mut open = VecDeque::new();
            paced(over, || {
                for _ in 0..CONNECTIONS {
                    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                    socket.set_nonblocking(true)?;
                    socket.set_linger(Some(Duration::ZERO))?;
                    socket.bind(&from.into())?;
                    let connecting = socket.connect(&to.into()).err();
                    let code = connecting.as_ref().and_then(std::io::Error::raw_os_error);
                    anyhow::ensure!(code == Some(EINPROGRESS), "{connecting:?}");
                    open.push_back(socket);
                    if open.len() > OPEN {
                        open.pop_front();
                    }
                }
                sent.fetch_add(CONNECTIONS.into(), Relaxed);
                Ok(())
            })
        })
    }

    /// Seconds of CPU time that the daemon has used.
    fn cpu(&self) -> Result<f64> {
        /// `sysconf(_SC_CLK_TCK)` of Linux.
        const PER_SECOND: f64 = 100.0;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.daemon.pid()))?;
        // Behind the name, which may hold anything, in brackets.
        let (_, fields) = stat.rsplit_once(") ").context("stat")?;
        let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u32>);
        let ticks = ticks.sum::<Result<u32, _>>()?;
        Ok(f64::from(ticks) / PER_SECOND)
    }

    fn counts(&self) -> Result<Counts> {
        let stats = self.daemon.stats()?;
        let rows = stats["listeners"].as_array().context("no listeners")?;
        let dropped =
            rows.iter().filter_map(|row| row["verdicts"]["syn_limited"]["packets"].as_u64()).sum();
        let accepted = stats["connections"]["accepted"].as_u64().context("no connections")?;
        Ok(Counts { dropped, accepted })
    }
}

/// Does something once per pause, until told to stop.
fn paced(over: &AtomicBool, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let mut next = Instant::now();
    while !over.load(Relaxed) {
        work()?;
        next += PAUSE;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn frame(to: [u8; 6]) -> Vec<u8> {
    let mut frame = syn(FLOODER, "10.77.0.1", GATEWAY.1).bytes();
    frame[..6].copy_from_slice(&to);
    with_checksums(frame, SOURCE_PORT)
}
