//! Waits for name services that answer over a unix socket: avahi, nscd, systemd-resolved, sssd.

use super::process::Processes;
use super::socket::{Association, Sockets};
use super::{EventId, Evidence, Id, ProcessId};
use crate::event::{Errno, EventKind, Local, Op, Task};
use crate::time::Timestamp;

/// One connection to a name service and the wait for it.
#[derive(Clone, Debug)]
pub struct ServiceWait {
    /// The service's name.
    pub service: &'static str,
    /// Path of its socket.
    pub path: Box<str>,
    /// Who waited.
    pub task: Task,
    /// Its process.
    pub process: ProcessId,
    /// The connect.
    pub began: Timestamp,
    /// The reply; without one the close of the socket, the last use of it, or the next call of the task.
    pub ended: Timestamp,
    /// The calls that show it.
    pub calls: Vec<EventId>,
    /// No call on the socket shows the end; the task's next call does.
    pub inferred: bool,
    /// What it was asked for, where the payload shows that.
    pub asked: Option<Box<str>>,
    /// What came of it.
    pub reply: ServiceReply,
    /// When something was received on the socket after that was asked: many clients keep the socket.
    pub replied: Option<Timestamp>,
}

/// What came of asking a name service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceReply {
    /// It gave an answer.
    Answered,
    /// There is no such name or record.
    Denied,
    /// It could not tell.
    Failed,
    /// The trace does not show what it said.
    Unseen,
}

/// A client that asks more over one socket is one that serves others.
const MAX_QUESTIONS: usize = 256;

/// The system bus, over which systemd-resolved is asked, too.
const BUS: &str = "/dbus/system_bus_socket";

/// Sockets that name services listen on: avahi-daemon, nscd, systemd-resolved's varlink, sssd, winbind.
const SERVICES: &[(&str, &str)] = &[
    ("/avahi-daemon/socket", "avahi"),
    ("/nscd/socket", "nscd"),
    ("/.nscd_socket", "nscd"),
    ("/io.systemd.Resolve", "systemd-resolved"),
    ("/sss/pipes/nss", "sssd"),
    ("/winbindd/pipe", "winbind"),
    ("/nslcd/socket", "nslcd"),
];

/// The name service behind a unix socket's path.
pub fn name_of(path: &str) -> Option<&'static str> {
    SERVICES
        .iter()
        .find(|(end, _)| path.ends_with(end))
        .map(|(_, name)| *name)
}

/// Lists the waits for name services. A connect that failed at once (every glibc client tries nscd
/// twice and gets `ENOENT`) is no wait.
pub fn waits(evidence: &Evidence, processes: &Processes, sockets: &Sockets) -> Vec<ServiceWait> {
    let mut list = Vec::new();
    for (a, association) in sockets.list.entries() {
        let (Some(path), Some(connect)) = (&association.path, association.connect) else {
            continue;
        };
        let asked: Vec<(EventId, &str)> = said(evidence, sockets.calls(a))
            .filter_map(|(id, local)| match local {
                Local::Asked(name) => Some((id, &**name)),
                _ => None,
            })
            .take(MAX_QUESTIONS)
            .collect();
        let service = match name_of(path) {
            Some(service) => service,
            None if path.ends_with(BUS) && !asked.is_empty() => "systemd-resolved",
            None => continue,
        };
        let EventKind::Call(call) = &evidence.event(connect).what else {
            continue;
        };
        let begun = matches!(call.outcome.errno(), Some(Errno::InProgress | Errno::Again));
        if call.outcome.has_failed() && !begun {
            continue;
        }
        let calls = sockets.calls(a).iter().copied();
        let used = Used {
            service,
            path,
            task: processes.complete(&association.task),
            association,
            connect,
            asked,
            calls: std::iter::once(connect)
                .chain(calls.filter(|c| *c > connect))
                .collect(),
        };
        list.extend((0..used.asked.len().max(1)).map(|n| used.wait(evidence, n)));
    }
    list.sort_by_key(|w| w.began);
    list
}

/// A connection to a name service, what it was asked over it, and all calls on it.
struct Used<'a> {
    service: &'static str,
    path: &'a str,
    task: Task,
    association: &'a Association,
    connect: EventId,
    asked: Vec<(EventId, &'a str)>,
    calls: Vec<EventId>,
}

impl Used<'_> {
    /// The wait for the answer to one of the questions. Many clients keep the socket and ask again over it: each question has
    /// its own wait, until its reply. Where none is seen, the connection is one wait.
    fn wait(&self, evidence: &Evidence, n: usize) -> ServiceWait {
        let question = self.asked.get(n).copied();
        let next = self.asked.get(n + 1).map(|(id, _)| *id);
        let own = |id: &EventId| {
            let begun = n == 0 || question.is_none_or(|(asked, _)| *id >= asked);
            begun && next.is_none_or(|next| *id < next)
        };
        let calls: Vec<EventId> = self.calls.iter().copied().filter(own).collect();
        let replied = question.and_then(|(asked, _)| replied(evidence, &calls, asked));
        let (ended, inferred) = match (replied, next) {
            (Some(replied), _) => (replied, false),
            (None, Some(next)) => (evidence.event(next).at, true),
            (None, None) => end(evidence, self.association, self.connect, &calls),
        };
        ServiceWait {
            service: self.service,
            path: self.path.into(),
            task: self.task.clone(),
            process: self.association.process,
            // The bus, and a socket that is used again, may have been connected long before.
            began: match question {
                Some((asked, _)) if n > 0 || self.path.ends_with(BUS) => evidence.event(asked).at,
                _ => self.association.opened,
            },
            ended,
            inferred,
            replied,
            asked: question.map(|(_, name)| name.into()),
            reply: said(evidence, &calls)
                .filter_map(|(_, local)| match local {
                    Local::Asked(_) => None,
                    Local::Answered => Some(ServiceReply::Answered),
                    Local::Denied => Some(ServiceReply::Denied),
                    Local::Failed => Some(ServiceReply::Failed),
                })
                .last()
                .unwrap_or(ServiceReply::Unseen),
            calls,
        }
    }
}

/// What was said to a name service, and what it said, as far as calls show.
fn said<'a>(
    evidence: &Evidence<'a>,
    calls: &[EventId],
) -> impl Iterator<Item = (EventId, &'a Local)> {
    calls.iter().flat_map(|id| {
        let messages = match evidence.call(*id).map(|c| &c.op) {
            Some(Op::Send { messages, .. } | Op::Receive { messages, .. }) => &messages[..],
            _ => &[],
        };
        messages
            .iter()
            .filter_map(|m| Some((*id, m.local.as_ref()?)))
    })
}

/// When the first call after a question returned something.
fn replied(evidence: &Evidence, calls: &[EventId], asked: EventId) -> Option<Timestamp> {
    let later = calls.iter().filter(|id| **id > asked);
    later
        .filter_map(|id| Some((evidence.event(*id).at, evidence.call(*id)?)))
        .find(|(_, call)| {
            matches!(call.op, Op::Receive { .. }) && call.outcome.value().is_some_and(|n| n > 0)
        })
        .map(|(at, call)| call.exited.unwrap_or(at))
}

/// When the wait ended: the last call on the socket, else the task's next call of any kind.
fn end(
    evidence: &Evidence,
    association: &Association,
    connect: EventId,
    calls: &[EventId],
) -> (Timestamp, bool) {
    let last = calls
        .iter()
        .rev()
        .find_map(|id| match &evidence.event(*id).what {
            EventKind::Call(call)
                if *id != connect && !matches!(call.op, Op::Send { .. } | Op::Connect { .. }) =>
            {
                Some(call.exited.unwrap_or(evidence.event(*id).at))
            }
            _ => None,
        });
    if let Some(last) = last {
        return (last, false);
    }
    let next = evidence.events[connect.position() + 1..]
        .iter()
        .find(|e| match &e.what {
            EventKind::Call(call) => call.task.tid == association.task.tid,
            EventKind::Life(life) => {
                life.task.tid == association.task.tid
                    && !matches!(
                        life.change,
                        crate::event::LifecycleChange::ChildDied(_)
                            | crate::event::LifecycleChange::Signal(_)
                            | crate::event::LifecycleChange::Socket(_)
                    )
            }
            EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => false,
        });
    (next.map_or(association.opened, |e| e.at), true)
}
