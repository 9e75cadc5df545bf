//! Rows for the framing screen: every stream is fed whole and byte by byte.

use super::*;

/// Feeds `stream` in pieces of `size`; gives the number of good bytes and the reason.
fn feed(stream: &[u8], size: usize) -> Result<Framing, (usize, Reason)> {
    let mut framing = Framing::new();
    for (number, piece) in stream.chunks(size).enumerate() {
        framing
            .inspect(piece)
            .map_err(|violation| (number * size + violation.good, violation.reason))?;
    }
    Ok(framing)
}

#[test]
fn accepts_well_formed_streams() {
    let rows: &[(&str, &[u8])] = &[
        ("get", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("two pipelined", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("content-length", b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na\nbGET / HTTP/1.1\r\n\r\n"),
        ("equal content-lengths", b"POST / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n\n"),
        ("chunked", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        ("extension and trailer", b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n"),
    ];
    for (name, stream) in rows {
        for size in [1, 2, 7, stream.len()] {
            let framing =
                feed(stream, size).unwrap_or_else(|error| panic!("{name}/{size}: {error:?}"));
            assert_eq!(framing.state, State::Head, "{name}/{size}");
            assert!(!framing.in_head(), "{name}/{size}");
        }
    }
}

#[test]
fn refuses_what_could_smuggle() {
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rows: &[(&str, String)] = &[
        (
            "both framings",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        ),
        (
            "both, other order",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n".into(),
        ),
        ("two lengths", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".into()),
        ("length list", "POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n".into()),
        ("signed length", "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n".into()),
        ("empty length", "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n".into()),
        ("huge length", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".into()),
        ("other coding", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into()),
        (
            "coding twice",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                .into(),
        ),
        ("bare LF in request line", "GET / HTTP/1.1\nHost: a\r\n\r\n".into()),
        ("bare LF in header", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".into()),
        ("bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n".into()),
        ("fold", "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n".into()),
        ("fold by tab", "GET / HTTP/1.1\r\nX: a\r\n\tb\r\n\r\n".into()),
        ("blank before first header", "GET / HTTP/1.1\r\n X: a\r\n\r\n".into()),
        ("no colon", "GET / HTTP/1.1\r\nHost\r\n\r\n".into()),
        ("chunk size empty", format!("{chunked}\r\n")),
        ("chunk size not hex", format!("{chunked}g\r\n")),
        ("chunk size 0x", format!("{chunked}0x1\r\n")),
        ("chunk size blank", format!("{chunked}1 \r\n")),
        ("chunk size negative", format!("{chunked}-1\r\n")),
        ("chunk size overflow", format!("{chunked}10000000000000000\r\n")),
        ("chunk size bare LF", format!("{chunked}1\na\r\n")),
        ("extension bare LF", format!("{chunked}1;x\na\r\n")),
        ("chunk longer than said", format!("{chunked}1\r\nab\r\n")),
        ("chunk ends with LF", format!("{chunked}1\r\na\n")),
        ("trailer bare LF", format!("{chunked}0\r\nT: v\n\r\n")),
        ("trailer fold", format!("{chunked}0\r\nT: v\r\n w\r\n\r\n")),
    ];
    for (name, stream) in rows {
        let whole = feed(stream.as_bytes(), stream.len()).expect_err(name);
        assert_eq!(feed(stream.as_bytes(), 1).expect_err(name), whole, "{name}");
    }
}

#[test]
fn knows_when_a_head_is_under_way() {
    let mut framing = Framing::new();
    for (piece, under_way) in [
        ("", false),
        ("G", true),
        ("ET / HTTP/1.1\r\n", true),
        ("Content-Length: 2\r\n", true),
        ("\r\n", false),
        ("a", false),
        ("b", false),
        ("P", true),
    ] {
        framing.inspect(piece.as_bytes()).expect("well-formed");
        assert_eq!(framing.in_head(), under_way, "after {piece:?}");
    }
}
