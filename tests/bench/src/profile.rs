//! Where the time of a request goes: samples of this project's daemon under the load of a scenario,
//! sorted into what it was doing.
//!
//! `perf` takes them by the clock, a thousand times a second, with the stack of the kernel: that tells which
//! system call a sample belongs to. In user space a sample belongs to the function that the compiler
//! left standing, with all that was inlined into it. CPU time per request is measured first, while
//! nobody takes samples.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::field::{Field, Gateway, settle};
use crate::load::Generator;
use crate::options::Options;
use crate::peer::{Peer, Programs};
use crate::scenario::{Kind, Scenario, Traffic};
use crate::stats::real;
use crate::table::{aligned, number};
use crate::{clock, document, run, turns};

/// Samples per second; not a multiple of what timers do.
const FREQUENCY: &str = "1999";
/// Time for connections to open and caches to fill.
const WARM: u64 = 500;
/// How long CPU time per request is measured, and then sampled, milliseconds.
const MEASURED: u64 = 3_000;
const SAMPLED: u64 = 4_000;

/// A group of samples: its name, and what is in the name of a function. The first that fits counts.
#[derive(Clone, Copy)]
struct Group {
    name: &'static str,
    parts: &'static [&'static str],
}

const fn group(name: &'static str, parts: &'static [&'static str]) -> Group {
    Group { name, parts }
}

/// Loopback: the other side's receive path runs within the send of this one.
const DELIVERY: &[&str] = &["net_rx_action", "__netif_receive_skb", "process_backlog"];

/// What the kernel does, by the function of its stack that says for what.
const KERNEL: [Group; 11] = [
    group("kernel: accept", &["accept4", "__sys_accept"]),
    group("kernel: connect", &["__sys_connect"]),
    group(
        "kernel: close, shut down",
        &["__sys_shutdown", "__x64_sys_close", "task_work_run", "__fput"],
    ),
    group(
        "kernel: socket, its options",
        &["__sys_socket", "setsockopt", "getsockopt", "getsockname", "getpeername"],
    ),
    group("kernel: receive", &["recvfrom", "recvmsg", "sys_read", "readv"]),
    group("kernel: send", &["sendto", "sendmsg", "sys_write", "writev", "splice", "sendfile"]),
    group("kernel: wait for events", &["epoll_wait", "epoll_pwait", "ep_poll"]),
    group("kernel: register for events", &["epoll_ctl"]),
    group("kernel: memory", &["exc_page_fault", "sys_madvise", "sys_mmap", "sys_munmap"]),
    group("kernel: interrupts", &["irq_exit", "sysvec", "common_interrupt", "asm_common"]),
    group("kernel: entry, exit, other", &[""]),
];

const CRYPTO: &str = "cryptography (aws-lc)";
const ALLOCATOR: Group = group(
    "allocator",
    &["mi_", "mimalloc", "malloc", "free", "calloc", "__rust_alloc", "__rust_dealloc"],
);

/// What the program does, by the name of the function.
const PROGRAM: [Group; 12] = [
    group("TLS (rustls)", &["rustls", "webpki"]),
    group(
        "token",
        &["gateway_daemon::authn", "gateway_daemon::proxy::authenticate", "gateway_daemon::jwt"],
    ),
    group("policy", &["gateway_daemon::authz", "gateway_daemon::proxy::authorize"]),
    group("route", &["gateway_daemon::route", "gateway_daemon::proxy::route"]),
    group("HTTP/2 (h2, hyper)", &["h2::", "hyper::", "hyper_util::"]),
    group("HTTP/1", &["gateway_daemon::proxy::http1", "httparse", "memchr"]),
    group(
        "counting, log",
        &["gateway_daemon::proxy::count", "gateway_daemon::counters", "access_log"],
    ),
    group(
        "upstream, forwarding",
        &["gateway_daemon::proxy::upstream", "gateway_daemon::proxy::forward"],
    ),
    group("rest of the gateway", &["gateway_daemon"]),
    group("runtime (tokio, mio)", &["tokio", "mio::"]),
    ALLOCATOR,
    group("copying, libc, other", &[""]),
];

/// Samples by group, and CPU microseconds per request.
pub(crate) struct Profile {
    id: &'static str,
    per_request: f64,
    groups: BTreeMap<&'static str, u64>,
}

/// What the user says after the word that asks for profiles; none if that is not what is asked.
pub(crate) fn without_word(options: &Options) -> Option<Options> {
    let (first, scenarios) = options.scenarios.split_first()?;
    (first == "profile").then(|| Options { scenarios: scenarios.to_vec(), ..options.clone() })
}

/// Takes the profiles that the user asked for, prints them, and writes them down where asked.
pub(crate) fn run(options: &Options, programs: Programs, folder: &Path) -> Result<()> {
    let field = Field::prepare(folder.to_owned(), programs, options)?;
    crate::process::pin(field.load_core)?;
    let mut profiles = Vec::new();
    for scenario in run::chosen(options)? {
        let Kind::Turns(traffic) = scenario.kind else { continue };
        if traffic.status != 200 {
            // Requests are counted at the upstream, where these never arrive.
            eprintln!("{}: left out, because no request is passed on", scenario.id);
            continue;
        }
        eprintln!("{}: {}", scenario.id, scenario.what);
        profiles.push(profile(&field, &scenario, traffic)?);
    }
    ensure!(
        !profiles.is_empty(),
        "none of these scenarios is about requests of one kind that are passed on"
    );
    println!("\nCPU microseconds per request\n{}", aligned(&rows(&profiles)));
    if options.document {
        document::write_profiles(Path::new(run::DOCUMENTS), &markdown(&profiles))?;
    }
    Ok(())
}

fn profile(field: &Field, scenario: &Scenario, traffic: Traffic) -> Result<Profile> {
    let entry = scenario.entries.iter().find(|entry| entry.peer == Peer::Ours);
    let entry = entry.with_context(|| format!("{}: this project takes no part", scenario.id))?;
    let gateway = field.start(0, *entry, None)?;
    let gateways = [gateway];
    turns::warm(field, traffic, &gateways)?;
    let [gateway] = gateways;
    let generator = Generator::start(field, &gateway, traffic)?;
    clock::pause(WARM);
    let per_request = per_request(field, &gateway, &generator)?;
    let data = field.folder.join("perf.data");
    let samples = record(field, &gateway, &data);
    generator.end()?;
    samples?;
    let text =
        crate::shell::run("perf", &["script", "-i", &data.to_string_lossy(), "-F", "ip,sym,dso"])?;
    let groups = sorted(&text);
    ensure!(!groups.is_empty(), "perf took no samples");
    Ok(Profile { id: scenario.id, per_request, groups })
}

fn per_request(field: &Field, gateway: &Gateway, generator: &Generator) -> Result<f64> {
    let mark = || -> Result<(Duration, u64)> {
        generator.process.freeze()?;
        settle(&[&gateway.process, &field.upstream]);
        Ok((gateway.process.cpu(), gateway.served()?))
    };
    let (before, served) = mark()?;
    generator.process.thaw()?;
    clock::pause(MEASURED);
    let (after, now) = mark()?;
    generator.process.thaw()?;
    ensure!(now > served, "{}: no request reached the upstream", gateway.entry.name());
    Ok(after.saturating_sub(before).as_secs_f64() * 1e6 / real(now - served))
}

fn record(field: &Field, gateway: &Gateway, data: &Path) -> Result<()> {
    let (pid, seconds) = (gateway.process.pid().to_string(), real(SAMPLED) / 1e3);
    let seconds = seconds.to_string();
    let words =
        ["perf", "record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-g", "-p", &pid, "-o"];
    let mut words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
    words.push(data.into());
    words.extend(["--", "sleep", &seconds].map(Into::into));
    let mut perf = field.client("perf", words).start()?;
    perf.ended(Duration::from_millis(2 * SAMPLED))
        .context("perf: Debian's package linux-perf has it")
}

/// Samples by group. A sample is a block of lines, innermost function first.
fn sorted(script: &str) -> BTreeMap<&'static str, u64> {
    let mut groups = BTreeMap::new();
    for sample in script.split("\n\n") {
        let frames: Vec<Frame<'_>> = sample.lines().filter_map(frame).collect();
        if let Some(name) = group_of(&frames) {
            *groups.entry(name).or_default() += 1;
        }
    }
    groups
}

/// A function of a stack, and the object that it is in.
struct Frame<'s> {
    function: &'s str,
    object: &'s str,
}

impl Frame<'_> {
    fn is_kernel(&self) -> bool {
        self.object.starts_with("[kernel")
    }

    /// What in the daemon is neither Rust nor the allocator: the crypto library, which names not all
    /// of its functions after itself.
    fn is_crypto(&self) -> bool {
        self.object.contains("gateway-daemon")
            && !self.function.contains("::")
            && !ALLOCATOR.parts.iter().any(|part| self.function.contains(part))
    }
}

/// Reads a line `ADDRESS FUNCTION (OBJECT)`.
fn frame(line: &str) -> Option<Frame<'_>> {
    let (function, object) = line.trim().split_once(' ')?.1.rsplit_once(" (")?;
    Some(Frame { function, object })
}

fn group_of(frames: &[Frame<'_>]) -> Option<&'static str> {
    let innermost = frames.first()?;
    if innermost.is_crypto() {
        return Some(CRYPTO);
    }
    if !innermost.is_kernel() {
        return first_of(&PROGRAM, &[innermost.function]);
    }
    let stack: Vec<&str> =
        frames.iter().take_while(|frame| frame.is_kernel()).map(|frame| frame.function).collect();
    let is_delivery = stack.iter().any(|name| DELIVERY.iter().any(|part| name.contains(part)));
    if is_delivery {
        return Some("kernel: loopback, the other side's receiving");
    }
    first_of(&KERNEL, &stack)
}

fn first_of(groups: &'static [Group], names: &[&str]) -> Option<&'static str> {
    let fits = |group: &&Group| {
        group.parts.iter().any(|part| names.iter().any(|name| name.contains(part)))
    };
    groups.iter().find(fits).map(|group| group.name)
}

/// Lines of a group and its microseconds in each profile, what takes most first; the sum below.
fn rows(profiles: &[Profile]) -> Vec<Vec<String>> {
    let names: std::collections::BTreeSet<&str> =
        profiles.iter().flat_map(|profile| profile.groups.keys().copied()).collect();
    let mut names: Vec<&str> = names.into_iter().collect();
    let most = |name: &str| -> f64 { profiles.iter().map(|profile| profile.share(name)).sum() };
    names.sort_by(|a, b| most(b).total_cmp(&most(a)));
    let line = |label: &str, cell: &dyn Fn(&Profile) -> String| {
        [label.to_owned()].into_iter().chain(profiles.iter().map(cell)).collect::<Vec<_>>()
    };
    let mut rows = vec![line("", &|profile| profile.id.to_owned())];
    for name in names {
        rows.push(line(name, &|profile| cell(profile.per_request * profile.share(name))));
    }
    rows.push(line("all", &|profile| number(profile.per_request)));
    rows
}

/// Nothing for what is not worth a digit.
fn cell(microseconds: f64) -> String {
    if microseconds < 0.05 { String::new() } else { format!("{microseconds:.1}") }
}

impl Profile {
    fn share(&self, name: &str) -> f64 {
        let all: u64 = self.groups.values().sum();
        real(self.groups.get(name).copied().unwrap_or_default()) / real(all.max(1))
    }
}

fn markdown(profiles: &[Profile]) -> String {
    let mut text = String::new();
    for (at, row) in rows(profiles).iter().enumerate() {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "| {} |", row.join(" | "));
        if at == 0 {
            text += "|---|";
            text += &"---:|".repeat(profiles.len());
            text.push('\n');
        }
    }
    format!("\nMeasured on {}.\n\n{text}\n", clock::today())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "
        ffffffff81 copy_user ([kernel.kallsyms])
        ffffffff82 tcp_recvmsg ([kernel.kallsyms])
        ffffffff83 __sys_recvfrom ([kernel.kallsyms])
            7f0001 recv (/usr/lib/libc.so.6)

        ffffffff81 tcp_v4_rcv ([kernel.kallsyms])
        ffffffff82 net_rx_action ([kernel.kallsyms])
        ffffffff83 __sys_sendto ([kernel.kallsyms])

            550001 <gateway_daemon::route::Table>::find (/x/gateway-daemon)

            550002 aws_lc_0_42_aes (/x/gateway-daemon)

            550003 __ecp_nistz256_mul_montx (/x/gateway-daemon)

            550004 mi_free (/x/gateway-daemon)

            7f0002 __memmove_avx (/usr/lib/libc.so.6)
";

    #[test]
    fn samples_belong_to_what_was_being_done() {
        let expected = [
            ("allocator", 1),
            ("copying, libc, other", 1),
            ("cryptography (aws-lc)", 2),
            ("kernel: loopback, the other side's receiving", 1),
            ("kernel: receive", 1),
            ("route", 1),
        ];
        assert_eq!(sorted(SCRIPT), expected.into());
    }

    #[test]
    fn parts_of_a_request_sum_up_to_it() {
        let groups = [("route", 1), ("token", 3)].into();
        let profile = Profile { id: "S1", per_request: 40.0, groups };
        let expected = [["", "S1"], ["token", "30.0"], ["route", "10.0"], ["all", "40"]];
        assert_eq!(rows(&[profile]), expected);
    }
}
