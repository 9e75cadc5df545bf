//! Memory: that of many connections is given back once they have ended.

use anyhow::{Context, Result};

use crate::setting::setting;

const CONNECTIONS: usize = 400;

#[test]
fn memory_of_connections_is_given_back_when_they_have_gone() -> Result<()> {
    let setting = setting()?;
    let memory = || private_memory(setting.daemon.pid());
    let idle = memory()?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = setting.connect()?;
        client.exchange(b"GET /free HTTP/1.1\r\nhost: a.test\r\n\r\n", false)?;
        clients.push(client);
    }
    let full = memory()?;
    assert!(full > idle + 1_000, "connections take memory: {idle} KiB, then {full} KiB");
    drop(clients);
    setting.daemon.until("half of the memory is given back", || {
        memory().ok().filter(|now| *now < idle.midpoint(full))
    })?;
    Ok(())
}

/// KiB of memory that is no file's.
fn private_memory(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
    number.context("smaps_rollup has no line for anonymous memory")
}
