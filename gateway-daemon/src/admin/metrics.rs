//! `/metrics`: the Prometheus text format. Labels are configured words only (paths, listeners,
//! hooks, verdicts), never what a client sent. Every metric is described in `docs/operations.md`.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gateway_common::verdict::{PacketVerdict, RequestVerdict};

use super::Observed;
use crate::authz::ShadowTotals;
use crate::counters::{PathTotals, Totals};
use crate::model::ext_authz::{CheckOutcome, Provider};
use crate::model::policy::Action;
use crate::model::topology::{ProxyFault, ProxyFaults};

/// The whole page.
pub(super) fn render(observed: &Observed) -> String {
    let totals = Totals::read(&observed.regions);
    let mut page = Page::default();
    requests(&mut page, &totals);
    connections(&mut page, &totals, observed);
    proxy_headers(&mut page, &observed.proxy_faults);
    packets(&mut page, &totals);
    super::interfaces::families(&mut page, &observed.interfaces.get());
    configuration(&mut page, observed);
    shadow(&mut page, &observed.shadow.totals());
    super::bans::families(&mut page, observed.bans.as_deref());
    checks(&mut page, &observed.snapshots.current().providers());
    super::tokens::families(&mut page, &observed.token_caches);
    super::keys::families(&mut page, &observed.snapshots.current().feeds);
    page.0
}

fn proxy_headers(page: &mut Page, faults: &ProxyFaults) {
    const NAME: &str = "gateway_proxy_header_failures_total";
    page.family(NAME, "counter", "Connections closed for want of a good PROXY header, by why.");
    for &fault in ProxyFault::ALL {
        page.sample(NAME, &[("reason", fault.word())], faults.get(fault));
    }
}

fn requests(page: &mut Page, totals: &Totals) {
    page.family("gateway_requests_total", "counter", "Requests by configured path and verdict.");
    for path in &totals.paths {
        for verdict in RequestVerdict::ALL {
            let labels = [("path", path.name.as_str()), ("verdict", verdict.name())];
            page.sample("gateway_requests_total", &labels, path.requests.verdict(verdict));
        }
    }
    page.family(
        "gateway_request_refusals_total",
        "counter",
        "Requests that did not get the upstream's answer, by reason.",
    );
    for (reason, count) in &totals.reasons {
        page.sample("gateway_request_refusals_total", &[("reason", reason)], *count);
    }
    let per_path: [(&str, &str, PathValue); 3] = [
        (
            "gateway_request_body_bytes_total",
            "Bytes of request bodies read from clients.",
            |path| path.requests.request_bytes,
        ),
        (
            "gateway_response_body_bytes_total",
            "Bytes of response bodies handed to clients.",
            |path| path.requests.response_bytes,
        ),
        (
            "gateway_wire_bytes_total",
            "Bytes sent on the wire to clients, headers included; approximate.",
            |path| path.wire.allowed.bytes + path.wire.refused.bytes,
        ),
    ];
    for (name, help, value) in per_path {
        page.family(name, "counter", help);
        for path in &totals.paths {
            page.sample(name, &[("path", &path.name)], value(path));
        }
    }
}

fn connections(page: &mut Page, totals: &Totals, observed: &Observed) {
    let sum = totals.requests();
    page.family("gateway_connections_total", "counter", "Client connections accepted.");
    page.sample("gateway_connections_total", &[], sum.connections);
    page.family(
        "gateway_connections_closed_total",
        "counter",
        "Client connections ended: refused for a limit, failed in the handshake, served, or lost when the daemon was killed.",
    );
    for (result, value) in [
        ("refused", sum.connections_refused),
        ("handshake_failed", sum.handshakes_failed),
        ("served", sum.connections_served),
        ("lost", sum.connections_lost),
    ] {
        page.sample("gateway_connections_closed_total", &[("result", result)], value);
    }
    page.family("gateway_connections_open", "gauge", "Client connections open now, by port.");
    let snapshot = observed.snapshots.current();
    let mut ports: Vec<_> = snapshot.ports.each().iter().map(|port| port.numbers).collect();
    ports.dedup();
    for port in ports {
        let open = u64::from(observed.gauge.open(port.first()));
        page.sample("gateway_connections_open", &[("port", &port.to_string())], open);
    }
}

fn packets(page: &mut Page, totals: &Totals) {
    for (name, help, bytes) in [
        ("gateway_packets_total", "Packets by hook, listener and verdict.", false),
        ("gateway_packet_bytes_total", "Bytes of packets by hook, listener and verdict.", true),
    ] {
        page.family(name, "counter", help);
        for row in &totals.listeners {
            for verdict in PacketVerdict::ALL {
                let volume = row.packets.verdict(verdict);
                let value = if bytes { volume.bytes } else { volume.packets };
                if volume.packets == 0 && verdict != PacketVerdict::Passed {
                    continue; // a verdict that the hook may not even have
                }
                let labels = [
                    ("hook", row.hook.name()),
                    ("listener", row.name.as_str()),
                    ("verdict", verdict.name()),
                ];
                page.sample(name, &labels, value);
            }
        }
    }
}

fn configuration(page: &mut Page, observed: &Observed) {
    page.family("gateway_configuration_generation", "gauge", "Number of the snapshot in force.");
    let generation = observed.snapshots.current().generation;
    page.sample("gateway_configuration_generation", &[], generation);
    page.family(
        "gateway_configuration_last_reload_successful",
        "gauge",
        "1 where the configuration read last is in force, else 0.",
    );
    let successful = observed.control.last_succeeded();
    page.sample("gateway_configuration_last_reload_successful", &[], u64::from(successful));
    page.family(
        "gateway_configuration_reload_failures_total",
        "counter",
        "Configurations that were read and not published.",
    );
    let failures = observed.control.failures();
    page.sample("gateway_configuration_reload_failures_total", &[], failures);
    if let Some(dropped) = &observed.log_dropped {
        page.family(
            "gateway_access_log_dropped_lines_total",
            "counter",
            "Access log lines lost because the target was too slow.",
        );
        let dropped = dropped.load(Ordering::Relaxed);
        page.sample("gateway_access_log_dropped_lines_total", &[], dropped);
    }
    page.family("gateway_datapath_ebpf", "gauge", "1 where the kernel half is attached, else 0.");
    page.sample("gateway_datapath_ebpf", &[], u64::from(observed.datapath == "ebpf"));
}

/// What became of the questions to providers; no family where nobody is asked.
fn checks(page: &mut Page, providers: &[Arc<Provider>]) {
    const NAME: &str = "gateway_ext_authz_checks_total";
    if providers.is_empty() {
        return;
    }
    page.family(NAME, "counter", "Questions to external authorization providers, by outcome.");
    for provider in providers {
        let name = format!("{}/{}", provider.object.namespace, provider.object.name);
        for outcome in CheckOutcome::ALL {
            let labels = [("provider", name.as_str()), ("outcome", outcome.word())];
            page.sample(NAME, &labels, provider.tally.of(*outcome));
        }
    }
}

/// Policies that never decide; each as if it were the only one.
fn shadow(page: &mut Page, policies: &[ShadowTotals]) {
    const NAME: &str = "gateway_shadow_policy_requests_total";
    if policies.is_empty() {
        return;
    }
    page.family(
        NAME,
        "counter",
        "Requests by what an AUDIT policy, or one in dry run, would have said about them.",
    );
    for ShadowTotals { policy, action, matched, unmatched } in policies {
        let name = format!("{}/{}", policy.namespace, policy.name);
        let results = match action {
            Action::Allow => ["allowed", "denied"],
            Action::Deny => ["denied", "allowed"],
            Action::Audit => ["matched", "unmatched"],
            Action::Custom => ["asked", "not_asked"],
        };
        for (result, count) in results.into_iter().zip([*matched, *unmatched]) {
            let labels = [("policy", name.as_str()), ("action", action.word()), ("result", result)];
            page.sample(NAME, &labels, count);
        }
    }
}

/// What of a path's totals a metric shows.
type PathValue = fn(&PathTotals) -> u64;

/// A page in the text format.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        if labels.is_empty() {
            return self.line(format_args!("{name} {value}"));
        }
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        if writeln!(self.0, "{line}").is_err() {
            self.0.clear();
        }
    }
}

/// A label value as the text format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_label_values() {
        let mut page = Page::default();
        page.sample("m", &[("path", "a\"b\\c\nd"), ("verdict", "x")], 3);
        page.sample("n", &[], 4);
        assert_eq!(page.0, "m{path=\"a\\\"b\\\\c\\nd\",verdict=\"x\"} 3\nn 4\n");
    }
}
