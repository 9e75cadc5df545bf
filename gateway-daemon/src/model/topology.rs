//! What stands in front of a Gateway, and whose word is taken for who its clients are.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::policy::Cidr;

/// Proxies in front of a Gateway (Istio `gatewayTopology`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Topology {
    /// Proxies whose entries in `X-Forwarded-For` are believed; 0: the header is nobody's word.
    pub trusted_proxies: u32,
    /// Every connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Topology {
    /// Whether anybody in front is believed.
    pub fn trusts(self) -> bool {
        self.trusted_proxies > 0 || self.proxy_protocol
    }
}

/// Who may speak for clients on this node.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Arc<[Cidr]>);

impl Proxies {
    /// Those in any of these blocks.
    pub fn new(blocks: &[Cidr]) -> Self {
        Self(blocks.into())
    }

    /// Whether nobody may.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address may.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.canonical().contains(address))
    }
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal;)+) => {
        /// Why a connection that has to begin with a PROXY header was closed.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum ProxyFault { $($(#[doc = $doc])+ $name,)+ }

        impl ProxyFault {
            /// Every fault.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word for it in metrics and logs.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

faults! {
    /// The peer may not speak for clients.
    Untrusted = "untrusted_peer";
    /// The connection begins with something else.
    Missing = "missing";
    /// It begins like a header, and is none.
    Malformed = "malformed";
    /// It is longer than a header may be.
    TooLong = "too_long";
    /// It was not complete in time.
    Timeout = "timeout";
    /// The peer closed before it was complete.
    Closed = "closed";
}

/// Connections closed for want of a PROXY header, by why. Counted since the daemon started.
#[derive(Debug, Default)]
pub struct ProxyFaults([AtomicU64; ProxyFault::ALL.len()]);

impl ProxyFaults {
    /// One more.
    pub fn add(&self, fault: ProxyFault) {
        self.0[fault as usize].fetch_add(1, Relaxed);
    }

    /// So far.
    pub fn get(&self, fault: ProxyFault) -> u64 {
        self.0[fault as usize].load(Relaxed)
    }
}
