//! What a large input is made of: lookups and connections, each with the packets and calls that belong to it.

use super::Limits;
use crate::event::{Event, Op};
use crate::explain::Case;
use crate::explain::assemble;
use crate::explain::finding::{self, attempt};
use crate::explain::ledger::story::same_story;
use crate::explain::ledger::{Index, Subject, after_syn, window};
use crate::join::connect::{Connection, Ending, LONGEST_GAP, Role};
use crate::join::lookup::{Lookup, SAME_LOOKUP, Stop};
use crate::join::{
    AssociationId, ClientId, ConnectionId, EventId, Evidence, Id, Joined, LookupId, Origin, Query,
    State,
};
use crate::time::{Span, Timestamp};
use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};

/// How many lookups or connections of one kind stay: as many as a finding cites.
const ALIKE: usize = 20;
/// How many stay in all for being of some kind.
const OF_SOME_KIND: usize = 2_000;
/// How many lookups, and how many connections, stay for lying within the account of one that stays.
const WITHIN_ACCOUNTS: usize = 3_000;

/// How many packets and calls of one lookup or connection are its own. A flood of one SYN repeated is no connection.
const MAX_EVENTS: usize = 2_000;

/// A client connects so soon after its lookup.
pub const GRACE: Span = Span::seconds(2);

/// Linux repeats a SYN after one second, and then after twice the last gap (RFC 6298 section 2).
const FIRST_GAP: Span = Span::seconds(1);

/// How many attempts after a lookup are weighed to be the one that ended it.
const MAX_AFTER: usize = 16;

/// The ways in which an attempt fails.
const FAILURES: [fn(&Ending) -> bool; 5] = [
    |ending| matches!(ending, Ending::Refused),
    |ending| matches!(ending, Ending::Unreachable),
    Ending::is_timeout,
    Ending::lacks_syn,
    Ending::is_open,
];

/// A lookup with the connections that followed it, or a connection alone.
#[derive(Clone, Debug)]
pub struct Unit {
    /// When it began.
    pub first: Timestamp,
    /// When something last happened to it.
    pub last: Timestamp,
    /// Whether nothing more is to be expected of it.
    pub over: bool,
    /// It is not over, and nothing has answered it.
    pub waits: bool,
    /// A socket of it is open, and a later call on it would not be understood without.
    pub held: bool,
    /// Its own packets and calls.
    pub events: usize,
    /// It is retained whatever happens.
    pub stays: bool,
}

/// Whose an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// No lookup's and no connection's.
    Nobody,
    /// A unit's.
    Unit(u32),
    /// A socket's that several units may use.
    Socket(AssociationId),
}

/// Lookups and connections, and the events they are made of. Units are numbered as lookups, then as connections; a
/// connection that followed its lookup is part of that unit.
pub struct Units<'a> {
    pub case: &'a Case<'a>,
    pub events: &'a [Event],
    pub list: Vec<Unit>,
    /// The owner of each event.
    pub of: Vec<Owner>,
    /// The units that use each socket.
    pub users: Vec<Vec<u32>>,
    /// Sockets that no unit uses and that stay: those of name services that lie within an account, and of the first and the
    /// last event.
    pub services: HashSet<AssociationId>,
    pub now: Timestamp,
}

/// The unit of a connection.
pub fn of_connection(joined: &Joined, c: ConnectionId) -> usize {
    let own = joined.lookups.len() + c.position();
    let connection = &joined.connections[c];
    let followed = connection.lookup.filter(|l| {
        let began = connection.began().unwrap_or_default();
        began - joined.lookups[*l].ended <= GRACE
    });
    followed.map_or(own, of_lookup)
}

/// The unit of a lookup.
pub fn of_lookup(l: LookupId) -> usize {
    l.position()
}

/// The unit of a subject.
pub fn of_subject(joined: &Joined, subject: Subject) -> usize {
    match subject {
        Subject::Lookup(l) => of_lookup(l),
        Subject::Connection(c) => of_connection(joined, c),
    }
}

impl<'a> Units<'a> {
    /// Puts a case together.
    pub fn new(case: &'a Case<'a>) -> Self {
        let (events, joined) = (case.evidence.events, case.joined);
        let all = joined.lookups.len() + joined.connections.len();
        let mut this = Self {
            case,
            events,
            list: Vec::with_capacity(all),
            of: vec![Owner::Nobody; events.len()],
            users: vec![Vec::new(); joined.sockets.list.len()],
            services: HashSet::new(),
            now: case.evidence.end(),
        };
        this.lookups();
        this.connections();
        this.sockets();
        this.looks();
        this
    }

    fn lookups(&mut self) {
        let joined = self.case.joined;
        for lookup in &joined.lookups {
            let queries = || lookup.queries(joined);
            let now = self.now;
            let timed = self.case.evidence.is_timed();
            // Without times the order of the calls is all there is.
            let left = !timed && lookup.stop == Stop::Client;
            let over = queries().all(|q| {
                let closed = q.association.is_some_and(|a| !joined.sockets.is_open(a));
                is_settled(q) || now - q.sent > SAME_LOOKUP || left || !timed && closed
            });
            self.list.push(Unit {
                first: lookup.began,
                last: lookup.ended,
                over,
                waits: !over,
                held: false,
                events: 0,
                stays: false,
            });
            let unit = self.list.len() - 1;
            for q in queries() {
                let answer = q.answer().map(|a| a.event);
                let refusal = q.refusal().map(|r| r.event);
                let call = q.cause.and_then(|c| c.call).filter(|c| !self.opens(*c));
                let own = q.packet.into_iter().chain(answer).chain(refusal);
                self.owns(unit, own.chain(call));
                self.uses(unit, q.association);
            }
        }
    }

    fn connections(&mut self) {
        let joined = self.case.joined;
        for (c, connection) in joined.connections.entries() {
            let first = connection.began().or(connection.ended).unwrap_or_default();
            self.list.push(Unit {
                first,
                last: first,
                over: true,
                waits: false,
                held: false,
                events: 0,
                stays: false,
            });
            let unit = of_connection(joined, c);
            let own = connection.syns.iter().copied().chain(connection.ended_by);
            let call = connection.cause.and_then(|c| c.call);
            // A resolver's TCP connection may carry other lookups later.
            let shared = connection.role == Role::Resolver;
            self.owns(unit, own.chain(call.filter(|_| !shared)));
            self.uses(unit, connection.association);
            let socket = connection.association;
            let closed = socket.is_some_and(|a| !joined.sockets.is_open(a));
            let over = is_over(&self.case.evidence, connection, self.now)
                || closed && !self.case.evidence.is_timed();
            let whose = &mut self.list[unit];
            whose.over &= over;
            whose.waits |= !over && connection.outcome.is_open();
            whose.last = whose.last.max(connection.ended.unwrap_or(first));
        }
    }

    /// Gives the calls on sockets to the units that use these, and sockets that were opened for a connection to it.
    fn sockets(&mut self) {
        let joined = self.case.joined;
        let sockets = &joined.sockets;
        let mut to_server: HashMap<_, Vec<ConnectionId>> = HashMap::new();
        for (c, connection) in joined.connections.entries() {
            let key = (connection.process, connection.to);
            to_server.entry(key).or_default().push(c);
        }
        let mut next: HashMap<_, AssociationId> = HashMap::new();
        let ids: Vec<AssociationId> = sockets.list.ids().collect();
        for a in ids.into_iter().rev() {
            let socket = &sockets.list[a];
            let after = next.insert((socket.process, socket.fd), a);
            if self.users[a.position()].is_empty() {
                // getaddrinfo sorts addresses by connecting a datagram socket to each (RFC 6724).
                let soon = |c: &&ConnectionId| {
                    let began = joined.connections[**c].began().unwrap_or_default();
                    began >= socket.opened && began - socket.opened <= GRACE
                };
                let key = socket.peer.map(|peer| (Some(socket.process), peer));
                let list = key.and_then(|key| to_server.get(&key));
                let connection = list.and_then(|list| list.iter().find(soon));
                let mut units: Vec<u32> = connection
                    .and_then(|c| u32::try_from(of_connection(joined, *c)).ok())
                    .into_iter()
                    .collect();
                if let Some(after) = after.filter(|_| socket.reconnected) {
                    let soon =
                        |unit: &&u32| self.list[**unit as usize].first - socket.opened <= GRACE;
                    units.extend(self.users[after.position()].iter().filter(soon));
                }
                self.users[a.position()] = units;
            }
            let open = sockets.is_open(a);
            for n in 0..sockets.calls(a).len() {
                let call = sockets.calls(a)[n];
                if self.of[call.position()] == Owner::Nobody {
                    self.of[call.position()] = Owner::Socket(a);
                    // What one unit alone uses goes with it.
                    if let [unit] = self.users[a.position()][..] {
                        self.list[unit as usize].events += 1;
                    }
                }
            }
            // A connected stream's later calls say nothing more; a resolver's socket is asked through again.
            let asks = { socket.peer }.is_none_or(|p| self.case.evidence.is_dns_port(p.port));
            let last = { self.users[a.position()].iter() }
                .copied()
                .max_by_key(|unit| self.list[*unit as usize].last);
            if let (true, Some(last)) = (open && asks, last) {
                self.list[last as usize].held = true;
            }
        }
    }

    /// What was found out about whose a packet is goes with it.
    fn looks(&mut self) {
        for (look, packet) in self.case.evidence.owners.packets() {
            let owner = self.of[packet.position()];
            if let Owner::Unit(unit) = owner
                && self.of[look.position()] == Owner::Nobody
            {
                self.of[look.position()] = owner;
                self.list[unit as usize].events += 1;
            }
        }
    }

    /// Whether a call opens or ties a socket that later queries may use.
    fn opens(&self, call: EventId) -> bool {
        let call = self.case.evidence.call(call);
        call.is_some_and(|c| matches!(c.op, Op::Connect { .. }))
    }

    fn uses(&mut self, unit: usize, socket: Option<AssociationId>) {
        if let (Some(a), Ok(unit)) = (socket, u32::try_from(unit))
            && self.users[a.position()].last() != Some(&unit)
        {
            self.users[a.position()].push(unit);
        }
    }

    fn owns(&mut self, unit: usize, events: impl Iterator<Item = EventId>) {
        for event in events {
            let whose = &mut self.list[unit];
            if whose.events < MAX_EVENTS && self.of[event.position()] == Owner::Nobody {
                let at = self.events[event.position()].at;
                whose.events += 1;
                whose.last = whose.last.max(at);
                whose.first = whose.first.min(at);
                self.of[event.position()] = u32::try_from(unit).map_or(Owner::Nobody, Owner::Unit);
            }
        }
    }

    /// Retains the first ones, the slowest ones with what lies within their accounts, and some of every kind. Returns
    /// all subjects, the slowest first.
    pub fn protect(&mut self, index: &Index, limits: Limits) -> Vec<Subject> {
        let joined = self.case.joined;
        let subjects = assemble::by_delay(self.case, index);
        let slowest = &self.slowest(&subjects, limits.list)[..];
        let mut stay: Vec<usize> = slowest.iter().map(|s| of_subject(joined, *s)).collect();
        // Of a connection whose lookup is a unit of its own, that too: the account begins with it.
        stay.extend(slowest.iter().filter_map(|s| match s {
            Subject::Connection(c) => joined.connections[*c].lookup.map(of_lookup),
            Subject::Lookup(_) => None,
        }));
        let windows = slowest.iter();
        let windows = windows.filter_map(|s| window::bounds(self.case, index, *s));
        stay.extend(self.first_activities(windows.chain(self.under_way(limits.list))));
        stay.extend(self.stories(index, slowest));
        stay.extend(self.first(limits.list));
        stay.extend(self.samples());
        stay.extend(self.dearest_failures());
        stay.extend(self.at_the_ends());
        let within = self.within_accounts(index, slowest);
        stay.extend(within);
        for unit in stay {
            self.list[unit].stays = true;
        }
        let ended_by = self.ending_connections(index);
        for unit in ended_by {
            self.list[unit].stays = true;
        }
        subjects
    }

    /// The slowest of subjects that are sorted, as many of those that are over as of those under way: how long these will
    /// have taken is not known, and a client that gives up has not waited as long as its attempt is pending now.
    fn slowest(&self, subjects: &[Subject], most: usize) -> Vec<Subject> {
        let is_open = |subject: &Subject| match subject {
            Subject::Connection(c) => self.case.joined.connections[*c].outcome.is_open(),
            Subject::Lookup(_) => false,
        };
        let (open, over): (Vec<Subject>, Vec<Subject>) = subjects.iter().partition(|s| is_open(s));
        let over = over.into_iter().take(most);
        over.chain(open.into_iter().take(most)).collect()
    }

    /// The first lookups and connections, the client's own before others.
    fn first(&self, most: usize) -> Vec<usize> {
        let joined = self.case.joined;
        let lookups = |own: bool| {
            let of = joined.lookups.entries();
            of.filter(move |(_, l)| l.is_clients(joined) == own)
        };
        let connections = |own: bool| {
            let of = joined.connections.entries();
            of.filter(move |(_, c)| c.is_clients() == own)
        };
        let lookups = lookups(true).chain(lookups(false)).take(most);
        let connections = connections(true).chain(connections(false)).take(most);
        let mut list: Vec<usize> = lookups.map(|(l, _)| of_lookup(l)).collect();
        for (c, connection) in connections {
            list.push(of_connection(joined, c));
            list.extend(connection.lookup.map(of_lookup));
        }
        list
    }

    /// The lookups with the first query of anybody within each of these windows, which an account names.
    fn first_activities(
        &self,
        windows: impl Iterator<Item = (Timestamp, Timestamp)>,
    ) -> Vec<usize> {
        let joined = self.case.joined;
        if !self.case.evidence.has_trace() {
            return Vec::new();
        }
        let mut lookup_of = vec![None; joined.queries.len()];
        for (l, lookup) in joined.lookups.entries() {
            for q in &lookup.queries {
                lookup_of[q.position()] = Some(of_lookup(l));
            }
        }
        let first = |(from, to): (Timestamp, Timestamp)| {
            let start = joined.queries.partition_point(|q| q.sent < from);
            let queries = joined.queries.as_slice()[start..].iter().enumerate();
            let mut within = queries.take_while(|(_, q)| q.sent <= to);
            let (n, _) = within.find(|(_, q)| q.origin == Origin::Traced)?;
            lookup_of[start + n]
        };
        windows.filter_map(first).collect()
    }

    /// The windows that the client's own attempts will have had, if they end now, the longest first.
    fn under_way(&self, most: usize) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let attempts = self.case.joined.connections.iter();
        let open = attempts.filter(|x| x.role == Role::Server && x.outcome.is_open());
        // In order of time.
        let began = open.filter_map(|x| x.called).take(most);
        began.map(|began| (began, self.now))
    }

    /// The attempts that those of these subjects follow, and the next one after each: it has the time after the SYN in its own
    /// account.
    fn stories(&self, index: &Index, slowest: &[Subject]) -> Vec<usize> {
        let joined = self.case.joined;
        let mut list = Vec::new();
        for subject in slowest {
            let Subject::Connection(c) = *subject else {
                continue;
            };
            list.extend(window::earlier_attempts(self.case, index, c));
            let all = index.connections.get(&index.asker_of(self.case, *subject));
            let later = all.map_or(&[][..], |all| &all[all.partition_point(|o| *o <= c)..]);
            let near = later.iter().take(window::MAX_ATTEMPTS);
            let this = &joined.connections[c];
            list.extend(near.copied().find(|o| same_story(self.case, *o, this)));
        }
        list.into_iter().map(|c| of_connection(joined, c)).collect()
    }

    /// Units of the same askers that lie within the windows of these subjects: they may own a part of it.
    fn within_accounts(&mut self, index: &Index, slowest: &[Subject]) -> Vec<usize> {
        let joined = self.case.joined;
        let mut windows: HashMap<ClientId, Vec<(Timestamp, Timestamp)>> = HashMap::new();
        for subject in slowest {
            let asker = index.asker_of(self.case, *subject);
            if let Some((from, mut to)) = window::bounds(self.case, index, *subject) {
                if let Subject::Connection(c) = subject {
                    to = to + after_syn(&joined.connections[*c]).unwrap_or_default();
                }
                windows.entry(asker).or_default().push((from, to));
            }
        }
        // Any process's wait for a name service may own a part of any process's account.
        let all = Intervals::new(windows.values().flatten().copied().collect());
        let waits = joined
            .services
            .iter()
            .filter(|w| all.overlap(w.began, w.ended));
        let sockets = waits.filter_map(|w| joined.sockets.of(*w.calls.first()?));
        self.services.extend(sockets.take(WITHIN_ACCOUNTS));
        let windows: HashMap<ClientId, Intervals> = { windows.into_iter() }
            .map(|(asker, list)| (asker, Intervals::new(list)))
            .collect();
        let lies = |asker: ClientId, unit: usize| {
            let unit = &self.list[unit];
            let of = windows.get(&asker);
            of.is_some_and(|w| w.overlap(unit.first, unit.last))
        };
        let lookups = joined.lookups.ids().filter_map(|l| {
            let asker = index.asker_of_lookup(self.case, l);
            lies(asker, of_lookup(l)).then_some(of_lookup(l))
        });
        let connections = joined.connections.entries().filter_map(|(c, x)| {
            let unit = of_connection(joined, c);
            lies(x.asker(), unit).then_some(unit)
        });
        let lookups: Vec<usize> = lookups.take(WITHIN_ACCOUNTS).collect();
        { lookups.into_iter() }
            .chain(connections.take(WITHIN_ACCOUNTS))
            .collect()
    }

    /// The units of the first and of the last event, which stay, for they show how long the input ran: a unit that went
    /// without one of its events would be another one in the next turn.
    fn at_the_ends(&mut self) -> Vec<usize> {
        let mut list = Vec::new();
        for owner in [self.of.first(), self.of.last()].into_iter().flatten() {
            match *owner {
                Owner::Nobody => {}
                Owner::Unit(unit) => list.push(unit as usize),
                Owner::Socket(a) => {
                    self.services.insert(a);
                    list.extend(self.users[a.position()].iter().map(|unit| *unit as usize));
                }
            }
        }
        list
    }

    /// The connections that show when lookups that stay were over, where no answer does.
    fn ending_connections(&self, index: &Index) -> Vec<usize> {
        let joined = self.case.joined;
        let mut list = Vec::new();
        for (l, lookup) in joined.lookups.entries() {
            let waits = lookup.queries(joined).any(|q| q.answer().is_none());
            if !self.list[of_lookup(l)].stays || !waits {
                continue;
            }
            let asker = index.asker_of_lookup(self.case, l);
            let all = index.connections.get(&asker).map_or(&[][..], Vec::as_slice);
            let began = |c: &ConnectionId| joined.connections[*c].began().unwrap_or_default();
            let after = all.partition_point(|c| began(c) < lookup.began);
            let near = all[after..].iter().take(MAX_AFTER);
            let ended_by = near
                .filter(|c| joined.connections[**c].role == Role::Server)
                .find(|c| began(c) >= lookup.ended);
            list.extend(ended_by.map(|c| of_connection(joined, *c)));
        }
        list
    }

    /// The attempts that failed and took longest, as many of each outcome as there are findings about it.
    fn dearest_failures(&self) -> Vec<usize> {
        let joined = self.case.joined;
        let mut list = Vec::new();
        for is_of_kind in FAILURES {
            let of = joined.connections.entries();
            let mut failed: Vec<(Reverse<Span>, ConnectionId)> = of
                .filter(|(_, x)| is_of_kind(&x.outcome) && x.role == Role::Server)
                .filter_map(|(c, x)| Some((Reverse(attempt::lasted(x)?), c)))
                .collect();
            failed.sort_unstable();
            let dearest = failed.into_iter().take(finding::MAX_OF_A_KIND);
            list.extend(dearest.map(|(_, c)| of_connection(joined, c)));
        }
        list
    }

    /// The first few units of every kind.
    fn samples(&self) -> Vec<usize> {
        let joined = self.case.joined;
        let mut kinds: Vec<u64> = vec![0; self.list.len()];
        for (l, lookup) in joined.lookups.entries() {
            kinds[of_lookup(l)] = kind_of_lookup(joined, lookup);
        }
        for (c, connection) in joined.connections.entries() {
            let unit = of_connection(joined, c);
            kinds[unit] ^= kind_of_connection(connection);
        }
        let mut seen: HashMap<u64, usize> = HashMap::new();
        let mut list = Vec::new();
        for (unit, kind) in kinds.into_iter().enumerate() {
            let alike = seen.entry(kind).or_default();
            *alike += 1;
            if *alike <= ALIKE && self.list[unit].events > 0 && list.len() < OF_SOME_KIND {
                list.push(unit);
            }
        }
        list
    }
}

/// Spans of time, in order, those that touch made one.
pub struct Intervals(Vec<(Timestamp, Timestamp)>);

impl Intervals {
    /// Of spans in any order.
    pub fn new(mut list: Vec<(Timestamp, Timestamp)>) -> Self {
        list.sort_unstable();
        list.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        Self(list)
    }

    /// Whether some of them has a moment in common with this span.
    pub fn overlap(&self, from: Timestamp, to: Timestamp) -> bool {
        let next = self.0.partition_point(|(_, end)| *end < from);
        self.0.get(next).is_some_and(|(start, _)| *start <= to)
    }
}

/// Whether nothing more is to be expected of an attempt: it has an outcome, and twice its last gap between SYNs has
/// passed. That its descriptor was closed says nothing: others may hold the socket.
fn is_over(evidence: &Evidence, connection: &Connection, now: Timestamp) -> bool {
    let at = |e: &EventId| evidence.event(*e).at;
    let last = connection.syns.last().map(at);
    let gap = match &connection.syns[..] {
        [.., before, last] => (at(last) - at(before)).max(FIRST_GAP),
        _ => FIRST_GAP,
    };
    match connection.outcome {
        Ending::Connected | Ending::Refused | Ending::Unreachable | Ending::NoSyn(_) => {
            last.is_none_or(|last| now - last > gap + gap)
        }
        Ending::TimedOut(_) => last.is_none_or(|last| now - last > LONGEST_GAP),
        Ending::Open(_) => last.is_some_and(|last| now - last > LONGEST_GAP),
    }
}

/// Whether nothing more is to be expected of a query.
fn is_settled(q: &Query) -> bool {
    match &q.state {
        State::Answered(_) | State::NotReceived(..) => true,
        State::Unanswered(silence) => silence.refusal().is_some(),
        State::Open(_) | State::Unseen | State::NeverSent(_) => false,
    }
}

/// What findings may say of a lookup, in one number: whom it asked for what, and what became of it.
fn kind_of_lookup(joined: &Joined, lookup: &Lookup) -> u64 {
    let mut hasher = DefaultHasher::new();
    (lookup.outcome as u8, lookup.reverse.is_some()).hash(&mut hasher);
    (!lookup.searched.is_empty()).hash(&mut hasher);
    for q in lookup.queries(joined) {
        (q.resolver, q.transport, q.question.kind).hash(&mut hasher);
        let answer = q.answer().map(|a| (a.rcode, a.truncated, a.late));
        let refusal = q.refusal().map(|r| r.refused);
        (answer, refusal, q.is_open(), q.is_lost()).hash(&mut hasher);
    }
    hasher.finish()
}

/// The same for a connection.
fn kind_of_connection(connection: &Connection) -> u64 {
    let mut hasher = DefaultHasher::new();
    (connection.to, std::mem::discriminant(&connection.outcome)).hash(&mut hasher);
    (connection.syns.len() > 1, connection.origin).hash(&mut hasher);
    hasher.finish()
}
