//! Broken and malicious input: the recorded cases with flipped bits, cuts and splices, and text that a terminal
//! would obey, through the whole pipeline. The seeds are fixed, so that a failure comes again.

#![allow(clippy::unwrap_used, reason = "tests")]

use assert_cmd::Command;
use presyn::case::jsonl;
use presyn::event::Event;
use presyn::input::progress::Progress;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::{json, text};
use presyn::source::capture_file::{self, CaptureOptions};
use presyn::source::strace_log;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longer than any recorded case takes a hundred times over, in a debug build on a busy machine.
const LIMIT: Duration = Duration::from_secs(5);

/// Xorshift (Marsaglia 2003): all that is asked of it is to be the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (sides.max(1) as u64)).unwrap()
    }

    /// A few wounds: flipped bits, overwritten and repeated stretches, cuts, a splice of another file.
    fn mutate(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.roll(4) {
            let at = self.roll(bytes.len());
            let length = self.roll(64).min(bytes.len() - at);
            match self.roll(7) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..at + length)),
                2 => {
                    let from = self.roll(other.len());
                    let piece = &other[from..(from + self.roll(400)).min(other.len())];
                    bytes.splice(at..at + length, piece.iter().copied());
                }
                3 => {
                    let again = bytes[at..at + length].to_vec();
                    bytes.splice(at..at, again);
                }
                4 => {
                    let value = [0, 0xff, 0x7f, b'\n', b'"', b'('][self.roll(6)];
                    bytes[at..at + length].fill(value);
                }
                _ => {
                    for _ in 0..=self.roll(8) {
                        let at = self.roll(bytes.len());
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte ^= 1 << self.roll(8);
                        }
                    }
                }
            }
        }
        bytes
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    folders.sort();
    let files: Vec<_> = folders
        .iter()
        .filter_map(|f| fs::read(f.join(name)).ok())
        .collect();
    assert!(files.len() > 20, "{} files {name}", files.len());
    files
}

/// Reads what can be read of both inputs; a file that is refused as a whole is nothing.
fn gather(packets: &[u8], calls: &[u8], conf: &[u8], name: &str) -> Gathered {
    let mut gathered = Gathered::default();
    let list = &mut gathered.packets;
    let options = CaptureOptions::default();
    if let Ok(facts) = capture_file::read_from(packets, name, 0, &options, &mut |e| list.push(e)) {
        gathered.captures.push(facts);
    }
    let mut events = Vec::new();
    if let Ok(facts) = strace_log::read_from(name, calls, 1, &Progress::default(), &mut |e| {
        events.push(e);
    }) {
        gathered.traces.push((facts, events));
    }
    gathered.resolv_conf = Some((name.to_owned(), String::from_utf8_lossy(conf).into_owned()));
    gathered
}

/// The report of hostile input in both formats, which show nothing that a terminal would obey.
fn rendered(gathered: Gathered) -> (String, String) {
    let report = pipeline::report(gathered, &Settings::default());
    let (mut shown, mut data) = (Vec::new(), Vec::new());
    text::write(&report, text::Look::default(), &mut shown).unwrap();
    json::write(&report, &mut data).unwrap();
    let (shown, data) = (
        String::from_utf8(shown).unwrap(),
        String::from_utf8(data).unwrap(),
    );
    harmless(&shown);
    assert!(
        !data.contains(|c: char| c.is_control() && c != '\n'),
        "{data}"
    );
    serde_json::from_str::<serde_json::Value>(&data).unwrap();
    (shown, data)
}

fn harmless(shown: &str) {
    let bad = shown.chars().find(|c| {
        c.is_control() && *c != '\n'
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    });
    assert_eq!(bad, None, "{shown}");
}

#[test]
fn mutated_cases_neither_panic_nor_hang() {
    let mut dice = Dice(0x5eed_cafe_f00d_0001);
    let (packets, calls, confs) = (
        corpus("packets.pcap"),
        corpus("syscalls.strace"),
        corpus("resolv.conf"),
    );
    let begun = Instant::now();
    let mut rounds = 0;
    // Time bounds the test; the inputs of a round depend on its number alone.
    while rounds < 400 && begun.elapsed() < Duration::from_secs(8) {
        let mut pick = |list: &[Vec<u8>]| {
            let (one, two) = (dice.roll(list.len()), dice.roll(list.len()));
            dice.mutate(&list[one], &list[two])
        };
        let (packets, calls, conf) = (pick(&packets), pick(&calls), pick(&confs));
        let started = Instant::now();
        rendered(gather(&packets, &calls, &conf, "mutated"));
        let took = started.elapsed();
        assert!(took < LIMIT, "round {rounds} took {took:?}");
        rounds += 1;
    }
    println!("{rounds} rounds in {:?}", begun.elapsed());
    assert!(rounds >= 20, "{rounds} rounds only");
}

#[test]
fn mutated_traces_of_our_own_neither_panic_nor_hang() {
    let mut dice = Dice(0x5eed_cafe_f00d_0002);
    let mut own = Vec::new();
    for log in corpus("syscalls.strace").iter().take(8) {
        let mut lines: Vec<u8> = Vec::new();
        let mut add = |e: Event| {
            lines.extend(jsonl::line(&e).unwrap());
            lines.push(b'\n');
        };
        strace_log::read_from("log", &log[..], 0, &Progress::default(), &mut add).unwrap();
        lines.truncate(60_000);
        own.push(lines);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.jsonl");
    let mut header = jsonl::header_line(&header()).unwrap();
    header.push(b'\n');
    let mut read = 0;
    for round in 0..60 {
        let (one, two) = (dice.roll(own.len()), dice.roll(own.len()));
        let mut bytes = header.clone();
        // One in eight also loses its header.
        if round % 8 == 0 {
            bytes = dice.mutate(&bytes, &own[two]);
        }
        bytes.extend(dice.mutate(&own[one], &own[two]));
        fs::write(&path, &bytes).unwrap();
        let started = Instant::now();
        let mut gathered = Gathered::default();
        let mut events = Vec::new();
        if let Ok(trace) = jsonl::read(&path, 0, &Progress::default(), &mut |e| events.push(e)) {
            gathered.traces.push((trace.facts, events));
            read += 1;
        }
        rendered(gathered);
        assert!(started.elapsed() < LIMIT, "round {round}");
    }
    assert!(read > 40, "only {read} were read at all");
}

fn header() -> jsonl::Header {
    jsonl::Header {
        schema: jsonl::SCHEMA.into(),
        ..jsonl::Header::default()
    }
}

/// 2: nothing on standard output; 0 or 3: a whole report, and 3 exactly when a reader said damage.
#[test]
fn exit_statuses_hold_for_mutated_captures() {
    let mut dice = Dice(0x5eed_cafe_f00d_0003);
    let captures = corpus("packets.pcap");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mutated.pcap");
    let mut seen = [0; 3];
    for round in 0..40 {
        let (one, two) = (dice.roll(captures.len()), dice.roll(captures.len()));
        let bytes = dice.mutate(&captures[one], &captures[two]);
        fs::write(&path, &bytes).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_presyn"))
            .args(["analyze", "--format", "json"])
            .arg(&path)
            .timeout(Duration::from_secs(20))
            .output()
            .unwrap();
        let damaged = capture_file::read(&path, 0, &CaptureOptions::default(), &mut |_| {})
            .map(|facts| facts.damaged);
        match (output.status.code(), damaged) {
            (Some(2), Err(_)) => {
                assert!(output.stdout.is_empty() && !output.stderr.is_empty());
                seen[0] += 1;
            }
            (Some(3), Ok(true)) => seen[1] += 1,
            (Some(0), Ok(false)) => seen[2] += 1,
            other => panic!("round {round}: {other:?}"),
        }
        if output.status.code() != Some(2) {
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap();
        }
    }
    println!(
        "unusable {}, damaged {}, whole {}",
        seen[0], seen[1], seen[2]
    );
    assert!(seen[1] > 0 && seen[2] > 0, "{seen:?}");
}

/// What a terminal, a Markdown table or a browser would obey, one trick each.
const TRICKS: [&str; 6] = [
    "\u{1b}[31mred\u{1b}]0;title\u{7}",
    "right\u{202e}left\u{2066}",
    "two\nlines\r",
    "cell|cell",
    "<script>alert(1)</script>",
    "nul\0nul",
];

/// A log of one lookup and connect by a thread of this name, whose program has this path.
fn log(comm: &str, path: &str, name: &str) -> Vec<u8> {
    let octal = |text: &str| {
        text.bytes().fold(String::new(), |mut all, byte| {
            use std::fmt::Write;
            write!(all, "\\{byte:03o}").unwrap();
            all
        })
    };
    let label = name.len().min(63);
    let query = format!(
        "\\000\\007\\001\\000\\000\\001\\000\\000\\000\\000\\000\\000\\{label:03o}{}\\003lab\\000\\000\\001\\000\\001",
        octal(&name[..label])
    );
    let who = format!("77<{}>", octal(comm));
    [
        format!("{who} 1700000000.000000 execve(\"{}\", [\"x\"], 0x7ffc /* 9 vars */) = 0 <0.0002>", octal(path)),
        format!("{who} 1700000000.100000 socket(AF_INET, SOCK_DGRAM, IPPROTO_IP) = 3 <0.00001>"),
        format!("{who} 1700000000.200000 connect(3, {{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.0.1\")}}, 16) = 0 <0.00001>"),
        format!("{who} 1700000000.300000 sendto(3, \"{query}\", {}, MSG_NOSIGNAL, NULL, 0) = {0} <0.00001>", 22 + label),
        format!("{who} 1700000000.400000 poll([{{fd=3, events=POLLIN}}], 1, 5000) = 0 (Timeout) <5.0001>"),
        format!("{who} 1700000005.500000 socket(AF_UNIX, SOCK_STREAM, 0) = 4 <0.00001>"),
        format!("{who} 1700000005.600000 connect(4, {{sa_family=AF_UNIX, sun_path=\"{}\"}}, 110) = 0 <0.00001>", octal(path)),
        format!("{who} 1700000005.700000 socket(AF_INET, SOCK_STREAM, IPPROTO_IP) = 5 <0.00001>"),
        format!("{who} 1700000005.800000 connect(5, {{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}}, 16) = 0 <0.0004>"),
        format!("{who} 1700000005.900000 {}(1) = 0 <0.5>", comm.replace(['\n', '\r'], "")),
        format!("{who} 1700000006.500000 +++ killed by {} +++", comm.replace(['\n', '\r'], "")),
    ]
    .join("\n")
    .into_bytes()
}

#[test]
fn tricks_in_names_comms_and_paths_are_escaped() {
    for trick in TRICKS {
        let bytes = log(trick, trick, trick);
        let conf = format!("nameserver 10.0.0.1\nsearch {trick}\noptions {trick}\n");
        let (shown, data) = rendered(gather(b"", &bytes, conf.as_bytes(), trick));
        assert!(
            shown.contains("10.0.0.1") && data.contains("10.0.0.1"),
            "{shown}"
        );
        let control = trick.contains(|c: char| c.is_control() || !c.is_ascii());
        assert!(!control || !shown.contains(trick), "{shown}");
    }
}

#[test]
fn tricks_in_file_names_and_damage_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    for trick in TRICKS.iter().filter(|t| !t.contains('\0')) {
        let path = folder.path().join(trick.replace('/', "_"));
        for content in [&log("c", "/p", "n")[..], b"no trace\n", b"\0\0\0bin"] {
            fs::write(&path, content).unwrap();
            for format in ["text", "json"] {
                let output = Command::new(env!("CARGO_BIN_EXE_presyn"))
                    .args(["analyze", "--format", format])
                    .arg(&path)
                    .timeout(Duration::from_secs(20))
                    .output()
                    .unwrap();
                harmless(&String::from_utf8(output.stderr).unwrap());
                let shown = String::from_utf8(output.stdout).unwrap();
                if format == "text" {
                    harmless(&shown);
                }
                assert!(
                    !shown.contains(|c: char| c.is_control() && c != '\n'),
                    "{shown}"
                );
            }
        }
    }
}
