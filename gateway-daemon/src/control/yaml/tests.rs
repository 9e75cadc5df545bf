//! Lines, refusals and bounds of the YAML reader.

use super::*;

fn first(text: &str) -> Node {
    let (documents, error) = read(text);
    assert_eq!(error, None);
    documents.into_iter().next().unwrap()
}

#[test]
fn lines_are_those_of_the_text() {
    let node = first("# a comment\na: 1\nb:\n  c:\n  - x\n  - y: z\n");
    assert_eq!(node.get("a").unwrap().line, 2);
    let Value::List(items) = &node.get("b").unwrap().get("c").unwrap().value else {
        panic!("c is a list");
    };
    assert_eq!((items[0].line, items[1].line), (5, 6));
}

#[test]
fn documents_are_split_and_empty_ones_left_out() {
    let (documents, error) = read("---\n# nothing\n---\na: 1\n---\n---\nb: 2\n...\n");
    assert_eq!(error, None);
    assert_eq!(documents.len(), 2);
    assert_eq!(documents[1].line, 7);
}

#[test]
fn json_is_read() {
    let node = first("{\"a\": [1, true, \"x\\/y\", null],\n\t\"b\": {}}");
    let Value::List(items) = &node.get("a").unwrap().value else { panic!("a is a list") };
    assert_eq!(items[2].text(), Some("x/y"));
    assert!(items[3].is_null());
    assert!(matches!(&node.get("b").unwrap().value, Value::Map(m) if m.is_empty()));
}

#[test]
fn refusals_name_their_line() {
    let rows: &[(&str, &str, usize, &str)] = &[
        ("key twice", "a: 1\nb: 2\na: 3\n", 3, "key \"a\" is given twice (first on line 1)"),
        ("key is a list", "? [a]\n: 1\n", 1, "a key has to be plain text"),
        ("tag", "a: !!binary aGk=\n", 1, "is not supported"),
        ("unclosed", "a: [1, 2\nb: 3\n", 2, "not YAML"),
        ("unknown alias", "a: *x\n", 1, "not YAML"),
        ("alias in itself", "a: &x [1, *x]\n", 1, "an alias names an anchor that holds it"),
    ];
    for (name, text, line, message) in rows {
        let (_, error) = read(text);
        let error = error.unwrap_or_else(|| panic!("{name}: no error"));
        assert_eq!(error.line, *line, "{name}: {error}");
        assert!(error.message.contains(message), "{name}: {error}");
    }
}

#[test]
fn documents_before_an_error_are_kept() {
    let (documents, error) = read("a: 1\n---\nb: [\n");
    assert_eq!(documents.len(), 1);
    assert!(error.is_some());
}

#[test]
fn aliases_are_expanded_within_a_bound() {
    let node = first("a: &x {b: 1}\nc: *x\n");
    assert_eq!(node.get("c").unwrap().get("b").unwrap().text(), Some("1"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..9 {
        let alias = format!("*a{}, ", i - 1).repeat(10);
        bomb = format!("{bomb}a{i}: &a{i} [{}]\n", alias.trim_end_matches(", "));
    }
    let (_, error) = read(&bomb);
    assert!(error.unwrap().message.contains("aliases expand"));
}

#[test]
fn deep_nesting_is_refused() {
    let (_, error) = read(&format!("{}{}", "[".repeat(100), "]".repeat(100)));
    assert!(error.unwrap().message.contains("nested deeper"));
}
