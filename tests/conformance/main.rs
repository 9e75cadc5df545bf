//! Replays the recorded corpus over the wire, against the running daemon, over HTTP/1.1 and HTTP/2.

mod h2;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail};
use gateway_tests::corpus::{self, Case, Request};
use gateway_tests::daemon::{Daemon, Start};
use gateway_tests::manifests::Manifests;
use gateway_tests::origin::Origin;
use gateway_tests::raw::{Client, Response};

/// What the replay came to.
#[derive(Debug, Default)]
struct Score {
    agree: usize,
    total: usize,
    quirks_agree: usize,
    quirks_total: usize,
    inexpressible: usize,
    failures: Vec<String>,
}

#[test]
fn http1_agrees_with_the_recorded_outcomes() -> Result<()> {
    let Some(cases) = corpus::cases()? else { return Ok(()) };
    let origin = Origin::echo(None)?;
    let mut score = Score::default();
    for case in &cases {
        replay(case, &origin, &mut score).with_context(|| format!("case {}", case.name))?;
    }
    score.report();
    Ok(())
}

#[test]
fn http2_agrees_with_the_recorded_outcomes() -> Result<()> {
    let Some(cases) = corpus::cases()? else { return Ok(()) };
    let origin = Origin::echo(None)?;
    let mut score = Score::default();
    for case in &cases {
        h2::replay(case, &origin, &mut score).with_context(|| format!("case {}", case.name))?;
    }
    println!("{} requests cannot be said in HTTP/2", score.inexpressible);
    score.report();
    Ok(())
}

impl Score {
    /// Notes what a request came to.
    fn note(&mut self, case: &Case, request: &Request, differences: Vec<String>) {
        let agrees = differences.is_empty();
        if request.quirk.is_some() {
            self.quirks_total += 1;
            self.quirks_agree += usize::from(agrees);
            return;
        }
        self.total += 1;
        self.agree += usize::from(agrees);
        for difference in differences {
            self.failures.push(format!("{}: {}: {difference}", case.name, request.name));
        }
    }

    /// Prints the score; fails on any difference.
    fn report(&self) {
        println!("{} of {} requests agree", self.agree, self.total);
        println!("quirks (not counted): {} of {} agree", self.quirks_agree, self.quirks_total);
        assert!(self.total > 0, "the corpus holds no requests");
        assert!(self.failures.is_empty(), "differences:\n{}", self.failures.join("\n"));
    }
}

fn replay(case: &Case, origin: &Origin, score: &mut Score) -> Result<()> {
    let (daemon, gateway) = start(case, origin)?;
    let mut connections = HashMap::new();
    for request in &case.requests {
        origin.take();
        let differences = match send(request, gateway, &mut connections) {
            Ok(response) => corpus::compare(case, request, &response, &origin.take()),
            Err(error) => vec![format!("{error:#}")],
        };
        score.note(case, request, differences);
    }
    drop(daemon);
    Ok(())
}

/// A daemon with the manifests of a case, in clear on a loopback port.
fn start(case: &Case, origin: &Origin) -> Result<(Daemon, SocketAddr)> {
    let port = free_port()?;
    let manifests = Manifests::new()?;
    manifests.write("00-base.yaml", &corpus::base(port, origin.address))?;
    manifests.write("10-case.yaml", &case.manifests.replace("@PORT@", &port.to_string()))?;
    let arguments =
        ["--datapath", "off", "--admin", "off", "--workers", "1", "--access-log", "off"];
    let daemon = Start { netns: None, config: manifests.path(), arguments: &arguments }.ready()?;
    Ok((daemon, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

fn send(
    request: &Request,
    gateway: SocketAddr,
    connections: &mut HashMap<String, Client>,
) -> Result<Response> {
    let kept = request.conn.as_ref().and_then(|label| connections.remove(label));
    let mut client = match (kept, &request.client_ip) {
        (Some(client), _) => client,
        (None, None) => Client::connect(gateway)?,
        (None, Some(from)) => Client::connect_from(from.parse::<IpAddr>()?, gateway)?,
    };
    let response = client.exchange(&request.bytes(gateway.port()), request.method == "HEAD")?;
    if let Some(label) = &request.conn
        && response.header("connection") != Some("close")
    {
        connections.insert(label.clone(), client);
    }
    Ok(response)
}

/// A port that is free and stays so: below those that the kernel gives to outgoing connections, each
/// asked for once.
fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if port >= 30_000 {
            bail!("no free port from 20000 to 29999");
        }
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
}
