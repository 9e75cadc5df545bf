//! Rows for heads and bodies: every stream is fed whole and in pieces, byte by byte too.

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, Version};

use super::decode::{Broken, Decoded, Decoder, Length};
use super::encode::{self, Framing, Gather};
use super::head::{self, Announced, RequestHead, Scan};
use crate::model::reason::Reason;

/// Reads every request of `stream`, fed in pieces of `size`: target and body of each, and what ended
/// the reading early.
fn read(stream: &[u8], size: usize) -> (Vec<(String, Vec<u8>)>, Option<Reason>) {
    let (mut input, mut scan, mut body) = (BytesMut::new(), Scan::default(), None::<Decoder>);
    let mut requests = Vec::new();
    for piece in stream.chunks(size.max(1)) {
        input.extend_from_slice(piece);
        loop {
            if let Some(decoder) = &mut body {
                match decoder.decode(&mut input) {
                    Ok(Decoded::Data(data)) => {
                        let (_, bytes): &mut (String, Vec<u8>) = requests.last_mut().unwrap();
                        bytes.extend_from_slice(&data);
                    }
                    Ok(Decoded::Trailers(_)) => {}
                    Ok(Decoded::Done) => body = None,
                    Ok(Decoded::More) => break,
                    Err(Broken) => return (requests, Some(Reason::AmbiguousFraming)),
                }
                continue;
            }
            let found = match scan.end(&input) {
                Ok(Some(end)) => request(&input.split_to(end).freeze(), 100),
                Ok(None) => break,
                Err(reason) => Err(reason),
            };
            let head = match found {
                Ok(head) => head,
                Err(reason) => return (requests, Some(reason)),
            };
            scan = Scan::default();
            requests.push((head.request.uri().to_string(), Vec::new()));
            body = Some(Decoder::new(head.request.body().length));
        }
    }
    (requests, None)
}

/// A request's head, with what it says of the body in place of one.
fn request(head: &Bytes, max_headers: usize) -> Result<RequestHead<Announced>, Reason> {
    head::request(head, max_headers, |announced| announced)
}

/// Name, stream, and target and body of each request in it.
type Row = (&'static str, &'static [u8], &'static [(&'static str, &'static [u8])]);

#[test]
fn well_formed_streams_are_read() {
    let rows: &[Row] = &[
        ("get", b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", &[("/a", b"")]),
        (
            "two pipelined",
            b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
            &[("/a", b""), ("/b", b"")],
        ),
        ("empty lines first", b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n", &[("/a", b"")]),
        (
            "content-length",
            b"POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nbGET /b HTTP/1.1\r\n\r\n",
            &[("/a", b"a\nb"), ("/b", b"")],
        ),
        (
            "chunked",
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
            &[("/a", b"a\nb"), ("/b", b"")],
        ),
        (
            "extension and trailer",
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
            &[("/a", b"0123456789")],
        ),
        ("HTTP/1.0", b"GET /a HTTP/1.0\r\n\r\n", &[("/a", b"")]),
        ("absolute form", b"GET http://h/a HTTP/1.1\r\n\r\n", &[("http://h/a", b"")]),
    ];
    for (name, stream, wanted) in rows {
        let wanted: Vec<_> = wanted.iter().map(|(t, b)| ((*t).to_owned(), b.to_vec())).collect();
        for size in [1, 2, 7, stream.len()] {
            assert_eq!(read(stream, size), (wanted.clone(), None), "{name}/{size}");
        }
    }
}

#[test]
fn what_could_smuggle_is_refused() {
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let post = "POST / HTTP/1.1\r\n";
    let ambiguous = Reason::AmbiguousFraming;
    let malformed = Reason::MalformedRequest;
    let unknown = Reason::NotSupported;
    let rows: &[(&str, String, Reason)] = &[
        (
            "both framings",
            format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ambiguous,
        ),
        (
            "both, other order",
            format!("{post}transfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n"),
            ambiguous,
        ),
        ("two lengths", format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n"), ambiguous),
        (
            "two lengths, one broken",
            format!("{post}Content-Length: x\r\nContent-Length: 2\r\n\r\n"),
            ambiguous,
        ),
        (
            "equal lengths",
            format!("{post}Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
            ambiguous,
        ),
        ("length list", format!("{post}Content-Length: 1, 1\r\n\r\n"), ambiguous),
        ("signed length", format!("{post}Content-Length: +1\r\n\r\n"), ambiguous),
        ("empty length", format!("{post}Content-Length:\r\n\r\n"), ambiguous),
        ("huge length", format!("{post}Content-Length: 99999999999999999999\r\n\r\n"), ambiguous),
        ("other coding", format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n"), unknown),
        ("other coding alone", format!("{post}Transfer-Encoding: identity\r\n\r\n"), unknown),
        ("no coding", format!("{post}Transfer-Encoding:\r\n\r\n"), unknown),
        (
            "coding twice",
            format!("{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
            unknown,
        ),
        (
            "other coding and a length",
            format!("{post}Transfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n"),
            ambiguous,
        ),
        (
            "chunks in HTTP/1.0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            ambiguous,
        ),
        ("bare LF in request line", "GET / HTTP/1.1\nHost: a\r\n\r\n".into(), ambiguous),
        ("bare LF in header", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".into(), ambiguous),
        ("bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n".into(), ambiguous),
        ("bare CR in header", "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n".into(), malformed),
        ("NUL in header", "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n".into(), malformed),
        ("fold", "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n".into(), ambiguous),
        ("fold by tab", "GET / HTTP/1.1\r\nX: a\r\n\tb\r\n\r\n".into(), ambiguous),
        ("blank before first header", "GET / HTTP/1.1\r\n X: a\r\n\r\n".into(), ambiguous),
        ("blank before colon", "GET / HTTP/1.1\r\nX : a\r\n\r\n".into(), malformed),
        ("no colon", "GET / HTTP/1.1\r\nHost\r\n\r\n".into(), malformed),
        ("two blanks in request line", "GET  / HTTP/1.1\r\n\r\n".into(), malformed),
        ("HTTP/1.2", "GET / HTTP/1.2\r\n\r\n".into(), malformed),
        ("HTTP/0.9", "GET /\r\n\r\n".into(), malformed),
        ("chunk size empty", format!("{chunked}\r\n"), ambiguous),
        ("chunk size not hex", format!("{chunked}g\r\n"), ambiguous),
        ("chunk size 0x", format!("{chunked}0x1\r\n"), ambiguous),
        ("chunk size blank", format!("{chunked}1 \r\n"), ambiguous),
        ("chunk size negative", format!("{chunked}-1\r\n"), ambiguous),
        ("chunk size overflow", format!("{chunked}10000000000000000\r\n"), ambiguous),
        ("chunk size bare LF", format!("{chunked}1\na\r\n"), ambiguous),
        ("extension bare LF", format!("{chunked}1;x\na\r\n"), ambiguous),
        ("endless extension", format!("{chunked}1;{}", "x".repeat(20_000)), ambiguous),
        ("chunk longer than said", format!("{chunked}1\r\nab\r\n"), ambiguous),
        ("chunk ends with LF", format!("{chunked}1\r\na\n"), ambiguous),
        ("trailer bare LF", format!("{chunked}0\r\nT: v\n\r\n"), ambiguous),
        ("trailer fold", format!("{chunked}0\r\nT: v\r\n w\r\n\r\n"), ambiguous),
        ("endless trailers", format!("{chunked}0\r\nT: {}", "x".repeat(20_000)), ambiguous),
    ];
    for (name, stream, reason) in rows {
        for size in [1, 5, stream.len()] {
            let (_, refused) = read(stream.as_bytes(), size);
            assert_eq!(refused, Some(*reason), "{name}/{size}");
        }
    }
}

#[test]
fn too_many_fields_are_too_large_a_head() {
    let fields: Vec<_> = (0..101).map(|n| format!("x-{n}: y\r\n")).collect();
    let stream = format!("GET / HTTP/1.1\r\n{}\r\n", fields.concat());
    assert_eq!(read(stream.as_bytes(), stream.len()).1, Some(Reason::HeadTooLarge));
    let head = Bytes::from(stream);
    assert_eq!(request(&head, 1000).unwrap().request.headers().len(), 101);
}

#[test]
fn connections_live_as_the_head_says() {
    let rows = [
        ("GET / HTTP/1.1\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nConnection: x\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false),
    ];
    for (text, wanted) in rows {
        let head = request(&Bytes::from(text), 100).unwrap();
        assert_eq!(head.asked.keep_alive, wanted, "{text:?}");
        let http10 = text.contains("HTTP/1.0");
        assert_eq!(head.request.version() == Version::HTTP_10, http10, "{text:?}");
    }
}

#[test]
fn expectations_and_trailers_are_noted() {
    let text = "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nTE: gzip, trailers;q=1\r\n\r\n";
    let head = request(&Bytes::from(text), 100).unwrap();
    assert!(head.request.body().expects_continue && head.asked.trailers && !head.asked.head);
    let text = "HEAD / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n";
    let head = request(&Bytes::from(text), 100).unwrap();
    assert!(!head.request.body().expects_continue && !head.asked.trailers && head.asked.head);
}

#[test]
fn responses_are_framed_as_the_specification_says() {
    let rows: &[(&str, &str, bool, Option<Length>)] = &[
        ("length", "200 OK\r\nContent-Length: 5", false, Some(Length::Exact(5))),
        (
            "equal lengths",
            "200\r\nContent-Length: 5\r\nContent-Length: 5",
            false,
            Some(Length::Exact(5)),
        ),
        ("chunks", "200 OK\r\nTransfer-Encoding: chunked", false, Some(Length::Chunked)),
        ("until close", "200 OK", false, Some(Length::UntilClose)),
        ("to a HEAD", "200 OK\r\nContent-Length: 5", true, Some(Length::Exact(0))),
        ("chunks to a HEAD", "200 OK\r\nTransfer-Encoding: chunked", true, Some(Length::Exact(0))),
        ("204", "204 No Content", false, Some(Length::Exact(0))),
        ("304", "304 Not Modified\r\nContent-Length: 5", false, Some(Length::Exact(0))),
        ("differing lengths", "200 OK\r\nContent-Length: 5\r\nContent-Length: 6", false, None),
        ("list of lengths", "200 OK\r\nContent-Length: 5, 5", false, None),
        ("negative length", "200 OK\r\nContent-Length: -1", false, None),
        ("both", "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked", false, None),
        ("other coding", "200 OK\r\nTransfer-Encoding: gzip, chunked", false, None),
        ("no status", "two hundred", false, None),
        ("folded", "200 OK\r\nX: a\r\n b", false, None),
    ];
    for (name, text, to_head, wanted) in rows {
        let head = Bytes::from(format!("HTTP/1.1 {text}\r\n\r\n"));
        let read = head::response(&head, *to_head, 100);
        assert_eq!(read.as_ref().ok().map(|head| head.length), *wanted, "{name}: {read:?}");
    }
    let lenient = b"HTTP/1.1 200 OK\nContent-Length: 0\n\nrest";
    assert_eq!(Scan::lenient().end(lenient), Ok(Some(lenient.len() - 4)));
}

#[test]
fn a_body_until_close_ends_with_the_connection_and_no_other_does() {
    let mut decoder = Decoder::new(Length::UntilClose);
    let mut input = BytesMut::from("abc");
    assert_eq!(decoder.decode(&mut input), Ok(Decoded::Data(Bytes::from("abc"))));
    assert_eq!(decoder.decode(&mut input), Ok(Decoded::More));
    assert_eq!(decoder.closed(), Ok(()));
    assert!(decoder.is_done());
    assert_eq!(Decoder::new(Length::Exact(3)).closed(), Err(Broken));
    assert_eq!(Decoder::new(Length::Chunked).closed(), Err(Broken));
}

#[test]
fn trailers_cannot_frame_route_or_authenticate() {
    let mut decoder = Decoder::new(Length::Chunked);
    let mut input = BytesMut::from(
        "0\r\nX-Sum: 7\r\nHost: b\r\nContent-Length: 3\r\nAuthorization: Bearer x\r\n\r\nrest",
    );
    let Ok(Decoded::Trailers(trailers)) = decoder.decode(&mut input) else { panic!("no trailers") };
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["x-sum"], "7");
    assert_eq!(&input[..], b"rest");
}

/// Everything that a gathering writer writes.
fn written(gather: &mut Gather) -> String {
    let mut out = Vec::new();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(gather.poll_write(&mut cx, &mut out).is_ready());
    String::from_utf8(out).unwrap()
}

#[test]
fn heads_say_the_length_that_is_written() {
    let mut headers = http::HeaderMap::new();
    headers.insert("content-length", "5".parse().unwrap());
    headers.insert("x", "y".parse().unwrap());
    let rows = [
        (Framing::Exact(5), "content-length: 5\r\nx: y\r\n"),
        (Framing::Exact(6), "x: y\r\ncontent-length: 6\r\n"),
        (Framing::Chunked, "x: y\r\ntransfer-encoding: chunked\r\n"),
        (Framing::Nothing, "content-length: 5\r\nx: y\r\n"),
        (Framing::UntilClose, "x: y\r\n"),
    ];
    for (framing, wanted) in rows {
        let mut out = Vec::new();
        encode::response_head(&mut out, StatusCode::OK, &headers, framing, false, None, None);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, format!("HTTP/1.1 200 OK\r\n{wanted}\r\n"), "{framing:?}");
    }
    let (mut out, none) = (Vec::new(), http::HeaderMap::new());
    let status = StatusCode::FORBIDDEN;
    encode::response_head(&mut out, status, &none, Framing::Exact(5), true, None, None);
    let wanted = "HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), wanted);
    let mut out = Vec::new();
    encode::request_head(&mut out, &Method::POST, None, &headers, Framing::Chunked);
    assert!(out.starts_with(b"POST / HTTP/1.1\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n"));
}

#[test]
fn chunks_are_written_as_they_are_read() {
    for size in [1, 15, 16, 255, 256, 4096, 9000, 70_000] {
        let mut gather = Gather::default();
        gather.push(Bytes::from(vec![b'x'; size]), Framing::Chunked);
        let mut text = written(&mut gather);
        gather.push_end(None);
        text += &written(&mut gather);
        assert!(text.starts_with(&format!("{size:x}\r\nx")), "{size}");
        let mut input = BytesMut::from(text.as_str());
        let mut decoder = Decoder::new(Length::Chunked);
        let Ok(Decoded::Data(data)) = decoder.decode(&mut input) else { panic!("{size}: no data") };
        assert_eq!(data.len(), size);
        assert_eq!(decoder.decode(&mut input), Ok(Decoded::Done), "{size}");
        assert!(input.is_empty());
    }
}

#[test]
fn a_full_buffer_that_is_written_takes_more() {
    let mut gather = Gather::default();
    for _ in 0..3 {
        while gather.has_room() {
            gather.push(Bytes::from_static(&[b'x'; 4096]), Framing::UntilClose);
        }
        assert!(!gather.is_empty());
        assert_eq!(written(&mut gather).len(), 32 << 10);
        assert!(gather.is_empty() && gather.has_room());
    }
}
