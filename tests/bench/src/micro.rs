//! What the micro benchmarks found (`gateway-daemon/benches/micro/`), read from the files that criterion
//! leaves behind, as tables.
//!
//! Every row of the tables has to be found, and whatever is found has to have a row.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::stats::Spread;
use crate::table::spread;
use crate::{clock, document};

/// How many there are of what grows.
const SIZES: [&str; 3] = ["1", "1000", "10000"];
const SIZES_SHOWN: [&str; 3] = ["1", "1,000", "10,000"];
const ALGORITHMS: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// A name of criterion's, and what it is in words.
type Row = (&'static str, &'static str);

const SIZED: [Row; 9] = [
    ("whole/permitted", "**whole decision**: a token that is known, permitted"),
    ("whole/no token", "**whole decision**: no token, 403"),
    ("whole/forged token", "**whole decision**: a forged token that is known, 401"),
    ("route/lookup", "route: as many routes"),
    ("route/slot", "slot of the counters: as many configured paths"),
    ("authz/exact", "authorize: as many policies, each an exact path"),
    ("authz/prefix", "authorize: each a prefix"),
    ("authz/host", "authorize: each a host"),
    ("counters/read", "reading all counters: as many configured paths, four workers"),
];
const TOKENS: [Row; 5] = [
    ("known", "hit: known from its first use"),
    ("new", "miss: checked anew, key parsed at publish"),
    ("forged, known", "bad: a forged one, known"),
    ("forged, new", "bad: a forged one, checked anew"),
    ("key parsed, signature alone", "to compare: the signature alone, its key parsed again"),
];
const SINGLE: [Row; 6] = [
    ("request/read/normal", "reading a request head: nothing to normalise"),
    ("request/read/normalised", "reading a request head: a path to normalise"),
    ("token/absent", "authenticate: no token"),
    ("counters/request", "counting a request"),
    ("counters/refusal", "counting a refusal and its reason"),
    ("counters/connection", "counting a connection, begin and end"),
];

/// Nanoseconds by the name of a benchmark.
type Found = BTreeMap<String, Spread>;

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

/// Prints what criterion left in its folder, and writes it into the documents where asked.
pub(crate) fn report(home: &Path, documents: Option<&Path>) -> Result<()> {
    let mut found = Found::new();
    collect(home, &mut found)?;
    let tables = tables(found)?;
    print!("{tables}");
    documents.map_or(Ok(()), |docs| document::write_micro(docs, &tables))
}

fn collect(folder: &Path, found: &mut Found) -> Result<()> {
    let new = folder.join("new");
    if new.join("estimates.json").exists() {
        let benchmark: Benchmark = read(&new.join("benchmark.json"))?;
        let Estimates { median } = read(&new.join("estimates.json"))?;
        let Interval { lower_bound: least, upper_bound: most } = median.confidence_interval;
        found.insert(benchmark.full_id, Spread { median: median.point_estimate, least, most });
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, found)?;
        }
    }
    Ok(())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

fn tables(mut found: Found) -> Result<String> {
    let mut cell = |name: String| {
        let figure = found.remove(&name).with_context(|| format!("no benchmark found {name}"))?;
        Ok(spread(figure))
    };
    let sized = rows(&SIZED, |name| SIZES.map(|size| format!("{name}/{size}")), &mut cell)?;
    let tokens = |name: &str| ALGORITHMS.map(|algorithm| format!("token/{algorithm}/{name}"));
    let tokens = rows(&TOKENS, tokens, &mut cell)?;
    let single = rows(&SINGLE, |name| [name.to_owned()], &mut cell)?;
    let unknown: Vec<_> = found.keys().collect();
    ensure!(unknown.is_empty(), "these have no row in tests/bench/src/micro.rs: {unknown:?}");
    let table = |head: &str, columns: &[&str], rows: &[(String, Vec<String>)]| {
        let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
        document::markdown(head, &columns, rows)
    };
    Ok(format!(
        "\nMeasured on {}: nanoseconds, median [its 95 % confidence interval].\n\n{}\n{}\n{}\n",
        clock::today(),
        table("decisions, as their number grows", &SIZES_SHOWN, &sized),
        table("authenticate, by algorithm", &ALGORITHMS, &tokens),
        table("and", &["ns"], &single),
    ))
}

/// Rows of a table, and the cells that their names stand for.
fn rows<const N: usize>(
    table: &[Row],
    names: impl Fn(&str) -> [String; N],
    cell: &mut impl FnMut(String) -> Result<String>,
) -> Result<Vec<(String, Vec<String>)>> {
    let row = |(name, words): &Row| {
        let cells = names(name).into_iter().map(&mut *cell).collect::<Result<_>>()?;
        Ok(((*words).to_owned(), cells))
    };
    table.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Found {
        let sized = SIZED.iter().flat_map(|(name, _)| SIZES.map(|size| format!("{name}/{size}")));
        let tokens = TOKENS
            .iter()
            .flat_map(|(name, _)| ALGORITHMS.map(|algorithm| format!("token/{algorithm}/{name}")));
        let single = SINGLE.iter().map(|(name, _)| (*name).to_owned());
        let figure = Spread { median: 1.5, least: 1.0, most: 2.0 };
        sized.chain(tokens).chain(single).map(|name| (name, figure)).collect()
    }

    #[test]
    fn nothing_is_left_out_unnoticed() {
        let text = tables(all()).expect("every row is there");
        assert!(
            text.contains("| reading a request head: nothing to normalise | 1.50 [1.00–2.00] |")
        );
        let mut less = all();
        less.remove("counters/request");
        assert!(tables(less).is_err_and(|error| error.to_string().contains("counters/request")));
        let mut more = all();
        more.insert("another".to_owned(), Spread { median: 1.0, least: 1.0, most: 1.0 });
        assert!(tables(more).is_err_and(|error| error.to_string().contains("another")));
    }

    #[test]
    fn files_of_criterion_are_read() -> Result<()> {
        let home = tempfile::tempdir()?;
        let new = home.path().join("authz_exact/10000/new");
        fs::create_dir_all(&new)?;
        fs::write(
            new.join("benchmark.json"),
            r#"{"group_id":"authz/exact","function_id":null,"value_str":"10000","throughput":null,
                "full_id":"authz/exact/10000","directory_name":"authz_exact/10000","title":"x"}"#,
        )?;
        fs::write(
            new.join("estimates.json"),
            r#"{"mean":{"point_estimate":9.0},"median":{"confidence_interval":{"confidence_level":0.95,
                "lower_bound":1.0,"upper_bound":3.0},"point_estimate":2.0,"standard_error":0.1}}"#,
        )?;
        // Those of an earlier run, which criterion keeps to compare with.
        fs::create_dir_all(home.path().join("authz_exact/10000/base"))?;
        let mut found = Found::new();
        collect(home.path(), &mut found)?;
        let expected = Spread { median: 2.0, least: 1.0, most: 3.0 };
        assert_eq!(found, [("authz/exact/10000".to_owned(), expected)].into());
        Ok(())
    }
}
