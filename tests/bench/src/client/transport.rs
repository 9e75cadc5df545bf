//! A connection to a gateway, plain or TLS, that does not block; and the end of an answer on it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

/// One connection.
pub(super) struct Transport {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

/// What a reader found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// All that has arrived.
    Now,
    /// The end of the connection.
    End,
}

impl Transport {
    /// Connects; with TLS, the first flight is sent.
    pub(super) fn open(address: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        // Without the gateway's doing: the kernel completes connections to a listener.
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut transport = Self { stream, tls: None };
        if let Some(config) = tls {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let connection =
                ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
            transport.tls = Some(Box::new(connection));
            transport.flush()?;
        }
        Ok(transport)
    }

    /// The socket, to be watched.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether requests can be sent; at once, where there is no TLS.
    pub(super) fn is_open(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// How the handshake went, once it has.
    pub(super) fn handshake(&self) -> Option<HandshakeKind> {
        self.tls.as_ref().and_then(|tls| tls.handshake_kind())
    }

    /// Sends; what is sent here is small enough for any socket.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            return self.flush();
        }
        self.stream.write_all(bytes)
    }

    /// Reads what has arrived.
    pub(super) fn receive(&mut self, buffer: &mut [u8], into: &mut Vec<u8>) -> io::Result<Reached> {
        loop {
            let read = match &mut self.tls {
                Some(tls) => tls.read_tls(&mut self.stream),
                None => self.stream.read(buffer),
            };
            let length = match read {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Reached::Now),
                Err(error) => return Err(error),
            };
            if self.tls.is_some() {
                self.decrypt(buffer, into)?;
            } else {
                into.extend_from_slice(&buffer[..length]);
            }
            if length == 0 {
                return Ok(Reached::End);
            }
        }
    }

    fn decrypt(&mut self, buffer: &mut [u8], into: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        tls.process_new_packets().map_err(io::Error::other)?;
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => break,
                Ok(length) => into.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // An end without close_notify; the answer's own length tells whether it is whole.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }
}

/// The status of an answer and its length, head included, once its head is there.
pub(super) fn answer(bytes: &[u8]) -> io::Result<Option<(u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let both = status.zip(length).ok_or_else(|| {
        io::Error::new(ErrorKind::InvalidData, format!("an answer without length: {head}"))
    })?;
    Ok(Some((both.0, end + 4 + both.1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_where_their_length_says() {
        let head = "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\n";
        let rows = [
            ("whole", format!("{head}12345"), Some((200, head.len() + 5))),
            ("body to come", head.to_owned(), Some((200, head.len() + 5))),
            ("head to come", head[..20].to_owned(), None),
        ];
        for (name, text, expected) in rows {
            assert_eq!(answer(text.as_bytes()).ok(), Some(expected), "{name}");
        }
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
