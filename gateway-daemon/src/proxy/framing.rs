//! HTTP/1 framing screen: sees every byte of a client before hyper does, and refuses framing that
//! another server could read differently (RFC 9112 2.2, 5.1, 5.2, 6.1, 6.3, 7.1).
//!
//! hyper is the one parser of requests; this file only keeps step with message boundaries so that
//! it knows where heads are. Must not know: routes, policies, sockets.

use crate::model::reason::Reason;

/// Where in the byte stream of a connection we are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// In a request line or header line; what came before the last read is in `partial`.
    Head,
    /// In a body with this many bytes left.
    Body(u64),
    /// In a chunk size line: digits so far and their value.
    ChunkSize { digits: u8, size: u64 },
    /// In a chunk extension.
    ChunkExtension { size: u64 },
    /// Before the LF of a chunk size line.
    ChunkSizeLf { size: u64 },
    /// In chunk data with this many bytes left.
    ChunkData(u64),
    /// Before the CR after chunk data.
    ChunkDataCr,
    /// Before the LF after chunk data.
    ChunkDataLf,
    /// In the trailer section.
    Trailer,
}

/// What is known of the head under way.
#[derive(Debug, Default)]
struct Head {
    lines: u32,
    content_length: Option<u64>,
    chunked: bool,
}

/// The refusal of a byte stream: deliver `good` bytes, then no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Violation {
    /// Bytes of this read that may still be delivered.
    pub(super) good: usize,
    /// The reason word.
    pub(super) reason: Reason,
}

/// The screen of one connection.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    head: Head,
    partial: Vec<u8>,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { state: State::Head, head: Head::default(), partial: Vec::new() }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        self.state == State::Head && (self.head.lines > 0 || !self.partial.is_empty())
    }

    /// Looks at the bytes of one read.
    pub(super) fn inspect(&mut self, input: &[u8]) -> Result<(), Violation> {
        let mut at = 0;
        while at < input.len() {
            at = match self.state {
                State::Head | State::Trailer => self.line(input, at)?,
                State::Body(left) => self.skip(input, at, left, State::Body, State::Head),
                State::ChunkData(left) => {
                    self.skip(input, at, left, State::ChunkData, State::ChunkDataCr)
                }
                _ => {
                    self.chunk_byte(input[at]).map_err(|reason| Violation { good: at, reason })?;
                    at + 1
                }
            };
        }
        Ok(())
    }

    fn skip(
        &mut self,
        input: &[u8],
        at: usize,
        left: u64,
        more: fn(u64) -> State,
        done: State,
    ) -> usize {
        let here = (input.len() - at) as u64;
        let step = left.min(here);
        self.state = if step == left { done } else { more(left - step) };
        // `step` is at most the length of a slice.
        at + usize::try_from(step).unwrap_or(usize::MAX)
    }

    /// Takes one line, or keeps its beginning for the next read.
    fn line(&mut self, input: &[u8], at: usize) -> Result<usize, Violation> {
        let rest = &input[at..];
        let Some(length) = memchr::memchr(b'\n', rest) else {
            self.partial.extend_from_slice(rest);
            return Ok(input.len());
        };
        let lf = at + length;
        let result = if self.partial.is_empty() {
            self.whole_line(&rest[..length])
        } else {
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&rest[..length]);
            let result = self.whole_line(&line);
            line.clear();
            self.partial = line;
            result
        };
        result.map_err(|reason| Violation { good: lf, reason })?;
        Ok(lf + 1)
    }

    /// A line without its LF.
    fn whole_line(&mut self, line: &[u8]) -> Result<(), Reason> {
        let Some((b'\r', line)) = line.split_last() else {
            return Err(Reason::AmbiguousFraming); // bare LF
        };
        if self.state == State::Trailer {
            if line.is_empty() {
                self.state = State::Head;
            }
            return refuse_fold(line);
        }
        if line.is_empty() {
            if self.head.lines > 0 {
                self.end_of_head()?;
            }
            return Ok(()); // empty lines before a request line are skipped (RFC 9112 2.2)
        }
        if self.head.lines > 0 {
            refuse_fold(line)?;
            self.header(line)?;
        }
        self.head.lines += 1;
        Ok(())
    }

    fn header(&mut self, line: &[u8]) -> Result<(), Reason> {
        let Some(colon) = memchr::memchr(b':', line) else {
            return Err(Reason::MalformedRequest);
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or(Reason::AmbiguousFraming)?;
            if self.head.content_length.is_some_and(|other| other != length) {
                return Err(Reason::AmbiguousFraming);
            }
            self.head.content_length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // Any other coding would have to be forwarded as it is; only chunked is taken off.
            if self.head.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Reason::AmbiguousFraming);
            }
            self.head.chunked = true;
        }
        Ok(())
    }

    fn end_of_head(&mut self) -> Result<(), Reason> {
        let head = std::mem::take(&mut self.head);
        self.state = match (head.content_length, head.chunked) {
            (Some(_), true) => return Err(Reason::AmbiguousFraming),
            (None, true) => State::ChunkSize { digits: 0, size: 0 },
            (None | Some(0), false) => State::Head,
            (Some(length), false) => State::Body(length),
        };
        Ok(())
    }

    fn chunk_byte(&mut self, byte: u8) -> Result<(), Reason> {
        self.state = match (self.state, byte) {
            (State::ChunkSize { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == 16 {
                    return Err(Reason::AmbiguousFraming);
                }
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                State::ChunkSize { digits: digits + 1, size: (size << 4) | u64::from(digit) }
            }
            (State::ChunkSize { digits: 1.., size }, b';') => State::ChunkExtension { size },
            (State::ChunkSize { digits: 1.., size } | State::ChunkExtension { size }, b'\r') => {
                State::ChunkSizeLf { size }
            }
            (State::ChunkExtension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                State::ChunkExtension { size }
            }
            (State::ChunkSizeLf { size: 0 }, b'\n') => State::Trailer,
            (State::ChunkSizeLf { size }, b'\n') => State::ChunkData(size),
            (State::ChunkDataCr, b'\r') => State::ChunkDataLf,
            (State::ChunkDataLf, b'\n') => State::ChunkSize { digits: 0, size: 0 },
            _ => return Err(Reason::AmbiguousFraming),
        };
        Ok(())
    }
}

/// obs-fold (RFC 9112 5.2): a continuation line.
fn refuse_fold(line: &[u8]) -> Result<(), Reason> {
    match line.first() {
        Some(b' ' | b'\t') => Err(Reason::AmbiguousFraming),
        _ => Ok(()),
    }
}

/// `1*DIGIT` that fits; never a sign, list or blank.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
#[path = "framing_tests.rs"]
mod tests;
