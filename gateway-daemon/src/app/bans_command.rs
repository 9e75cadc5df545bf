//! `gateway-daemon bans`: the pinned bans, also while the daemon is down.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use gateway_common::bans::{Ban, BanMode, BanReason};
use serde_json::json;

use crate::bans::exempt;
use crate::bpf::BanMaps;
use crate::cli::bans::{AddBanArgs, BansCommand};
use crate::clock;
use crate::counters::Grid;
use crate::model::ban::{BanModes, Source};
use crate::sys::addresses;

const NANOSECONDS: u64 = 1_000_000_000;

/// Does what the command line says.
pub(super) fn run(command: BansCommand) -> Result<ExitCode> {
    match command {
        BansCommand::List(arguments) => {
            let listing = Listing::read(&BanMaps::open(&arguments.pin.pin_directory)?)?;
            println!("{}", if arguments.json { listing.json() } else { listing.table() });
        }
        BansCommand::Add(arguments) => add(&arguments)?,
        BansCommand::Remove(arguments) => {
            let source = arguments.source;
            if !BanMaps::open(&arguments.pin.pin_directory)?.remove(source)? {
                eprintln!("{source} is not banned: `gateway-daemon bans list` shows what is");
                return Ok(ExitCode::FAILURE);
            }
            println!("{source} is banned no longer");
        }
        BansCommand::Clear(arguments) => {
            let mut maps = BanMaps::open(&arguments.pin.pin_directory)?;
            let all = maps.list()?;
            for (source, _) in &all {
                maps.remove(*source)?;
            }
            println!("removed {} bans", all.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(arguments: &AddBanArgs) -> Result<()> {
    let source = arguments.source;
    if exempt(source, &arguments.trusted_source) {
        bail!("{source} is loopback or a --trusted-source, which is never banned");
    }
    let own = addresses::own().context("cannot read the node's addresses")?;
    if let Some(address) = own.iter().find(|address| source.contains(**address)) {
        bail!("{source} holds {address}, which is the node's own and never banned");
    }
    let mut maps = BanMaps::open(&arguments.pin.pin_directory)?;
    if exempt(source, &maps.trusted()?) {
        bail!(
            "{source} is a --trusted-source of the daemon, which is never banned; to drop it \
             nevertheless, use `run --deny-source`"
        );
    }
    let since = clock::since_boot();
    let duration = u64::try_from(arguments.duration.as_nanos()).unwrap_or(u64::MAX);
    let expires = since.saturating_add(duration);
    let reason = BanReason::Manual as u32;
    maps.insert(source, Ban { expires, since, packets: 0, strikes: 0, reason })?;
    println!("{source} is banned for {} s", arguments.duration.as_secs_f64());
    let remark = match maps.modes()? {
        BanModes { now: BanMode::Enforce, .. } => return Ok(()),
        BanModes { wanted: BanMode::Enforce, .. } => "enforcing is suspended (--ban-max-share)",
        BanModes { now: BanMode::Audit, .. } => "bans are in audit mode; see `run --bans enforce`",
        BanModes { now: BanMode::Off, .. } => "bans are off; see `run --bans enforce`",
    };
    eprintln!("its packets are not dropped: {remark}");
    Ok(())
}

/// What `bans list` shows.
struct Listing {
    modes: BanModes,
    /// Those in force.
    bans: Vec<(Source, Ban)>,
    /// Nanoseconds since boot.
    now: u64,
    /// The same moment, in seconds since the Unix epoch.
    unix: u64,
}

impl Listing {
    fn read(maps: &BanMaps) -> Result<Self> {
        let now = clock::since_boot();
        let mut bans = maps.list()?;
        bans.retain(|(_, ban)| ban.expires > now);
        Ok(Self { modes: maps.modes()?, bans, now, unix: clock::unix_now().0 })
    }

    fn table(&self) -> String {
        let BanModes { now, wanted } = self.modes;
        let mut out = format!("bans: {}", wanted.word());
        if now != wanted {
            out += ", suspended (--ban-max-share)";
        }
        // Writing to a String does not fail.
        let _written = writeln!(out, ", {} in force", self.bans.len());
        let head = ["source", "reason", "strikes", "packets", "since", "remaining"];
        let mut grid = Grid::new(&head);
        for (source, ban) in &self.bans {
            grid.row([
                source.to_string(),
                reason(*ban),
                ban.strikes.to_string(),
                ban.packets.to_string(),
                self.time(ban.since),
                format!("{} s", self.remaining(*ban)),
            ]);
        }
        if !self.bans.is_empty() {
            grid.write(&mut out);
        }
        out.trim_end().to_owned()
    }

    fn json(&self) -> String {
        let ban = |(source, ban): &(Source, Ban)| {
            json!({
                "source": source.to_string(),
                "reason": reason(*ban),
                "strikes": ban.strikes,
                "packets": ban.packets,
                "since": self.time(ban.since),
                "expires": self.time(ban.expires),
                "remaining_seconds": self.remaining(*ban),
            })
        };
        let value = json!({
            "mode": self.modes.wanted.word(),
            "suspended": self.modes.now != self.modes.wanted,
            "bans": self.bans.iter().map(ban).collect::<Vec<_>>(),
        });
        format!("{value:#}")
    }

    /// Whole seconds, rounded up.
    fn remaining(&self, ban: Ban) -> u64 {
        ban.expires.saturating_sub(self.now).div_ceil(NANOSECONDS)
    }

    /// A moment of the programs' clock, RFC 3339.
    fn time(&self, moment: u64) -> String {
        let ahead = moment.saturating_sub(self.now) / NANOSECONDS;
        let ago = self.now.saturating_sub(moment) / NANOSECONDS;
        let unix = self.unix.saturating_add(ahead).saturating_sub(ago);
        let time = i64::try_from(unix).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
        time.unwrap_or(jiff::Timestamp::MAX).to_string()
    }
}

fn reason(ban: Ban) -> String {
    BanReason::of(ban.reason).map_or_else(|| ban.reason.to_string(), |r| r.word().to_owned())
}
