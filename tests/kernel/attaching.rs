//! Attaching: native and generic XDP, beside the programs of others, and to interfaces that are
//! removed and made again.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use aya::Ebpf;
use aya::programs::links::PinnedLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict;
use gateway_daemon::bpf::{
    AttachOptions, Attached, BpfError, InterfaceChange, LoadOptions, Privileged, tcx_programs,
};
use gateway_daemon::model::attachment::{TcMode, TcOrder, XdpMode, XdpPlace, XdpWish};
use gateway_tests::object::{Kind, answering};

use crate::sandbox::{
    self, Peer, Worker, assert_sums, load, load_denying, options, packets, pin_directory, regions,
    run, steer,
};
use crate::steering::{accept, talk};

const GATEWAY: &str = "10.1.0.1:8080";
/// `TC_ACT_OK`, and what lets the next program see the packet.
const ACCEPT: i32 = 0;
const NEXT: i32 = -1;
/// `XDP_PASS`.
const PASS: i32 = 2;

/// Attaches to an interface, with sockets for every worker.
fn attach(interface: &str, options: AttachOptions) -> Result<(Attached, Vec<Worker>), BpfError> {
    let mut loaded = load(sandbox::options());
    let workers = sandbox::workers(loaded.maps());
    let privileged = Privileged::acquire().unwrap();
    let attached = loaded.attach_with(&privileged, &[interface.to_owned()], options)?;
    Ok((attached, workers))
}

/// A cable with an address at each end.
fn cable() -> Peer {
    let peer = Peer::new();
    lay(&peer);
    peer
}

fn lay(peer: &Peer) {
    peer.cable();
    run("ip addr add 10.1.0.1/24 dev gw0");
    peer.run(|| {
        run("ip addr add 10.1.0.2/24 dev cl0");
        run("ip addr add 10.1.0.3/24 dev cl0");
    });
}

fn connect(peer: &Peer) -> std::io::Result<TcpStream> {
    let to: SocketAddr = GATEWAY.parse().unwrap();
    peer.run(move || TcpStream::connect_timeout(&to, Duration::from_secs(5)))
}

fn served(peer: &Peer, workers: &[Worker]) {
    let mut client = connect(peer).unwrap();
    let (_, mut server) = accept(&mut client, workers);
    talk(&mut client, &mut server);
}

/// A program of somebody else, at TC ingress of `gw0` by TCX. Detached when dropped.
fn foreign(name: &str, action: i32, order: LinkOrder) -> Ebpf {
    let object = answering(Kind::Classifier, name, action);
    let mut ebpf = Ebpf::load(&object).unwrap();
    let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
    let order = TcAttachOptions::TcxOrder(order);
    program.attach_with_options("gw0", TcAttachType::Ingress, order).unwrap();
    ebpf
}

/// Names of the programs at TC ingress of `gw0`, in the order in which they run.
fn order() -> Vec<String> {
    tcx_programs("gw0", true).unwrap().into_iter().map(|(_, name)| name).collect()
}

/// None of ours is there. (One of somebody else may be for a moment: a process that another test is
/// just starting holds what this one has open between fork and exec.)
fn detached() {
    let ours = order().iter().any(|name| name.starts_with("gateway_"));
    assert!(!ours, "still attached: {:?}", order());
}

/// Attaches a program of somebody else to XDP of `gw0`.
fn foreign_xdp() {
    let stranger = object(&answering(Kind::Xdp, "stranger", PASS));
    run(&format!("ip link set dev gw0 xdpgeneric obj {} sec xdp", stranger.path().display()));
}

/// A file for the tools that load one.
fn object(bytes: &[u8]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn native_and_generic_xdp_drop_and_steer_alike() {
    for (place, mode) in [
        (XdpPlace::Best, XdpMode::Generic),
        (XdpPlace::Generic, XdpMode::Generic),
        (XdpPlace::Native, XdpMode::Native),
    ] {
        sandbox::enter();
        let peer = cable();
        let mut loaded = load_denying(&["10.1.0.3"]);
        let workers = sandbox::workers(loaded.maps());
        let options = AttachOptions { place, ..AttachOptions::default() };
        let privileged = Privileged::acquire().unwrap();
        let attached = loaded.attach_with(&privileged, &["gw0".to_owned()], options);
        let mut attached = attached.unwrap_or_else(|error| panic!("{place:?}: {error}"));
        assert_eq!(attached.attachments()[0].xdp, mode, "{place:?}");
        let shown = run("ip -details link show gw0");
        let expected = if mode == XdpMode::Native { "prog/xdp id" } else { "xdpgeneric" };
        assert!(shown.contains(expected), "{place:?}: {shown}");
        let http = steer(attached.maps(), "http", &[], 8080);
        served(&peer, &workers);
        let denied = peer.run(|| {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            let from: SocketAddr = "10.1.0.3:0".parse().unwrap();
            socket.bind(&from.into()).unwrap();
            let to: SocketAddr = GATEWAY.parse().unwrap();
            socket.connect_timeout(&to.into(), Duration::from_millis(200))
        });
        assert_eq!(denied.unwrap_err().kind(), ErrorKind::TimedOut, "{place:?}");
        let regions = regions(attached.maps());
        let count = |hook, verdict| packets(&regions, hook, http, verdict);
        assert_eq!(count(Hook::Xdp, PacketVerdict::DeniedSource), 1, "{place:?}");
        assert!(count(Hook::Xdp, PacketVerdict::Passed) >= 3, "{place:?}");
        assert_eq!(count(Hook::TcIngress, PacketVerdict::Steered), 1, "{place:?}");
        assert_sums(&regions);
    }
}

#[test]
fn a_driver_without_native_xdp_is_named() {
    sandbox::enter();
    let native = AttachOptions { place: XdpPlace::Native, ..AttachOptions::default() };
    let Err(error) = attach("lo", native) else { panic!("native XDP on lo") };
    let error = error.to_string();
    assert!(error.contains("driver of interface lo takes no native XDP"), "{error}");
    assert!(error.contains("--xdp-mode best"), "{error}");
    // Told to carry on, it does.
    let (attached, _workers) =
        attach("lo", AttachOptions { xdp: XdpWish::Auto, ..native }).unwrap();
    assert_eq!(attached.attachments()[0].xdp, XdpMode::Absent);
}

#[test]
fn a_link_that_was_left_moves_where_xdp_should_run_now() {
    sandbox::enter();
    let peer = cable();
    let at = |place| AttachOptions { place, ..AttachOptions::default() };
    for (place, mode) in [
        (XdpPlace::Generic, XdpMode::Generic),
        (XdpPlace::Native, XdpMode::Native),
        (XdpPlace::Best, XdpMode::Native),
        (XdpPlace::Generic, XdpMode::Generic),
    ] {
        let (mut attached, workers) = attach("gw0", at(place)).unwrap();
        assert_eq!(attached.attachments()[0].xdp, mode, "{place:?}");
        steer(attached.maps(), "http", &[], 8080);
        served(&peer, &workers);
        // As after kill -9.
        attached.leave();
    }
}

#[test]
fn where_xdp_is_taken_it_says_by_whom_and_carries_on_if_told_so() {
    sandbox::enter();
    let peer = cable();
    foreign_xdp();
    let Err(error) = attach("gw0", AttachOptions::default()) else { panic!("attached twice") };
    let error = error.to_string();
    for part in ["gw0 has an XDP program already (stranger, id ", "xdp off", "--xdp auto"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let auto = AttachOptions { xdp: XdpWish::Auto, ..AttachOptions::default() };
    let (mut attached, workers) = attach("gw0", auto).unwrap();
    assert_eq!(attached.attachments()[0].xdp, XdpMode::Absent);
    steer(attached.maps(), "http", &[], 8080);
    served(&peer, &workers);
    drop(attached);
    let shown = run("ip link show gw0");
    assert!(shown.contains("prog/xdp"), "the other's program is gone: {shown}");
}

#[test]
fn without_xdp_nobody_is_in_the_way() {
    sandbox::enter();
    let peer = cable();
    let off = AttachOptions { xdp: XdpWish::Off, ..AttachOptions::default() };
    // What an earlier daemon left goes.
    let (mut earlier, _workers) = attach("gw0", AttachOptions::default()).unwrap();
    earlier.leave();
    drop(earlier);
    // At once, although somebody has it open, as a look by `bpftool` may.
    let directory = fs::read_dir(pin_directory()).unwrap();
    let pins = directory.map(|pin| pin.unwrap().path());
    let of_xdp = pins.filter(|pin| pin.to_string_lossy().contains("LINK_XDP"));
    let open: Vec<_> = of_xdp.map(|pin| PinnedLink::from_pin(pin).unwrap()).collect();
    assert_eq!(open.len(), 1);
    let (mut attached, workers) = attach("gw0", off).unwrap();
    assert!(!run("ip link show gw0").contains("prog/xdp"));
    steer(attached.maps(), "http", &[], 8080);
    served(&peer, &workers);
}

#[test]
fn tc_programs_of_others_run_before_or_behind() {
    sandbox::enter();
    let peer = cable();
    let before = foreign("before", NEXT, LinkOrder::first());
    let (mut attached, workers) = attach("gw0", AttachOptions::default()).unwrap();
    let behind = foreign("behind", NEXT, LinkOrder::last());
    assert_eq!(order(), ["before", "gateway_ingress", "behind"]);
    steer(attached.maps(), "http", &[], 8080);
    served(&peer, &workers);
    drop((before, behind, attached, workers));
    detached();
}

#[test]
fn a_program_that_accepts_packets_itself_is_passed_by_going_first() {
    for (tc_order, reached) in [(TcOrder::Last, false), (TcOrder::First, true)] {
        sandbox::enter();
        let peer = cable();
        let _greedy = foreign("greedy", ACCEPT, LinkOrder::first());
        let options = AttachOptions { order: tc_order, ..AttachOptions::default() };
        let (mut attached, workers) = attach("gw0", options).unwrap();
        let http = steer(attached.maps(), "http", &[], 8080);
        if reached {
            assert_eq!(order(), ["gateway_ingress", "greedy"]);
            served(&peer, &workers);
        } else {
            assert_eq!(order(), ["greedy", "gateway_ingress"]);
            assert_eq!(connect(&peer).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        let regions = regions(attached.maps());
        let steered = packets(&regions, Hook::TcIngress, http, PacketVerdict::Steered);
        assert_eq!(steered, u64::from(reached), "{tc_order:?}");
    }
}

#[test]
fn filters_of_others_run_before_or_behind() {
    for (tc_order, reached) in [(TcOrder::Last, false), (TcOrder::First, true)] {
        sandbox::enter();
        let peer = cable();
        run("tc qdisc add dev gw0 clsact");
        let greedy = object(&answering(Kind::Classifier, "greedy", ACCEPT));
        let file = greedy.path().display();
        run(&format!("tc filter add dev gw0 ingress pref 100 bpf da obj {file} sec classifier"));
        let tc = TcMode::Clsact;
        let options = AttachOptions { order: tc_order, tc, ..AttachOptions::default() };
        let (mut attached, workers) = attach("gw0", options).unwrap();
        steer(attached.maps(), "http", &[], 8080);
        if reached {
            served(&peer, &workers);
        } else {
            assert_eq!(connect(&peer).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        drop(attached);
        let left = run("tc filter show dev gw0 ingress");
        assert!(left.contains("classifier") && !left.contains("gateway"), "{left}");
    }
}

#[test]
fn an_interface_that_is_made_again_is_attached_to_again() {
    sandbox::enter();
    let peer = cable();
    let (mut attached, workers) = attach("gw0", AttachOptions::default()).unwrap();
    let http = steer(attached.maps(), "http", &[], 8080);
    served(&peer, &workers);
    assert!(attached.follow_interfaces().is_empty(), "nothing has changed");

    run("ip link del gw0");
    let changes = attached.follow_interfaces();
    assert!(matches!(&changes[..], [InterfaceChange::Lost(name)] if name == "gw0"), "{changes:?}");
    assert!(!attached.attachments()[0].is_there());
    assert!(attached.follow_interfaces().is_empty(), "told once");

    lay(&peer);
    let changes = attached.follow_interfaces();
    let [InterfaceChange::Attached(attachment)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((attachment.xdp, attachment.tc), (XdpMode::Generic, TcMode::Tcx));
    served(&peer, &workers);

    // Gone and back between two looks.
    run("ip link del gw0");
    lay(&peer);
    let changes = attached.follow_interfaces();
    let [InterfaceChange::Lost(_), InterfaceChange::Attached(_)] = &changes[..] else {
        panic!("{changes:?}")
    };
    served(&peer, &workers);
    let regions = regions(attached.maps());
    assert_eq!(packets(&regions, Hook::TcIngress, http, PacketVerdict::Steered), 3);
    drop(attached);
    let left = fs::read_dir(pin_directory()).unwrap();
    let left = left.filter_map(Result::ok).map(|entry| entry.file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("LINK_")).collect();
    assert_eq!(left, [] as [&str; 0]);
}

#[test]
fn an_interface_that_comes_back_taken_is_tried_until_it_is_free() {
    sandbox::enter();
    let peer = cable();
    let (mut attached, workers) = attach("gw0", AttachOptions::default()).unwrap();
    steer(attached.maps(), "http", &[], 8080);
    run("ip link del gw0");
    lay(&peer);
    foreign_xdp();
    let changes = attached.follow_interfaces();
    let [InterfaceChange::Lost(_), InterfaceChange::Failed(error)] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert!(error.to_string().contains("stranger"), "{error}");
    detached(); // and not half attached
    assert!(attached.follow_interfaces().is_empty(), "told once");
    run("ip link set dev gw0 xdpgeneric off");
    let changes = attached.follow_interfaces();
    assert!(matches!(&changes[..], [InterfaceChange::Attached(_)]), "{changes:?}");
    served(&peer, &workers);
}

#[test]
fn daemons_side_by_side_need_pins_and_an_xdp_hook_each() {
    sandbox::enter();
    let peer = cable();
    let elsewhere = LoadOptions { pin_directory: "/sys/fs/bpf/other/v2".into(), ..options() };
    let privileged = Privileged::acquire().unwrap();
    let gw0 = ["gw0".to_owned()];
    let other = load(elsewhere).attach(&privileged, &gw0).unwrap();
    let auto = AttachOptions { xdp: XdpWish::Auto, ..AttachOptions::default() };
    let (mut attached, workers) = attach("gw0", auto).unwrap();
    assert_eq!(order(), ["gateway_ingress", "gateway_ingress"]);
    steer(attached.maps(), "http", &[], 8080);
    served(&peer, &workers);
    drop(other);
    served(&peer, &workers);
}
