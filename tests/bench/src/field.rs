//! The field of play: cores, folders, the upstream, and the gateways that are running.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::clock::{self, now};
use crate::material::{Material, TOKENS};
use crate::options::Options;
use crate::peer::{Programs, Site};
use crate::process::{Launch, Process};
use crate::room::Room;
use crate::scenario::{Entry, FREE};
use crate::{check, upstream};

/// The most gateways that run at a time.
const MOST_GATEWAYS: u16 = 32;
const FIRST_PORT: u16 = 18_000;
/// Ports from one gateway to the next.
const PORTS_EACH: u16 = 10;
const FIRST_UPSTREAM: u16 = 19_000;
/// The slowest start: Envoy with 10,000 rules.
const PATIENCE: Duration = Duration::from_mins(2);

/// How much is done.
#[derive(Clone, Debug)]
pub(crate) struct Effort {
    /// Rounds per scenario.
    pub(crate) rounds: u32,
    /// Load per gateway and round, milliseconds.
    pub(crate) load: u64,
    /// Load before it is another one's turn, milliseconds.
    pub(crate) slice: u64,
    /// Seconds that a gateway is watched alone.
    pub(crate) windows: u32,
    /// Tokens presented once each.
    pub(crate) tokens: usize,
    /// Idle connections.
    pub(crate) idle: usize,
    /// Reloads.
    pub(crate) reloads: u32,
}

impl Effort {
    /// As the user said.
    pub(crate) fn new(options: &Options) -> Self {
        if options.quick {
            return Self {
                rounds: 2,
                load: 500,
                slice: options.slice,
                windows: 1,
                tokens: 2_000,
                idle: 500,
                reloads: 2,
            };
        }
        Self {
            rounds: options.rounds,
            load: options.load,
            slice: options.slice,
            windows: 2,
            tokens: TOKENS,
            idle: 5_000,
            reloads: 5,
        }
    }
}

/// What all scenarios share.
pub(crate) struct Field {
    /// Keys and tokens.
    pub(crate) material: Material,
    /// Where the gateways' programs lie.
    pub(crate) programs: Programs,
    /// Where configurations and logs go.
    pub(crate) folder: PathBuf,
    /// The core of the gateways.
    pub(crate) gateway_core: usize,
    /// That of load and upstream.
    pub(crate) load_core: usize,
    /// How much is done.
    pub(crate) effort: Effort,
    /// The upstream of all gateways on loopback.
    pub(crate) upstream: Process,
}

/// A running gateway, checked.
pub(crate) struct Gateway {
    /// What it is.
    pub(crate) entry: Entry,
    /// Its process; dropped before its room.
    pub(crate) process: Process,
    /// How long it took to the first answer.
    pub(crate) start: Duration,
    /// Its plain port.
    pub(crate) address: SocketAddr,
    /// Where its upstream can be asked.
    pub(crate) upstream: SocketAddr,
    /// Its administration.
    pub(crate) admin: SocketAddr,
    /// Where it lives, if not here.
    pub(crate) room: Option<Room>,
}

impl Gateway {
    /// Its port for TLS, or the plain one.
    pub(crate) fn port(&self, tls: bool) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + u16::from(tls))
    }

    /// Requests that reached its upstream.
    pub(crate) fn served(&self) -> Result<u64> {
        upstream::served(self.upstream)
    }
}

impl Field {
    /// Makes what is shared, and starts the upstream.
    pub(crate) fn prepare(folder: PathBuf, programs: Programs, options: &Options) -> Result<Self> {
        let [gateway_core, load_core] = options.cores[..] else {
            bail!("--cores takes two of them, such as 0,1: the gateway's, and that of the load");
        };
        std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let material = Material::make(&folder.join("material"))?;
        let upstream = launch_upstream(load_core, &folder, None)?;
        let effort = Effort::new(options);
        Ok(Self { material, programs, folder, gateway_core, load_core, effort, upstream })
    }

    /// Where the gateway at a place is set up.
    pub(crate) fn site(&self, at: usize, entry: &Entry, room: Option<&Room>) -> Result<Site<'_>> {
        let at = u16::try_from(at)?;
        if at >= MOST_GATEWAYS {
            bail!("at most {MOST_GATEWAYS} gateways run at a time");
        }
        let name = entry.name().replace(' ', "");
        Ok(Site {
            material: &self.material,
            folder: self.folder.join("gateways").join(format!("{at:02}-{name}")),
            listen: room.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), Room::address),
            port: FIRST_PORT + at * PORTS_EACH,
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST_UPSTREAM + at)),
            interface: room.map_or("lo", Room::interface).to_owned(),
            shape: entry.shape,
        })
    }

    /// Starts a gateway, in a room of its own if there is one, and makes sure that it does what is
    /// asked of it.
    pub(crate) fn start(&self, at: usize, entry: Entry, room: Option<Room>) -> Result<Gateway> {
        let gateway = self.launch(at, entry, room)?;
        check::check(self, &gateway)?;
        Ok(gateway)
    }

    /// Starts a gateway and waits for its first answer.
    pub(crate) fn launch(&self, at: usize, entry: Entry, room: Option<Room>) -> Result<Gateway> {
        let name = entry.name();
        let site = self.site(at, &entry, room.as_ref())?;
        let words = entry.peer.command(&site, &self.programs)?;
        let log = site.folder.join("log");
        std::fs::write(&log, "").with_context(|| log.display().to_string())?;
        let address = SocketAddr::new(site.listen, site.port);
        let begun = now();
        let mut process = Launch::new(&name, self.gateway_core, words)
            .log(log)
            .namespace(room.as_ref().map(Room::namespace))
            .start()?;
        let start = first_answer(address, &mut process, begun + PATIENCE)
            .map(|()| begun.elapsed())
            .with_context(|| format!("{name} does not answer: {}", process.tail()))?;
        let upstream = SocketAddr::new(site.listen, site.upstream.port());
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, site.admin_port()));
        Ok(Gateway { entry, process, start, address, upstream, admin, room })
    }

    /// A word of the load's side of the field.
    pub(crate) fn client(&self, name: &str, words: Vec<std::ffi::OsString>) -> Launch {
        Launch::new(name, self.load_core, words).log(self.folder.join("load.log"))
    }
}

/// Starts an upstream with a port for every gateway.
pub(crate) fn launch_upstream(
    core: usize,
    folder: &std::path::Path,
    namespace: Option<PathBuf>,
) -> Result<Process> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let ports = (FIRST_UPSTREAM..FIRST_UPSTREAM + MOST_GATEWAYS)
        .map(|port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).to_string().into());
    let words = [own.into_os_string(), "upstream".into()].into_iter().chain(ports).collect();
    Launch::new("upstream", core, words)
        .log(folder.join("upstream.log"))
        .namespace(namespace)
        .start()
}

/// Asks again and again until the answer is 200.
fn first_answer(address: SocketAddr, process: &mut Process, end: std::time::Instant) -> Result<()> {
    let request = format!("GET {FREE} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    loop {
        let answer = ask(address, &request);
        if answer.as_ref().is_ok_and(|bytes| bytes.starts_with(b"HTTP/1.1 200")) {
            return Ok(());
        }
        process.check()?;
        if now() > end {
            bail!("the last attempt gave {answer:?}");
        }
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn ask(address: SocketAddr, request: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(request.as_bytes())?;
    let mut start = vec![0; 12];
    stream.read_exact(&mut start)?;
    Ok(start)
}

/// Waits until none of these processes uses the CPU any more: what was under way is answered.
pub(crate) fn settle(processes: &[&Process]) {
    /// What timers of idle gateways use in a look is less.
    const IDLE: Duration = Duration::from_micros(300);
    let end = now() + Duration::from_secs(10);
    let sum = || processes.iter().map(|process| process.cpu()).sum::<Duration>();
    let mut before = sum();
    while now() < end {
        clock::pause(10);
        let after = sum();
        if after.saturating_sub(before) < IDLE {
            return;
        }
        before = after;
    }
}

/// Answers of HTTP that come whole, for small questions to gateways.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    match stream.read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !text.is_empty() => Ok(text),
        Err(error) => Err(error).with_context(|| format!("reading from {address}")),
    }
}
