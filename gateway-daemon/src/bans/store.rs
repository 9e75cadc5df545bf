//! Where bans are written.

use std::collections::BTreeMap;
use std::error::Error;

use gateway_common::bans::Ban;

use crate::model::ban::{BanModes, Source, SynBudget};

/// Why a store cannot be read or written.
pub type StoreError = Box<dyn Error + Send + Sync>;

/// Where bans are written: the kernel half's maps, or memory where there is no kernel half.
pub trait Store: Send {
    /// Says what is to be done about banned sources.
    fn set_modes(&mut self, modes: BanModes) -> Result<(), StoreError>;
    /// Limits new connections per source; none: no longer.
    fn set_budget(&mut self, budget: Option<SynBudget>) -> Result<(), StoreError>;
    /// Bans a source.
    fn insert(&mut self, source: Source, ban: Ban) -> Result<(), StoreError>;
    /// Ends a ban, if there is one.
    fn remove(&mut self, source: Source) -> Result<bool, StoreError>;
    /// Gives a source the larger budget of connections, up to a moment.
    fn earn(&mut self, source: Source, expires: u64) -> Result<(), StoreError>;
    /// Every ban, also those that are over.
    fn list(&self) -> Result<Vec<(Source, Ban)>, StoreError>;
}

/// For `--datapath off`: bans are known, and nothing is dropped.
#[derive(Debug, Default)]
pub struct MemoryStore(BTreeMap<Source, Ban>);

impl Store for MemoryStore {
    fn set_modes(&mut self, _: BanModes) -> Result<(), StoreError> {
        Ok(())
    }

    fn set_budget(&mut self, _: Option<SynBudget>) -> Result<(), StoreError> {
        Ok(())
    }

    fn insert(&mut self, source: Source, ban: Ban) -> Result<(), StoreError> {
        self.0.insert(source, ban);
        Ok(())
    }

    fn remove(&mut self, source: Source) -> Result<bool, StoreError> {
        Ok(self.0.remove(&source).is_some())
    }

    fn earn(&mut self, _: Source, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn list(&self) -> Result<Vec<(Source, Ban)>, StoreError> {
        Ok(self.0.iter().map(|(source, ban)| (*source, *ban)).collect())
    }
}
