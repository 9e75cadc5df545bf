//! Packets a second that are dropped, by whom, with 10,000 sources banned. The kernel makes the packets,
//! 8,192 sources in turn, on the CPU that also drops them; so a figure is one CPU's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict;
use gateway_daemon::bpf::{AttachOptions, Attached, Privileged};
use gateway_daemon::counters::ListenerSlot;
use gateway_daemon::model::attachment::XdpPlace;
use gateway_daemon::sys::link;
use gateway_tests::object::{Kind, answering};
use serde_json::{Value, json};

use crate::packet::syn;
use crate::pump::{Pump, SOURCE, Toward, with_checksums};
use crate::sandbox::{self, Peer, packets, regions, run, steer};
use crate::test_run::{BANS, burdened};
use crate::{short, spread};

/// Packets per figure.
const PACKETS: u32 = 300_000;
/// A power of two below the number of bans.
const SOURCES: u32 = 8_192;
const XDP_DROP: i32 = 1;

/// Who drops.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Dropper {
    /// Nobody: frames are thrown away as soon as they are made.
    Sender,
    /// A program of two instructions.
    Least(XdpPlace),
    /// A ban.
    Ban(XdpPlace),
    /// nftables, on this hook.
    Nftables(&'static str),
}

const INGRESS: &str = "type filter hook ingress device \"gw0\" priority filter;";
const PREROUTING: &str = "type filter hook prerouting priority raw;";
const INPUT: &str = "type filter hook input priority filter;";

/// Where nftables is told to drop a flood, without naming an interface.
const NFTABLES_RAW: &str = "nftables, prerouting raw";

const ROWS: [(&str, Dropper); 8] = [
    ("making the packets", Dropper::Sender),
    ("generic XDP, least program", Dropper::Least(XdpPlace::Generic)),
    ("generic XDP, ban", Dropper::Ban(XdpPlace::Generic)),
    ("nftables, netdev ingress", Dropper::Nftables(INGRESS)),
    (NFTABLES_RAW, Dropper::Nftables(PREROUTING)),
    ("nftables, input", Dropper::Nftables(INPUT)),
    ("native XDP on veth, least program", Dropper::Least(XdpPlace::Native)),
    ("native XDP on veth, ban", Dropper::Ban(XdpPlace::Native)),
];

pub(crate) fn measure(rounds: usize) -> Value {
    let nft = Command::new("nft").arg("--version").stdout(Stdio::null()).status();
    assert!(nft.is_ok(), "nftables is missing: `apt-get install nftables`");
    sandbox::enter();
    let peer = Peer::new();
    peer.cable();
    run("ip addr add 10.1.0.1/24 dev gw0");
    // The bans are in the pinned maps; every kernel half that is loaded later continues them.
    drop(burdened());
    let mut figures: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..rounds {
        for (name, dropper) in ROWS {
            figures.entry(name).or_default().push(dropper.per_second(&peer));
        }
    }
    let row = |(name, _): &(&str, Dropper)| {
        let (middle, lowest, highest) = spread(&figures[name]);
        // Within each round first.
        let pairs = figures[name].iter().zip(&figures[NFTABLES_RAW]);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        json!({
            "row": name, "packets_per_second": middle.round(), "min": lowest.round(),
            "max": highest.round(), "ns": short(1e9 / middle),
            "ratio": short(spread(&ratios).0),
        })
    };
    json!({ "banned": BANS, "packets": PACKETS, "rows": ROWS.iter().map(row).collect::<Vec<_>>() })
}

impl Dropper {
    fn per_second(self, peer: &Peer) -> f64 {
        let elapsed = match self {
            Self::Sender => send(Toward::Nowhere),
            Self::Least(place) => {
                let mode = if place == XdpPlace::Native { "xdpdrv" } else { "xdpgeneric" };
                let file = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(file.path(), answering(Kind::Xdp, "least", XDP_DROP)).unwrap();
                let path = file.path().display();
                run(&format!("ip link set dev gw0 {mode} obj {path} sec xdp"));
                let elapsed = receive(peer, place);
                run(&format!("ip link set dev gw0 {mode} off"));
                elapsed
            }
            Self::Ban(place) => {
                let (mut attached, slot) = attach(place);
                let before = dropped(&mut attached, slot);
                let elapsed = receive(peer, place);
                let dropped = dropped(&mut attached, slot) - before;
                assert_eq!(dropped, u64::from(PACKETS), "{place:?}");
                elapsed
            }
            Self::Nftables(hook) => {
                nft(&rules(hook));
                let elapsed = receive(peer, XdpPlace::Generic);
                let listed = run("nft list ruleset");
                assert!(
                    listed.contains(&format!("counter packets {PACKETS} ")),
                    "{hook}: {listed}"
                );
                nft("flush ruleset\n");
                elapsed
            }
        };
        f64::from(PACKETS) / elapsed.as_secs_f64()
    }
}

fn attach(place: XdpPlace) -> (Attached, ListenerSlot) {
    let mut loaded = sandbox::load(sandbox::options());
    let slot = steer(loaded.maps(), "http", &[], 8080);
    let privileged = Privileged::acquire().unwrap();
    let options = AttachOptions { place, ..AttachOptions::default() };
    (loaded.attach_with(&privileged, &["gw0".to_owned()], options).unwrap(), slot)
}

fn dropped(attached: &mut Attached, slot: ListenerSlot) -> u64 {
    packets(&regions(attached.maps()), Hook::Xdp, slot, PacketVerdict::BannedSource)
}

/// Sends to `gw0`: into the stack behind its driver, or over the cable to its driver.
fn receive(peer: &Peer, place: XdpPlace) -> std::time::Duration {
    if place != XdpPlace::Native {
        return send(Toward::Arriving(link::index("gw0").unwrap()));
    }
    let to = hardware_address();
    peer.run(move || {
        let cable = Toward::Leaving(link::index("cl0").unwrap());
        Pump::new(cable, SOURCE, SOURCES).send(&frame(to), PACKETS)
    })
}

fn send(toward: Toward) -> std::time::Duration {
    Pump::new(toward, SOURCE, SOURCES).send(&frame(hardware_address()), PACKETS)
}

fn hardware_address() -> [u8; 6] {
    let links = link::links().unwrap();
    links.iter().find(|link| link.name == "gw0").and_then(|link| link.address).unwrap()
}

/// A SYN for the gateway port from the first banned source.
fn frame(to: [u8; 6]) -> Vec<u8> {
    let mut frame = syn("10.64.0.0", "10.1.0.1", 8080).bytes();
    frame[..6].copy_from_slice(&to);
    with_checksums(frame, SOURCE)
}

/// A table that does what a ban does: by source and port, for a while, counted.
fn rules(hook: &str) -> String {
    let family = if hook == INGRESS { "netdev" } else { "inet" };
    let mut sources = String::new();
    for number in 0..BANS {
        write!(sources, "{},", Ipv4Addr::from(0x0a40_0000 + number)).unwrap();
    }
    format!(
        "table {family} bans {{
  set banned {{ type ipv4_addr; flags timeout; timeout 1h; size 65536; elements = {{ {sources} }} }}
  chain banned {{
    {hook} policy accept;
    tcp dport 8080 ip saddr @banned counter drop
  }}
}}
"
    )
}

fn nft(script: &str) {
    use std::io::Write as _;
    let mut child = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "nft refuses the rules");
}
