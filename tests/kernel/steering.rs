//! Steering, live: connections for ports that nobody binds arrive at workers' sockets.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use std::{io, thread};

use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict;
use gateway_daemon::bpf::{AttachOptions, Capability, LoadOptions, Privileged};
use gateway_daemon::counters::ListenerSlot;
use gateway_daemon::model::attachment::{TcMode, TcOrder, XdpPlace, XdpWish};
use socket2::{Domain, SockRef, Socket, Type};

use crate::sandbox::{
    self, Peer, Worker, assert_sums, attach, load, options, packets, regions, run, steer, sysctl,
};

/// Waits for a connection at any worker's socket; answers the worker's number too.
pub(crate) fn accept(client: &mut TcpStream, workers: &[Worker]) -> (usize, TcpStream) {
    // A connection is handed over with its first bytes.
    client.write_all(b"?").unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        for (number, worker) in workers.iter().enumerate() {
            for listener in [&worker.v4, &worker.v6] {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        stream.read_exact(&mut [0]).unwrap();
                        return (number, stream);
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("no connection arrived");
}

/// A byte there, a byte back.
pub(crate) fn talk(client: &mut TcpStream, server: &mut TcpStream) {
    for stream in [&mut *client, &mut *server] {
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let mut byte = [0];
    client.write_all(b"?").unwrap();
    server.read_exact(&mut byte).unwrap();
    server.write_all(b"!").unwrap();
    client.read_exact(&mut byte).unwrap();
}

/// Connects from a port of our choice, which may be in `TIME_WAIT` at the server.
fn connect_from(port: u16, to: &str) -> io::Result<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    let any: IpAddr = if to.is_ipv4() { "127.0.0.1" } else { "::1" }.parse().unwrap();
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::new(any, port).into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

#[test]
fn both_families_reach_the_workers_with_their_own_destination() {
    sandbox::enter();
    let (mut attached, workers) = attach("lo");
    run("ip addr add 10.9.9.9/32 dev lo");
    let http = steer(attached.maps(), "http", &[], 8080);
    let named = steer(attached.maps(), "named", &["10.9.9.9", "::1"], 8081);
    let rows = [
        ("127.0.0.1:8080", true),
        ("127.0.0.5:8080", true),
        ("10.9.9.9:8080", true),
        ("[::1]:8080", true),
        ("10.9.9.9:8081", true),
        ("[::1]:8081", true),
        ("127.0.0.1:8081", false),
        ("127.0.0.1:8082", false),
    ];
    for (address, steered) in rows {
        let Ok(mut client) = TcpStream::connect(address) else {
            assert!(!steered, "{address} was refused");
            continue;
        };
        assert!(steered, "{address} was accepted");
        let (_, mut server) = accept(&mut client, &workers);
        assert_eq!(server.local_addr().unwrap(), address.parse().unwrap());
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
        talk(&mut client, &mut server);
    }
    let regions = regions(attached.maps());
    let count = |slot, verdict| packets(&regions, Hook::TcIngress, slot, verdict);
    assert_eq!(count(http, PacketVerdict::Steered), 4);
    assert_eq!(count(named, PacketVerdict::Steered), 2);
    assert!(count(http, PacketVerdict::Established) >= 8);
    assert_eq!(count(http, PacketVerdict::NoListener), 0);
    assert!(packets(&regions, Hook::TcEgress, http, PacketVerdict::Passed) >= 12);
    assert!(packets(&regions, Hook::Xdp, http, PacketVerdict::Passed) >= 12);
    assert_sums(&regions);
}

#[test]
fn connections_are_spread_over_workers_and_stay() {
    sandbox::enter();
    let (mut attached, workers) = attach("lo");
    steer(attached.maps(), "http", &[], 8080);
    let mut seen = BTreeSet::new();
    let mut open = Vec::new();
    for _ in 0..64 {
        let mut client = TcpStream::connect("127.0.0.1:8080").unwrap();
        let (worker, mut server) = accept(&mut client, &workers);
        talk(&mut client, &mut server);
        seen.insert(worker);
        open.push((client, server));
    }
    assert_eq!(seen.len(), workers.len(), "64 connections went to {seen:?} alone");
    // Steering ends; what is open goes on.
    attached.maps().unsteer(&[], 8080).unwrap();
    for (client, server) in &mut open {
        talk(client, server);
    }
    TcpStream::connect("127.0.0.1:8080").unwrap_err();
}

#[test]
fn a_tuple_in_time_wait_is_served_again_without_delay() {
    sandbox::enter();
    let (mut attached, workers) = attach("lo");
    let http = steer(attached.maps(), "http", &[], 8080);
    for (round, (from, to)) in [
        (41_000, "127.0.0.1:8080"),
        (41_001, "[::1]:8080"),
        (41_000, "127.0.0.1:8080"),
        (41_001, "[::1]:8080"),
    ]
    .into_iter()
    .enumerate()
    {
        let started = Instant::now();
        let mut client = connect_from(from, to).unwrap();
        let (_, mut server) = accept(&mut client, &workers);
        talk(&mut client, &mut server);
        let elapsed = started.elapsed();
        assert!(elapsed < Duration::from_millis(500), "round {round}, {to}: {elapsed:?}");
        // The server closes first, so that the server's end is the one in TIME_WAIT.
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        drop(client);
        thread::sleep(Duration::from_millis(50));
        let waiting = run("ss -Htan state time-wait sport = :8080");
        assert!(!waiting.is_empty(), "round {round}: nothing in TIME_WAIT");
    }
    // Each SYN was sent once: the kernel asks for a listener itself, and is told.
    let repeated = run("nstat -az TcpExtTCPSynRetrans");
    assert!(repeated.contains("TcpExtTCPSynRetrans             0"), "{repeated}");
    let regions = regions(attached.maps());
    assert_eq!(packets(&regions, Hook::TcIngress, http, PacketVerdict::Steered), 4);
}

#[test]
fn handshakes_by_syn_cookie_reach_the_worker() {
    sandbox::enter();
    // 2: always.
    sysctl("net/ipv4/tcp_syncookies", "2");
    let (mut attached, workers) = attach("lo");
    let http = steer(attached.maps(), "http", &[], 8080);
    for address in ["127.0.0.1:8080", "[::1]:8080"] {
        for _ in 0..8 {
            let mut client = TcpStream::connect(address).unwrap();
            let (_, mut server) = accept(&mut client, &workers);
            talk(&mut client, &mut server);
        }
    }
    // Each handshake is steered twice: the SYN, and the ACK that brings the cookie back.
    let regions = regions(attached.maps());
    assert_eq!(packets(&regions, Hook::TcIngress, http, PacketVerdict::Steered), 32);
    let sent = run("nstat -az TcpExtSyncookiesSent");
    assert!(sent.contains("TcpExtSyncookiesSent            16"), "{sent}");
}

#[test]
fn an_empty_slot_passes() {
    sandbox::enter();
    let (mut attached, workers) = attach("lo");
    let http = steer(attached.maps(), "http", &[], 8080);
    // A process that another test is just starting holds every descriptor between fork and exec.
    let both = || workers.iter().flat_map(|worker| [&worker.v4, &worker.v6]);
    let _held: Vec<_> = both().map(|listener| listener.try_clone().unwrap()).collect();
    // So closing may not end a listener; shutting it down does, and empties its slot.
    for listener in both() {
        SockRef::from(listener).shutdown(Shutdown::Both).unwrap();
    }
    drop(workers);
    for address in ["127.0.0.1:8080", "[::1]:8080"] {
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
    }
    let regions = regions(attached.maps());
    assert_eq!(packets(&regions, Hook::TcIngress, http, PacketVerdict::NoListener), 2);
    assert_eq!(packets(&regions, Hook::TcIngress, http, PacketVerdict::Steered), 0);
}

#[test]
fn other_ports_are_left_alone() {
    sandbox::enter();
    let (mut attached, _workers) = attach("lo");
    steer(attached.maps(), "http", &[], 8080);
    for address in ["127.0.0.1:9090", "[::1]:9090"] {
        let listener = TcpListener::bind(address).unwrap();
        let mut client = TcpStream::connect(address).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        talk(&mut client, &mut server);
    }
    let regions = regions(attached.maps());
    let other = packets(&regions, Hook::TcIngress, ListenerSlot::NONE, PacketVerdict::Other);
    assert!(other >= 16, "{other}");
    assert_sums(&regions);
}

#[test]
fn both_families_reach_the_workers_over_a_cable() {
    // Frames with VLAN tags are in the tests of verdicts: this needs no kernel with VLAN devices.
    sandbox::enter();
    let peer = Peer::new();
    peer.cable();
    let addresses = |device: &str, host: &str| {
        run(&format!("ip addr add 10.1.0.{host}/24 dev {device}"));
        run(&format!("ip addr add fd01::{host}/64 dev {device} nodad"));
    };
    addresses("gw0", "1");
    peer.run(move || addresses("cl0", "2"));
    let (mut attached, workers) = attach("gw0");
    let http = steer(attached.maps(), "http", &[], 8080);
    for address in ["10.1.0.1:8080", "[fd01::1]:8080"] {
        let to: SocketAddr = address.parse().unwrap();
        let mut client = peer
            .run(move || TcpStream::connect_timeout(&to, Duration::from_secs(5)))
            .unwrap_or_else(|error| panic!("{address}: {error}"));
        let (_, mut server) = accept(&mut client, &workers);
        assert_eq!(server.local_addr().unwrap(), to);
        talk(&mut client, &mut server);
    }
    let regions = regions(attached.maps());
    assert_eq!(packets(&regions, Hook::TcIngress, http, PacketVerdict::Steered), 2);
    assert_sums(&regions);
}

/// As on kernels before 6.6.
pub(crate) const FILTERS: AttachOptions = AttachOptions {
    xdp: XdpWish::Require,
    place: XdpPlace::Best,
    tc: TcMode::Clsact,
    order: TcOrder::Last,
};

#[test]
fn filters_steer_as_links_do_and_are_removed() {
    sandbox::enter();
    let privileged = Privileged::acquire().unwrap();
    let attach = || {
        let mut loaded = load(options());
        let workers = sandbox::workers(loaded.maps());
        let attached = loaded.attach_with(&privileged, &["lo".to_owned()], FILTERS).unwrap();
        (attached, workers)
    };
    let filters = || run("tc filter show dev lo ingress").matches("direct-action").count();
    let (mut attached, workers) = attach();
    assert_eq!(attached.attachments()[0].tc, TcMode::Clsact);
    assert!(attached.kept_capabilities().contains(&Capability::NetAdmin));
    steer(attached.maps(), "http", &[], 8080);
    let mut client = TcpStream::connect("127.0.0.1:8080").unwrap();
    let (_, mut server) = accept(&mut client, &workers);
    talk(&mut client, &mut server);
    assert_eq!(filters(), 1);
    drop(attached);
    assert_eq!(filters(), 0);

    // A killed daemon leaves its filters; the next one does not add to them.
    let elsewhere = LoadOptions { pin_directory: "/sys/fs/bpf/other/v1".into(), ..options() };
    let killed = load(elsewhere).attach_with(&privileged, &["lo".to_owned()], FILTERS);
    std::mem::forget(killed.unwrap());
    let json = |line: &str| serde_json::from_str::<serde_json::Value>(&run(line)).unwrap();
    let program = json("ip -j link show lo")[0]["xdp"]["prog"]["id"].clone();
    let links = json("bpftool --json link show");
    let link = links.as_array().unwrap().iter().find(|link| link["prog_id"] == program).unwrap();
    run(&format!("bpftool link detach id {}", link["id"]));
    assert_eq!(filters(), 1);
    let (attached, _workers) = attach();
    assert_eq!(filters(), 1);
    drop(attached);
    assert_eq!(filters(), 0);
}
