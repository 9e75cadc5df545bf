//! The budget: a file with a number per row.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Percent above the budget at which the test fails. The same program gives the same number within
/// 0.2 % for HTTP/1.1, and within 1 % for handshakes.
const TOLERANCE: u64 = 2;
/// The same where another compiler made the program than the one that the budget was written with.
const TOLERANCE_ELSEWHERE: u64 = 15;

/// What to do about a finding.
pub(crate) const HINT: &str = "if this is what it should cost, run `cargo xtask test icount --bless` \
                               and say in the commit what it is spent on";

/// The line that names the compiler.
const COMPILER: &str = "# Compiler: ";
const HEAD: &str = "\
# Instructions per request, in user space, without cryptography and libc.
# Written by `cargo xtask test icount --bless`; compared by `cargo xtask test icount`.
";

/// Instructions per request, by row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Budget {
    /// What made the program whose instructions these are.
    compiler: String,
    rows: BTreeMap<String, u64>,
}

impl Budget {
    /// An empty one, of a program made by this compiler.
    pub(crate) fn of(compiler: String) -> Self {
        Self { compiler, rows: BTreeMap::new() }
    }

    /// Notes a row.
    pub(crate) fn put(&mut self, name: &str, instructions: u64) {
        self.rows.insert(name.to_owned(), instructions);
    }

    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{}: {HINT}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let row = |line: &str| {
            let (name, number) = line.split_once(" = ").with_context(|| format!("`{line}`"))?;
            let number = number.replace('_', "").parse().with_context(|| format!("`{line}`"))?;
            Ok((name.to_owned(), number))
        };
        let compiler = text.lines().find_map(|line| line.strip_prefix(COMPILER));
        let compiler = compiler.context("no line names the compiler")?.to_owned();
        Ok(Self { compiler, rows: lines.map(row).collect::<Result<_>>()? })
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.text()).with_context(|| path.display().to_string())
    }

    fn text(&self) -> String {
        let rows = self.rows.iter().map(|(name, number)| format!("{name} = {number}\n"));
        format!("{HEAD}{COMPILER}{}\n\n{}", self.compiler, rows.collect::<String>())
    }

    /// What is above the budget, or not in it, or in it and not measured.
    pub(crate) fn compare(&self, measured: &Self) -> Vec<String> {
        let names = self.rows.keys().chain(measured.rows.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| self.finding(measured, name)).collect()
    }

    /// How much more than the budget is allowed, percent.
    fn tolerance(&self, measured: &Self) -> u64 {
        if self.compiler == measured.compiler { TOLERANCE } else { TOLERANCE_ELSEWHERE }
    }

    /// What makes the comparison a coarse one, if anything does.
    pub(crate) fn caveat(&self, measured: &Self) -> Option<String> {
        let (own, other) = (&self.compiler, &measured.compiler);
        let tolerance = self.tolerance(measured);
        (own != other).then(|| {
            format!(
                "the budget was written with {own}, and this program was made by {other}: \
                 {tolerance} % more than the budget is allowed instead of {TOLERANCE} %"
            )
        })
    }

    fn finding(&self, measured: &Self, name: &str) -> Option<String> {
        let tolerance = self.tolerance(measured);
        match (self.rows.get(name), measured.rows.get(name)) {
            (None, _) => Some(format!("{name}: is not in the budget")),
            (_, None) => Some(format!("{name}: was not measured")),
            (Some(budget), Some(found)) if found * 100 > budget * (100 + tolerance) => {
                Some(format!("{name}: {found} instructions per request, the budget is {budget}"))
            }
            (Some(budget), Some(found)) => {
                if found * (100 + tolerance) < budget * 100 {
                    println!("{name}: {found} of {budget}: the budget can be lowered; {HINT}");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(rows: &[(&str, u64)]) -> Budget {
        let mut budget = Budget::of("rustc 1".to_owned());
        for (name, number) in rows {
            budget.put(name, *number);
        }
        budget
    }

    #[test]
    fn a_file_gives_back_what_was_written() -> Result<()> {
        let budget = budget(&[("a", 1), ("b", 22_222)]);
        assert_eq!(Budget::parse(&budget.text())?, budget);
        for line in ["a = many", "a"] {
            assert!(Budget::parse(&format!("{COMPILER}rustc 1\n{line}\n")).is_err(), "{line}");
        }
        assert!(Budget::parse("a = 1\n").is_err(), "no compiler");
        Ok(())
    }

    #[test]
    fn another_compiler_may_make_more_of_it() {
        let committed = budget(&[("a", 10_000)]);
        for (instructions, findings) in [(11_500, 0), (11_501, 1)] {
            let other = Budget { compiler: "rustc 2".to_owned(), ..budget(&[("a", instructions)]) };
            assert_eq!(committed.compare(&other).len(), findings, "{instructions}");
            let caveat = committed.caveat(&other).unwrap_or_default();
            assert!(caveat.contains("rustc 1") && caveat.contains("rustc 2"), "{caveat}");
        }
        assert_eq!(committed.caveat(&committed), None);
    }

    #[test]
    fn only_more_than_the_tolerance_is_a_finding() {
        let committed = budget(&[("a", 10_000)]);
        let rows: [(&[(&str, u64)], usize); 6] = [
            (&[("a", 10_000)], 0),
            (&[("a", 10_200)], 0),
            (&[("a", 10_201)], 1),
            (&[("a", 5_000)], 0),
            (&[], 1),
            (&[("a", 10_000), ("b", 1)], 1),
        ];
        for (measured, expected) in rows {
            let found = committed.compare(&budget(measured));
            assert_eq!(found.len(), expected, "{measured:?}: {found:?}");
        }
    }
}
