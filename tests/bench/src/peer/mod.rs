//! The gateways that are compared. Each is configured to do the same: a bearer token must verify
//! wherever one is presented (401), protected paths need one (403), everything goes to one upstream.

mod envoy;
mod haproxy;
mod nginx;
mod ours;

use std::ffi::OsString;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::material::Material;

pub(crate) use ours::write_manifests;

/// A gateway of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Envoy, configured as Istio does.
    Envoy,
    /// Envoy that remembers as many tokens as this project does.
    EnvoyCache,
    /// HAProxy with its own token functions.
    Haproxy,
    /// nginx with LuaJIT and OpenSSL for tokens.
    NginxLua,
    /// nginx that reads no token: what a good proxy costs without any authentication.
    Nginx,
    /// Moves bytes and reads no HTTP: below this no proxy can be.
    Relay,
    /// This project, serving without its kernel half.
    Ours,
    /// This project with its kernel half.
    OursEbpf,
    /// This project with its access log, to a file.
    OursLog,
}

/// Programs that are started, where they are not on PATH.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Programs {
    /// Envoy.
    #[arg(long, default_value = "envoy")]
    pub(crate) envoy: PathBuf,
    /// The daemon of this project.
    #[arg(long)]
    pub(crate) daemon: PathBuf,
}

/// How much there is to look through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Rules of a policy, a path each.
    pub(crate) rules: usize,
    /// Policies, a rule each.
    pub(crate) policies: usize,
    /// Routes, a path prefix each.
    pub(crate) routes: usize,
}

impl Shape {
    /// One of each.
    pub(crate) const LEAST: Self = Self { rules: 1, policies: 1, routes: 1 };
}

/// Where a gateway is set up.
pub(crate) struct Site<'m> {
    /// Keys and certificate.
    pub(crate) material: &'m Material,
    /// Its own folder.
    pub(crate) folder: PathBuf,
    /// Where it listens.
    pub(crate) listen: IpAddr,
    /// Its plain port; TLS is one above, administration two.
    pub(crate) port: u16,
    /// Where requests go.
    pub(crate) upstream: SocketAddr,
    /// The interface that packets come in by.
    pub(crate) interface: String,
    /// How much there is to look through.
    pub(crate) shape: Shape,
}

impl Site<'_> {
    /// Its TLS port.
    pub(crate) fn tls_port(&self) -> u16 {
        self.port + 1
    }

    /// Its port for administration.
    pub(crate) fn admin_port(&self) -> u16 {
        self.port + 2
    }

    /// Writes a file of its configuration.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Shape {
    /// The paths that need a token, by policy and rule.
    pub(crate) fn protected(self) -> Vec<Vec<String>> {
        let path = |policy: usize, rule: usize| match (policy, rule) {
            (0, 0) => "/productpage".to_owned(),
            _ => format!("/protected/{policy}/{rule}"),
        };
        let rules = |policy| (0..self.rules).map(|rule| path(policy, rule)).collect();
        (0..self.policies).map(rules).collect()
    }
}

impl Peer {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Envoy => "envoy",
            Self::EnvoyCache => "envoy-cache",
            Self::Haproxy => "haproxy",
            Self::NginxLua => "nginx-lua",
            Self::Nginx => "nginx",
            Self::Relay => "relay",
            Self::Ours => "ours",
            Self::OursEbpf => "ours-ebpf",
            Self::OursLog => "ours-log",
        }
    }

    /// Whether it is this project.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::OursEbpf | Self::OursLog)
    }

    /// Whether it reads tokens.
    pub(crate) fn authenticates(self) -> bool {
        !matches!(self, Self::Nginx | Self::Relay)
    }

    /// Whether a token that was verified is known again.
    pub(crate) fn remembers_tokens(self) -> bool {
        self == Self::EnvoyCache || self.is_ours()
    }

    /// Whether it ends TLS.
    pub(crate) fn ends_tls(self) -> bool {
        self != Self::Relay
    }

    /// Writes its configuration and gives the command line that starts it.
    pub(crate) fn command(self, site: &Site<'_>, programs: &Programs) -> Result<Vec<OsString>> {
        fs::create_dir_all(&site.folder)
            .with_context(|| format!("cannot make {}", site.folder.display()))?;
        match self {
            Self::Envoy => envoy::command(site, &programs.envoy, 0),
            Self::EnvoyCache => envoy::command(site, &programs.envoy, ours::TOKEN_CACHE),
            Self::Haproxy => haproxy::command(site),
            Self::NginxLua => nginx::command(site, true),
            Self::Nginx => nginx::command(site, false),
            Self::Relay => {
                let own = std::env::current_exe().context("cannot tell where this program lies")?;
                let listen = SocketAddr::new(site.listen, site.port).to_string();
                let words = ["relay".to_owned(), listen, site.upstream.to_string()];
                Ok([own.into_os_string()].into_iter().chain(words.map(Into::into)).collect())
            }
            Self::Ours | Self::OursEbpf | Self::OursLog => {
                ours::command(site, &programs.daemon, self)
            }
        }
    }

    /// What it says of its version.
    pub(crate) fn version(self, programs: &Programs) -> Option<String> {
        let (program, flag): (&Path, _) = match self {
            Self::Envoy | Self::EnvoyCache => (&programs.envoy, "--version"),
            Self::Haproxy => (Path::new("haproxy"), "-v"),
            Self::Nginx | Self::NginxLua => (Path::new("nginx"), "-v"),
            Self::Relay => return None,
            Self::Ours | Self::OursEbpf | Self::OursLog => (&programs.daemon, "--version"),
        };
        let output = Command::new(program).arg(flag).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        let number = text.split([' ', '/', '\n', '-']).find(|word| {
            word.starts_with(|first: char| first.is_ascii_digit()) && word.contains('.')
        });
        number.map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_path_of_its_own() {
        let shape = Shape { rules: 2, policies: 2, routes: 1 };
        let expected = [["/productpage", "/protected/0/1"], ["/protected/1/0", "/protected/1/1"]];
        assert_eq!(shape.protected(), expected);
        assert_eq!(Shape::LEAST.protected(), [["/productpage"]]);
    }
}
