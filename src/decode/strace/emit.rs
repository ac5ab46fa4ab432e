//! From a call that was read to the event that is delivered, and what is learned from it for later lines.

use super::{CallStart, MAX_PENDING, Reader, Sink, WORTH_TELLING, call, descriptor, lex, payload};
use crate::event::{
    Address, Call, CallOutcome, Event, EventKind, Lifecycle, LifecycleChange, Location, Op, Syscall,
};
use crate::time::Timestamp;
use std::sync::Arc;

/// A call with all that the log says of it.
pub(super) struct ReadCall<'a> {
    pub syscall: Syscall,
    pub name: &'a [u8],
    pub entry: CallStart<'a>,
    pub parsed: call::Parsed,
    /// When it ended, where a line shows that.
    pub ended: Option<Timestamp>,
}

/// The child that a call made, and whether that is a thread.
fn child(call: &Call) -> Option<(u32, bool)> {
    let Op::Clone { thread, .. } = call.op else {
        return None;
    };
    let child = u32::try_from(call.outcome.value()?).ok()?;
    (child > 0).then_some((child, thread))
}

impl Reader {
    /// Delivers a call.
    pub(super) fn complete(&mut self, read: ReadCall<'_>, sink: Sink<'_>) {
        let CallStart {
            number,
            at,
            tid,
            comm,
            ended: _,
        } = read.entry;
        let call::Parsed {
            op,
            outcome,
            lasted,
        } = read.parsed;
        self.tally.durations |= lasted.is_some();
        let exited = lasted.map(|lasted| at + lasted).or(read.ended);
        let is_long = exited.is_some_and(|exited| exited - at >= WORTH_TELLING);
        let op = match op.filter(|op| !read.syscall.is_general() || self.is_about_socket(op)) {
            Some(op) => op,
            None if is_long => Op::Other {
                name: Arc::from(String::from_utf8_lossy(read.name)),
            },
            None => return,
        };
        self.learn(&op, tid, &outcome);
        if let Op::Connect {
            to: Address::Unreadable { text, .. },
            ..
        } = &op
        {
            self.tally.unreadable_address(number, text);
        }
        let call = Call {
            task: self.tasks.task(tid, comm),
            exited,
            outcome,
            op,
        };
        let child = child(&call);
        self.deliver(number, at, EventKind::Call(Box::new(call)), sink);
        self.stack.begin(at);
        if let Some((child, thread)) = child {
            self.tasks.cloned(tid, child, thread);
            let life = Lifecycle {
                task: self.tasks.task(Some(child), None),
                change: LifecycleChange::Forked {
                    parent: tid,
                    thread: Some(thread),
                },
            };
            self.life(number, exited.unwrap_or(at), life, sink);
        }
    }

    /// Delivers a change in a task's life.
    pub(super) fn life(&self, number: u64, at: Timestamp, life: Lifecycle, sink: Sink<'_>) {
        self.deliver(number, at, EventKind::Life(Box::new(life)), sink);
    }

    fn deliver(&self, number: u64, at: Timestamp, what: EventKind, sink: Sink<'_>) {
        let place = Location {
            input: self.input,
            number,
        };
        sink(Event { at, place, what });
    }

    /// Remembers what later lines depend on.
    fn learn(&mut self, op: &Op, tid: Option<u32>, outcome: &CallOutcome) {
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
    pub(super) fn may_matter(&self, args: &[u8]) -> bool {
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
}
