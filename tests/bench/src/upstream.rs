//! The upstream of all gateways: one thread, one epoll, answers that were made beforehand. It has to
//! be lighter than any gateway, so that one core feeds another one.
//!
//! Every gateway has a port of its own here. What was answered on a port can be asked there, so that
//! requests are counted at one place for all, and at any instant.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// The answer to it is how many requests were answered on the port, this one aside.
const SERVED: &str = "/served";
/// Room for a request head.
const MOST_HEAD: usize = 16 * 1024;
/// Events taken at a time.
const EVENTS: usize = 512;

/// The bodies, by what a path begins with; first match.
const BODIES: [(&str, &str, usize); 4] = [
    ("/productpage", "text/html", 4_294),
    ("/protected/", "text/html", 4_294),
    ("/1m", "application/octet-stream", 1 << 20),
    ("/", "application/json", 195),
];

/// Asks how many requests were answered on a port.
pub(crate) fn served(address: SocketAddr) -> Result<u64> {
    let context = || format!("cannot ask the upstream {address}");
    let mut stream = TcpStream::connect(address).with_context(context)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).with_context(context)?;
    write!(stream, "GET {SERVED} HTTP/1.1\r\nconnection: close\r\n\r\n").with_context(context)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(context)?;
    let number = text.rsplit("\r\n").next().unwrap_or_default();
    number.trim().parse().with_context(context)
}

/// Serves these addresses until the process ends.
pub(crate) fn serve(addresses: &[SocketAddr]) -> Result<()> {
    let poll = epoll::create(CreateFlags::CLOEXEC).context("epoll")?;
    let mut ports = Vec::new();
    for (at, address) in addresses.iter().enumerate() {
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        // The queue that std asks for is too short for thousands of connections at once.
        rustix::net::listen(&listener, 16_384).context("listen")?;
        listener.set_nonblocking(true).context("listen")?;
        epoll::add(&poll, &listener, EventData::new_u64(at as u64), EventFlags::IN)?;
        ports.push(Port { listener, served: 0 });
    }
    let answers = BODIES.map(|(_, kind, size)| answer(kind, size));
    let (connections, free, buffer) = (Vec::new(), Vec::new(), vec![0; MOST_HEAD]);
    Server { poll, ports, answers, connections, free, buffer }.run()
}

fn answer(kind: &str, size: usize) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n\r\n")
            .into_bytes();
    bytes.extend((b' '..=b'~').cycle().take(size));
    bytes
}

struct Port {
    listener: TcpListener,
    served: u64,
}

struct Server {
    poll: std::os::fd::OwnedFd,
    ports: Vec<Port>,
    answers: [Vec<u8>; BODIES.len()],
    connections: Vec<Option<Connection>>,
    /// Places in `connections` that are empty.
    free: Vec<usize>,
    /// Where bytes are read to.
    buffer: Vec<u8>,
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// A place in `BODIES`.
    Body(usize),
    /// How many were served.
    Number,
}

struct Connection {
    stream: TcpStream,
    port: usize,
    inbox: Vec<u8>,
    /// The answer under way, and how much of it is written.
    outgoing: Option<(usize, usize)>,
}

impl Server {
    fn run(&mut self) -> Result<()> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.poll, room, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll"),
            }
            for event in &events {
                let at = usize::try_from(event.data.u64())?;
                if at < self.ports.len() {
                    self.accept(at)?;
                } else if self.advance(at - self.ports.len(), event.flags).is_err() {
                    self.close(at - self.ports.len());
                }
            }
        }
    }

    fn accept(&mut self, port: usize) -> Result<()> {
        while let Ok((stream, _)) = self.ports[port].listener.accept() {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let at = self.free.pop().unwrap_or(self.connections.len());
            let data = EventData::new_u64((self.ports.len() + at) as u64);
            epoll::add(&self.poll, &stream, data, EventFlags::IN)?;
            let connection = Connection { stream, port, inbox: Vec::new(), outgoing: None };
            if at == self.connections.len() {
                self.connections.push(Some(connection));
            } else {
                self.connections[at] = Some(connection);
            }
        }
        Ok(())
    }

    fn close(&mut self, at: usize) {
        if self.connections[at].take().is_some() {
            self.free.push(at);
        }
    }

    /// Goes on with a connection; an error ends it.
    fn advance(&mut self, at: usize, flags: EventFlags) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        if flags.contains(EventFlags::OUT) && connection.outgoing.is_some() {
            if !connection.write(&self.answers)? {
                return Ok(());
            }
            self.watch(at, EventFlags::IN)?;
        } else {
            connection.read(&mut self.buffer)?;
        }
        self.answer(at)
    }

    /// Answers what has been read, until the socket takes no more.
    fn answer(&mut self, at: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        while connection.outgoing.is_none() {
            let Some(asked) = connection.request()? else { return Ok(()) };
            let port = &mut self.ports[connection.port];
            let Asked::Body(body) = asked else {
                write!(connection.stream, "HTTP/1.1 200 OK\r\n\r\n{}", port.served)?;
                return Err(ErrorKind::ConnectionAborted.into());
            };
            port.served += 1;
            connection.outgoing = Some((body, 0));
            if !connection.write(&self.answers)? {
                return self.watch(at, EventFlags::OUT);
            }
        }
        Ok(())
    }

    fn watch(&self, at: usize, flags: EventFlags) -> io::Result<()> {
        let Some(connection) = &self.connections[at] else { return Ok(()) };
        let data = EventData::new_u64((self.ports.len() + at) as u64);
        Ok(epoll::modify(&self.poll, &connection.stream, data, flags)?)
    }
}

impl Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.inbox.extend_from_slice(&buffer[..length]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes one request out of what was read. Requests here have no body.
    fn request(&mut self) -> io::Result<Option<Asked>> {
        let Some(end) = self.inbox.windows(4).position(|four| four == b"\r\n\r\n") else {
            let room = self.inbox.len() < MOST_HEAD;
            return if room { Ok(None) } else { Err(ErrorKind::InvalidData.into()) };
        };
        let asked = asked(&self.inbox[..end]).ok_or(ErrorKind::InvalidData)?;
        self.inbox.drain(..end + 4);
        Ok(Some(asked))
    }

    /// Writes on; true once the answer is out.
    fn write(&mut self, answers: &[Vec<u8>]) -> io::Result<bool> {
        let Some((body, from)) = self.outgoing else { return Ok(true) };
        let mut from = from;
        while from < answers[body].len() {
            match self.stream.write(&answers[body][from..]) {
                Ok(written) => from += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.outgoing = Some((body, from));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        self.outgoing = None;
        Ok(true)
    }
}

fn asked(head: &[u8]) -> Option<Asked> {
    let target = head.strip_prefix(b"GET ")?;
    if target.starts_with(SERVED.as_bytes()) {
        return Some(Asked::Number);
    }
    BODIES.iter().position(|(prefix, ..)| target.starts_with(prefix.as_bytes())).map(Asked::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Result<SocketAddr> {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        std::thread::spawn(move || serve(&[free]));
        while TcpStream::connect(free).is_err() {
            crate::clock::pause(1);
        }
        Ok(free)
    }

    #[test]
    fn answers_have_their_sizes_and_are_counted() -> Result<()> {
        let address = started()?;
        let mut stream = TcpStream::connect(address)?;
        for (path, size) in [("/productpage", 4_294), ("/1m", 1 << 20), ("/api/v1", 195)] {
            write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            let head = String::from_utf8(head)?;
            assert!(head.contains(&format!("content-length: {size}\r\n")), "{path}: {head}");
            stream.read_exact(&mut vec![0; size])?;
        }
        assert_eq!(served(address)?, 3);
        Ok(())
    }

    #[test]
    fn requests_that_come_together_are_answered_in_turn() -> Result<()> {
        let address = started()?;
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")?;
        let one = answer("application/json", 195).len();
        stream.read_exact(&mut vec![0; 2 * one])?;
        assert_eq!(served(address)?, 2);
        Ok(())
    }
}
