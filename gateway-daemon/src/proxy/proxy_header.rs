//! Between accepting and TLS: the header by which a proxy says whose connection it is, where the port
//! expects one (PROXY protocol). Without a good one in time there is no connection.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tracing::{debug, warn};

use super::worker::Worker;
use crate::model::topology::ProxyFault;
use crate::request::proxy_header::{self, Heard};
use crate::request::{ConnMeta, Proxied};

/// Hears whose connection this is; none, and a fault is counted, where that cannot be known.
pub(super) async fn hear(
    worker: &Rc<Worker>,
    stream: &mut TcpStream,
    meta: &ConnMeta,
) -> Option<Box<Proxied>> {
    let heard = if worker.snapshot().proxies.has(meta.peer.ip()) {
        let timeout = worker.limits().head_timeout;
        let read = tokio::time::timeout(timeout, read(stream)).await;
        read.unwrap_or(Err(ProxyFault::Timeout))
    } else {
        Err(ProxyFault::Untrusted)
    };
    match heard {
        Ok(source) => {
            let source = source.unwrap_or(meta.peer);
            Some(Box::new(Proxied { source, client: source, headers: false }))
        }
        Err(fault) => {
            worker.proxy_faults().add(fault);
            let (peer, local, reason) = (meta.peer, meta.local, fault.word());
            if worker.may_warn() {
                warn!(%peer, %local, reason, "connection closed: no good PROXY header");
            } else {
                debug!(%peer, %local, reason, "connection closed: no good PROXY header");
            }
            None
        }
    }
}

/// Reads the header, and not a byte of what follows it. A loop of few rounds: of version 1 the line is
/// looked at before it is taken.
async fn read(stream: &mut TcpStream) -> Result<Option<SocketAddr>, ProxyFault> {
    let mut header = Vec::new();
    loop {
        let wanted = match proxy_header::read(&header)? {
            Heard::Source(source) => return Ok(source),
            Heard::More(wanted) => wanted,
            Heard::Line(most) => line(stream, most).await.map_err(|error| gone(&error))?,
        };
        let before = header.len();
        header.resize(before + wanted, 0);
        let count = stream.read(&mut header[before..]).await.map_err(|error| gone(&error))?;
        if count == 0 {
            return Err(ProxyFault::Closed);
        }
        header.truncate(before + count);
    }
}

/// Bytes up to a line feed, as far as they have come.
async fn line(stream: &TcpStream, most: usize) -> io::Result<usize> {
    let mut bytes = vec![0; most];
    let count = stream.peek(&mut bytes).await?;
    let end = bytes[..count].iter().position(|byte| *byte == b'\n');
    // Where the peer has closed, the read that follows finds that out.
    Ok(end.map_or(count, |end| end + 1).max(1))
}

fn gone(error: &io::Error) -> ProxyFault {
    debug!(%error, "peer gone before its PROXY header");
    ProxyFault::Closed
}
