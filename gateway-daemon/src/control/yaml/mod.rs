//! YAML text to [`Node`]s that remember their line (YAML 1.2, which includes JSON).
//!
//! Scalars keep their text; what a plain one means is decided where its type is known
//! (`decode.rs`). Refused, because two readers may take them differently: a key given twice, keys
//! that are not text, tags other than `!!str`. Must not know: kinds, Kubernetes, files.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

/// Deepest nesting of lists and mappings; the API types stay far below.
const MAX_DEPTH: usize = 64;
/// Most nodes that aliases may add to one file: a few lines of aliases can stand for gigabytes.
const MAX_ALIASED_NODES: usize = 100_000;

/// A value with the line it starts on.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Line, counted from 1.
    pub(super) line: usize,
    /// Value.
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A scalar; `plain` without quotes, so that `80` may be a number and `true` a boolean.
    Scalar { text: Box<str>, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in order of the text; keys are unique.
    Map(Vec<Member>),
}

/// A member of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Line of the key.
    pub(super) line: usize,
    /// Key.
    pub(super) key: Box<str>,
    /// Value.
    pub(super) node: Node,
}

/// Why a text is not YAML that we read; nothing after this line was looked at.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(super) struct YamlError {
    /// Line, counted from 1.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) message: String,
}

impl Node {
    /// The value under `key`, if this is a mapping that has it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(members) => members.iter().find(|m| *m.key == *key).map(|m| &m.node),
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Whether it is null: written so, or not written at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true }
            if matches!(&**text, "" | "~" | "null" | "Null" | "NULL"))
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(nodes) => nodes.iter().map(Self::size).sum(),
            Value::Map(members) => members.iter().map(|m| m.node.size()).sum(),
        }
    }
}

/// Reads every document of `text`; the ones before an error come with it. Empty documents are
/// left out.
pub(super) fn read(text: &str) -> (Vec<Node>, Option<YamlError>) {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), aliased: 0 };
    let mut documents = Vec::new();
    loop {
        match reader.document() {
            Ok(Some(node)) if node.is_null() => {}
            Ok(Some(node)) => documents.push(node),
            Ok(None) => return (documents, None),
            Err(error) => return (documents, Some(error)),
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    anchors: HashMap<usize, Node>,
    aliased: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, usize), YamlError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, line(&span))),
            Some(Err(error)) => Err(error.into()),
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    /// The next document; none at the end of the text.
    fn document(&mut self) -> Result<Option<Node>, YamlError> {
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(None),
                (Event::DocumentStart(_), _) => {
                    // Anchors live in one document.
                    self.anchors.clear();
                    let (event, line) = self.next()?;
                    return self.node(event, line, 0).map(Some);
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, line: usize, depth: usize) -> Result<Node, YamlError> {
        if depth > MAX_DEPTH {
            return Err(refusal(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain) && tag.is_none();
                if let Some(tag) = tag.filter(|tag| !is_core(tag, "str")) {
                    return Err(foreign_tag(line, &tag));
                }
                (anchor, Value::Scalar { text: text.into_owned().into(), plain })
            }
            Event::SequenceStart(anchor, tag) => {
                if let Some(tag) = tag.filter(|tag| !is_core(tag, "seq")) {
                    return Err(foreign_tag(line, &tag));
                }
                (anchor, Value::List(self.list(depth)?))
            }
            Event::MappingStart(anchor, tag) => {
                if let Some(tag) = tag.filter(|tag| !is_core(tag, "map")) {
                    return Err(foreign_tag(line, &tag));
                }
                (anchor, Value::Map(self.map(depth)?))
            }
            Event::Alias(anchor) => return self.alias(anchor, line),
            _ => return Err(refusal(line, "a value is missing".to_owned())),
        };
        let node = Node { line, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, line) => nodes.push(self.node(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Member>, YamlError> {
        let mut members: Vec<Member> = Vec::new();
        let mut seen = HashMap::new();
        loop {
            let (event, line) = self.next()?;
            let key: Box<str> = match event {
                Event::MappingEnd => return Ok(members),
                Event::Scalar(key, ..) => key.into_owned().into(),
                _ => return Err(refusal(line, "a key has to be plain text".to_owned())),
            };
            if let Some(first) = seen.insert(key.clone(), line) {
                let message = format!("key {key:?} is given twice (first on line {first})");
                return Err(refusal(line, message));
            }
            let (event, value_line) = self.next()?;
            // A value that is not written has no line of its own.
            let value_line = value_line.max(line);
            let node = self.node(event, value_line, depth + 1)?;
            members.push(Member { line, key, node });
        }
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<Node, YamlError> {
        let Some(target) = self.anchors.get(&anchor) else {
            return Err(refusal(line, "an alias names an anchor that holds it".to_owned()));
        };
        self.aliased += target.size();
        if self.aliased > MAX_ALIASED_NODES {
            let message = format!("aliases expand to more than {MAX_ALIASED_NODES} values");
            return Err(refusal(line, message));
        }
        Ok(target.clone())
    }
}

fn line(span: &Span) -> usize {
    span.start.line()
}

fn is_core(tag: &Tag, suffix: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == suffix
}

fn foreign_tag(line: usize, tag: &Tag) -> YamlError {
    refusal(line, format!("tag {tag} is not supported; write the value without it"))
}

fn refusal(line: usize, message: String) -> YamlError {
    YamlError { line, message }
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        let mark = error.marker();
        let message = format!("not YAML: {} (column {})", error.info(), mark.col() + 1);
        Self { line: mark.line(), message }
    }
}
