//! Network interfaces as the kernel has them (rtnetlink): those of this network namespace, which
//! `/sys/class/net` does not show where only the network namespace was entered.

use std::io;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};

use super::netlink;

/// A network interface.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Link {
    /// Its number; another one when it was removed and made again.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Bytes of the largest packet, without the link layer.
    pub mtu: u32,
    /// `ARPHRD_*`: what its frames look like.
    pub hardware: u16,
    /// What it is made of where it is virtual, such as `veth`.
    pub kind: Option<String>,
    /// Its hardware address, where that is an Ethernet one.
    pub address: Option<[u8; 6]>,
    /// Bus and name of the device behind it; none: it is virtual.
    pub device: Option<Device>,
    /// Whether it is up.
    pub up: bool,
    /// The XDP program that is attached.
    pub xdp: Option<AttachedXdp>,
}

/// What an interface is the face of.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Device {
    /// Such as `pci` or `virtio`.
    pub bus: String,
    /// Its name there.
    pub name: String,
}

impl Device {
    /// The name of its driver.
    pub fn driver(&self) -> Option<String> {
        let Self { bus, name } = self;
        let driver = std::fs::read_link(format!("/sys/bus/{bus}/devices/{name}/driver")).ok()?;
        Some(driver.file_name()?.to_string_lossy().into_owned())
    }
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AttachedXdp {
    /// The program's number.
    pub program: u32,
    /// Whether the driver runs it, or the kernel in generic mode.
    pub native: bool,
}

/// The number of an interface. Works without netlink, and for every kind of interface.
pub fn index(name: &str) -> io::Result<u32> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}

/// Every interface of this network namespace.
pub fn links() -> io::Result<Vec<Link>> {
    let question = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = netlink::ask(question, NLM_F_DUMP)?;
    let link = |answer| match answer {
        RouteNetlinkMessage::NewLink(link) => Some(Link::from(link)),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(link).collect())
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let header = message.header;
        let mut link = Self {
            index: header.index,
            hardware: header.link_layer_type.into(),
            up: header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        let mut device = Device::default();
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(bytes) => link.address = bytes.try_into().ok(),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.into_iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind_name(&kind)),
                        _ => None,
                    });
                }
                LinkAttribute::Xdp(xdp) => link.xdp = attached(&xdp),
                LinkAttribute::ParentDevName(name) => device.name = name,
                LinkAttribute::ParentDevBusName(bus) => device.bus = bus,
                _ => {}
            }
        }
        link.device = (!device.name.is_empty()).then_some(device);
        link
    }
}

fn kind_name(kind: &InfoKind) -> String {
    match kind {
        InfoKind::Other(name) => name.clone(),
        known => known.to_string(),
    }
}

fn attached(xdp: &[LinkXdp]) -> Option<AttachedXdp> {
    let program = xdp.iter().find_map(|attribute| match attribute {
        LinkXdp::ProgId(id) => Some(*id),
        _ => None,
    })?;
    let native = xdp.iter().any(|attribute| {
        matches!(attribute, LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware))
    });
    Some(AttachedXdp { program, native })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there() {
        let links = links().unwrap();
        let lo = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((lo.index, lo.hardware), (1, 772), "{lo:?}");
        assert_eq!(index("lo").unwrap(), 1);
        assert!(index("nothere0").is_err());
        assert!(lo.mtu > 0 && lo.kind.is_none(), "{lo:?}");
    }
}
