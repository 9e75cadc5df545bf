//! What is wrong with a file: where, which object, which field, and what to do.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use super::path::FieldPath;
use crate::model::object::ObjectRef;

/// A text that is not a bundle: it cannot be read, or says something that nobody understands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// File, as the configured path names it.
    pub file: Arc<str>,
    /// Line, where there is one.
    pub line: Option<usize>,
    /// Object, where it is known.
    pub object: Option<ObjectRef>,
    /// Field of the object.
    pub path: FieldPath,
    /// What is wrong and what to do.
    pub message: String,
}

impl Fault {
    /// Of a file as a whole.
    pub(super) fn of_file(file: &Path, message: String) -> Self {
        Self {
            file: file.to_string_lossy().into(),
            line: None,
            object: None,
            path: FieldPath::default(),
            message,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.path.is_root() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}
