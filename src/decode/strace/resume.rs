//! Calls that stand on more than one line: `<unfinished ...>` and `<... resumed>`, other text in between,
//! wrapped lines, ends that never come.

use super::emit::ReadCall;
use super::{CallStart, MAX_PENDING, Reader, Sink, UnfinishedCall, call, lifecycle, outcome};
use crate::event::Syscall;

/// How many bytes and lines of foreign text may stand inside a call before it is given up.
pub const MAX_FOREIGN: (usize, u32) = (1 << 16, 64);

impl Reader {
    /// The second half of a call; `exit` tells when and who.
    pub(super) fn resumed(
        &mut self,
        exit: CallStart<'_>,
        name: &[u8],
        tail: &[u8],
        sink: Sink<'_>,
    ) {
        // The first lines of a log on stderr have no `[pid N]` until there is a second task.
        let key = [exit.tid, None]
            .into_iter()
            .find(|key| self.pending.get(key).is_some_and(|p| *p.name == *name));
        let Some(mut pending) = key.and_then(|key| self.pending.remove(&key)) else {
            // It began before the log did.
            self.tally.call(Syscall::named(name), b"");
            if let Some((lasted, _)) = outcome::duration(tail) {
                let at = exit.at - lasted;
                self.dull(CallStart { at, ..exit }, name, tail, sink);
            }
            return;
        };
        if let Some((before, _)) = lifecycle::unfinished(tail) {
            pending.args.extend_from_slice(before);
            self.keep(exit.tid, pending, sink);
            return;
        }
        let entry = CallStart {
            tid: exit.tid.or(pending.tid),
            comm: exit.comm,
            ..pending.entry()
        };
        let parsed = if pending.syscall == Syscall::Other {
            call::read(Syscall::Other, tail)
        } else {
            pending.args.extend_from_slice(tail);
            call::read(pending.syscall, &pending.args)
        };
        let parsed = parsed.unwrap_or_else(|| call::read_open(pending.syscall, &pending.args));
        let read = ReadCall {
            ended: self.clock.is_timed().then_some(exit.at),
            entry,
            ..pending.read(parsed)
        };
        self.complete(read, sink);
    }

    /// Remembers an unfinished call; an older one of the same task will never be finished.
    pub(super) fn keep(&mut self, tid: Option<u32>, pending: UnfinishedCall, sink: Sink<'_>) {
        if let Some(older) = self.pending.remove(&tid) {
            self.unknown(&older, sink);
        }
        if self.pending.len() < MAX_PENDING {
            self.pending.insert(tid, pending);
        } else {
            self.unknown(&pending, sink);
        }
    }

    /// Delivers a call whose end was never seen.
    pub(super) fn unknown(&mut self, pending: &UnfinishedCall, sink: Sink<'_>) {
        if pending.syscall != Syscall::Other {
            let parsed = call::read_open(pending.syscall, &pending.args);
            self.complete(pending.read(parsed), sink);
        }
    }

    /// Whether the text belongs to the open call: its end after a program's output (`) = 11`), or the rest
    /// of a line that was wrapped.
    pub(super) fn continued(&mut self, text: &[u8], sink: Sink<'_>) -> bool {
        let Some(mut open) = self.open.take() else {
            return false;
        };
        let is_end = text.trim_ascii_start().starts_with(b")");
        let before = open.args.len();
        open.args.push(b' ');
        open.args.extend_from_slice(text);
        let mut parsed = call::read(open.syscall, &open.args);
        if parsed.is_none() && is_end {
            open.args.truncate(before);
            // The program's output opened a bracket or a string that is not the call's.
            parsed = outcome::read(&text.trim_ascii_start()[1..]).map(|ending| call::Parsed {
                outcome: ending.outcome,
                lasted: ending.lasted,
                ..call::read_open(open.syscall, &open.args)
            });
        }
        if let Some(parsed) = parsed {
            self.complete(open.read(parsed), sink);
            return true;
        }
        open.foreign += 1;
        if open.args.len() > MAX_FOREIGN.0 || open.foreign > MAX_FOREIGN.1 {
            self.unknown(&open, sink);
        } else {
            self.open = Some(open);
        }
        false
    }

    pub(super) fn give_up_open(&mut self, sink: Sink<'_>) {
        if let Some(open) = self.open.take() {
            self.unknown(&open, sink);
        }
    }
}
