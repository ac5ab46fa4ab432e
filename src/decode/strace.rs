//! strace logs of every version and style: lines to [`Event`]s.
//!
//! Most lines of most logs are calls of no interest; they are told by their name, without allocation. The
//! others go through `prefix` (who, when), `lex` (brackets and strings) and `call` (what). A call
//! that is split over two lines (`<unfinished ...>`, `<... resumed>`, program output in between) is put
//! together first and read once.

mod address;
mod call;
mod carried;
mod clock;
mod descriptor;
mod dressing;
mod emit;
mod interleaved;
mod lex;
mod lifecycle;
mod outcome;
mod payload;
mod prefix;
mod resume;
mod stack;
mod tally;
mod tasks;
mod wait;

use crate::event::{CallOutcome, Event, Lifecycle, LifecycleChange, Syscall};
use crate::input::TraceFacts;
use crate::time::{Span, Timestamp};
use clock::LogClock;
use dressing::Dressing;
use emit::ReadCall;
use prefix::{Body, CallText, Lead};
use resume::MAX_FOREIGN;
use std::collections::{BTreeMap, BTreeSet};
use tally::LogTally;
use tasks::Tasks;

pub use interleaved::{Guise, guise, looks_like_trace};

/// Calls of no interest by themselves are told from this duration on: they show where a task was.
const WORTH_TELLING: Span = Span::millis(1);

/// How many calls may be unfinished at once, and how many descriptors are remembered as sockets: more than
/// any real program has threads or descriptors, and a bound for hostile logs.
const MAX_PENDING: usize = 1 << 16;

/// Threads attached to before the first time; a log that names more has no times.
const MAX_UNTIMED: usize = 4096;

/// Receives the events of a log, one at a time, in the order in which calls complete.
pub type Sink<'a> = &'a mut dyn FnMut(Event);

/// A call whose end has not been seen yet.
#[derive(Debug)]
struct UnfinishedCall {
    syscall: Syscall,
    name: Box<[u8]>,
    /// Its arguments so far; empty for calls of no interest.
    args: Vec<u8>,
    at: Timestamp,
    number: u64,
    tid: Option<u32>,
    /// Lines of other text that were appended.
    foreign: u32,
}

impl UnfinishedCall {
    fn begun(entry: &CallStart<'_>, syscall: Syscall, name: &[u8], args: &[u8]) -> Self {
        Self {
            syscall,
            name: name.into(),
            args: args.to_vec(),
            at: entry.at,
            number: entry.number,
            tid: entry.tid,
            foreign: 0,
        }
    }

    fn entry(&self) -> CallStart<'static> {
        CallStart {
            number: self.number,
            at: self.at,
            tid: self.tid,
            comm: None,
            ended: false,
        }
    }

    /// The call, with what was read of it.
    fn read(&self, parsed: call::Parsed) -> ReadCall<'_> {
        ReadCall {
            syscall: self.syscall,
            name: &self.name,
            entry: self.entry(),
            parsed,
            ended: None,
        }
    }
}

/// Where, when and by whom a call was entered.
#[derive(Clone, Copy, Debug)]
struct CallStart<'a> {
    number: u64,
    at: Timestamp,
    tid: Option<u32>,
    comm: Option<&'a [u8]>,
    /// The time is that of the call's end.
    ended: bool,
}

/// Reads the lines of one log, or of the several files of one `-ff` set.
#[derive(Debug, Default)]
pub struct Reader {
    input: u16,
    /// The thread that a file of a `-ff` set belongs to.
    file_tid: Option<u32>,
    clock: LogClock,
    /// What other programs did to the log.
    dressing: Dressing,
    /// When the latest call of each thread ended, in a log that was stamped at the ends.
    ends: BTreeMap<Option<u32>, Timestamp>,
    tasks: Tasks,
    pending: BTreeMap<Option<u32>, UnfinishedCall>,
    /// A call that was cut by something that is not strace's.
    open: Option<UnfinishedCall>,
    /// Threads attached to before the first time in the log: they are born at that time.
    untimed: Vec<(u64, u32)>,
    /// Descriptors that have been sockets in this log.
    sockets: BTreeSet<i32>,
    /// The line that is being read has the time of its end.
    ended: bool,
    tally: LogTally,
    /// The stack of the latest call.
    stack: stack::Lines,
    /// What stood before the latest good line: glued lines must look the same.
    shape: Option<interleaved::Shape>,
    scratch: Vec<u8>,
}

impl Reader {
    /// A reader for the input with this position among all inputs.
    pub fn new(input: u16) -> Self {
        Self {
            input,
            ..Self::default()
        }
    }

    /// Judges from the beginning of the log what other programs did to it: wrapped its lines, numbered them, made a page of
    /// them. To be called before its first line, if at all.
    pub fn begin(&mut self, sample: &[u8]) {
        self.dressing = Dressing::of(sample);
        if let Some(first) = self.dressing.opening {
            self.clock.opens(first);
        }
    }

    /// The lines that follow are of another file of the same trace (`strace -ff`); `tid` is its suffix.
    pub fn next_file(&mut self, tid: Option<u32>, sink: Sink<'_>) {
        self.last_line(sink);
        self.flush(sink);
        self.file_tid = tid;
        self.clock.rewind();
    }

    /// How many calls were read so far.
    pub fn calls(&self) -> u64 {
        self.tally.calls
    }

    /// Keeps a warning about a line that the source could not deliver as it is, e.g. because it was too long.
    pub fn damaged(&mut self, number: u64, what: impl Into<String>) {
        self.tally.damaged = true;
        self.tally.warn(number, what);
    }

    /// Reads one line, with or without its line end. `number` counts from 1.
    pub fn line(&mut self, number: u64, text: &[u8], sink: Sink<'_>) {
        let mut text = text;
        while let [rest @ .., b'\n' | b'\r'] = text {
            text = rest;
        }
        if number == 1 {
            text = dressing::without_mark(text);
        }
        if text.first() == Some(&0) {
            let nuls = text.iter().take_while(|b| **b == 0).count();
            self.damaged(
                number,
                format!("{nuls} NUL bytes (the file was truncated while strace wrote)"),
            );
            text = &text[nuls..];
        }
        if self.dressing.is_none() {
            self.undressed(number, text, sink);
        } else {
            for text in self.dressing.lines_of(text) {
                if let Some(line) = self.dressing.undo(number, text) {
                    self.undone(&line, sink);
                }
            }
        }
    }

    fn undone(&mut self, line: &dressing::LogLine, sink: Sink<'_>) {
        self.ended = line.ended;
        self.undressed(line.number, &line.text, sink);
        self.ended = false;
    }

    /// What the dressing held back.
    fn last_line(&mut self, sink: Sink<'_>) {
        if let Some(line) = self.dressing.finish() {
            self.undone(&line, sink);
        }
    }

    fn undressed(&mut self, number: u64, text: &[u8], sink: Sink<'_>) {
        match prefix::line(text)
            .filter(|(_, body)| interleaved::is_substantial(body, self.tally.calls))
        {
            // The rest of a call that was wrapped: `inet_addr("10.0.1.93")}, 16) = 0`.
            Some((_, Body::Call(call)))
                if call.syscall == Syscall::Unknown && self.open.is_some() =>
            {
                self.foreign(number, text, sink);
            }
            Some((lead, body)) => self.own(number, &lead, &body, sink),
            None => self.foreign(number, text, sink),
        }
    }

    /// A line of strace's own.
    fn own(&mut self, number: u64, lead: &Lead<'_>, body: &Body<'_>, sink: Sink<'_>) {
        let lead = &Lead {
            ended: lead.ended && self.dressing.carried_times_end(),
            ..*lead
        };
        self.end_stack(sink);
        if self.open.is_some() {
            self.give_up_open(sink);
        }
        let at = self.clock.at(lead.time, lead.relative, number);
        if !self.untimed.is_empty() && self.clock.is_timed() {
            self.born(at, sink);
        }
        let tid = lead.tid.or(self.file_tid);
        self.tally.lead(lead);
        self.shape = Some(interleaved::Shape::of(lead));
        let entry = CallStart {
            number,
            at,
            tid,
            comm: lead.comm,
            ended: lead.ended || self.ended && lead.time.is_some(),
        };
        match *body {
            Body::Call(text) => self.call(entry, text, sink),
            Body::Resumed { name, tail } => self.resumed(entry, name, tail, sink),
            Body::Detached => {}
            Body::Signal(text) => {
                let life = Lifecycle {
                    task: self.tasks.task(tid, lead.comm),
                    change: lifecycle::signal(text),
                };
                self.life(number, at, life, sink);
            }
            Body::End(text) => {
                let Some(change) = lifecycle::end(text) else {
                    return;
                };
                if let Some(pending) = self.pending.remove(&tid) {
                    self.unknown(&pending, sink);
                }
                let task = self.tasks.task(tid, lead.comm);
                self.life(number, at, Lifecycle { task, change }, sink);
                if let Some(tid) = tid {
                    self.tasks.ended(tid);
                }
            }
            Body::Remark(text) => {
                if let Some(tid) = lifecycle::attached(text) {
                    self.tally.follows = true;
                    self.untimed.push((number, tid));
                    if self.clock.is_timed() || self.untimed.len() > MAX_UNTIMED {
                        self.born(at, sink);
                    }
                }
            }
        }
    }

    /// Reports the threads that were attached to since the last line with a time.
    fn born(&mut self, at: Timestamp, sink: Sink<'_>) {
        for (number, tid) in std::mem::take(&mut self.untimed) {
            let life = Lifecycle {
                task: self.tasks.task(Some(tid), None),
                change: LifecycleChange::Forked {
                    parent: None,
                    thread: None,
                },
            };
            self.life(number, at, life, sink);
        }
    }

    /// When a call began whose end is known: a call that waits did so since the thread's last one.
    fn begin_of(&mut self, entry: &CallStart<'_>, syscall: Syscall) -> Timestamp {
        let end = entry.at;
        let known = self.ends.len() < MAX_PENDING || self.ends.contains_key(&entry.tid);
        let last = known.then(|| self.ends.insert(entry.tid, end)).flatten();
        last.filter(|last| syscall.may_wait() && *last < end)
            .unwrap_or(end)
    }

    fn call(&mut self, mut entry: CallStart<'_>, text: CallText<'_>, sink: Sink<'_>) {
        let CallText {
            syscall,
            name,
            args,
        } = text;
        let mut end = None;
        if entry.ended {
            end = Some(entry.at);
            entry.at = self.begin_of(&entry, syscall);
        }
        self.tally.call(syscall, args);
        let boring = syscall.is_boring() || syscall.is_general() && !self.may_matter(args);
        if args.last() == Some(&b'>')
            && let Some((before, moved)) = lifecycle::unfinished(args)
        {
            let pending = if boring {
                UnfinishedCall::begun(&entry, Syscall::Other, name, b"")
            } else {
                UnfinishedCall::begun(&entry, syscall, name, before)
            };
            if entry.comm.is_some() {
                // Its second half may come without the name.
                let _ = self.tasks.task(entry.tid, entry.comm);
            }
            self.keep(moved.or(entry.tid), pending, sink);
            return;
        }
        if boring {
            self.dull(entry, name, args, sink);
            return;
        }
        let Some(parsed) = call::read(syscall, args) else {
            let args = &args[..args.len().min(MAX_FOREIGN.0)];
            self.open = Some(UnfinishedCall::begun(&entry, syscall, name, args));
            return;
        };
        if let (Some(end), Some(lasted)) = (end, parsed.lasted) {
            entry.at = end - lasted;
        }
        let read = ReadCall {
            syscall,
            name,
            entry,
            parsed,
            ended: end,
        };
        self.complete(read, sink);
    }

    /// A call of no interest: only its duration may be told.
    fn dull(&mut self, entry: CallStart<'_>, name: &[u8], args: &[u8], sink: Sink<'_>) {
        if args.last() != Some(&b'>') {
            return;
        }
        let Some((lasted, _)) = outcome::duration(args) else {
            return;
        };
        self.tally.durations = true;
        if lasted < WORTH_TELLING {
            return;
        }
        let outcome = call::read(Syscall::Other, args).map_or(CallOutcome::Unknown, |p| p.outcome);
        let parsed = call::Parsed {
            op: None,
            outcome,
            lasted: Some(lasted),
        };
        let read = ReadCall {
            syscall: Syscall::Other,
            name,
            entry,
            parsed,
            ended: None,
        };
        self.complete(read, sink);
    }

    /// A line that is not strace's, or not from its first byte on.
    fn foreign(&mut self, number: u64, text: &[u8], sink: Sink<'_>) {
        if text.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        if stack::is_line(text) {
            self.frame(number, text);
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let bare = interleaved::without_dressing(text, &mut scratch);
        let undressed = (bare.len() < text.len())
            .then(|| prefix::line(bare))
            .flatten();
        let carried = if self.tally.follows {
            carried::line_of_thread
        } else {
            carried::line
        };
        let like_others =
            |lead: &Lead<'_>| self.shape.is_none_or(|s| s == interleaved::Shape::of(lead));
        let found = undressed
            .filter(|(_, body)| interleaved::is_substantial(body, 0))
            .or_else(|| carried(bare).filter(|(lead, _)| like_others(lead)))
            .or_else(|| interleaved::line_within(bare, self.shape));
        let text = bare;
        if let Some((lead, body)) = found {
            self.own(number, &lead, &body, sink);
        } else if !self.continued(text, sink) {
            self.tally.skip(number, text);
        }
        self.scratch = scratch;
    }

    /// Delivers every call that is still unfinished.
    fn flush(&mut self, sink: Sink<'_>) {
        self.end_stack(sink);
        self.give_up_open(sink);
        for pending in std::mem::take(&mut self.pending).into_values() {
            self.unknown(&pending, sink);
        }
    }

    /// The end of the log: delivers what is unfinished and tells about the whole.
    pub fn finish(mut self, path: &str, sink: Sink<'_>) -> TraceFacts {
        self.last_line(sink);
        if let Some(open) = &self.open {
            let line = open.number;
            self.tally.warn(line, "the log ends inside this call");
        }
        self.flush(sink);
        self.born(Timestamp::default(), sink);
        TraceFacts {
            writer: crate::report::TraceWriter::Strace,
            path: path.to_owned(),
            input: self.input,
            style: self.tally.style(&self.clock.options()),
            calls: self.tally.calls,
            skipped_lines: self.tally.skipped,
            unread_connects: self.tally.unread_connects,
            unreadable_addresses: self.tally.unreadable_addresses,
            from_start: self.tally.from_start,
            ended_times: self.tally.ended_times,
            clock: self.clock.meaning(),
            sees: self.tally.sees(),
            warnings: self.tally.warnings(path),
            damaged: self.tally.damaged,
        }
    }
}
