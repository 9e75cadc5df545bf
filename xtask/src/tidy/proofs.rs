//! Rules for tables in documents whose last column is headed `Test`: each row names tests in its last
//! cell, and each test that is named is there.

use std::collections::HashSet;

use super::rust::{Token, tokens};
use super::{File, Finding};

/// Checks every document against the tests of the tree.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let tests: HashSet<&str> =
        files.iter().filter(|file| file.is("rs")).flat_map(|file| tests(&file.text)).collect();
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        for (cell, line) in cells(&file.text) {
            let mut named = names(cell).peekable();
            if named.peek().is_none() {
                findings.push(Finding::new(&file.path, line, "the row names no test"));
            }
            for name in named.filter(|name| !tests.contains(name)) {
                let what = format!("there is no test `{name}`");
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings
}

/// The last cell of each row below a head that ends with `Test`.
fn cells(text: &str) -> Vec<(&str, usize)> {
    let mut cells = Vec::new();
    let mut counts = false;
    let mut head = true;
    for (index, line) in text.lines().enumerate() {
        let Some(row) = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|'))
        else {
            head = true;
            continue;
        };
        let last = row.rsplit('|').next().unwrap_or_default().trim();
        if head {
            counts = last == "Test";
            head = false;
        } else if counts && !last.starts_with("---") {
            cells.push((last, index + 1));
        }
    }
    cells
}

/// What stands between backquotes.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The functions of a file that are tests.
fn tests(text: &str) -> Vec<&str> {
    let tokens = tokens(text);
    let mut tests = Vec::new();
    let mut is_test = false;
    for window in tokens.windows(4) {
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|at| window[at].0);
        let attribute = [first, second, third, fourth];
        is_test |= attribute
            == [Token::Mark('#'), Token::Mark('['), Token::Word("test"), Token::Mark(']')];
        if let (Token::Word("fn"), Token::Word(name)) = (first, second) {
            if is_test {
                tests.push(name);
            }
            is_test = false;
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::super::{file, whats};
    use super::*;

    const SOURCE: &str = "//! Docs.\n#[test]\n#[expect(x)]\nfn there() { g(); }\nfn helper() { }\n";

    fn findings(document: &str) -> Vec<String> {
        whats(check(&[file("docs/a.md", document), file("src/a.rs", SOURCE)]))
    }

    #[test]
    fn tests_that_are_named_are_there() {
        let table =
            |rows: &str| format!("Text.\n\n| Attack | Test |\n|---|---|\n{rows}\n\nText.\n");
        let found = |rows: &str| findings(&table(rows));
        assert_eq!(found("| a | `there` |"), Vec::<String>::new());
        assert_eq!(found("| a | `there`, `gone` |"), ["docs/a.md:5: there is no test `gone`"]);
        assert_eq!(found("| a | `helper` |"), ["docs/a.md:5: there is no test `helper`"]);
        assert_eq!(
            found("| a | `there` |\n| b | some day |"),
            ["docs/a.md:6: the row names no test"]
        );
    }

    #[test]
    fn other_tables_name_what_they_like() {
        assert_eq!(findings("| Suite | What |\n|---|---|\n| a | `gone` |\n"), Vec::<String>::new());
        let two = "| a | Test |\n|---|---|\n| b | `there` |\n\n| a | b |\n|---|---|\n| c | `d` |\n";
        assert_eq!(findings(two), Vec::<String>::new());
    }
}
