//! Scalars, errors and null, on small types of the tests' own.

use serde::Deserialize;

use super::super::yaml;
use super::*;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(default)]
    text: String,
    number: Option<u32>,
    flag: Option<bool>,
    #[serde(default)]
    list: Vec<Inner>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Inner {
    name: String,
}

fn read(text: &str) -> Result<Sample, Vec<String>> {
    let (documents, error) = yaml::read(text);
    assert_eq!(error, None);
    decode(&documents[0]).map_err(|errors: Vec<DecodeError>| {
        errors.iter().map(|e| format!("{}: {}: {}", e.line, e.path, e.message)).collect()
    })
}

#[test]
fn plain_scalars_are_text_only_where_every_reader_agrees() {
    for text in ["80", "-1", "0x1F", "1_000", "1.5", "1e3", ".inf", "true", "No", "off", "~", ""] {
        let errors = read(&format!("text: {text}\n")).unwrap_err();
        assert!(errors[0].contains("put it in quotes"), "{text}: {errors:?}");
    }
    for text in
        ["\"80\"", "'no'", "v1", "10.0.0.1", "1.2.3", "5s", "a1", "x-y", "/1", "2001:db8::1"]
    {
        assert!(read(&format!("text: {text}\n")).is_ok(), "{text}");
    }
}

#[test]
fn every_error_is_reported_once() {
    let text = "\
text: [x]
unknown: 1
number: -4
flag: yes
list:
- name: 1
- {}
- nam: x
- good
";
    assert_eq!(
        read(text).unwrap_err(),
        [
            "1: text: a list is not a string",
            "2: unknown: unknown field; this place has text, number, flag or list",
            "3: number: integer `-4` is not u32",
            "4: flag: \"yes\" is not true or false",
            "6: list[0].name: the number 1 where text is wanted; put it in quotes",
            "7: list[1]: field \"name\" is missing",
            "8: list[2].nam: unknown field; this place has name",
            "8: list[2]: field \"name\" is missing",
            "9: list[3]: \"good\" is not a mapping",
        ]
    );
}

#[test]
fn null_is_absence() {
    assert_eq!(read("number:\nflag: null\nlist: ~\n").unwrap(), Sample::default());
}
