//! Nanoseconds a packet by test run.

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use gateway_common::bans::{Ban, BanMode, BanReason};
use gateway_common::hook::Hook;
use gateway_daemon::bpf::{BanMaps, LoadOptions, Loaded, Packet, Privileged};
use gateway_daemon::clock;
use gateway_daemon::model::ban::{BanModes, Rate, Source, SynBudget};
use gateway_daemon::model::policy::Cidr;
use gateway_tests::object::{Kind, answering};
use serde_json::{Value, json};

use crate::packet::{ACK, syn};
use crate::sandbox::{self, load, options, pin_directory, steer};
use crate::{short, spread};

/// Runs of a program per figure.
const REPEAT: u32 = 200_000;
const CIDRS: u32 = 1_000;
pub(crate) const BANS: u32 = 10_000;
/// `XDP_PASS`.
const PASS: i32 = 2;
const HOUR: u64 = 3_600_000_000_000;
const BASELINE: &str = "baseline";

/// What a row is about: name, hook, packet, and the highest ratio to the baseline that is aimed for.
type Row = (&'static str, Hook, Vec<u8>, Option<f64>);

fn rows() -> Vec<Row> {
    let v4 = |from: &str, port| syn(from, "127.0.0.1", port);
    let v6 = |from: &str, port| syn(from, "::1", port);
    let goal = |of: f64| Some(of / 33.0);
    vec![
        ("other port", Hook::Xdp, v4("192.0.2.9", 22).bytes(), goal(50.0)),
        ("other port, IPv6", Hook::Xdp, v6("2001:db8::9", 22).bytes(), goal(50.0)),
        ("pass", Hook::Xdp, v4("192.0.2.9", 8080).flags(ACK).bytes(), goal(170.0)),
        ("pass, IPv6", Hook::Xdp, v6("2001:db8::9", 8080).flags(ACK).bytes(), goal(170.0)),
        ("pass in a VLAN", Hook::Xdp, v4("192.0.2.9", 8080).flags(ACK).tag(0x8100).bytes(), None),
        ("pass, SYN with budget", Hook::Xdp, v4("192.0.2.9", 8080).bytes(), None),
        ("ban drop", Hook::Xdp, v4("10.64.1.1", 8080).bytes(), goal(200.0)),
        ("ban drop, IPv6", Hook::Xdp, v6("2001:db8:64:1::1", 8080).bytes(), goal(200.0)),
        ("deny list drop", Hook::Xdp, v4("10.1.1.1", 8080).bytes(), None),
        ("TC ingress, other port", Hook::TcIngress, v4("192.0.2.9", 22).bytes(), None),
        ("TC ingress, ACK", Hook::TcIngress, v4("192.0.2.9", 8080).flags(ACK).bytes(), None),
        ("TC ingress, SYN", Hook::TcIngress, v4("192.0.2.9", 8080).bytes(), None),
        (
            "TC egress",
            Hook::TcEgress,
            v4("127.0.0.1", 40_000).source_port(8080).flags(ACK).bytes(),
            None,
        ),
    ]
}

/// A kernel half with 1,000 denied blocks and 10,000 banned sources of each family.
pub(crate) fn burdened() -> Loaded {
    let v4 = (0..CIDRS).map(|n| format!("10.{}.{}.0/24", 1 + n / 250, n % 250));
    let v6 = (0..CIDRS).map(|n| format!("2001:db8:d:{n:x}::/64"));
    let deny_sources = v4.chain(v6).map(|block| Cidr::parse(&block).unwrap()).collect();
    let mut loaded = load(LoadOptions { deny_sources, ..options() });
    steer(loaded.maps(), "http", &[], 8080);
    let mut maps = BanMaps::open(pin_directory()).unwrap();
    maps.set_modes(BanModes { now: BanMode::Enforce, wanted: BanMode::Enforce }).unwrap();
    let since = clock::since_boot();
    let reason = BanReason::TokenSignature as u32;
    let ban = Ban { expires: since + HOUR, since, packets: 1, strikes: 20, reason };
    for n in 0..BANS {
        maps.insert(Source::V4((0x0a40_0000 + n).into()), ban).unwrap();
        let [.., a, b] = n.to_be_bytes();
        maps.insert(Source::V6([0x20, 0x01, 0x0d, 0xb8, 0, 0x64, a, b]), ban).unwrap();
    }
    loaded
}

pub(crate) fn measure(rounds: usize) -> Value {
    sandbox::enter();
    let mut loaded = burdened();
    let mut baseline = Ebpf::load(&answering(Kind::Xdp, BASELINE, PASS)).unwrap();
    let rows = rows();
    let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for (name, hook, packet, _) in &rows {
            budget(name.contains("budget"));
            // In turn, with the same packet: what the machine does meanwhile it does to both.
            let least = least(&mut baseline, packet);
            let ours = ours(&mut loaded, *hook, packet);
            figures.entry(BASELINE).or_default().push(least);
            figures.entry(name).or_default().push(ours);
            ratios.entry(name).or_default().push(ours / least);
        }
    }
    let row = |name: &str, goal: Option<f64>| {
        let (ns, lowest, highest) = spread(&figures[name]);
        let ratio = ratios.get(name).map(|ratios| short(spread(ratios).0));
        json!({
            "row": name, "ns": short(ns), "min": short(lowest), "max": short(highest),
            "ratio": ratio, "goal": goal.map(short),
        })
    };
    let head = std::iter::once(row(BASELINE, None));
    let rows = rows.iter().map(|(name, _, _, goal)| row(name, *goal));
    json!({ "rows": head.chain(rows).collect::<Vec<_>>() })
}

/// With budgets, a source has enough for the whole run.
fn budget(on: bool) {
    let rate = Rate { per_second: 1_000_000, burst: 100_000_000 };
    let budget = SynBudget { each: rate, earned: rate };
    BanMaps::open(pin_directory()).unwrap().set_budget(on.then_some(budget)).unwrap();
}

fn ours(loaded: &mut Loaded, hook: Hook, bytes: &[u8]) -> f64 {
    let privileged = Privileged::acquire().unwrap();
    let packet = Packet { repeat: REPEAT, ..Packet::new(bytes) };
    let run = loaded.run(&privileged, hook, packet).unwrap();
    nanoseconds(run.duration)
}

fn least(baseline: &mut Ebpf, bytes: &[u8]) -> f64 {
    let program: &mut Xdp = baseline.program_mut(BASELINE).unwrap().try_into().unwrap();
    if program.fd().is_err() {
        program.load().unwrap();
    }
    let mut options = TestRunOptions::new();
    options.data_in = Some(bytes);
    options.repeat = REPEAT;
    nanoseconds(program.test_run(options).unwrap().duration)
}

#[expect(clippy::cast_precision_loss, reason = "some hundred nanoseconds")]
fn nanoseconds(duration: std::time::Duration) -> f64 {
    duration.as_nanos() as f64
}
