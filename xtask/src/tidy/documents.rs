//! Rules for the documents: links lead somewhere, and what README tells people to type is what
//! `cargo xtask run` prints and what a test runs.

use super::{File, Finding};

/// The comment before a block of README that the suite `e2e` runs; `docs/testing.md` explains it.
const TESTED: &str = "<!-- tested -->";
/// Programs whose command lines in README must be tested.
const PROGRAMS: &[&str] = &["curl ", "bpftool ", "target/release/gateway-daemon "];
/// What `cargo xtask run` prints.
const PRINTED: &str = "xtask/demo/try.txt";

/// Checks all documents; `exists` looks for a path below the root.
pub(super) fn check(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is("md")) {
        for (target, line) in links(&file.text) {
            findings.extend(
                broken(file, target, files, &exists)
                    .map(|what| Finding::new(&file.path, line, what)),
            );
        }
    }
    if let Some(readme) = files.iter().find(|file| file.path == "README.md") {
        let printed = files.iter().find(|file| file.path == PRINTED);
        findings.extend(check_commands(readme, printed.map_or("", |file| &file.text)));
    }
    findings
}

/// The targets of inline links, outside of code blocks.
fn links(text: &str) -> Vec<(&str, usize)> {
    let mut links = Vec::new();
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for after in line.split("](").skip(1) {
            if let Some((target, _)) = after.split_once(')') {
                links.push((target, index + 1));
            }
        }
    }
    links
}

/// What is wrong with a link, if anything is.
fn broken(
    file: &File,
    link: &str,
    files: &[File],
    exists: impl Fn(&str) -> bool,
) -> Option<String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| link.starts_with(scheme)) {
        return None;
    }
    let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if target.is_empty() { file.path.clone() } else { resolve(&file.path, target) };
    if !exists(&path) {
        return Some(format!("link to `{link}`: there is no {path}"));
    }
    if anchor.is_empty() {
        return None;
    }
    let document = files.iter().find(|file| file.path == path)?;
    let found = document.text.lines().any(|line| {
        line.strip_prefix('#').is_some_and(|rest| slug(rest.trim_start_matches('#')) == anchor)
    });
    (!found).then(|| format!("link to `{link}`: {path} has no such heading"))
}

/// A link target as a path below the root.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchor that a heading gets.
fn slug(heading: &str) -> String {
    let kept =
        heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// README against what `cargo xtask run` prints.
fn check_commands(readme: &File, printed: &str) -> Vec<Finding> {
    let commands = commands(&readme.text);
    let mut findings = Vec::new();
    for command in &commands {
        if command.tested {
            continue;
        }
        let what = format!("`{}` is not in a block marked `{TESTED}`", command.text);
        findings.push(Finding::new(&readme.path, command.line, what));
    }
    for line in printed.lines().map(str::trim) {
        let is_command = PROGRAMS.iter().any(|program| line.starts_with(program));
        if is_command && !commands.iter().any(|command| command.text == line) {
            let what = format!("`{line}` of {PRINTED} is not in a tested block");
            findings.push(Finding::new(&readme.path, 0, what));
        }
    }
    findings
}

struct Command<'a> {
    text: &'a str,
    line: usize,
    tested: bool,
}

/// Every line in a code block that calls one of our programs.
fn commands(text: &str) -> Vec<Command<'_>> {
    let mut commands = Vec::new();
    let mut block = None;
    let mut before = "";
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            block = if block.is_some() { None } else { Some(before == TESTED) };
        } else if let Some(tested) = block {
            let text = line.strip_prefix("$ ").unwrap_or(line);
            if PROGRAMS.iter().any(|program| text.starts_with(program)) {
                commands.push(Command { text, line: index + 1, tested });
            }
        }
        if !line.trim().is_empty() {
            before = line.trim();
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::super::{file, whats};
    use super::*;

    fn findings(files: &[File]) -> Vec<String> {
        whats(check(files, |path| files.iter().any(|file| file.path == path)))
    }

    #[test]
    fn links_must_lead_somewhere() {
        let table = [
            ("a file", "[x](other.md)", 0),
            ("a heading", "[x](other.md#two-words)", 0),
            ("a heading of its own", "# Here\n[x](#here)", 0),
            ("the web", "[x](https://example.com/nothing)", 0),
            ("code", "```\n[x](nothing.md)\n```", 0),
            ("no file", "[x](nothing.md)", 1),
            ("no heading", "[x](other.md#three)", 1),
            ("above", "[x](../docs/other.md)", 0),
        ];
        for (name, text, expected) in table {
            let files = [file("docs/a.md", text), file("docs/other.md", "## Two words\n")];
            assert_eq!(findings(&files).len(), expected, "{name}");
        }
    }

    #[test]
    fn a_command_of_readme_must_be_tested() {
        let tested = "<!-- tested -->\n\n```console\n$ curl -I localhost\nHTTP/1.1 200 OK\n```\n";
        assert_eq!(findings(&[file("README.md", tested)]), Vec::<String>::new());
        let untested = tested.replace("<!-- tested -->", "As follows:");
        assert_eq!(findings(&[file("README.md", &untested)]).len(), 1);
    }

    #[test]
    fn a_command_that_run_prints_must_be_in_readme() {
        let readme = file("README.md", "<!-- tested -->\n```console\n$ curl -I localhost\n```\n");
        let printed = file(PRINTED, "Try:\n  curl -I localhost\n  bpftool map dump pinned x\n");
        let found = findings(&[readme, printed]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("bpftool"), "{found:?}");
    }
}
