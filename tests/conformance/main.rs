//! Replays the recorded corpus over the wire, against the running daemon.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};
use gateway_tests::corpus::{self, Case, Request};
use gateway_tests::daemon::Start;
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
    println!("{} of {} requests agree", score.agree, score.total);
    println!("quirks (not counted): {} of {} agree", score.quirks_agree, score.quirks_total);
    assert!(score.total > 0, "the corpus holds no requests");
    assert!(score.failures.is_empty(), "differences:\n{}", score.failures.join("\n"));
    Ok(())
}

fn replay(case: &Case, origin: &Origin, score: &mut Score) -> Result<()> {
    let port = free_port()?;
    let manifests = Manifests::new()?;
    manifests.write("00-base.yaml", &corpus::base(port, origin.address))?;
    manifests.write("10-case.yaml", &case.manifests.replace("@PORT@", &port.to_string()))?;
    let arguments =
        ["--datapath", "off", "--admin", "off", "--workers", "1", "--access-log", "off"];
    let daemon = Start { netns: None, config: manifests.path(), arguments: &arguments }.ready()?;
    let gateway = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut connections = HashMap::new();
    for request in &case.requests {
        origin.take();
        let differences = match send(request, gateway, &mut connections) {
            Ok(response) => corpus::compare(case, request, &response, &origin.take()),
            Err(error) => vec![format!("{error:#}")],
        };
        let agrees = differences.is_empty();
        if request.quirk.is_some() {
            score.quirks_total += 1;
            score.quirks_agree += usize::from(agrees);
            continue;
        }
        score.total += 1;
        score.agree += usize::from(agrees);
        for difference in differences {
            score.failures.push(format!("{}: {}: {difference}", case.name, request.name));
        }
    }
    drop(daemon);
    Ok(())
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

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
