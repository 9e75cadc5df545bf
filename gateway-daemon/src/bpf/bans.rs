//! The maps of bans and of earned trust, open for writing: by the daemon, and by `gateway-daemon bans`
//! beside it or without it.

use std::net::IpAddr;
use std::path::Path;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use gateway_common::abi::map;
use gateway_common::bans::{Ban, BanMode, GuardSettings, SourceV4, SourceV6};
use gateway_common::budget::Earned;

use super::error::errno;
use super::{BpfError, pins};
use crate::model::ban::{BanModes, Rate, Source, SynBudget};
use crate::model::policy::Cidr;

/// The open maps of bans. Everything here works without privilege.
pub struct BanMaps {
    v4: HashMap<MapData, SourceV4, Ban>,
    v6: HashMap<MapData, SourceV6, Ban>,
    earned_v4: HashMap<MapData, SourceV4, Earned>,
    earned_v6: HashMap<MapData, SourceV6, Earned>,
    trusted_v4: LpmTrie<MapData, [u8; 4], u32>,
    trusted_v6: LpmTrie<MapData, [u8; 16], u32>,
    settings: Array<MapData, GuardSettings>,
}

impl BanMaps {
    /// Opens the pinned maps. Fails if there are none, or of another layout.
    pub fn open(directory: &Path) -> Result<Self, BpfError> {
        Ok(Self {
            v4: typed(directory, map::BANNED_SOURCES_V4, Map::HashMap)?,
            v6: typed(directory, map::BANNED_SOURCES_V6, Map::HashMap)?,
            earned_v4: typed(directory, map::EARNED_SOURCES_V4, Map::LruHashMap)?,
            earned_v6: typed(directory, map::EARNED_SOURCES_V6, Map::LruHashMap)?,
            trusted_v4: typed(directory, map::TRUSTED_SOURCES_V4, Map::LpmTrie)?,
            trusted_v6: typed(directory, map::TRUSTED_SOURCES_V6, Map::LpmTrie)?,
            settings: typed(directory, map::GUARD_SETTINGS, Map::Array)?,
        })
    }

    /// Says what is to be done about banned sources from now on.
    pub fn set_modes(&mut self, modes: BanModes) -> Result<(), BpfError> {
        self.change(|settings| {
            settings.ban_mode = modes.now as u32;
            settings.ban_mode_wanted = modes.wanted as u32;
        })
    }

    /// Limits new connections per source from now on; none: no longer.
    pub fn set_budget(&mut self, budget: Option<SynBudget>) -> Result<(), BpfError> {
        let rate = |Rate { per_second, burst }| {
            let cost = 1_000_000_000 / u64::from(per_second);
            (cost, cost * u64::from(burst))
        };
        let ((cost, burst), (earned_cost, more)) =
            budget.map_or_else(Default::default, |budget| (rate(budget.each), rate(budget.earned)));
        self.change(|settings| {
            settings.syn_cost = cost;
            settings.syn_burst = burst;
            settings.earned_cost = earned_cost;
            settings.earned_burst = burst + more;
        })
    }

    /// Gives a source the larger budget, up to a moment.
    pub fn earn(&mut self, source: Source, expires: u64) -> Result<(), BpfError> {
        let earned = Earned { expires };
        let (name, result) = match source {
            Source::V4(address) => {
                let key = SourceV4 { address: address.octets() };
                (map::EARNED_SOURCES_V4, self.earned_v4.insert(key, earned, 0))
            }
            Source::V6(prefix) => {
                (map::EARNED_SOURCES_V6, self.earned_v6.insert(SourceV6 { prefix }, earned, 0))
            }
        };
        result.map_err(|error| BpfError::map("write", name, error))
    }

    fn change(&mut self, change: impl FnOnce(&mut GuardSettings)) -> Result<(), BpfError> {
        let mut settings = self.settings()?;
        change(&mut settings);
        self.settings
            .set(0, settings, 0)
            .map_err(|error| BpfError::map("write", map::GUARD_SETTINGS, error))
    }

    fn settings(&self) -> Result<GuardSettings, BpfError> {
        self.settings.get(&0, 0).map_err(|error| BpfError::map("read", map::GUARD_SETTINGS, error))
    }

    /// What is done about banned sources.
    pub fn modes(&self) -> Result<BanModes, BpfError> {
        let settings = self.settings()?;
        let [now, wanted] = [settings.ban_mode, settings.ban_mode_wanted].map(BanMode::of);
        Ok(BanModes { now, wanted })
    }

    /// Bans a source, or writes its ban anew.
    pub fn insert(&mut self, source: Source, ban: Ban) -> Result<(), BpfError> {
        let (name, result) = match source {
            Source::V4(address) => {
                let key = SourceV4 { address: address.octets() };
                (map::BANNED_SOURCES_V4, self.v4.insert(key, ban, 0))
            }
            Source::V6(prefix) => {
                (map::BANNED_SOURCES_V6, self.v6.insert(SourceV6 { prefix }, ban, 0))
            }
        };
        result.map_err(|error| match errno(&error) {
            Some(libc::E2BIG) => BpfError::TooManyBans { map: name },
            _ => BpfError::map("write", name, error),
        })
    }

    /// Ends a ban. Answers whether there was one.
    pub fn remove(&mut self, source: Source) -> Result<bool, BpfError> {
        let (name, result) = match source {
            Source::V4(address) => {
                let key = SourceV4 { address: address.octets() };
                (map::BANNED_SOURCES_V4, self.v4.remove(&key))
            }
            Source::V6(prefix) => (map::BANNED_SOURCES_V6, self.v6.remove(&SourceV6 { prefix })),
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(BpfError::map("write", name, error)),
        }
    }

    /// Sources that the daemon trusts (`--trusted-source`), loopback among them.
    pub fn trusted(&self) -> Result<Vec<Cidr>, BpfError> {
        let mut all = blocks(map::TRUSTED_SOURCES_V4, &self.trusted_v4)?;
        all.extend(blocks(map::TRUSTED_SOURCES_V6, &self.trusted_v6)?);
        Ok(all)
    }

    /// Every ban, also those that are over, by source.
    pub fn list(&self) -> Result<Vec<(Source, Ban)>, BpfError> {
        let v4 = entries(map::BANNED_SOURCES_V4, &self.v4)?;
        let v4 = v4.into_iter().map(|(key, ban)| (Source::V4(key.address.into()), ban));
        let v6 = entries(map::BANNED_SOURCES_V6, &self.v6)?;
        let v6 = v6.into_iter().map(|(key, ban)| (Source::V6(key.prefix), ban));
        let mut all: Vec<_> = v4.chain(v6).collect();
        all.sort_unstable_by_key(|(source, _)| *source);
        Ok(all)
    }
}

fn typed<M>(
    directory: &Path,
    name: &'static str,
    kind: impl Fn(MapData) -> Map,
) -> Result<M, BpfError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let data = pins::pinned(directory, name)?;
    M::try_from(kind(data)).map_err(|error| BpfError::map("open", name, error))
}

/// Every entry of a hash. One that is removed meanwhile is left out.
fn entries<K: Pod>(
    name: &'static str,
    map: &HashMap<MapData, K, Ban>,
) -> Result<Vec<(K, Ban)>, BpfError> {
    let mut all = Vec::new();
    for key in map.keys() {
        let key = key.map_err(|error| BpfError::map("read", name, error))?;
        match map.get(&key, 0) {
            Ok(ban) => all.push((key, ban)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(BpfError::map("read", name, error)),
        }
    }
    Ok(all)
}

/// Every block of a trie.
fn blocks<K: Pod + Into<IpAddr>>(
    name: &'static str,
    trie: &LpmTrie<MapData, K, u32>,
) -> Result<Vec<Cidr>, BpfError> {
    let block = |key: Result<Key<K>, MapError>| {
        let key = key.map_err(|error| BpfError::map("read", name, error))?;
        let prefix = u8::try_from(key.prefix_len()).unwrap_or(u8::MAX);
        Ok(Cidr::block(key.data().into(), prefix))
    };
    trie.keys().map(block).collect()
}

fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound | MapError::ElementNotFound)
        || errno(error) == Some(libc::ENOENT)
}
