//! Addresses of Gateways that this node does not own: a local route for each makes it take their
//! packets (`--local-routes`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tracing::{info, warn};

use crate::model::attachment::LocalRoutes;
use crate::settings::Settings;
use crate::sys::route::{self, Destination, by_hand};
use crate::{bpf, clock};

/// The local routes of this daemon. Dropped, they are removed.
pub(super) struct Routes {
    wish: LocalRoutes,
    owner: u32,
    /// How long connections to an address that is no Gateway's any more may go on.
    grace: Duration,
    /// The routes that are ours, and when they go.
    held: BTreeMap<IpAddr, Option<Instant>>,
    /// Of these, the ones that were not there before.
    added: BTreeSet<IpAddr>,
    /// Another daemon has use for those that were there: one that we take over from, or that took
    /// over from us.
    shared: bool,
}

/// Who a route is of: daemons side by side have a pin directory each, and one that continues the
/// pins of an earlier layout has its routes too.
pub(super) fn owner(pin_directory: &Path) -> u32 {
    const TAG: u32 = 0x6700_0000;
    let lineage = bpf::lineage(pin_directory);
    let bytes = lineage.as_os_str().as_encoded_bytes();
    // FNV-1a, folded to the 24 bits below the tag.
    let hash = bytes
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    TAG | (hash >> 24 ^ hash & 0x00ff_ffff)
}

impl Routes {
    /// `beside`: another daemon serves, from which this one takes over.
    pub(super) fn new(settings: &Settings, beside: bool) -> Self {
        Self {
            wish: settings.local_routes,
            owner: owner(&settings.pin_directory),
            grace: settings.drain_timeout,
            held: BTreeMap::new(),
            added: BTreeSet::new(),
            shared: beside,
        }
    }

    /// Whether later readings may need the privilege to add routes.
    pub(super) fn need_privilege(&self) -> bool {
        match self.wish {
            LocalRoutes::Always => true,
            LocalRoutes::Auto => !self.held.is_empty(),
            LocalRoutes::Off => false,
        }
    }

    /// Makes this node take packets for addresses that are not its own.
    pub(super) fn open(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<()> {
        addresses.iter().try_for_each(|&address| self.open_one(address))
    }

    fn open_one(&mut self, address: IpAddr) -> Result<()> {
        if let Some(end) = self.held.get_mut(&address) {
            *end = None;
            return Ok(());
        }
        let failed = || format!("cannot look up the route of {address}");
        let by_hand = by_hand(address);
        match (route::destination(address).with_context(failed)?, self.wish) {
            (Destination::Local, _) => {
                // Our own, that an earlier daemon left, is ours to remove.
                if self.wish != LocalRoutes::Off && route::owned(self.owner)?.contains(&address) {
                    self.held.insert(address, None);
                }
                return Ok(());
            }
            (_, LocalRoutes::Off) => {
                warn!(%address, "not an address of this node: until it is, or `{by_hand}` was run, \
                      nothing arrives for it (--local-routes off)");
                return Ok(());
            }
            (Destination::OnLink, LocalRoutes::Auto) => {
                warn!(%address, "not an address of this node, but in a network that it is in, so \
                      that another node may have it: nothing arrives for it until an interface \
                      here has it, or `{by_hand}` was run; --local-routes always takes it");
                return Ok(());
            }
            (Destination::OnLink | Destination::Elsewhere, _) => {}
        }
        if let Err(error) = route::add(address, self.owner) {
            bail!(
                "{address} is not an address of this node, and a local route cannot be added \
                 ({error}): run `{by_hand}`, or start with CAP_NET_ADMIN and --local-routes always"
            );
        }
        info!(%address, "local route added: the node takes packets for this address");
        self.held.insert(address, None);
        self.added.insert(address);
        Ok(())
    }

    /// Removes the routes of addresses that are no Gateway's any more, once their connections had
    /// time to end.
    pub(super) fn keep(&mut self, wanted: &BTreeSet<IpAddr>) {
        let end = clock::monotonic() + self.grace;
        for (address, due) in &mut self.held {
            if !wanted.contains(address) {
                due.get_or_insert(end);
            }
        }
    }

    /// Removes what is due.
    pub(super) fn look(&mut self) {
        let now = clock::monotonic();
        let owner = self.owner;
        self.held.retain(|&address, due| {
            let over = due.is_some_and(|due| due <= now);
            if over {
                remove(address, owner);
            }
            !over
        });
    }

    /// Takes the routes of another daemon along, which go once the connections to their addresses
    /// had time to end.
    pub(super) fn inherit(&mut self) -> Result<()> {
        if !self.shared || self.wish == LocalRoutes::Off {
            return Ok(());
        }
        let end = clock::monotonic() + self.grace;
        for address in route::owned(self.owner).context("cannot list local routes")? {
            self.held.entry(address).or_insert(Some(end));
        }
        Ok(())
    }

    /// All routes are ours from here on.
    pub(super) fn commit(&mut self) {
        self.shared = false;
    }

    /// Leaves the routes to a successor.
    pub(super) fn leave(&mut self) {
        self.added.clear();
        self.shared = true;
    }
}

impl Drop for Routes {
    fn drop(&mut self) {
        let others = |address: &&IpAddr| self.shared && !self.added.contains(address);
        self.held.keys().filter(|address| !others(address)).for_each(|&at| remove(at, self.owner));
    }
}

fn remove(address: IpAddr, owner: u32) {
    match route::remove(address, owner) {
        Ok(()) => info!(%address, "local route removed"),
        Err(error) => warn!(%address, %error, "the local route stays"),
    }
}

/// Removes every route that a daemon with this pin directory left. Answers of which addresses.
pub(super) fn unload(pin_directory: &Path) -> Result<Vec<IpAddr>> {
    let owner = owner(pin_directory);
    let left = route::owned(owner).context("cannot list local routes")?;
    for &address in &left {
        route::remove(address, owner)
            .with_context(|| format!("cannot remove the local route of {address}"))?;
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_differ_by_their_pin_directory() {
        let owner = |path| owner(Path::new(path));
        let [a, b] = ["/sys/fs/bpf/gateway/v3", "/sys/fs/bpf/other/v2"].map(owner);
        assert_ne!(a, b);
        assert_eq!(a, owner("/sys/fs/bpf/gateway/v2"), "which it continues");
        assert_eq!((a >> 24, b >> 24), (0x67, 0x67));
    }
}
