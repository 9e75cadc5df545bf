//! Words about bans: flags of `run`, and `gateway-daemon bans`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use gateway_common::bans::BanMode;

use super::{PinArgs, parse_cidr, parse_seconds};
use crate::model::ban::{Rate, Source, SynBudget};
use crate::model::policy::Cidr;
use crate::settings::Bans;

/// `--bans`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum BansWord {
    /// Count no strikes, drop nothing.
    Off,
    /// Ban, count packets of banned sources, drop none.
    Audit,
    /// Ban, drop packets of banned sources.
    Enforce,
}

/// Flags of `run` about bans.
#[derive(Args, Debug)]
#[command(next_help_heading = "Bans")]
pub struct BanArgs {
    /// What is done about sources that keep presenting forged or malformed tokens.
    #[arg(long, value_enum, value_name = "MODE", default_value = "audit", env = "GATEWAY_BANS")]
    pub bans: BansWord,
    /// Forged or malformed tokens within the window that ban their source.
    #[arg(long, value_name = "N", default_value_t = 20, env = "GATEWAY_BAN_THRESHOLD", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub ban_threshold: u32,
    /// Seconds in which they have to come.
    #[arg(long, value_name = "SECONDS", default_value = "60", env = "GATEWAY_BAN_WINDOW", value_parser = parse_seconds)]
    pub ban_window: Duration,
    /// Seconds that a ban lasts.
    #[arg(long, value_name = "SECONDS", default_value = "600", env = "GATEWAY_BAN_DURATION", value_parser = parse_seconds)]
    pub ban_duration: Duration,
    /// Bans at a time; further sources are not banned.
    #[arg(long, value_name = "N", default_value_t = 10_000, env = "GATEWAY_BAN_MAX_ENTRIES", value_parser = clap::value_parser!(u32).range(1..=i64::from(gateway_common::abi::MAX_BANNED_SOURCES)))]
    pub ban_max_entries: u32,
    /// Percent of the packets to gateway ports that may be of banned sources; while there are more,
    /// none is dropped. 100: no cap.
    #[arg(long, value_name = "PERCENT", default_value_t = 90, env = "GATEWAY_BAN_MAX_SHARE", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub ban_max_share: u8,
    /// Address or CIDR that is never banned, such as a proxy's or a health check's (repeatable).
    #[arg(long, value_name = "CIDR", env = "GATEWAY_TRUSTED_SOURCE", value_delimiter = ',', value_parser = parse_cidr)]
    pub trusted_source: Vec<Cidr>,
    /// New connections per second that a source may open; 0: as many as it likes.
    #[arg(long, value_name = "N", default_value_t = 0, env = "GATEWAY_SYN_RATE", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub syn_rate: u32,
    /// New connections that a source may open at once [default: twice --syn-rate].
    #[arg(long, value_name = "N", env = "GATEWAY_SYN_BURST", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub syn_burst: Option<u32>,
    /// New connections per second, on top, of a source that presented a good token lately
    /// [default: ten times --syn-rate].
    #[arg(long, value_name = "N", env = "GATEWAY_EARNED_SYN_RATE", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub earned_syn_rate: Option<u32>,
    /// New connections at once, on top, of such a source [default: twice --earned-syn-rate].
    #[arg(long, value_name = "N", env = "GATEWAY_EARNED_SYN_BURST", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub earned_syn_burst: Option<u32>,
    /// Seconds for which a good token gives its source the larger budget.
    #[arg(long, value_name = "SECONDS", default_value = "300", env = "GATEWAY_EARNED_DURATION", value_parser = parse_seconds)]
    pub earned_duration: Duration,
}

impl BanArgs {
    fn budget(&self) -> Option<SynBudget> {
        let rate = |per_second: u32, burst: Option<u32>| Rate {
            per_second,
            burst: burst.unwrap_or_else(|| per_second.saturating_mul(2)),
        };
        let earned = self.earned_syn_rate.unwrap_or_else(|| self.syn_rate.saturating_mul(10));
        (self.syn_rate > 0).then(|| SynBudget {
            each: rate(self.syn_rate, self.syn_burst),
            earned: rate(earned, self.earned_syn_burst),
        })
    }

    /// Proxies that may speak for clients are trusted with the others: their addresses stand for many.
    pub(super) fn settings(self, proxies: &[Cidr]) -> Bans {
        Bans {
            mode: match self.bans {
                BansWord::Off => BanMode::Off,
                BansWord::Audit => BanMode::Audit,
                BansWord::Enforce => BanMode::Enforce,
            },
            threshold: self.ban_threshold,
            window: self.ban_window,
            duration: self.ban_duration,
            max_entries: self.ban_max_entries,
            max_share: self.ban_max_share,
            budget: self.budget(),
            earned_duration: self.earned_duration,
            trusted: [&self.trusted_source, proxies].concat(),
        }
    }
}

/// `gateway-daemon bans`.
#[derive(Debug, Subcommand)]
pub enum BansCommand {
    /// Print the bans in force.
    List(ListBansArgs),
    /// Ban a source, or write its ban anew.
    Add(AddBanArgs),
    /// End the ban of a source; exits 1 if there is none.
    Remove(RemoveBanArgs),
    /// End every ban.
    Clear(ClearBansArgs),
}

/// Arguments of `bans list`.
#[derive(Args, Debug)]
pub struct ListBansArgs {
    /// Where.
    #[command(flatten)]
    pub pin: PinArgs,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `bans add`.
#[derive(Args, Debug)]
pub struct AddBanArgs {
    /// IPv4 address, or IPv6 address for its /64.
    #[arg(value_name = "SOURCE", value_parser = parse_source)]
    pub source: Source,
    /// Seconds that it lasts.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = parse_seconds)]
    pub duration: Duration,
    /// Address or CIDR that is never banned, as `run` has it (repeatable).
    #[arg(long, value_name = "CIDR", env = "GATEWAY_TRUSTED_SOURCE", value_delimiter = ',', value_parser = parse_cidr)]
    pub trusted_source: Vec<Cidr>,
    /// Where.
    #[command(flatten)]
    pub pin: PinArgs,
}

/// Arguments of `bans remove`.
#[derive(Args, Debug)]
pub struct RemoveBanArgs {
    /// IPv4 address, or IPv6 address for its /64.
    #[arg(value_name = "SOURCE", value_parser = parse_source)]
    pub source: Source,
    /// Where.
    #[command(flatten)]
    pub pin: PinArgs,
}

/// Arguments of `bans clear`.
#[derive(Args, Debug)]
pub struct ClearBansArgs {
    /// Where.
    #[command(flatten)]
    pub pin: PinArgs,
}

fn parse_source(text: &str) -> Result<Source, String> {
    Source::parse(text).map_err(|error| error.to_string())
}
