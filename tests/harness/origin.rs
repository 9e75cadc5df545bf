//! An upstream of a test's own: answers by path, and keeps what it saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// A request as it arrived. Bytes are kept as Latin-1.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Request target.
    pub target: String,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, decoded.
    pub body: String,
}

impl Seen {
    /// Every value of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }
}

/// What an origin answers to a request: writes to the stream; false closes the connection.
pub type Answer = dyn Fn(&Seen, &mut TcpStream) -> std::io::Result<bool> + Send + Sync;

/// A running origin.
#[derive(Debug)]
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Origin {
    /// Starts one on a free loopback port, in a namespace or here.
    pub fn start(netns: Option<&Netns>, answer: Arc<Answer>) -> Result<Self> {
        let bind = || {
            TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
                .context("cannot bind the origin")
        };
        let listener = match netns {
            Some(netns) => netns.inside(bind)?,
            None => bind()?,
        };
        let address = listener.local_addr()?;
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let kept = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, kept) = (Arc::clone(&answer), Arc::clone(&kept));
                thread::spawn(move || connection(stream, &*answer, &kept));
            }
        });
        Ok(Self { address, seen })
    }

    /// An origin that echoes `{"upstream":"echo"}`, as the corpus wants it.
    pub fn echo(netns: Option<&Netns>) -> Result<Self> {
        Self::start(
            netns,
            Arc::new(|seen, stream| {
                let body = b"{\"upstream\":\"echo\"}";
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let mut out = head.into_bytes();
                if seen.method != "HEAD" {
                    out.extend_from_slice(body);
                }
                stream.write_all(&out)?;
                Ok(true)
            }),
        )
    }

    /// What arrived since the last call.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn connection(stream: TcpStream, answer: &Answer, kept: &Mutex<Vec<Seen>>) {
    // A client that goes away ends its connection, nothing else.
    let _gone = serve(stream, answer, kept);
}

fn serve(stream: TcpStream, answer: &Answer, kept: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read_request(&mut reader)? {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        if !answer(&seen, &mut writer)? {
            break;
        }
    }
    Ok(())
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn read_line(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(latin1(line.strip_suffix(b"\r\n").unwrap_or(&line))))
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Seen>> {
    let Some(line) = read_line(reader)? else { return Ok(None) };
    let mut words = line.splitn(2, ' ');
    let method = words.next().unwrap_or_default().to_owned();
    let rest = words.next().unwrap_or_default();
    let target = rest.rsplit_once(' ').map_or(rest, |(target, _)| target).to_owned();
    let mut seen = Seen { method, target, ..Seen::default() };
    while let Some(line) = read_line(reader)?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.trim_matches([' ', '\t']);
        seen.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let chunked = seen.values("transfer-encoding").iter().any(|v| v.contains("chunked"));
    let length = seen.values("content-length").first().and_then(|v| v.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    if chunked {
        read_chunks(reader, &mut body, &mut seen)?;
    } else {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    }
    seen.body = latin1(&body);
    Ok(Some(seen))
}

/// Trailers are kept as headers named `trailer:NAME`.
fn read_chunks(
    reader: &mut impl BufRead,
    body: &mut Vec<u8>,
    seen: &mut Seen,
) -> std::io::Result<()> {
    loop {
        let line = read_line(reader)?.unwrap_or_default();
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        reader.take(size as u64).read_to_end(body)?;
        read_line(reader)?;
    }
    while let Some(line) = read_line(reader)?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        seen.headers
            .push((format!("trailer:{}", name.to_ascii_lowercase()), value.trim().to_owned()));
    }
    Ok(())
}
