//! How the kernel half is attached to interfaces: what the operator wishes, and what came of it.

/// Whether XDP has to run (`--xdp`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum XdpWish {
    /// On every interface, or nothing starts.
    #[default]
    Require,
    /// Where it can be attached; elsewhere no source is dropped.
    Auto,
    /// Nowhere.
    Off,
}

/// Where XDP should run (`--xdp-mode`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum XdpPlace {
    /// In the driver where there is one that takes it, else after the kernel made a socket buffer.
    #[default]
    Best,
    /// In the driver, or not at all.
    Native,
    /// After the kernel made a socket buffer.
    Generic,
}

/// Where our TC programs stand among those of others on the same hook (`--tc-order`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TcOrder {
    /// Before those that are there already.
    First,
    /// Behind them.
    #[default]
    Last,
}

/// What is done about addresses of Gateways that this node does not own (`--local-routes`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LocalRoutes {
    /// A local route for each, unless it is in a network that this node is in: then another node
    /// may have it.
    #[default]
    Auto,
    /// A local route for each.
    Always,
    /// None; the operator sees to it.
    Off,
}

/// How XDP runs on an interface.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XdpMode {
    /// In the driver, before a socket buffer exists.
    Native,
    /// After the kernel made a socket buffer: `lo`, virtual interfaces, drivers without XDP.
    Generic,
    /// Not at all.
    Absent,
}

impl XdpMode {
    /// The word in tables, metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Absent => "absent",
        }
    }
}

/// How TC programs are attached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TcMode {
    /// TCX links, from Linux 6.6.
    #[default]
    Tcx,
    /// Filters of a clsact queueing discipline: removed by a netlink request.
    Clsact,
}

impl TcMode {
    /// The word in tables, metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// What was attached to an interface.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// Its number; 0 while there is none, or nothing could be attached.
    pub index: u32,
    /// How XDP runs there.
    pub xdp: XdpMode,
    /// How TC is attached.
    pub tc: TcMode,
}

impl Attachment {
    /// Whether packets of the interface run through the programs.
    pub const fn is_there(&self) -> bool {
        self.index != 0
    }
}
