//! `trace.jsonl`: a header line, one line per event, a last line.

use super::{PACKETS, SYSCALLS, TRACE};
use crate::append::Loss;
use crate::bounded;
use crate::event::{Event, EventKind, Op};
use crate::input::drops::DropTimes;
use crate::input::host::RecordedHost;
use crate::input::progress::Progress;
use crate::input::watched::Watched;
use crate::input::{LeftOutPackets, TraceClock, TraceFacts, VisibleSyscalls};
use crate::report::Run;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use thiserror::Error;

/// Version of the format; a change that breaks a reader raises the number.
pub const SCHEMA: &str = "presyn.trace/1";

/// A line longer than this is damage: the longest real one is a `sendmmsg` of many DNS messages.
const MAX_LINE: u64 = 4 << 20;
/// How far the start of a run may be from its first event: a daemon may be idle for long, but not for years.
const LONGEST_START: Span = Span::seconds(366 * 24 * 3600);
/// More warnings than this say nothing new.
pub const MAX_WARNINGS: usize = 20;

/// The first line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    pub schema: String,
    /// presyn's version.
    pub presyn: String,
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Host name.
    pub host: String,
    /// Kernel release and machine.
    pub kernel: String,
    /// The user id that the command began with; not in traces of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// When the command was started.
    pub started: Timestamp,
    /// `CLOCK_MONOTONIC` at the same moment, nanoseconds.
    pub monotonic: i64,
    /// System calls were traced; without, the file has only its first and last line.
    #[serde(default = "yes")]
    pub traced: bool,
    /// Of sends only those are reported whose threads were followed for them: up to the first use of a datagram socket,
    /// during a lookup, and for some calls after it. In traces of older versions, all that may be queries are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub followed_sends_only: bool,
    /// What already ran: watched where nothing was traced, otherwise traced from somewhere in its middle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
    /// Interface of the capture; empty without one.
    pub interface: String,
    /// Interfaces by index, as the capture's packets number them.
    pub interfaces: BTreeMap<u32, String>,
    /// SYN and resolver sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// Environment variables that change how names are resolved.
    pub resolver_environment: BTreeMap<String, String>,
}

impl Header {
    /// What was run, for the report.
    pub fn run(&self) -> Run {
        Run {
            host: self.host.clone(),
            command: self.command.clone(),
        }
    }

    /// What already ran, as it was asked for; empty where a command was started.
    pub fn target(&self) -> &str {
        { self.watched.as_ref() }.map_or("", |watched| &watched.target)
    }

    /// The host that it was run on, as far as a reproduction needs it.
    pub fn recorded_host(&self) -> RecordedHost {
        RecordedHost {
            interfaces: self.interfaces.values().cloned().collect(),
            user: self.user,
        }
    }

    /// What was watched: of a run that was traced, nothing.
    pub fn watched(&self) -> Option<Watched> {
        self.watched.clone().filter(|_| !self.traced)
    }

    /// The words of `RES_OPTIONS` (resolv.conf(5)) in the command's environment.
    pub fn resolver_options(&self) -> Vec<String> {
        let value = self.resolver_environment.get("RES_OPTIONS");
        let words = value.iter().flat_map(|v| v.split_whitespace());
        words.map(str::to_owned).collect()
    }
}

fn yes() -> bool {
    true
}

/// The last line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Footer {
    /// Packets that kernel and interface dropped; `None` without a capture.
    pub dropped: Option<u64>,
    /// When they were dropped.
    #[serde(default, skip_serializing_if = "DropTimes::is_empty")]
    pub drop_times: DropTimes,
    /// How the command ended: `exited 0`, `killed by SIGTERM`.
    pub exit: String,
    /// When.
    pub at: Timestamp,
    /// Processes that were still running when presyn stopped.
    pub survivors: Vec<crate::event::Task>,
    /// What presyn could not see or had to forbid in this run: warnings of the report.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Why the capture ended before the command did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_ended: Option<String>,
    /// What the case lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Packets that were captured and dropped again.
    #[serde(default, skip_serializing_if = "LeftOutPackets::is_empty")]
    pub omitted: LeftOutPackets,
}

/// What a file of the case lacks: the disk was full, for example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The file's name.
    pub file: String,
    /// How many packets, events or calls.
    pub records: u64,
    /// The time of the first of them, where known.
    pub from: Option<Timestamp>,
    /// Why.
    pub problem: String,
}

impl Missing {
    /// What a file lacks.
    pub fn new(file: &str, loss: &Loss) -> Self {
        Self {
            file: file.to_owned(),
            records: loss.records,
            from: loss.from,
            problem: loss.problem.clone(),
        }
    }

    /// For people.
    pub fn words(&self, started: Timestamp) -> String {
        let (one, more) = match self.file.as_str() {
            PACKETS => ("packet", "packets"),
            TRACE => ("line", "lines"),
            _ => ("call", "calls"),
        };
        let count = match self.records {
            1 => format!("1 {one} is missing"),
            n => format!("{n} {more} are missing"),
        };
        let from = self.from.map_or_else(String::new, |from| {
            format!(", from {:.1} s on", (from - started).as_seconds())
        });
        format!("{}: {count}{from}: {}", self.file, self.problem)
    }
}

/// What is missing from the record, because it came faster than it could be recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordGap {
    /// Traced events.
    pub events: u64,
    /// Packets.
    pub packets: u64,
    /// Time of the first of them.
    pub from: Timestamp,
    /// Time of the last of them.
    pub until: Timestamp,
}

impl RecordGap {
    /// Whether nothing is missing.
    pub fn is_empty(&self) -> bool {
        self.events == 0 && self.packets == 0
    }

    /// Counts something of this time that is missing.
    pub fn count(&mut self, at: Timestamp, events: u64, packets: u64) {
        if self.is_empty() {
            (self.from, self.until) = (at, at);
        }
        self.from = self.from.min(at);
        self.until = self.until.max(at);
        self.events += events;
        self.packets += packets;
    }

    /// What a reader of the report must know.
    pub fn warning(&self) -> String {
        format!(
            "{} traced events and {} packets were not recorded within {:.1} s, because they came faster than they could be \
             recorded: queries, answers and connects of that time may be missing",
            self.events,
            self.packets,
            (self.until - self.from).as_seconds()
        )
    }
}

/// A line that is no event.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Envelope {
    End(Footer),
    Gap(RecordGap),
}

/// What the file says beside its events.
#[derive(Debug)]
pub struct TraceFile {
    /// The first line.
    pub header: Header,
    /// The last line; `None` when presyn was killed.
    pub footer: Option<Footer>,
    /// About the trace as a whole.
    pub facts: TraceFacts,
}

impl TraceFile {
    /// When the command was started, if that can be: the first packet or event was at `first`. Otherwise a warning.
    pub fn started(&mut self, first: Option<Timestamp>) -> Option<Timestamp> {
        let started = self.header.started;
        // Before 1970, or overflowing: no clock of a running system.
        let wrong = started.0 < 0
            || started.0 == i64::MAX
            || first.is_some_and(|first| (first - started).abs() > LONGEST_START);
        if !wrong {
            return Some(started);
        }
        let seconds = started.0 as f64 / 1e9;
        self.facts.warnings.push(format!(
            "{}:1: the start of the run ({seconds:.0} s since 1970) is years away from its events; it is not used",
            self.facts.path
        ));
        None
    }
}

/// Why a trace cannot be read at all.
#[derive(Debug, Error)]
pub enum JsonlError {
    /// It cannot be opened or read.
    #[error("{path}: {source}")]
    Unreadable {
        /// Path as given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The first line is no header of this version.
    #[error("{path}:1: not a presyn trace of schema {SCHEMA} ({problem})")]
    Header {
        /// Path as given.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// Whether a file that begins so is a trace of presyn's: its first line names the schema. Other tools that rewrite JSON
/// put spaces between, and keys in another order; within a string the quotes of a key would be escaped.
pub fn is_trace(head: &[u8]) -> bool {
    let blank = |bytes: &mut &[u8]| *bytes = bytes.trim_ascii_start();
    let mut line = without_mark(head);
    blank(&mut line);
    line.starts_with(b"{")
        && memchr::memmem::find_iter(line, b"\"schema\"").any(|at| {
            let mut rest = &line[at + b"\"schema\"".len()..];
            blank(&mut rest);
            let Some(mut value) = rest.strip_prefix(b":") else {
                return false;
            };
            blank(&mut value);
            value.starts_with(b"\"presyn.trace/")
        })
}

/// Without the byte order mark that some editors put first.
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)
}

/// The facts about a trace that presyn itself took, before its first event: what its filter traps is seen. Waits are as
/// they come ([`note_event`]).
pub fn facts(path: &str, input: u16) -> TraceFacts {
    TraceFacts {
        path: path.to_owned(),
        input,
        writer: crate::report::TraceWriter::Presyn,
        style: "presyn".into(),
        calls: 0,
        skipped_lines: 0,
        unread_connects: 0,
        ended_times: false,
        unreadable_addresses: 0,
        from_start: true,
        clock: TraceClock::Epoch {
            resolution: Span(1),
        },
        sees: VisibleSyscalls {
            sockets: true,
            sends: true,
            followed_sends_only: false,
            writes: true,
            waits: false,
            closes: true,
            clones: true,
            everything: false,
        },
        warnings: Vec::new(),
        damaged: false,
    }
}

/// One event as its line, without the line end.
pub fn line(event: &Event) -> io::Result<Vec<u8>> {
    serde_json::to_vec(event).map_err(io::Error::from)
}

/// The header as its line.
pub fn header_line(header: &Header) -> io::Result<Vec<u8>> {
    serde_json::to_vec(header).map_err(io::Error::from)
}

/// The footer as its line.
pub fn footer_line(footer: &Footer) -> io::Result<Vec<u8>> {
    serde_json::to_vec(&Envelope::End(footer.clone())).map_err(io::Error::from)
}

/// A gap as its line.
pub fn gap_line(gap: &RecordGap) -> io::Result<Vec<u8>> {
    serde_json::to_vec(&Envelope::Gap(*gap)).map_err(io::Error::from)
}

/// The first line of a trace, of which the rest is read later.
pub fn header(reader: impl Read) -> Option<Header> {
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    let mut line = Vec::new();
    while line.trim_ascii().is_empty() {
        line.clear();
        if reader.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
    }
    serde_json::from_slice(without_mark(&line)).ok()
}

/// Reads a trace. A last line that is cut, and lines that are no events, are warnings.
pub fn read(
    path: &Path,
    input: u16,
    progress: &Progress,
    sink: &mut dyn FnMut(Event),
) -> Result<TraceFile, JsonlError> {
    let name = path.display().to_string();
    match bounded::open_regular(path) {
        Ok(file) => read_from(progress.count(file), &name, input, progress, sink),
        Err(source) => Err(JsonlError::Unreadable { path: name, source }),
    }
}

/// Reads a trace from anything; `name` is what messages call it.
pub fn read_from(
    reader: impl Read,
    name: &str,
    input: u16,
    progress: &Progress,
    sink: &mut dyn FnMut(Event),
) -> Result<TraceFile, JsonlError> {
    let name = name.to_owned();
    let unreadable = |source| JsonlError::Unreadable {
        path: name.clone(),
        source,
    };
    let mut reader = BufReader::with_capacity(1 << 18, reader);
    let mut line = Vec::new();
    let mut trace: Option<TraceFile> = None;
    let mut number = 0;
    while !progress.is_stopped() {
        line.clear();
        let got = Read::take(&mut reader, MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(unreadable)?;
        if got == 0 {
            break;
        }
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        match &mut trace {
            None => {
                let header: Header = serde_json::from_slice(without_mark(&line)).map_err(|e| {
                    JsonlError::Header {
                        path: name.clone(),
                        problem: e.to_string(),
                    }
                })?;
                if header.schema != SCHEMA {
                    return Err(JsonlError::Header {
                        path: name,
                        problem: format!("schema '{}'", header.schema),
                    });
                }
                let mut facts = facts(&name, input);
                note_header(&mut facts, &header);
                trace = Some(TraceFile {
                    header,
                    footer: None,
                    facts,
                });
            }
            Some(trace) => entry(trace, &line, number, input, sink),
        }
    }
    let mut trace = trace.ok_or_else(|| JsonlError::Header {
        path: name.clone(),
        problem: "the file is empty".into(),
    })?;
    if trace.footer.is_none() && !progress.is_stopped() {
        trace.facts.warnings.push(format!(
            "{name}: no last line: presyn was killed, or is still writing; what was seen until then is here"
        ));
    }
    Ok(trace)
}

/// Puts what the header says of the calls into the facts, the same for a live trace and one that is read back.
pub fn note_header(facts: &mut TraceFacts, header: &Header) {
    facts.sees.followed_sends_only = header.followed_sends_only;
    // What already ran was attached to in its middle.
    facts.from_start = header.watched.is_none();
}

/// Puts a gap into the facts, the same for a live trace and one that is read back.
pub fn note_gap(facts: &mut TraceFacts, gap: &RecordGap) {
    facts.damaged = true;
    if facts.warnings.len() < MAX_WARNINGS {
        facts
            .warnings
            .push(format!("{}: {}", facts.path, gap.warning()));
    }
}

/// Counts an event in the facts, the same for a live trace and one that is read back.
///
/// A live trace shows a thread's waits while that thread has a lookup open. Where another thread waits for it (Go's
/// poller), there is no wait to see; only those that were seen say that gaps between calls are no waits.
pub fn note_event(facts: &mut TraceFacts, event: &Event) {
    if let EventKind::Call(call) = &event.what {
        facts.calls += 1;
        facts.sees.waits |= matches!(call.op, Op::Wait { .. });
    }
}

/// Puts the remarks of a run into the facts, the same for a live trace and one that is read back.
pub fn note_remarks(facts: &mut TraceFacts, end: &Footer) {
    let remarks = end.remarks.iter().take(MAX_WARNINGS).cloned();
    facts.warnings.extend(remarks);
}

fn entry(trace: &mut TraceFile, line: &[u8], number: u64, input: u16, sink: &mut dyn FnMut(Event)) {
    let cut = line.last() != Some(&b'\n');
    match serde_json::from_slice::<Event>(line) {
        Ok(mut event) => {
            event.place.input = input;
            event.place.number = number;
            note_event(&mut trace.facts, &event);
            sink(event);
        }
        Err(error) => {
            match serde_json::from_slice(line) {
                Ok(Envelope::End(end)) => {
                    note_remarks(&mut trace.facts, &end);
                    lacks(trace, &end);
                    return trace.footer = Some(end);
                }
                Ok(Envelope::Gap(gap)) => return note_gap(&mut trace.facts, &gap),
                Err(_) => {}
            }
            trace.facts.skipped_lines += 1;
            // The line that a killed presyn was writing is expected; anything else is damage.
            trace.facts.damaged |= !cut;
            if trace.facts.warnings.len() < MAX_WARNINGS {
                let what = if cut {
                    "the last line is cut".to_owned()
                } else {
                    format!("not an event ({error})")
                };
                trace
                    .facts
                    .warnings
                    .push(format!("{}:{number}: {what}", trace.facts.path));
            }
        }
    }
}

/// Says what the last line says is missing.
fn lacks(trace: &mut TraceFile, end: &Footer) {
    for missing in end.missing.iter().take(MAX_WARNINGS) {
        let words = missing.words(trace.header.started);
        trace.facts.warnings.push(words);
        // The strace log beside the trace is not read.
        trace.facts.damaged |= missing.file != SYSCALLS;
    }
}
