//! What of a large input is evicted.

use super::tombstones::EvictedAttempt;
use super::units::{GRACE, Intervals, Owner, Units, of_connection, of_lookup};
use crate::event::{Call, Event, EventKind, LifecycleChange, Location, Op, Packet, Service, Task};
use crate::explain::assemble;
use crate::explain::ledger::{Index, Subject, window};
use crate::join::{AssociationId, ConnectionId, EventId, Evidence, Id};
use crate::time::{Span, Timestamp};
use crate::totals::Unsolicited;
use std::collections::{HashMap, HashSet};

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is retained.
    Stays,
    /// It is evicted.
    Goes,
    /// It is evicted, but a lookup that is retained was over when it came: that its thread did something then is retained.
    Marks,
}

/// What is evicted.
pub struct Evicted {
    /// By event.
    pub events: Vec<Fate>,
    /// By lookup, then by connection.
    pub units: Vec<bool>,
    /// Sockets that no lookup and no connection used.
    pub sockets: HashSet<AssociationId>,
    /// Units that were not over, or whose sockets are still open.
    pub unfinished: HashSet<usize>,
    /// SYNs beyond those that an attempt may have.
    pub repeated: usize,
    /// Responses that answer no query.
    pub unsolicited: Unsolicited,
    /// Where the retained attempts show whose asker's attempt after them is evicted, now or before.
    pub cut: HashMap<Location, bool>,
}

/// How surely nothing more comes of something: what has the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Settled,
    Recent,
    /// Nothing has answered it: it may be sent again, and the call that waits for it is still to come.
    Waiting,
    /// A later call on its socket would not be understood without it.
    Held,
}

/// What may be evicted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Evictable {
    Unit(usize),
    Socket(AssociationId),
    /// A packet of nobody's, or what was found out about one that is not there.
    Packet(usize),
}

/// So many threads that are not known to have ended are remembered, the latest.
const MAX_THREADS: usize = 5_000;
/// So many calls are retained for what they say by their mere presence: `io_uring_setup`, ptrace and seccomp that failed.
const MAX_TELLING: usize = 100;
/// So far from its lookup or connection a thread's wait may lie and be part of it.
const AROUND: Span = Span::millis(60);
/// The same where lines are laid a nanosecond apart, for the log has no times.
const AROUND_LINES: Span = Span(16);
/// So long before its packet, at most, comes what was found out about it: captures of several queues step back.
const AHEAD_OF_PACKET: Span = Span::millis(10);
/// A lookup is over with its thread's first act this long after its last query (see the join's `lookup::end`).
const SETTLED: Span = Span::millis(100);

/// Chooses what goes until so many events are left: first what is over, of this the oldest.
/// What is not over goes only where more than `left`, and half as many as that beside what must stay, would be left.
pub fn choose(units: &Units, index: &Index, left: usize, horizon: Timestamp) -> Evicted {
    let mut evicted = Evicted {
        events: vec![Fate::Stays; units.events.len()],
        units: vec![false; units.list.len()],
        sockets: HashSet::new(),
        unfinished: HashSet::new(),
        repeated: 0,
        unsolicited: Unsolicited::default(),
        cut: HashMap::new(),
    };
    let loose = |n: &usize| units.of[*n] == Owner::Nobody && !goes_alone(&units.events[*n]);
    let calls = (0..units.events.len()).filter(loose).count();
    let surplus = units.events.len().saturating_sub(left + calls);
    let stays = |owner: &&Owner| match owner {
        Owner::Nobody => false,
        Owner::Unit(unit) => units.list[*unit as usize].stays,
        Owner::Socket(a) => {
            let mut users = units.users[a.position()].iter();
            users.any(|unit| units.list[*unit as usize].stays)
        }
    };
    let must = units.of.iter().filter(stays).count();
    let beyond = surplus.min(units.events.len().saturating_sub(must + left / 2 + calls));
    let until = evicted.take(units, candidates(units, horizon), |rank| match rank {
        Rank::Settled => surplus,
        Rank::Recent | Rank::Waiting | Rank::Held => beyond,
    });
    evicted.stories(units, index);
    evicted.owned(units);
    // What no unit owns went on at the same time as what goes, or is not among the last lines: a busy loop has hundreds of
    // thousands of calls in the time in which something may still come of one.
    let lines = units.events[units.events.len().saturating_sub(left)].at;
    let recent = if units.case.evidence.is_timed() {
        lines.max(units.now - GRACE)
    } else {
        lines
    };
    evicted.calls(units, until.max(recent).min(horizon));
    evicted.marks(units);
    evicted
}

/// What may go, in the order in which it goes.
fn candidates(units: &Units, horizon: Timestamp) -> Vec<(Rank, Timestamp, Evictable, usize)> {
    let rank = |held: bool, over: bool, last: Timestamp| match (held, over) {
        (true, _) => Rank::Held,
        (false, true) if units.now - last > GRACE => Rank::Settled,
        _ => Rank::Recent,
    };
    let mut list = Vec::new();
    for (u, unit) in units.list.iter().enumerate() {
        if !unit.stays && unit.last <= horizon {
            let rank = match rank(unit.held, unit.over, unit.last) {
                Rank::Recent if unit.waits => Rank::Waiting,
                other => other,
            };
            list.push((rank, unit.last, Evictable::Unit(u), unit.events));
        }
    }
    let sockets = &units.case.joined.sockets;
    for a in sockets.list.ids() {
        let last = sockets
            .calls(a)
            .last()
            .map(|e| units.events[e.position()].at);
        let last = last.unwrap_or(sockets.list[a].opened);
        let free = units.users[a.position()].is_empty() && !units.services.contains(&a);
        if free && last <= horizon {
            let rank = rank(sockets.is_open(a), true, last);
            list.push((rank, last, Evictable::Socket(a), sockets.calls(a).len()));
        }
    }
    // The first and the last event show how long the input ran.
    let inner = 1..units.events.len().saturating_sub(1);
    let alone = |n: &usize| units.of[*n] == Owner::Nobody && goes_alone(&units.events[*n]);
    for n in inner.filter(alone) {
        let at = units.events[n].at;
        // What was found out about a packet comes before it.
        let held = !is_packet(&units.events[n]) && horizon - at <= AHEAD_OF_PACKET;
        if at <= horizon {
            list.push((rank(held, true, at), at, Evictable::Packet(n), 1));
        }
    }
    list.sort_unstable();
    list
}

impl Evicted {
    /// Takes candidates until so many events go. Returns the time of the latest.
    fn take(
        &mut self,
        units: &Units,
        list: Vec<(Rank, Timestamp, Evictable, usize)>,
        surplus: impl Fn(Rank) -> usize,
    ) -> Timestamp {
        let mut events = 0;
        let mut until = Timestamp(i64::MIN);
        for (rank, last, candidate, n) in list {
            if events >= surplus(rank) {
                break;
            }
            match candidate {
                Evictable::Unit(unit) => {
                    self.units[unit] = true;
                    let open = rank == Rank::Held || !units.list[unit].over;
                    if open && n > 0 {
                        self.unfinished.insert(unit);
                    }
                }
                Evictable::Socket(a) => {
                    self.sockets.insert(a);
                }
                Evictable::Packet(n) => {
                    self.events[n] = Fate::Goes;
                    let event = &units.events[n];
                    self.repeated += usize::from(is_syn(event));
                    let evidence = &units.case.evidence;
                    if is_response(event, evidence) {
                        let shown = evidence.coverage.shows_query_of(event.at);
                        self.unsolicited.add(shown.is_err());
                    }
                }
            }
            events += n;
            until = until.max(last);
        }
        until
    }

    /// The attempts that a retained one follows stay with it, as far as its account reaches back. Where others are
    /// evicted, the retained one before them has it that something is missing after it.
    fn stories(&mut self, units: &Units, index: &Index) {
        let (case, joined) = (units.case, units.case.joined);
        let unit = |c: &ConnectionId| of_connection(joined, *c);
        for list in index.connections.values() {
            for pair in list.windows(2) {
                let [before, c] = [&pair[0], &pair[1]].map(unit);
                if self.units[before] && !self.units[c] && !units.list[c].stays {
                    for o in window::earlier_attempts(case, index, pair[1]) {
                        self.units[unit(&o)] = false;
                        self.unfinished.remove(&unit(&o));
                    }
                }
            }
        }
        for list in index.connections.values() {
            let mut last = None;
            for c in list {
                if self.units[unit(c)] {
                    self.cut_after(units, index, last.take());
                } else {
                    let known = window::precedes_evicted(case, *c);
                    self.cut_after(units, index, Some(*c).filter(|_| known));
                    last = Some(*c);
                }
            }
        }
    }

    /// Remembers that attempts after a retained one are evicted.
    fn cut_after(&mut self, units: &Units, index: &Index, retained: Option<ConnectionId>) {
        let Some(c) = retained else { return };
        if let Some(place) = window::place(units.case, c) {
            let retried = assemble::is_retried(units.case, index, c);
            self.cut.insert(place, retried);
        }
    }

    /// The attempts that go; `subjects` are all that would have an account.
    pub fn attempts(
        &self,
        units: &Units,
        index: &Index,
        subjects: &[Subject],
    ) -> Vec<EvictedAttempt> {
        let joined = units.case.joined;
        let of_attempt = |subject: &Subject| match subject {
            Subject::Connection(c) => Some(*c),
            Subject::Lookup(_) => None,
        };
        let subjects: HashSet<ConnectionId> = subjects.iter().filter_map(of_attempt).collect();
        let all = joined.connections.ids().filter_map(|c| {
            let unit = of_connection(joined, c);
            self.units[unit].then(|| EvictedAttempt {
                connection: c,
                alone: unit >= joined.lookups.len(),
                over: units.list[unit].over,
                subject: subjects.contains(&c),
                unfinished: self.unfinished.contains(&unit),
                retried: assemble::is_retried(units.case, index, c),
            })
        });
        all.collect()
    }

    /// What belongs to a unit or a socket goes with it.
    fn owned(&mut self, units: &Units) {
        let ends = [0, units.events.len() - 1];
        for (n, owner) in units.of.iter().enumerate() {
            let goes = match *owner {
                Owner::Nobody => continue,
                Owner::Unit(unit) => self.units[unit as usize],
                Owner::Socket(a) => self.goes_with_users(units, a),
            };
            if goes && !ends.contains(&n) {
                self.events[n] = Fate::Goes;
            }
        }
    }

    fn goes_with_users(&self, units: &Units, a: AssociationId) -> bool {
        let users = &units.users[a.position()];
        if users.is_empty() {
            self.sockets.contains(&a)
        } else {
            users.iter().all(|unit| self.units[*unit as usize])
        }
    }

    /// Calls and lives of nobody's: what lies within a retained lookup or connection of its thread stays, and what says
    /// to which process a thread belongs, as long as that may matter.
    fn calls(&mut self, units: &Units, until: Timestamp) {
        let within = self.retained_spans(units);
        let threads = self.threads(units);
        let near = if units.case.evidence.is_timed() {
            AROUND
        } else {
            AROUND_LINES
        };
        let mut begun = HashSet::new();
        let mut telling = 0;
        for (n, event) in units.events.iter().enumerate() {
            let Some(task) = task_of(event) else { continue };
            let matters = threads.contains(&task.tid);
            // A thread's first sign of life says how old it is, whatever else becomes of it.
            let first = matters && begun.insert(task.tid);
            if units.of[n] != Owner::Nobody || event.at > until || n == 0 {
                continue;
            }
            let tells = is_telling(event) && telling < MAX_TELLING;
            telling += usize::from(tells);
            let end = exit_of(event).unwrap_or(event.at);
            let around = within.get(&task.tid);
            let inside = around.is_some_and(|w| w.overlap(event.at - near, end + near));
            let tree = is_tree(event)
                && (matters || child_of(event).is_some_and(|c| threads.contains(&Some(c))));
            if !(first || tells || inside || tree || is_files(event)) && n + 1 < units.events.len()
            {
                self.events[n] = Fate::Goes;
            }
        }
    }

    /// When retained lookups and connections went on, by thread.
    fn retained_spans(&self, units: &Units) -> HashMap<Option<u32>, Intervals> {
        let joined = units.case.joined;
        let mut spans: HashMap<Option<u32>, Vec<(Timestamp, Timestamp)>> = HashMap::new();
        let mut add = |unit: usize, task: &Task| {
            if !self.units[unit] {
                let unit = &units.list[unit];
                spans
                    .entry(task.tid)
                    .or_default()
                    .push((unit.first, unit.last));
            }
        };
        for (l, lookup) in joined.lookups.entries() {
            lookup.tasks.iter().for_each(|task| add(of_lookup(l), task));
        }
        for (c, connection) in joined.connections.entries() {
            connection
                .task
                .iter()
                .for_each(|task| add(of_connection(joined, c), task));
        }
        for wait in &joined.services {
            let gone = wait
                .calls
                .first()
                .is_some_and(|e| self.events[e.position()] != Fate::Stays);
            if !gone {
                spans
                    .entry(wait.task.tid)
                    .or_default()
                    .push((wait.began, wait.ended));
            }
        }
        { spans.into_iter() }
            .map(|(tid, list)| (tid, Intervals::new(list)))
            .collect()
    }

    /// The threads that may still act, and those whose acts are retained.
    fn threads(&self, units: &Units) -> HashSet<Option<u32>> {
        let mut alive: Vec<Option<u32>> = Vec::new();
        let mut ended: HashSet<Option<u32>> = HashSet::new();
        let mut seen: HashSet<Option<u32>> = HashSet::new();
        let mut matter: HashSet<Option<u32>> = HashSet::new();
        for (n, event) in units.events.iter().enumerate().rev() {
            let Some(task) = task_of(event) else { continue };
            if units.of[n] != Owner::Nobody && self.events[n] == Fate::Stays {
                matter.insert(task.tid);
            }
            if !seen.insert(task.tid) {
                continue;
            }
            let over = matches!(&event.what, EventKind::Life(life)
                if matches!(life.change, LifecycleChange::Exited(_) | LifecycleChange::Killed(_)));
            if over {
                ended.insert(task.tid);
            } else if alive.len() < MAX_THREADS {
                alive.push(task.tid);
            }
        }
        matter.extend(alive);
        // The root of what was traced has the smallest id.
        matter.extend(seen.into_iter().min());
        matter
    }

    /// Retained lookups whose end only the next act of their thread shows.
    fn marks(&mut self, units: &Units) {
        let mut acts: HashMap<Option<u32>, Vec<EventId>> = HashMap::new();
        for (id, event) in units.case.evidence.numbered() {
            if let EventKind::Call(call) = &event.what {
                acts.entry(call.task.tid).or_default().push(id);
            }
        }
        let joined = units.case.joined;
        let at = |e: &EventId| units.events[e.position()].at;
        let mut mark = |tid: Option<u32>, from: Timestamp, test: &dyn Fn(&Call) -> bool| {
            let list = acts.get(&tid).map_or(&[][..], Vec::as_slice);
            let next = list[list.partition_point(|e| at(e) < from)..].iter();
            let mut next = next.filter(|e| units.case.evidence.call(**e).is_some_and(test));
            if let Some(e) = next.next()
                && self.events[e.position()] == Fate::Goes
            {
                self.events[e.position()] = Fate::Marks;
            }
        };
        for (l, lookup) in joined.lookups.entries() {
            if self.units[of_lookup(l)] || lookup.queries(joined).all(|q| q.answer().is_some()) {
                continue;
            }
            let sent = lookup
                .queries(joined)
                .last()
                .map_or(lookup.began, |q| q.sent);
            let is_move = |call: &Call| call.op.is_move();
            for task in &lookup.tasks {
                mark(task.tid, sent + Span(1), &is_move);
                mark(
                    task.tid,
                    sent + SETTLED + units.case.evidence.tolerance,
                    &is_move,
                );
            }
        }
        for wait in joined.services.iter().filter(|w| w.inferred) {
            mark(wait.task.tid, wait.began + Span(1), &|_| true);
        }
    }
}

fn is_packet(event: &Event) -> bool {
    matches!(event.what, EventKind::Packet(_))
}

/// Whether an event that is no unit's and no socket's may go by itself.
fn goes_alone(event: &Event) -> bool {
    matches!(event.what, EventKind::Packet(_) | EventKind::Owner(_))
}

fn is_syn(event: &Event) -> bool {
    matches!(&event.what, EventKind::Packet(Packet::Tcp { flags, .. }) if flags.syn && !flags.ack)
}

/// Whether a packet is a response of a resolver.
fn is_response(event: &Event, evidence: &Evidence) -> bool {
    matches!(&event.what, EventKind::Packet(Packet::Dns { flow, service: Service::Unicast, message })
        if message.response && evidence.is_dns_port(flow.src.port))
}

fn task_of(event: &Event) -> Option<&Task> {
    match &event.what {
        EventKind::Call(call) => Some(&call.task),
        EventKind::Life(life) => Some(&life.task),
        EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => None,
    }
}

fn exit_of(event: &Event) -> Option<Timestamp> {
    match &event.what {
        EventKind::Call(call) => call.exited,
        EventKind::Packet(_) | EventKind::Life(_) | EventKind::Stack(_) | EventKind::Owner(_) => {
            None
        }
    }
}

/// Whether an event says to which process a thread belongs, and which program that is.
fn is_tree(event: &Event) -> bool {
    match &event.what {
        EventKind::Call(call) => matches!(call.op, Op::Clone { .. } | Op::Exec { .. }),
        EventKind::Life(life) => !matches!(
            life.change,
            LifecycleChange::CpuTime(_) | LifecycleChange::Signal(_) | LifecycleChange::Socket(_)
        ),
        EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => false,
    }
}

/// The thread or process, beside the caller, that an event is about.
fn child_of(event: &Event) -> Option<u32> {
    match &event.what {
        EventKind::Call(call) if matches!(call.op, Op::Clone { .. }) => {
            call.outcome.value().and_then(|v| u32::try_from(v).ok())
        }
        EventKind::Life(life) => match life.change {
            LifecycleChange::ChildDied(pid) => Some(pid),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the report says something because an event is there at all.
fn is_telling(event: &Event) -> bool {
    match &event.what {
        EventKind::Call(call) => match &call.op {
            Op::IoUring => true,
            Op::Other { name } => matches!(&**name, "ptrace" | "seccomp" | "clone"),
            _ => false,
        },
        _ => false,
    }
}

fn is_files(event: &Event) -> bool {
    matches!(&event.what, EventKind::Life(life) if matches!(life.change, LifecycleChange::Files(_)))
}
