//! `generate jwt`: the two forms of a mesh's console, "JWT Config" and "Matching Rules", as manifests.
//!
//! The RequestAuthentication refuses bad tokens everywhere; the AuthorizationPolicy denies requests
//! without one where the rules say so.

mod form;
mod prompt;
#[cfg(test)]
mod tests;
mod yaml;

use std::io::{BufRead, Write};

use self::form::Form;
use crate::cli::generate::JwtArgs;

/// Why nothing is generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A word.
    #[error("{flag}: {problem}")]
    Word {
        /// Flag, or the question of the prompt.
        flag: &'static str,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The prompt.
    #[error("no answer to a question; give arguments instead, see `generate jwt --help`")]
    Prompt(#[from] std::io::Error),
}

impl GenerateError {
    fn word(flag: &'static str, problem: impl Into<String>) -> Self {
        Self::Word { flag, problem: problem.into() }
    }
}

/// The manifests; without any argument `questions` are asked, and `answers` read.
pub fn jwt(
    arguments: &JwtArgs,
    answers: &mut dyn BufRead,
    questions: &mut dyn Write,
) -> Result<String, GenerateError> {
    if *arguments == JwtArgs::default() {
        let asked = prompt::ask(answers, questions)?;
        return Ok(yaml::write(&Form::read(&asked)?));
    }
    Ok(yaml::write(&Form::read(arguments)?))
}
