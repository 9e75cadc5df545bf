//! Network namespaces and veth pairs of a test's own, removed when dropped.

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::shell::run;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network namespace with `lo` up.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one; needs root.
    pub fn new() -> Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("gwt-{}-{number}", std::process::id());
        run("ip", &["netns", "add", &name])
            .context("making a network namespace needs root: run `cargo xtask test`")?;
        let netns = Self { name };
        netns.ip(&["link", "set", "lo", "up"])?;
        Ok(netns)
    }

    /// The file that stands for it.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(arguments);
        run("ip", &all)
    }

    /// Runs a command inside; bpffs stays visible, which `ip netns exec` would hide.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let net = format!("--net={}", self.path());
        let mut all = vec![net.as_str(), "--", program];
        all.extend(arguments);
        run("nsenter", &all)
    }

    /// Runs `work` on a thread inside; sockets made there stay inside.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let file = File::open(self.path()).context("the namespace is gone")?;
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&file, CloneFlags::CLONE_NEWNET)
                    .context("entering a namespace needs root")?;
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Err(error) = run("ip", &["netns", "delete", &self.name]) {
            eprintln!("cannot delete namespace {}: {error:#}", self.name);
        }
    }
}

/// A client and a gateway in namespaces of their own, joined by a veth pair:
/// client `10.77.0.2`, `10.78.0.2`, `fd77::2`; gateway `10.77.0.1`, `10.78.0.1`, `fd77::1`.
#[derive(Debug)]
pub struct Pair {
    /// The client's side; its interface is `c0`.
    pub client: Netns,
    /// The gateway's side; its interface is `g0`.
    pub gateway: Netns,
}

impl Pair {
    /// Makes both and joins them.
    pub fn new() -> Result<Self> {
        let pair = Self { client: Netns::new()?, gateway: Netns::new()? };
        pair.lay()?;
        Ok(pair)
    }

    /// Joins both again after `g0` was deleted, which took `c0` with it.
    pub fn lay(&self) -> Result<()> {
        self.cable("c0", "g0", &["10.77.0.", "10.78.0.", "fd77::"])
    }

    /// Joins both by a cable, with addresses `2` of the client and `1` of the gateway in each of
    /// these nets.
    pub fn cable(&self, client: &str, gateway: &str, nets: &[&str]) -> Result<()> {
        let peer = self.gateway.name.as_str();
        let ends = ["link", "add", client, "type", "veth", "peer", "name", gateway];
        self.client.ip(&[&ends[..], &["netns", peer]].concat())?;
        for (netns, interface, host) in [(&self.client, client, "2"), (&self.gateway, gateway, "1")]
        {
            netns.ip(&["link", "set", interface, "up"])?;
            for net in nets {
                let (length, nodad) =
                    if net.contains(':') { ("64", &["nodad"][..]) } else { ("24", &[][..]) };
                let address = format!("{net}{host}/{length}");
                netns.ip(&[&["addr", "add", &address, "dev", interface], nodad].concat())?;
            }
        }
        Ok(())
    }
}
