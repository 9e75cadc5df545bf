//! Bans, for `/metrics` and `/bans`.

use gateway_common::bans::{Ban, BanMode, BanReason};

use serde_json::json;

use super::metrics::Page;
use crate::bans::Status;
use crate::clock;
use crate::model::ban::Source;

/// A value by reason.
type ByReason = fn(&Status, BanReason) -> u64;

/// The families about bans; none with `--bans off`.
pub(super) fn families(page: &mut Page, status: Option<&Status>) {
    let Some(status) = status else { return };
    let by_reason: [(&str, &str, ByReason); 2] = [
        (
            "gateway_ban_strikes_total",
            "Forged or malformed tokens that counted against their source.",
            Status::strikes,
        ),
        ("gateway_bans_total", "Sources banned.", Status::bans),
    ];
    for (name, help, value) in by_reason {
        page.family(name, "counter", help);
        for &reason in BanReason::ALL.iter().filter(|reason| **reason != BanReason::Manual) {
            page.sample(name, &[("reason", reason.word())], value(status, reason));
        }
    }
    page.family(
        "gateway_bans_withheld_total",
        "counter",
        "Strikes and bans that did not come about: forgiven for a good token, the node's own \
         address, no room, or told faster than they could be taken.",
    );
    for (why, counter) in [
        ("forgiven", &status.forgiven),
        ("own_address", &status.own),
        ("no_room", &status.full),
        ("lost", &status.lost),
    ] {
        page.sample("gateway_bans_withheld_total", &[("why", why)], counter.get());
    }
    page.family("gateway_bans_active", "gauge", "Bans in force, those of operators included.");
    page.sample("gateway_bans_active", &[], status.active());
    page.family(
        "gateway_earned_trust_total",
        "counter",
        "Times that a good token gave its source the larger budget of connections, or prolonged it.",
    );
    page.sample("gateway_earned_trust_total", &[], status.earned.get());
    page.family(
        "gateway_events_lost_total",
        "counter",
        "Events of the kernel half that found no room in the ring buffer.",
    );
    page.sample("gateway_events_lost_total", &[], status.events_lost.get());
    page.family(
        "gateway_bans_suspended",
        "gauge",
        "1 while enforcing is suspended because bans meet too large a share of the packets.",
    );
    page.sample("gateway_bans_suspended", &[], u64::from(status.is_suspended()));
    page.family("gateway_bans_enforced", "gauge", "1 with `--bans enforce`, else 0.");
    page.sample("gateway_bans_enforced", &[], u64::from(status.mode() == BanMode::Enforce));
    clients(page, status);
}

/// Those about clients behind trusted proxies.
fn clients(page: &mut Page, status: &Status) {
    let clients = &status.clients;
    page.family(
        "gateway_client_bans_total",
        "counter",
        "Clients behind trusted proxies that were banned.",
    );
    for &reason in BanReason::ALL.iter().filter(|reason| **reason != BanReason::Manual) {
        let labels = [("reason", reason.word())];
        page.sample("gateway_client_bans_total", &labels, clients.bans(reason));
    }
    page.family("gateway_client_bans_active", "gauge", "Bans of such clients in force.");
    page.sample("gateway_client_bans_active", &[], clients.active());
    page.family(
        "gateway_client_ban_requests_total",
        "counter",
        "Requests of banned clients behind trusted proxies: refused, or only counted.",
    );
    for (result, count) in [("refused", clients.refused()), ("audited", clients.audited())] {
        page.sample("gateway_client_ban_requests_total", &[("result", result)], count);
    }
    page.family(
        "gateway_client_bans_suspended",
        "gauge",
        "1 while refusing is suspended because bans meet too large a share of the requests.",
    );
    page.sample("gateway_client_bans_suspended", &[], u64::from(clients.is_suspended()));
}

/// Banned clients behind trusted proxies, as JSON; the bans of sources of packets are in the pinned
/// maps, for `gateway-daemon bans list`.
pub(super) fn json_text(status: Option<&Status>) -> String {
    let (now, unix) = (clock::since_boot(), clock::unix_now().0);
    let mode = status.map_or(BanMode::Off, Status::mode);
    let list = status.map(|status| status.clients.list(now)).unwrap_or_default();
    let ban = |(source, ban): &(Source, Ban)| {
        let ago = now.saturating_sub(ban.since) / NANOSECONDS;
        json!({
            "source": source.to_string(),
            "reason": BanReason::of(ban.reason).map(BanReason::word),
            "strikes": ban.strikes,
            "requests": ban.packets,
            "since": time(unix.saturating_sub(ago)),
            "remaining_seconds": ban.expires.saturating_sub(now).div_ceil(NANOSECONDS),
        })
    };
    let value = json!({
        "mode": mode.word(),
        "suspended": status.is_some_and(|status| status.clients.is_suspended()),
        "clients": list.iter().map(ban).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

const NANOSECONDS: u64 = 1_000_000_000;

/// A moment in seconds since the Unix epoch, RFC 3339.
fn time(unix: u64) -> String {
    let time = i64::try_from(unix).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.unwrap_or(jiff::Timestamp::MAX).to_string()
}
