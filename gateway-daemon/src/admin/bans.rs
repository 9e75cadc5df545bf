//! Bans, for `/metrics`.

use gateway_common::bans::{BanMode, BanReason};

use super::metrics::Page;
use crate::bans::Status;

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
}
