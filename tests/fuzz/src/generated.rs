//! Targets and heads put together from what makes readers disagree, the same in every run.

/// What makes readers of a target disagree.
const PIECES: [&str; 48] = [
    "/",
    "/",
    "//",
    ".",
    "..",
    "%2e",
    "%2E%2e",
    "%2f",
    "%5c",
    "\\",
    ";",
    "..;",
    ".;x",
    "..;y\\",
    "a",
    "admin",
    "tenants",
    "keys",
    "secret",
    "%",
    "%zz",
    "%25",
    "%252e",
    "%41",
    "%7e",
    "%00",
    "\"",
    "{",
    "|",
    "~",
    "%c3%a9",
    "?",
    "?access_token=x",
    "&b=%26",
    "=",
    "#",
    "#/..",
    "@",
    ":",
    "*",
    "+",
    "%20",
    "%3b",
    "%3f",
    "%23",
    "[",
    "!",
    "http://h/",
];

/// Lines of headers that a client may try.
const LINES: [&str; 16] = [
    "host: gw.test",
    "host: GW.test:8080",
    "authorization: Bearer x",
    "authorization: Basic x",
    "cookie: session=x; a=b",
    "connection: x-sub, close",
    "connection: authorization",
    "connection: host",
    "x-sub: spoof",
    "x_sub: spoof",
    "x.deep: spoof",
    "forwarded: for=x",
    "x-forwarded-for: 10.0.0.1",
    "te: trailers",
    "referer: x y",
    "expect: 100-continue",
];

/// A generator of numbers (`SplitMix64`), and of heads.
pub struct Random(pub u64);

impl Random {
    /// A number below the bound.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap_or_default()
    }

    /// A target in origin form, or what one may be mistaken for.
    pub fn target(&mut self) -> String {
        let pieces = self.below(9);
        (0..pieces).fold("/".to_owned(), |target, _| target + PIECES[self.below(PIECES.len())])
    }

    /// A head as [`super::request::holds`] reads it.
    pub fn head(&mut self) -> String {
        let method = ["GET ", "POST ", "h2 GET ", "OPTIONS "][self.below(4)];
        let (before, host) = match method {
            "h2 GET " => ("http://gw.test", ""),
            _ => ("", "\nhost: gw.test"),
        };
        let mut head = format!("{method}{before}{}{host}", self.target());
        for _ in 0..self.below(4) {
            head += "\n";
            head += LINES[self.below(LINES.len())];
        }
        head
    }
}
