//! What is measured: a table of scenarios, the gateways of each, and what this project wants to
//! reach.

use crate::material::Tokens;
use crate::peer::{Peer, Shape};

use Peer::{Envoy, EnvoyCache, Haproxy, Nginx, NginxLua, Ours, OursEbpf, OursLog, Relay};

/// A path without protection; the upstream answers 195 bytes.
pub(crate) const FREE: &str = "/api/v1/products/1";
/// A path that needs a token; 4,294 bytes.
pub(crate) const PROTECTED: &str = "/productpage";
/// A path without protection; 1 MiB.
pub(crate) const LARGE: &str = "/1m";

/// One line of the comparison.
pub(crate) struct Scenario {
    /// Its name.
    pub(crate) id: &'static str,
    /// What happens, in a few words.
    pub(crate) what: &'static str,
    /// How it is measured.
    pub(crate) kind: Kind,
    /// Who takes part.
    pub(crate) entries: Vec<Entry>,
    /// What is to be reached.
    pub(crate) goals: Vec<Goal>,
}

/// A gateway in a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Which.
    pub(crate) peer: Peer,
    /// How it is configured.
    pub(crate) shape: Shape,
    /// What tells it from others of the same peer: the number in `shape`, where there are several.
    pub(crate) size: Option<usize>,
    /// Whether it is there already, and takes part again.
    pub(crate) again: bool,
}

impl Entry {
    /// With one of everything.
    fn plain(peer: Peer) -> Self {
        Self { peer, shape: Shape::LEAST, size: None, again: false }
    }

    /// One of several sizes.
    fn sized(peer: Peer, shape: Shape, size: usize) -> Self {
        Self { peer, shape, size: Some(size), again: false }
    }

    /// Its name in tables.
    pub(crate) fn name(&self) -> String {
        let name = self.peer.name();
        let size = self.size.map(|size| format!(" @{size}")).unwrap_or_default();
        let again = if self.again { " again" } else { "" };
        format!("{name}{size}{again}")
    }
}

/// How a scenario is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// CPU time per request; gateways take turns.
    Turns(Traffic),
    /// The same on veth pairs, a network namespace for each gateway.
    TurnsOnVeth(Traffic),
    /// CPU time per token, each token once, processes started anew for each round.
    Once(Traffic),
    /// Memory of idle connections.
    Memory,
    /// Time from start to the first answer.
    Start,
    /// What clients notice of reloads.
    Reload,
}

/// What is asked, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// The load generator.
    pub(crate) tool: Tool,
    /// Over TLS.
    pub(crate) tls: bool,
    /// The path of every request.
    pub(crate) path: &'static str,
    /// What tokens are presented.
    pub(crate) tokens: Tokens,
    /// The status of every answer.
    pub(crate) status: u16,
}

/// A load generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// 64 connections that stay.
    Wrk,
    /// 64 connections that end with their answer.
    WrkClosing,
    /// HTTP/2: connections, and streams on each.
    H2load(u32, u32),
    /// Full handshakes, or resumed ones.
    Handshakes {
        /// Resume sessions.
        resume: bool,
    },
}

/// What one gateway is to reach, against others in the same run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goal {
    /// Whose figure: a name in the table.
    pub(crate) of: &'static str,
    /// Against whose, the best of them; nobody's, for a figure by itself.
    pub(crate) against: &'static [&'static str],
    /// Which figure.
    pub(crate) figure: Figure,
    /// The bound of the ratio, or of the figure.
    pub(crate) bound: Bound,
}

/// On which side of the bound it has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
}

/// A kind of figure, one per round.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// CPU microseconds of the gateway per request.
    Cpu,
    /// Gigabytes per CPU second of the gateway.
    Volume,
    /// CPU microseconds of gateway, load generator and upstream together per request.
    AllCpu,
    /// KiB of memory per idle connection.
    PerConnection,
    /// Memory some seconds after all connections ended, in parts of what it was before them.
    GivenBack,
    /// MiB of memory before any connection.
    Idle,
    /// Milliseconds from start to the first answer.
    Start,
    /// Requests that got no answer, or another one than 200.
    Lost,
    /// The 99th percentile during reloads, in parts of that without.
    ReloadTail,
    /// Milliseconds that a reload takes.
    ReloadTime,
}

const NO_TOKEN_READ: &[Peer] = &[Envoy, Haproxy, NginxLua, Nginx, Relay, Ours];
const ONE_TOKEN: &[Peer] = &[Envoy, EnvoyCache, Haproxy, NginxLua, Nginx, Relay, Ours];
const ONE_TOKEN_TLS: &[Peer] = &[Envoy, EnvoyCache, Haproxy, NginxLua, Nginx, Ours];
const EVERY_TOKEN: &[Peer] = &[Envoy, EnvoyCache, Haproxy, NginxLua, Ours];
const REFUSALS: &[Peer] = &[Envoy, Haproxy, NginxLua, Ours];
const NO_TOKEN: &[Peer] = &[Envoy, Haproxy, NginxLua, Nginx, Ours];
const HTTP: &[&str] = &["envoy", "haproxy", "nginx-lua", "nginx"];
const SIZES: [usize; 5] = [1, 10, 100, 1_000, 10_000];

/// All of them, in the order of the tables.
#[must_use]
pub(crate) fn all() -> Vec<Scenario> {
    let mut all = requests();
    all.extend(refusals());
    all.extend(secured());
    all.extend(connections());
    all.extend(resources());
    all.extend(sizes());
    all.extend(changes());
    all
}

fn requests() -> Vec<Scenario> {
    let page = Traffic { path: PROTECTED, tokens: Tokens::One, ..PLAIN };
    let turns = |tokens| Kind::Turns(Traffic { tokens, ..page });
    let once = |tokens| Kind::Once(Traffic { tokens, ..page });
    vec![
        scenario("S1", "plain proxy, no token, 195 B", Kind::Turns(PLAIN), NO_TOKEN_READ)
            .with(OursLog)
            .goal(at_most(1.0, &["nginx"])),
        scenario("S2", "the same RS256 token, 4,294 B", Kind::Turns(page), ONE_TOKEN)
            .goal(at_most(1.15, &["nginx"])),
        scenario("S3", "20,000 RS256 tokens in turn", turns(Tokens::Rsa), EVERY_TOKEN)
            .goal(at_most(0.36, &["haproxy"])),
        scenario("S3F", "20,000 RS256 tokens, each once", once(Tokens::Rsa), EVERY_TOKEN)
            .goal(at_most(0.55, &["haproxy"])),
        scenario("S4", "20,000 ES256 tokens in turn", turns(Tokens::Ec), EVERY_TOKEN)
            .goal(at_most(0.20, &["haproxy"])),
        scenario("S4F", "20,000 ES256 tokens, each once", once(Tokens::Ec), EVERY_TOKEN)
            .goal(at_most(0.62, &["haproxy"])),
    ]
}

fn secured() -> Vec<Scenario> {
    let tls = Traffic { tls: true, path: PROTECTED, tokens: Tokens::One, ..PLAIN };
    let h2 = |connections, streams| {
        Kind::Turns(Traffic { tool: Tool::H2load(connections, streams), ..tls })
    };
    vec![
        scenario("S7", "TLS 1.3, HTTP/1.1, the same token", Kind::Turns(tls), ONE_TOKEN_TLS)
            .goal(at_most(1.07, &["nginx"])),
        scenario("S8", "TLS 1.3, HTTP/2, 64 × 32 streams", h2(64, 32), ONE_TOKEN_TLS)
            .goal(at_most(1.07, &["nginx"])),
        scenario("S8B", "TLS 1.3, HTTP/2, 8 × 8 streams", h2(8, 8), ONE_TOKEN_TLS)
            .goal(at_most(1.07, &["nginx"])),
    ]
}

fn refusals() -> Vec<Scenario> {
    let refused =
        |status, tokens| Kind::Turns(Traffic { path: PROTECTED, tokens, status, ..PLAIN });
    let (same, each) = (refused(401, Tokens::Bad), refused(401, Tokens::EachBad));
    vec![
        scenario("S5", "no token: 403", refused(403, Tokens::None), REFUSALS)
            .goal(at_most(0.9, &["haproxy", "nginx-lua"])),
        scenario("S6", "the same forged token: 401", same, REFUSALS)
            .goal(at_most(0.2, &["haproxy"])),
        scenario("S6D", "20,000 forged tokens in turn: 401", each, REFUSALS)
            .goal(at_most(0.55, &["haproxy"])),
    ]
}

fn connections() -> Vec<Scenario> {
    let full = Traffic { tool: Tool::Handshakes { resume: false }, tls: true, ..PLAIN };
    let resumed = Traffic { tool: Tool::Handshakes { resume: true }, ..full };
    let plain = Traffic { tool: Tool::WrkClosing, ..PLAIN };
    vec![
        scenario("S9", "full TLS 1.3 handshake, 1 request", Kind::Turns(full), NO_TOKEN)
            .goal(at_most(0.5, &["envoy"])),
        scenario("S9R", "resumed handshake, 1 request", Kind::Turns(resumed), NO_TOKEN)
            .goal(at_most(0.6, &["envoy"])),
        scenario("S9P", "TCP connection, 1 request", Kind::Turns(plain), NO_TOKEN_READ),
    ]
}

fn resources() -> Vec<Scenario> {
    let large = Traffic { path: LARGE, ..PLAIN };
    let large_tls = Traffic { tls: true, ..large };
    let volume = |factor| Goal {
        of: "ours",
        against: HTTP,
        figure: Figure::Volume,
        bound: Bound::Least(factor),
    };
    let own = |figure, most| Goal { of: "ours", against: &[], figure, bound: Bound::Most(most) };
    let start = |of, most| Goal {
        of,
        against: &["nginx"],
        figure: Figure::Start,
        bound: Bound::Most(most),
    };
    vec![
        scenario("S10", "1 MiB, plain", Kind::Turns(large), NO_TOKEN_READ).goal(volume(1.1)),
        scenario("S10T", "1 MiB, TLS 1.3", Kind::Turns(large_tls), NO_TOKEN).goal(volume(1.3)),
        scenario("S11", "5,000 idle TLS connections", Kind::Memory, NO_TOKEN)
            .goal(own(Figure::PerConnection, 12.0))
            .goal(own(Figure::GivenBack, 1.1)),
        scenario(
            "S12",
            "start to first answer",
            Kind::Start,
            &[Envoy, Haproxy, NginxLua, Nginx, Ours, OursEbpf],
        )
        .goal(start("ours", 1.0))
        .goal(start("ours-ebpf", 3.0)),
    ]
}

/// From one to 10,000 of something.
fn sizes() -> Vec<Scenario> {
    let grown =
        |of| Goal { of, against: &["ours @1"], figure: Figure::Cpu, bound: Bound::Most(1.07) };
    let rules = |rules| Shape { rules, ..Shape::LEAST };
    let policies = |policies| Shape { policies, ..Shape::LEAST };
    let routes = |routes| Shape { routes, ..Shape::LEAST };
    let scaled = |id, what, shape: fn(usize) -> Shape| {
        let entries = SIZES.iter().map(|&size| Entry::sized(Ours, shape(size), size));
        let goals = ["ours @10", "ours @100", "ours @1000", "ours @10000"].map(grown).to_vec();
        Scenario { id, what, kind: Kind::Turns(PLAIN), entries: entries.collect(), goals }
    };
    let mut first = scaled("S13", "1 to 10,000 path rules in a policy", rules);
    for peer in [Envoy, Haproxy, NginxLua] {
        let entry = |size| Entry::sized(peer, rules(size), size);
        first.entries.extend([1, 1_000, 10_000].map(entry));
    }
    vec![
        first,
        scaled("S13P", "1 to 10,000 policies", policies),
        scaled("S13R", "1 to 10,000 routes", routes),
    ]
}

fn changes() -> Vec<Scenario> {
    let page = Traffic { path: PROTECTED, tokens: Tokens::One, ..PLAIN };
    let closing = Traffic { tool: Tool::WrkClosing, ..PLAIN };
    let own = |figure, most| Goal { of: "ours", against: &[], figure, bound: Bound::Most(most) };
    let on_off =
        Goal { of: "ours-ebpf", against: &["ours"], figure: Figure::Cpu, bound: Bound::Most(1.05) };
    let both: &[Peer] = &[Ours, OursEbpf];
    let many = Shape { routes: 10_000, ..Shape::LEAST };
    let reload = Scenario {
        id: "RELOAD",
        what: "reload of 10,000 routes under load",
        kind: Kind::Reload,
        entries: vec![Entry { shape: many, ..Entry::plain(Ours) }],
        goals: vec![own(Figure::Lost, 0.0), own(Figure::ReloadTail, 2.0)],
    };
    vec![
        reload,
        scenario("EBPF-S2", "kernel half on and off, S2 on veth", Kind::TurnsOnVeth(page), both)
            .goal(on_off),
        scenario(
            "EBPF-S9P",
            "kernel half on and off, S9P on veth",
            Kind::TurnsOnVeth(closing),
            both,
        )
        .goal(on_off),
    ]
}

const PLAIN: Traffic =
    Traffic { tool: Tool::Wrk, tls: false, path: FREE, tokens: Tokens::None, status: 200 };

fn scenario(id: &'static str, what: &'static str, kind: Kind, peers: &[Peer]) -> Scenario {
    let entries = peers.iter().copied().map(Entry::plain).collect();
    Scenario { id, what, kind, entries, goals: Vec::new() }
}

fn at_most(factor: f64, against: &'static [&'static str]) -> Goal {
    Goal { of: "ours", against, figure: Figure::Cpu, bound: Bound::Most(factor) }
}

impl Scenario {
    fn with(mut self, peer: Peer) -> Self {
        self.entries.push(Entry::plain(peer));
        self
    }

    fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    /// A figure that says little here: the kernel's own work shows in it, and only on veth is that
    /// what is asked.
    pub(crate) fn minor(&self) -> Option<Figure> {
        (!matches!(self.kind, Kind::TurnsOnVeth(_))).then_some(Figure::AllCpu)
    }

    /// The figure that its table is about.
    pub(crate) fn figure(&self) -> Figure {
        match self.kind {
            Kind::Turns(traffic) if traffic.path == LARGE => Figure::Volume,
            Kind::Turns(_) | Kind::TurnsOnVeth(_) | Kind::Once(_) => Figure::Cpu,
            Kind::Memory => Figure::PerConnection,
            Kind::Start => Figure::Start,
            Kind::Reload => Figure::ReloadTail,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn goals_are_about_gateways_that_take_part() {
        for scenario in all() {
            let names: BTreeSet<_> = scenario.entries.iter().map(Entry::name).collect();
            assert_eq!(names.len(), scenario.entries.len(), "{}: names differ", scenario.id);
            for goal in &scenario.goals {
                for name in [&[goal.of], goal.against].concat() {
                    assert!(names.contains(name), "{}: no {name}", scenario.id);
                }
            }
        }
    }

    #[test]
    fn names_of_scenarios_differ() {
        let ids: BTreeSet<_> = all().iter().map(|scenario| scenario.id).collect();
        assert_eq!(ids.len(), all().len());
    }
}
