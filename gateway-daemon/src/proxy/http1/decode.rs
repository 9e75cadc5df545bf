//! Bodies as they arrive: by length, in chunks, or until the peer closes (RFC 9112 6, 7.1).
//!
//! Strict about chunks: what another reader could divide differently is an error.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{self, Scan};

/// Bytes that chunk sizes with their extensions, or the trailer section, may take; Envoy takes no
/// more of trailers.
const MOST_OVERHEAD: usize = 16 << 10;

/// How a body is framed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Length {
    /// So many bytes, 0 where there is none.
    Exact(u64),
    /// In chunks.
    Chunked,
    /// Until the peer closes: responses only.
    UntilClose,
}

/// Where in a body we are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// So many bytes are left.
    Exact(u64),
    UntilClose,
    /// In a chunk size: digits so far and their value.
    Size {
        digits: u8,
        size: u64,
    },
    /// In a chunk extension.
    Extension {
        size: u64,
    },
    /// Before the LF of a chunk size line.
    SizeLf {
        size: u64,
    },
    /// In chunk data with so many bytes left.
    Data(u64),
    /// Before the CR after chunk data.
    DataCr,
    /// Before the LF after chunk data.
    DataLf,
    /// In the trailer section.
    Trailers,
    Done,
}

/// One step of a body.
#[derive(Debug, PartialEq)]
pub(super) enum Decoded {
    /// Some of it.
    Data(Bytes),
    /// Its trailers; nothing more.
    Trailers(HeaderMap),
    /// Nothing more.
    Done,
    /// More bytes are needed.
    More,
}

/// The framing is broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Broken;

/// A body under way.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// Bytes of chunk extensions so far.
    overhead: usize,
}

impl Decoder {
    pub(super) fn new(length: Length) -> Self {
        let state = match length {
            Length::Exact(0) => State::Done,
            Length::Exact(bytes) => State::Exact(bytes),
            Length::Chunked => State::Size { digits: 0, size: 0 },
            Length::UntilClose => State::UntilClose,
        };
        Self { state, overhead: 0 }
    }

    /// Whether all of the body was read.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes that are left, where that is known.
    pub(super) fn left(&self) -> Option<u64> {
        match self.state {
            State::Exact(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// The peer closed; whether that is how the body ends.
    pub(super) fn closed(&mut self) -> Result<(), Broken> {
        if matches!(self.state, State::UntilClose | State::Done) {
            self.state = State::Done;
            return Ok(());
        }
        Err(Broken)
    }

    /// Takes the next step off `input`.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, Broken> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::Done),
                State::Trailers => return self.trailers(input),
                _ if input.is_empty() => return Ok(Decoded::More),
                State::UntilClose => return Ok(Decoded::Data(input.split().freeze())),
                State::Exact(left) => {
                    let (data, left) = take(input, left);
                    self.state = if left == 0 { State::Done } else { State::Exact(left) };
                    return Ok(Decoded::Data(data));
                }
                State::Data(left) => {
                    let (data, left) = take(input, left);
                    self.state = if left == 0 { State::DataCr } else { State::Data(left) };
                    return Ok(Decoded::Data(data));
                }
                _ => self.chunk_byte(input.get_u8())?,
            }
        }
    }

    fn chunk_byte(&mut self, byte: u8) -> Result<(), Broken> {
        self.state = match (self.state, byte) {
            (State::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // Sixteen digits are all that fit.
                if digits == 16 {
                    return Err(Broken);
                }
                let digit = char::from(byte).to_digit(16).ok_or(Broken)?;
                State::Size { digits: digits + 1, size: (size << 4) | u64::from(digit) }
            }
            (State::Size { digits: 1.., size }, b';') => State::Extension { size },
            (State::Size { digits: 1.., size } | State::Extension { size }, b'\r') => {
                State::SizeLf { size }
            }
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.overhead += 1;
                if self.overhead > MOST_OVERHEAD {
                    return Err(Broken);
                }
                State::Extension { size }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers,
            (State::SizeLf { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, size: 0 },
            _ => return Err(Broken),
        };
        Ok(())
    }

    /// The trailer section, once all of it is there.
    fn trailers(&mut self, input: &mut BytesMut) -> Result<Decoded, Broken> {
        if input.starts_with(b"\r\n") {
            input.advance(2);
            self.state = State::Done;
            return Ok(Decoded::Done);
        }
        let found = Scan::default().end(input).map_err(|_| Broken)?;
        let Some(end) = found.filter(|end| *end <= MOST_OVERHEAD) else {
            return if input.len() > MOST_OVERHEAD { Err(Broken) } else { Ok(Decoded::More) };
        };
        self.state = State::Done;
        let section = input.split_to(end).freeze();
        let trailers = head::trailers(&section).ok_or(Broken)?;
        Ok(if trailers.is_empty() { Decoded::Done } else { Decoded::Trailers(trailers) })
    }
}

/// At most `left` bytes off `input`, and how many are left then.
fn take(input: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
    (input.split_to(here).freeze(), left - here as u64)
}
