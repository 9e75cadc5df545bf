//! Open connections per listener port, by the first port of a range: a gauge of this process, not a
//! counter in a map.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Open connections per listener port, counted over all workers.
#[derive(Clone, Debug)]
pub struct Gauge(Arc<[AtomicU32]>);

impl Default for Gauge {
    fn default() -> Self {
        Self((0..=u16::MAX).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Gauge {
    /// Takes a place, unless `most` are taken.
    pub fn enter(&self, port: u16, most: u32) -> Option<Place> {
        let place = Place { gauge: self.clone(), port };
        // The place is given back by its drop, also where it is over the limit.
        (self.0[usize::from(port)].fetch_add(1, Ordering::Relaxed) < most).then_some(place)
    }

    /// Connections open now on a port.
    pub fn open(&self, port: u16) -> u32 {
        self.0[usize::from(port)].load(Ordering::Relaxed)
    }
}

/// A connection's place in the gauge, given back on drop.
#[derive(Debug)]
pub struct Place {
    gauge: Gauge,
    port: u16,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.0[usize::from(self.port)].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_places_back() {
        let gauge = Gauge::default();
        let first = gauge.enter(80, 1);
        assert!(first.is_some());
        assert!(gauge.enter(80, 1).is_none());
        assert!(gauge.enter(81, 1).is_some(), "ports do not share places");
        assert_eq!(gauge.open(80), 1);
        drop(first);
        assert_eq!(gauge.open(80), 0);
        assert!(gauge.enter(80, 1).is_some());
    }
}
