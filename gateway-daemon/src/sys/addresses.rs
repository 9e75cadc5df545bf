//! The node's own addresses. No unsafe code here: nix has it.

use std::io;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;

/// The addresses of every interface of this network namespace.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let interfaces = getifaddrs()?.filter_map(|interface| interface.address);
    let address = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
    };
    Ok(interfaces.filter_map(address).collect())
}
