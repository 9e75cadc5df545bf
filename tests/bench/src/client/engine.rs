//! Requests on many connections from one thread: a request, its answer, the next one.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustls::{ClientConfig, HandshakeKind};

use super::transport::{Reached, Transport, answer};
use super::{Report, Target, tls};
use crate::clock::{self, now};
use crate::stats;

/// The event of standard input, which is no connection.
const STOP: u64 = u64::MAX;

/// A new connection for every request.
pub(super) fn handshakes(target: &Target, resume: bool) -> Result<Report> {
    // A store of tickets holds few; with one for all, most connections would find it empty.
    let stores = if resume { target.connections } else { 1 };
    let configs = (0..stores).filter(|_| target.tls).map(|_| tls::config(resume));
    let mut engine = Engine::new(target, configs.collect::<Result<_>>()?)?;
    engine.closing = true;
    engine.start()?;
    engine.run()?;
    Ok(engine.report())
}

/// Each token once; connections are opened, and then it waits for a line on standard input.
pub(super) fn once(target: &Target, most: usize) -> Result<Report> {
    let mut engine = Engine::new(target, Vec::new())?;
    engine.limit = Some(engine.tokens.len().min(most));
    println!("READY");
    io::stdin().lock().read_line(&mut String::new())?;
    engine.restart();
    engine.start()?;
    engine.run()?;
    Ok(engine.report())
}

/// Requests whose times are all kept.
pub(super) fn timed(target: &Target, log: &Path) -> Result<Report> {
    let mut engine = Engine::new(target, Vec::new())?;
    engine.log = Some(Vec::new());
    println!("READY");
    engine.start()?;
    engine.run()?;
    let mut text = String::new();
    for (at, latency) in engine.log.iter().flatten() {
        writeln!(text, "{at} {latency}")?;
    }
    std::fs::write(log, text).with_context(|| log.display().to_string())?;
    Ok(engine.report())
}

/// The tokens of a file, each as the line of a request head.
pub(super) fn tokens(path: Option<&Path>) -> Result<Vec<String>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().map(|token| format!("authorization: Bearer {token}\r\n")).collect())
}

struct Engine<'t> {
    target: &'t Target,
    /// None for plain connections; connections take turns with several.
    configs: Vec<Arc<ClientConfig>>,
    tokens: Vec<String>,
    poll: OwnedFd,
    connections: Vec<Connection>,
    /// Whether a connection ends with its answer.
    closing: bool,
    /// So many requests, then the end.
    limit: Option<usize>,
    sent: usize,
    started: Instant,
    latencies: Vec<u32>,
    /// When each answer came (since 1970), and how long it took, in microseconds.
    log: Option<Vec<(u64, u32)>>,
    report: Report,
    buffer: Vec<u8>,
}

struct Connection {
    transport: Transport,
    inbox: Vec<u8>,
    /// When the request under way was begun.
    begun: Option<Instant>,
    sent: bool,
}

impl<'t> Engine<'t> {
    fn new(target: &'t Target, configs: Vec<Arc<ClientConfig>>) -> Result<Self> {
        let mut engine = Self {
            target,
            configs,
            tokens: tokens(target.tokens.as_deref())?,
            poll: epoll::create(CreateFlags::CLOEXEC).context("epoll")?,
            connections: Vec::new(),
            closing: false,
            limit: None,
            sent: 0,
            started: now(),
            latencies: Vec::new(),
            log: None,
            report: Report::default(),
            buffer: vec![0; 64 * 1024],
        };
        for at in 0..target.connections {
            let connection = engine.open(at)?;
            engine.connections.push(connection);
        }
        Ok(engine)
    }

    fn open(&self, at: usize) -> Result<Connection> {
        let config = self.configs.get(at % self.configs.len().max(1));
        let transport = Transport::open(self.target.address, config)
            .with_context(|| format!("cannot connect to {}", self.target.address))?;
        epoll::add(&self.poll, transport.socket(), EventData::new_u64(at as u64), EventFlags::IN)?;
        let begun = Some(now());
        Ok(Connection { transport, inbox: Vec::new(), begun, sent: false })
    }

    /// Forgets the time so far.
    fn restart(&mut self) {
        self.started = now();
    }

    /// Sends the first request on each connection that can take one.
    fn start(&mut self) -> Result<()> {
        for at in 0..self.connections.len() {
            self.connections[at].begun = Some(now());
            self.send(at)?;
        }
        Ok(())
    }

    /// Sends the next request, if there is one and the connection is open.
    fn send(&mut self, at: usize) -> Result<()> {
        let connection = &mut self.connections[at];
        if connection.sent || !connection.transport.is_open() {
            return Ok(());
        }
        if self.limit.is_some_and(|limit| self.sent == limit) {
            connection.begun = None;
            return Ok(());
        }
        let token = match self.tokens.len() {
            0 => "",
            some => &self.tokens[self.sent % some],
        };
        let close = if self.closing { "connection: close\r\n" } else { "" };
        let path = &self.target.path;
        let text = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{token}{close}\r\n");
        self.sent += 1;
        connection.sent = true;
        connection.transport.send(text.as_bytes()).context("cannot send")
    }

    fn run(&mut self) -> Result<()> {
        if self.limit.is_none() {
            let input = EventData::new_u64(STOP);
            epoll::add(&self.poll, io::stdin(), input, EventFlags::IN)?;
        }
        let mut events = Vec::with_capacity(256);
        while self.connections.iter().any(|connection| connection.begun.is_some()) {
            events.clear();
            match epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("epoll"),
            }
            for event in &events {
                if event.data.u64() == STOP {
                    return Ok(());
                }
                let at = usize::try_from(event.data.u64())?;
                if let Err(error) = self.advance(at) {
                    self.fail(at, &error)?;
                }
            }
        }
        Ok(())
    }

    fn advance(&mut self, at: usize) -> Result<()> {
        let connection = &mut self.connections[at];
        let reached = connection.transport.receive(&mut self.buffer, &mut connection.inbox)?;
        self.send(at)?;
        let connection = &self.connections[at];
        let Some((status, length)) = answer(&connection.inbox)? else {
            return if reached == Reached::Now {
                Ok(())
            } else {
                Err(anyhow::anyhow!("the connection ended before the answer"))
            };
        };
        let whole = connection.inbox.len() >= length;
        // Session tickets come before the end at the latest.
        if !whole || (self.closing && reached == Reached::Now) {
            return if whole || reached == Reached::Now {
                Ok(())
            } else {
                Err(anyhow::anyhow!("the answer was cut short"))
            };
        }
        self.answered(at, status, length)
    }

    fn answered(&mut self, at: usize, status: u16, length: usize) -> Result<()> {
        if status != 200 {
            return Err(anyhow::anyhow!("the answer was {status}"));
        }
        let connection = &mut self.connections[at];
        let took = connection.begun.map(|begun| begun.elapsed()).unwrap_or_default();
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.latencies.push(took);
        if let Some(log) = &mut self.log {
            log.push((clock::unix_microseconds(), took));
        }
        self.report.answered += 1;
        match connection.transport.handshake() {
            Some(HandshakeKind::Resumed) if self.closing => self.report.resumed += 1,
            Some(_) if self.closing => self.report.full += 1,
            _ => {}
        }
        if self.closing {
            self.connections[at] = self.open(at)?;
            return self.send(at);
        }
        connection.inbox.drain(..length);
        connection.begun = Some(now());
        connection.sent = false;
        self.send(at)
    }

    /// Counts a failure and goes on with a new connection.
    fn fail(&mut self, at: usize, error: &anyhow::Error) -> Result<()> {
        self.report.failed += 1;
        self.report.first_failure.get_or_insert_with(|| format!("{error:#}"));
        self.connections[at] = self.open(at)?;
        self.send(at)
    }

    fn report(&mut self) -> Report {
        self.report.seconds = self.started.elapsed().as_secs_f64();
        let mut sorted: Vec<f64> = self.latencies.iter().copied().map(f64::from).collect();
        sorted.sort_by(f64::total_cmp);
        self.report.p50_us = stats::quantile(&sorted, 0.5);
        self.report.p99_us = stats::quantile(&sorted, 0.99);
        io::stdout().flush().unwrap_or_default();
        self.report.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::upstream;

    fn target(connections: usize, tokens: Option<std::path::PathBuf>) -> Result<Target> {
        let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        std::thread::spawn(move || upstream::serve(&[address]));
        while std::net::TcpStream::connect(address).is_err() {
            clock::pause(1);
        }
        Ok(Target { address, path: "/productpage".to_owned(), tls: false, connections, tokens })
    }

    #[test]
    fn each_token_is_sent_once() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("tokens");
        std::fs::write(&file, "a\nb\nc\nd\ne\n")?;
        let target = target(2, Some(file))?;
        let mut engine = Engine::new(&target, Vec::new())?;
        engine.limit = Some(5);
        engine.start()?;
        engine.run()?;
        let report = engine.report();
        assert_eq!((report.answered, report.failed), (5, 0));
        assert_eq!(upstream::served(target.address)?, 5);
        Ok(())
    }

    #[test]
    fn an_answer_that_is_not_200_is_a_failure() -> Result<()> {
        let target = target(1, None)?;
        let mut engine = Engine::new(&target, Vec::new())?;
        let refused = engine.answered(0, 403, 0).expect_err("a refusal");
        assert_eq!(refused.to_string(), "the answer was 403");
        Ok(())
    }
}
