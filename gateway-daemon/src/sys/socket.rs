//! Listening sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use gateway_common::steering::Family;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes for us before they are accepted. The kernel cuts it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Seconds after which a connection is accepted on which nothing came. The kernel counts in
/// repetitions of its half of the handshake; this is one.
const SILENCE: libc::c_int = 1;

/// A worker's own listening socket: on loopback, on a port of the kernel's choice. Connections
/// reach it by steering; their local address is the one that the client asked for.
///
/// A process on this machine can connect to it directly: refuse connections whose local port is
/// not a listener's.
pub fn worker_listener(family: Family) -> io::Result<std::net::TcpListener> {
    let address: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    listen(SocketAddr::new(address, 0), false)
}

/// A listening socket on a listener's own address, for `--datapath off`. Every worker opens one of
/// its own (`SO_REUSEPORT`), and the kernel spreads connections over them.
pub fn shared_listener(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    listen(address, true)
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Free to bind: also where the address comes later, or is known by a local route alone.
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0`, each with sockets of its own.
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    if shared {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
    }
    // Accepted connections inherit it: answers are written whole, and never wait for an ACK.
    socket.set_tcp_nodelay(true)?;
    defer_accept(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets the kernel hand a connection over with its first bytes, or [`SILENCE`] after its handshake:
/// it is read where it is accepted, without waiting for the poller in between.
#[expect(unsafe_code, reason = "neither socket2 nor rustix nor nix has TCP_DEFER_ACCEPT")]
fn defer_accept(socket: &Socket) -> io::Result<()> {
    let silence = SILENCE;
    let length = libc::socklen_t::try_from(size_of_val(&silence)).unwrap_or_default();
    // SAFETY: the descriptor is open, and the option's value is an integer of that length.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const silence).cast(),
            length,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether a socket could not be made because the host lacks its address family.
pub fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn worker_listeners_have_ports_of_their_own() {
        for family in [Family::V4, Family::V6] {
            let one = worker_listener(family).unwrap().local_addr().unwrap();
            let two = worker_listener(family).unwrap().local_addr().unwrap();
            assert!(one.ip().is_loopback(), "{family:?}");
            assert_ne!(one.port(), 0, "{family:?}");
            assert_eq!(one.is_ipv4(), two.is_ipv4(), "{family:?}");
        }
    }

    #[test]
    fn a_connection_is_handed_over_with_its_first_bytes() {
        let listener = worker_listener(Family::V4).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        client.write_all(b"x").unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let mut bytes = [0; 2];
        assert_eq!(accepted.read(&mut bytes).unwrap(), 1, "without waiting");
    }

    #[test]
    fn a_silent_connection_is_handed_over_too() {
        let listener = worker_listener(Family::V4).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        listener.accept().unwrap();
    }

    #[test]
    fn shared_listeners_share_a_port_and_families_do_not_clash() {
        let first = shared_listener("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = first.local_addr().unwrap().port();
        let _second = shared_listener(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        let _third = shared_listener(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).unwrap();
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
