//! A network and a mount namespace for one thread, and the kernel half loaded in it.

use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gateway_common::abi;
use gateway_common::hook::Hook;
use gateway_common::steering::Family;
use gateway_common::verdict::PacketVerdict;
use gateway_daemon::bpf::{
    self, Attached, BpfError, Detached, LoadOptions, Loaded, Maps, Privileged,
};
use gateway_daemon::counters::{ListenerSlot, ListenerSlots, Regions, Totals};
use gateway_daemon::model::policy::Cidr;
use gateway_daemon::sys::socket::worker_listener;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;

/// The workers of every test.
pub(crate) const WORKERS: u32 = 2;

/// Moves the calling thread into namespaces of its own, with `lo` up, an empty `/sys/fs/bpf`, and
/// nothing else.
pub(crate) fn enter() {
    enter_network();
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).expect("the kernel tests need root");
    let none = None::<&str>;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    // A sysfs of the new network namespace, so that its interfaces are seen.
    nix::mount::mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).unwrap();
    let bpffs = "/sys/fs/bpf";
    nix::mount::mount(Some("bpf"), bpffs, Some("bpf"), MsFlags::empty(), none).unwrap();
}

/// Moves the calling thread into a network namespace of its own, with `lo` up.
pub(crate) fn enter_network() {
    nix::sched::unshare(CloneFlags::CLONE_NEWNET).expect("the kernel tests need root");
    run("ip link set lo up");
}

/// Runs a command of this thread's namespaces and answers what it printed.
pub(crate) fn run(line: &str) -> String {
    let mut words = line.split(' ');
    let output = Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Sets a kernel parameter of this thread's network namespace.
pub(crate) fn sysctl(name: &str, value: &str) {
    // By way of /proc/thread-self: plain /proc/sys/net shows the process's first thread's.
    let line = format!("echo {value} > /proc/sys/{name}");
    let status = Command::new("sh").args(["-c", &line]).status().unwrap();
    assert!(status.success(), "{line}");
}

/// The usual options of a test.
pub(crate) fn options() -> LoadOptions {
    LoadOptions::new(WORKERS)
}

/// Loads, or says why not.
#[expect(clippy::needless_pass_by_value, reason = "called as the loader itself is")]
pub(crate) fn load(options: LoadOptions) -> Loaded {
    let privileged = Privileged::acquire().unwrap_or_else(|error| panic!("{error}"));
    let detached = once_free(|| Detached::prepare(options.clone()));
    detached.load(&privileged).unwrap_or_else(|error| panic!("{error}"))
}

/// Removes the pins, or says why not. Answers which.
pub(crate) fn unload() -> Vec<PathBuf> {
    once_free(|| bpf::unload(pin_directory()))
}

/// Once nobody has the pins: a process that another test is just starting holds the lock of a daemon
/// that has ended between fork and exec, so that is waited for.
fn once_free<T>(take: impl Fn() -> Result<T, BpfError>) -> T {
    let taken = (0..1_000).find_map(|_| match take() {
        Err(BpfError::Busy { .. }) => {
            thread::sleep(Duration::from_millis(5));
            None
        }
        other => Some(other),
    });
    taken.expect("free pins").unwrap_or_else(|error| panic!("{error}"))
}

/// Loads with denied sources.
pub(crate) fn load_denying(sources: &[&str]) -> Loaded {
    let deny_sources = sources.iter().map(|source| Cidr::parse(source).unwrap()).collect();
    load(LoadOptions { deny_sources, ..options() })
}

/// Loads and attaches to `lo`, with sockets for every worker.
pub(crate) fn attach(interface: &str) -> (Attached, Vec<Worker>) {
    let mut loaded = load(options());
    let workers = workers(loaded.maps());
    let privileged = Privileged::acquire().unwrap();
    let attached = loaded
        .attach(&privileged, &[interface.to_owned()])
        .unwrap_or_else(|error| panic!("{error}"));
    (attached, workers)
}

/// A worker's listening sockets.
pub(crate) struct Worker {
    pub(crate) v4: std::net::TcpListener,
    pub(crate) v6: std::net::TcpListener,
}

/// Opens the workers' sockets and enters them.
pub(crate) fn workers(maps: &mut Maps) -> Vec<Worker> {
    let workers = 0..WORKERS;
    workers
        .map(|worker| {
            let [v4, v6] = [Family::V4, Family::V6].map(|family| {
                let listener = worker_listener(family).unwrap();
                maps.set_worker_socket(worker, family, &listener.as_fd()).unwrap();
                listener
            });
            Worker { v4, v6 }
        })
        .collect()
}

/// Steers (addresses, port) to a listener of that name.
pub(crate) fn steer(maps: &mut Maps, name: &str, addresses: &[&str], port: u16) -> ListenerSlot {
    let regions = regions(maps);
    let mut names: Vec<String> = Totals::read(&regions)
        .listeners
        .iter()
        .filter(|listener| listener.hook == Hook::Xdp && !listener.name.is_empty())
        .map(|listener| listener.name.clone())
        .collect();
    names.retain(|known| known != name);
    names.push(name.to_owned());
    let slot = *ListenerSlots::new(regions).assign(&names).slots.last().unwrap();
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    maps.steer(slot, &addresses, port).unwrap();
    slot
}

/// The mapped counters.
pub(crate) fn regions(maps: &Maps) -> Regions {
    Regions::open(|name| maps.region(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// Packets by hook, listener slot and verdict.
pub(crate) fn packets(
    regions: &Regions,
    hook: Hook,
    slot: ListenerSlot,
    verdict: PacketVerdict,
) -> u64 {
    let totals = Totals::read(regions);
    let row = totals.listeners.iter().find(|row| row.hook == hook && row.slot == slot.0);
    row.map_or(0, |row| row.packets.verdict(verdict).packets)
}

/// Asserts that what was seen is the sum of the verdicts, everywhere.
pub(crate) fn assert_sums(regions: &Regions) {
    for row in Totals::read(regions).listeners {
        let volumes = PacketVerdict::ALL.map(|verdict| row.packets.verdict(verdict));
        let packets: u64 = volumes.iter().map(|volume| volume.packets).sum();
        let bytes: u64 = volumes.iter().map(|volume| volume.bytes).sum();
        let seen = row.packets.seen;
        assert_eq!((seen.packets, seen.bytes), (packets, bytes), "{:?} {}", row.hook, row.slot);
    }
}

/// Where the maps are pinned.
pub(crate) fn pin_directory() -> &'static Path {
    Path::new(abi::PIN_DIRECTORY)
}

/// A second thread with a network namespace of its own, for the other end of a cable.
pub(crate) struct Peer {
    thread: i32,
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Peer {
    pub(crate) fn new() -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            enter_network();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            for job in queue {
                job();
            }
        });
        Self { thread: told.recv().unwrap(), jobs }
    }

    /// Runs a closure in the peer's namespace and answers what it gave.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.jobs.send(Box::new(move || tell.send(job()).unwrap())).unwrap();
        told.recv().expect("the peer's closure panicked")
    }

    /// Lays a cable: `gw0` here, `cl0` there.
    pub(crate) fn cable(&self) {
        run("ip link add gw0 type veth peer name cl0");
        run(&format!("ip link set cl0 netns {}", self.thread));
        run("ip link set gw0 up");
        self.run(|| run("ip link set cl0 up"));
    }
}
