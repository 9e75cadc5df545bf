//! HTTP/2 abuse: CONTINUATION floods and rapid resets end the connection, not the daemon.

use anyhow::Result;
use gateway_tests::raw::Client;

use crate::setting::{HTTP, Options, setting};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame (RFC 9113 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET /` for authority `a`, without the dynamic table (RFC 7541).
const GET: &[u8] = b"\x82\x86\x84\x41\x01a";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn opened(client: &mut Client) -> Result<()> {
    client.send(PREFACE)?;
    client.send(&frame(SETTINGS, 0, 0, &[]))
}

#[test]
fn a_continuation_flood_ends_the_connection() -> Result<()> {
    let setting = setting()?;
    let mut client = setting.connect()?;
    opened(&mut client)?;
    client.send(&frame(HEADERS, END_STREAM, 1, GET))?;
    let filler =
        frame(CONTINUATION, 0, 1, &[b"\x00\x01x\x7f\xf0\x07".as_slice(), &[b'y'; 1000]].concat());
    for _ in 0..20_000 {
        client.send(&filler)?;
    }
    assert!(client.ended()?, "20 MB of CONTINUATION were taken");
    assert!(setting.origin.take().is_empty());
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200, "the daemon goes on");
    Ok(())
}

#[test]
fn rapid_resets_end_the_connection() -> Result<()> {
    let setting = Options {
        answer: Some(std::sync::Arc::new(|_, _| {
            std::thread::sleep(std::time::Duration::from_secs(1));
            Ok(false)
        })),
        ..Options::default()
    }
    .start()?;
    let mut client = setting.connect()?;
    opened(&mut client)?;
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        client.send(&frame(HEADERS, END_STREAM | END_HEADERS, stream, GET))?;
        client.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()))?;
    }
    assert!(client.ended()?, "20,000 reset streams were taken");
    assert!(setting.origin.take().len() < 1000, "resets reach the upstream");
    Ok(())
}
