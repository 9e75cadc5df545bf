//! HAProxy, a real one, in front of the gateway.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::netns::Netns;
use crate::patience;

/// A running HAProxy. Dropped, it is killed.
#[derive(Debug)]
pub struct Haproxy {
    child: Child,
    directory: TempDir,
}

impl Haproxy {
    /// Starts one in a namespace with these `listen` sections, and waits until it listens at each of
    /// these addresses.
    pub fn start(netns: &Netns, sections: &str, addresses: &[SocketAddr]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let config = directory.path().join("haproxy.cfg");
        let text = format!(
            "global\n  nbthread 1\n  maxconn 500\n\ndefaults\n  timeout connect 10s\n  \
             timeout client 60s\n  timeout server 60s\n\n{sections}"
        );
        std::fs::write(&config, text)?;
        let log = || File::create(directory.path().join("log"));
        let net = format!("--net={}", netns.path());
        let child = Command::new("nsenter")
            .args([&net, "--", "haproxy", "-db", "-f"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log()?)
            .spawn()
            .context("cannot start haproxy: `cargo xtask setup` installs what tests need")?;
        let mut proxy = Self { child, directory };
        for address in addresses {
            proxy.listens(netns, *address)?;
        }
        Ok(proxy)
    }

    fn listens(&mut self, netns: &Netns, address: SocketAddr) -> Result<()> {
        let up = patience::until(|| {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            let connected = netns.inside(|| Ok(TcpStream::connect(address).is_ok()));
            matches!(connected, Ok(true)).then_some(Ok(()))
        });
        let log = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        match up {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => bail!("haproxy ended with {status}:\n{}", log()),
            None => bail!("haproxy does not listen at {address}:\n{}", log()),
        }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("cannot end haproxy: {error}");
        }
    }
}
