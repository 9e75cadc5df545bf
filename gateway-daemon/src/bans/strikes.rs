//! Strikes per source in a window.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::Suspects;
use crate::model::ban::Source;

/// Most sources that can have strikes at a time; a stranger with a prefix to himself could invent
/// any number.
const MOST_SOURCES: usize = 65_536;

/// Sources with strikes. A source's window begins with its first strike; when it is over, counting
/// begins anew.
#[derive(Debug)]
pub struct Strikes {
    threshold: u32,
    window: u64,
    sources: HashMap<Source, Count>,
    suspects: Arc<Suspects>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    began: u64,
    strikes: u32,
}

/// What a strike led to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Struck {
    /// It counts.
    Counted,
    /// It was the last one: so many within the window. Counting begins anew.
    Out(u32),
    /// Too many sources have strikes already; this one gets none.
    NoRoom,
}

impl Strikes {
    /// Nobody has any yet. Times are nanoseconds of one clock.
    pub fn new(threshold: u32, window: Duration, suspects: Arc<Suspects>) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self { threshold, window, sources: HashMap::new(), suspects }
    }

    /// A bad token.
    pub fn strike(&mut self, source: Source, now: u64) -> Struck {
        let full = self.sources.len() >= MOST_SOURCES;
        let strikes = match self.sources.entry(source) {
            Entry::Occupied(mut entry) => {
                let count = entry.get_mut();
                if now.saturating_sub(count.began) > self.window {
                    *count = Count { began: now, strikes: 0 };
                }
                count.strikes += 1;
                count.strikes
            }
            Entry::Vacant(_) if full => return Struck::NoRoom,
            Entry::Vacant(entry) => {
                self.suspects.add(source);
                entry.insert(Count { began: now, strikes: 1 }).strikes
            }
        };
        if strikes < self.threshold {
            return Struck::Counted;
        }
        self.forgive(source);
        Struck::Out(strikes)
    }

    /// A good token: what its source did before is forgotten. Answers whether there was anything.
    pub fn forgive(&mut self, source: Source) -> bool {
        let known = self.sources.remove(&source).is_some();
        if known {
            self.suspects.remove(source);
        }
        known
    }

    /// Forgets whose window is over.
    pub fn expire(&mut self, now: u64) {
        let Self { window, sources, suspects, .. } = self;
        sources.retain(|source, count| {
            let stays = now.saturating_sub(count.began) <= *window;
            if !stays {
                suspects.remove(*source);
            }
            stays
        });
    }

    /// Sources that have strikes.
    pub fn len(&self) -> usize {
        self.sources.len()
    }

    /// Whether nobody has any.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }
}
