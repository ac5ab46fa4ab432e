//! From a call that was read to the event that is delivered, and what is learned from it for later lines.

use super::{CallStart, MAX_PENDING, Reader, Sink, WORTH_TELLING, call, descriptor, lex, payload};
use crate::event::{
    Address, Call, CallOutcome, Event, EventKind, Lifecycle, LifecycleChange, Location, Op,
    Syscall, Task,
};
use crate::time::{Span, Timestamp};
use std::sync::Arc;

impl Reader {
    /// Delivers a call.
    pub(super) fn complete(
        &mut self,
        syscall: Syscall,
        name: &[u8],
        parsed: call::Parsed,
        entry: CallStart<'_>,
        resumed: Option<Timestamp>,
        sink: Sink<'_>,
    ) {
        let CallStart {
            number,
            at,
            tid,
            comm,
            ended: _,
        } = entry;
        self.tally.durations |= parsed.lasted.is_some();
        let exited = parsed.lasted.map(|lasted| at + lasted).or(resumed);
        let lasted = exited.map_or(Span::ZERO, |exited| exited - at);
        let op = parsed
            .op
            .filter(|op| !syscall.is_general() || self.is_about_socket(op));
        let op = match op {
            Some(op) => op,
            None if lasted >= WORTH_TELLING => Op::Other {
                name: Arc::from(String::from_utf8_lossy(name)),
            },
            None => return,
        };
        self.learn(&op, tid, &parsed.outcome);
        if let Op::Connect {
            to: Address::Unreadable { text, .. },
            ..
        } = &op
        {
            self.tally.unreadable_address(number, text);
        }
        let task = self.tasks.task(tid, comm);
        let born = match (&op, parsed.outcome.value()) {
            (Op::Clone { thread, .. }, Some(child)) => u32::try_from(child)
                .ok()
                .filter(|c| *c > 0)
                .map(|child| (child, *thread)),
            _ => None,
        };
        let place = Location {
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
            what: EventKind::Call(Box::new(call)),
        });
        self.stack.begin(at);
        if let Some((child, thread)) = born {
            self.tasks.cloned(tid, child, thread);
            let task = self.tasks.task(Some(child), None);
            let change = LifecycleChange::Forked {
                parent: tid,
                thread: Some(thread),
            };
            self.life(number, exited.unwrap_or(at), task, change, sink);
        }
    }

    pub(super) fn life(
        &mut self,
        number: u64,
        at: Timestamp,
        task: Task,
        change: LifecycleChange,
        sink: Sink<'_>,
    ) {
        let place = Location {
            input: self.input,
            number,
        };
        let what = EventKind::Life(Box::new(Lifecycle { task, change }));
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
