//! `check`: what a daemon would make of a configuration, told without starting one.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::certs::TlsBuilder;
use super::conditions::{Condition, ObjectReport, Report};
use super::jwks::{self, Keys};
use super::source::SourceFile;
use super::translate::Model;
use super::{Settings, load, publish, translate};
use crate::model::topology::Proxies;

/// What `check` found.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What became of everything.
    pub report: Report,
    /// What was left out although nothing is wrong, such as a key of a kind that we cannot use.
    pub warnings: Vec<String>,
}

/// Reads, translates and compiles `paths` as `run` would, where `proxies` may speak for clients.
pub fn run(paths: &[PathBuf], ignore_kinds: &[String], proxies: Proxies) -> Checked {
    check(load(&Settings {
        paths: paths.to_vec(),
        ignore_kinds: ignore_kinds.to_vec(),
        proxies: Some(proxies),
        ..Settings::default()
    }))
}

/// The same of a text that is in no file.
pub fn text(name: &str, text: &str) -> Checked {
    let file = SourceFile { name: name.into(), text: text.to_owned() };
    check(translate(&[file], Vec::new(), &[]))
}

fn check((model, mut report): (Model, Report)) -> Checked {
    let mut warnings = Vec::new();
    // Nothing is fetched: what an issuer says today is not what the files say.
    let keys = Keys::new(jwks::Settings::default()).plan(&model);
    match TlsBuilder::new()
        .and_then(|tls| publish::compile(model, &tls, &keys, &Proxies::default()))
    {
        Ok(compiled) => warnings = compiled.warnings,
        Err(error) => report.problems.push(format!("TLS cannot be set up: {error}")),
    }
    Checked { report, warnings }
}

impl Checked {
    /// Whether the configuration is free of errors: the exit status.
    pub fn is_good(&self) -> bool {
        !self.report.has_errors()
    }

    /// The conditions of every object as a table, then warnings and errors, then the sum.
    pub fn render(&self) -> String {
        let mut text = table(&self.report.objects);
        for object in &self.report.ignored {
            line(
                &mut text,
                format_args!("ignored: {} ({}:{})", object.object, object.file, object.line),
            );
        }
        for warning in &self.warnings {
            line(&mut text, format_args!("warning: {warning}"));
        }
        let errors: Vec<String> = self.report.errors().collect();
        for error in &errors {
            line(&mut text, format_args!("error: {error}"));
        }
        let mut objects: Vec<_> = self.report.objects.iter().map(|o| &o.object).collect();
        objects.dedup();
        let sum =
            format_args!("{}, {}", count(objects.len(), "object"), count(errors.len(), "error"));
        line(&mut text, sum);
        text
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let written = writeln!(text, "{arguments}");
    debug_assert!(written.is_ok());
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// `OBJECT  CONDITION  STATUS  REASON` with columns as wide as their widest cell.
fn table(objects: &[ObjectReport]) -> String {
    let mut rows: Vec<[String; 4]> =
        vec![["OBJECT".into(), "CONDITION".into(), "STATUS".into(), "REASON".into()]];
    let mut notes = Vec::new();
    for object in objects {
        let name = match &object.part {
            None => object.object.to_string(),
            Some(part) => format!("{} ({part})", object.object),
        };
        rows.extend(object.conditions.iter().map(|condition| row(&name, condition)));
        // Several fields may be to blame for one condition; the errors name each.
        rows.dedup();
        notes.extend(object.notes.iter().map(|note| format!("note: {name}: {note}")));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [object, condition, status, reason] in &rows {
        line(
            &mut text,
            format_args!(
                "{object:<0$}  {condition:<1$}  {status:<2$}  {reason}",
                widths[0], widths[1], widths[2]
            ),
        );
    }
    for note in notes {
        line(&mut text, format_args!("{note}"));
    }
    text
}

fn row(name: &str, condition: &Condition) -> [String; 4] {
    let status = if condition.status { "True" } else { "False" };
    [
        name.to_owned(),
        format!("{:?}", condition.kind),
        status.to_owned(),
        condition.reason.to_string(),
    ]
}
