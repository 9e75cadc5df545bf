//! Local routes: they make the kernel take packets for an address that no interface has. As `ip
//! route add local ADDRESS dev lo` makes them, with a mark of ours.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{link, netlink};

/// Who made a route (`proto` of `ip route`). A number that nobody has registered.
pub const PROTOCOL: u8 = 103;

/// Number of the table `local`.
const TABLE_LOCAL: u8 = 255;

/// Where packets for an address go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Destination {
    /// This node takes them.
    Local,
    /// A neighbour on a link of this node.
    OnLink,
    /// A router, or nowhere.
    Elsewhere,
}

/// Where packets for an address go now.
pub fn destination(address: IpAddr) -> io::Result<Destination> {
    let mut message = message(address);
    message.header.destination_prefix_length = bits(address);
    message.attributes.push(RouteAttribute::Destination(wire(address)));
    let answers = match netlink::ask(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK) {
        Ok(answers) => answers,
        Err(error) if is_nowhere(&error) => return Ok(Destination::Elsewhere),
        Err(error) => return Err(error),
    };
    let route = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    Ok(match route {
        Some(route) if route.header.kind == RouteType::Local => Destination::Local,
        Some(route) if route.header.kind == RouteType::Unicast && !has_router(&route) => {
            Destination::OnLink
        }
        _ => Destination::Elsewhere,
    })
}

fn is_nowhere(error: &io::Error) -> bool {
    let none = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL];
    error.raw_os_error().is_some_and(|code| none.contains(&code))
}

fn has_router(route: &RouteMessage) -> bool {
    route
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, RouteAttribute::Gateway(_) | RouteAttribute::Via(_)))
}

/// Makes this node take packets for an address. `owner` is in the route's metric, by which it is
/// found again. One that is there already is as good.
pub fn add(address: IpAddr, owner: u32) -> io::Result<()> {
    let message = RouteNetlinkMessage::NewRoute(local(address, owner)?);
    match netlink::tell(message, NLM_F_CREATE | NLM_F_EXCL) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

/// Takes back what [`add`] did. One that is not there (any more) is as good.
pub fn remove(address: IpAddr, owner: u32) -> io::Result<()> {
    let message = RouteNetlinkMessage::DelRoute(local(address, owner)?);
    match netlink::tell(message, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        result => result,
    }
}

/// The addresses that [`add`] was called for by this owner.
pub fn owned(owner: u32) -> io::Result<Vec<IpAddr>> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        for answer in netlink::ask(RouteNetlinkMessage::GetRoute(question), NLM_F_DUMP)? {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                all.extend(address(&route).filter(|_| is_owned(&route, owner)));
            }
        }
    }
    Ok(all)
}

/// What a person would run instead of [`add`].
pub fn by_hand(address: IpAddr) -> String {
    let family = if address.is_ipv6() { "-6 " } else { "" };
    format!("ip {family}route add local {address} dev lo")
}

fn is_owned(route: &RouteMessage, owner: u32) -> bool {
    route.header.kind == RouteType::Local
        && u8::from(route.header.protocol) == PROTOCOL
        && route.attributes.contains(&RouteAttribute::Priority(owner))
}

fn address(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => Some((*address).into()),
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

fn local(address: IpAddr, owner: u32) -> io::Result<RouteMessage> {
    let mut route = message(address);
    let header = &mut route.header;
    header.destination_prefix_length = bits(address);
    header.table = TABLE_LOCAL;
    header.protocol = RouteProtocol::from(PROTOCOL);
    header.scope = RouteScope::Host;
    header.kind = RouteType::Local;
    route.attributes = vec![
        RouteAttribute::Destination(wire(address)),
        RouteAttribute::Oif(link::index("lo")?),
        RouteAttribute::Priority(owner),
    ];
    Ok(route)
}

fn message(address: IpAddr) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message
}

fn wire(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_local() {
        for address in ["127.0.0.1", "127.1.2.3", "::1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(destination(address).unwrap(), Destination::Local, "{address}");
        }
    }
}
