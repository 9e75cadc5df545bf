//! The kernel half: program entry points. Each reads its context, asks the pure half, counts.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet pointers, map pointers and kernel helpers")]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows bounds within a function; a call would lose them"
)]
#![expect(clippy::needless_pass_by_value, reason = "the entry macros pass contexts by value")]

mod budget;
mod clock;
mod count;
mod events;
mod guard;
mod maps;
mod packet;
mod ports;
mod reopen;
mod steer;

use aya_ebpf::bindings::{TC_ACT_UNSPEC, sk_action, xdp_action};
use aya_ebpf::macros::{classifier, sk_lookup, xdp};
use aya_ebpf::programs::{SkLookupContext, TcContext, XdpContext};
use gateway_common::hook::Hook;
use gateway_common::verdict::PacketVerdict;
use gateway_ebpf::parse::{Parsed, parse};

use crate::count::Count;
use crate::packet::{Frame, Skb};

/// Drops packets to gateway ports from denied and banned sources, and SYNs beyond a source's budget,
/// before the kernel allocates for them.
///
/// Without `frags`: with it, generic XDP rebuilds packets and forgets the length of their link
/// layer (Linux 6.18), so that TC ingress behind it sees them without their Ethernet header.
#[xdp]
fn gateway_xdp(context: XdpContext) -> u32 {
    let frame = Frame::of_xdp(&context);
    let mut count = Count::new(Hook::Xdp, frame.length() as u64);
    let verdict = match parse(&frame) {
        Parsed::Tcp(headers) => match ports::destination(&frame, &headers) {
            Some(found) => {
                count.listener = found.entry.listener;
                guard::judge(&found.segment)
            }
            None => PacketVerdict::Other,
        },
        rest => without_port(rest),
    };
    count.verdict(verdict);
    match verdict {
        PacketVerdict::DeniedSource | PacketVerdict::BannedSource | PacketVerdict::SynLimited => {
            xdp_action::XDP_DROP
        }
        _ => xdp_action::XDP_PASS,
    }
}

/// Hands new connections to a worker's socket.
#[classifier]
fn gateway_ingress(context: TcContext) -> i32 {
    let (skb, parsed) = Skb::read(&context);
    let mut count = Count::new(Hook::TcIngress, skb.length);
    let verdict = match parsed {
        Parsed::Tcp(headers) => {
            count.segments(skb.segments, &headers);
            match ports::destination(&skb.frame, &headers) {
                Some(found) => {
                    let verdict = steer::arrived(&skb, &found);
                    if verdict != PacketVerdict::Other {
                        count.listener = found.entry.listener;
                    }
                    verdict
                }
                None => PacketVerdict::Other,
            }
        }
        rest => without_port(rest),
    };
    count.verdict(verdict);
    TC_ACT_UNSPEC
}

/// Counts what leaves a gateway port, for its listener and for its path.
#[classifier]
fn gateway_egress(context: TcContext) -> i32 {
    let (skb, parsed) = Skb::read(&context);
    let mut count = Count::new(Hook::TcEgress, skb.length);
    let verdict = match parsed {
        Parsed::Tcp(headers) => {
            count.segments(skb.segments, &headers);
            match ports::source(&skb.frame, &headers) {
                Some(found) => {
                    count.listener = found.entry.listener;
                    count.path(&found.segment);
                    PacketVerdict::Passed
                }
                None => PacketVerdict::Other,
            }
        }
        rest => without_port(rest),
    };
    count.verdict(verdict);
    TC_ACT_UNSPEC
}

/// Finds the worker of a connection that is being reopened. All other lookups are the kernel's.
#[sk_lookup]
fn gateway_lookup(context: SkLookupContext) -> u32 {
    reopen::answer(context.lookup);
    sk_action::SK_PASS
}

#[inline(always)]
fn without_port(parsed: Parsed) -> PacketVerdict {
    match parsed {
        Parsed::Fragment => PacketVerdict::Fragment,
        Parsed::Unparsed => PacketVerdict::Unparsed,
        Parsed::Other | Parsed::Tcp(_) => PacketVerdict::Other,
    }
}

/// What the kernel asks for before it allows helpers of GPL code.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
