//! Both sides of a handover, on two threads.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use super::*;
use crate::sys::channel::Channel;

/// A place of a test's own.
fn place(test: &str) -> Place {
    Place::without_pins(Path::new(&format!("/{test}/{}", std::process::id())))
}

/// What the successor sees where the predecessor does this with it.
fn handed<T: Send>(
    test: &str,
    predecessor: impl FnOnce(Visitor) + Send,
    successor: impl FnOnce(Result<Option<Predecessor>, HandoverError>) -> T + Send,
) -> T {
    let place = place(test);
    let door = Door::open(&place).unwrap().unwrap();
    assert!(Door::open(&place).unwrap().is_none(), "one door per place");
    thread::scope(|scope| {
        let old = scope.spawn(|| predecessor(door.visitor().unwrap()));
        let seen = successor(Predecessor::find(&place));
        old.join().unwrap();
        seen
    })
}

fn estate(file: &File) -> Estate<'_> {
    let mut estate = Estate::serving(3, 42);
    estate.add(Item::Lock, file.as_fd());
    (0..200)
        .for_each(|worker| estate.add(Item::Worker { worker, v6: worker % 2 == 1 }, file.as_fd()));
    estate
}

#[test]
fn what_is_offered_arrives_and_the_end_of_both_is_seen() {
    let file = tempfile::tempfile().unwrap();
    handed(
        "whole",
        |visitor| {
            let mut heir = visitor.offer(&estate(&file)).unwrap();
            assert_eq!(heir.pid(), std::process::id());
            heir.ready().unwrap();
            heir.release().unwrap();
            heir.ended();
        },
        |found| {
            let mut old = found.unwrap().unwrap();
            assert_eq!((old.workers(), old.seed(), old.is_draining()), (3, 42, false));
            assert_eq!(old.take(|item| item == Item::Lock).len(), 1);
            let workers = old.take(|item| matches!(item, Item::Worker { .. }));
            assert_eq!(workers.len(), 200);
            assert_eq!(workers[3].0, Item::Worker { worker: 3, v6: true });
            assert!(old.take(|_| true).is_empty());
            old.await_release().unwrap();
            drop(old.relieve());
        },
    );
}

#[test]
fn elders_are_passed_on_and_seen_to_end() {
    let (elder, its_end) = rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    handed(
        "elders",
        |visitor| {
            let mut estate = Estate::draining();
            estate.add(Item::Elder, elder.as_fd());
            visitor.offer(&estate).unwrap().ended();
        },
        |found| {
            let old = found.unwrap().unwrap();
            assert!(old.is_draining());
            let elders = old.relieve();
            assert_eq!(elders.len(), 2);
            drop(its_end);
            elders[0].ended();
            drop(elders);
        },
    );
}

#[test]
fn a_refusal_says_why() {
    let error = handed(
        "refusal",
        |visitor| visitor.refuse("it is draining").unwrap(),
        |found| found.unwrap_err().to_string(),
    );
    let pid = std::process::id();
    assert_eq!(
        error,
        format!("the running gateway-daemon (process {pid}) is not taken over: it is draining")
    );
}

#[test]
fn an_offer_can_be_taken_back() {
    let file = tempfile::tempfile().unwrap();
    let error = handed(
        "withdrawn",
        |visitor| drop(visitor.offer(&estate(&file)).unwrap()),
        |found| found.unwrap().unwrap().await_release().unwrap_err().to_string(),
    );
    assert!(error.ends_with("is not taken over: it waited too long"), "{error}");
}

#[test]
fn whoever_is_left_carries_on() {
    let file = tempfile::tempfile().unwrap();
    handed(
        "dead-successor",
        |visitor| {
            let heir = visitor.offer(&estate(&file)).unwrap();
            assert!(matches!(heir.ready(), Err(HandoverError::Gone { .. })));
        },
        |found| drop(found.unwrap().unwrap()),
    );
    handed(
        "dead-after-release",
        |visitor| {
            let mut heir = visitor.offer(&estate(&file)).unwrap();
            heir.ready().unwrap();
            assert!(matches!(heir.release(), Err(HandoverError::Gone { .. })));
        },
        |found| {
            let old = found.unwrap().unwrap();
            old.await_release().unwrap();
            drop(old);
        },
    );
}

#[test]
fn a_successor_whose_predecessor_dies_carries_on() {
    let place = place("dead-predecessor");
    let listener = crate::sys::channel::Listener::bind(&place.0).unwrap().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let channel = listener.accept().unwrap();
            channel.receive().unwrap();
            let offer =
                r#"{"offer":{"version":"0","draining":false,"workers":1,"seed":1,"files":0}}"#;
            channel.send(offer.as_bytes(), &[]).unwrap();
        });
        Predecessor::find(&place).unwrap().unwrap().await_release().unwrap();
    });
}

#[test]
fn whoever_ends_before_an_offer_was_never_there() {
    let place = place("nobody");
    assert!(Predecessor::find(&place).unwrap().is_none());
    assert!(handed("gone", drop, |found| found.unwrap().is_none()));
}

#[test]
fn other_versions_are_told_what_to_do() {
    let rows = [
        (
            "protocol",
            r#"{"hello":{"protocol":99,"abi":2,"version":"9.9"}}"#,
            "version 9.9 hands over by protocol 99, this one by 1: stop the running one first",
        ),
        (
            "layout",
            r#"{"hello":{"protocol":1,"abi":99,"version":"9.9","more":true}}"#,
            "version 9.9 has maps of layout 99, the running one of 3: stop the running one first",
        ),
    ];
    for (name, hello, said) in rows {
        let place = place(name);
        let door = Door::open(&place).unwrap().unwrap();
        thread::scope(|scope| {
            let old = scope.spawn(|| door.visitor().is_err());
            let channel = Channel::connect(&place.0).unwrap().unwrap();
            channel.send(hello.as_bytes(), &[]).unwrap();
            let answer = String::from_utf8(channel.receive().unwrap().unwrap().0).unwrap();
            assert!(answer.contains(said), "{name}: {answer}");
            door.close();
            assert!(old.join().unwrap(), "{name}: not let in");
        });
    }
}

#[test]
fn what_is_not_understood_is_quoted() {
    let place = place("stranger");
    let listener = crate::sys::channel::Listener::bind(&place.0).unwrap().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let channel = listener.accept().unwrap();
            channel.receive().unwrap();
            channel.send(b"HTTP/1.1 400", &[]).unwrap();
        });
        let error = Predecessor::find(&place).unwrap_err().to_string();
        assert!(error.contains("says \"HTTP/1.1 400\", which this version"), "{error}");
    });
}

#[test]
fn a_place_is_a_directory_however_it_is_reached() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path(), tempfile::tempdir().unwrap());
    let place = Place::with_pins(path).unwrap();
    assert_eq!(place, Place::with_pins(&path.join("../").join(path)).unwrap());
    assert_ne!(place, Place::with_pins(other.path()).unwrap());
    assert!(Place::with_pins(Path::new("/no/such")).is_err());
    let long = "/a".repeat(2000);
    for path in ["/short", &long] {
        let place = Place::without_pins(Path::new(path));
        assert!(place.0.len() <= 107);
        assert!(Door::open(&place).unwrap().is_some());
    }
    let other = format!("{long}b");
    assert_ne!(Place::without_pins(Path::new(&long)), Place::without_pins(Path::new(&other)));
}
