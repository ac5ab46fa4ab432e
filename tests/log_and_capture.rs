//! strace logs and the capture beside them, too large for memory: the clocks are solved from their beginnings, then all are
//! read in order of time, and the report is that of all they hold.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

use flate2::{Compression, write::GzEncoder};
use presyn::case::jsonl::{self, Footer, Header};
use presyn::decode::strace;
use presyn::event::Event;
use presyn::explain::assemble::Limits;
use presyn::merge;
use presyn::pipeline::{self, Settings};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use presyn::time::{Span, Timestamp};
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

const ROUNDS: u32 = 6_000;
/// The log's clock is an hour behind.
const BEHIND: u32 = 3_600;

fn dns(n: u32, answer: bool) -> Vec<u8> {
    let name = format!("host{n}");
    let mut message = u16::try_from(n).unwrap().to_be_bytes().to_vec();
    message.extend(if answer { [0x81, 0x80] } else { [1, 0] });
    message.extend([0, 1, 0, u8::from(answer), 0, 0, 0, 0]);
    message.push(u8::try_from(name.len()).unwrap());
    message.extend(name.bytes());
    message.extend(b"\x07example\x03com\0\0\x01\0\x01");
    if answer {
        message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04");
        message.extend(server(n));
    }
    message
}

fn server(n: u32) -> [u8; 4] {
    let [_, _, c, d] = n.to_be_bytes();
    [11, 0, c, d]
}

const CLIENT: [u8; 4] = [10, 0, 1, 7];
const RESOLVER: [u8; 4] = [10, 0, 0, 54];

/// An IPv4 packet between two ends; `head` follows the ports.
fn packet(protocol: u8, ends: [([u8; 4], u16); 2], head: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(24 + head.len() + payload.len()).unwrap();
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    bytes.extend(ends.iter().flat_map(|(ip, _)| ip));
    bytes.extend(ends.iter().flat_map(|(_, port)| port.to_be_bytes()));
    bytes.extend(head);
    bytes.extend(payload);
    bytes
}

fn udp(ends: [([u8; 4], u16); 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
    packet(17, ends, &[length[0], length[1], 0, 0], payload)
}

fn tcp(ends: [([u8; 4], u16); 2], seq: u32, ack: u32, flags: u8) -> Vec<u8> {
    let mut head = [seq.to_be_bytes(), ack.to_be_bytes()].concat();
    head.extend([0x50, flags, 4, 0, 0, 0, 0, 0]);
    packet(6, ends, &head, &[])
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        write!(text, "\\{b:03o}").unwrap();
        text
    })
}

/// One lookup and one connect, as the log shows them.
fn lines(n: u32, log: &mut String) {
    let port = 20_000 + n;
    let to = Ipv4Addr::from(server(n));
    let udp = format!("5<UDP:[10.0.1.7:{port}->10.0.0.54:53]>");
    let tcp = format!("5<TCP:[10.0.1.7:{port}->{to}:443]>");
    let (query, answer) = (dns(n, false), dns(n, true));
    let (asked, told) = (query.len(), answer.len());
    let resolver = "{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.0.54\")}";
    let address =
        format!("{{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(\"{to}\")}}");
    let calls = [
        (
            0,
            format!("socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 5<UDP:[{n}]>"),
            9,
        ),
        (20, format!("connect(5<UDP:[{n}]>, {resolver}, 16) = 0"), 9),
        (
            60,
            format!(
                "sendto({udp}, \"{}\", {asked}, 0, NULL, 0) = {asked}",
                octal(&query)
            ),
            12,
        ),
        (
            80,
            format!(
                "poll([{{fd={udp}, events=POLLIN}}], 1, 5000) = 1 ([{{fd=5, revents=POLLIN}}])"
            ),
            500 + n % 97,
        ),
        (
            700,
            format!(
                "recvfrom({udp}, \"{}\", 2048, 0, {resolver}, [28 => 16]) = {told}",
                octal(&answer)
            ),
            9,
        ),
        (720, format!("close({udp}) = 0"), 7),
        (
            800,
            format!("socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 5<TCP:[{n}]>"),
            9,
        ),
        (
            820,
            format!(
                "connect(5<TCP:[{n}]>, {address}, 16) = -1 EINPROGRESS (Operation now in progress)"
            ),
            20,
        ),
        (
            850,
            format!(
                "poll([{{fd={tcp}, events=POLLOUT}}], 1, 5000) = 1 ([{{fd=5, revents=POLLOUT}}])"
            ),
            300 + n % 501,
        ),
        (
            1_800,
            format!("getsockopt({tcp}, SOL_SOCKET, SO_ERROR, [0], [4]) = 0"),
            5,
        ),
        (1_830, format!("close({tcp}) = 0"), 7),
    ];
    for (after, call, lasted) in calls {
        let (seconds, micros) = time(n, after);
        let seconds = seconds - BEHIND;
        writeln!(
            log,
            "{} {seconds}.{micros:06} {call} <0.{lasted:06}>",
            1_000 + n % 8
        )
        .unwrap();
    }
}

/// In seconds and microseconds, so long after the beginning of a round of 20 ms.
fn time(n: u32, after: u32) -> (u32, u32) {
    let micros = n % 50 * 20_000 + after;
    (1_700_000_000 + n / 50, micros)
}

fn frames(n: u32, capture: &mut Vec<u8>) {
    let port = u16::try_from(20_000 + n).unwrap();
    let resolver = [(CLIENT, port), (RESOLVER, 53)];
    let server = [(CLIENT, port), (server(n), 443)];
    let back = |[a, b]: [([u8; 4], u16); 2]| [b, a];
    for (after, bytes) in [
        (68, udp(resolver, &dns(n, false))),
        (560 + n % 97, udp(back(resolver), &dns(n, true))),
        (828, tcp(server, n, 0, 2)),
        (1_100 + n % 501, tcp(back(server), 77, n + 1, 0x12)),
    ] {
        let (seconds, micros) = time(n, after);
        let length = u32::try_from(bytes.len()).unwrap();
        for field in [seconds, micros, length, length] {
            capture.extend(field.to_le_bytes());
        }
        capture.extend(bytes);
    }
}

/// The header of a pcap file of raw IP packets.
fn capture_header() -> Vec<u8> {
    let fields = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101_u32];
    fields.iter().flat_map(|f| f.to_le_bytes()).collect()
}

fn packed(path: &Path, bytes: &[u8]) {
    let mut file = GzEncoder::new(fs::File::create(path).unwrap(), Compression::fast());
    file.write_all(bytes).unwrap();
    file.finish().unwrap();
}

fn report(paths: &[PathBuf], limits: Limits) -> Report {
    let options = InputOptions {
        limits,
        ..InputOptions::default()
    };
    let gathered = inputs::gather(paths, &options).unwrap();
    let calls = gathered.traces.iter().map(|(_, calls)| calls.len());
    let retained = gathered.packets.len() + calls.sum::<usize>();
    let bounded = limits.list < usize::MAX;
    assert_eq!(retained < 66_000, bounded, "{retained} events");
    pipeline::checked_report(gathered, &Settings::default()).unwrap()
}

/// The report of what is read in bounded memory is that of all that the inputs hold, which is returned.
fn same_as_of_all(paths: &[PathBuf]) -> Report {
    let (some, whole) = (report(paths, Limits::BOUNDED), report(paths, Limits::ALL));
    identical(&some, &whole);
    assert!(whole.resolvers[0].answered >= Some(u64::from(ROUNDS)));
    whole
}

fn is_behind(report: &Report) -> bool {
    let offset = report.inputs.clock.offset_s;
    offset.is_some_and(|s| (s - f64::from(BEHIND)).abs() < 0.001)
}

/// All of a report but what tells how it was read: the numbers of lookups and connections among those retained, how many
/// calls the clock was solved from, and that something was evicted.
fn but_for_the_reading(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(but_for_the_reading),
        Value::Object(fields) => {
            for (name, value) in fields {
                if let ("id" | "lookup" | "connection" | "method", Value::String(text)) =
                    (&**name, &mut *value)
                {
                    text.retain(|c| !c.is_ascii_digit());
                }
                but_for_the_reading(value);
            }
        }
        _ => {}
    }
}

/// Both reports are equal in every byte but those.
fn identical(some: &Report, whole: &Report) {
    let [some, whole] = [some, whole].map(|report| {
        let mut report = report.clone();
        report
            .warnings
            .retain(|w| !w.contains("counted but not retained"));
        let mut value = serde_json::to_value(report).unwrap();
        but_for_the_reading(&mut value);
        serde_json::to_string_pretty(&value).unwrap()
    });
    let differs = some
        .lines()
        .zip(whole.lines())
        .find(|(some, whole)| some != whole);
    assert_eq!(differs, None);
    assert_eq!(some.len(), whole.len());
}

fn same(some: &Report, whole: &Report) {
    let rows = |r: &Report| {
        let rows = r.resolvers.iter();
        rows.map(|r| {
            (
                r.queries,
                (r.answered, r.unanswered, r.open),
                r.never_sent,
                r.transactions,
                r.origin,
            )
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(rows(some), rows(whole));
    for (some, whole) in some.resolvers.iter().zip(&whole.resolvers) {
        let (some, whole) = (some.waited_s.unwrap_or(0.0), whole.waited_s.unwrap_or(0.0));
        assert!((some - whole).abs() <= 0.01 * whole, "{some} for {whole}");
    }
    let counts = |r: &Report| {
        [
            r.lookups.len() + r.omitted.lookups,
            r.connections.len() + r.omitted.connections,
            r.delays.len() + r.omitted.delays,
        ]
    };
    assert_eq!(counts(some), counts(whole));
    assert_eq!(some.summary, whole.summary);
    assert_eq!(some.inputs.clock.offset_s, whole.inputs.clock.offset_s);
    let times = |r: &Report| {
        let delays = r.delays.iter().take(100);
        delays
            .map(|d| format!("{:?} {:?} {}", d.since_start_s, d.after_syn_s, d.at_least))
            .collect::<Vec<_>>()
    };
    assert_eq!(times(some), times(whole));
    let first = |r: &Report| {
        let names = r
            .lookups
            .iter()
            .map(|l| (l.name.clone(), l.began_s, l.seconds));
        names.take(100).collect::<Vec<_>>()
    };
    assert_eq!(first(some), first(whole));
    let called = |r: &Report| {
        r.connections
            .iter()
            .all(|c| c.cause.as_ref().is_some_and(|c| c.call.is_some()))
    };
    assert!(called(some) && called(whole));
}

#[test]
fn a_log_beside_its_capture_is_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut log, mut capture) = (String::new(), capture_header());
    for n in 1..=ROUNDS {
        lines(n, &mut log);
        frames(n, &mut capture);
    }
    let paths = [folder.join("run.strace.gz"), folder.join("run.pcap.gz")];
    packed(&paths[0], log.as_bytes());
    packed(&paths[1], &capture);
    let whole = same_as_of_all(&paths);
    assert!(is_behind(&whole));
    // The log comes through a pipe, which can be read once only.
    let pipe = folder.join("pipe");
    nix::unistd::mkfifo(
        &pipe,
        nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR,
    )
    .unwrap();
    let piped = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut to = fs::File::options().write(true).open(&pipe).unwrap();
            std::io::copy(&mut fs::File::open(&paths[0]).unwrap(), &mut to).unwrap();
        });
        report(&[pipe.clone(), paths[1].clone()], Limits::BOUNDED)
    });
    same(&piped, &whole);
    assert_eq!(piped.inputs.traces[0].path, pipe.display().to_string());
}

/// Several logs of one run, each round in one of them; the last one holds a single round.
fn logs(folder: &Path, count: u32) -> Vec<PathBuf> {
    let mut texts = vec![String::new(); count as usize];
    for n in 1..=ROUNDS {
        let of = if n == ROUNDS / 2 {
            count - 1
        } else {
            n % (count - 1)
        };
        lines(n, &mut texts[of as usize]);
    }
    { texts.iter().enumerate() }
        .map(|(n, text)| {
            let path = folder.join(format!("run{n}.strace.gz"));
            packed(&path, text.as_bytes());
            path
        })
        .collect()
}

#[test]
fn logs_are_read_side_by_side_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    same_as_of_all(&logs(folder.path(), 70));
}

#[test]
fn logs_beside_their_capture_are_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = logs(folder.path(), 3);
    let mut capture = capture_header();
    (1..=ROUNDS).for_each(|n| frames(n, &mut capture));
    paths.insert(1, folder.path().join("run.pcap.gz"));
    packed(&paths[1], &capture);
    let whole = same_as_of_all(&paths);
    assert!(is_behind(&whole));
    let order: Vec<&str> = whole.inputs.traces.iter().map(|t| &*t.path).collect();
    let named = [0, 2, 3].map(|n: usize| paths[n].display().to_string());
    assert_eq!(order, named);
}

/// The calls of a round, without times; a few of them run into a timeout, no two into the same, and ask again.
fn untimed(n: u32, log: &mut String) {
    let (mut calls, mut sent) = (String::new(), String::new());
    lines(n, &mut calls);
    for (at, line) in calls.lines().enumerate() {
        let (pid, rest) = line.split_once(' ').unwrap();
        let (_, rest) = rest.split_once(' ').unwrap();
        let (call, _) = rest.rsplit_once(" <").unwrap();
        if at == 3 && n % 50 == 7 {
            let (poll, _) = call.rsplit_once("1, 5000)").unwrap();
            writeln!(log, "{pid} {poll}1, {}) = 0 (Timeout)", 5_000 + n).unwrap();
            writeln!(log, "{pid} {sent}").unwrap();
        }
        writeln!(log, "{pid} {call}").unwrap();
        if at == 2 {
            call.clone_into(&mut sent);
        }
    }
}

/// A log without times. One thread's wait lasts from its beginning to its end.
fn untimed_log(folder: &Path, rounds: u32) -> PathBuf {
    let (mut log, mut own) = (String::new(), String::new());
    untimed(rounds + 1, &mut own);
    let own = own.replace(&format!("{} ", 1_000 + (rounds + 1) % 8), "2000 ");
    let own: Vec<&str> = own.lines().collect();
    for n in 1..=rounds {
        untimed(n, &mut log);
        if n == 1 {
            let (poll, _) = own[3].rsplit_once("5000)").unwrap();
            let asked = own[..3].join("\n");
            writeln!(log, "{asked}\n{poll}60000 <unfinished ...>").unwrap();
        }
    }
    let after = own[2..].join("\n");
    writeln!(log, "2000 <... poll resumed>) = 0 (Timeout)\n{after}").unwrap();
    let path = folder.join("plain.strace.gz");
    packed(&path, log.as_bytes());
    path
}

#[test]
fn a_log_without_times_is_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [untimed_log(folder.path(), 2 * ROUNDS)];
    let whole = report(&paths, Limits::ALL);
    same(&report(&paths, Limits::BOUNDED), &whole);
    let resolver = &whole.resolvers[0];
    assert!(resolver.waited_s > Some(60.0) && resolver.unanswered > Some(200));
    assert!(whole.delays[0].at_least);
}

#[test]
fn a_busy_loop_is_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = String::new();
    let clone =
        |child: u32| format!("clone(child_stack=NULL, flags=SIGCHLD, child_tidptr=0x7f) = {child}");
    let mut micros = 0;
    let mut line = |pid: u32, call: &str, log: &mut String| {
        micros += 5;
        let (seconds, rest) = (1_699_996_400 + micros / 1_000_000, micros % 1_000_000);
        writeln!(log, "{pid} {seconds}.{rest:06} {call} <0.000003>").unwrap();
    };
    for n in 0..10_000 {
        line(900, &clone(10_000 + n), &mut log);
    }
    for n in 0..200_000 {
        line(10_000 + n % 3, "epoll_wait(4, [], 16, 0) = 0", &mut log);
        if n % 100_000 == 7 {
            // A lookup, and what it connects to.
            let mut calls = String::new();
            lines(1 + n / 100_000, &mut calls);
            for call in calls.lines() {
                let call = call.splitn(3, ' ').nth(2).unwrap();
                let (call, _) = call.rsplit_once(" <").unwrap();
                line(10_005, call, &mut log);
            }
        }
    }
    let path = folder.path().join("busy.strace.gz");
    packed(&path, log.as_bytes());
    let paths = [path];
    let (some, whole) = (report(&paths, Limits::BOUNDED), report(&paths, Limits::ALL));
    identical(&some, &whole);
    assert_eq!((whole.lookups.len(), whole.connections.len()), (2, 2));
}

/// The capture of all rounds in so many files that follow each other.
fn rotated(folder: &Path, count: u32) -> Vec<PathBuf> {
    let of = ROUNDS / count;
    { 0..count }
        .map(|file| {
            let mut capture = capture_header();
            (file * of + 1..=(file + 1) * of).for_each(|n| frames(n, &mut capture));
            let path = folder.join(format!("run.pcap{file}.gz"));
            packed(&path, &capture);
            path
        })
        .collect()
}

/// The capture of all rounds, with the clock this much ahead.
fn capture(folder: &Path, name: &str, ahead: Span) -> PathBuf {
    let mut bytes = capture_header();
    (1..=ROUNDS).for_each(|n| frames(n, &mut bytes));
    let mut at = 24;
    while at < bytes.len() {
        let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let length = usize::try_from(field(at + 8)).unwrap();
        let (seconds, micros) = (i64::from(field(at)), i64::from(field(at + 4)));
        let micros = seconds * 1_000_000 + micros + ahead.0 / 1_000;
        for (field, value) in [(at, micros / 1_000_000), (at + 4, micros % 1_000_000)] {
            let value = u32::try_from(value).unwrap();
            bytes[field..field + 4].copy_from_slice(&value.to_le_bytes());
        }
        at += 16 + length;
    }
    let path = folder.join(name);
    packed(&path, &bytes);
    path
}

/// The trace that presyn would have taken of these rounds.
fn own_trace(folder: &Path, rounds: std::ops::RangeInclusive<u32>) -> PathBuf {
    let mut log = String::new();
    rounds.for_each(|n| lines(n, &mut log));
    let mut reader = strace::Reader::new(0);
    let header = Header {
        schema: jsonl::SCHEMA.into(),
        started: Timestamp::new(1_700_000_000, 0),
        traced: true,
        ..Header::default()
    };
    let mut trace = jsonl::header_line(&header).unwrap();
    trace.push(b'\n');
    let mut sink = |mut event: Event| {
        merge::shift(
            std::slice::from_mut(&mut event),
            Span::seconds(BEHIND.into()),
        );
        trace.extend(jsonl::line(&event).unwrap());
        trace.push(b'\n');
    };
    for (line, number) in log.lines().zip(1..) {
        reader.line(number, line.as_bytes(), &mut sink);
    }
    reader.finish("", &mut sink);
    let footer = Footer {
        dropped: Some(7),
        ..Footer::default()
    };
    trace.extend(jsonl::footer_line(&footer).unwrap());
    let path = folder.join("trace.jsonl");
    fs::write(&path, &trace).unwrap();
    path
}

#[test]
fn a_rotated_capture_beside_a_log_is_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut paths = rotated(folder, 3);
    paths.extend(logs(folder, 2));
    let whole = same_as_of_all(&paths);
    assert!(is_behind(&whole));
    // In any order.
    paths.reverse();
    same(&report(&paths, Limits::BOUNDED), &whole);
}

#[test]
fn two_interfaces_beside_a_log_are_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut paths = logs(folder, 2);
    paths.push(capture(folder, "eth0.pcap.gz", Span::ZERO));
    paths.push(capture(folder, "br0.pcap.gz", Span::micros(3)));
    let whole = same_as_of_all(&paths);
    assert_eq!(whole.duplicates_removed, u64::from(4 * ROUNDS));
}

#[test]
fn captures_of_two_clocks_beside_a_log_are_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut paths = logs(folder, 2);
    paths.push(capture(folder, "here.pcap.gz", Span::ZERO));
    paths.push(capture(folder, "there.pcap.gz", Span::seconds(3)));
    let gathered = inputs::gather(&paths, &InputOptions::default()).unwrap();
    assert!(gathered.totals.is_empty() && gathered.packets.len() > 40_000);
    let report = pipeline::checked_report(gathered, &Settings::default()).unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|w| w.contains("3.000000 s later"))
    );
}

#[test]
fn a_trace_of_presyns_beside_captures_and_a_log_is_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut paths = rotated(folder, 2);
    paths.insert(1, own_trace(folder, 1..=ROUNDS / 2));
    let mut log = String::new();
    (ROUNDS / 2 + 1..=ROUNDS).for_each(|n| lines(n, &mut log));
    // Beside a trace of presyn's the times of a log are taken as they are.
    let ahead = |line: &str| {
        let (pid, rest) = line.split_once(' ').unwrap();
        let (seconds, rest) = rest.split_once('.').unwrap();
        let seconds = seconds.parse::<u32>().unwrap() + BEHIND;
        format!("{pid} {seconds}.{rest}\n")
    };
    let log: String = log.lines().map(ahead).collect();
    paths.push(folder.join("rest.strace"));
    fs::write(&paths[3], log).unwrap();
    let whole = same_as_of_all(&paths);
    assert_eq!(whole.inputs.traces.len(), 2);
    // Which of the two lost packets nobody knows.
    assert!(whole.inputs.captures.iter().all(|c| c.dropped.is_none()));
}

#[test]
fn what_is_short_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut log, mut capture) = (String::new(), capture_header());
    (1..=100).for_each(|n| {
        lines(n, &mut log);
        frames(n, &mut capture);
    });
    // The capture holds nearly nothing but what does not matter.
    let mut segment = capture_header().split_off(24);
    let plain = tcp([(CLIENT, 5), (server(1), 443)], 1, 1, 0x10);
    let length = u32::try_from(plain.len()).unwrap();
    for field in [1_700_000_003, 0, length, length] {
        segment.extend(field.to_le_bytes());
    }
    segment.extend(plain);
    (0..300_000).for_each(|_| capture.extend(&segment));
    let paths = [folder.join("run.strace"), folder.join("run.pcap")];
    fs::write(&paths[1], &capture).unwrap();
    // One log is of the capture's run, one is of another.
    let mut other = String::new();
    (5_000..5_100).for_each(|n| lines(n, &mut other));
    for log in [log, other] {
        fs::write(&paths[0], &log).unwrap();
        let mut options = InputOptions::default();
        let some = pipeline::report(
            inputs::gather(&paths, &options).unwrap(),
            &Settings::default(),
        );
        let size = (log.len() + capture.len()) as u64;
        assert!(size > 16 << 20);
        assert_eq!(options.capture.progress.read(), size);
        options.limits = Limits::ALL;
        let whole = inputs::gather(&paths, &options).unwrap();
        identical(&some, &pipeline::report(whole, &Settings::default()));
    }
}
