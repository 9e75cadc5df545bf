//! Ports: whether somebody listens where the gateway will.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use super::Report;
use crate::bpf;
use crate::cli::doctor::DoctorArgs;
use crate::cli::{Admin, DatapathWord};
use crate::control::{self, Prepared};
use crate::model::attachment::LocalRoutes;
use crate::sys::route::{self, Destination, by_hand};

pub(super) fn look(report: &mut Report, arguments: &DoctorArgs) {
    if bpf::is_running(&arguments.pin.pin_directory) {
        return report.good("ports", "held by the gateway-daemon that runs");
    }
    if let Admin::At(address) = arguments.admin {
        match is_free(address) {
            Ok(()) => report.good("admin address", format!("{address} is free")),
            Err(error) => report.fault(
                "admin address",
                format!("cannot listen on {address}: {error}"),
                "give another --admin, port 0 for any, or `off`",
            ),
        }
    }
    if arguments.config.is_empty() {
        return;
    }
    let settings =
        control::Settings { paths: arguments.config.clone(), ..control::Settings::default() };
    let prepared = match Prepared::read(settings) {
        Ok(prepared) => prepared,
        Err(error) => {
            let action = "`gateway-daemon check` shows it object by object";
            return report.fault("configuration", error.to_string(), action);
        }
    };
    let listeners = prepared.listen_addresses();
    let named: BTreeSet<IpAddr> = listeners.iter().filter_map(|one| one.address).collect();
    for address in named {
        own(report, address, arguments.attach.local_routes());
    }
    for listener in listeners {
        let addresses = match listener.address {
            Some(address) => vec![address],
            None => vec![IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()],
        };
        let sockets = listener
            .ports
            .iter()
            .flat_map(|port| addresses.iter().map(move |&address| SocketAddr::new(address, port)));
        let taken = sockets.into_iter().find_map(|socket| {
            let error = is_free(socket).err()?;
            (error.kind() == std::io::ErrorKind::AddrInUse).then_some(error)
        });
        match taken {
            None => report.good("port", format!("{listener} is free")),
            Some(_) if arguments.datapath == DatapathWord::Ebpf => report.note(
                "port",
                format!("another process listens on {listener}"),
                "the kernel half gives its new connections to the gateway",
            ),
            Some(_) => report.fault(
                "port",
                format!("another process listens on {listener}"),
                "end it (`ss -tlnp` names it), or give the Gateway another port",
            ),
        }
    }
}

/// Whether packets for an address of a Gateway will be this node's.
fn own(report: &mut Report, address: IpAddr, wish: LocalRoutes) {
    let topic = format!("address {address}");
    let by_hand = by_hand(address);
    match (route::destination(address), wish) {
        (Ok(Destination::Local), _) => report.good(topic, "is this node's"),
        (Ok(_), LocalRoutes::Off) => report.note(
            topic,
            "is not this node's, and --local-routes is off",
            format!("nothing arrives for it until an interface has it, or `{by_hand}` was run"),
        ),
        (Ok(Destination::OnLink), LocalRoutes::Auto) => report.note(
            topic,
            "is not this node's, but in a network that it is in: another node may have it",
            format!(
                "nothing arrives for it until an interface has it, or `{by_hand}` was run; \
                 --local-routes always takes it"
            ),
        ),
        (Ok(_), _) => report.good(topic, "is not this node's; it will get a local route"),
        (Err(error), _) => report.fault(
            topic,
            format!("the kernel does not say whose it is: {error}"),
            format!("look with `ip route get {address}`"),
        ),
    }
}

/// Listens for an instant.
fn is_free(address: SocketAddr) -> std::io::Result<()> {
    TcpListener::bind(address).map(drop)
}
