//! How long it takes from start to the first answer.

use anyhow::Result;

use crate::field::Field;
use crate::results::Round;
use crate::scenario::{Entry, Figure};

/// All rounds; for each, a figure per gateway.
pub(crate) fn rounds(
    field: &Field,
    entries: &[Entry],
    mut progress: impl FnMut(u32),
) -> Result<Vec<Vec<Round>>> {
    let mut rounds = Vec::new();
    for number in 1..=field.effort.rounds {
        progress(number);
        let round = entries.iter().enumerate().map(|(at, entry)| {
            let gateway = field.launch(at, *entry, None)?;
            let start = gateway.start.as_secs_f64() * 1e3;
            Ok(Round { figures: [(Figure::Start, start)].into(), requests: 1, noise: 0.0 })
        });
        rounds.push(round.collect::<Result<_>>()?);
    }
    Ok(rounds)
}
