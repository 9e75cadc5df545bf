//! Pins: counters go on over restarts, other layouts are refused, one daemon at a time.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gateway_common::abi::{self, map};
use gateway_common::bans::Ban;
use gateway_common::hook::Hook;
use gateway_common::path::PathSlot;
use gateway_common::verdict::{PacketVerdict, RequestVerdict};
use gateway_daemon::bpf::{self, BanMaps, BpfError, Detached, LoadOptions, Packet, Privileged};
use gateway_daemon::counters::{ListenerSlots, PathSlots, Regions, Totals};
use gateway_daemon::model::ban::Source;
use gateway_daemon::sys::bpf as bpf_sys;

use crate::packet::syn;
use crate::sandbox::{
    self, load, load_denying, options, packets, pin_directory, regions, run, steer,
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Loading's error.
fn refused(options: LoadOptions) -> String {
    let privileged = Privileged::acquire().unwrap();
    let loaded = Detached::prepare(options).and_then(|detached| detached.load(&privileged));
    match loaded {
        Ok(_) => panic!("it loaded"),
        Err(error) => error.to_string(),
    }
}

/// The counters as an observer reads them, also with no daemon.
fn pinned() -> Regions {
    Regions::open(|name| bpf::pinned_region(pin_directory(), name)).unwrap()
}

#[test]
fn counters_and_slots_continue_over_a_restart() {
    sandbox::enter();
    let mut first = load(options());
    let slot = steer(first.maps(), "http", &[], 8080);
    let counters = regions(first.maps());
    let mut paths = PathSlots::new(counters.clone());
    assert_eq!(paths.assign(&names(&["a", "b"])).slots, [PathSlot(1), PathSlot(2)]);
    counters.worker(1).unwrap().record(PathSlot(2), RequestVerdict::Allowed, 1, 2);
    let bytes = syn("192.0.2.1", "127.0.0.1", 8080).bytes();
    let privileged = Privileged::acquire().unwrap();
    first.run(&privileged, Hook::Xdp, Packet::new(&bytes)).unwrap();
    drop((first, counters));

    // Nobody runs: the pins answer.
    let down = Totals::read(&pinned());
    assert_eq!((down.paths[2].name.as_str(), down.paths[2].requests.allowed), ("b", 1));

    let mut second = load(options());
    assert_eq!(second.maps().steered().count(), 0, "steering is the process's");
    let counters = regions(second.maps());
    assert_eq!(Totals::read(&counters), down);
    let mut paths = PathSlots::new(counters.clone());
    assert_eq!(paths.assign(&names(&["b", "c"])).slots, [PathSlot(2), PathSlot(3)]);
    let mut listeners = ListenerSlots::new(counters.clone());
    assert_eq!(listeners.assign(&names(&["http"])).slots, [slot]);
    counters.worker(1).unwrap().record(PathSlot(2), RequestVerdict::Allowed, 1, 2);
    assert_eq!(Totals::read(&counters).requests().allowed, 2);
    // Port 8080 is steered no longer, so the packet is nobody's until it is again.
    second.run(&privileged, Hook::Xdp, Packet::new(&bytes)).unwrap();
    assert_eq!(packets(&counters, Hook::Xdp, slot, PacketVerdict::Passed), 1);
    second.maps().steer(slot, &[], 8080).unwrap();
    second.run(&privileged, Hook::Xdp, Packet::new(&bytes)).unwrap();
    assert_eq!(packets(&counters, Hook::Xdp, slot, PacketVerdict::Passed), 2);
}

#[test]
fn more_workers_take_the_rows_along_and_fewer_leave_them() {
    sandbox::enter();
    let mut loaded = load(LoadOptions::new(1));
    regions(loaded.maps()).worker(0).unwrap().record(PathSlot(0), RequestVerdict::Denied, 0, 0);
    drop(loaded);
    let mut loaded = load(LoadOptions::new(3));
    let counters = regions(loaded.maps());
    assert_eq!(counters.workers(), 3);
    counters.worker(2).unwrap().record(PathSlot(0), RequestVerdict::Aborted, 0, 0);
    drop((loaded, counters));
    let mut loaded = load(LoadOptions::new(2));
    let totals = Totals::read(&regions(loaded.maps()));
    assert_eq!((totals.requests().denied, totals.requests().aborted), (1, 1));
    let old = pin_directory().join("REQUEST_COUNTERS_OLD");
    assert!(!old.exists());
}

#[test]
fn an_interrupted_migration_is_finished() {
    sandbox::enter();
    let mut loaded = load(LoadOptions::new(1));
    regions(loaded.maps()).worker(0).unwrap().record(PathSlot(0), RequestVerdict::Denied, 0, 0);
    drop(loaded);
    // As a daemon leaves it that is killed after it has put the old map aside.
    let [pin, old] =
        [map::REQUEST_COUNTERS, "REQUEST_COUNTERS_OLD"].map(|name| pin_directory().join(name));
    fs::rename(pin, &old).unwrap();
    let mut loaded = load(LoadOptions::new(2));
    assert_eq!(Totals::read(&regions(loaded.maps())).requests().denied, 1);
    assert!(!old.exists());
}

#[test]
fn another_layout_is_refused_and_says_which() {
    let rows = [
        ("value size", "type array key 4 value 256 entries 16384 name x flags 1024", "value size"),
        ("type", "type hash key 4 value 248 entries 16384 name x flags 1", "type"),
        ("entries", "type array key 4 value 248 entries 99 name x flags 1024", "entries"),
        ("flags", "type array key 4 value 248 entries 16384 name x", "flags"),
    ];
    sandbox::enter();
    drop(load(options()));
    let pin = pin_directory().join(map::PATH_NAMES);
    for (name, create, property) in rows {
        fs::remove_file(&pin).unwrap();
        run(&format!("bpftool map create {} {create}", pin.display()));
        let error = refused(options());
        assert!(error.contains(&format!("{} has {property}", pin.display())), "{name}: {error}");
        assert!(error.contains("unload") && error.contains("--datapath off"), "{name}: {error}");
        let read = bpf::pinned_region(pin_directory(), map::PATH_NAMES);
        // Fewer rows are no other layout; `Regions` refuses them.
        assert_eq!(read.is_err(), property != "entries", "{name}");
        assert!(Regions::open(|name| bpf::pinned_region(pin_directory(), name)).is_err(), "{name}");
    }
}

#[test]
fn a_second_daemon_is_refused_while_the_first_runs() {
    sandbox::enter();
    let first = load(options());
    let error = refused(options());
    assert!(error.contains("another gateway-daemon uses"), "{error}");
    assert!(matches!(bpf::unload(pin_directory()), Err(BpfError::Busy { .. })));
    drop(first);
    drop(load(options()));
}

#[test]
fn unload_leaves_nothing() {
    sandbox::enter();
    assert_eq!(bpf::unload(pin_directory()).unwrap(), [] as [PathBuf; 0]);
    drop(load(options()));
    let removed = sandbox::unload();
    assert!(removed.contains(&pin_directory().join(map::REQUEST_COUNTERS)));
    assert!(!Path::new("/sys/fs/bpf/gateway").exists());
    let error = bpf::pinned_region(pin_directory(), map::PATH_NAMES).unwrap_err().to_string();
    assert!(error.contains("no gateway-daemon with the kernel half ran here"), "{error}");
}

#[test]
fn what_is_missing_is_named() {
    sandbox::enter();
    let elsewhere = LoadOptions { pin_directory: "/run/gateway/v3".into(), ..options() };
    let error = refused(elsewhere);
    assert!(error.contains("/run is not on a BPF file system: run `mount -t bpf"), "{error}");
    for workers in [0, abi::MAX_WORKERS + 1] {
        let error = refused(LoadOptions::new(workers));
        assert!(error.contains("--workers"), "{error}");
    }
    let block = gateway_daemon::model::policy::Cidr::parse("192.0.2.0/24").unwrap();
    let many = vec![block; abi::MAX_DENY_SOURCES as usize + 1];
    let error = refused(LoadOptions { deny_sources: many, ..options() });
    assert!(error.contains("--deny-source: at most 65536"), "{error}");
    let privileged = Privileged::acquire().unwrap();
    let attach = |interface: &str| {
        let error = load(options()).attach(&privileged, &[interface.to_owned()]);
        match error {
            Ok(_) => panic!("attached to {interface}"),
            Err(error) => error.to_string(),
        }
    };
    let error = attach("nothere0");
    assert!(error.contains("interface nothere0 does not exist"), "{error}");
    run("ip tuntap add mode tun name tun0");
    let error = attach("tun0");
    assert!(error.contains("does not carry Ethernet frames"), "{error}");
}

#[test]
fn an_interface_with_an_xdp_program_is_named() {
    sandbox::enter();
    let privileged = Privileged::acquire().unwrap();
    let mine = LoadOptions { pin_directory: "/sys/fs/bpf/mine/v1".into(), ..options() };
    let first = load(mine).attach(&privileged, &["lo".to_owned()]).unwrap();
    let second = load(options()).attach(&privileged, &["lo".to_owned()]);
    let Err(error) = second else { panic!("attached twice") };
    assert!(error.to_string().contains("interface lo has an XDP program already"), "{error}");
    assert!(error.to_string().contains("ip link set dev lo xdp off"), "{error}");
    // What the second had attached before it failed is gone again; the first's is there.
    let programs = run("ip link show lo");
    assert!(programs.contains("prog/xdp"), "{programs}");
    drop(first);
    let programs = run("ip link show lo");
    assert!(!programs.contains("prog/xdp"), "{programs}");
}

/// The directory of an earlier layout, as a build of it leaves it: without the maps that it did not
/// have, and with one that this version does not know.
fn made_earlier() -> PathBuf {
    let earlier = pin_directory().with_file_name("v2");
    fs::rename(pin_directory(), &earlier).unwrap();
    for name in [map::PORT_ENTRIES, map::DENY_FILTER, map::CPU_STATE] {
        fs::remove_file(earlier.join(name)).unwrap();
    }
    let unknown = earlier.join("CLOCK");
    run(&format!(
        "bpftool map create {} type array key 4 value 64 entries 256 name CLOCK",
        unknown.display()
    ));
    earlier
}

#[test]
fn an_earlier_layout_is_continued() {
    sandbox::enter();
    let privileged = Privileged::acquire().unwrap();
    let lo = ["lo".to_owned()];
    let mut first = load_denying(&["192.0.2.9"]).attach(&privileged, &lo).unwrap();
    regions(first.maps()).worker(1).unwrap().record(PathSlot(0), RequestVerdict::Allowed, 1, 2);
    let mut bans = BanMaps::open(pin_directory()).unwrap();
    let (source, expires) = (Source::of("192.0.2.1".parse().unwrap()), u64::MAX);
    bans.insert(source, Ban { expires, since: 0, packets: 0, strikes: 3, reason: 1 }).unwrap();
    let programs = bpf::pinned_programs(pin_directory());
    // As a daemon that was killed: what is attached stays.
    first.leave();
    drop((first, bans));
    let earlier = made_earlier();
    assert!(bpf::is_continued(&earlier, pin_directory()));

    let mut second = load_denying(&["192.0.2.9"]);
    assert!(!earlier.exists() && !pin_directory().join("CLOCK").exists());
    assert_eq!(Totals::read(&regions(second.maps())).requests().allowed, 1);
    let bans = BanMaps::open(pin_directory()).unwrap().list().unwrap();
    assert_eq!(bans.iter().map(|(source, _)| *source).collect::<Vec<_>>(), [source]);
    // The maps that were not there are filled before a program looks at them.
    let slot = steer(second.maps(), "http", &[], 8080);
    let denied = syn("192.0.2.9", "127.0.0.1", 8080).bytes();
    second.run(&privileged, Hook::Xdp, Packet::new(&denied)).unwrap();
    let counters = regions(second.maps());
    assert_eq!(packets(&counters, Hook::Xdp, slot, PacketVerdict::DeniedSource), 1);

    let attached = second.attach(&privileged, &lo).unwrap();
    let replaced = bpf::pinned_programs(pin_directory());
    assert_eq!(replaced.len(), programs.len());
    assert!(replaced.iter().all(|program| !programs.contains(program)), "in place of the old ones");
    drop(attached);
}

#[test]
fn an_earlier_layout_in_use_is_left_alone() {
    sandbox::enter();
    drop(load(options()));
    let earlier = made_earlier();
    let running = File::open(&earlier).unwrap();
    running.lock().unwrap();
    let error = refused(options());
    assert!(
        error.starts_with(&format!("a gateway-daemon runs at {}", earlier.display())),
        "{error}"
    );
    assert!(earlier.join("CLOCK").exists(), "nothing of it is changed");
    assert!(!pin_directory().exists(), "and nothing is made");
    drop(running);
    // An empty directory is in nobody's way, one with maps of this version is not given up.
    fs::create_dir_all(pin_directory()).unwrap();
    drop(load(options()));
    assert!(!earlier.exists());
    let earlier = made_earlier();
    fs::create_dir_all(pin_directory()).unwrap();
    let other = pin_directory().join(map::PATH_NAMES);
    run(&format!(
        "bpftool map create {} type array key 4 value 248 entries 16384 name x flags 1024",
        other.display()
    ));
    assert!(!bpf::is_continued(&earlier, pin_directory()));
    drop(load(options()));
    assert!(earlier.join("CLOCK").exists());
}

#[test]
fn what_a_daemon_left_that_was_killed_while_it_loaded_is_no_hindrance() {
    sandbox::enter();
    let left = pin_directory().join("PROGRAM");
    let leave = || {
        fs::create_dir_all(pin_directory()).unwrap();
        bpf_sys::pin(program(&EXIT_ZERO).unwrap().as_fd(), &left).unwrap();
    };
    leave();
    drop(load(options()));
    assert!(!left.exists());

    leave();
    let removed = sandbox::unload();
    assert!(removed.contains(&left), "{removed:?}");
    assert!(!left.exists());
}

#[test]
fn the_kernel_says_why_it_refuses_a_program() {
    sandbox::enter();
    let refusal = program(&EXIT[..1]).unwrap_err();
    assert_eq!(refusal.error.raw_os_error(), Some(nix::libc::EACCES), "{refusal:?}");
    assert!(refusal.log.contains("R0 !read_ok"), "{refusal:?}");
}

/// `exit`.
const EXIT: [[u8; 8]; 1] = [[0x95, 0, 0, 0, 0, 0, 0, 0]];
/// `r0 = 0; exit`.
const EXIT_ZERO: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], EXIT[0]];

/// Takes a TC program into the kernel.
fn program(instructions: &[[u8; 8]]) -> Result<OwnedFd, bpf_sys::Refusal> {
    // The header of `linux/btf.h`, one integer of 32 bits without a name of its own, and its name.
    let header = [0x0001_eb9f_u32, 24, 0, 16, 16, 5];
    let integer = [1, 1 << 24, 4, 32];
    let numbers = header.into_iter().chain(integer).flat_map(u32::to_ne_bytes);
    let types: Vec<u8> = numbers.chain(*b"\0int\0").collect();
    let types = bpf_sys::load_types(&types).unwrap();
    let none = bpf_sys::Records { bytes: &[], size: 0 };
    bpf_sys::load_program(&bpf_sys::Program {
        name: "test",
        kind: 3,
        attach: 0,
        license: c"GPL",
        instructions,
        types: types.as_fd(),
        functions: none,
        lines: none,
    })
}
