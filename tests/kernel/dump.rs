//! `bpftool map dump pinned`: a dump explains itself, without our tool.

use gateway_common::abi::{PIN_DIRECTORY, map};
use gateway_common::bans::BanMode;
use gateway_common::path::PathSlot;
use gateway_common::verdict::RequestVerdict;
use gateway_daemon::counters::PathSlots;
use gateway_daemon::model::ban::Source;
use gateway_daemon::model::reason::Reason;
use serde_json::{Value, json};

use crate::bans::{ban, bans};
use crate::packet::syn;
use crate::sandbox::{self, load, options, regions, run, steer};

/// What bpftool says of a pinned map, for its first `rows` rows.
fn dump(name: &str) -> Vec<Value> {
    let text = run(&format!("bpftool --json --pretty map dump pinned {PIN_DIRECTORY}/{name}"));
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    rows.into_iter().map(|row| row["formatted"].clone()).collect()
}

#[test]
fn rows_have_named_fields_and_names_are_text() {
    sandbox::enter();
    let mut loaded = load(options());
    let slot = steer(loaded.maps(), "default/gateway/http", &["127.0.0.1", "::1"], 8080);
    let regions = regions(loaded.maps());
    let slots = PathSlots::new(regions.clone()).assign(&["PathPrefix /productpage".to_owned()]);
    assert_eq!(slots.slots, [PathSlot(1)]);
    regions.worker(0).unwrap().record(PathSlot(1), RequestVerdict::Denied, 3, 19);
    let privileged = gateway_daemon::bpf::Privileged::acquire().unwrap();
    let bytes = syn("127.0.0.1", "127.0.0.1", 8080).bytes();
    let packet = gateway_daemon::bpf::Packet::new(&bytes);
    loaded.run(&privileged, gateway_common::hook::Hook::Xdp, packet).unwrap();

    let requests = &dump(map::REQUEST_COUNTERS)[1]["value"];
    assert_eq!(requests["requests"], 1);
    assert_eq!(requests["denied"], 1);
    assert_eq!(requests["allowed"], 0);
    assert_eq!(requests["response_bytes"], 19);

    regions.worker(0).unwrap().refused(Reason::PolicyDenied.counter());
    let reasons = &dump(map::REASON_COUNTERS)[0]["value"];
    assert_eq!(reasons["policy_denied"], 1);
    assert_eq!(reasons["token_expired"], 0);

    let names = &dump(map::PATH_NAMES)[1]["value"];
    assert_eq!(names["name"], "PathPrefix /productpage", "{names}");
    let names = &dump(map::LISTENER_NAMES)[1]["value"];
    assert_eq!(names["name"], "default/gateway/http", "{names}");

    let packets = dump(map::PACKET_COUNTERS);
    let passed = json!({ "packets": 1, "bytes": bytes.len() });
    let counted = packets.iter().find(|row| row["value"]["passed"] == passed).unwrap();
    assert_eq!(counted["value"]["seen"], passed);

    let ports = dump(map::GATEWAY_PORTS);
    assert_eq!(ports.len(), 2);
    for port in &ports {
        assert_eq!(port["key"]["port"], 8080);
        assert_eq!(port["value"]["listener"], slot.0);
        assert_eq!(port["value"]["workers"], sandbox::WORKERS);
    }
    let address = |last: [u8; 4]| {
        let mut address = [0; 16];
        address[12..].copy_from_slice(&last);
        if last[0] == 127 {
            address[10..12].fill(0xff);
        }
        json!(address)
    };
    assert!(ports.iter().any(|port| port["key"]["address"] == address([127, 0, 0, 1])));
    assert!(ports.iter().any(|port| port["key"]["address"] == address([0, 0, 0, 1])));
    let wire = &dump(map::WIRE_COUNTERS)[1]["value"];
    assert_eq!(wire["allowed"]["packets"], 0);
}

#[test]
fn every_field_is_documented() {
    const DOCUMENT: &str = include_str!("../../docs/counters.md");
    sandbox::enter();
    let mut loaded = load(options());
    steer(loaded.maps(), "http", &[], 8080);
    for source in ["192.0.2.1", "2001:db8::1"] {
        let source = Source::parse(source).unwrap();
        bans(BanMode::Audit).insert(source, ban(1)).unwrap();
    }
    let maps = [
        map::REQUEST_COUNTERS,
        map::PACKET_COUNTERS,
        map::WIRE_COUNTERS,
        map::REASON_COUNTERS,
        map::PATH_NAMES,
        map::LISTENER_NAMES,
        map::GATEWAY_PORTS,
        map::BANNED_SOURCES_V4,
        map::BANNED_SOURCES_V6,
        map::GUARD_SETTINGS,
    ];
    for name in maps {
        let row = &dump(name)[0];
        for part in ["key", "value"] {
            for field in row[part].as_object().into_iter().flat_map(|fields| fields.keys()) {
                assert!(DOCUMENT.contains(&format!("`{field}`")), "{name}: {field}");
            }
        }
    }
    for name in loaded.pinned() {
        assert!(DOCUMENT.contains(name), "{name}");
    }
}
