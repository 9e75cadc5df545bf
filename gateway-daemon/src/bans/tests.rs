//! Strikes, shares and the keeper's decisions, at times of the test's choosing.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_common::bans::{Ban, BanMode, BanReason};

use super::*;
use crate::model::ban::{BanModes, Rate, Source, SynBudget};
use crate::model::policy::Cidr;
use crate::settings::Bans;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000_000 * SECOND;
const FORGED: BanReason = BanReason::TokenSignature;

fn source(text: &str) -> Source {
    Source::parse(text).unwrap()
}

fn strikes(threshold: u32) -> (Strikes, Arc<Suspects>) {
    let suspects = Arc::<Suspects>::default();
    (Strikes::new(threshold, Duration::from_mins(1), Arc::clone(&suspects)), suspects)
}

#[test]
fn the_last_strike_within_the_window_is_out() {
    let (mut strikes, _) = strikes(3);
    let bad = source("192.0.2.1");
    assert_eq!(strikes.strike(bad, START), Struck::Counted);
    assert_eq!(strikes.strike(bad, START + 59 * SECOND), Struck::Counted);
    assert_eq!(strikes.strike(source("192.0.2.2"), START + 59 * SECOND), Struck::Counted);
    assert_eq!(strikes.strike(bad, START + 60 * SECOND), Struck::Out(3));
    // Counting begins anew.
    assert_eq!(strikes.strike(bad, START + 60 * SECOND), Struck::Counted);
}

#[test]
fn strikes_are_forgotten_with_their_window() {
    let (mut strikes, suspects) = strikes(2);
    let slow = source("192.0.2.1");
    for round in 0..10 {
        let now = START + round * 61 * SECOND;
        assert_eq!(strikes.strike(slow, now), Struck::Counted, "round {round}");
    }
    assert!(suspects.may_hold(|| slow));
    strikes.expire(START + 9 * 61 * SECOND + 60 * SECOND);
    assert_eq!(strikes.len(), 1);
    strikes.expire(START + 9 * 61 * SECOND + 60 * SECOND + 1);
    assert!(strikes.is_empty());
    assert!(!suspects.may_hold(|| slow));
}

#[test]
fn a_good_token_cancels_strikes() {
    let (mut strikes, suspects) = strikes(3);
    let mixed = source("2001:db8::1");
    assert!(!suspects.may_hold(|| mixed), "nobody is suspect at first");
    for _ in 0..10 {
        assert_eq!(strikes.strike(mixed, START), Struck::Counted);
        assert_eq!(strikes.strike(mixed, START), Struck::Counted);
        assert!(suspects.may_hold(|| source("2001:db8::2")), "the whole /64 is one source");
        assert!(strikes.forgive(mixed));
        assert!(!suspects.may_hold(|| mixed));
    }
    assert!(!strikes.forgive(mixed));
    assert_eq!(strikes.strike(source("2001:db8:0:1::"), START), Struck::Counted);
}

#[test]
fn sources_with_strikes_are_bounded() {
    let (mut strikes, _) = strikes(2);
    let address = |number: u32| Source::V4((0x0a00_0000 + number).into());
    for number in 0..65_536 {
        assert_eq!(strikes.strike(address(number), START), Struck::Counted);
    }
    assert_eq!(strikes.strike(address(65_536), START), Struck::NoRoom);
    assert_eq!(strikes.strike(address(0), START), Struck::Out(2), "who is known goes on counting");
    assert_eq!(strikes.strike(address(65_536), START), Struck::Counted);
}

#[test]
fn the_breaker_looks_at_ten_seconds_of_real_traffic() {
    let mut breaker = Breaker::new(90);
    let mut traffic = Traffic::default();
    let mut second = |seen, banned| {
        traffic.seen += seen;
        traffic.banned += banned;
        breaker.read(traffic)
    };
    assert_eq!(second(0, 0), None);
    assert_eq!(second(999, 999), None, "too few packets to judge by");
    assert_eq!(second(1, 1), Some(100));
    assert_eq!(second(9_000, 8_001), Some(90), "90.01 %");
    assert_eq!(second(9_000, 8_000), None, "89.5 %");
    for _ in 0..9 {
        second(0, 0);
    }
    assert_eq!(second(2_000, 2_000), Some(100), "what was before is forgotten");
    let mut uncapped = Breaker::new(100);
    uncapped.read(Traffic::default());
    assert_eq!(uncapped.read(Traffic { seen: 9_000, banned: 9_000 }), None);
}

/// A store that the test can look into.
#[derive(Clone, Default)]
struct Shared {
    store: Arc<Mutex<MemoryStore>>,
    modes: Arc<Mutex<Option<BanModes>>>,
    earned: Arc<Mutex<Vec<(Source, u64)>>>,
}

impl Store for Shared {
    fn set_modes(&mut self, modes: BanModes) -> Result<(), StoreError> {
        *self.modes.lock().unwrap() = Some(modes);
        Ok(())
    }

    fn set_budget(&mut self, _: Option<SynBudget>) -> Result<(), StoreError> {
        Ok(())
    }

    fn insert(&mut self, source: Source, ban: Ban) -> Result<(), StoreError> {
        self.store.lock().unwrap().insert(source, ban)
    }

    fn remove(&mut self, source: Source) -> Result<bool, StoreError> {
        self.store.lock().unwrap().remove(source)
    }

    fn earn(&mut self, source: Source, expires: u64) -> Result<(), StoreError> {
        self.earned.lock().unwrap().push((source, expires));
        Ok(())
    }

    fn list(&self) -> Result<Vec<(Source, Ban)>, StoreError> {
        self.store.lock().unwrap().list()
    }
}

/// A keeper and what is around it.
struct Setting {
    keeper: Keeper,
    shared: Shared,
    status: Arc<Status>,
    /// Packets, and those of banned sources.
    traffic: Arc<[AtomicU64; 2]>,
    suspects: Arc<Suspects>,
}

fn settings() -> Bans {
    Bans {
        mode: BanMode::Enforce,
        threshold: 3,
        window: Duration::from_mins(1),
        duration: Duration::from_mins(10),
        max_entries: 2,
        max_share: 90,
        trusted: vec![Cidr::parse("198.51.100.0/24").unwrap()],
        budget: None,
        earned_duration: Duration::from_secs(40),
    }
}

fn setting(shared: Shared, settings: Bans) -> Setting {
    let status = Arc::new(Status::new(settings.mode));
    let traffic = Arc::new([const { AtomicU64::new(0) }; 2]);
    let seen = Arc::clone(&traffic);
    let own: IpAddr = "10.0.0.1".parse().unwrap();
    let node = Node {
        addresses: Box::new(move || {
            Ok(vec![own, "2001:db8:9::1".parse().map_err(io::Error::other)?])
        }),
        traffic: Some(Box::new(move || {
            let [seen, banned] = [&seen[0], &seen[1]].map(|value| value.load(Relaxed));
            Traffic { seen, banned }
        })),
        told: None,
    };
    let store = Box::new(shared.clone());
    let suspects = Arc::<Suspects>::default();
    let (suspected, told) = (Arc::clone(&suspects), Arc::clone(&status));
    let keeper = Keeper::new(settings, suspected, told, store, node, Turn::new(true)).unwrap();
    Setting { keeper, shared, status, traffic, suspects }
}

impl Setting {
    fn bad(&mut self, from: &str, times: u32, now: u64) {
        for _ in 0..times {
            self.keeper.hear(News::Bad(source(from), FORGED), now);
        }
    }

    fn banned(&self) -> Vec<String> {
        self.shared.list().unwrap().iter().map(|(source, _)| source.to_string()).collect()
    }
}

#[test]
fn a_source_is_banned_with_its_reason_and_end() {
    let mut setting = setting(Shared::default(), settings());
    setting.bad("192.0.2.1", 2, START);
    assert_eq!(setting.banned(), [] as [&str; 0]);
    setting.keeper.hear(News::Good(source("192.0.2.1")), START);
    setting.bad("192.0.2.1", 2, START);
    assert_eq!(setting.banned(), [] as [&str; 0], "a good token came between");
    setting.bad("192.0.2.1", 1, START + SECOND);
    let ban = setting.shared.list().unwrap()[0].1;
    let expected = Ban {
        expires: START + 601 * SECOND,
        since: START + SECOND,
        packets: 0,
        strikes: 3,
        reason: FORGED as u32,
    };
    assert_eq!(ban, expected);
    assert_eq!((setting.status.bans(FORGED), setting.status.strikes(FORGED)), (1, 5));
    assert_eq!((setting.status.active(), setting.status.forgiven.get()), (1, 1));
    // In audit mode it goes on; one ban is one ban.
    setting.bad("192.0.2.1", 30, START + 2 * SECOND);
    assert_eq!((setting.status.bans(FORGED), setting.shared.list().unwrap()[0].1), (1, expected));
    setting.keeper.tick(START + 601 * SECOND);
    assert_eq!(setting.status.active(), 0);
}

#[test]
fn the_nodes_own_addresses_are_never_banned() {
    let mut setting = setting(Shared::default(), settings());
    for own in ["10.0.0.1", "2001:db8:9::7"] {
        setting.bad(own, 30, START);
    }
    assert_eq!(setting.banned(), [] as [&str; 0]);
    assert_eq!(setting.status.own.get(), 20);
}

#[test]
fn workers_do_not_tell_of_loopback_and_trusted_sources() {
    let (suspects, status) = (Arc::default(), Arc::new(Status::new(BanMode::Audit)));
    let (watch, news) = watch(suspects, Arc::clone(&status), &settings().trusted);
    for never in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "198.51.100.7"] {
        watch.bad(never.parse().unwrap(), FORGED);
    }
    assert_eq!(news.try_iter().count(), 0);
    watch.bad("192.0.2.1".parse().unwrap(), FORGED);
    watch.good("192.0.2.1".parse().unwrap());
    assert_eq!(news.try_iter().collect::<Vec<_>>(), [News::Bad(source("192.0.2.1"), FORGED)]);
    // Nobody takes them: what is too much is lost, and nobody waits.
    for _ in 0..5_000 {
        watch.bad("192.0.2.1".parse().unwrap(), FORGED);
    }
    assert_eq!(status.lost.get(), 5_000 - 4_096);
}

#[test]
fn bans_are_bounded_and_make_room_when_they_end() {
    let mut setting = setting(Shared::default(), settings());
    for from in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        setting.bad(from, 3, START);
    }
    assert_eq!(setting.banned(), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(setting.status.full.get(), 1);
    // The two are over, though nobody has removed them yet.
    setting.bad("192.0.2.3", 3, START + 700 * SECOND);
    assert_eq!(setting.banned(), ["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    for _ in 0..10 {
        setting.keeper.tick(START + 700 * SECOND);
    }
    assert_eq!(setting.banned(), ["192.0.2.3"]);
}

#[test]
fn bans_that_are_there_are_taken_over_but_for_those_that_may_not_be() {
    let mut shared = Shared::default();
    let far = Ban { expires: u64::MAX, since: 0, packets: 7, strikes: 3, reason: 1 };
    for from in ["192.0.2.1", "198.51.100.7", "10.0.0.1", "127.0.0.1"] {
        shared.insert(source(from), far).unwrap();
    }
    shared.insert(source("192.0.2.9"), Ban { expires: 1, ..far }).unwrap();
    let mut setting = setting(shared, settings());
    assert_eq!(setting.banned(), ["192.0.2.1"]);
    assert_eq!(setting.status.active(), 1);
    // An operator's ban is seen at the next reading.
    setting.shared.insert(source("192.0.2.5"), far).unwrap();
    for _ in 0..10 {
        setting.keeper.tick(START);
    }
    assert_eq!(setting.status.active(), 2);
}

#[test]
fn enforcing_is_suspended_while_bans_meet_too_much_and_resumed() {
    let mut setting = setting(Shared::default(), settings());
    let modes = |setting: &Setting| setting.shared.modes.lock().unwrap().map(|modes| modes.now);
    let mut second = |seen, banned| {
        setting.traffic[0].fetch_add(seen, Relaxed);
        setting.traffic[1].fetch_add(banned, Relaxed);
        setting.keeper.tick(START);
        (modes(&setting).unwrap(), setting.status.is_suspended())
    };
    assert_eq!(second(0, 0), (BanMode::Enforce, false));
    assert_eq!(second(5_000, 4_000), (BanMode::Enforce, false));
    assert_eq!(second(50_000, 50_000), (BanMode::Audit, true));
    assert_eq!(second(50_000, 50_000), (BanMode::Audit, true));
    for _ in 0..10 {
        second(5_000, 100);
    }
    assert_eq!(second(5_000, 100), (BanMode::Enforce, false));
}

#[test]
fn audit_mode_stays_audit_mode() {
    let audit = Bans { mode: BanMode::Audit, ..settings() };
    let mut setting = setting(Shared::default(), audit);
    setting.keeper.tick(START);
    setting.traffic[0].store(9_000, Relaxed);
    setting.traffic[1].store(9_000, Relaxed);
    setting.keeper.tick(START);
    let modes = setting.shared.modes.lock().unwrap().unwrap();
    assert_eq!(modes, BanModes { now: BanMode::Audit, wanted: BanMode::Audit });
    assert!(!setting.status.is_suspended());
}

#[test]
fn good_tokens_earn_trust_where_there_are_budgets_and_are_told_of_once_a_round() {
    let rate = Rate { per_second: 10, burst: 20 };
    let budget = Some(SynBudget { each: rate, earned: rate });
    for (mode, budget, tells) in
        [(BanMode::Enforce, None, 0), (BanMode::Enforce, budget, 2), (BanMode::Off, budget, 2)]
    {
        let mut setting = setting(Shared::default(), Bans { mode, budget, ..settings() });
        let suspects = Arc::clone(&setting.suspects);
        let (watch, news) = watch(suspects, Arc::clone(&setting.status), &[]);
        let good = || {
            for peer in ["192.0.2.1", "2001:db8::1", "192.0.2.1", "2001:db8::2"] {
                watch.good(peer.parse().unwrap());
            }
            news.try_iter().collect::<Vec<_>>()
        };
        let told = good();
        assert_eq!(told.len(), tells, "{mode:?}");
        assert_eq!(good(), [], "not again in the same round");
        for news in told {
            setting.keeper.hear(news, START);
        }
        let until = START + 40 * SECOND;
        let expected = [(source("192.0.2.1"), until), (source("2001:db8::"), until)];
        assert_eq!(*setting.shared.earned.lock().unwrap(), expected[..tells]);
        // A quarter of the duration is a round.
        for _ in 0..10 {
            setting.keeper.tick(START);
        }
        assert_eq!(good().len(), tells, "{mode:?}");
        setting.bad("192.0.2.3", 3, START);
        assert_eq!(setting.banned().len(), usize::from(mode != BanMode::Off), "{mode:?}");
    }
}

#[test]
fn a_keeper_writes_only_while_it_is_its_turn() {
    let shared = Shared::default();
    let mut setting = setting(shared.clone(), settings());
    let bad = || Some(News::Bad(source("192.0.2.1"), FORGED));
    let modes = || shared.modes.lock().unwrap().take();
    assert!(modes().is_some());
    // Another daemon takes over, and says what is to be done.
    for _ in 0..5 {
        setting.keeper.work(false, bad(), true, 1);
    }
    assert_eq!(setting.status.active(), 0, "strikes count for nothing");
    assert_eq!(modes(), None);
    // It ends before it serves.
    setting.keeper.work(true, bad(), false, 2);
    assert!(modes().is_some(), "our modes are in force again");
    setting.keeper.work(true, bad(), false, 2);
    assert_eq!(modes(), None, "said once");
    setting.keeper.work(true, bad(), false, 2);
    assert_eq!(setting.status.active(), 1, "the third strike");
}

impl Setting {
    fn client_bad(&mut self, from: &str, times: u32, now: u64) {
        for _ in 0..times {
            self.keeper.hear(News::ClientBad(source(from), FORGED), now);
        }
    }

    fn banned_clients(&self, now: u64) -> Vec<String> {
        let list = self.status.clients.list(now);
        list.iter().map(|(source, _)| source.to_string()).collect()
    }
}

#[test]
fn a_client_behind_a_proxy_is_banned_in_user_space_alone() {
    let mut setting = setting(Shared::default(), settings());
    let client = "192.0.2.1";
    // Strikes of a source of packets and of a client are two things.
    setting.bad(client, 2, START);
    setting.client_bad(client, 2, START);
    setting.keeper.hear(News::ClientGood(source(client)), START);
    setting.client_bad(client, 2, START);
    assert_eq!((setting.banned(), setting.banned_clients(START)), (vec![], vec![]));
    setting.client_bad(client, 1, START + SECOND);
    assert_eq!(setting.banned_clients(START + SECOND), [client]);
    assert_eq!(setting.banned(), [] as [&str; 0], "the store is not told");
    assert_eq!(setting.shared.earned.lock().unwrap().len(), 0, "nobody earns anything");
    let ban = setting.status.clients.list(START + SECOND)[0].1;
    assert_eq!((ban.since, ban.strikes, ban.reason), (START + SECOND, 3, FORGED as u32));
    assert_eq!(ban.expires >> 1, (START + 601 * SECOND) >> 1);
    assert_eq!((setting.status.bans(FORGED), setting.status.clients.bans(FORGED)), (0, 1));
    assert_eq!((setting.status.active(), setting.status.clients.active()), (0, 1));
    // It goes on in audit mode; one ban is one ban.
    setting.client_bad(client, 30, START + 2 * SECOND);
    assert_eq!(setting.status.clients.bans(FORGED), 1);
    setting.keeper.tick(START + 601 * SECOND);
    assert_eq!(setting.status.clients.active(), 0);
    assert_eq!(setting.banned_clients(START + 601 * SECOND), [] as [&str; 0]);
}

#[test]
fn bans_of_clients_have_the_same_bounds() {
    let mut setting = setting(Shared::default(), settings());
    setting.client_bad("10.0.0.1", 3, START);
    assert_eq!(setting.status.own.get(), 1, "the node's own");
    for from in ["192.0.2.1", "2001:db8::1", "192.0.2.3"] {
        setting.client_bad(from, 3, START);
    }
    assert_eq!(setting.banned_clients(START), ["192.0.2.1", "2001:db8::/64"]);
    assert_eq!(setting.status.full.get(), 1);
    let later = START + 601 * SECOND;
    setting.client_bad("192.0.2.3", 3, later);
    assert_eq!(setting.banned_clients(later), ["192.0.2.3"]);
    let off = Bans { mode: BanMode::Off, ..settings() };
    let mut setting = self::setting(Shared::default(), off);
    setting.client_bad("192.0.2.1", 30, START);
    assert_eq!(setting.banned_clients(START), [] as [&str; 0]);
}

#[test]
fn requests_of_banned_clients_are_refused_where_bans_are_enforced() {
    let now = crate::clock::since_boot();
    for (mode, refused) in [(BanMode::Enforce, true), (BanMode::Audit, false)] {
        let mut setting = setting(Shared::default(), Bans { mode, ..settings() });
        let (watch, _news) =
            watch(Arc::default(), Arc::clone(&setting.status), &settings().trusted);
        let asks = |client: &str| watch.refuses_client(client.parse().unwrap());
        assert!(!asks("192.0.2.1"), "{mode:?}");
        setting.client_bad("192.0.2.1", 3, now);
        setting.client_bad("2001:db8::1", 3, now);
        for client in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::ffff"] {
            assert_eq!(asks(client), refused, "{mode:?} {client}");
        }
        for client in ["192.0.2.2", "2001:db8:0:1::1", "::c000:201", "0.0.0.0", "::"] {
            assert!(!asks(client), "{mode:?} {client}");
        }
        let clients = &setting.status.clients;
        let counts = (clients.refused(), clients.audited());
        assert_eq!(counts, if refused { (3, 0) } else { (0, 3) }, "{mode:?}");
        let requests: Vec<_> = clients.list(now).iter().map(|(_, ban)| ban.packets).collect();
        assert_eq!(requests, [2, 1], "{mode:?}");
        // One that is over is nobody's, whoever stands in its place.
        let mut setting = self::setting(Shared::default(), Bans { mode, ..settings() });
        setting.client_bad("192.0.2.1", 3, now.saturating_sub(601 * SECOND));
        let (watch, _news) = self::watch(Arc::default(), Arc::clone(&setting.status), &[]);
        assert!(!watch.refuses_client("192.0.2.1".parse().unwrap()), "{mode:?}");
    }
}

#[test]
fn too_large_a_share_of_refused_requests_suspends() {
    let now = crate::clock::since_boot();
    let mut setting = setting(Shared::default(), settings());
    let (watch, _news) = watch(Arc::default(), Arc::clone(&setting.status), &[]);
    let banned: IpAddr = "192.0.2.1".parse().unwrap();
    setting.client_bad("192.0.2.1", 3, now);
    setting.keeper.tick(now);
    for _ in 0..1_000 {
        assert!(watch.refuses_client(banned));
    }
    setting.keeper.tick(now + SECOND);
    assert!(setting.status.clients.is_suspended());
    assert!(!watch.refuses_client(banned), "only counted");
    assert!(!setting.status.is_suspended(), "packets are another matter");
    for second in 2..20 {
        setting.keeper.tick(now + second * SECOND);
    }
    assert!(!setting.status.clients.is_suspended());
    assert!(watch.refuses_client(banned));
}

#[test]
fn workers_do_not_tell_of_clients_that_are_trusted() {
    let (suspects, status) = (Arc::default(), Arc::new(Status::new(BanMode::Audit)));
    let (watch, news) = watch(suspects, Arc::clone(&status), &settings().trusted);
    for never in ["127.0.0.1", "::1", "198.51.100.7"] {
        watch.client_bad(never.parse().unwrap(), FORGED);
    }
    watch.client_good("192.0.2.1".parse().unwrap());
    assert_eq!(news.try_iter().count(), 0);
    watch.client_bad("192.0.2.1".parse().unwrap(), FORGED);
    assert_eq!(news.try_iter().collect::<Vec<_>>(), [News::ClientBad(source("192.0.2.1"), FORGED)]);
}
