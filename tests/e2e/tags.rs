//! Frames with VLAN tags on the wire: connections through them are steered and answered, and denied
//! and banned sources in them are dropped.
//!
//! A program at TC egress of the client's interface writes the tags into the frame, so they arrive as
//! a switch would send them. With the number 0 (a tag for its priority alone) the
//! kernel takes them off again, without any interface for it. Of another number it drops the frame where
//! no interface of that number is, as here: XDP and TC see it before.

use anyhow::{Context, Result, ensure};
use gateway_tests::curl::{Answer, curl};
use gateway_tests::object::{EXIT, Instruction, Kind, program};

use crate::setting::{HTTP, Options, Setting};

/// 802.1Q, and what stands in front of it in a frame with two tags (802.1ad).
const TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

/// A tag: its kind, and the number of its VLAN.
type Tag = (u16, u16);

const ONE: &[Tag] = &[(TAG, 0)];
const TWO: &[Tag] = &[(SERVICE_TAG, 0), (TAG, 0)];
const FIVE: &[Tag] = &[(TAG, 5)];
const TWO_OF_FIVE: &[Tag] = &[(SERVICE_TAG, 5), (TAG, 7)];

/// Writes these tags into every IP packet that leaves by an interface: TC egress.
fn tagging(tags: &[Tag]) -> Vec<u8> {
    const ADJUST_ROOM: i32 = 50;
    const STORE_BYTES: i32 = 9;
    const BEHIND_MAC_HEADER: i32 = 1;
    const DROP: i32 = 2;
    const NEXT: i32 = -1;
    /// Where the ethertype stands.
    const ETHERTYPE: i32 = 12;
    /// Where they are put together, below the frame pointer.
    const TAGS: i16 = -16;
    const PROTOCOL: i16 = 16;
    const IPV4: i32 = 0x0008;
    const IPV6: i32 = 0xdd86;
    let bytes = i32::try_from(4 * tags.len()).unwrap_or_default();
    let mut code: Vec<Instruction> = vec![
        (0xbf, 6, 1, 0, 0),                 // r6 = context
        (0x61, 7, 6, PROTOCOL, 0),          // r7 = its protocol
        (0x15, 7, 0, 3, IPV4),              // if IPv4, go on below
        (0x15, 7, 0, 2, IPV6),              // if IPv6 too
        (0xb7, 0, 0, 0, NEXT),              // else leave it
        EXIT,                               //
        (0xbf, 1, 6, 0, 0),                 // r1 = context
        (0xb7, 2, 0, 0, bytes),             // r2 = so much room
        (0xb7, 3, 0, 0, BEHIND_MAC_HEADER), // r3 = there
        (0xb7, 4, 0, 0, 0),                 // r4 = no flags
        (0x85, 0, 0, 0, ADJUST_ROOM),       // make room
        (0x15, 0, 0, 2, 0),                 // if that went well, go on below
        (0xb7, 0, 0, 0, DROP),              // else drop it, so that the test fails
        EXIT,                               //
    ];
    // As the frame has them: what each is, its number; and at last the protocol.
    let numbers = tags.iter().flat_map(|&(kind, number)| [kind, number]);
    let mut at = TAGS;
    for number in numbers {
        let immediate = i32::from(number.to_be().cast_signed());
        code.push((0x6a, 10, 0, at, immediate)); // *(u16 *)(r10 + at) = number
        at += 2;
    }
    code.extend([
        (0x6b, 10, 7, at, 0),             // *(u16 *)(r10 + at) = the protocol
        (0xbf, 1, 6, 0, 0),               // r1 = context
        (0xb7, 2, 0, 0, ETHERTYPE),       // r2 = from there
        (0xbf, 3, 10, 0, 0),              // r3 = the tags
        (0x07, 3, 0, 0, i32::from(TAGS)), //
        (0xb7, 4, 0, 0, bytes + 2),       // r4 = so many bytes
        (0xb7, 5, 0, 0, 0),               // r5 = no flags
        (0x85, 0, 0, 0, STORE_BYTES),     // store them
        (0xb7, 0, 0, 0, NEXT),            //
        EXIT,
    ]);
    program(Kind::Classifier, "tagging", &code)
}

impl Setting {
    /// Tags whatever the client sends from here on.
    fn tag(&self, tags: &[Tag]) -> Result<()> {
        let object = tempfile::NamedTempFile::new()?;
        std::fs::write(object.path(), tagging(tags))?;
        let file = object.path().to_str().context("path")?;
        let (client, section) = (&self.pair.client, Kind::Classifier.section());
        // Whatever was there before goes with its qdisc.
        client.run("sh", &["-c", "tc qdisc del dev c0 clsact 2>&1 || true"])?;
        client.run("tc", &["qdisc", "add", "dev", "c0", "clsact"])?;
        let filter =
            ["filter", "add", "dev", "c0", "egress", "bpf", "da", "obj", file, "sec", section];
        client.run("tc", &filter)?;
        Ok(())
    }

    /// Asks the gateway from an address of the client's.
    fn ask_from(&self, source: &str) -> Result<Answer> {
        let limit = ["--connect-timeout", "2", "--interface", source];
        curl(Some(&self.pair.client), &[&limit[..], &[&format!("{HTTP}/x")]].concat())
    }

    /// Packets with a verdict at a hook, for every listener together.
    fn counted(&self, hook: &str, verdict: &str) -> Result<u64> {
        let stats = self.daemon.stats()?;
        let rows = stats["listeners"].as_array().context("no listeners")?;
        let rows = rows.iter().filter(|row| row["hook"] == hook);
        Ok(rows.filter_map(|row| row["verdicts"][verdict]["packets"].as_u64()).sum())
    }
}

#[test]
fn connections_in_tagged_frames_are_steered_and_answered() -> Result<()> {
    let setting = Options::default().start()?;
    for tags in [ONE, TWO] {
        setting.tag(tags)?;
        let before = setting.counted("tc_ingress", "steered")?;
        for url in [&format!("{HTTP}/x"), "http://[fd77::1]:8080/x"] {
            assert_eq!(
                setting.curl(&["--connect-timeout", "5", url])?.status,
                200,
                "{tags:?} {url}"
            );
        }
        assert_eq!(setting.counted("tc_ingress", "steered")?, before + 2, "{tags:?}");
        assert_eq!(setting.counted("xdp", "unparsed")?, 0, "{tags:?}");
    }
    // Who has no interface for a VLAN gets nothing from it: so the tags are there.
    setting.tag(FIVE)?;
    ensure!(setting.ask_from("10.77.0.2").is_err(), "answered in a VLAN that is nowhere");
    Ok(())
}

#[test]
fn denied_and_banned_sources_are_dropped_in_tagged_frames() -> Result<()> {
    let arguments = ["--deny-source", "10.78.0.2", "--bans", "enforce"];
    let setting = Options { arguments: &arguments, ..Options::default() }.start()?;
    let banned = "10.78.0.3";
    setting.pair.client.ip(&["addr", "add", &format!("{banned}/24"), "dev", "c0"])?;
    let binary = gateway_tests::environment::daemon_binary()?;
    let binary = binary.to_str().context("path")?;
    let ban = ["bans", "add", banned, "--pin-directory", setting.daemon.pins()];
    setting.pair.gateway.run(binary, &ban)?;

    for tags in [ONE, TWO, FIVE, TWO_OF_FIVE] {
        setting.tag(tags)?;
        for (source, verdict) in [("10.78.0.2", "denied_source"), (banned, "banned_source")] {
            let before = setting.counted("xdp", verdict)?;
            ensure!(setting.ask_from(source).is_err(), "{tags:?}: {source} was served");
            let after = setting.counted("xdp", verdict)?;
            ensure!(after > before, "{tags:?}: nothing of {source} was counted as {verdict}");
        }
    }
    // Others are not dropped for having tags.
    setting.tag(ONE)?;
    assert_eq!(setting.ask_from("10.77.0.2")?.status, 200);
    Ok(())
}
