//! Where a packet was seen.

/// A hook: where in the kernel's packet path a program runs. The number is the row group in
/// `PACKET_COUNTERS`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum Hook {
    /// The XDP program, before the kernel allocates a socket buffer.
    Xdp = 0,
    /// The TC program on ingress, which steers.
    TcIngress = 1,
    /// The TC program on egress, which counts.
    TcEgress = 2,
}

impl Hook {
    /// Every hook, in the order of its number.
    pub const ALL: [Self; 3] = [Self::Xdp, Self::TcIngress, Self::TcEgress];

    /// The word for this hook in metrics, tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::TcIngress => "tc_ingress",
            Self::TcEgress => "tc_egress",
        }
    }
}
