//! Many connections that are open and quiet.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};

use super::transport::{Transport, answer};
use super::{Target, engine, tls};
use crate::clock;

/// Opens the connections, asks once on each, says `READY`, and holds them until standard input ends.
pub(super) fn hold(target: &Target) -> Result<()> {
    let config = target.tls.then(|| tls::config(false)).transpose()?;
    let token = engine::tokens(target.tokens.as_deref())?.into_iter().next().unwrap_or_default();
    let request = format!("GET {} HTTP/1.1\r\nhost: localhost\r\n{token}\r\n", target.path);
    let mut held = Vec::new();
    for at in 0..target.connections {
        let context = || format!("connection {at}");
        let mut transport =
            Transport::open(target.address, config.as_ref()).with_context(context)?;
        ask(&mut transport, &request).with_context(context)?;
        held.push(transport);
    }
    println!("READY");
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn ask(transport: &mut Transport, request: &str) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut inbox = Vec::new();
    let mut sent = false;
    loop {
        if !sent && transport.is_open() {
            transport.send(request.as_bytes())?;
            sent = true;
        }
        transport.receive(&mut buffer, &mut inbox)?;
        match answer(&inbox)? {
            Some((200, length)) if inbox.len() >= length => return Ok(()),
            Some((200, _)) | None => clock::pause(0),
            Some((status, _)) => bail!("the answer was {status}"),
        }
    }
}
