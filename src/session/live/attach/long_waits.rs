//! Queries and SYNs of watched processes that are not answered yet: who waits is asked after a moment and again while the
//! wait lasts, and said in whole lines.
//!
//! Pure: events and times come in, lines and questions go out.

use super::super::message::StillOpen;
use super::ask::Ask;
use crate::event::{Event, EventKind, OpenSocket, Packet, Service, Task, Whose};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::render::safe::escape;
use crate::session::live::waits::{self, step};
use crate::source::watcher::Look;
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// An answer that comes sooner delays nobody: who waited for it is not asked.
pub const SOON: Span = Span::millis(20);
/// Who waits is asked again so often: more often when a line is due, and less in a storm.
const AGAIN: Span = Span::millis(250);
const OFTEN: Span = Span::millis(100);
const RARELY: Span = Span::seconds(1);
/// More open queries and SYNs than this are a storm.
const STORM: usize = 64;
/// What was seen so long ago may be over.
const FRESH: Span = Span::millis(350);
/// A thread is between two calls for less than this.
const BETWEEN_CALLS: Span = Span::millis(50);
/// A stub resolver asks the next resolver within this after it gave up on one: the wait goes on.
const GOES_ON: Span = Span::millis(1_500);
/// The end of a wait is waited for this much longer.
const VERY_LONG: Span = Span::seconds(60);
/// More open queries and SYNs than this are a storm; the first ones tell enough.
const MAX_OPEN: usize = 1_024;
/// The owners of so many packets wait for their packet.
const MAX_OWNERS: usize = 1 << 14;
/// More names than this are not told apart: then no wait is said to go on.
const MAX_NAMES: usize = 1 << 14;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    /// A name, by this question: its id, and what it asks.
    Query {
        name: Arc<str>,
        id: u16,
        question: String,
    },
    /// A connection.
    Connection,
}

/// A query or a SYN without an answer.
struct Open {
    subject: Subject,
    socket: OpenSocket,
    look: Look,
    /// Since when its process waits: for an earlier query for the same name, perhaps.
    since: Timestamp,
    /// Whose answer is due; before it those that were asked earlier.
    parties: Vec<Endpoint>,
    /// The thread that was found waiting.
    thread: Option<OpenSocket>,
    asked: Option<Timestamp>,
    /// When the process was last seen to have the socket.
    seen: Option<Timestamp>,
    /// Since when the thread that waited for it does not.
    unwaited: Option<Timestamp>,
    /// How many steps of the wait were said.
    said: usize,
}

impl Open {
    fn name(&self) -> Option<&Arc<str>> {
        match &self.subject {
            Subject::Query { name, .. } => Some(name),
            Subject::Connection => None,
        }
    }

    fn tid(&self) -> Option<u32> {
        self.thread.as_ref().and_then(|thread| thread.task.tid)
    }

    fn among(&self) -> Option<u32> {
        let wait = self.thread.as_ref().and_then(|thread| thread.wait.as_ref());
        wait.map(|wait| wait.among)
    }

    /// Whether it is one wait with another: of one socket, for one name.
    fn is_one_with(&self, other: &Self) -> bool {
        self.socket.cookie == other.socket.cookie && self.name() == other.name()
    }
}

/// What is waited for.
#[derive(Default)]
pub struct LongWaits {
    owners: HashMap<FiveTuple, OpenSocket>,
    owners_in_order: VecDeque<FiveTuple>,
    open: Vec<Open>,
    /// What ended without an answer a moment ago, and when that was seen: its next query may still come.
    ended: Vec<(Open, Timestamp)>,
    /// When a response about a name came last, whoever asked.
    answered: HashMap<Arc<str>, Timestamp>,
    /// When a SYN left last: of a process, or of one that nobody can tell (`None`).
    connected: HashMap<Option<u32>, Timestamp>,
    longest: Span,
}

impl LongWaits {
    /// Takes note of an event. Events come in the order of their packets, an owner before its packet.
    pub fn event(&mut self, event: &Event) {
        match &event.what {
            EventKind::Owner(owner) => match &owner.whose {
                Whose::Watched(socket) => self.owner(owner.flow, socket),
                Whose::Unattributed(_) if owner.flow.transport == Transport::Tcp => {
                    self.connects(None, event.at);
                }
                Whose::Unattributed(_) | Whose::Others => {}
            },
            EventKind::Packet(packet) => self.packet(event.at, packet),
            EventKind::Call(_) | EventKind::Life(_) | EventKind::Stack(_) => {}
        }
    }

    fn owner(&mut self, flow: FiveTuple, socket: &OpenSocket) {
        if socket.wait.is_some() {
            let tid = socket.task.tid;
            let same = |open: &&mut Open| open.socket.cookie == socket.cookie;
            for open in self.open.iter_mut().filter(same) {
                if open.tid().is_some_and(|before| Some(before) != tid) {
                    // Another thread's wait began with its own query.
                    (open.since, open.said) = (open.look.at, 0);
                }
                open.thread = Some(socket.clone());
            }
            return;
        }
        if self.owners.insert(flow, socket.clone()).is_none() {
            self.owners_in_order.push_back(flow);
        }
        if self.owners_in_order.len() > MAX_OWNERS
            && let Some(first) = self.owners_in_order.pop_front()
        {
            self.owners.remove(&first);
        }
    }

    fn packet(&mut self, at: Timestamp, packet: &Packet) {
        match packet {
            Packet::Dns {
                flow,
                service: Service::Unicast | Service::Candidate,
                message,
            } => {
                let Some(question) = &message.question else {
                    return;
                };
                let (name, id) = (question.name.0.clone(), message.id);
                if message.response {
                    self.answer(at, flow.reversed(), Some(id));
                    if self.answered.len() < MAX_NAMES || self.answered.contains_key(&name) {
                        self.answered.insert(name, at);
                    }
                } else {
                    let question = question.to_string();
                    self.begin(at, *flow, Subject::Query { name, id, question });
                }
            }
            Packet::Tcp { flow, flags, .. } => {
                if flags.syn && !flags.ack {
                    let pid = self.owners.get(flow).and_then(|socket| socket.task.pid);
                    self.connects(pid, at);
                    self.begin(at, *flow, Subject::Connection);
                } else {
                    self.answer(at, flow.reversed(), None);
                }
            }
            Packet::Icmp {
                quote: Some(quote), ..
            } => self.open.retain(|open| open.look.flow != quote.flow),
            _ => {}
        }
    }

    fn connects(&mut self, pid: Option<u32>, at: Timestamp) {
        if self.connected.len() >= MAX_NAMES {
            self.connected.clear();
        }
        self.connected.insert(pid, at);
    }

    fn begin(&mut self, at: Timestamp, flow: FiveTuple, subject: Subject) {
        let again = |open: &Open| open.look.flow == flow && open.subject == subject;
        if self.open.len() >= MAX_OPEN || self.open.iter().any(again) {
            return;
        }
        let Some(socket) = self.owners.get(&flow) else {
            return;
        };
        self.open.push(Open {
            subject,
            look: Look { flow, at },
            since: at,
            // What the process asked, whatever NAT on this host made of it.
            parties: vec![socket.peer.unwrap_or(flow.dst)],
            socket: socket.clone(),
            thread: None,
            asked: None,
            seen: None,
            unwaited: None,
            said: 0,
        });
        for (old, seen) in std::mem::take(&mut self.ended) {
            if !self.go_on(&old) {
                self.ended.push((old, seen));
            }
        }
    }

    fn answer(&mut self, at: Timestamp, flow: FiveTuple, id: Option<u16>) {
        let answered = |open: &Open| {
            let own = match open.subject {
                Subject::Query { id, .. } => Some(id),
                Subject::Connection => None,
            };
            open.look.flow == flow && own == id
        };
        if let Some(first) = self.open.iter().position(answered) {
            let open = self.open.swap_remove(first);
            self.longest = self.longest.max(at - open.since);
        }
    }

    /// What was seen of a socket. Where its process has it no more, or its thread waits for another one now, its wait is
    /// over, or goes on with the next query.
    pub fn seen(&mut self, still: &StillOpen) {
        let StillOpen { cookie, at, .. } = *still;
        let mut over = Vec::new();
        let mut n = 0;
        while n < self.open.len() {
            let open = &mut self.open[n];
            if open.socket.cookie != cookie {
                n += 1;
                continue;
            }
            // Between two calls a thread waits for nothing, and a loop may be at work.
            let was_alone = open.thread.is_some() && open.among() == Some(1);
            let unwaited = was_alone && still.waited_for == Some(false);
            let left = unwaited.then(|| *open.unwaited.get_or_insert(at));
            if !still.open || left.is_some_and(|left| at - left >= BETWEEN_CALLS) {
                over.push(self.open.swap_remove(n));
                continue;
            }
            if left.is_none() {
                (open.unwaited, open.seen) = (None, Some(at));
            }
            n += 1;
        }
        for old in over {
            // It ended between two looks: this long at the most.
            let latest = if still.open { old.unwaited } else { Some(at) };
            self.longest = self.longest.max(latest.unwrap_or(at) - old.since);
            if !self.go_on(&old) && self.ended.len() < MAX_OPEN {
                self.ended.push((old, at));
            }
        }
    }

    /// Hands a wait that ended without an answer on to the next query for the same name. Returns whether there is one.
    fn go_on(&mut self, old: &Open) -> bool {
        let Some(name) = old.name() else { return false };
        let (pid, began) = (old.socket.task.pid, old.look.at);
        let last = old.seen.unwrap_or(began);
        let since_then = |at: Option<&Timestamp>| at.is_some_and(|at| *at > began);
        let something_came = since_then(self.answered.get(name))
            || self.answered.len() >= MAX_NAMES
            || since_then(self.connected.get(&pid))
            || since_then(self.connected.get(&None));
        let is_next = |open: &&mut Open| {
            let same_thread = open.tid().is_none() || open.tid() == old.tid();
            open.socket.task.pid == pid
                && open.name() == Some(name)
                && open.look.at > began
                && open.look.at - last <= RARELY + GOES_ON
                && same_thread
        };
        let mut next: Vec<&mut Open> = self.open.iter_mut().filter(is_next).collect();
        // Several may be those of other threads.
        if let ([next], false) = (&mut next[..], something_came) {
            next.since = next.since.min(old.since);
            next.said = next.said.max(old.said);
            let mut parties = old.parties.clone();
            parties.retain(|party| !next.parties.contains(party));
            parties.append(&mut next.parties);
            next.parties = parties;
            next.thread = next.thread.take().or_else(|| old.thread.clone());
        }
        !next.is_empty()
    }

    /// Whether a wait was about this long and is over, or goes on for very long.
    pub fn has_seen(&self, enough: Span, now: Timestamp) -> bool {
        let lasts = |open: &Open| now - open.since;
        let goes_on = self.open.iter().map(lasts).filter(|lasts| *lasts >= enough);
        let longest = goes_on.max();
        let may_go_on = self
            .ended
            .iter()
            .any(|(old, seen)| *seen - old.since >= enough);
        !may_go_on
            && self.longest >= enough
            && longest.is_none_or(|longest| longest >= enough + VERY_LONG)
    }

    /// Now it is so late: the lines to say, and what to ask.
    pub fn tick(&mut self, now: Timestamp, ask: &mut dyn FnMut(Ask)) -> Vec<String> {
        self.ended.retain(|(_, seen)| now - *seen <= GOES_ON);
        let again = if self.open.len() > STORM {
            RARELY
        } else {
            AGAIN
        };
        for open in &mut self.open {
            let soon_due = step(now + OFTEN - open.since) > open.said || open.unwaited.is_some();
            let due = match open.asked {
                None => now - open.look.at >= SOON,
                Some(asked) => now - asked >= if soon_due { OFTEN } else { again },
            };
            if due {
                open.asked = Some(now);
                ask(Ask::Waits {
                    cookie: open.socket.cookie,
                    look: open.look,
                });
            }
            if open.seen.is_some_and(|seen| now - seen <= FRESH) {
                self.longest = self.longest.max(now - open.since);
            }
        }
        let mut lines = Vec::new();
        for n in 0..self.open.len() {
            let open = &self.open[n];
            let passed = step(now - open.since);
            if passed > open.said && open.seen.is_some_and(|seen| now - seen <= FRESH) {
                let one = |other: &&Open| other.is_one_with(open);
                let parties = { self.open.iter() }.filter(one).flat_map(|o| &o.parties);
                let mut named: Vec<Endpoint> = Vec::new();
                parties.for_each(|party| {
                    if !named.contains(party) {
                        named.push(*party);
                    }
                });
                lines.push(line(open, &named, now - open.since));
                let (since, socket) = (open.since, open.socket.cookie);
                let own = self.open.iter_mut().filter(|o| o.socket.cookie == socket);
                own.filter(|o| o.since >= since)
                    .for_each(|o| o.said = o.said.max(passed));
            }
        }
        lines
    }
}

/// The line about a wait that has passed a step.
fn line(open: &Open, parties: &[Endpoint], waited: Span) -> String {
    let name = |task: &Task| {
        let comm = task.comm.as_deref().map(escape);
        comm.map_or_else(|| "a process".into(), std::borrow::Cow::into_owned)
    };
    let waited = format!("{:.1} s", waited.as_seconds());
    let named: Vec<String> = parties.iter().map(waits::name).collect();
    let (what, not_answered) = match (&open.subject, &named[..]) {
        (Subject::Query { question, .. }, [one]) => (
            format!("resolver {one}, {}", escape(question)),
            format!("resolver {one} has not answered {}", escape(question)),
        ),
        (Subject::Query { question, .. }, several) => (
            format!("resolvers {}, {}", several.join(", "), escape(question)),
            format!(
                "resolvers {} have not answered {}",
                several.join(", "),
                escape(question)
            ),
        ),
        (Subject::Connection, _) => {
            let server = open.socket.peer.unwrap_or(open.look.flow.dst);
            (
                format!("{server} to answer its SYN"),
                format!("{server} has not answered the SYN"),
            )
        }
    };
    let process = &open.socket.task;
    let process = format!("{} (pid {})", name(process), process.pid.unwrap_or(0));
    let thread = open.thread.as_ref().and_then(|thread| {
        let wait = thread.wait.as_ref()?;
        Some((thread.task.tid?, name(&thread.task), wait.among))
    });
    match thread {
        Some((tid, name, 1)) => format!("{name} tid {tid} has waited {waited} for {what}"),
        Some((tid, _, among)) => format!(
            "{waited}: {not_answered} ({process}; its thread {tid} watches the socket among {among})"
        ),
        None => format!("{waited}: {not_answered} ({process})"),
    }
}

#[cfg(test)]
mod tests;
