//! One incident in many dialects of strace: the same resolvers, the same server connect, the same delay,
//! and nothing invented.
//!
//! The calls of `captures/zookeeper-three-silent` are read into rows and written again in every style by
//! the code below, which shares nothing with the reader that is tested.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    clippy::semicolon_if_nothing_returned,
    reason = "tests; tables of cases are long"
)]

mod shared;

use presyn::input::progress::Progress;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::report::{ConnectionOutcome, EntryKind, Origin, Report, Role, Transport};
use presyn::session::inputs;
use presyn::source::capture_file::{self, CaptureOptions};
use presyn::source::strace_log;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const CASE: &str = "captures/zookeeper-three-silent";
const SERVER: &str = "192.168.110.231:8998";
const RESOLVERS: [&str; 3] = ["10.0.1.92", "10.0.1.93", "10.0.1.95"];

/// One line of the recorded log, taken apart.
#[derive(Clone)]
struct Row {
    tid: u32,
    /// Microseconds since the epoch.
    at: u64,
    /// A call (without its time), or a signal or an exit, as recorded.
    text: String,
    /// `<0.000123>` in microseconds, where the line has one.
    took: Option<u64>,
    /// Index of the row that began this resumed call.
    unfinished: bool,
    resumed: bool,
}

fn micros(text: &str) -> u64 {
    let (whole, fraction) = text.split_once('.').unwrap();
    assert_eq!(fraction.len(), 6);
    whole.parse::<u64>().unwrap() * 1_000_000 + fraction.parse::<u64>().unwrap()
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(Path::new(CASE).join("syscalls.strace")).unwrap();
    let rows: Vec<Row> = text
        .lines()
        .map(|line| {
            let mut parts = line.splitn(3, ' ');
            let tid = parts.next().unwrap().parse().unwrap();
            let at = micros(parts.next().unwrap());
            let mut text = parts.next().unwrap().trim_start().to_owned();
            let mut took = None;
            if text.ends_with('>')
                && let Some(start) = text.rfind(" <0.").or_else(|| text.rfind(" <"))
                && let inside = &text[start + 2..text.len() - 1]
                && inside.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            {
                took = Some(micros(inside));
                text.truncate(start);
            }
            Row {
                tid,
                at,
                unfinished: text.ends_with("<unfinished ...>"),
                resumed: text.starts_with("<..."),
                text,
                took,
            }
        })
        .collect();
    assert!(rows.len() > 300, "the case is not what it was");
    rows
}

/// The thread that looks up and connects.
fn client(rows: &[Row]) -> u32 {
    rows.iter().find(|r| r.text.contains("8998")).unwrap().tid
}

/// How a line shows its time.
#[derive(Clone, Copy, PartialEq)]
enum Clock {
    None,
    /// `-t`, so many seconds east of UTC.
    Seconds(i64),
    /// `-tt`.
    Micros(i64),
    /// `-ttt`.
    Epoch,
    /// `-ttt` of strace 6: nanoseconds.
    EpochNanos,
    /// `-r`.
    Relative,
    /// `--absolute-timestamps=format:unix` in whole seconds.
    EpochSeconds,
}

/// How a line shows its thread.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    /// No `-f`: only the client's thread is there.
    Nobody,
    Column,
    /// Aligned as old strace did.
    WideColumn,
    Bracket,
    /// `-Y`: `123<comm>`.
    Named,
    BracketNamed,
}

/// How descriptors are written.
#[derive(Clone, Copy, PartialEq)]
enum Notes {
    /// `-yy`.
    Full,
    /// `-y`: only inodes.
    Inode,
    None,
}

/// One dialect.
#[derive(Clone, Copy)]
struct Style {
    name: &'static str,
    clock: Clock,
    who: Who,
    notes: Notes,
    took: bool,
    /// Resumed lines joined to those they finish.
    whole: bool,
    /// Only `connect` (and signals).
    connect_only: bool,
    /// Anything done to the whole line at last.
    last: fn(usize, String) -> String,
    /// Anything done to the text of the call.
    text: fn(String) -> String,
    line_end: &'static str,
}

const RECORDED: Style = Style {
    name: "-f -ttt -T -yy -o",
    clock: Clock::Epoch,
    who: Who::Column,
    notes: Notes::Full,
    took: true,
    whole: false,
    connect_only: false,
    last: |_, line| line,
    text: |text| text,
    line_end: "\n",
};

/// Removes `<…>` after descriptors, or leaves the inode of sockets in it.
fn annotated(text: &str, notes: Notes) -> String {
    if notes == Notes::Full {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let (mut out, mut i, mut quoted) = (String::new(), 0, false);
    while i < bytes.len() {
        let c = bytes[i] as char;
        if c == '"' && (i == 0 || bytes[i - 1] != b'\\') {
            quoted = !quoted;
        }
        let kinds = [
            "<UDP", "<TCP", "<UNIX", "<NETLINK", "<pipe:", "</", "<anon", "<socket",
        ];
        let note = !quoted && i > 0 && bytes[i - 1].is_ascii_digit();
        if note && kinds.iter().any(|k| text[i..].starts_with(k)) {
            let mut depth = 0_i32;
            let start = i;
            loop {
                match bytes[i] {
                    b'<' => depth += 1,
                    b'>' if bytes[i - 1] != b'-' => depth -= 1,
                    _ => {}
                }
                i += 1;
                if depth == 0 {
                    break;
                }
            }
            let inside = &text[start + 1..i - 1];
            let is_socket = ["UDP", "TCP", "UNIX", "NETLINK"]
                .iter()
                .any(|k| inside.starts_with(k));
            if notes == Notes::Inode {
                if is_socket {
                    // Any number will do: the recorded one is gone where addresses stand.
                    let _ = write!(
                        out,
                        "<socket:[{}]>",
                        inside.bytes().map(u64::from).sum::<u64>()
                    );
                } else {
                    out.push_str(&text[start..i]);
                }
            }
            continue;
        }
        out.push(c);
        i += 1;
    }
    out
}

/// The result column stands at column 40 in logs without annotations.
fn stamp(style: &Style, at: u64, previous: u64) -> String {
    let second = at / 1_000_000;
    let fraction = at % 1_000_000;
    let day = |east: i64| {
        let local = (i64::try_from(second).unwrap() + east).rem_euclid(86_400);
        format!(
            "{:02}:{:02}:{:02}",
            local / 3600,
            local / 60 % 60,
            local % 60
        )
    };
    match style.clock {
        Clock::None => String::new(),
        Clock::Seconds(east) => format!("{} ", day(east)),
        Clock::Micros(east) => format!("{}.{fraction:06} ", day(east)),
        Clock::Epoch => format!("{second}.{fraction:06} "),
        Clock::EpochNanos => format!("{second}.{fraction:06}789 "),
        Clock::EpochSeconds => format!("{second} "),
        Clock::Relative => {
            let gap = at - previous;
            format!("{:>6}.{:06} ", gap / 1_000_000, gap % 1_000_000)
        }
    }
}

/// Joins resumed lines to those they finish, at the time of the beginning.
fn joined(rows: &[Row]) -> Vec<Row> {
    let mut open: HashMap<u32, usize> = HashMap::new();
    let mut out: Vec<Row> = Vec::new();
    for row in rows {
        if row.unfinished {
            open.insert(row.tid, out.len());
            let mut row = row.clone();
            row.text = row
                .text
                .trim_end_matches("<unfinished ...>")
                .trim_end()
                .to_owned();
            row.unfinished = false;
            out.push(row);
        } else if row.resumed {
            let rest = row.text.split_once("resumed>").unwrap().1;
            let Some(begun) = open.remove(&row.tid) else {
                continue;
            };
            out[begun].text.push_str(rest);
            out[begun].took = row.took;
        } else {
            out.push(row.clone());
        }
    }
    out
}

fn render(rows: &[Row], style: &Style) -> String {
    let client = client(rows);
    let rows = if style.whole || style.connect_only || style.who == Who::Nobody {
        joined(rows)
    } else {
        rows.to_vec()
    };
    let mut out = String::new();
    let mut previous = rows[0].at;
    let mut number = 0;
    for row in &rows {
        let life = row.text.starts_with("+++") || row.text.starts_with("---");
        if style.who == Who::Nobody && row.tid != client {
            continue;
        }
        if style.connect_only && !life && !row.text.starts_with("connect(") {
            continue;
        }
        let time = stamp(style, row.at, previous);
        previous = row.at;
        let who = match style.who {
            Who::Nobody => String::new(),
            Who::Column => format!("{} ", row.tid),
            Who::WideColumn => format!("{:<7} ", row.tid),
            Who::Bracket => format!("[pid {:5}] ", row.tid),
            Who::Named => format!("{}<java> ", row.tid),
            Who::BracketNamed => format!("[pid {}<SendThread(web:1)>] ", row.tid),
        };
        let text = (style.text)(annotated(&row.text, style.notes));
        let took = row
            .took
            .filter(|_| style.took)
            .map_or_else(String::new, |t| {
                format!(" <{}.{:06}>", t / 1_000_000, t % 1_000_000)
            });
        let line = (style.last)(number, format!("{who}{time}{text}{took}"));
        number += 1;
        out.push_str(&line);
        out.push_str(style.line_end);
    }
    out
}

/// Rewrites what is between quotes as strace -x (only unprintable) or -xx (all) would.
fn hexed(text: &str, all: bool) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        if c == '"' {
            quoted = !quoted;
            out.push(c);
        } else if !quoted {
            out.push(c);
        } else if c == '\\' {
            let next = chars.next().unwrap();
            let byte = match next {
                '0'..='7' => {
                    let mut value = next.to_digit(8).unwrap();
                    for _ in 0..2 {
                        let Some(digit) = chars.peek().and_then(|c| c.to_digit(8)) else {
                            break;
                        };
                        value = value * 8 + digit;
                        chars.next();
                    }
                    value
                }
                'n' => 10,
                'r' => 13,
                't' => 9,
                'v' => 11,
                'f' => 12,
                other => u32::from(other),
            };
            let _ = write!(out, "\\x{byte:02x}");
        } else if all {
            let _ = write!(out, "\\x{:02x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// The syntax of about 2008 (strace 4.5).
fn old_syntax(text: String) -> String {
    let mut text = text
        .replace("AF_UNIX", "AF_FILE")
        .replace("sun_path=", "path=")
        .replace("sin6_flowinfo=htonl(0)", "sin6_flowinfo=0");
    // inet_pton before sin6_flowinfo, as it was printed then.
    if let (Some(flow), Some(pton)) = (
        text.find("sin6_flowinfo=0, "),
        text.find("inet_pton(AF_INET6"),
    ) {
        let end = pton + text[pton..].find("), ").unwrap() + 3;
        let pton = text[pton..end].to_owned();
        text = text.replacen(&pton, "", 1);
        text.insert_str(flow, &pton);
    }
    text
}

fn colored(text: String) -> String {
    match text.split_once('(') {
        Some((name, rest)) if !name.is_empty() => format!("\x1b[1;34m{name}\x1b[0m({rest}"),
        _ => text,
    }
}

fn styles() -> Vec<Style> {
    let base = RECORDED;
    let utc = |clock: Clock| Style { clock, ..base };
    let column = Style {
        whole: true,
        notes: Notes::None,
        ..base
    };
    vec![
        base,
        Style {
            name: "-f -ttt -yy -o",
            took: false,
            ..base
        },
        Style {
            name: "calls whole",
            whole: true,
            ..base
        },
        Style {
            name: "-f -tt -T -yy -o",
            ..utc(Clock::Micros(0))
        },
        Style {
            name: "-f -tt -T -yy -o, UTC+8",
            ..utc(Clock::Micros(8 * 3600))
        },
        Style {
            name: "-f -tt -T -yy -o, UTC-9:30",
            ..utc(Clock::Micros(-34_200))
        },
        Style {
            name: "-f -t -T -yy -o",
            ..utc(Clock::Seconds(0))
        },
        Style {
            name: "-f -t -yy -o, UTC+5:45",
            took: false,
            ..utc(Clock::Seconds(20_700))
        },
        Style {
            name: "-f -ttt with nanoseconds",
            ..utc(Clock::EpochNanos)
        },
        Style {
            name: "--absolute-timestamps=format:unix",
            ..utc(Clock::EpochSeconds)
        },
        Style {
            name: "-f -r -T -yy -o",
            ..utc(Clock::Relative)
        },
        Style {
            name: "-f -r -o",
            notes: Notes::None,
            took: false,
            ..utc(Clock::Relative)
        },
        Style {
            name: "-f -ttt -T -o",
            notes: Notes::None,
            ..base
        },
        Style {
            name: "-f -ttt -T -y -o",
            notes: Notes::Inode,
            ..base
        },
        Style {
            name: "-f -ttt -o",
            notes: Notes::None,
            took: false,
            ..base
        },
        Style {
            name: "-f -tt -o, UTC+8",
            notes: Notes::None,
            took: false,
            ..utc(Clock::Micros(28_800))
        },
        Style {
            name: "-f -t -o",
            notes: Notes::None,
            took: false,
            ..utc(Clock::Seconds(0))
        },
        Style {
            name: "[pid N] -ttt -T -yy",
            who: Who::Bracket,
            ..base
        },
        Style {
            name: "[pid N] -tt",
            who: Who::Bracket,
            took: false,
            notes: Notes::None,
            ..utc(Clock::Micros(3600))
        },
        Style {
            name: "-f -Y -ttt -T -yy -o",
            who: Who::Named,
            ..base
        },
        Style {
            name: "-f -Y -ttt on a terminal",
            who: Who::BracketNamed,
            ..base
        },
        Style {
            name: "wide pid column",
            who: Who::WideColumn,
            ..base
        },
        Style {
            name: "no -f, one thread, -ttt -T -yy",
            who: Who::Nobody,
            ..base
        },
        Style {
            name: "no -f, one thread, -tt",
            who: Who::Nobody,
            notes: Notes::None,
            took: false,
            ..utc(Clock::Micros(0))
        },
        Style {
            name: "strace 4.5",
            text: old_syntax,
            ..column
        },
        Style {
            name: "-x",
            text: |t| hexed(&t, false),
            ..base
        },
        Style {
            name: "-xx",
            text: |t| hexed(&t, true),
            ..base
        },
        Style {
            name: "-xx without -yy",
            text: |t| hexed(&t, true),
            ..column
        },
        Style {
            name: "CRLF",
            line_end: "\r\n",
            ..base
        },
        Style {
            name: "colours",
            text: colored,
            ..column
        },
        Style {
            name: "program output glued before calls",
            who: Who::Bracket,
            last: |n, line| {
                if n % 7 == 3 {
                    format!("Connecting to 1.2.3.4:99 ...{line}")
                } else {
                    line
                }
            },
            ..base
        },
        Style {
            name: "mail quoting",
            last: |_, line| format!("> {line}"),
            ..base
        },
        Style {
            name: "mail quoting twice, CRLF",
            last: |_, line| format!("> > {line}"),
            line_end: "\r\n",
            ..column
        },
        Style {
            name: "-k",
            last: |_, line| {
                format!(
                    "{line}\n > /usr/lib/x86_64-linux-gnu/libc.so.6(connect+0x14) [0x107ed4]\n > /usr/bin/java(main+0x2b) [0x1129]"
                )
            },
            ..base
        },
        Style {
            name: "-i",
            text: |t| format!("[00007f79dc7fd2c0] {t}"),
            ..column
        },
        Style {
            name: "-e connect -f -ttt",
            connect_only: true,
            notes: Notes::None,
            took: false,
            ..base
        },
        Style {
            name: "-e connect -f -t, UTC+8",
            connect_only: true,
            notes: Notes::None,
            took: false,
            ..utc(Clock::Seconds(28_800))
        },
        Style {
            name: "-e connect -f -t in strace 4.5",
            connect_only: true,
            text: old_syntax,
            took: false,
            notes: Notes::None,
            ..utc(Clock::Seconds(0))
        },
        Style {
            name: "lines between that are no calls",
            last: |n, line| {
                if n % 5 == 0 {
                    format!("{line}\nINFO sendto 4.4.4.4 = 3")
                } else {
                    line
                }
            },
            ..base
        },
    ]
}

fn gathered(log: &str, capture_shift: i64) -> Gathered {
    let mut gathered = Gathered::default();
    let mut packets = Vec::new();
    let path = Path::new(CASE).join("packets.pcap");
    let facts = capture_file::read(&path, 0, &CaptureOptions::default(), &mut |e| {
        packets.push(e)
    });
    let mut facts = facts.unwrap();
    for event in &mut packets {
        event.at.0 += capture_shift;
    }
    for at in [&mut facts.first, &mut facts.last].into_iter().flatten() {
        at.0 += capture_shift;
    }
    gathered.captures.push(facts);
    gathered.packets = packets;
    let mut calls = Vec::new();
    let facts = strace_log::read_from("log", log.as_bytes(), 1, &Progress::default(), &mut |e| {
        calls.push(e);
    })
    .unwrap();
    gathered.traces.push((facts, calls));
    let conf = fs::read_to_string(Path::new(CASE).join("resolv.conf")).unwrap();
    gathered.resolv_conf = Some(("resolv.conf".into(), conf));
    gathered
}

/// What must be the same in every style.
#[derive(Debug, PartialEq)]
struct Incident {
    /// Address, transport, queries, answered, unanswered.
    resolvers: BTreeSet<(String, Transport, [Option<u64>; 3])>,
    /// To, outcome, SYNs.
    servers: Vec<(String, Option<ConnectionOutcome>, Option<u64>)>,
}

fn incident(report: &Report) -> Incident {
    Incident {
        resolvers: report
            .resolvers
            .iter()
            .map(|r| {
                (
                    r.address.clone(),
                    r.transport,
                    [r.queries, r.answered, r.unanswered],
                )
            })
            .collect(),
        servers: report
            .connections
            .iter()
            .filter(|c| c.role == Role::Server)
            .map(|c| (c.to.clone(), c.outcome, c.syns))
            .collect(),
    }
}

/// The delay before the server connect since the first query: the beginning of the case moves with the
/// lines that a style leaves out, the first query does not.
fn delay(report: &Report) -> f64 {
    let server = report.connections.iter().find(|c| c.to == SERVER).unwrap();
    let delay = report
        .delays
        .iter()
        .find(|d| d.connection.as_ref() == Some(&server.id));
    let delay = delay.unwrap();
    let sum: f64 = delay.entries.iter().map(|e| e.seconds.unwrap()).sum();
    assert!((sum - delay.since_start_s.unwrap()).abs() < 1e-6);
    delay.since_first_query_s.unwrap()
}

/// Seconds charged to silent resolvers.
fn silent(report: &Report) -> f64 {
    report.delays[0]
        .entries
        .iter()
        .filter(|e| e.kind == EntryKind::ResolverSilent)
        .map(|e| e.seconds.unwrap())
        .sum()
}

/// Every address in the report that stands for a place in the network.
fn places(report: &Report) -> BTreeSet<String> {
    let parties = report
        .delays
        .iter()
        .flat_map(|d| &d.entries)
        .filter_map(|e| e.party.clone());
    let connections = report.connections.iter().map(|c| c.to.clone());
    let resolvers = report
        .resolvers
        .iter()
        .map(|r| format!("{}:{}", r.address, r.port));
    let queries = report
        .lookups
        .iter()
        .flat_map(|l| &l.queries)
        .map(|q| q.resolver.clone());
    parties
        .chain(connections)
        .chain(resolvers)
        .chain(queries)
        .collect()
}

fn expected() -> Incident {
    Incident {
        resolvers: RESOLVERS
            .map(|r| (r.to_owned(), Transport::Udp, [Some(4), Some(0), Some(4)]))
            .into_iter()
            .collect(),
        servers: vec![(SERVER.into(), Some(ConnectionOutcome::Connected), Some(1))],
    }
}

/// What is wrong with a report of the incident; `within` seconds the delay may be off.
fn wrongs(report: &Report, within: f64) -> Vec<String> {
    let mut wrong = Vec::new();
    let (have, want) = (incident(report), expected());
    if have != want {
        wrong.push(format!("{have:?}\n    for {want:?}"));
        return wrong;
    }
    // 56.1 s by the capture: frame of the first query to the SYN.
    let seconds = delay(report);
    if (seconds - TRUE_DELAY).abs() > within {
        wrong.push(format!("the delay is {seconds} for {TRUE_DELAY}"));
    }
    let charged = silent(report);
    if (charged - 56.06).abs() > within.max(0.6) {
        wrong.push(format!(
            "silent resolvers are charged with {charged} for 56.06"
        ));
    }
    let mut allowed: BTreeSet<String> = RESOLVERS.map(|r| format!("{r}:53")).into();
    allowed.insert(SERVER.into());
    allowed.insert("nscd".into());
    let invented: Vec<String> = places(report).difference(&allowed).cloned().collect();
    if !invented.is_empty() {
        wrong.push(format!("invented: {invented:?}"));
    }
    wrong
}

/// From the packet of the first query to the packet of the SYN, in seconds.
const TRUE_DELAY: f64 = 56.146;

#[test]
fn one_incident_in_every_style() {
    let rows = rows();
    let mut wrong = Vec::new();
    let styles = styles();
    assert!(styles.len() >= 25);
    for style in &styles {
        let log = render(&rows, style);
        // Mind that it is this style and not the recorded one that is read.
        let coarse = matches!(style.clock, Clock::Seconds(_) | Clock::EpochSeconds);
        let within = if coarse { 1.2 } else { 0.3 };
        for shift in [0, 37_000_000_000] {
            let report = pipeline::report(gathered(&log, shift), &Settings::default());
            for problem in wrongs(&report, within) {
                let clock = &report.inputs.clock;
                wrong.push(format!(
                    "{} (capture {} s off; read as {}; clock {:.3} s, {}): {problem}",
                    style.name,
                    shift / 1_000_000_000,
                    report.inputs.traces[0].style,
                    clock.offset_s.unwrap(),
                    clock.method
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Without times nothing can be laid beside the capture; what the capture alone shows must stand, and
/// the one server too.
#[test]
fn a_log_without_times_takes_nothing_from_the_capture() {
    let rows = rows();
    for notes in [Notes::Full, Notes::None] {
        let style = Style {
            clock: Clock::None,
            notes,
            took: false,
            ..RECORDED
        };
        let report = pipeline::report(gathered(&render(&rows, &style), 0), &Settings::default());
        let mut asked: HashMap<String, (u64, u64)> = HashMap::new();
        for row in &report.resolvers {
            let entry = asked.entry(row.address.clone()).or_default();
            entry.0 += row.queries.unwrap();
            entry.1 += row.answered.unwrap();
        }
        for resolver in RESOLVERS {
            assert_eq!(asked[resolver], (4, 0), "{:?}", report.resolvers);
        }
        assert_eq!(asked.len(), 3);
        let servers: BTreeSet<&str> = report
            .connections
            .iter()
            .filter(|c| c.role == Role::Server)
            .map(|c| c.to.as_str())
            .collect();
        assert_eq!(servers, BTreeSet::from([SERVER]));
    }
}

/// The logs beside the project that real straces of several options wrote.
#[test]
fn logs_of_real_straces_in_other_styles() {
    let Some(shared) = shared::folder() else {
        return;
    };
    let mut folders: Vec<PathBuf> = fs::read_dir(shared.join("strace-styles"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 6);
    let mut wrong = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let log = Some(folder.join("strace.log")).filter(|p| p.exists());
        let log = log.unwrap_or_else(|| folder.join("out-main.txt"));
        let options = inputs::InputOptions {
            resolv_conf: Some(folder.join("resolv.conf")),
            ..inputs::InputOptions::default()
        };
        let paths = [folder.join("capture.pcap"), log];
        let report = pipeline::report(
            inputs::gather(&paths, &options).unwrap(),
            &Settings::default(),
        );
        let resolvers: BTreeSet<&str> = report
            .resolvers
            .iter()
            .map(|r| r.address.as_str())
            .collect();
        if resolvers != BTreeSet::from(RESOLVERS) {
            wrong.push(format!("{name}: resolvers {resolvers:?}"));
        }
        for row in &report.resolvers {
            if row.answered != Some(0) || row.origin != Origin::Traced || row.never_sent != Some(0)
            {
                wrong.push(format!("{name}: {row:?}"));
            }
        }
        let servers: Vec<(&str, Option<u64>)> = report
            .connections
            .iter()
            .filter(|c| c.role == Role::Server)
            .map(|c| (c.to.as_str(), c.syns))
            .collect();
        let want = if name.starts_with("zk") {
            vec![(SERVER, Some(1))]
        } else {
            Vec::new()
        };
        if servers != want {
            wrong.push(format!("{name}: servers {servers:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
