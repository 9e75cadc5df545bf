//! A raw HTTP/1 client: sends the bytes it is given, reads one response.

use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use socket2::{Domain, SockRef, Socket, Type};

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A response. Bytes are kept as Latin-1.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, decoded.
    pub body: String,
}

impl Response {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A connection to the gateway.
#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    /// The same, with TLS around it or without.
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

trait Stream: Read + Write + Send + Debug {}

impl<S: Read + Write + Send + Debug> Stream for S {}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("cannot connect to {address}"))?;
        Self::over(stream)
    }

    /// Connects from an address of this host.
    pub fn connect_from(from: IpAddr, address: SocketAddr) -> Result<Self> {
        let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let socket = Socket::new(domain, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into()).with_context(|| format!("bind {from}"))?;
        socket.connect_timeout(&address.into(), PATIENCE)?;
        Self::over(socket.into())
    }

    /// Uses a connected socket.
    pub fn over(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let socket = stream.try_clone()?;
        Ok(Self { socket, stream: Box::new(stream), buffer: Vec::new() })
    }

    /// Speaks TLS on it from here on.
    pub fn with_tls(self, config: &Arc<ClientConfig>, name: &str) -> Result<Self> {
        let name = ServerName::try_from(name.to_owned())?;
        let mut session = ClientConnection::new(Arc::clone(config), name)?;
        let mut socket = self.socket.try_clone()?;
        while session.is_handshaking() {
            session.complete_io(&mut socket).context("handshake")?;
        }
        Ok(Self { stream: Box::new(StreamOwned::new(session, socket)), ..self })
    }

    /// Sends bytes as they are. A connection that the gateway refused early is no error: its
    /// answer may still be readable.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write_all(bytes) {
            Err(error)
                if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                Ok(())
            }
            other => other.context("cannot send"),
        }
    }

    /// Closes the sending side.
    pub fn finish(&self) -> Result<()> {
        self.socket.shutdown(std::net::Shutdown::Write).context("cannot close the sending side")
    }

    /// Closes with a reset, whatever is still on its way.
    pub fn reset(self) -> Result<()> {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).context("cannot reset")
    }

    /// Sends and reads one response.
    pub fn exchange(&mut self, bytes: &[u8], head: bool) -> Result<Response> {
        self.send(bytes)?;
        self.response(head)
    }

    /// Reads one response; interim responses are skipped.
    pub fn response(&mut self, head: bool) -> Result<Response> {
        loop {
            let end = loop {
                if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                    break end;
                }
                if !self.more()? {
                    bail!("closed without a response");
                }
            };
            let text = latin1(&self.buffer[..end]);
            self.buffer.drain(..end + 4);
            let mut lines = text.split("\r\n");
            let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
            let status: u16 = status.context("no status line")?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let headers = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(n, v)| (n.to_ascii_lowercase(), v.trim_matches([' ', '\t']).to_owned()))
                .collect();
            let mut response = Response { status, headers, body: String::new() };
            if !head && status != 204 && status != 304 {
                response.body = latin1(&self.body(&response)?);
            }
            return Ok(response);
        }
    }

    /// Whether the gateway has closed the connection.
    pub fn is_closed(&mut self) -> Result<bool> {
        match self.more() {
            Ok(more) => Ok(!more),
            Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                Some(ErrorKind::ConnectionReset) => Ok(true),
                _ => Err(error),
            },
        }
    }

    /// Reads whatever comes until the gateway closes; false if it does not.
    pub fn ended(&mut self) -> Result<bool> {
        loop {
            match self.more() {
                Ok(true) => self.buffer.clear(),
                Ok(false) => return Ok(true),
                Err(error) => {
                    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
                    return match kind {
                        Some(ErrorKind::ConnectionReset) => Ok(true),
                        Some(ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
                        _ => Err(error),
                    };
                }
            }
        }
    }

    fn more(&mut self) -> Result<bool> {
        let mut bytes = [0; 16_384];
        let length = self.stream.read(&mut bytes)?;
        self.buffer.extend_from_slice(&bytes[..length]);
        Ok(length > 0)
    }

    fn body(&mut self, response: &Response) -> Result<Vec<u8>> {
        if response.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            return self.chunks();
        }
        if let Some(length) = response.header("content-length") {
            let length: usize = length.parse().context("content-length")?;
            while self.buffer.len() < length && self.more()? {}
            if self.buffer.len() < length {
                bail!("the body broke off after {} of {length} bytes", self.buffer.len());
            }
            return Ok(self.buffer.drain(..length).collect());
        }
        while self.more()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
                .with_context(|| format!("chunk size {line:?}"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            while self.buffer.len() < size + 2 {
                if !self.more()? {
                    bail!("a chunk broke off");
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
        }
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = latin1(&self.buffer[..end]);
                self.buffer.drain(..end + 2);
                return Ok(line);
            }
            if !self.more()? {
                bail!("a line broke off");
            }
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Latin-1 text back to bytes.
pub fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}
