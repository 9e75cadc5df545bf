//! Contexts and packet memory: bounds-checked reads between `data` and `data_end`. All pointer
//! arithmetic on packets is here.

use core::hint::black_box;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::bpf_skb_pull_data;
use aya_ebpf::programs::{TcContext, XdpContext};
use gateway_ebpf::parse::{Bytes, Parsed, extensions, parse};

/// Headers we may want to read: Ethernet, two tags, IPv6 and some extension headers, TCP.
const HEADERS: u32 = 256;

/// No offset of an IP header is greater: all bits of it are in here.
const MOST_NETWORK: usize = 0xff;
/// No offset of a TCP header or of its payload is greater, after six extension headers of two KiB.
const MOST_TRANSPORT: usize = 0x3fff;

/// The part of a packet that can be read in place.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    data: usize,
    end: usize,
    context: Context,
}

/// Where it comes from.
#[derive(Clone, Copy)]
enum Context {
    Xdp(*mut xdp_md),
    Skb(*mut __sk_buff),
}

impl Frame {
    /// The packet of an XDP context.
    #[inline(always)]
    pub(crate) fn of_xdp(context: &XdpContext) -> Self {
        Self::of_md(context.ctx)
    }

    #[inline(always)]
    fn of_md(context: *mut xdp_md) -> Self {
        // SAFETY: the kernel passes a valid context. Volatile, because the compiler may otherwise
        // merge context reads into forms that the verifier refuses.
        let (data, end) =
            unsafe { (read(&raw const (*context).data), read(&raw const (*context).data_end)) };
        Self { data: data as usize, end: end as usize, context: Context::Xdp(context) }
    }

    #[inline(always)]
    fn of_skb(context: *mut __sk_buff) -> Self {
        // SAFETY: as in `of_xdp`.
        let (data, end) =
            unsafe { (read(&raw const (*context).data), read(&raw const (*context).data_end)) };
        Self { data: data as usize, end: end as usize, context: Context::Skb(context) }
    }

    /// A pointer to `length` bytes at `offset`, if they are there.
    #[inline(always)]
    pub(crate) fn pointer(&self, offset: usize, length: usize) -> Option<*const c_void> {
        let start = self.data + offset;
        if start + length > self.end {
            return None;
        }
        Some(start as *const c_void)
    }

    /// Its bytes.
    #[inline(always)]
    pub(crate) fn length(&self) -> usize {
        self.end - self.data
    }
}

impl Bytes for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let pointer = self.pointer(offset, N)?;
        // SAFETY: `pointer` checked that N bytes follow; bytes need no alignment.
        Some(unsafe { *pointer.cast() })
    }

    #[inline(always)]
    fn behind_extensions(&self, next: u8, offset: usize) -> Option<(u8, usize)> {
        let start = Walk::pack(next, offset);
        let end = match self.context {
            Context::Xdp(context) => gateway_xdp_v6(context, start),
            Context::Skb(context) => gateway_skb_v6(context, start),
        };
        Walk::unpack(end)
    }
}

/// An extension header or protocol of IPv6 and where it begins, as one number: what a function that
/// the verifier looks at by itself may take and answer.
struct Walk;

impl Walk {
    /// What is answered where the packet ends before.
    const TRUNCATED: u64 = u64::MAX;

    #[inline(always)]
    fn pack(next: u8, offset: usize) -> u64 {
        (offset as u64) << 8 | u64::from(next)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "it was put together from both")]
    fn unpack(walk: u64) -> Option<(u8, usize)> {
        if walk == Self::TRUNCATED {
            return None;
        }
        // The mask is for the verifier. The compiler would leave it out, as it knows what is answered.
        Some((walk as u8, black_box(walk >> 8) as usize & MOST_TRANSPORT))
    }

    #[inline(always)]
    fn on(frame: &Frame, start: u64) -> u64 {
        let Some((next, offset)) = Self::unpack(start) else { return Self::TRUNCATED };
        match extensions(frame, next, offset & MOST_NETWORK) {
            Some((next, offset)) => Self::pack(next, offset),
            None => Self::TRUNCATED,
        }
    }
}

/// Walks the extension headers of a packet at XDP.
///
/// Not inlined, and visible, so that the verifier looks at it once, by itself (a global function):
/// it would else walk six headers for every way to get there.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gateway_xdp_v6(context: *mut xdp_md, start: u64) -> u64 {
    Walk::on(&Frame::of_md(context), start)
}

/// The same at TC.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gateway_skb_v6(context: *mut __sk_buff, start: u64) -> u64 {
    Walk::on(&Frame::of_skb(context), start)
}

/// What TC programs read from their context.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    /// The context itself.
    pub(crate) context: *mut __sk_buff,
    /// The packet.
    pub(crate) frame: Frame,
    /// Its bytes, link-layer header included.
    pub(crate) length: u64,
    /// The segments that it stands for; at least one.
    pub(crate) segments: u64,
    /// The interface it is on.
    pub(crate) interface: u32,
}

impl Skb {
    /// Reads context and headers. Headers that are not in the linear part are pulled into it.
    #[inline(always)]
    pub(crate) fn read(context: &TcContext) -> (Self, Parsed) {
        let context: *mut __sk_buff = context.as_ptr().cast();
        // SAFETY: the kernel passes a valid context; see `Frame::of_xdp` for why volatile.
        let (length, segments, interface) = unsafe {
            (
                read(&raw const (*context).len),
                read(&raw const (*context).gso_segs),
                read(&raw const (*context).ifindex),
            )
        };
        let mut skb = Self {
            context,
            frame: Frame::of_skb(context),
            length: u64::from(length),
            segments: u64::from(segments.max(1)),
            interface,
        };
        let mut pulled = false;
        // A loop, so that the parser is there once: its values would else stand on the stack twice.
        loop {
            let parsed = parse(&skb.frame);
            if pulled || parsed != Parsed::Unparsed || skb.frame.length() >= length as usize {
                skb.frame = Frame::of_skb(context);
                return (skb, skb.forget(parsed));
            }
            let wanted = if length < HEADERS { length } else { HEADERS };
            // SAFETY: the context is the kernel's; the old frame is not used after this.
            let _pulled = unsafe { bpf_skb_pull_data(context, wanted) };
            skb.frame = Frame::of_skb(context);
            pulled = true;
        }
    }
}

impl Skb {
    /// Makes the verifier forget which offsets it has seen, by a detour through the scratch space of
    /// the context. It would follow all that comes after once per number of tags, options and
    /// extension headers: many times the work, whenever a program is loaded.
    #[inline(always)]
    fn forget(&self, parsed: Parsed) -> Parsed {
        let Parsed::Tcp(mut headers) = parsed else { return parsed };
        headers.network = self.detour(0, headers.network) & MOST_NETWORK;
        headers.transport = self.detour(1, headers.transport) & MOST_TRANSPORT;
        headers.payload = self.detour(2, headers.payload) & MOST_TRANSPORT;
        Parsed::Tcp(headers)
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "packets are shorter")]
    fn detour(&self, word: usize, offset: usize) -> usize {
        // SAFETY: the context is the kernel's, and has five words for the program's own use.
        unsafe {
            let scratch = &raw mut (*self.context).cb[word];
            scratch.write_volatile(offset as u32);
            scratch.read_volatile() as usize
        }
    }
}

/// # Safety
///
/// `field` must be a field of a valid context.
#[inline(always)]
unsafe fn read(field: *const u32) -> u32 {
    // SAFETY: by contract.
    unsafe { field.read_volatile() }
}
