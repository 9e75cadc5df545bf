//! The seeds of the fuzz targets, and what fuzzing has found so far, on every machine: each is fed to
//! the same functions that `cargo xtask test fuzz` feeds with whatever it comes up with. So are
//! request heads that are put together from what makes readers disagree.

#[cfg(test)]
#[expect(unreachable_pub, reason = "it is the library of the fuzz targets")]
#[path = "../../tests/fuzz/src/lib.rs"]
mod gateway_fuzz;

use std::io;
use std::path::Path;

use gateway_fuzz::generated::Random;
use gateway_fuzz::{clients, jwks, manifest, request, token};

/// Feeds every file of a folder below the root to a function.
fn feed<T>(folder: &str, holds: fn(&[u8]) -> T) -> io::Result<()> {
    let mut seeds = 0;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for entry in std::fs::read_dir(root.join(folder))? {
        let path = entry?.path();
        println!("{}", path.display());
        holds(&std::fs::read(&path)?);
        seeds += 1;
    }
    assert!(seeds > 5, "{folder} has {seeds} seeds");
    Ok(())
}

#[test]
fn tokens_hold() -> io::Result<()> {
    feed("tests/fuzz/seeds/token", token::holds)
}

#[test]
fn words_of_proxies_hold() -> io::Result<()> {
    feed("tests/fuzz/seeds/clients", clients::holds)
}

#[test]
fn key_sets_hold() -> io::Result<()> {
    feed("tests/fuzz/seeds/jwks", jwks::holds)
}

#[test]
fn manifests_hold() -> io::Result<()> {
    feed("tests/fuzz/seeds/manifest", manifest::holds)?;
    feed("gateway-daemon/src/control/testdata", manifest::holds)
}

#[test]
fn requests_hold() -> io::Result<()> {
    feed("tests/fuzz/seeds/request", request::holds)
}

/// Through the pipeline, for targets that nobody would think of.
#[test]
fn the_decided_path_is_the_forwarded_path_of_generated_heads() {
    let mut random = Random(1);
    let mut forwarded = 0;
    for _ in 0..20_000 {
        let head = random.head();
        forwarded += usize::from(request::holds(head.as_bytes()));
    }
    assert!(forwarded > 4_000, "only {forwarded} were forwarded");
}
