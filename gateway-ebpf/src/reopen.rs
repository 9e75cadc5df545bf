//! Reopening: a SYN for a connection that is in `TIME_WAIT` (RFC 9293, section 3.6.1).
//!
//! The kernel alone can end that state, so TC may not give the SYN to a listener. It lets it pass,
//! and the kernel, if it accepts the SYN, looks for a listening socket: of a gateway port it finds
//! none, unless a program answers that lookup. So TC leaves word who takes the connection, and the
//! program answers what TC has decided, and nothing else.

use aya_ebpf::bindings::{BPF_SK_LOOKUP_F_NO_REUSEPORT, bpf_sk_lookup};
use aya_ebpf::helpers::{bpf_map_lookup_elem, bpf_sk_assign, bpf_sk_release};
use gateway_common::steering::{Reopening, Tuple};
use gateway_ebpf::parse::Segment;

use crate::maps::{REOPENED, WORKER_SOCKETS};
use crate::{clock, ports};

/// `BPF_ANY`.
const ANY: u64 = 0;
const AF_INET: u32 = 2;
const TCP: u32 = 6;
/// The word before an IPv4 address that is written IPv4-mapped.
const MAPPED: u32 = 0xffff_u32.to_be();

/// Leaves word that the connection of a SYN goes to a worker, if the kernel ends the one before.
/// Answers whether there was room.
#[inline(always)]
pub(crate) fn note(segment: &Segment, worker_socket: u32) -> bool {
    let tuple = Tuple {
        source: segment.source,
        destination: segment.destination,
        source_port: segment.headers.source_port,
        destination_port: segment.headers.destination_port,
        family: segment.headers.family.number().into(),
    };
    REOPENED.insert(tuple, Reopening { at: clock::now(), worker_socket, reserved: 0 }, ANY).is_ok()
}

/// The kernel looks for a listening socket: answers with the worker's, if there is word of it.
#[inline(always)]
pub(crate) fn answer(lookup: *mut bpf_sk_lookup) {
    // SAFETY: the kernel passes a valid context. Volatile, so that fields are read by themselves,
    // which the verifier asks for.
    let (protocol, local_port) = unsafe {
        (
            (&raw const (*lookup).protocol).read_volatile(),
            (&raw const (*lookup).local_port).read_volatile(),
        )
    };
    #[expect(clippy::cast_possible_truncation, reason = "it is a port")]
    let port = local_port as u16;
    if protocol != TCP || ports::bits(port).is_none() {
        return;
    }
    let tuple = tuple(lookup, port);
    let Some(found) = REOPENED.get_ptr(tuple) else { return };
    // SAFETY: the kernel frees an entry no earlier than the program has ended (RCU).
    let Reopening { at, worker_socket, .. } = unsafe { found.read_volatile() };
    // Once: the next SYN of this tuple passes by TC as well.
    let _removed = REOPENED.remove(tuple);
    if clock::now().wrapping_sub(at) > Reopening::LIFETIME {
        return;
    }
    let map = (&raw const WORKER_SOCKETS).cast_mut().cast();
    // SAFETY: the map is a sockmap with u32 keys; what it answers is released.
    unsafe {
        let socket = bpf_map_lookup_elem(map, (&raw const worker_socket).cast());
        if !socket.is_null() {
            // If it cannot be had, the kernel goes on looking.
            let _assigned =
                bpf_sk_assign(lookup.cast(), socket, u64::from(BPF_SK_LOOKUP_F_NO_REUSEPORT));
            bpf_sk_release(socket);
        }
    }
}

/// The connection that is looked up.
#[inline(always)]
fn tuple(lookup: *mut bpf_sk_lookup, destination_port: u16) -> Tuple {
    // All of them are read, whatever the family: by way of a choice the compiler would read through a
    // pointer into the context, which the verifier refuses. Those of the other family are zeros.
    // SAFETY: as in `answer`.
    let (family, port, [source, destination], [source_v6, destination_v6]) = unsafe {
        (
            (&raw const (*lookup).family).read_volatile(),
            (&raw const (*lookup).remote_port).read_volatile(),
            [
                (&raw const (*lookup).remote_ip4).read_volatile(),
                (&raw const (*lookup).local_ip4).read_volatile(),
            ],
            [words(&raw const (*lookup).remote_ip6), words(&raw const (*lookup).local_ip6)],
        )
    };
    let v4 = family == AF_INET;
    let address =
        |v4_word: u32, v6_words| bytes(if v4 { [0, 0, MAPPED, v4_word] } else { v6_words });
    Tuple {
        source: address(source, source_v6),
        destination: address(destination, destination_v6),
        source_port: u16::from_be(port),
        destination_port,
        family: if v4 { 4 } else { 6 },
    }
}

/// # Safety
///
/// `field` must be a field of a valid context.
#[inline(always)]
unsafe fn words(field: *const [u32; 4]) -> [u32; 4] {
    let field = field.cast::<u32>();
    // SAFETY: by contract.
    unsafe {
        [
            field.read_volatile(),
            field.add(1).read_volatile(),
            field.add(2).read_volatile(),
            field.add(3).read_volatile(),
        ]
    }
}

/// The bytes of an address, in the order in which they lie.
#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: as many bytes, any of them a valid one.
    unsafe { core::mem::transmute(words) }
}
