//! Words about how the kernel half is attached: flags of `run` and of `doctor`.

use clap::{Args, ValueEnum};

use crate::model::attachment::{LocalRoutes, TcOrder, XdpPlace, XdpWish};

/// `--xdp`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum XdpWord {
    /// On every interface, or nothing starts.
    Require,
    /// Where it can be attached; elsewhere no source is dropped, and the log says so.
    Auto,
    /// Nowhere: no source is dropped.
    Off,
}

/// `--xdp-mode`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum XdpModeWord {
    /// Native where a driver takes it, else generic.
    Best,
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// Behind the driver: on every interface.
    Generic,
}

/// `--tc-order`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum TcOrderWord {
    /// Before the TC programs that are there already.
    First,
    /// Behind them.
    Last,
}

/// `--local-routes`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum LocalRoutesWord {
    /// A local route for each, unless another node of the same network may have the address.
    Auto,
    /// A local route for each.
    Always,
    /// None: you see to it that packets arrive.
    Off,
}

/// How the kernel half is attached.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Attaching")]
pub struct AttachArgs {
    /// Whether XDP, which drops sources, has to be attached.
    #[arg(
        long,
        value_enum,
        value_name = "WHETHER",
        default_value = "require",
        env = "GATEWAY_XDP"
    )]
    pub xdp: XdpWord,
    /// Where XDP runs.
    #[arg(long, value_enum, value_name = "MODE", default_value = "best", env = "GATEWAY_XDP_MODE")]
    pub xdp_mode: XdpModeWord,
    /// Where our TC programs stand among those of others on the same interface.
    #[arg(
        long,
        value_enum,
        value_name = "ORDER",
        default_value = "last",
        env = "GATEWAY_TC_ORDER"
    )]
    pub tc_order: TcOrderWord,
    /// What is done about addresses of Gateways that this node does not own.
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        env = "GATEWAY_LOCAL_ROUTES"
    )]
    pub local_routes: LocalRoutesWord,
}

impl AttachArgs {
    /// Whether XDP has to run.
    pub fn xdp(self) -> XdpWish {
        match self.xdp {
            XdpWord::Require => XdpWish::Require,
            XdpWord::Auto => XdpWish::Auto,
            XdpWord::Off => XdpWish::Off,
        }
    }

    /// Where XDP should run.
    pub fn place(self) -> XdpPlace {
        match self.xdp_mode {
            XdpModeWord::Best => XdpPlace::Best,
            XdpModeWord::Native => XdpPlace::Native,
            XdpModeWord::Generic => XdpPlace::Generic,
        }
    }

    /// What is done about addresses that this node does not own.
    pub fn local_routes(self) -> LocalRoutes {
        match self.local_routes {
            LocalRoutesWord::Auto => LocalRoutes::Auto,
            LocalRoutesWord::Always => LocalRoutes::Always,
            LocalRoutesWord::Off => LocalRoutes::Off,
        }
    }

    /// Where our TC programs stand.
    pub fn order(self) -> TcOrder {
        match self.tc_order {
            TcOrderWord::First => TcOrder::First,
            TcOrderWord::Last => TcOrder::Last,
        }
    }
}
