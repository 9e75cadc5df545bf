//! Bans: sources whose packets to gateway ports are dropped for a while.
//!
//! Times are nanoseconds of `CLOCK_BOOTTIME`. The program compares them itself, so that a ban ends
//! also where no daemon runs.

/// Key of `BANNED_SOURCES_V4`: one address.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct SourceV4 {
    /// In network order.
    pub address: [u8; 4],
}

/// Key of `BANNED_SOURCES_V6`: a /64, which is what one host is given and can move about in.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(C)]
pub struct SourceV6 {
    /// The first 64 bits of the address, in network order.
    pub prefix: [u8; 8],
}

/// Value of `BANNED_SOURCES_V4` and `BANNED_SOURCES_V6`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct Ban {
    /// When it ends.
    pub expires: u64,
    /// When it began.
    pub since: u64,
    /// Packets that it met, dropped or only counted. Written by the program without a lock: of two
    /// CPUs that count at the same moment one may be lost. `PACKET_COUNTERS` is exact.
    pub packets: u64,
    /// Strikes that led to it; 0 if an operator made it.
    pub strikes: u32,
    /// A [`BanReason`].
    pub reason: u32,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal, $word:literal;)+) => {
        /// Why a source is banned.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[repr(u32)]
        pub enum BanReason { $($(#[doc = $doc])+ $name = $number,)+ }

        impl BanReason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word for this reason in tables, metrics and logs.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The reason of a number.
            pub const fn of(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

reasons! {
    /// An operator said so.
    Manual = 0, "manual";
    /// Tokens whose signature the key that they name does not bear out.
    TokenSignature = 1, "token_signature";
    /// Tokens that are none.
    TokenMalformed = 2, "token_malformed";
    /// Tokens whose `alg` is missing, `none`, or not supported.
    TokenAlgorithm = 3, "token_algorithm";
    /// Tokens with a registered claim of the wrong type.
    TokenClaimType = 4, "token_claim_type";
}

/// What is done about packets of banned sources.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum BanMode {
    /// Nothing; they are not looked up.
    Off = 0,
    /// They are counted and passed.
    Audit = 1,
    /// They are dropped.
    Enforce = 2,
}

impl BanMode {
    /// The word for this mode on the command line and in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        }
    }

    /// The mode of a number; what is no mode drops nothing.
    pub const fn of(number: u32) -> Self {
        match number {
            1 => Self::Audit,
            2 => Self::Enforce,
            _ => Self::Off,
        }
    }
}

/// The row of `GUARD_SETTINGS`: what the program is to do, as the daemon says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct GuardSettings {
    /// A [`BanMode`]: the one in force, which is `Audit` while enforcing is suspended.
    pub ban_mode: u32,
    /// The [`BanMode`] that the operator asked for.
    pub ban_mode_wanted: u32,
    /// Nanoseconds that a new connection takes from its source's budget; 0: no budgets.
    pub syn_cost: u64,
    /// Nanoseconds that a source may owe.
    pub syn_burst: u64,
    /// What a connection takes from the larger budget of a source with earned trust.
    pub earned_cost: u64,
    /// Nanoseconds that such a source may owe, the smaller budget included.
    pub earned_burst: u64,
}

/// Where the bit of a source stands in `DENY_FILTER`: by its first sixteen bits, for IPv6 by its first
/// thirty-two, folded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DenyFilter {
    /// Row of the map.
    pub row: u32,
    /// Position of the bit.
    pub shift: u32,
}

impl DenyFilter {
    /// Rows of the map: 65,536 bits per family, 64 to a row.
    pub const ROWS: u32 = 2 * Self::FAMILY;
    /// Rows of a family: those of IPv4 come first.
    pub const FAMILY: u32 = 1_024;

    /// The place of an IPv4 address with these first bits.
    pub const fn v4(first: u16) -> Self {
        Self { row: first as u32 / 64, shift: first as u32 % 64 }
    }

    /// The place of an IPv6 address with these first bits.
    pub const fn v6(first: u16, second: u16) -> Self {
        let Self { row, shift } = Self::v4(first ^ second);
        Self { row: row + Self::FAMILY, shift }
    }
}
