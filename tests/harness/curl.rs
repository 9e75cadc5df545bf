//! curl, as a user would run it.

use anyhow::{Context, Result, bail};

use crate::netns::Netns;
use crate::shell;

/// What curl got.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// `HTTP/1.1` or `HTTP/2`.
    pub version: String,
    /// Status.
    pub status: u16,
    /// Header lines of the last response, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Runs `curl --silent --include ARGUMENTS`, in a namespace or here.
pub fn curl(netns: Option<&Netns>, arguments: &[&str]) -> Result<Answer> {
    let mut all = vec!["--silent", "--show-error", "--include", "--max-time", "60"];
    all.extend(arguments);
    let text = match netns {
        Some(netns) => netns.run("curl", &all)?,
        None => shell::run("curl", &all)?,
    };
    parse(&text).with_context(|| format!("curl {} printed:\n{text}", arguments.join(" ")))
}

fn parse(text: &str) -> Result<Answer> {
    let (mut head, mut body) = text.split_once("\r\n\r\n").context("no head")?;
    while head.lines().next().is_some_and(|line| line.contains(" 100")) {
        (head, body) = body.split_once("\r\n\r\n").context("no head after 100")?;
    }
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let (Some(version), Some(Ok(status))) = (words.next(), words.next().map(str::parse)) else {
        bail!("no status line");
    };
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Ok(Answer { version: version.to_owned(), status, headers, body: body.to_owned() })
}
