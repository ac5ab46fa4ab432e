//! strace logs of every version and style: lines to [`Event`]s.
//!
//! Most lines of most logs are calls of no interest; they are told by their name, without allocation. The
//! others go through [`prefix`] (who, when), [`lex`] (brackets and strings) and [`call`] (what). A call
//! that is split over two lines (`<unfinished ...>`, `<... resumed>`, program output in between) is put
//! together first and read once.

mod address;
mod call;
mod clock;
mod descriptor;
mod glued;
mod lex;
mod life;
mod names;
mod outcome;
mod payload;
mod prefix;
mod tally;
mod tasks;
mod wait;

use crate::event::{Call, Change, Event, Life, Op, Outcome, Place, Task, What};
use crate::input::TraceFacts;
use crate::time::{Span, Timestamp};
use clock::Clock;
use names::Kind;
use prefix::{Body, Lead};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tally::Tally;
use tasks::Tasks;

pub use glued::{Guise, guise, looks_like_trace};

/// Calls of no interest by themselves are told from this duration on: they show where a task was.
const WORTH_TELLING: Span = Span::millis(1);

/// How many calls may be unfinished at once, and how many descriptors are remembered as sockets: more than
/// any real program has threads or descriptors, and a bound for hostile logs.
const MAX_PENDING: usize = 1 << 16;

/// How many bytes and lines of foreign text may stand inside a call before it is given up.
const MAX_FOREIGN: (usize, u32) = (1 << 16, 64);

/// Receives the events of a log, one at a time, in the order in which calls complete.
pub type Sink<'a> = &'a mut dyn FnMut(Event);

/// A call whose end has not been seen yet.
#[derive(Debug)]
struct Pending {
    kind: Kind,
    name: Box<[u8]>,
    /// Its arguments so far; empty for calls of no interest.
    args: Vec<u8>,
    at: Timestamp,
    number: u64,
    tid: Option<u32>,
    /// Lines of other text that were appended.
    foreign: u32,
}

/// Reads the lines of one log, or of the several files of one `-ff` set.
#[derive(Debug, Default)]
pub struct Reader {
    input: u16,
    /// The thread that a file of a `-ff` set belongs to.
    file_tid: Option<u32>,
    clock: Clock,
    tasks: Tasks,
    pending: BTreeMap<Option<u32>, Pending>,
    /// A call that was cut by something that is not strace's.
    open: Option<Pending>,
    /// Descriptors that have been sockets in this log.
    sockets: BTreeSet<i32>,
    tally: Tally,
    /// What stood before the latest good line: glued lines must look the same.
    shape: Option<glued::Shape>,
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

    /// The lines that follow are of another file of the same trace (`strace -ff`); `tid` is its suffix.
    pub fn next_file(&mut self, tid: Option<u32>, sink: Sink<'_>) {
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
        if text.first() == Some(&0) {
            let nuls = text.iter().take_while(|b| **b == 0).count();
            self.damaged(
                number,
                format!("{nuls} NUL bytes (the file was truncated while strace wrote)"),
            );
            text = &text[nuls..];
        }
        match prefix::line(text).filter(|(_, body)| glued::is_substantial(body, self.tally.calls)) {
            Some((lead, body)) => self.own(number, &lead, &body, sink),
            None => self.foreign(number, text, sink),
        }
    }

    /// A line of strace's own.
    fn own(&mut self, number: u64, lead: &Lead<'_>, body: &Body<'_>, sink: Sink<'_>) {
        if self.open.is_some() {
            self.give_up_open(sink);
        }
        let at = self.clock.at(lead.time, lead.relative, number);
        let tid = lead.tid.or(self.file_tid);
        self.tally.lead(lead);
        self.shape = Some(glued::Shape::of(lead));
        match *body {
            Body::Call { name, args } => self.call(number, at, tid, lead.comm, name, args, sink),
            Body::Resumed { name, tail } => {
                self.resumed(number, at, tid, lead.comm, name, tail, sink);
            }
            Body::Detached => {}
            Body::Signal(text) => {
                let task = self.tasks.task(tid, lead.comm);
                self.life(number, at, task, life::signal(text), sink);
            }
            Body::End(text) => {
                let Some(change) = life::end(text) else {
                    return;
                };
                if let Some(pending) = self.pending.remove(&tid) {
                    self.unknown(pending, sink);
                }
                let task = self.tasks.task(tid, lead.comm);
                self.life(number, at, task, change, sink);
                if let Some(tid) = tid {
                    self.tasks.ended(tid);
                }
            }
            Body::Remark(text) => {
                if let Some(tid) = life::attached(text) {
                    self.tally.follows = true;
                    let task = self.tasks.task(Some(tid), None);
                    let (parent, thread) = (None, None);
                    self.life(number, at, task, Change::Born { parent, thread }, sink);
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one line")]
    fn call(
        &mut self,
        number: u64,
        at: Timestamp,
        tid: Option<u32>,
        comm: Option<&[u8]>,
        name: &[u8],
        args: &[u8],
        sink: Sink<'_>,
    ) {
        let kind = names::kind(name);
        self.tally.call(kind);
        let boring = kind.is_boring() || kind.is_general() && !self.may_matter(args);
        if args.last() == Some(&b'>')
            && let Some((before, moved)) = life::unfinished(args)
        {
            let pending = Pending {
                kind: if boring { Kind::Other } else { kind },
                name: name.into(),
                args: if boring { Vec::new() } else { before.to_vec() },
                at,
                number,
                tid,
                foreign: 0,
            };
            let _ = self.tasks.task(tid, comm);
            self.keep(moved.or(tid), pending, sink);
            return;
        }
        if boring {
            self.dull(number, at, tid, comm, name, args, sink);
            return;
        }
        match call::read(kind, args) {
            Some(parsed) => {
                let task = (tid, comm);
                self.complete(kind, name, parsed, task, (number, at), None, sink);
            }
            None => {
                self.open = Some(Pending {
                    kind,
                    name: name.into(),
                    args: args[..args.len().min(MAX_FOREIGN.0)].to_vec(),
                    at,
                    number,
                    tid,
                    foreign: 0,
                });
            }
        }
    }

    /// A call of no interest: only its duration may be told.
    #[expect(clippy::too_many_arguments, reason = "the parts of one line")]
    fn dull(
        &mut self,
        number: u64,
        at: Timestamp,
        tid: Option<u32>,
        comm: Option<&[u8]>,
        name: &[u8],
        args: &[u8],
        sink: Sink<'_>,
    ) {
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
        let outcome = call::read(Kind::Other, args).map_or(Outcome::Unknown, |p| p.outcome);
        let parsed = call::Parsed {
            op: None,
            outcome,
            lasted: Some(lasted),
        };
        self.complete(
            Kind::Other,
            name,
            parsed,
            (tid, comm),
            (number, at),
            None,
            sink,
        );
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one line")]
    fn resumed(
        &mut self,
        number: u64,
        at: Timestamp,
        tid: Option<u32>,
        comm: Option<&[u8]>,
        name: &[u8],
        tail: &[u8],
        sink: Sink<'_>,
    ) {
        // The first lines of a log on stderr have no `[pid N]` until there is a second task.
        let key = [tid, None]
            .into_iter()
            .find(|key| self.pending.get(key).is_some_and(|p| *p.name == *name));
        let Some(mut pending) = key.and_then(|key| self.pending.remove(&key)) else {
            // It began before the log did.
            self.tally.call(names::kind(name));
            if let Some((lasted, _)) = outcome::duration(tail) {
                self.dull(number, at - lasted, tid, comm, name, tail, sink);
            }
            return;
        };
        if let Some((before, _)) = life::unfinished(tail) {
            pending.args.extend_from_slice(before);
            self.keep(tid, pending, sink);
            return;
        }
        let task = (tid.or(pending.tid), comm);
        let place = (pending.number, pending.at);
        let parsed = if pending.kind == Kind::Other {
            call::read(Kind::Other, tail)
        } else {
            pending.args.extend_from_slice(tail);
            call::read(pending.kind, &pending.args)
        };
        let parsed = parsed.unwrap_or_else(|| call::read_open(pending.kind, &pending.args));
        let exit = self.clock.is_timed().then_some(at);
        self.complete(pending.kind, &pending.name, parsed, task, place, exit, sink);
    }

    /// Remembers an unfinished call; an older one of the same task will never be finished.
    fn keep(&mut self, tid: Option<u32>, pending: Pending, sink: Sink<'_>) {
        if let Some(older) = self.pending.remove(&tid) {
            self.unknown(older, sink);
        }
        if self.pending.len() < MAX_PENDING {
            self.pending.insert(tid, pending);
        } else {
            self.unknown(pending, sink);
        }
    }

    /// Delivers a call whose end was never seen.
    fn unknown(&mut self, pending: Pending, sink: Sink<'_>) {
        if pending.kind != Kind::Other {
            let parsed = call::read_open(pending.kind, &pending.args);
            let place = (pending.number, pending.at);
            self.complete(
                pending.kind,
                &pending.name,
                parsed,
                (pending.tid, None),
                place,
                None,
                sink,
            );
        }
    }

    /// Delivers a call.
    #[expect(clippy::too_many_arguments, reason = "the parts of one call")]
    fn complete(
        &mut self,
        kind: Kind,
        name: &[u8],
        parsed: call::Parsed,
        (tid, comm): (Option<u32>, Option<&[u8]>),
        (number, at): (u64, Timestamp),
        resumed: Option<Timestamp>,
        sink: Sink<'_>,
    ) {
        self.tally.durations |= parsed.lasted.is_some();
        let exited = parsed.lasted.map(|lasted| at + lasted).or(resumed);
        let lasted = exited.map_or(Span::ZERO, |exited| exited - at);
        let op = parsed
            .op
            .filter(|op| !kind.is_general() || self.is_about_socket(op));
        let op = match op {
            Some(op) => op,
            None if lasted >= WORTH_TELLING => Op::Other {
                name: Arc::from(String::from_utf8_lossy(name)),
            },
            None => return,
        };
        self.learn(&op, tid, &parsed.outcome);
        let task = self.tasks.task(tid, comm);
        let born = match (&op, parsed.outcome.value()) {
            (Op::Clone { thread, .. }, Some(child)) => u32::try_from(child)
                .ok()
                .filter(|c| *c > 0)
                .map(|child| (child, *thread)),
            _ => None,
        };
        let place = Place {
            input: self.input,
            number,
        };
        let call = Call {
            task,
            exited,
            outcome: parsed.outcome,
            op,
        };
        sink(Event {
            at,
            place,
            what: What::Call(call),
        });
        if let Some((child, thread)) = born {
            self.tasks.cloned(tid, child, thread);
            let task = self.tasks.task(Some(child), None);
            let change = Change::Born {
                parent: tid,
                thread: Some(thread),
            };
            self.life(number, exited.unwrap_or(at), task, change, sink);
        }
    }

    fn life(&mut self, number: u64, at: Timestamp, task: Task, change: Change, sink: Sink<'_>) {
        let place = Place {
            input: self.input,
            number,
        };
        let what = What::Life(Life { task, change });
        sink(Event { at, place, what });
    }

    /// Remembers what later lines depend on.
    fn learn(&mut self, op: &Op, tid: Option<u32>, outcome: &Outcome) {
        let socket = match op {
            Op::Socket { fd, .. } | Op::Accept { new: fd, .. } => Some(fd.number),
            Op::Duplicate { new, .. } => Some(*new),
            Op::Exec { .. } => {
                if let (Some(tid), Some(0)) = (tid, outcome.value()) {
                    self.tasks.executed(tid);
                }
                None
            }
            Op::Close { .. } | Op::Wait { .. } => None,
            other => other.fd().map(|fd| fd.number),
        };
        if let Some(fd) = socket.filter(|fd| *fd >= 0 && self.sockets.len() < MAX_PENDING) {
            self.sockets.insert(fd);
        }
        let fd = match op {
            Op::Socket { fd, .. } => Some(fd),
            other => other.fd(),
        };
        if let Some(note) = fd.and_then(|fd| fd.note.as_ref()) {
            self.tally.annotated |=
                note.identity.is_some() || note.not_a_socket || note.local.is_some();
            self.tally.addressed |= note.local.is_some() || note.peer.is_some();
        }
    }

    /// Before parsing: whether a call on a descriptor of any kind may be about a socket.
    fn may_matter(&self, args: &[u8]) -> bool {
        if descriptor::is_plainly_no_socket(args) {
            return false;
        }
        match lex::number(args) {
            Some((_, rest)) if rest.first() == Some(&b'<') => true,
            Some((fd, rest)) => {
                i32::try_from(fd).is_ok_and(|fd| self.sockets.contains(&fd))
                    || payload::may_be_dns(rest)
                    || rest.ends_with(b"<unfinished ...>")
            }
            None => false,
        }
    }

    /// After parsing: the same, with all that is known now.
    fn is_about_socket(&self, op: &Op) -> bool {
        let Some(fd) = op.fd() else {
            return true;
        };
        if let Some(note) = &fd.note {
            return !note.not_a_socket;
        }
        let (Op::Send { messages, .. } | Op::Receive { messages, .. }) = op else {
            return self.sockets.contains(&fd.number);
        };
        self.sockets.contains(&fd.number) || messages.iter().any(|m| !m.dns.is_empty())
    }

    /// A line that is not strace's, or not from its first byte on.
    fn foreign(&mut self, number: u64, text: &[u8], sink: Sink<'_>) {
        if text.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        if text.starts_with(b" > ") {
            self.tally.stacks = true;
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let text = glued::without_dressing(text, &mut scratch);
        let found = glued::line_within(text, self.shape);
        if let Some((lead, body)) = found {
            self.own(number, &lead, &body, sink);
        } else if !self.continued(text, sink) {
            self.tally.skipped += 1;
        }
        self.scratch = scratch;
    }

    /// Whether the text belongs to the open call: its end after a program's output (`) = 11`), or the rest
    /// of a line that was wrapped.
    fn continued(&mut self, text: &[u8], sink: Sink<'_>) -> bool {
        let Some(mut open) = self.open.take() else {
            return false;
        };
        let is_end = text.trim_ascii_start().starts_with(b")");
        let before = open.args.len();
        open.args.push(b' ');
        open.args.extend_from_slice(text);
        let mut parsed = call::read(open.kind, &open.args);
        if parsed.is_none() && is_end {
            open.args.truncate(before);
            // The program's output opened a bracket or a string that is not the call's.
            parsed = outcome::read(&text.trim_ascii_start()[1..]).map(|ending| call::Parsed {
                outcome: ending.outcome,
                lasted: ending.lasted,
                ..call::read_open(open.kind, &open.args)
            });
        }
        if let Some(parsed) = parsed {
            let place = (open.number, open.at);
            self.complete(
                open.kind,
                &open.name,
                parsed,
                (open.tid, None),
                place,
                None,
                sink,
            );
            return true;
        }
        open.foreign += 1;
        if open.args.len() > MAX_FOREIGN.0 || open.foreign > MAX_FOREIGN.1 {
            self.unknown(open, sink);
        } else {
            self.open = Some(open);
        }
        false
    }

    fn give_up_open(&mut self, sink: Sink<'_>) {
        if let Some(open) = self.open.take() {
            self.unknown(open, sink);
        }
    }

    /// Delivers every call that is still unfinished.
    fn flush(&mut self, sink: Sink<'_>) {
        self.give_up_open(sink);
        for pending in std::mem::take(&mut self.pending).into_values() {
            self.unknown(pending, sink);
        }
    }

    /// The end of the log: delivers what is unfinished and tells about the whole.
    pub fn finish(mut self, path: &str, sink: Sink<'_>) -> TraceFacts {
        if let Some(open) = &self.open {
            let line = open.number;
            self.tally.warn(line, "the log ends inside this call");
        }
        self.flush(sink);
        TraceFacts {
            path: path.to_owned(),
            input: self.input,
            style: self.tally.style(&self.clock.options()),
            calls: self.tally.calls,
            skipped_lines: self.tally.skipped,
            clock: self.clock.meaning(),
            sees: self.tally.sees(),
            warnings: self.tally.warnings(path),
            damaged: self.tally.damaged,
        }
    }
}
