//! Whose packets are, in a case of processes that were watched while nothing was traced.
//!
//! For each query and each SYN the case has an [`Owner`] event of the same flow and time: what the kernel said of the
//! packet's socket. Nothing else gives a packet to anybody:
//!
//! 1. The first event of a packet that says whose it is decides. Another one that names another socket, or says that there
//!    may have been another, takes that back: the packet is ambiguous.
//! 2. The SYNs of one attempt are one socket's: the first of them that is known decides for all.
//! 3. A query over TCP that has no event of its own is its connection's.
//! 4. A later event of the same flow and socket, before the next packet of the flow, may add what a thread was found doing.
//! 5. A query that never left has an error that the host sent itself (see `unsent`): an event of its flow and of the error's
//!    time is about it.
//! 6. Everything else is unattributed, and so is a packet without an event.
//!
//! An event is a packet's when it has its very time. A capture that steps back a little has its packets' times raised
//! (`STEP_BACK`), and the event has the time that was not.

use super::connect::LONGEST_GAP;
use super::{EventId, Id};
use crate::event::{
    Event, EventKind, OpenSocket, Owner, Packet, Service, Task, ThreadWait, Unattributed, Whose,
};
use crate::flow::{FiveTuple, Transport};
use crate::input::drops::{DropSpan, DropTimes};
use crate::input::watched::Watched;
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Packets of several queues step back by microseconds; the reader of a capture takes so much for none.
const STEP_BACK: Span = Span::millis(1);
/// So many packets of one flow and time, and so many events of each, are held against each other: no socket sends more.
const MAX_AT_ONCE: usize = 64;

/// Whose a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owned {
    /// A watched process's.
    Watched {
        /// What was found: an [`Owner`] event.
        look: EventId,
        /// The same, with what a thread was found doing about the socket.
        wait: Option<EventId>,
    },
    /// Another process's.
    Others,
    /// Nobody can say; `None`: the case does not say why.
    Unattributed(Option<Unattributed>),
}

/// The owners of all queries and SYNs of a case. Without any, nothing was watched.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    watched: Option<Watched>,
    of: HashMap<EventId, Owned>,
    /// The packet that each event is about.
    packets: Vec<(EventId, EventId)>,
    /// The events that are about each packet.
    looks: HashMap<EventId, Vec<EventId>>,
    /// The network namespaces of unattributed packets, where their events tell.
    netns: HashMap<EventId, u64>,
}

/// A query or SYN.
#[derive(Clone, Copy)]
struct Sent {
    id: EventId,
    at: Timestamp,
    /// Of a SYN, its sequence number.
    syn: Option<u32>,
}

/// What a flow's packets are, and what was found out about them.
#[derive(Default)]
struct FlowLooks {
    sent: Vec<Sent>,
    looks: Vec<EventId>,
    /// ICMP errors that quote it.
    errors: Vec<EventId>,
}

/// The flows of queries and SYNs.
fn flows(events: &[Event], dns_ports: &[u16]) -> BTreeMap<FiveTuple, FlowLooks> {
    let mut flows: BTreeMap<FiveTuple, FlowLooks> = BTreeMap::new();
    for (n, event) in events.iter().enumerate() {
        let (id, at) = (EventId::at(n), event.at);
        match &event.what {
            EventKind::Owner(owner) => flows.entry(owner.flow).or_default().looks.push(id),
            EventKind::Packet(packet) => {
                if let Some((flow, syn)) = is_sent(packet, dns_ports) {
                    let flow = flows.entry(flow).or_default();
                    flow.sent.push(Sent { id, at, syn });
                } else if let Packet::Icmp {
                    quote: Some(quote), ..
                } = packet
                {
                    flows.entry(quote.flow).or_default().errors.push(id);
                }
            }
            EventKind::Call(_) | EventKind::Life(_) | EventKind::Stack(_) => {}
        }
    }
    flows
}

impl Owners {
    /// Of these events, in order; nobody's where nothing was watched.
    pub fn of(events: &[Event], watched: Option<&Watched>, dns_ports: &[u16]) -> Self {
        let mut this = Self {
            watched: watched.cloned(),
            ..Self::default()
        };
        if watched.is_none() {
            return this;
        }
        for (flow, looks) in flows(events, dns_ports) {
            for error in &looks.errors {
                this.error(events, *error, &looks.looks);
            }
            this.flow(events, flow, &looks);
        }
        this.packets.sort_unstable();
        this
    }

    /// Whether processes were watched.
    pub fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }

    /// Whose a query or SYN is. `None` where nothing was watched.
    pub fn of_packet(&self, packet: EventId) -> Option<Owned> {
        self.watched.as_ref()?;
        let known = self.of.get(&packet).copied();
        Some(known.unwrap_or(Owned::Unattributed(None)))
    }

    /// The events that are about packets, each with its packet, in their order.
    pub fn packets(&self) -> &[(EventId, EventId)] {
        &self.packets
    }

    /// The events that are about a packet.
    pub fn looks(&self, packet: EventId) -> impl Iterator<Item = EventId> + '_ {
        let list = self.looks.get(&packet).into_iter().flatten();
        list.copied()
    }

    /// The network namespace that a packet left, where that is known.
    pub fn netns(&self, packet: EventId) -> Option<u64> {
        let own = self.netns.get(&packet).copied();
        own.or_else(|| self.watched.as_ref()?.netns)
    }

    /// When unattributed packets left.
    pub fn unattributed(&self, events: &[Event]) -> DropTimes {
        let unattributed = { self.of.iter() }
            .filter(|(_, owned)| matches!(owned, Owned::Unattributed(_)))
            .map(|(packet, _)| events[packet.position()].at);
        let mut list: Vec<Timestamp> = unattributed.collect();
        list.sort_unstable();
        let mut times = DropTimes::default();
        for at in list {
            times.add(DropSpan {
                packets: 1,
                from: at,
                until: at,
            });
        }
        times
    }

    /// Settles whose the query is that an error quotes.
    fn error(&mut self, events: &[Event], error: EventId, looks: &[EventId]) {
        let at = |look: &EventId| events[look.position()].at;
        let then = at(&error);
        let start = looks.partition_point(|look| at(look) < then);
        let own = looks[start..].iter().take(MAX_AT_ONCE);
        let own: Vec<EventId> = own.copied().take_while(|look| at(look) == then).collect();
        if !own.is_empty() {
            self.packets.extend(own.iter().map(|look| (*look, error)));
            self.of.insert(error, decide(events, &own));
            self.looks.insert(error, own);
        }
    }

    /// Settles the packets of one flow.
    fn flow(&mut self, events: &[Event], flow: FiveTuple, looks: &FlowLooks) {
        let mut of: Vec<(Owned, Option<u64>)> = Vec::with_capacity(looks.sent.len());
        let assigned = assign(events, looks);
        for (sent, own) in looks.sent.iter().zip(&assigned) {
            self.packets.extend(own.iter().map(|look| (*look, sent.id)));
            if !own.is_empty() {
                self.looks.insert(sent.id, own.clone());
            }
            let exact = own.iter().copied().filter(|l| !is_late(events, sent, *l));
            let exact: Vec<EventId> = exact.collect();
            let owned = match decide(events, &exact) {
                Owned::Watched { look, .. } => Owned::Watched {
                    look,
                    wait: wait_of(events, look, own),
                },
                other => other,
            };
            let netns = { own.iter() }.find_map(|l| owner(events, *l)?.netns);
            of.push((owned, netns));
        }
        if flow.transport == Transport::Tcp {
            for run in runs(&looks.sent) {
                let one = of_attempt(events, &of[run.clone()]);
                for (owned, _) in &mut of[run] {
                    *owned = one;
                }
            }
            // What a connection carries is its own.
            let mut connection = None;
            for (sent, (owned, _)) in looks.sent.iter().zip(&mut of) {
                if sent.syn.is_some() {
                    connection = Some(*owned);
                } else if let (Owned::Unattributed(None), Some(known)) = (*owned, connection) {
                    *owned = known;
                }
            }
        }
        for (sent, (owned, netns)) in looks.sent.iter().zip(of) {
            self.of.insert(sent.id, owned);
            if let (Owned::Unattributed(_), Some(netns)) = (owned, netns) {
                self.netns.insert(sent.id, netns);
            }
        }
    }
}

/// The flow of a query or SYN, with the sequence number of a SYN.
fn is_sent(packet: &Packet, dns_ports: &[u16]) -> Option<(FiveTuple, Option<u32>)> {
    match packet {
        Packet::Dns {
            flow,
            service: Service::Unicast,
            message,
        } => (!message.response && dns_ports.contains(&flow.dst.port)).then_some((*flow, None)),
        Packet::Tcp {
            flow, flags, seq, ..
        } => (flags.syn && !flags.ack && !flags.rst).then_some((*flow, Some(*seq))),
        _ => None,
    }
}

/// The events of each packet of a flow: those of its time; without any those of a little before, which are of no packet's
/// time; then those that come before the next packet.
fn assign(events: &[Event], flow: &FlowLooks) -> Vec<Vec<EventId>> {
    let mut assigned: Vec<Vec<EventId>> = vec![Vec::new(); flow.sent.len()];
    let at = |look: &EventId| events[look.position()].at;
    let mut rest: Vec<EventId> = Vec::new();
    for look in &flow.looks {
        let first = flow.sent.partition_point(|sent| sent.at < at(look));
        let same = flow.sent[first..].iter().take(MAX_AT_ONCE);
        let same = same.take_while(|s| s.at == at(look)).count();
        for own in &mut assigned[first..first + same] {
            if own.len() < MAX_AT_ONCE {
                own.push(*look);
            }
        }
        if same == 0 {
            rest.push(*look);
        }
    }
    let exact: Vec<bool> = assigned.iter().map(|own| !own.is_empty()).collect();
    for look in rest {
        let next = flow.sent.partition_point(|sent| sent.at < at(&look));
        let raised = flow.sent.get(next);
        let raised = raised.is_some_and(|s| s.at - at(&look) <= STEP_BACK && !exact[next]);
        if raised {
            assigned[next].push(look);
        } else if let Some(before) = next.checked_sub(1) {
            assigned[before].push(look);
        }
    }
    assigned
}

/// Whether an event comes after its packet: it can only add what a thread does.
fn is_late(events: &[Event], sent: &Sent, look: EventId) -> bool {
    events[look.position()].at > sent.at
}

fn owner(events: &[Event], look: EventId) -> Option<&Owner> {
    match &events[look.position()].what {
        EventKind::Owner(owner) => Some(owner),
        _ => None,
    }
}

/// The socket that an event found, where it says whose it is.
pub fn socket_of(events: &[Event], look: EventId) -> Option<&OpenSocket> {
    match &owner(events, look)?.whose {
        Whose::Watched(socket) => Some(socket),
        Whose::Others | Whose::Unattributed(_) => None,
    }
}

/// What the events of one packet come to.
fn decide(events: &[Event], looks: &[EventId]) -> Owned {
    let mut decided = None;
    let mut why = None;
    for &look in looks {
        let Some(owner) = owner(events, look) else {
            continue;
        };
        match &owner.whose {
            Whose::Unattributed(Unattributed::Ambiguous) => {
                return Owned::Unattributed(Some(Unattributed::Ambiguous));
            }
            Whose::Unattributed(reason) => why = why.or(Some(*reason)),
            Whose::Others => decided = decided.or(Some(Owned::Others)),
            Whose::Watched(socket) if !has_process(socket) => {
                why = why.or(Some(Unattributed::Unreadable));
            }
            Whose::Watched(_) => {
                let wait = None;
                let found = Owned::Watched { look, wait };
                match decided {
                    Some(known) if contradicts(events, known, found) => {
                        return Owned::Unattributed(Some(Unattributed::Ambiguous));
                    }
                    Some(_) => {}
                    None => decided = Some(found),
                }
            }
        }
    }
    decided.unwrap_or(Owned::Unattributed(why))
}

fn has_process(socket: &OpenSocket) -> bool {
    socket.task.pid.or(socket.task.tid).is_some()
}

/// Whether two answers name two sockets.
fn contradicts(events: &[Event], one: Owned, other: Owned) -> bool {
    let cookie = |owned: Owned| match owned {
        Owned::Watched { look, .. } => socket_of(events, look).map(|s| s.cookie),
        Owned::Others | Owned::Unattributed(_) => None,
    };
    matches!((cookie(one), cookie(other)), (Some(a), Some(b)) if a != b)
}

/// What a thread was found doing about a socket: best one that waits for it alone.
fn wait_of(events: &[Event], look: EventId, looks: &[EventId]) -> Option<EventId> {
    let cookie = socket_of(events, look)?.cookie;
    let waits = looks.iter().copied().filter_map(|l| {
        let socket = socket_of(events, l).filter(|s| s.cookie == cookie)?;
        let wait = socket.wait.as_ref()?;
        socket.task.tid.map(|_| (wait.among, l))
    });
    waits.min().map(|(_, look)| look)
}

/// The packets of each attempt: SYNs with one sequence number that follow each other.
fn runs(sent: &[Sent]) -> Vec<std::ops::Range<usize>> {
    let mut list: Vec<std::ops::Range<usize>> = Vec::new();
    let mut last: Option<Sent> = None;
    for (n, packet) in sent.iter().enumerate() {
        if packet.syn.is_none() {
            last = None;
            continue;
        }
        let goes_on = last.is_some_and(|l| l.syn == packet.syn && packet.at - l.at <= LONGEST_GAP);
        match list.last_mut() {
            Some(run) if goes_on => run.end = n + 1,
            _ => list.push(n..n + 1),
        }
        last = Some(*packet);
    }
    list
}

/// Whose the SYNs of one attempt are.
fn of_attempt(events: &[Event], syns: &[(Owned, Option<u64>)]) -> Owned {
    let of = || syns.iter().map(|(owned, _)| *owned);
    let mut known = of().filter(|owned| !matches!(owned, Owned::Unattributed(_)));
    let Some(first) = known.next() else {
        let why = of().find_map(|owned| match owned {
            Owned::Unattributed(why) => why,
            _ => None,
        });
        return Owned::Unattributed(why);
    };
    let Owned::Watched { look, wait } = first else {
        return first;
    };
    let mut wait = wait;
    for other in known {
        if contradicts(events, first, other) {
            return Owned::Unattributed(Some(Unattributed::Ambiguous));
        }
        if let Owned::Watched { wait: later, .. } = other {
            wait = wait.or(later);
        }
    }
    Owned::Watched { look, wait }
}

/// So much of a name from outside is used: the kernel's own have no more than 15 bytes, and calls fewer than 32.
const MAX_NAME: usize = 32;

fn shortened(name: &Arc<str>) -> Arc<str> {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => name[..end].into(),
        None => name.clone(),
    }
}

/// The process that has a socket, and the thread that was found waiting for it.
pub fn task_of(socket: &OpenSocket) -> Task {
    Task {
        comm: socket.task.comm.as_ref().map(shortened),
        ..socket.task
    }
}

/// What a thread was found doing about the socket that an event names.
pub fn thread_wait(events: &[Event], look: EventId) -> Option<(Task, ThreadWait)> {
    let socket = socket_of(events, look)?;
    let wait = socket.wait.as_ref()?;
    let call = shortened(&wait.call);
    let among = wait.among;
    Some((task_of(socket), ThreadWait { call, among }))
}

#[cfg(test)]
mod tests;
