//! The one final word on a packet or a request.

/// The one final word on a packet at one hook.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum PacketVerdict {
    /// Not TCP for a gateway port (on egress: from one): passed on untouched.
    Other = 0,
    /// For a gateway port and passed on (XDP: not denied; TC egress: sent by the gateway).
    Passed = 1,
    /// TC ingress: handed to a worker's listening socket.
    Steered = 2,
    /// TC ingress: does not start a connection, or its connection exists already: left to the
    /// kernel's ordinary lookup.
    Established = 3,
    /// Dropped: the source is in the static deny list.
    DeniedSource = 4,
    /// Announced as IP, but truncated, malformed, or deeper than the parser looks (more than two
    /// VLAN tags, more than six IPv6 extension headers): passed on.
    Unparsed = 5,
    /// A fragment, the first one too: passed on, reassembled behind the hook.
    Fragment = 6,
    /// For a gateway port, but no worker could take it: passed on, the kernel answers.
    NoListener = 7,
    /// Dropped: the source is banned for a while.
    BannedSource = 8,
    /// Passed on, though the source is banned: bans are in audit mode, or enforcing is suspended.
    BanAudit = 9,
    /// Dropped: it opens a connection, and its source has no budget left.
    SynLimited = 10,
}

impl PacketVerdict {
    /// Every packet verdict, in the order of its number.
    pub const ALL: [Self; 11] = [
        Self::Other,
        Self::Passed,
        Self::Steered,
        Self::Established,
        Self::DeniedSource,
        Self::Unparsed,
        Self::Fragment,
        Self::NoListener,
        Self::BannedSource,
        Self::BanAudit,
        Self::SynLimited,
    ];

    /// The word for this verdict in metrics, tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Passed => "passed",
            Self::Steered => "steered",
            Self::Established => "established",
            Self::DeniedSource => "denied_source",
            Self::Unparsed => "unparsed",
            Self::Fragment => "fragment",
            Self::NoListener => "no_listener",
            Self::BannedSource => "banned_source",
            Self::BanAudit => "ban_audit",
            Self::SynLimited => "syn_limited",
        }
    }
}

/// The one final word on a request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum RequestVerdict {
    /// Permitted and answered by the upstream.
    Allowed = 0,
    /// A token was present and refused (401, or 403 for its audience).
    Unauthenticated = 1,
    /// Policy refused it (403).
    Denied = 2,
    /// Permitted, but no route matches (404).
    NotFound = 3,
    /// Malformed framing or head (400, 408, 421, 431, 505): never decided.
    BadRequest = 4,
    /// Refused by a limit of the gateway (429, 503).
    Limited = 5,
    /// The upstream could not be reached, or answered with broken HTTP (502, 503).
    UpstreamError = 6,
    /// The upstream did not answer in time (504).
    UpstreamTimeout = 7,
    /// The configuration names no usable backend (500).
    NoBackend = 8,
    /// The client went away before the answer was complete.
    Aborted = 9,
}

impl RequestVerdict {
    /// Every request verdict, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Allowed,
        Self::Unauthenticated,
        Self::Denied,
        Self::NotFound,
        Self::BadRequest,
        Self::Limited,
        Self::UpstreamError,
        Self::UpstreamTimeout,
        Self::NoBackend,
        Self::Aborted,
    ];

    /// The word for this verdict in metrics, tables and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::NotFound => "not_found",
            Self::BadRequest => "bad_request",
            Self::Limited => "limited",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::NoBackend => "no_backend",
            Self::Aborted => "aborted",
        }
    }
}
