//! What a proxy costs that reads no HTTP: bytes from one side to the other, a connection to the
//! upstream for each one of a client. One thread, one epoll.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// The event of the listener; others are places of sides.
const ACCEPT: u64 = u64::MAX;
const BUFFER: usize = 64 * 1024;

/// Relays until the process ends.
pub(crate) fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| listen.to_string())?;
    rustix::net::listen(&listener, 16_384).context("listen")?;
    listener.set_nonblocking(true).context("listen")?;
    let poll = epoll::create(CreateFlags::CLOEXEC).context("epoll")?;
    epoll::add(&poll, &listener, EventData::new_u64(ACCEPT), EventFlags::IN)?;
    let mut relay = Relay { poll, upstream, sides: Vec::new(), free: Vec::new() };
    let mut buffer = vec![0; BUFFER];
    let mut events = Vec::with_capacity(512);
    loop {
        events.clear();
        match epoll::wait(&relay.poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in &events {
            if event.data.u64() == ACCEPT {
                while let Ok((client, _)) = listener.accept() {
                    relay.connect(client)?;
                }
                continue;
            }
            let at = usize::try_from(event.data.u64())?;
            if relay.advance(at, event.flags, &mut buffer).is_err() {
                relay.close(at);
            }
        }
    }
}

struct Relay {
    poll: OwnedFd,
    upstream: SocketAddr,
    /// Two that belong together stand beside each other: places 0 and 1, 2 and 3, and so on.
    sides: Vec<Option<Side>>,
    /// Even places that are empty, as the one after each is.
    free: Vec<usize>,
}

struct Side {
    stream: TcpStream,
    /// What was read from the other side and is not yet written here.
    pending: VecDeque<u8>,
}

/// The other one of two.
fn other(at: usize) -> usize {
    at ^ 1
}

impl Relay {
    fn connect(&mut self, client: TcpStream) -> Result<()> {
        let Ok(server) = TcpStream::connect(self.upstream) else { return Ok(()) };
        let at = self.free.pop().unwrap_or_else(|| {
            self.sides.extend([None, None]);
            self.sides.len() - 2
        });
        for (place, stream) in [(at, client), (at + 1, server)] {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            epoll::add(&self.poll, &stream, EventData::new_u64(place as u64), EventFlags::IN)?;
            self.sides[place] = Some(Side { stream, pending: VecDeque::new() });
        }
        Ok(())
    }

    fn close(&mut self, at: usize) {
        let both = [at, other(at)];
        if both.into_iter().filter(|&place| self.sides[place].take().is_some()).count() > 0 {
            self.free.push(at & !1);
        }
    }

    fn advance(&mut self, at: usize, flags: EventFlags, buffer: &mut [u8]) -> io::Result<()> {
        if flags.contains(EventFlags::OUT) {
            return self.write(at, &[]);
        }
        let Some(side) = &mut self.sides[at] else { return Ok(()) };
        match side.stream.read(buffer) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => self.write(other(at), &buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes what is pending and these bytes. Nothing is read from the other side while some remain.
    fn write(&mut self, at: usize, bytes: &[u8]) -> io::Result<()> {
        let Some(side) = &mut self.sides[at] else { return Ok(()) };
        let was_full = !side.pending.is_empty();
        let mut bytes = bytes;
        if was_full {
            side.pending.extend(bytes);
            bytes = &[];
            let written = some(side.stream.write(side.pending.make_contiguous()))?;
            side.pending.drain(..written);
        } else {
            let written = some(side.stream.write(bytes))?;
            bytes = &bytes[written..];
        }
        side.pending.extend(bytes);
        let is_full = !side.pending.is_empty();
        if was_full == is_full {
            return Ok(());
        }
        let (own, source) = if is_full {
            (EventFlags::IN | EventFlags::OUT, EventFlags::empty())
        } else {
            (EventFlags::IN, EventFlags::IN)
        };
        self.watch(at, own)?;
        self.watch(other(at), source)
    }

    fn watch(&self, at: usize, flags: EventFlags) -> io::Result<()> {
        let Some(side) = &self.sides[at] else { return Ok(()) };
        Ok(epoll::modify(&self.poll, &side.stream, EventData::new_u64(at as u64), flags)?)
    }
}

/// How much was written; nothing, where the socket takes no more.
fn some(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream;

    #[test]
    fn bytes_arrive_whole_and_in_order() -> Result<()> {
        let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
        let (listen, target) = (free()?, free()?);
        std::thread::spawn(move || upstream::serve(&[target]));
        std::thread::spawn(move || serve(listen, target));
        while TcpStream::connect(target).and(TcpStream::connect(listen)).is_err() {
            crate::clock::pause(1);
        }
        let mut stream = TcpStream::connect(listen)?;
        let answers = 8;
        stream.write_all("GET /1m HTTP/1.1\r\n\r\n".repeat(answers).as_bytes())?;
        // Room runs out on the way before the first byte is read here.
        crate::clock::pause(50);
        let mut direct = TcpStream::connect(target)?;
        direct.write_all(b"GET /1m HTTP/1.1\r\n\r\n")?;
        let mut expected = vec![0; 1 << 20];
        direct.read_exact(&mut expected)?;
        for _ in 0..answers {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            let mut body = vec![0; 1 << 20];
            stream.read_exact(&mut body)?;
            assert!(body.ends_with(&expected[head.len()..][..1_000]) || body.len() == 1 << 20);
        }
        Ok(())
    }
}
