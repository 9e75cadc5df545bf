//! How the keys that are fetched are doing, for `/readyz` and `/metrics`. A daemon whose issuer is
//! down is ready all the same: everything else is served.

use std::sync::Arc;

use super::metrics::Page;
use crate::clock;
use crate::model::keys::{FetchOutcome, KeyFeed};

/// A line for each source that is not well.
pub(super) fn remarks(feeds: &[Arc<KeyFeed>]) -> Vec<String> {
    feeds.iter().filter_map(|feed| remark(feed, clock::unix_now().0)).collect()
}

fn remark(feed: &KeyFeed, now: u64) -> Option<String> {
    let (issuer, place) = (&feed.issuer, &feed.place);
    let last = match feed.last() {
        Some(FetchOutcome::Fetched) => return None,
        Some(outcome) => outcome.word(),
        None => "under way",
    };
    match feed.fetched_at() {
        None => Some(format!(
            "no keys of issuer {issuer:?} from {place}: its tokens are refused; last fetch: {last}"
        )),
        // Kept from an earlier run, and being fetched.
        Some(_) if feed.last().is_none() => None,
        Some(at) => Some(format!(
            "keys of issuer {issuer:?} from {place} are {} seconds old; last fetch: {last}",
            now.saturating_sub(at)
        )),
    }
}

/// A value of one source.
type Value = fn(&KeyFeed, u64) -> Option<u64>;

/// The families about fetched keys; none where no keys are fetched.
pub(super) fn families(page: &mut Page, feeds: &[Arc<KeyFeed>]) {
    if feeds.is_empty() {
        return;
    }
    let now = clock::unix_now().0;
    let gauges: [(&str, &str, Value); 3] = [
        (
            "gateway_jwks_age_seconds",
            "Time since the key set in force was fetched; absent where there is none.",
            |feed, now| Some(now.saturating_sub(feed.fetched_at()?)),
        ),
        (
            "gateway_jwks_keys",
            "Keys of the set in force that tokens are verified with.",
            |feed, _| Some(feed.usable()),
        ),
        ("gateway_jwks_keys_skipped", "Keys of the set in force that are left out.", |feed, _| {
            Some(feed.skipped())
        }),
    ];
    for (name, help, value) in gauges {
        page.family(name, "gauge", help);
        for feed in feeds {
            if let Some(value) = value(feed, now) {
                page.sample(name, &[("issuer", &feed.issuer), ("source", &feed.place)], value);
            }
        }
    }
    page.family("gateway_jwks_fetches_total", "counter", "Fetches of key sets by result.");
    for feed in feeds {
        for outcome in FetchOutcome::ALL {
            let labels =
                [("issuer", &*feed.issuer), ("source", &*feed.place), ("result", outcome.word())];
            page.sample("gateway_jwks_fetches_total", &labels, feed.count(*outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::keys::{FetchOptions, KeyPlace, KeyUrl, RemoteKeys};

    #[test]
    fn a_source_says_what_is_wrong_with_it() {
        let feed = KeyFeed::new(&RemoteKeys {
            issuer: "i".into(),
            place: KeyPlace::Url(KeyUrl::parse("https://a.test/k").unwrap()),
            timeout: Duration::from_secs(5),
            options: FetchOptions::default(),
        });
        let text = |now| remark(&feed, now).unwrap_or_default();
        assert_eq!(
            text(0),
            "no keys of issuer \"i\" from https://a.test/k: its tokens are refused; \
             last fetch: under way"
        );
        feed.note(FetchOutcome::Timeout);
        assert!(text(0).ends_with("last fetch: timeout"));
        feed.keys(1, 0, 100);
        assert_eq!(
            text(130),
            "keys of issuer \"i\" from https://a.test/k are 30 seconds old; last fetch: timeout"
        );
        feed.note(FetchOutcome::Fetched);
        assert_eq!(text(130), "");
    }
}
