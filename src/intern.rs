//! One copy of what events repeat: a busy service asks for the same few names and calls on the same few sockets all day.

use crate::event::{CallOutcome, Event, EventKind, Fd, FdNote, Op, Packet, Transfer, Whose};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// How many texts and how many descriptors are remembered. With more than these, what is repeated soon is still found.
const REMEMBERED: usize = 4096;

/// What the events of one input had so far.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    notes: HashMap<i32, Arc<FdNote>>,
}

impl Interner {
    /// Lets an event refer to the copies that earlier events have.
    pub fn event(&mut self, event: &mut Event) {
        match &mut event.what {
            EventKind::Packet(Packet::Dns { message, .. }) => {
                if let Some(question) = &mut message.question {
                    self.text(&mut question.name.0);
                }
            }
            // A stack is one copy already.
            EventKind::Packet(_) | EventKind::Stack(_) => {}
            EventKind::Owner(owner) => {
                if let Whose::Watched(socket) = &mut owner.whose {
                    self.some_text(&mut socket.task.comm);
                }
            }
            EventKind::Life(life) => self.some_text(&mut life.task.comm),
            EventKind::Call(call) => {
                self.some_text(&mut call.task.comm);
                if let CallOutcome::Failed(error) = &mut call.outcome {
                    self.text(error);
                }
                self.op(&mut call.op);
            }
        }
    }

    fn op(&mut self, op: &mut Op) {
        match op {
            Op::Send { fd, messages } | Op::Receive { fd, messages } => {
                self.note(fd);
                self.messages(messages);
            }
            Op::SocketError { fd, error } => {
                self.note(fd);
                self.some_text(error);
            }
            Op::Wait { fds, .. } => fds.iter_mut().for_each(|fd| self.note(fd)),
            Op::Accept { fd, new } => {
                self.note(fd);
                self.note(new);
            }
            Op::Socket { fd, .. }
            | Op::Connect { fd, .. }
            | Op::Bind { fd, .. }
            | Op::LocalName { fd, .. }
            | Op::PeerName { fd, .. }
            | Op::SocketTypeIs { fd, .. }
            | Op::Close { fd }
            | Op::Duplicate { fd, .. } => self.note(fd),
            Op::Other { name } => self.text(name),
            Op::Clone { .. } | Op::Exec { .. } | Op::Sleep | Op::IoUring => {}
        }
    }

    fn messages(&mut self, messages: &mut [Transfer]) {
        for question in messages
            .iter_mut()
            .flat_map(|m| &mut m.dns)
            .filter_map(|dns| dns.question.as_mut())
        {
            self.text(&mut question.name.0);
        }
    }

    fn some_text(&mut self, text: &mut Option<Arc<str>>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn text(&mut self, text: &mut Arc<str>) {
        if let Some(known) = self.texts.get(&**text) {
            text.clone_from(known);
            return;
        }
        if self.texts.len() >= REMEMBERED {
            self.texts.clear();
        }
        self.texts.insert(text.clone());
    }

    fn note(&mut self, fd: &mut Fd) {
        let Some(note) = &mut fd.note else { return };
        match self.notes.get_mut(&fd.number) {
            Some(known) if *known == *note => note.clone_from(known),
            Some(known) => known.clone_from(note),
            None => {
                if self.notes.len() >= REMEMBERED {
                    self.notes.clear();
                }
                self.notes.insert(fd.number, note.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Call, Location, Task};
    use crate::time::Timestamp;

    fn close(identity: u64) -> Event {
        let note = FdNote {
            identity: Some(identity),
            ..FdNote::default()
        };
        let fd = Fd {
            number: 7,
            note: Some(Arc::new(note)),
        };
        Event {
            at: Timestamp(0),
            place: Location::default(),
            what: EventKind::Call(Box::new(Call {
                task: Task {
                    comm: Some("java".into()),
                    ..Task::default()
                },
                exited: None,
                outcome: CallOutcome::Failed("EBADF".into()),
                op: Op::Close { fd },
            })),
        }
    }

    /// How many refer to the note, to the thread's name and to the error of such a call.
    fn copies(event: &Event) -> Option<[usize; 3]> {
        let EventKind::Call(call) = &event.what else {
            return None;
        };
        let (Op::Close { fd }, CallOutcome::Failed(error)) = (&call.op, &call.outcome) else {
            return None;
        };
        Some([
            Arc::strong_count(fd.note.as_ref()?),
            Arc::strong_count(call.task.comm.as_ref()?),
            Arc::strong_count(error),
        ])
    }

    #[test]
    fn what_repeats_is_kept_once_and_what_differs_stays() {
        let mut shared = Interner::default();
        let mut events = [1, 1, 2, 2, 2].map(close);
        for event in &mut events {
            shared.event(event);
        }
        assert_eq!(
            events,
            [1, 1, 2, 2, 2].map(close),
            "nothing changes but where it is kept"
        );
        drop(shared);
        assert_eq!(copies(&events[0]), Some([2, 5, 5]));
        assert_eq!(copies(&events[4]), Some([3, 5, 5]));
    }
}
