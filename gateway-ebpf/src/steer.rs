//! Steering: hands a new connection to a worker's listening socket. The only caller of the socket
//! helpers.
//!
//! Gateway ports are bound by nobody, so what the kernel's lookup finds for one is a connection
//! that exists; only where it finds none is there something to do:
//!
//! - A SYN goes to a worker, unless its tuple is known: giving it to a listener while the old
//!   connection is in `TIME_WAIT` leaves the client hanging. The kernel ends that one first, and
//!   then learns who takes the new one (`reopen`).
//! - With SYN cookies in use the final ACK of a handshake has no socket either, and goes to the
//!   worker that sent the cookie.
//! - Every other segment is left to the kernel, which finds the connection by itself, with the
//!   route that it remembers for it.

use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::bindings::{
    BPF_F_CURRENT_NETNS, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NOT_FWDED, BPF_TCP_LISTEN,
    BPF_TCP_TIME_WAIT, bpf_sock,
};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::{
    bpf_fib_lookup, bpf_map_lookup_elem, bpf_sk_assign, bpf_sk_release, bpf_skc_lookup_tcp,
    bpf_tcp_check_syncookie,
};
use gateway_common::steering::{Family, GatewayPortEntry, worker_socket};
use gateway_common::verdict::PacketVerdict;
use gateway_ebpf::classify::Arrival;
use gateway_ebpf::flow;
use gateway_ebpf::parse::Segment;

use crate::maps::WORKER_SOCKETS;
use crate::packet::Skb;
use crate::ports::Found;
use crate::reopen;

const TCP_HEADER: u32 = 20;
const IPV4_HEADER: u32 = 20;
const IPV6_HEADER: u32 = 40;

/// A segment arrived for a gateway port: steers it if it opens a connection.
#[inline(always)]
pub(crate) fn arrived(skb: &Skb, found: &Found) -> PacketVerdict {
    let segment = &found.segment;
    match segment.headers.arrival() {
        Arrival::Opens => match known(skb, segment) {
            Known::Open => PacketVerdict::Established,
            Known::TimeWait => match Listener::of(segment, found.entry) {
                Some(listener) => listener.take_later(segment),
                None => PacketVerdict::NoListener,
            },
            // On its way through this node. Assigned to a socket it would be dropped.
            Known::Not if !found.named && !is_local(skb, segment) => PacketVerdict::Other,
            Known::Not => match Listener::of(segment, found.entry) {
                Some(listener) => listener.take(skb),
                None => PacketVerdict::NoListener,
            },
        },
        Arrival::Acknowledges => match Listener::of(segment, found.entry) {
            Some(listener) => {
                // The check is a comparison of times unless cookies were sent lately.
                if listener.sent_cookie(skb, segment) && known(skb, segment) == Known::Not {
                    listener.take(skb)
                } else {
                    PacketVerdict::Established
                }
            }
            None => PacketVerdict::Established,
        },
        Arrival::Continues => PacketVerdict::Established,
    }
}

/// A worker's listening socket. It holds a reference, which the verifier wants back on every path.
struct Listener {
    socket: *mut c_void,
    /// Its row of `WORKER_SOCKETS`.
    row: u32,
}

impl Listener {
    /// The socket of the worker that a connection belongs to; none if the slot is empty.
    #[inline(always)]
    fn of(segment: &Segment, entry: &GatewayPortEntry) -> Option<Self> {
        let worker = flow::worker(segment, entry.workers, entry.seed);
        let row = worker_socket(segment.headers.family, worker);
        let map = (&raw const WORKER_SOCKETS).cast_mut().cast();
        // SAFETY: the map is a sockmap with u32 keys.
        let socket = unsafe { bpf_map_lookup_elem(map, (&raw const row).cast()) };
        if socket.is_null() { None } else { Some(Self { socket, row }) }
    }

    /// Hands the packet over.
    #[inline(always)]
    fn take(self, skb: &Skb) -> PacketVerdict {
        // SAFETY: the context is the kernel's, the socket was found by `of`.
        let assigned = unsafe { bpf_sk_assign(skb.context.cast(), self.socket, 0) };
        if assigned == 0 { PacketVerdict::Steered } else { PacketVerdict::NoListener }
    }

    /// Leaves word that the packet's connection is to be handed over, once the kernel has ended the
    /// one before.
    #[inline(always)]
    fn take_later(self, segment: &Segment) -> PacketVerdict {
        if reopen::note(segment, self.row) {
            PacketVerdict::Steered
        } else {
            PacketVerdict::Established
        }
    }

    /// Whether an ACK answers a SYN cookie of this listener.
    #[inline(always)]
    fn sent_cookie(&self, skb: &Skb, segment: &Segment) -> bool {
        let length = match segment.headers.family {
            Family::V4 => IPV4_HEADER,
            Family::V6 => IPV6_HEADER,
        };
        let Some(network) = skb.frame.pointer(segment.headers.network, length as usize) else {
            return false;
        };
        let Some(transport) = skb.frame.pointer(segment.headers.transport, TCP_HEADER as usize)
        else {
            return false;
        };
        // SAFETY: the socket was found by `of`; `pointer` checked that the headers are there.
        let checked = unsafe {
            bpf_tcp_check_syncookie(
                self.socket,
                network.cast_mut(),
                length,
                transport.cast_mut().cast(),
                TCP_HEADER,
            )
        };
        checked == 0
    }
}

impl Drop for Listener {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: found by `of`, released once.
        unsafe { bpf_sk_release(self.socket) };
    }
}

/// What the kernel has for a segment's connection. A listener does not count.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Known {
    /// A socket, established, half open or closing.
    Open,
    /// The memory of a socket, which a new connection may end.
    TimeWait,
    /// Nothing.
    Not,
}

#[inline(always)]
fn known(skb: &Skb, segment: &Segment) -> Known {
    const IPV4_TUPLE: u32 = 12;
    const IPV6_TUPLE: u32 = 36;
    #[repr(C, align(8))]
    struct Tuple([u8; IPV6_TUPLE as usize]);
    // `struct bpf_sock_tuple` of either family, in one place: the stack is small.
    let mut tuple = MaybeUninit::<Tuple>::uninit();
    zero(&mut tuple);
    // SAFETY: bytes, all zero.
    let Tuple(tuple) = unsafe { tuple.assume_init_mut() };
    let (source_port, destination_port) =
        (segment.headers.source_port.to_be_bytes(), segment.headers.destination_port.to_be_bytes());
    let length = match segment.headers.family {
        Family::V4 => {
            tuple[..4].copy_from_slice(&last(segment.source));
            tuple[4..8].copy_from_slice(&last(segment.destination));
            tuple[8..10].copy_from_slice(&source_port);
            tuple[10..12].copy_from_slice(&destination_port);
            IPV4_TUPLE
        }
        Family::V6 => {
            tuple[..16].copy_from_slice(&segment.source);
            tuple[16..32].copy_from_slice(&segment.destination);
            tuple[32..34].copy_from_slice(&source_port);
            tuple[34..].copy_from_slice(&destination_port);
            IPV6_TUPLE
        }
    };
    socket(skb, (&raw const *tuple).cast(), length)
}

#[inline(always)]
fn socket(skb: &Skb, tuple: *const c_void, length: u32) -> Known {
    // SAFETY: the context is the kernel's; `tuple` has `length` bytes, which name its family. The
    // socket is read before its reference is given back.
    unsafe {
        let socket: *mut bpf_sock = bpf_skc_lookup_tcp(
            skb.context.cast(),
            tuple.cast_mut().cast(),
            length,
            i64::from(BPF_F_CURRENT_NETNS).cast_unsigned(),
            0,
        );
        if socket.is_null() {
            return Known::Not;
        }
        let state = ptr::read_volatile(&raw const (*socket).state);
        bpf_sk_release(socket.cast());
        match state {
            BPF_TCP_LISTEN => Known::Not,
            BPF_TCP_TIME_WAIT => Known::TimeWait,
            _ => Known::Open,
        }
    }
}

/// Whether the destination is an address of this node, or the node forwards nothing.
#[inline(always)]
fn is_local(skb: &Skb, segment: &Segment) -> bool {
    /// `struct bpf_fib_lookup` of the kernel.
    #[repr(C, align(8))]
    struct Route {
        family: u8,
        protocol: u8,
        source_port: u16,
        destination_port: u16,
        _length: u16,
        interface: u32,
        _flow: u32,
        source: [u8; 16],
        destination: [u8; 16],
        _rest: [u32; 4],
    }
    const ROUTE: i32 = 64;
    const _: () = assert!(size_of::<Route>() == ROUTE as usize);
    const AF_INET: u8 = 2;
    const AF_INET6: u8 = 10;
    const TCP: u8 = 6;
    let mut route = MaybeUninit::<Route>::uninit();
    zero(&mut route);
    // SAFETY: numbers, all zero.
    let route = unsafe { route.assume_init_mut() };
    route.family = AF_INET6;
    route.protocol = TCP;
    route.source_port = segment.headers.source_port.to_be();
    route.destination_port = segment.headers.destination_port.to_be();
    route.interface = skb.interface;
    // Filled in place: the stack is small.
    match segment.headers.family {
        Family::V4 => {
            route.family = AF_INET;
            route.source[..4].copy_from_slice(&segment.source[12..]);
            route.destination[..4].copy_from_slice(&segment.destination[12..]);
        }
        Family::V6 => {
            route.source = segment.source;
            route.destination = segment.destination;
        }
    }
    // SAFETY: the context is the kernel's, and `route` has the layout and the size it expects.
    let answer = unsafe { bpf_fib_lookup(skb.context.cast(), (&raw mut *route).cast(), ROUTE, 0) };
    // "Not forwarded" is the kernel's word for local.
    answer == i64::from(BPF_FIB_LKUP_RET_NOT_FWDED)
        || answer == i64::from(BPF_FIB_LKUP_RET_FWD_DISABLED)
}

/// Fills with zeros, word for word. Of an array of zeros the compiler makes a call of a loop over
/// bytes, which the verifier walks round by round, and every SYN too.
#[inline(always)]
fn zero<T>(value: &mut MaybeUninit<T>) {
    const { assert!(align_of::<T>() == align_of::<u64>()) };
    let words = value.as_mut_ptr().cast::<u64>();
    for at in 0..size_of::<T>() / size_of::<u64>() {
        // SAFETY: within `value`, which is aligned for words.
        unsafe { words.add(at).write_volatile(0) };
    }
}

/// The IPv4 address in an IPv4-mapped one.
#[inline(always)]
fn last(address: [u8; 16]) -> [u8; 4] {
    let [.., a, b, c, d] = address;
    [a, b, c, d]
}
