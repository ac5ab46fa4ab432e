//! When the client stopped waiting for each query.

use super::Stop;
use super::grouping::Group;
use crate::coverage::{Absence, Blind, Kind, Patience, Wanted};
use crate::event::{Call, Change, Op, Outcome, Task, What};
use crate::flow::Transport;
use crate::join::connect::{Attempt, Role};
use crate::join::response::{Exchange, Reply};
use crate::join::socket::Sockets;
use crate::join::{
    Answer, Asked, Asker, AssociationId, ConnectionId, Departure, EventId, Evidence, Id, IdVec,
    LookupId, Query, QueryId, Silence, State, next_of_thread,
};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Queries sent within this are one batch: A and AAAA of one `sendmmsg`, or one question to all
/// resolvers (musl). No stub resolver's timeout is shorter.
pub const TOGETHER: Span = Span::millis(50);

/// Says of every query how long the client waited for it, and with that what became of it.
///
/// `groups` hold every query once.
pub fn settle(
    evidence: &Evidence,
    exchanges: IdVec<QueryId, Exchange>,
    groups: &IdVec<LookupId, Group>,
    moves: &Moves,
) -> (IdVec<QueryId, Query>, Vec<Stop>) {
    let mut waits: Vec<(QueryId, Wait)> = Vec::with_capacity(exchanges.len());
    let mut stops = Vec::with_capacity(groups.len());
    for group in groups {
        let end = end_of(evidence, &exchanges, group, moves);
        let of_group = group.queries.iter().enumerate();
        waits.extend(of_group.map(|(n, q)| {
            let mut wait = wait(&exchanges, group, n, end, moves);
            if exchanges[*q].implied {
                // Where connects are all there is, what lasted longer than any single wait was something else too.
                let longest = evidence.patience + evidence.patience;
                wait.until = wait.until.min(exchanges[*q].sent + longest);
            }
            if let Some(at) = asked_again_unseen(&exchanges, *q, wait.until) {
                wait.until = at;
            }
            if let Some(own) = moves.own_wait(evidence, &exchanges[*q], wait.until) {
                wait.end_with(own, exchanges[*q].sent);
            }
            (*q, moves.read_unseen(evidence, &exchanges[*q], wait))
        }));
        stops.push(end.stop);
    }
    waits.sort_unstable_by_key(|(q, _)| *q);
    let waits = waits.into_iter().map(|(_, wait)| wait);
    let settled = exchanges.into_iter().zip(waits);
    let queries = settled.map(|(e, wait)| query(evidence, e, wait)).collect();
    (queries, stops)
}

/// Until when the client waited for a query, and why no longer.
#[derive(Clone, Copy)]
struct Wait {
    until: Timestamp,
    why: Why,
    /// Whether the last waiting call for it timed out, where one is seen.
    timed_out: Option<bool>,
}

/// The last waiting call for a query.
#[derive(Clone, Copy)]
struct OwnWait {
    to: Timestamp,
    timed_out: Option<bool>,
}

impl Wait {
    /// What a thread did long after its last waiting call was no waiting: the log does not show it.
    fn end_with(&mut self, own: OwnWait, sent: Timestamp) {
        self.timed_out = own.timed_out;
        if self.until - own.to > Span::millis(500) {
            self.until = own.to.max(sent);
        }
    }
}

/// Why the client stopped waiting for a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It was answered or refused.
    Told,
    /// The same question was asked again, or another name: the client had given up.
    GaveUp,
    /// Another resolver asked in the same breath answered.
    Elsewhere,
    /// The lookup's last wait timed out, or the client went on to something else.
    MovedOn,
    /// The client connected to an address of another answer of the lookup.
    Used,
    /// Nothing more was seen of the lookup.
    Over,
    /// A signal ended the client meanwhile, or the trace ends.
    CutShort,
    /// Its socket became readable, but no call shows what was read.
    Unseen,
}

/// How many later queries are looked at for one of the same lookup that no call shows.
const MAX_LATER: usize = 64;

/// When a query of the same id and question left that no call of the trace shows: a trace may lack some calls of a lookup,
/// and a stub resolver keeps the id for all of it.
fn asked_again_unseen(
    queries: &IdVec<QueryId, Exchange>,
    q: QueryId,
    until: Timestamp,
) -> Option<Timestamp> {
    let this = &queries[q];
    if this.packet.is_none() || !this.is_clients() || this.answer().is_some() {
        return None;
    }
    let later = queries.as_slice()[q.position() + 1..]
        .iter()
        .take(MAX_LATER);
    let mut later = later.take_while(|o| o.sent < until);
    let again = later.find(|o| {
        let same = o.id == this.id && o.question == this.question;
        !o.is_clients() && same && o.sent - this.sent > TOGETHER
    });
    again.map(|o| o.sent)
}

/// What a call that received an answer may take between its poll and its return.
const READING: Span = Span::millis(5);

/// Whether two queries, `a` before `b`, are a race: one question to all resolvers at once (musl, dnsmasq with all-servers),
/// of which the first answer wins. A client that has an answer or an error to the first one turns to the next resolver,
/// however soon (an ICMP refusal costs it less than a millisecond).
fn in_one_breath(a: &Exchange, b: &Exchange) -> bool {
    let same_socket = match (a.client, b.client) {
        (Some(a), Some(b)) => a == b,
        _ => a.association == b.association,
    };
    let on_wire = a.packet.is_some() && b.packet.is_some();
    let over = [a.answer().map(|r| r.at), a.refusal().map(|r| r.at)];
    let over = over.into_iter().flatten().any(|at| at <= b.sent);
    (a.sent - b.sent).abs() <= TOGETHER
        && (same_socket || a.resolver == b.resolver || on_wire && !over)
}

/// When the client stopped waiting for one query, and why.
fn wait(
    queries: &IdVec<QueryId, Exchange>,
    lookup: &Group,
    position: usize,
    end: End,
    moves: &Moves,
) -> Wait {
    let this = &queries[lookup.queries[position]];
    let same =
        |other: &&Exchange| other.question.kind == this.question.kind && same_name(this, other);
    let later = || lookup.queries[position + 1..].iter().map(|q| &queries[*q]);
    let replaced = later()
        .filter(same)
        .find(|o| !in_one_breath(this, o))
        .map(|o| o.sent);
    // A client that turns to another name is through with this one.
    let moved_on = later().find(|o| !same_name(this, o)).map(|o| o.sent);
    let gave_up = [replaced, moved_on].into_iter().flatten().min();
    let gave_up = gave_up.filter(|at| !is_accepted(queries, lookup, this, *at, moves));
    let mut until = gave_up
        .unwrap_or(end.at)
        .min(end.at.max(this.sent))
        .max(this.sent);
    let mut why = match gave_up {
        Some(_) => Why::GaveUp,
        None => end.why,
    };
    // No call shows that a host stopped waiting when nothing else happened: it takes what comes in time.
    if this.process.is_none()
        && why == Why::Over
        && let Some(at) = this.answer().map(|a| a.at)
        && at - this.sent <= patience_limit(this.transport)
    {
        until = until.max(at);
    }
    // A call shows an answer when it returns, which is a little later than when the wait ended.
    let slack = if this.packet.is_none() {
        READING
    } else {
        Span::ZERO
    };
    let own = this
        .answer()
        .map(|a| a.at)
        .filter(|at| *at <= until + slack);
    let refused = this
        .refusal()
        .map(|r| r.at)
        .filter(|at| (this.departure == Departure::Left || this.process.is_none()) && *at < until);
    let all = lookup.of(queries);
    let elsewhere = all
        .filter(same)
        .filter(|o| {
            let (a, b) = if o.sent < this.sent {
                (*o, this)
            } else {
                (this, *o)
            };
            in_one_breath(a, b) && o.resolver != this.resolver
        })
        .filter_map(|o| o.answer().filter(|a| a.usable()).map(|a| a.at))
        .min()
        .filter(|at| *at < until);
    for (at, reason) in [
        (elsewhere, Why::Elsewhere),
        (own, Why::Told),
        (refused, Why::Told),
    ] {
        if let Some(at) = at
            && (at < until || reason == Why::Told && at <= until + slack)
        {
            (until, why) = (at.max(this.sent), reason);
        }
    }
    Wait {
        until,
        why,
        timed_out: None,
    }
}

fn same_name(a: &Exchange, b: &Exchange) -> bool {
    a.question.name.0.eq_ignore_ascii_case(&b.question.name.0)
}

/// A query with all that is now known of it.
fn query(evidence: &Evidence, exchange: Exchange, wait: Wait) -> Query {
    let Exchange {
        asked,
        departure,
        reply,
        foreign,
    } = exchange;
    let state = match (reply, departure) {
        // The answer's packet and the call that ends the wait may be on two clocks.
        (Reply::Received(received), _) => State::Answered(Answer {
            // The loser of a race, and what comes when another answer was used, are not late.
            late: !matches!(wait.why, Why::Elsewhere | Why::Used)
                && received.at - wait.until > clock_slack(evidence),
            received,
        }),
        (Reply::Lost(received, absence), _) => State::NotReceived(received, absence),
        (Reply::Refused(error), Departure::Left) => State::Unanswered(Silence::Refused(error)),
        (Reply::Refused(error), Departure::NeverLeft(_)) => {
            State::NeverSent(Silence::Refused(error))
        }
        (Reply::None, Departure::NeverLeft(silence)) => State::NeverSent(silence),
        (Reply::None, Departure::Left) => match unanswered(evidence, &asked, wait) {
            Ok(absence) => State::Unanswered(Silence::Absent(absence)),
            Err(_) if wait.why == Why::Unseen => State::Unseen,
            Err(blind) => State::Open(blind),
        },
    };
    Query {
        asked,
        state,
        until: wait.until,
        foreign,
    }
}

/// Whether the inputs show that a query got no answer: a capture that would hold it, else the client's own waiting.
fn unanswered(evidence: &Evidence, asked: &Asked, wait: Wait) -> Result<Absence, Blind> {
    let waited = wait.until - asked.sent;
    let shown = asked.packet.map(|_| {
        let wanted = Wanted {
            kind: Kind::Response,
            from: Some(asked.resolver.ip),
            to: asked.client.map(|c| c.ip),
            netns: None,
        };
        evidence.coverage.would_show(wanted, asked.sent, wait.until)
    });
    if is_open(evidence, waited, wait.why) {
        let hidden = shown.and_then(Result::err).filter(Blind::hides_packets);
        return Err(hidden.unwrap_or(Blind::TooShort));
    }
    let by_calls = || {
        // Whoever goes on to something else without asking again may have its answer.
        let moved_on = wait.why == Why::MovedOn && asked.implied;
        let gave_up = wait.why == Why::GaveUp || moved_on;
        let gave_up = gave_up.then_some(true).or(wait.timed_out);
        let patience = Patience { waited, gave_up };
        let traced = asked.cause.is_some() || asked.packet.is_none();
        let traced = traced.then(|| evidence.coverage.waited_in_vain(patience));
        traced.unwrap_or(Err(Blind::NoWaits))
    };
    // It may have been answered: only a turn to another resolver shows that it was not, or a whole timeout.
    let timed_out = waited >= evidence.patience - Span::millis(200);
    if asked.implied && wait.why != Why::GaveUp && !timed_out {
        return Err(Blind::NoWaits);
    }
    match shown {
        Some(shown) => shown.or_else(|blind| by_calls().map_err(|_| blind)),
        None => by_calls(),
    }
}

/// Whether nobody can say what became of a query that nothing answered: whoever waited for as long as a stub resolver
/// does has been left unanswered. Half a second is less than the shortest of their timeouts (1 s).
fn is_open(evidence: &Evidence, waited: Span, why: Why) -> bool {
    match why {
        Why::Elsewhere | Why::Unseen => true,
        Why::CutShort => waited < evidence.patience - Span::millis(200),
        Why::MovedOn | Why::Over | Why::Used if !evidence.has_trace() => {
            waited < evidence.patience - Span::millis(200)
        }
        Why::MovedOn | Why::Over | Why::Used | Why::GaveUp | Why::Told => {
            waited < Span::millis(500)
        }
    }
}

/// An answer is late only if the clocks can tell; coarse ones (`-t`) are trusted to this much, since their
/// waits end with packets too.
fn clock_slack(evidence: &Evidence) -> Span {
    evidence.tolerance.min(Span::millis(20))
}

/// When a lookup was over.
#[derive(Clone, Copy)]
struct End {
    at: Timestamp,
    /// How that is known: [`Why::MovedOn`], [`Why::Used`], [`Why::CutShort`] or [`Why::Over`].
    why: Why,
    /// What ended it.
    stop: Stop,
}

/// When a lookup was over: everything answered, else the client's last wait timed out, else its next
/// move, else as long as a stub resolver would wait.
fn end_of(
    evidence: &Evidence,
    queries: &IdVec<QueryId, Exchange>,
    lookup: &Group,
    moves: &Moves,
) -> End {
    let ended = |at, why| End {
        at,
        why,
        stop: Stop::Client,
    };
    let Some(last) = lookup.queries.last().map(|q| &queries[*q]) else {
        return ended(lookup.began, Why::Over);
    };
    let tcp = lookup
        .queries
        .iter()
        .any(|q| queries[*q].transport == Transport::Tcp);
    let limit = last.sent + patience_limit(if tcp { Transport::Tcp } else { Transport::Udp });
    // The client's own wait call says best when it gave up.
    if let Some(at) = moves.timed_out(queries, lookup, last, limit) {
        return End {
            stop: moves.stopped(evidence, last, at),
            ..ended(at, Why::MovedOn)
        };
    }
    let ends_with_inputs = evidence.end().max(last.sent);
    // The connection that used the answer, or whatever the task did next.
    if lookup.process.is_none() {
        let used = moves
            .connections_after(last.asker(), last.sent)
            .find(|used| gave(queries, lookup, used))
            .map(|used| used.at)
            .filter(|at| *at <= limit);
        let at = used.unwrap_or(last.sent + evidence.patience);
        let why = used.map_or(Why::Over, |_| Why::Used);
        // What another process asked may be under way when the inputs end.
        let cut = used.is_none() && at > ends_with_inputs && evidence.has_trace();
        return End {
            stop: if cut { Stop::Trace } else { Stop::Client },
            ..ended(at.min(ends_with_inputs), why)
        };
    }
    let used = moves
        .connections_after(last.asker(), last.sent)
        .find(|used| !still_waits(queries, lookup, moves, used, last.sent + evidence.patience))
        .map(|used| used.at);
    // Without times the order of the calls is all there is.
    let settled = if evidence.is_timed() {
        last.sent + Span::millis(100) + evidence.tolerance
    } else {
        last.sent + Span(1)
    };
    let next_of = |at| last.task.as_ref().and_then(|t| moves.next_of(t, at));
    // What follows at once counts where nothing else does.
    let soon = || next_of(last.sent + Span(1)).filter(|_| used.is_none());
    let moved = next_of(settled).or_else(soon);
    let next = [used, moved.map(|(at, _)| at)]
        .into_iter()
        .flatten()
        .min()
        .filter(|at| *at <= limit);
    let unseen = if evidence.is_timed() {
        last.sent + evidence.patience
    } else {
        last.sent
    };
    if let Some(at) = next {
        let killed = moved.and_then(|(moved, act)| match act {
            Act::Killed(by) if moved == at => Some(Stop::Signal(by)),
            Act::Killed(_) | Act::Own => None,
        });
        let why = killed.map_or(Why::MovedOn, |_| Why::CutShort);
        return End {
            stop: killed.unwrap_or(Stop::Client),
            ..ended(at.min(ends_with_inputs), why)
        };
    }
    let cut = last.task.is_some() && moved.is_none() && !outlasts(evidence, unseen);
    let at = if cut && moves.still_waiting(last) {
        evidence.end()
    } else {
        unseen
    };
    let (why, stop) = if cut {
        (Why::CutShort, Stop::Trace)
    } else {
        (Why::Over, Stop::Client)
    };
    End {
        stop,
        ..ended(at.min(ends_with_inputs), why)
    }
}

/// Whether a capture goes on for so long after a moment that a client that still waited would have asked again.
fn outlasts(evidence: &Evidence, at: Timestamp) -> bool {
    evidence.has_capture() && evidence.end() - at > UDP_PATIENCE
}

/// How many events at the end of a log are looked at for the last one of a thread.
const LAST_EVENTS: usize = 64;

/// Whether the last that a log shows of the thread that asked, after a moment, is that it opened another socket.
fn is_cut_after(evidence: &Evidence, asked: &Exchange, at: Timestamp) -> bool {
    let tid = asked.task.as_ref().and_then(|t| t.tid);
    let last = evidence.events.iter().rev().take(LAST_EVENTS);
    let last = last.take_while(|e| e.at >= at).find_map(|e| match &e.what {
        What::Call(call) if call.task.tid == tid => Some(matches!(call.op, Op::Socket { .. })),
        What::Life(life) if life.task.tid == tid => Some(false),
        _ => None,
    });
    last == Some(true)
}

/// The longest that a client waits for one query.
fn patience_limit(transport: Transport) -> Span {
    match transport {
        Transport::Udp => UDP_PATIENCE,
        Transport::Tcp => TCP_PATIENCE,
    }
}

/// Whether a host connected to an address that an answer of a lookup had given by then. Without a trace nothing else that
/// a host does shows that a lookup of it is over: it may be another program's doing.
fn gave(queries: &IdVec<QueryId, Exchange>, lookup: &Group, used: &Connect) -> bool {
    let answers = lookup.of(queries).filter_map(|q| q.answer());
    { answers }.any(|a| a.at <= used.at && a.addresses.contains(&used.to))
}

/// How soon a client connects to an address that it has been given.
const AT_ONCE: Span = Span::seconds(1);

/// Whether a host took an answer although it had asked once more before it came: it asked no more after it, nothing else
/// had answered by then, and it connected to an address of the answer at once. A client may listen to all that it has
/// asked (Windows, systems that ask the next resolver after a second).
fn is_accepted(
    queries: &IdVec<QueryId, Exchange>,
    lookup: &Group,
    this: &Exchange,
    gave_up: Timestamp,
    moves: &Moves,
) -> bool {
    let Some(own) = this.answer().filter(|a| a.at > gave_up && a.usable()) else {
        return false;
    };
    let alike = |o: &&Exchange| o.question.kind == this.question.kind && same_name(this, o);
    let mut others = lookup.of(queries).filter(alike);
    let told = |o: &Exchange| o.answer().is_some_and(|a| a.usable() && a.at < own.at);
    this.process.is_none()
        && !others.any(|o| o.sent > own.at || told(o))
        && moves
            .connections_after(this.asker(), own.at)
            .take_while(|used| used.at - own.at <= AT_ONCE)
            .any(|used| own.addresses.contains(&used.to))
}

/// Whether a lookup goes on although its process has connected: another thread did, for another lookup. A thread of
/// its own is in a wait, or its answer is still to come and in time.
fn still_waits(
    queries: &IdVec<QueryId, Exchange>,
    lookup: &Group,
    moves: &Moves,
    &Connect { at, by, .. }: &Connect,
    in_time: Timestamp,
) -> bool {
    let own = |tid: Option<u32>| lookup.tasks.iter().any(|t| t.tid == tid);
    if by.is_none() || lookup.tasks.is_empty() || own(by) {
        return false;
    }
    let waiting = |list: &Vec<Waited>| {
        let next = list.partition_point(|w| w.from <= at);
        next.checked_sub(1).is_some_and(|n| at < list[n].to)
    };
    let mut waits = lookup.tasks.iter().filter_map(|t| moves.waits.get(&t.tid));
    let mut answers = lookup.queries.iter().filter_map(|q| queries[*q].answer());
    waits.any(waiting) || answers.any(|a| at < a.at && a.at <= in_time)
}

/// The longest single wait of a stub resolver over UDP: c-ares' last, about 15 s (measured).
const UDP_PATIENCE: Span = Span::seconds(16);
/// TCP to a black-holed resolver hung 134.9 s (measured; `tcp_syn_retries` = 6).
const TCP_PATIENCE: Span = Span::seconds(140);

/// How many connects after a lookup are weighed: a busy service connects all day.
const MAX_CONNECTS: usize = 64;

/// A connect to a server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Connect {
    at: Timestamp,
    /// The thread that made it.
    by: Option<u32>,
    to: IpAddr,
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
    connections: HashMap<Asker, Vec<Connect>>,
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
                What::Call(call) => {
                    let tid = call.task.tid;
                    if is_move(&call.op) {
                        this.calls
                            .entry(tid)
                            .or_default()
                            .push((event.at, Act::Own));
                    }
                    let open =
                        matches!(call.op, Op::Wait { .. }) && call.outcome == Outcome::Unknown;
                    if open {
                        this.waiting.insert(tid);
                    } else {
                        this.waiting.remove(&tid);
                    }
                    this.wait(id, event.at, call);
                }
                What::Life(life) => {
                    let act = match life.change {
                        Change::Exited(_) => Act::Own,
                        Change::Killed(_) => Act::Killed(id),
                        _ => continue,
                    };
                    let list = this.calls.entry(life.task.tid).or_default();
                    list.push((event.at, act));
                }
                What::Packet(_) | What::Stack(_) => {}
            }
        }
        for c in connections.iter().filter(|c| c.role == Role::Server) {
            if let Some(at) = c.began() {
                this.connections
                    .entry(c.asker())
                    .or_default()
                    .push(Connect {
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

    /// Whether the thread that asked was in a wait when the trace ended.
    fn still_waiting(&self, last: &Exchange) -> bool {
        last.task
            .as_ref()
            .is_some_and(|t| self.waiting.contains(&t.tid))
    }

    /// What ended a lookup whose last wait timed out then.
    fn stopped(&self, evidence: &Evidence, last: &Exchange, at: Timestamp) -> Stop {
        match last.task.as_ref().map(|t| self.next_of(t, at)) {
            Some(None) if !outlasts(evidence, at) => Stop::Trace,
            // The next try begins with a socket: a log that ends there does not show that there was none.
            Some(Some((_, Act::Own))) if is_cut_after(evidence, last, at) => Stop::Trace,
            Some(Some((_, Act::Killed(by)))) => Stop::Signal(by),
            Some(None | Some((_, Act::Own))) | None => Stop::Client,
        }
    }

    /// The first wait for an answer to the last query of a lookup that ran into its timeout.
    fn timed_out(
        &self,
        queries: &IdVec<QueryId, Exchange>,
        lookup: &Group,
        last: &Exchange,
        limit: Timestamp,
    ) -> Option<Timestamp> {
        let sockets: HashSet<AssociationId> = lookup
            .queries
            .iter()
            .filter_map(|q| queries[*q].association)
            .collect();
        // A wait belongs to the descriptor in it.
        let its = |wait: &&Waited| match wait.socket {
            _ if sockets.is_empty() => true,
            Some(socket) => sockets.contains(&socket),
            None => sockets.iter().any(|a| self.sockets.list[*a].fd == wait.fd),
        };
        let since = last.sent - TOGETHER;
        let waits = lookup.tasks.iter().filter_map(|t| {
            let list = self.timeouts.get(&t.tid)?;
            Some(&list[list.partition_point(|w| w.from < since)..])
        });
        waits
            .flat_map(|list| list.iter().take_while(|w| w.from < limit))
            .filter(its)
            .map(|w| w.to)
            .filter(|to| *to > last.sent)
            .min()
    }

    /// The wait for a query, ended where its socket became readable although the trace shows nothing that was read: an
    /// answer or an error had come.
    fn read_unseen(&self, evidence: &Evidence, query: &Exchange, wait: Wait) -> Wait {
        let (Some(socket), Reply::None, None) = (query.association, &query.reply, query.packet)
        else {
            return wait;
        };
        let mut readable = None;
        for id in self.sockets.calls(socket) {
            let event = evidence.event(*id);
            let What::Call(call) = &event.what else {
                continue;
            };
            match &call.op {
                Op::Receive { .. } => return wait,
                Op::Wait {
                    fds,
                    ready,
                    timeout,
                } if event.at >= query.sent
                    && *timeout != Some(Span::ZERO)
                    && fds.iter().any(|fd| ready.contains(&fd.number)) =>
                {
                    readable = readable.or(Some(*id));
                }
                _ => {}
            }
        }
        let Some(id) = readable else { return wait };
        let event = evidence.event(id);
        let exited = evidence.call(id).and_then(|c| c.exited);
        let next = || next_of_thread(evidence, id).map(|next| evidence.event(next).at);
        let until = exited.or_else(next).unwrap_or(event.at);
        if until > wait.until + READING {
            return wait;
        }
        Wait {
            timed_out: wait.timed_out,
            until: until.max(query.sent),
            why: Why::Unseen,
        }
    }

    fn wait(&mut self, id: EventId, entered: Timestamp, call: &Call) {
        // A wait for one descriptor that returned nothing after at least a good part of a second is a
        // stub resolver's; event loops poll many, or for less.
        if let Op::Wait {
            timeout: Some(timeout),
            fds,
            ..
        } = &call.op
            && let [fd] = &fds[..]
            && *timeout >= Span::millis(500)
        {
            let wait = Waited {
                from: entered,
                to: call.exited.unwrap_or(entered + *timeout),
                fd: fd.number,
                socket: self.sockets.of(id),
            };
            let lists = if call.outcome == Outcome::Returned(0) {
                &mut self.timeouts
            } else {
                &mut self.waits
            };
            lists.entry(call.task.tid).or_default().push(wait);
        }
    }

    /// The last of the waits that the asking thread made for a query, before `until`.
    fn own_wait(&self, evidence: &Evidence, query: &Exchange, until: Timestamp) -> Option<OwnWait> {
        // A log without times has those of the packets, and they say no more than the packets.
        if query.answer().is_some() || !evidence.is_timed() {
            return None;
        }
        let tid = query.task.as_ref()?.tid;
        let fd = evidence.call(query.cause?.call?)?.op.fd()?.number;
        let since = query.sent - TOGETHER;
        let own = |list: Option<&Vec<Waited>>| {
            let list = list.map_or(&[][..], Vec::as_slice);
            let list = &list[list.partition_point(|w| w.from < since)..];
            let during = list.iter().take_while(|w| w.from < until);
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
    fn connections_after(&self, asker: Asker, at: Timestamp) -> impl Iterator<Item = &Connect> {
        let list = self.connections.get(&asker).map_or(&[][..], Vec::as_slice);
        let start = list.partition_point(|connect| connect.at < at);
        list[start..].iter().take(MAX_CONNECTS)
    }
}

/// Whether a call shows that its thread does something else now. Reading one answer while another is due,
/// polling, and the comings and goings of a runtime's scheduler do not.
fn is_move(op: &Op) -> bool {
    matches!(
        op,
        Op::Socket { .. }
            | Op::Connect { .. }
            | Op::Bind { .. }
            | Op::Send { .. }
            | Op::Close { .. }
            | Op::Exec { .. }
    )
}
