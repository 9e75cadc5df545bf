//! `gateway-daemon stats`: the counters from the pinned maps, also while the daemon is down.

use std::io::{self, Write};
use std::time::Duration;

use super::interfaces;
use crate::counters::{Regions, Totals, json, table};
use crate::model::attachment::Attachment;

/// Prints the counters and what is attached once, or every second until interrupted.
pub fn print(
    regions: &Regions,
    attached: &dyn Fn() -> Vec<Attachment>,
    as_json: bool,
    watch: bool,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    loop {
        let (totals, attached) = (Totals::read(regions), attached());
        let mut text = if as_json { json_text(&totals, &attached) } else { table(&totals) };
        if !as_json {
            interfaces::table(&attached, &mut text);
        }
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

/// The totals and the interfaces as JSON.
pub(super) fn json_text(totals: &Totals, attached: &[Attachment]) -> String {
    let mut value = json(totals);
    value["interfaces"] = interfaces::values(attached);
    format!("{value:#}")
}
