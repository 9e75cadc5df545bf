//! Load generators: how each is started for a kind of traffic, how it is ended, and what it says.

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use crate::client::Report;
use crate::field::{Field, Gateway};
use crate::material::Tokens;
use crate::process::Process;
use crate::results::Window;
use crate::scenario::{Tool, Traffic};
use crate::stats::{quantile, real};

/// Connections of everything but h2load, which is told.
const CONNECTIONS: u32 = 64;
/// When wrk gives an answer up, seconds: longer than it is ever frozen. Its memory grows with it.
const STALE: u32 = 60;
/// Longer than any round.
const LONG: u32 = 3_600;
/// How often wrk is asked to end.
const INTERRUPTS: u32 = 5;
const ROTATE: &str = include_str!("rotate.lua");

/// A load generator that runs, or is frozen.
pub(crate) struct Generator {
    /// Its process.
    pub(crate) process: Process,
    traffic: Traffic,
    log: std::path::PathBuf,
}

/// What a generator says at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Answers, whatever their status.
    pub(crate) answers: u64,
    /// Answers of another status than the expected one, and connections that failed.
    pub(crate) bad: u64,
    /// Speed and latency.
    pub(crate) window: Window,
}

impl Generator {
    /// Starts one that runs until it is ended.
    pub(crate) fn start(field: &Field, gateway: &Gateway, traffic: Traffic) -> Result<Self> {
        Self::run(field, gateway, traffic, LONG)
    }

    fn run(field: &Field, gateway: &Gateway, traffic: Traffic, seconds: u32) -> Result<Self> {
        let log = field.folder.join(format!("load-{}.log", gateway.address.port()));
        let words = words(field, gateway, traffic, seconds, &log)?;
        let process = field
            .client("the load generator", words)
            .variable("OPENSSL_CONF", field.material.path("openssl.cnf"))
            .piped()
            .start()?;
        Ok(Self { process, traffic, log })
    }

    /// Lets it run for a while without others, and gives what it says.
    pub(crate) fn alone(
        field: &Field,
        gateway: &Gateway,
        traffic: Traffic,
        seconds: u32,
    ) -> Result<Tally> {
        let generator = Self::run(field, gateway, traffic, seconds)?;
        if let Tool::Handshakes { .. } = traffic.tool {
            std::thread::sleep(Duration::from_secs(u64::from(seconds)));
        }
        generator.finish(seconds)
    }

    /// Ends it before its time. h2load says nothing then.
    pub(crate) fn end(mut self) -> Result<Option<Tally>> {
        self.process.thaw()?;
        match self.traffic.tool {
            Tool::H2load(..) => return Ok(None),
            Tool::Wrk | Tool::WrkClosing => self.interrupt()?,
            Tool::Handshakes { .. } => {}
        }
        self.finish(1).map(Some)
    }

    /// Ends wrk. It is its first thread, asleep until the end, that has to take the signal; where
    /// another one took it, it is sent again. What wrk says fits into the pipe.
    fn interrupt(&mut self) -> Result<()> {
        for _ in 0..INTERRUPTS {
            self.process.signal(Signal::SIGINT)?;
            if self.process.ended(Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
        }
        bail!("wrk does not end")
    }

    fn finish(mut self, seconds: u32) -> Result<Tally> {
        let (input, mut output) = self.process.pipes()?;
        // This is what ends a client of our own.
        drop(input);
        let mut text = String::new();
        output.read_to_string(&mut text).context("reading from the load generator")?;
        self.process.ended(Duration::from_secs(10))?;
        match self.traffic.tool {
            Tool::Wrk | Tool::WrkClosing => wrk(&text, self.traffic),
            Tool::H2load(..) => {
                let log = std::fs::read_to_string(&self.log).context("the log of h2load")?;
                h2load(&text, &log, seconds)
            }
            Tool::Handshakes { resume } => handshakes(&text, resume),
        }
        .with_context(|| format!("the load generator said: {}", text.trim()))
    }
}

/// A client of our own with these words.
pub(crate) fn own_client(
    words: &[&str],
    gateway: &Gateway,
    traffic: Traffic,
) -> Result<Vec<OsString>> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut all = vec![own.into_os_string(), "client".into()];
    all.extend(words.iter().map(OsString::from));
    all.extend([gateway.port(traffic.tls).to_string().into(), traffic.path.into()]);
    if traffic.tls {
        all.push("--tls".into());
    }
    Ok(all)
}

fn words(
    field: &Field,
    gateway: &Gateway,
    traffic: Traffic,
    seconds: u32,
    log: &std::path::Path,
) -> Result<Vec<OsString>> {
    let scheme = if traffic.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", gateway.port(traffic.tls), traffic.path);
    let token = match traffic.tokens {
        Tokens::None | Tokens::Rsa | Tokens::Ec | Tokens::EachBad => None,
        Tokens::One | Tokens::Bad => {
            Some(format!("authorization: Bearer {}", field.material.token(traffic.tokens)?))
        }
    };
    let mut words: Vec<OsString> = match traffic.tool {
        Tool::Wrk | Tool::WrkClosing => {
            let all = format!("wrk -t1 -c{CONNECTIONS} -d{seconds}s --timeout {STALE}s --latency");
            all.split(' ').map(OsString::from).collect()
        }
        Tool::H2load(connections, streams) => {
            let all = format!("h2load -t1 -c{connections} -m{streams} -D{seconds} --log-file");
            std::fs::write(log, "").with_context(|| log.display().to_string())?;
            all.split(' ').map(OsString::from).chain([log.into()]).collect()
        }
        Tool::Handshakes { resume } => {
            let words: &[&str] = if resume { &["handshakes", "--resume"] } else { &["handshakes"] };
            return own_client(words, gateway, traffic);
        }
    };
    if let Some(token) = token {
        words.extend(["-H".into(), token.into()]);
    }
    if traffic.tool == Tool::WrkClosing {
        words.extend(["-H".into(), "connection: close".into()]);
    }
    let rotated = matches!(traffic.tokens, Tokens::Rsa | Tokens::Ec | Tokens::EachBad);
    if !rotated {
        words.push(url.into());
        return Ok(words);
    }
    let script = field.folder.join("rotate.lua");
    std::fs::write(&script, ROTATE).with_context(|| script.display().to_string())?;
    let file = field.material.tokens(traffic.tokens).context("no tokens")?;
    words.extend(["-s".into(), script.into(), url.into(), "--".into(), file.into()]);
    Ok(words)
}

/// A number of wrk with its unit, in microseconds.
fn microseconds(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 6e7,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The word after some text.
fn after<'t>(text: &'t str, before: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_whitespace().next().map(|word| word.trim_end_matches(','))
}

fn count(text: &str, before: &str) -> u64 {
    after(text, before).and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn wrk(text: &str, traffic: Traffic) -> Result<Tally> {
    let line = text.lines().find(|line| line.contains(" requests in "));
    let line = line.context("wrk ended without a summary")?;
    let answers: u64 = line.split_whitespace().next().unwrap_or_default().parse()?;
    let other = count(text, "Non-2xx or 3xx responses: ");
    let wrong = if traffic.status < 400 { other } else { answers - other.min(answers) };
    // A connection that ends with its answer is an error of reading to wrk.
    let read = if traffic.tool == Tool::WrkClosing { 0 } else { count(text, " read ") };
    let failed = ["connect ", ", write ", ", timeout "].map(|what| count(text, what));
    let latency = |share: &str| after(text, share).and_then(microseconds).unwrap_or_default();
    let per_second = after(text, "Requests/sec:").and_then(|word| word.parse().ok());
    Ok(Tally {
        answers,
        bad: wrong + read + failed.iter().sum::<u64>(),
        window: Window {
            per_second: per_second.unwrap_or_default(),
            p50_us: latency("50% "),
            p99_us: latency("99% "),
        },
    })
}

fn h2load(text: &str, log: &str, seconds: u32) -> Result<Tally> {
    let line = text.lines().find(|line| line.starts_with("requests: "));
    let line = line.context("h2load ended without a summary")?;
    let before = |word: &str| {
        let (before, _) = line.split_once(word)?;
        before.trim_end().rsplit(' ').next()?.parse::<u64>().ok()
    };
    let succeeded = before("succeeded").context("no number")?;
    let failed = ["failed", "errored", "timeout"].map(|word| before(word).unwrap_or_default());
    let latencies = log.lines().filter_map(|line| line.split('\t').nth(2)?.parse::<f64>().ok());
    let mut sorted: Vec<f64> = latencies.collect();
    sorted.sort_by(f64::total_cmp);
    Ok(Tally {
        answers: succeeded,
        bad: failed[0].max(failed[1]) + failed[2],
        window: Window {
            per_second: real(succeeded) / f64::from(seconds),
            p50_us: quantile(&sorted, 0.5),
            p99_us: quantile(&sorted, 0.99),
        },
    })
}

fn handshakes(text: &str, resume: bool) -> Result<Tally> {
    let report: Report = serde_json::from_str(text.trim())?;
    ensure!(report.answered > 0, "no answer at all: {:?}", report.first_failure);
    // The first connections have nothing to resume.
    let other = if resume {
        report.full.saturating_sub(2 * u64::from(CONNECTIONS))
    } else {
        report.resumed
    };
    if other > 0 {
        bail!("{} full handshakes, {} resumed ones", report.full, report.resumed);
    }
    Ok(Tally { answers: report.answered, bad: report.failed, window: window(&report) })
}

/// Speed and latency of a client of our own.
pub(crate) fn window(report: &Report) -> Window {
    Window {
        per_second: real(report.answered) / report.seconds.max(1e-9),
        p50_us: report.p50_us,
        p99_us: report.p99_us,
    }
}

/// A client of our own that waits for a word before it begins.
pub(crate) struct Waiting {
    /// Its process.
    pub(crate) process: Process,
    input: std::process::ChildStdin,
    output: std::io::BufReader<std::process::ChildStdout>,
}

impl Waiting {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(field: &Field, words: Vec<OsString>) -> Result<Self> {
        let mut process = field.client("the client", words).piped().start()?;
        let (input, output) = process.pipes()?;
        let mut output = std::io::BufReader::new(output);
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line)?;
        if line.trim() != "READY" {
            bail!("the client is not ready: {}", process.tail());
        }
        Ok(Self { process, input, output })
    }

    /// Tells it to begin.
    pub(crate) fn begin(&mut self) -> Result<()> {
        Ok(writeln!(self.input, "go")?)
    }

    /// Whether it is through.
    pub(crate) fn is_through(&mut self) -> bool {
        self.process.check().is_err()
    }

    /// What it says at its end, which the end of its input brings about at the latest.
    pub(crate) fn end(mut self) -> Result<String> {
        drop(self.input);
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.process.ended(Duration::from_secs(10))?;
        Ok(text)
    }
}

/// A share of figures of a log of `timed`: `(when, how long)`, both microseconds.
pub(crate) fn tail_of(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.99)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    const WRK: &str = "Running 1s test @ http://127.0.0.1:18000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.02ms    1.05ms  28.12ms   95.20%
    Req/Sec    32.11k     1.02k   34.01k    70.00%
  Latency Distribution
     50%    1.95ms
     75%    2.10ms
     90%    2.44ms
     99%  960.00us
  32110 requests in 1.01s, 9.00MB read
  Socket errors: connect 1, read 2, write 3, timeout 4
  Non-2xx or 3xx responses: 110
Requests/sec:  31792.30
Transfer/sec:      8.91MB
";

    fn traffic(tool: Tool, status: u16) -> Traffic {
        Traffic { tool, tls: false, path: scenario::FREE, tokens: Tokens::None, status }
    }

    #[test]
    fn the_summary_of_wrk_is_read() {
        let window = Window { per_second: 31_792.3, p50_us: 1_950.0, p99_us: 960.0 };
        let rows = [
            ("of answers", Tool::Wrk, 200, 110 + 10),
            ("of refusals", Tool::Wrk, 403, 32_000 + 10),
            ("of connections that end", Tool::WrkClosing, 200, 110 + 8),
        ];
        for (name, tool, status, bad) in rows {
            let tally = wrk(WRK, traffic(tool, status)).expect(name);
            assert_eq!((tally.answers, tally.bad), (32_110, bad), "{name}");
            assert!((tally.window.p50_us - window.p50_us).abs() < 0.1, "{name}");
            assert!((tally.window.p99_us - window.p99_us).abs() < 0.1, "{name}");
            assert!((tally.window.per_second - window.per_second).abs() < 0.1, "{name}");
        }
        assert!(wrk("unable to connect", traffic(Tool::Wrk, 200)).is_err());
    }

    #[test]
    fn the_summary_of_h2load_is_read() {
        let text = "finished in 1.00s, 100 req/s\nrequests: 120 total, 110 started, 104 done, \
                    100 succeeded, 4 failed, 4 errored, 0 timeout\n";
        let log = "1\t200\t30\n2\t200\t10\n3\t200\t20\n";
        let tally = h2load(text, log, 2).expect("a summary");
        assert_eq!((tally.answers, tally.bad), (100, 4));
        assert!((tally.window.per_second - 50.0).abs() < 0.1);
        assert!((tally.window.p50_us - 20.0).abs() < 0.1);
        assert!(h2load("", "", 1).is_err());
    }

    #[test]
    fn a_handshake_of_the_wrong_kind_is_an_error() {
        let report = |full, resumed| {
            let report = Report { answered: 500, full, resumed, ..Report::default() };
            serde_json::to_string(&report).expect("JSON")
        };
        assert!(handshakes(&report(500, 0), false).is_ok());
        assert!(handshakes(&report(499, 1), false).is_err());
        assert!(handshakes(&report(64, 436), true).is_ok());
        assert!(handshakes(&report(300, 200), true).is_err());
    }
}
