//! What every connection answers, for TC egress to read.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use gateway_common::abi::map;
use gateway_common::flow::{End, FlowPath};
use gateway_common::path::PathSlot;

use super::RegionError;
use crate::sys::mmap::Mapping;

/// The mapped array `FLOW_PATHS`. Cheap to clone; every worker writes.
#[derive(Clone, Debug)]
pub struct FlowPaths(Arc<Mapping>);

impl FlowPaths {
    /// Takes the array.
    pub fn new(mapping: Mapping) -> Result<Self, RegionError> {
        let (map, words, unit) = (map::FLOW_PATHS, mapping.words().len(), FlowPath::ROWS as usize);
        if words != unit {
            return Err(RegionError::Size { map, words, unit, unit_name: "table" });
        }
        Ok(Self(Arc::new(mapping)))
    }

    /// A connection's place, where nothing is said yet.
    pub fn flow(&self, client: SocketAddr, gateway: SocketAddr) -> Flow {
        let flow = Flow { paths: self.clone(), place: FlowPath::of(end(client), end(gateway)) };
        // Of an earlier connection with the same ends.
        if flow.place.is_own(flow.cell().load(Relaxed)) {
            flow.cell().store(0, Relaxed);
        }
        flow
    }
}

/// A connection, as TC egress finds it.
#[derive(Debug)]
pub struct Flow {
    paths: FlowPaths,
    place: FlowPath,
}

impl Flow {
    /// What the connection sends from here on answers a request of this path.
    pub fn answer(&self, path: PathSlot, permitted: bool) {
        self.cell().store(self.place.word(path, permitted), Relaxed);
    }

    fn cell(&self) -> &std::sync::atomic::AtomicU64 {
        &self.paths.0.words()[self.place.row as usize]
    }
}

fn end(address: SocketAddr) -> End {
    let octets = match address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    (octets, address.port())
}
