//! The figures in `docs/packets.md`, and the results that they are made of.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

const DOCUMENT: &str = "packets.md";
const RESULTS: &str = "packets.json";
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench packets --document` -->\n";
const END: &str = "<!-- end of figures -->\n";

/// Writes figures and results into the folder of the documents. Sections that are there and were not
/// measured now stay.
pub(crate) fn write(docs: &Path, measured: &Map<String, Value>) {
    let results = docs.join(RESULTS);
    let mut all = match fs::read_to_string(&results) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => Map::new(),
    };
    all.extend(measured.clone());
    let path = docs.join(DOCUMENT);
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).expect("no place for the figures");
    let (_, tail) = rest.split_once(END).expect("no end of the figures");
    fs::write(&path, format!("{head}{BEGIN}{}{END}{tail}", figures(&all))).unwrap();
    let text = serde_json::to_string_pretty(&Value::from(all)).unwrap();
    fs::write(results, text + "\n").unwrap();
}

/// The row of a daemon that holds floods off.
pub(crate) const WITH_BUDGETS: &str = "with budgets";

type Section = (&'static str, &'static str, fn(&Value) -> String);

const SECTIONS: [Section; 3] = [
    ("test-run", "Nanoseconds a packet", test_run),
    ("drop", "Packets dropped per second", dropped),
    ("flood", "Good clients during a flood", flood),
];

fn figures(all: &Map<String, Value>) -> String {
    let section = |(name, title, table): &Section| {
        let found = all.get(*name)?;
        let machine = &found["machine"];
        Some(format!(
            "\n### {title}\n\n`cargo xtask bench packets {name} --rounds {}`, {}: {}, {} CPUs, Linux {}.\n\n{}",
            machine["rounds"],
            text(&machine["date"]),
            text(&machine["cpu"]),
            machine["cpus"],
            text(&machine["kernel"]),
            table(&found["rows"]),
        ))
    };
    SECTIONS.iter().filter_map(section).collect::<String>() + "\n"
}

fn test_run(rows: &Value) -> String {
    let row = |row: &Value| {
        let (ratio, goal) = (&row["ratio"], &row["goal"]);
        vec![
            text(&row["row"]).to_owned(),
            format!("{} [{}–{}]", whole(&row["ns"]), whole(&row["min"]), whole(&row["max"])),
            figure(ratio),
            figure(goal),
            match (ratio.as_f64(), goal.as_f64()) {
                (Some(ratio), Some(goal)) if ratio <= goal => "held".to_owned(),
                (Some(_), Some(_)) => "**missed**".to_owned(),
                _ => String::new(),
            },
        ]
    };
    table(&["Packet", "ns", "× baseline", "goal", ""], rows, row)
}

fn dropped(rows: &Value) -> String {
    let row = |row: &Value| {
        vec![
            text(&row["row"]).to_owned(),
            format!(
                "{} [{}–{}]",
                millions(&row["packets_per_second"]),
                millions(&row["min"]),
                millions(&row["max"])
            ),
            whole(&row["ns"]),
            figure(&row["ratio"]),
        ]
    };
    table(&["Who drops", "million per second", "ns", "× dropped by nftables, raw"], rows, row)
}

fn flood(rows: &Value) -> String {
    format!("{}\n{}", at_full_speed(rows), at_a_steady_rate(rows))
}

fn at_a_steady_rate(rows: &Value) -> String {
    /// Of what is answered in time when all is calm, what has to be during a flood; by a daemon that
    /// holds floods off.
    const GOAL: f64 = 0.95;
    let row = |row: &Value| {
        let steady = &row["steady"];
        let [calm, sender, flooded] = ["calm", "sender_alone", "flooded"].map(|part| &steady[part]);
        let share = |part: &Value| percent(&part["in_time"]);
        let times =
            |part: &Value| format!("{} / {}", figure(&part["p50_ms"]), figure(&part["p99_ms"]));
        let verdict = match steady["kept"].as_f64() {
            Some(kept) if text(&row["row"]) == WITH_BUDGETS => {
                if kept >= GOAL {
                    "held"
                } else {
                    "**missed**"
                }
            }
            _ => "",
        };
        vec![
            text(&row["row"]).to_owned(),
            text(&row["flood"]).to_owned(),
            whole(&steady["asked_per_second"]),
            [share(calm), share(sender), share(flooded)].join(", "),
            format!(
                "{} [{}–{}]",
                figure(&steady["kept"]),
                figure(&steady["kept_ends"][0]),
                figure(&steady["kept_ends"][1])
            ),
            verdict.to_owned(),
            times(calm),
            times(sender),
            times(flooded),
            format!("{} → {}", figure(&calm["daemon_cores"]), figure(&flooded["daemon_cores"])),
        ]
    };
    let head = [
        "Daemon",
        "flood of",
        "asked per second",
        "answered in time, %: calm, sender at work, flooded",
        "flooded ÷ calm",
        "≥ 0.95",
        "p50 / p99 ms, calm",
        "sender at work against nobody",
        "flooded",
        "daemon's cores",
    ];
    table(&head, rows, row)
}

fn at_full_speed(rows: &Value) -> String {
    let row = |row: &Value| {
        let ends = |ends: &Value| format!("[{}–{}]", figure(&ends[0]), figure(&ends[1]));
        let (calm, flooded) =
            (&row["daemon_us_per_request"], &row["daemon_us_per_request_flooded"]);
        let beside = &row["ratio_to_sender_alone"];
        vec![
            text(&row["row"]).to_owned(),
            text(&row["flood"]).to_owned(),
            whole(&row["requests_per_second"]),
            whole(&row["requests_per_second_sender_alone"]),
            whole(&row["requests_per_second_flooded"]),
            format!("{} {}", figure(beside), ends(&row["ratio_to_sender_alone_ends"])),
            format!("{} {}", figure(&row["ratio"]), ends(&row["ratio_ends"])),
            format!("{} → {}", whole(calm), whole(flooded)),
            format!("{}, {}, {}", row["sent"], row["dropped"], row["accepted_of_the_flood"]),
        ]
    };
    let head = [
        "Daemon",
        "flood of",
        "requests/s, calm",
        "sender at work against nobody",
        "flooded",
        "flooded ÷ sender at work",
        "flooded ÷ calm",
        "daemon's CPU µs per request",
        "sent, dropped, got through",
    ];
    table(&head, rows, row)
}

fn table(head: &[&str], rows: &Value, row: impl Fn(&Value) -> Vec<String>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut lines = line(head.iter().map(|&cell| cell.to_owned()).collect());
    let rule = ["|---", &"|---:".repeat(head.len() - 1), "|\n"];
    lines.extend(rule);
    lines.extend(rows.as_array().into_iter().flatten().map(|found| line(row(found))));
    lines
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn figure(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |figure| format!("{figure:.2}"))
}

fn whole(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |figure| format!("{figure:.0}"))
}

fn percent(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |share| format!("{:.1}", share * 100.0))
}

fn millions(value: &Value) -> String {
    value.as_f64().map_or_else(String::new, |figure| format!("{:.2}", figure / 1e6))
}
