//! Contexts and packet memory: bounds-checked reads between `data` and `data_end`. All pointer
//! arithmetic on packets is here.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::bpf_skb_pull_data;
use aya_ebpf::programs::{TcContext, XdpContext};
use gateway_ebpf::parse::{Bytes, Parsed, parse};

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
}

impl Frame {
    /// The packet of an XDP context.
    #[inline(always)]
    pub(crate) fn of_xdp(context: &XdpContext) -> Self {
        let context: *const xdp_md = context.ctx;
        // SAFETY: the kernel passes a valid context. Volatile, because the compiler may otherwise
        // merge context reads into forms that the verifier refuses.
        let (data, end) =
            unsafe { (read(&raw const (*context).data), read(&raw const (*context).data_end)) };
        Self { data: data as usize, end: end as usize }
    }

    #[inline(always)]
    fn of_skb(context: *const __sk_buff) -> Self {
        // SAFETY: as in `of_xdp`.
        let (data, end) =
            unsafe { (read(&raw const (*context).data), read(&raw const (*context).data_end)) };
        Self { data: data as usize, end: end as usize }
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
    /// The mark of its socket.
    pub(crate) mark: u32,
    /// The interface it is on.
    pub(crate) interface: u32,
}

impl Skb {
    /// Reads context and headers. Headers that are not in the linear part are pulled into it.
    #[inline(always)]
    pub(crate) fn read(context: &TcContext) -> (Self, Parsed) {
        let context: *mut __sk_buff = context.as_ptr().cast();
        // SAFETY: the kernel passes a valid context; see `Frame::of_xdp` for why volatile.
        let (length, segments, mark, interface) = unsafe {
            (
                read(&raw const (*context).len),
                read(&raw const (*context).gso_segs),
                read(&raw const (*context).mark),
                read(&raw const (*context).ifindex),
            )
        };
        let mut skb = Self {
            context,
            frame: Frame::of_skb(context),
            length: u64::from(length),
            segments: u64::from(segments.max(1)),
            mark,
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
