//! The forms as questions. What is answered becomes the arguments that would have said the same.

use std::io::{BufRead, Error, ErrorKind, Write};

use super::GenerateError;
use super::form::{Form, Rule};
use crate::cli::generate::{JwtArgs, MatchWord};

/// Asks for everything; a question is repeated until its answer makes sense.
pub(super) fn ask(
    answers: &mut dyn BufRead,
    questions: &mut dyn Write,
) -> Result<JwtArgs, GenerateError> {
    let mut prompt = Prompt { answers, questions };
    let mut asked = JwtArgs::default();
    prompt.say("JWT Config")?;
    asked.name = Some(prompt.or("Name", "jwt")?);
    asked.namespace = Some(prompt.or("Namespace of the Gateway", "default")?);
    asked.gateway = prompt.optional("Gateway (empty: every one of the namespace)")?;
    asked.issuer = Some(prompt.required("Issuer")?);
    prompt.keys(&mut asked)?;
    prompt.position(&mut asked)?;
    asked.passthrough = prompt.yes("Pass the token through to the upstream?")?;
    asked.payload_header = prompt.optional("Header for the payload (empty: none)")?;
    asked.claim_header = prompt.several("Claim to header, as CLAIM=HEADER (empty: no more)")?;
    prompt.say("Matching Rules")?;
    asked.mode = Some(
        match prompt.choice("Match mode", &["auth if matched", "bypass auth if matched"])? {
            0 => MatchWord::AuthIfMatched,
            _ => MatchWord::BypassAuthIfMatched,
        },
    );
    loop {
        let rule = "Rule, as path=/a* method=GET host=a.example.test (empty: no more)";
        let Some(rule) = prompt.optional(rule)? else { break };
        match Rule::parse(&rule) {
            Ok(_) => asked.rule.push(rule),
            Err(error) => prompt.say(&error.to_string())?,
        }
    }
    Ok(asked)
}

struct Prompt<'p> {
    answers: &'p mut dyn BufRead,
    questions: &'p mut dyn Write,
}

impl Prompt<'_> {
    fn say(&mut self, text: &str) -> Result<(), Error> {
        writeln!(self.questions, "{text}")
    }

    /// The answer without white space around it.
    fn answer(&mut self, question: &str) -> Result<String, Error> {
        write!(self.questions, "  {question}: ")?;
        self.questions.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the answers end too soon"));
        }
        Ok(line.trim().to_owned())
    }

    fn or(&mut self, question: &str, default: &str) -> Result<String, Error> {
        let answer = self.optional(&format!("{question} [{default}]"))?;
        Ok(answer.unwrap_or_else(|| default.to_owned()))
    }

    fn optional(&mut self, question: &str) -> Result<Option<String>, Error> {
        Ok(Some(self.answer(question)?).filter(|answer| !answer.is_empty()))
    }

    fn required(&mut self, question: &str) -> Result<String, Error> {
        loop {
            if let Some(answer) = self.optional(question)? {
                return Ok(answer);
            }
        }
    }

    fn several(&mut self, question: &str) -> Result<Vec<String>, Error> {
        let mut several = Vec::new();
        while let Some(answer) = self.optional(question)? {
            several.push(answer);
        }
        Ok(several)
    }

    fn yes(&mut self, question: &str) -> Result<bool, Error> {
        Ok(self.or(question, "no")?.to_ascii_lowercase().starts_with('y'))
    }

    /// The number of the chosen word; the first if nothing is typed.
    fn choice(&mut self, question: &str, words: &[&str]) -> Result<usize, Error> {
        for (number, word) in (1..).zip(words) {
            writeln!(self.questions, "    {number}) {word}")?;
        }
        loop {
            let number: Option<usize> = self.or(question, "1")?.parse().ok();
            match number {
                Some(number) if (1..=words.len()).contains(&number) => return Ok(number - 1),
                _ => self.say(&format!("type a number from 1 to {}", words.len()))?,
            }
        }
    }

    /// Asks for keys until there are some that can be read.
    fn keys(&mut self, asked: &mut JwtArgs) -> Result<(), Error> {
        loop {
            let choice =
                self.choice("Keys", &["JWKS as text", "JWKS in a file", "JWKS at a URI"])?;
            (asked.jwks, asked.jwks_file, asked.jwks_uri) = match choice {
                0 => (Some(self.required("JWKS, on one line")?), None, None),
                1 => (None, Some(self.required("File")?.into()), None),
                _ => (None, None, Some(self.required("URI")?)),
            };
            match Form::read(asked) {
                Err(error) if error.to_string().starts_with("--jwks") => {
                    self.say(&error.to_string())?;
                }
                _ => return Ok(()),
            }
        }
    }

    fn position(&mut self, asked: &mut JwtArgs) -> Result<(), Error> {
        let words = ["Authorization", "another header", "query parameter"];
        match self.choice("Token position", &words)? {
            0 => {}
            1 => {
                let name = self.required("Header")?;
                let prefix =
                    self.optional("Prefix (empty: none; a blank is added after a word)")?;
                // Prefixes are literal, and blanks around an answer are lost.
                let prefix = prefix.map(|prefix| {
                    let blank = if prefix.ends_with(char::is_alphanumeric) { " " } else { "" };
                    format!("{name}={prefix}{blank}")
                });
                asked.from_header.push(prefix.unwrap_or(name));
            }
            _ => asked.from_param.push(self.required("Parameter")?),
        }
        Ok(())
    }
}
