//! `gateway-daemon stats`: the counters from the pinned maps, also while the daemon is down.

use std::io::{self, Write};
use std::time::Duration;

use crate::counters::{Regions, Totals, json, table};

/// Prints the counters once, or every second until interrupted.
pub fn print(regions: &Regions, as_json: bool, watch: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    loop {
        let totals = Totals::read(regions);
        let mut text = if as_json { json(&totals) } else { table(&totals) };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        if watch && !as_json {
            out.write_all(b"\x1b[H\x1b[2J")?; // home, clear
        }
        out.write_all(text.as_bytes())?;
        out.flush()?;
        if !watch {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}
