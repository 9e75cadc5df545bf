//! One daemon's kernel half beside another's: nothing is changed before the commit but programs and
//! lists, which can be put back; afterwards everything is the successor's.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpStream;

use gateway_common::path::PathSlot;
use gateway_common::steering::{Family, GatewayPort};
use gateway_common::verdict::RequestVerdict;
use gateway_daemon::bpf::{self, Attached, BpfError, Detached, LoadOptions, Privileged};
use gateway_daemon::counters::{ListenerSlot, Totals};
use gateway_daemon::model::policy::Cidr;
use gateway_daemon::model::port_range::PortRange;
use gateway_daemon::sys::socket::worker_listener;

use crate::sandbox::{self, attach, load, options, pin_directory, regions, run, steer, workers};
use crate::steering::FILTERS;

/// A successor beside a daemon, attached to `lo`.
fn beside(first: &Attached, options: LoadOptions) -> Result<Attached, BpfError> {
    let privileged = Privileged::acquire().unwrap();
    let lock = File::from(first.lock().try_clone_to_owned().unwrap());
    let detached = Detached::beside(options, lock)?;
    detached.load(&privileged)?.attach(&privileged, &["lo".to_owned()])
}

/// One that denies a source.
fn denying() -> LoadOptions {
    let deny_sources = vec![Cidr::parse("192.0.2.1").unwrap()];
    LoadOptions { deny_sources, ..options() }
}

/// Entries of a pinned map.
fn entries(map: &str) -> usize {
    let pin = pin_directory().join(map);
    run(&format!("bpftool map dump pinned {}", pin.display())).matches("\"key\"").count()
}

/// The ports that are steered.
fn steered() -> usize {
    entries("GATEWAY_PORTS")
}

/// The sources that are denied.
fn denied() -> usize {
    entries("DENY_SOURCES_V4")
}

fn programs() -> Vec<u32> {
    let mut programs = bpf::pinned_programs(pin_directory());
    programs.sort_unstable();
    programs
}

#[test]
fn what_a_successor_that_ends_has_changed_is_put_back() {
    sandbox::enter();
    let (mut first, _workers) = attach("lo");
    steer(first.maps(), "http", &[], 8080);
    let (before, ports) = (programs(), steered());
    assert_eq!(denied(), 0);

    let second = beside(&first, denying()).unwrap();
    assert!(programs().iter().all(|program| !before.contains(program)), "replaced");
    assert_eq!((programs().len(), steered()), (before.len(), ports), "and nothing else");
    assert_eq!(denied(), 1, "by the new one's list, which is in the same map");
    drop(second);
    assert_eq!((programs().len(), steered()), (before.len(), ports), "it leaves what it found");

    first.restore().unwrap();
    assert_eq!((programs(), steered()), (before, ports));
    assert_eq!(denied(), 0);
    drop(first);
    assert_eq!((programs(), steered()), (vec![], 0), "and it still detaches");
}

#[test]
fn a_successor_that_was_killed_half_way_through_its_commit_leaves_nothing() {
    sandbox::enter();
    run("ip link add other0 type veth peer name other1");
    let (mut first, _workers) = attach("lo");
    steer(first.maps(), "http", &[], 8080);
    let (before, ports) = (programs(), steered());
    let privileged = Privileged::acquire().unwrap();
    let lock = File::from(first.lock().try_clone_to_owned().unwrap());
    let both = ["lo".to_owned(), "other0".to_owned()];
    let loaded = Detached::beside(denying(), lock).unwrap().load(&privileged).unwrap();
    let mut second = loaded.attach(&privileged, &both).unwrap();
    second.commit(&[(ListenerSlot(7), vec![], 9090.into())]).unwrap();
    assert_ne!(programs().len(), before.len());
    // As a killed process does: nothing is dropped.
    std::mem::forget(second);
    first.restore().unwrap();
    assert_eq!((programs(), steered(), denied()), (before, ports, 0));
    let keys: Vec<GatewayPort> = first.maps().steered().map(|(key, _)| key).collect();
    assert!(keys.iter().all(|key| key.port == 8080), "{keys:?}");
}

#[test]
fn a_commit_takes_over_and_the_predecessor_leaves() {
    sandbox::enter();
    let (mut first, _workers) = attach("lo");
    let slot = steer(first.maps(), "http", &[], 8080);
    steer(first.maps(), "gone", &[], 9090);
    let mut second = beside(&first, options()).unwrap();
    second.maps().set_seed(first.seed());
    second
        .commit(&[
            (slot, vec![], 8080.into()),
            (ListenerSlot(3), vec!["127.0.0.1".parse().unwrap()], 80.into()),
        ])
        .unwrap();
    let steered: Vec<_> = second.maps().steered().map(|(key, slot)| (key.port, slot.0)).collect();
    assert_eq!(steered.len(), 3, "both families of one, one of the other: {steered:?}");
    assert!(steered.iter().all(|(port, slot)| [(8080, 1), (80, 3)].contains(&(*port, *slot))));
    let after = programs();
    first.leave();
    drop(first);
    assert_eq!(programs(), after, "what is attached is the successor's");
    assert_eq!(self::steered(), 3);
    assert!(bpf::unload(pin_directory()).is_err(), "the lock is shared");
    drop(second);
    assert_eq!((programs(), self::steered()), (vec![], 0));
    sandbox::unload();
}

#[test]
fn an_interface_that_the_successor_does_not_want_is_detached() {
    sandbox::enter();
    run("ip link add other0 type veth peer name other1");
    let privileged = Privileged::acquire().unwrap();
    let both = ["lo".to_owned(), "other0".to_owned()];
    let mut first = load(options()).attach(&privileged, &both).unwrap();
    let attached = || run("ip -details link show dev other0").contains("prog/xdp");
    assert!(attached());
    let mut second = beside(&first, options()).unwrap();
    assert!(attached(), "until the commit");
    second.commit(&[]).unwrap();
    first.leave();
    assert!(!attached());
    assert_eq!(programs().len(), 4, "three on lo, and the network namespace's");
}

#[test]
fn a_link_to_another_network_namespace_is_not_taken_for_ones_own() {
    let lookups = || {
        let pins = fs::read_dir(pin_directory()).unwrap();
        let names = pins.map(|pin| pin.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("LINK_LOOKUP_")).collect::<Vec<_>>()
    };
    sandbox::enter();
    let (mut first, _workers) = attach("lo");
    let before = lookups();
    assert_eq!(before.len(), 1);
    // It ends, and its links stay; the next one begins elsewhere.
    first.leave();
    drop(first);
    sandbox::enter_network();
    let (second, _workers) = attach("lo");
    let after = lookups();
    assert_eq!(after.len(), 1, "the other one is detached: {after:?}");
    assert_ne!(after, before);
    drop(second);
    assert!(lookups().is_empty());
}

#[test]
fn ranges_change_hands_whatever_they_are_cut_to() {
    sandbox::enter();
    let (mut first, _workers) = attach("lo");
    let range = |text| PortRange::parse(text).unwrap();
    first.maps().steer(ListenerSlot(1), &[], range("8000-8099")).unwrap();
    let taken = || {
        let ports = [7999, 8000, 8005, 8050, 8060, 8099, 8100];
        ports.map(|port| TcpStream::connect(("127.0.0.1", port)).is_ok())
    };
    let all = [false, true, true, true, true, true, false];
    assert_eq!(taken(), all);
    let mut second = beside(&first, options()).unwrap();
    let cut = [
        (ListenerSlot(1), vec![], range("8000-8009")),
        (ListenerSlot(2), vec!["127.0.0.1".parse().unwrap()], range("8050-8050")),
        (ListenerSlot(3), vec![], range("8099-8100")),
    ];
    second.commit(&cut).unwrap();
    assert_eq!(taken(), [false, true, true, true, false, true, true]);
    std::mem::forget(second);
    first.restore().unwrap();
    assert_eq!(taken(), all);
}

#[test]
fn sockets_that_are_passed_on_stay_in_their_slots() {
    sandbox::enter();
    let mut loaded = load(options());
    let sockets = workers(loaded.maps());
    let privileged = Privileged::acquire().unwrap();
    let mut first = loaded.attach(&privileged, &["lo".to_owned()]).unwrap();
    let slot = steer(first.maps(), "http", &[], 8080);
    let mut second = beside(&first, options()).unwrap();
    second.maps().set_seed(first.seed());
    let passed: Vec<_> = sockets.iter().map(|worker| worker.v4.try_clone().unwrap()).collect();
    let connect = || {
        let mut client = TcpStream::connect("127.0.0.1:8080").unwrap();
        client.write_all(b"?").unwrap();
        client
    };
    // In the queue of the predecessor's socket, and on its way there.
    let waiting = connect();
    let mut silent = TcpStream::connect("127.0.0.1:8080").unwrap();
    second.commit(&[(slot, vec![], 8080.into())]).unwrap();
    first.leave();
    drop((first, sockets));
    let other = connect();
    silent.write_all(b"?").unwrap();
    let accepted = passed.iter().flat_map(|socket| std::iter::from_fn(|| socket.accept().ok()));
    assert_eq!(accepted.count(), 3, "nobody was lost");
    drop((waiting, other, silent));
}

#[test]
fn filters_of_older_kernels_are_handed_over_as_links_are() {
    sandbox::enter();
    let privileged = Privileged::acquire().unwrap();
    let lo = ["lo".to_owned()];
    let filters = || {
        let shown = run("tc filter show dev lo ingress");
        let id = shown.split(" id ").nth(1).and_then(|rest| rest.split(' ').next());
        (shown.matches("direct-action").count(), id.map(str::to_owned))
    };
    let mut first = load(options()).attach_with(&privileged, &lo, FILTERS).unwrap();
    let before = filters();
    assert_eq!(before.0, 1);
    let beside = || {
        let lock = File::from(first.lock().try_clone_to_owned().unwrap());
        let loaded = Detached::beside(options(), lock).unwrap().load(&privileged).unwrap();
        loaded.attach_with(&privileged, &lo, FILTERS).unwrap()
    };
    let second = beside();
    let (count, replaced) = filters();
    assert_eq!(count, 1);
    assert_ne!(replaced, before.1);
    drop(second);
    assert_eq!(filters(), (1, replaced), "it leaves what it found");
    let mut second = beside();
    drop(beside());
    first.restore().unwrap();
    assert_eq!(filters(), before);
    second.commit(&[]).unwrap();
    first.leave();
    drop(first);
    assert_eq!(filters(), before);
    drop(second);
    assert_eq!(filters(), (0, None));
}

#[test]
fn more_workers_than_rows_are_refused_beside_a_daemon_only() {
    sandbox::enter();
    let (mut first, _workers) = attach("lo");
    let counters = regions(first.maps());
    counters.worker(1).unwrap().record(PathSlot(0), RequestVerdict::Denied, 0, 0);
    let Err(error) = beside(&first, LoadOptions::new(5)) else { panic!("it attached") };
    assert!(error.to_string().contains("use --workers 2 or fewer"), "{error}");
    assert_eq!(Totals::read(&counters).requests().denied, 1);
    assert!(!pin_directory().join("REQUEST_COUNTERS_OLD").exists(), "nothing is moved");
    drop((first, counters));
    assert_eq!(regions(load(LoadOptions::new(5)).maps()).workers(), 5);
}

#[test]
fn a_daemon_that_lacks_a_map_is_not_joined() {
    sandbox::enter();
    let (first, _workers) = attach("lo");
    let before = programs();
    // As one whose version did not know the map: it would not fill ours.
    fs::remove_file(pin_directory().join("PORT_ENTRIES")).unwrap();
    let Err(error) = beside(&first, options()) else { panic!("it attached") };
    assert!(error.to_string().contains("has no map"), "{error}");
    assert!(error.to_string().contains("PORT_ENTRIES"), "{error}");
    assert_eq!(programs(), before, "the running one is not touched");
}

#[test]
fn the_lock_of_another_directory_is_refused() {
    sandbox::enter();
    let (first, _workers) = attach("lo");
    let other = LoadOptions { pin_directory: "/sys/fs/bpf/other/v2".into(), ..options() };
    fs::create_dir_all(&other.pin_directory).unwrap();
    assert!(matches!(beside(&first, other), Err(BpfError::Busy { .. })));
}

#[test]
fn programs_of_another_layout_are_not_joined() {
    sandbox::enter();
    let prepare = || Detached::prepare(options()).map(drop).map_err(|error| error.to_string());
    let other = pin_directory().with_file_name("v1");
    fs::create_dir_all(&other).unwrap();
    assert_eq!(prepare(), Ok(()), "counters alone are in nobody's way");

    let running = File::open(&other).unwrap();
    running.lock().unwrap();
    let error = prepare().unwrap_err();
    assert!(error.starts_with("a gateway-daemon runs at /sys/fs/bpf/gateway/v1"), "{error}");
    assert!(error.ends_with("Stop it first, then start this one"), "{error}");
    drop(running);

    // As one leaves it that was killed: maps and links.
    let old = LoadOptions { pin_directory: other.clone(), ..options() };
    let privileged = Privileged::acquire().unwrap();
    let loaded = Detached::prepare(old).unwrap().load(&privileged).unwrap();
    let mut attached = loaded.attach(&privileged, &["lo".to_owned()]).unwrap();
    attached.leave();
    drop(attached);
    let error = prepare().unwrap_err();
    assert!(error.contains("left its programs attached at /sys/fs/bpf/gateway/v1"), "{error}");
    let cure = "`gateway-daemon unload --pin-directory /sys/fs/bpf/gateway/v1` removes them";
    assert!(error.ends_with(cure), "{error}");
    bpf::unload(&other).unwrap();
    assert_eq!(prepare(), Ok(()));
}

#[test]
fn a_worker_that_the_predecessor_had_not_is_entered() {
    sandbox::enter();
    drop(load(LoadOptions::new(3)));
    let mut first = load(LoadOptions::new(1));
    let socket = worker_listener(Family::V4).unwrap();
    first.maps().set_worker_socket(0, Family::V4, &socket).unwrap();
    let privileged = Privileged::acquire().unwrap();
    let first = first.attach(&privileged, &["lo".to_owned()]).unwrap();
    let mut second = beside(&first, LoadOptions::new(3)).unwrap();
    let more = [1, 2].map(|worker| {
        let socket = worker_listener(Family::V4).unwrap();
        second.maps().set_worker_socket(worker, Family::V4, &socket).unwrap();
        socket
    });
    second.commit(&[(ListenerSlot(1), vec![], 8080.into())]).unwrap();
    for _ in 0..32 {
        TcpStream::connect("127.0.0.1:8080").unwrap();
    }
    let taken = [&socket, &more[0], &more[1]]
        .map(|socket| std::iter::from_fn(|| socket.accept().ok()).count());
    assert_eq!(taken.iter().sum::<usize>(), 32);
    assert!(taken.iter().all(|&count| count > 0), "{taken:?}");
}
