//! What threads did after they had asked: the calls that wait, the calls that show something else, connects, and ends.

use super::Stop;
use crate::event::{
    Address, Call, CallOutcome, Event, EventKind, Lifecycle, LifecycleChange, Op, Task,
};
use crate::flow::Transport;
use crate::join::connect::{Attempt, Role};
use crate::join::response::{Exchange, Reply};
use crate::join::socket::Sockets;
use crate::join::{
    AssociationId, ClientId, ConnectionId, EventId, Evidence, IdVec, next_of_thread,
};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// How many connects after a lookup are weighed: a busy service connects all day.
const MAX_CONNECTS: usize = 64;

/// A wait that a stub resolver makes for one socket is at least this long; event loops wait for less.
const SHORTEST_WAIT: Span = Span::millis(500);

/// A connect to a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connect {
    pub at: Timestamp,
    /// The thread that made it.
    pub by: Option<u32>,
    pub to: IpAddr,
}

/// A wait call for one descriptor.
#[derive(Clone, Copy)]
struct Waited {
    from: Timestamp,
    to: Timestamp,
    /// The descriptor's number.
    fd: i32,
    /// Its socket, where that is known.
    socket: Option<AssociationId>,
}

/// The wait calls of a list that began at or after a moment.
fn since(list: Option<&Vec<Waited>>, from: Timestamp) -> &[Waited] {
    let list = list.map_or(&[][..], Vec::as_slice);
    &list[list.partition_point(|w| w.from < from)..]
}

/// The last waiting call for a query.
#[derive(Clone, Copy)]
pub struct OwnWait {
    /// When it was over.
    pub to: Timestamp,
    /// Whether it timed out; `None` where the call is not seen, or something else than an answer ended it.
    pub timed_out: Option<bool>,
}

/// What a thread did, or what was done to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A call that shows it doing something else, or its end.
    Own,
    /// A signal ended it.
    Killed(EventId),
}

/// What tasks did, to find what they did next.
pub struct Moves<'a> {
    sockets: &'a Sockets,
    /// Wait calls that ran into their timeout, by thread.
    timeouts: HashMap<Option<u32>, Vec<Waited>>,
    /// Wait calls like those that ended before their timeout, by thread.
    waits: HashMap<Option<u32>, Vec<Waited>>,
    /// Times of calls that show a thread doing something else, and of ends, by thread.
    calls: HashMap<Option<u32>, Vec<(Timestamp, Act)>>,
    /// Connects to servers, and the threads that made them.
    connections: HashMap<ClientId, Vec<Connect>>,
    /// Threads whose last call is a wait that did not return.
    waiting: HashSet<Option<u32>>,
}

impl<'a> Moves<'a> {
    /// Where there is no lookup.
    pub fn none(sockets: &'a Sockets) -> Self {
        Self {
            sockets,
            timeouts: HashMap::new(),
            waits: HashMap::new(),
            calls: HashMap::new(),
            connections: HashMap::new(),
            waiting: HashSet::new(),
        }
    }

    /// Reads what all tasks did.
    pub fn new(
        evidence: &Evidence,
        sockets: &'a Sockets,
        connections: &IdVec<ConnectionId, Attempt>,
    ) -> Self {
        let mut this = Self::none(sockets);
        for (id, event) in evidence.numbered() {
            match &event.what {
                EventKind::Call(call) => this.note_call(id, event, call),
                EventKind::Life(life) => this.note_end(id, event.at, life),
                EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => {}
            }
        }
        for c in connections.iter().filter(|c| c.role == Role::Server) {
            if let Some(at) = c.began() {
                let list = this.connections.entry(c.asker()).or_default();
                list.push(Connect {
                    at,
                    by: c.task.as_ref().and_then(|t| t.tid),
                    to: c.to.ip,
                });
            }
        }
        for list in this.connections.values_mut() {
            list.sort_unstable();
        }
        this
    }

    fn note_call(&mut self, id: EventId, event: &Event, call: &Call) {
        let tid = call.task.tid;
        // A log that ends inside a send does not show to whom, nor what: it may be the lookup's next query.
        let is_cut = matches!(call.op, Op::Send { .. }) && call.outcome == CallOutcome::Unknown;
        if call.op.is_move() && !is_cut {
            let list = self.calls.entry(tid).or_default();
            list.push((event.at, Act::Own));
        }
        if matches!(call.op, Op::Wait { .. }) && call.outcome == CallOutcome::Unknown {
            self.waiting.insert(tid);
        } else {
            self.waiting.remove(&tid);
        }
        self.note_wait(id, event.at, call);
    }

    /// A wait for one descriptor that returned nothing after at least a good part of a second is a stub resolver's; event
    /// loops poll many, or for less.
    fn note_wait(&mut self, id: EventId, entered: Timestamp, call: &Call) {
        if let Op::Wait {
            timeout: Some(timeout),
            fds,
            ..
        } = &call.op
            && let [fd] = &fds[..]
            && *timeout >= SHORTEST_WAIT
        {
            let wait = Waited {
                from: entered,
                to: call.exited.unwrap_or(entered + *timeout),
                fd: fd.number,
                socket: self.sockets.of(id),
            };
            let lists = if call.outcome == CallOutcome::Returned(0) {
                &mut self.timeouts
            } else {
                &mut self.waits
            };
            lists.entry(call.task.tid).or_default().push(wait);
        }
    }

    fn note_end(&mut self, id: EventId, at: Timestamp, life: &Lifecycle) {
        let act = match life.change {
            LifecycleChange::Exited(_) => Act::Own,
            LifecycleChange::Killed(_) => Act::Killed(id),
            _ => return,
        };
        self.calls.entry(life.task.tid).or_default().push((at, act));
    }

    /// The sockets of the trace.
    pub fn sockets(&self) -> &'a Sockets {
        self.sockets
    }

    /// The wait of a thread for one descriptor, as `(from, to)`, that timed out and was under way at a moment or the first
    /// after it.
    pub fn timeout_around(
        &self,
        (tid, fd): (Option<u32>, i32),
        at: Timestamp,
    ) -> Option<(Timestamp, Timestamp)> {
        let list = self.timeouts.get(&tid)?;
        let next = list.partition_point(|w| w.to < at);
        let wait = list[next..].iter().find(|w| w.fd == fd)?;
        Some((wait.from, wait.to))
    }

    /// Whether a thread had another wait for a descriptor, timed out or not, that began in an interval.
    pub fn waited_between(
        &self,
        (tid, fd): (Option<u32>, i32),
        (from, to): (Timestamp, Timestamp),
    ) -> bool {
        let within = |list: &Vec<Waited>| {
            let start = list.partition_point(|w| w.from < from);
            let mut list = list[start..].iter().take_while(|w| w.from < to);
            list.any(|w| w.fd == fd)
        };
        [&self.timeouts, &self.waits]
            .iter()
            .filter_map(|lists| lists.get(&tid))
            .any(within)
    }

    /// Whether who asked a query connected to one of some addresses meanwhile.
    pub fn connected_to(
        &self,
        query: &Exchange,
        addresses: &[IpAddr],
        (from, to): (Timestamp, Timestamp),
    ) -> bool {
        self.connections_after(query.asker(), from)
            .take_while(|used| used.at <= to)
            .any(|used| addresses.contains(&used.to))
    }

    /// A thread's next act at or after a moment.
    pub fn next_of(&self, task: &Task, at: Timestamp) -> Option<(Timestamp, Act)> {
        let list = self.calls.get(&task.tid)?;
        list.get(list.partition_point(|(t, _)| *t < at)).copied()
    }

    /// Whether a thread waits for its sockets one by one, as a stub resolver in the thread that needs the answer does.
    pub fn waits_itself(&self, task: &Task) -> bool {
        self.waits.contains_key(&task.tid) || self.timeouts.contains_key(&task.tid)
    }

    /// Whether a thread was in a wait that ended before its timeout then.
    pub fn in_wait(&self, task: &Task, at: Timestamp) -> bool {
        let Some(list) = self.waits.get(&task.tid) else {
            return false;
        };
        let next = list.partition_point(|w| w.from <= at);
        next.checked_sub(1).is_some_and(|n| at < list[n].to)
    }

    /// Whether the thread that asked was in a wait when the trace ended.
    pub fn still_waiting(&self, last: &Exchange) -> bool {
        let task = last.task.as_ref();
        task.is_some_and(|t| self.waiting.contains(&t.tid))
    }

    /// What ended a lookup whose last wait timed out then.
    pub fn stopped(&self, evidence: &Evidence, last: &Exchange, at: Timestamp) -> Stop {
        match last.task.as_ref().map(|t| self.next_of(t, at)) {
            Some(None) if !outlasts(evidence, at) => Stop::Trace,
            // The next try begins with a socket: a log that ends there does not show that there was none.
            Some(Some((_, Act::Own))) if is_cut_after(evidence, last, at) => Stop::Trace,
            Some(Some((_, Act::Killed(by)))) => Stop::Signal(by),
            Some(None | Some((_, Act::Own))) | None => Stop::Client,
        }
    }

    /// When the first of the waits of some threads for some sockets that began in a span ran into its timeout, after the
    /// last query was sent.
    pub fn timed_out(
        &self,
        tasks: &[Task],
        sockets: &HashSet<AssociationId>,
        last_sent: Timestamp,
        limit: Timestamp,
    ) -> Option<Timestamp> {
        // A wait belongs to the descriptor in it.
        let its = |wait: &&Waited| match wait.socket {
            _ if sockets.is_empty() => true,
            Some(socket) => sockets.contains(&socket),
            None => sockets.iter().any(|a| self.sockets.list[*a].fd == wait.fd),
        };
        let waits = tasks
            .iter()
            .map(|t| since(self.timeouts.get(&t.tid), last_sent - super::TOGETHER));
        waits
            .flat_map(|list| list.iter().take_while(|w| w.from < limit))
            .filter(its)
            .map(|w| w.to)
            .filter(|to| *to > last_sent)
            .min()
    }

    /// When the socket of a query became readable although the trace shows nothing that was read: an answer or an error
    /// had come.
    pub fn read_unseen(&self, evidence: &Evidence, query: &Exchange) -> Option<Timestamp> {
        let (Some(socket), Reply::None, None) = (query.association, &query.reply, query.packet)
        else {
            return None;
        };
        let mut readable = None;
        for id in self.sockets.calls(socket) {
            let event = evidence.event(*id);
            match &event.what {
                EventKind::Call(call) if matches!(call.op, Op::Receive { .. }) => return None,
                EventKind::Call(call) if event.at >= query.sent && became_readable(&call.op) => {
                    readable = readable.or(Some(*id));
                }
                _ => {}
            }
        }
        let id = readable?;
        let exited = evidence.call(id).and_then(|c| c.exited);
        let next = || next_of_thread(evidence, id).map(|next| evidence.event(next).at);
        Some(exited.or_else(next).unwrap_or(evidence.event(id).at))
    }

    /// The last of the waits that the asking thread made for a query, before `until`.
    pub fn own_wait(
        &self,
        evidence: &Evidence,
        query: &Exchange,
        until: Timestamp,
    ) -> Option<OwnWait> {
        // A log without times has those of the packets, and they say no more than the packets.
        if query.answer().is_some() || !evidence.is_timed() {
            return None;
        }
        let tid = query.task.as_ref()?.tid;
        let fd = evidence.call(query.cause?.call?)?.op.fd()?.number;
        let own = |list: Option<&Vec<Waited>>| {
            let list = since(list, query.sent - super::TOGETHER).iter();
            let during = list.take_while(|w| w.from < until);
            let own = during.filter(|w| w.fd == fd);
            own.map(|w| w.to).max()
        };
        let timed_out = own(self.timeouts.get(&tid));
        let ended = own(self.waits.get(&tid));
        // Where the thread's other waits are in the log and this one is not, a line is missing.
        let missing = self.timeouts.contains_key(&tid) && query.transport == Transport::Udp;
        let assumed = missing.then(|| query.sent + evidence.patience);
        Some(OwnWait {
            to: timed_out.max(ended).or(assumed)?,
            // What ended the wait was a response to another question.
            timed_out: Some(timed_out > ended)
                .filter(|_| query.foreign.is_none() && timed_out.max(ended).is_some()),
        })
    }

    /// The connects after a moment, the next few of them: more than that are no lookup's own.
    pub fn connections_after(
        &self,
        asker: ClientId,
        at: Timestamp,
    ) -> impl Iterator<Item = &Connect> {
        let list = self.connections.get(&asker).map_or(&[][..], Vec::as_slice);
        let start = list.partition_point(|connect| connect.at < at);
        list[start..].iter().take(MAX_CONNECTS)
    }
}

/// Whether a wait returned because a descriptor in it was ready: not a mere look at it.
fn became_readable(op: &Op) -> bool {
    matches!(op, Op::Wait { fds, ready, timeout }
        if *timeout != Some(Span::ZERO) && fds.iter().any(|fd| ready.contains(&fd.number)))
}

/// Whether a capture goes on for so long after a moment that a client that still waited would have asked again.
pub fn outlasts(evidence: &Evidence, at: Timestamp) -> bool {
    evidence.has_capture() && evidence.end() - at > super::giveup::UDP_PATIENCE
}

/// How many events at the end of a log are looked at for the last one of a thread.
const LAST_EVENTS: usize = 64;

/// Whether the last that a log shows of the thread that asked, after a moment, is that it opened another socket, or the log
/// ends inside a call with which it may go on asking.
fn is_cut_after(evidence: &Evidence, asked: &Exchange, at: Timestamp) -> bool {
    let tid = asked.task.as_ref().and_then(|t| t.tid);
    let last = evidence.events.iter().rev().take(LAST_EVENTS);
    let last = last.take_while(|e| e.at >= at).find_map(|e| match &e.what {
        EventKind::Call(call) if call.task.tid == tid => may_go_on(evidence, call),
        EventKind::Life(life)
            if life.task.tid == tid && !matches!(life.change, LifecycleChange::Socket(_)) =>
        {
            Some(false)
        }
        _ => None,
    });
    last == Some(true)
}

/// Whether a call is one with which a stub resolver goes on asking; `None` where it says nothing, and the one before it does.
fn may_go_on(evidence: &Evidence, call: &Call) -> Option<bool> {
    let is_cut = call.outcome == CallOutcome::Unknown;
    match &call.op {
        Op::Socket { .. } => Some(true),
        Op::Connect {
            to: Address::Inet(to),
            ..
        } => Some(evidence.is_dns_port(to.port)),
        // The log ends before the address, or the bytes.
        Op::Connect { .. } | Op::Send { .. } => Some(is_cut),
        // It waits again, or the log ends before it says for what.
        Op::Wait { fds, .. } if is_cut && fds.len() < 2 => Some(true),
        op => op.is_move().then_some(false),
    }
}
