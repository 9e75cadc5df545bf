//! Who may know whom inside the daemon: one table of the edges between its modules, and one of the
//! crates that only some of them may name. `ARCHITECTURE.md` gives the reasons.

use super::rust::{paths, tokens};
use super::{File, Finding};

const SOURCES: &str = "gateway-daemon/src/";

/// Each module of the daemon, and the modules (or single items of them) that it may name besides
/// itself.
const EDGES: &[(&str, &[&str])] = &[
    ("main", &["app", "cli", "sys::allocator"]),
    ("lib", &[]),
    (
        "app",
        &[
            "admin",
            "authn::CacheCounters",
            "bans",
            "bpf",
            "cli",
            "clock",
            "control",
            "counters",
            "doctor",
            "handover",
            "lifecycle",
            "model",
            "proxy",
            "settings",
            "snapshot",
            "sys",
            "telemetry",
            "tools",
        ],
    ),
    // The edge of the process.
    ("cli", &["model", "settings"]),
    ("settings", &["model"]),
    ("telemetry", &[]),
    ("lifecycle", &[]),
    // Between two daemons; what is handed over is nothing to it but files.
    ("handover", &["sys"]),
    // What people ask is asked of the modules that decide.
    (
        "tools",
        &["authn", "authz", "cli", "clock", "control", "model", "proxy", "request", "snapshot"],
    ),
    // What a node lacks is asked of those who will need it.
    ("doctor", &["bpf", "cli", "control", "model", "settings", "sys"]),
    ("clock", &[]),
    // Decides who is banned; what a ban does is behind a trait.
    ("bans", &["clock", "model", "settings"]),
    // The data path.
    (
        "proxy",
        &[
            "authn",
            "authz",
            "bans",
            "clock",
            "counters",
            "lifecycle",
            "model",
            "request",
            "route",
            "settings",
            "snapshot",
            // How long a read has to be for its buffer to be used again at once.
            "sys::allocator",
            // A worker knows when many connections have ended, and memory can be given back.
            "sys::memory",
        ],
    ),
    // Time is an argument here; only its type is known, not who reads it.
    ("snapshot", &["authn", "authz", "clock::UnixSeconds", "model", "route"]),
    ("route", &["model", "request"]),
    ("authn", &["clock::UnixSeconds", "model", "request"]),
    ("authz", &["model", "request"]),
    ("request", &["model"]),
    ("model", &[]),
    // The control path.
    (
        "control",
        &[
            "authn",
            "authz",
            "clock",
            "manifest",
            "model",
            "route",
            "snapshot",
            "sys::memory",
            // A reload takes long, and its thread may share a worker's CPU.
            "sys::pace",
        ],
    ),
    ("manifest", &[]),
    // The kernel edge, the counters, and who shows them.
    ("bpf", &["counters", "model", "sys"]),
    ("counters", &["sys"]),
    ("sys", &[]),
    (
        "admin",
        &[
            "authn::CacheCounters",
            "authn::StoreStats",
            "authz::ShadowLedger",
            "authz::ShadowTotals",
            "bans::Status",
            "clock",
            "counters",
            "lifecycle",
            "model",
            "snapshot",
            // So does writing out metrics of thousands of paths.
            "sys::pace",
        ],
    ),
];

/// Crates that one place owns: nobody else in the daemon names them.
const OWNED: &[(&str, &[&str])] = &[
    ("aya", &["bpf/"]),
    ("aya_obj", &["bpf/"]),
    ("arc_swap", &["snapshot.rs"]),
    ("jsonwebtoken", &["authn/keys.rs", "authn/verify.rs"]),
];

/// Crates that pure modules must not know.
const KEPT_OUT: &[(&str, &[&str])] = &[
    ("tokio", &["authn", "authz", "manifest", "model", "request", "route", "snapshot", "sys"]),
    (
        "hyper",
        &["authn", "authz", "bpf", "counters", "manifest", "model", "request", "route", "sys"],
    ),
    ("serde", &["model", "request", "route"]),
];

/// Checks one file of the daemon; other files have no layers.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let Some(place) = file.path.strip_prefix(SOURCES) else { return Vec::new() };
    let inside = module_path(place);
    let Some(&module) = inside.first() else { return Vec::new() };
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
        let what = format!("module `{module}` has no line in tidy's table of edges");
        return vec![Finding::new(&file.path, 0, what)];
    };
    let mut findings = Vec::new();
    for (words, line) in paths(&tokens(&file.text)) {
        if let Some((target, item)) = top_module(&words, inside.len())
            && target != module
            && !allowed.contains(&target)
            && !allowed.contains(&format!("{target}::{item}").as_str())
        {
            let what = format!("`{module}` must not know `{target}` (tidy's table of edges)");
            findings.push(Finding::new(&file.path, line, what));
        }
        findings.extend(
            foreign(&words, module, place).map(|what| Finding::new(&file.path, line, what)),
        );
    }
    findings
}

/// `proxy/tls.rs` is `[proxy, tls]`; `proxy/mod.rs` is `[proxy]`.
fn module_path(place: &str) -> Vec<&str> {
    let place = place.trim_end_matches(".rs");
    place.split('/').filter(|part| *part != "mod").collect()
}

/// The top module that a path leads to, if it is one of ours, and what comes after it.
fn top_module<'a>(words: &[&'a str], depth: usize) -> Option<(&'a str, &'a str)> {
    let supers = words.iter().take_while(|word| **word == "super").count();
    let rest = match words {
        ["crate" | "gateway_daemon", rest @ ..] => rest,
        _ if supers > 0 && supers >= depth => &words[supers..],
        _ => return None,
    };
    let target = *rest.first()?;
    let ours = EDGES.iter().any(|(name, _)| *name == target);
    ours.then(|| (target, rest.get(1).copied().unwrap_or_default()))
}

/// What is wrong with naming this crate here, if it is one.
fn foreign(words: &[&str], module: &str, place: &str) -> Option<String> {
    // A single word may be anything; a path begins with its crate.
    let [name, _, ..] = words else { return None };
    let owner = OWNED.iter().find(|(owned, _)| owned == name);
    if let Some((_, places)) = owner
        && !places.iter().any(|owner| place.starts_with(owner))
    {
        return Some(format!("`{name}` is named in {} only", places.join(" and ")));
    }
    let kept_out = KEPT_OUT.iter().find(|(kept, _)| kept == name)?;
    kept_out.1.contains(&module).then(|| format!("`{module}` must not know `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::super::{file, whats};
    use super::*;

    fn findings(place: &str, text: &str) -> Vec<String> {
        whats(check(&file(&format!("{SOURCES}{place}"), text)))
    }

    #[test]
    fn forbidden_edges_are_found() {
        let table = [
            ("by use", "route/mod.rs", "use crate::proxy::tls;"),
            ("in a group", "authz/rule.rs", "use crate::{model::Path, authn::Claims};"),
            ("in code", "model/mod.rs", "fn f() { crate::clock::now() }"),
            ("by super", "control/publish.rs", "use super::super::proxy::Worker;"),
            ("by the crate's name", "main.rs", "use gateway_daemon::proxy;"),
            ("another item", "authn/mod.rs", "use crate::clock::{UnixSeconds, unix_now};"),
            ("manifest outside control", "proxy/http.rs", "use crate::manifest::Gateway;"),
        ];
        for (name, place, text) in table {
            let found = findings(place, text);
            assert_eq!(found.len(), 1, "{name}: {found:?}");
            assert!(found[0].contains("must not know"), "{name}: {found:?}");
        }
    }

    #[test]
    fn allowed_edges_are_not() {
        let table = [
            ("down", "proxy/route.rs", "use crate::route::Table; use super::http;"),
            ("itself", "model/path.rs", "use super::super::model::Host; use crate::model::X;"),
            ("one item", "authn/mod.rs", "use crate::clock::UnixSeconds;"),
            ("a comment", "model/mod.rs", "// crate::proxy\n/// [`crate::proxy`]"),
            ("another crate", "model/mod.rs", "use std::net::IpAddr;"),
        ];
        for (name, place, text) in table {
            assert_eq!(findings(place, text), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn owned_crates_are_fenced() {
        assert_eq!(findings("bpf/load.rs", "use aya::Ebpf;"), Vec::<String>::new());
        assert_eq!(findings("counters/mod.rs", "use aya::Ebpf;").len(), 1);
        assert_eq!(findings("authn/verify.rs", "use jsonwebtoken::decode;"), Vec::<String>::new());
        assert_eq!(findings("authn/token.rs", "jsonwebtoken::decode()").len(), 1);
    }

    #[test]
    fn pure_modules_stay_pure() {
        assert_eq!(findings("authz/mod.rs", "use tokio::sync::Mutex;").len(), 1);
        assert_eq!(findings("proxy/mod.rs", "use tokio::sync::Mutex;"), Vec::<String>::new());
    }

    #[test]
    fn a_new_module_needs_a_line() {
        assert_eq!(findings("cache.rs", "").len(), 1);
    }
}
