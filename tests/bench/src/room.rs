//! A network namespace for a gateway, joined to ours by a veth pair, with an upstream inside.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::{Launch, Process};
use crate::{clock, field, shell};

/// The interface inside.
const INSIDE: &str = "g0";

/// The namespace lives as long as a process that does nothing in it.
pub(crate) struct Room {
    /// The upstream inside.
    pub(crate) upstream: Process,
    holder: Process,
    address: IpAddr,
}

impl Room {
    /// Makes the room of a number.
    pub(crate) fn new(number: u8, core: usize, folder: &Path) -> Result<Self> {
        let words = ["unshare", "--net", "sleep", "infinity"].map(Into::into).to_vec();
        let holder = Launch::new("room", core, words).start()?;
        wait_for_its_own(&holder.namespace())?;
        let namespace = holder.namespace();
        let outside = format!("v{number}");
        let pid = holder.pid().to_string();
        let [ours, theirs] = [1, 2].map(|host| format!("10.77.{number}.{host}/24"));
        let pair = ["link", "add", &outside, "type", "veth", "peer", "name", INSIDE, "netns", &pid];
        shell::run("ip", &pair).context("making a veth pair")?;
        shell::run("ip", &["addr", "add", &ours, "dev", &outside])?;
        shell::run("ip", &["link", "set", &outside, "up"])?;
        let enter = format!("--net={}", namespace.display());
        let inside = |words: &[&str]| {
            shell::run("nsenter", &[&[enter.as_str(), "--", "ip"], words].concat())
        };
        inside(&["addr", "add", &theirs, "dev", INSIDE])?;
        inside(&["link", "set", INSIDE, "up"])?;
        inside(&["link", "set", "lo", "up"])?;
        let upstream = field::launch_upstream(core, folder, Some(namespace))?;
        let address = IpAddr::V4(Ipv4Addr::new(10, 77, number, 2));
        Ok(Self { upstream, holder, address })
    }

    /// Where a gateway in it listens.
    pub(crate) fn address(&self) -> IpAddr {
        self.address
    }

    /// The interface by which its packets come in.
    #[expect(clippy::unused_self, reason = "a question to a room, though all answer alike")]
    pub(crate) fn interface(&self) -> &str {
        INSIDE
    }

    /// The file that stands for the namespace.
    pub(crate) fn namespace(&self) -> PathBuf {
        self.holder.namespace()
    }
}

fn wait_for_its_own(namespace: &Path) -> Result<()> {
    let own = std::fs::read_link("/proc/self/ns/net").context("/proc/self/ns/net")?;
    for _ in 0..1_000 {
        if std::fs::read_link(namespace).is_ok_and(|found| found != own) {
            return Ok(());
        }
        clock::pause(5);
    }
    bail!("a room gets no network namespace")
}
