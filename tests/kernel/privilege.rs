//! Privilege: what is kept after it was given up, as /proc says, and what still works.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use gateway_common::abi::map;
use gateway_common::path::PathSlot;
use gateway_daemon::bpf::{Capability, Detached, PrivilegeError, Privileged};
use gateway_daemon::counters::FlowPaths;
use gateway_daemon::sys::caps;

use crate::sandbox::{self, attach, options, steer};

/// A line of bits of this thread's status.
fn bits(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    u64::from_str_radix(line[name.len()..].trim(), 16).unwrap()
}

#[test]
fn nothing_is_kept_and_it_is_enough() {
    sandbox::enter();
    let (mut attached, workers) = attach("lo");
    assert_eq!(attached.kept_capabilities(), []);
    let flow_paths = FlowPaths::new(attached.maps().region(map::FLOW_PATHS).unwrap()).unwrap();
    // This thread alone: the harness's other threads keep theirs, which `Privileged::relinquish`
    // refuses (see below).
    caps::forbid_new_privileges().unwrap();
    caps::keep_only(&attached.kept_capabilities()).unwrap();
    let sets = ["CapPrm:", "CapEff:", "CapBnd:", "CapInh:", "CapAmb:"].map(bits);
    assert_eq!(sets, [0; 5]);
    assert_eq!(bits("NoNewPrivs:"), 1);

    // What a running daemon does: steer, count, accept, unsteer, detach.
    steer(attached.maps(), "http", &[], 8080);
    let mut client = TcpStream::connect("127.0.0.1:8080").unwrap();
    client.write_all(b"?").unwrap();
    let accepted = workers.iter().find_map(|worker| worker.v4.accept().ok());
    let (server, peer) = accepted.unwrap();
    flow_paths.flow(peer, server.local_addr().unwrap()).answer(PathSlot(1), true);
    attached.maps().unsteer(&[], 8080).unwrap();
    TcpStream::connect("127.0.0.1:8080").unwrap_err();
    drop(attached);

    // What it can do no longer.
    let Err(PrivilegeError::Missing(missing)) = Privileged::acquire() else { panic!("privileged") };
    assert_eq!(missing, [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon]);
    let message = PrivilegeError::Missing(missing).to_string();
    assert!(message.contains("CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON"), "{message}");
    assert!(message.contains("--datapath off"), "{message}");
}

#[test]
fn the_kernels_refusal_names_the_privileges() {
    sandbox::enter();
    let privileged = Privileged::acquire().unwrap();
    let detached = Detached::prepare(options()).unwrap();
    caps::keep_only(&[Capability::NetBindService]).unwrap();
    let Err(error) = detached.load(&privileged) else { panic!("loaded without privilege") };
    let error = error.to_string();
    assert!(error.contains("CAP_BPF") && error.contains("--datapath off"), "{error}");
}

#[test]
fn privileges_are_not_given_up_while_other_threads_hold_them() {
    sandbox::enter();
    let privileged = Privileged::acquire().unwrap();
    let error = privileged.relinquish(&[]).unwrap_err();
    assert!(matches!(error, PrivilegeError::Threads(_)), "{error}");
}
