//! What most tests stand on: a client and a gateway in namespaces, an origin beside the gateway,
//! the demo issuer, `/productpage` protected.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use gateway_tests::curl::{Answer, curl};
use gateway_tests::daemon::{Daemon, Start};
use gateway_tests::manifests::{self, Manifests};
use gateway_tests::netns::Pair;
use gateway_tests::origin::{self, Origin};
use gateway_tests::raw::{Client, Response};

/// The gateway's addresses as the client sees them.
pub(crate) const HTTP: &str = "http://10.77.0.1:8080";
pub(crate) const HTTPS: &str = "https://gw.example.test:8443";

/// A running gateway and all around it.
pub(crate) struct Setting {
    pub(crate) daemon: Daemon,
    pub(crate) origin: Origin,
    pub(crate) manifests: Manifests,
    /// The gateway's certificate, for `--cacert`.
    pub(crate) certificate: PathBuf,
    pub(crate) pair: Arc<Pair>,
}

/// How a setting differs from the usual one.
pub(crate) struct Options<'o> {
    pub(crate) arguments: &'o [&'o str],
    pub(crate) answer: Option<Arc<origin::Answer>>,
    pub(crate) interfaces: &'o [&'o str],
    /// More manifests, by file.
    pub(crate) files: &'o [(&'o str, String)],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { arguments: &[], answer: None, interfaces: &["g0", "lo"], files: &[] }
    }
}

/// The usual setting.
pub(crate) fn setting() -> Result<Setting> {
    Options::default().start()
}

impl Options<'_> {
    /// Starts everything.
    pub(crate) fn start(self) -> Result<Setting> {
        let pair = Arc::new(Pair::new()?);
        let origin = match self.answer {
            Some(answer) => Origin::start(Some(&pair.gateway), answer)?,
            None => Origin::echo(Some(&pair.gateway))?,
        };
        let manifests = Manifests::new()?;
        let (secret, pem) = manifests::certificate("https", &["gw.example.test"])?;
        let listeners = manifests::http_listener("http", 8080)
            + &manifests::https_listener("https", 8443, None);
        manifests.write("base.yaml", &manifests::base(&listeners, origin.address))?;
        manifests.write("secret.yaml", &secret)?;
        manifests.write("policy.yaml", &policy()?)?;
        for (name, text) in self.files {
            manifests.write(name, text)?;
        }
        let certificate = manifests.path().join("certificate.pem");
        std::fs::write(&certificate, pem)?;
        let mut arguments = vec!["--workers", "2"];
        if !self.arguments.contains(&"--admin") {
            arguments.extend(["--admin", "off"]);
        }
        for interface in self.interfaces {
            arguments.extend(["--interface", interface]);
        }
        arguments.extend(self.arguments);
        let start =
            Start { netns: Some(&pair.gateway), config: manifests.path(), arguments: &arguments };
        Ok(Setting { daemon: start.ready()?, origin, manifests, certificate, pair })
    }
}

impl Setting {
    /// curl in the client's namespace.
    pub(crate) fn curl(&self, arguments: &[&str]) -> Result<Answer> {
        curl(Some(&self.pair.client), arguments)
    }

    /// curl over TLS, knowing the gateway's name and certificate.
    pub(crate) fn curl_tls(&self, arguments: &[&str]) -> Result<Answer> {
        let certificate = self.certificate.to_str().context("path is not UTF-8")?;
        let mut all = vec!["--cacert", certificate, "--resolve", "gw.example.test:8443:10.77.0.1"];
        all.extend(arguments);
        self.curl(&all)
    }

    /// A raw connection from the client's namespace to the HTTP port.
    pub(crate) fn connect(&self) -> Result<Client> {
        self.connect_to(SocketAddr::from(([10, 77, 0, 1], 8080)))
    }

    /// A raw connection from the client's namespace.
    pub(crate) fn connect_to(&self, address: SocketAddr) -> Result<Client> {
        self.pair.client.inside(|| Client::connect(address))
    }

    /// One raw exchange on a connection of its own.
    pub(crate) fn exchange(&self, bytes: &str) -> Result<Response> {
        self.connect()?.exchange(bytes.as_bytes(), false)
    }

    /// Requests by verdict, summed over paths, once `requests` are counted.
    pub(crate) fn verdicts(
        &self,
        requests: u64,
    ) -> Result<serde_json::Map<String, serde_json::Value>> {
        self.daemon.until(&format!("{requests} counted requests"), || {
            let stats = self.daemon.stats().ok()?;
            let sum = sum_verdicts(&stats);
            (count(&sum) >= requests).then_some(sum)
        })
    }
}

/// Sums the verdicts of every path.
pub(crate) fn sum_verdicts(
    stats: &serde_json::Value,
) -> serde_json::Map<String, serde_json::Value> {
    let mut sum = serde_json::Map::new();
    for path in stats["paths"].as_array().into_iter().flatten() {
        for (verdict, count) in path["verdicts"].as_object().into_iter().flatten() {
            let before = sum.get(verdict).and_then(serde_json::Value::as_u64).unwrap_or(0);
            sum.insert(verdict.clone(), (before + count.as_u64().unwrap_or(0)).into());
        }
    }
    sum
}

/// The sum of a map of counts.
pub(crate) fn count(counts: &serde_json::Map<String, serde_json::Value>) -> u64 {
    counts.values().filter_map(serde_json::Value::as_u64).sum()
}

/// RequestAuthentication of the demo issuer, and `/productpage` protected.
pub(crate) fn policy() -> Result<String> {
    manifests::workspace_file("examples/quickstart/security.yaml")
        .map(|text| text.replace("name: quickstart", "name: ingress"))
}

/// Istio's demo token.
pub(crate) fn token() -> Result<String> {
    Ok(manifests::workspace_file("examples/quickstart/demo.jwt")?.trim().to_owned())
}
