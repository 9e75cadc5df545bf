//! Memory: that of many connections is given back once they have ended.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use gateway_tests::raw::Client;

use crate::setting::{Setting, setting};

const CONNECTIONS: usize = 400;

#[test]
fn memory_of_connections_is_given_back_when_they_have_gone() -> Result<()> {
    let setting = setting()?;
    let memory = || private_memory(setting.daemon.pid());
    // What a start leaves behind is given back by the first wave.
    drop(wave(&setting)?);
    let idle = settled(memory)?;
    let clients = wave(&setting)?;
    let full = memory()?;
    assert!(full > idle + 1_000, "connections take memory: {idle} KiB, then {full} KiB");
    drop(clients);
    setting.daemon.until("half of the memory is given back", || {
        memory().ok().filter(|now| *now < idle.midpoint(full))
    })?;
    Ok(())
}

/// Connections that have had an answer each.
fn wave(setting: &Setting) -> Result<Vec<Client>> {
    let connection = |_| {
        let mut client = setting.connect()?;
        client.exchange(b"GET /free HTTP/1.1\r\nhost: a.test\r\n\r\n", false)?;
        Ok(client)
    };
    (0..CONNECTIONS).map(connection).collect()
}

/// The memory once it is the same for longer than the daemon takes to give back.
fn settled(memory: impl Fn() -> Result<u64>) -> Result<u64> {
    let mut last = memory()?;
    for _ in 0..10 {
        std::thread::sleep(Duration::from_secs(3));
        let now = memory()?;
        if now.abs_diff(last) < 100 {
            return Ok(now);
        }
        last = now;
    }
    bail!("memory does not settle: {last} KiB")
}

/// KiB of memory that is no file's.
fn private_memory(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    number.context("smaps_rollup has no line for anonymous memory")
}
