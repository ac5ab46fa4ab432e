//! What a large capture is made of, and what of it may go.

use crate::event::{Event, Packet, What};
use crate::explain::Case;
use crate::explain::assemble::{self, Limits};
use crate::explain::ledger::{Index, Subject};
use crate::join::connect::{Connection, Ending, LONGEST_GAP};
use crate::join::lookup::{Lookup, SAME_LOOKUP};
use crate::join::{ConnectionId, EventId, Id, Joined, LookupId, Query, State};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// How many lookups or connections of one kind stay: as many as a finding cites.
const ALIKE: usize = 20;
/// How many stay in all for being of some kind.
const OF_SOME_KIND: usize = 2_000;

/// How many packets of one lookup or connection are its own. A flood of one SYN repeated is no connection.
const MAX_PACKETS: usize = 2_000;

/// A client connects so soon after its lookup.
const GRACE: Span = Span::seconds(2);

/// The unit of a connection.
pub fn of_connection(joined: &Joined, c: ConnectionId) -> usize {
    let own = joined.lookups.len() + c.position();
    joined.connections[c].lookup.map_or(own, of_lookup)
}

/// The unit of a lookup.
pub fn of_lookup(l: LookupId) -> usize {
    l.position()
}

/// What is evicted.
pub struct Evicted {
    /// By event.
    pub events: Vec<bool>,
    /// By lookup, then by connection.
    pub units: Vec<bool>,
    /// Units that were not over.
    pub unfinished: usize,
    /// SYNs beyond those that an attempt may have.
    pub repeated: usize,
}

/// A lookup with the connections that it gave, or a connection alone.
struct Unit {
    /// When something last happened to it.
    last: Timestamp,
    /// Whether nothing more is to be expected of it.
    over: bool,
    packets: usize,
    stays: bool,
}

/// Lookups and connections, and the packets they are made of. Units are numbered as lookups, then as connections; a
/// connection with a lookup is part of that unit.
pub struct Units<'a> {
    events: &'a [Event],
    joined: &'a Joined,
    list: Vec<Unit>,
    /// The unit of an event.
    of: Vec<Option<u32>>,
    now: Timestamp,
}

impl<'a> Units<'a> {
    /// Puts a case together.
    pub fn new(case: &Case<'a>) -> Self {
        let (events, joined) = (case.evidence.events, case.joined);
        let now = case.evidence.end();
        let all = joined.lookups.len() + joined.connections.len();
        let mut this = Self {
            events,
            joined,
            list: Vec::with_capacity(all),
            of: vec![None; events.len()],
            now,
        };
        for lookup in &joined.lookups {
            let queries = || lookup.queries(joined);
            let over = queries().all(|q| is_settled(q) || now - q.sent > SAME_LOOKUP);
            this.list.push(Unit {
                last: lookup.ended,
                over,
                packets: 0,
                stays: false,
            });
            let unit = this.list.len() - 1;
            for q in queries() {
                let answer = q.answer().map(|a| a.event);
                let refusal = q.refusal().map(|r| r.event);
                this.owns(unit, q.packet.into_iter().chain(answer).chain(refusal));
            }
        }
        for (c, connection) in joined.connections.entries() {
            this.list.push(Unit {
                last: Timestamp::default(),
                over: true,
                packets: 0,
                stays: false,
            });
            let unit = of_connection(joined, c);
            let syns = connection.syns.iter().copied();
            this.owns(unit, syns.chain(connection.ended_by));
            let last = connection.syns.last().map(|e| case.evidence.event(*e).at);
            let over = match connection.outcome {
                Ending::Connected | Ending::Refused | Ending::Unreachable => true,
                _ => last.is_none_or(|at| now - at > LONGEST_GAP),
            };
            this.list[unit].over &= over;
        }
        this
    }

    fn owns(&mut self, unit: usize, events: impl Iterator<Item = EventId>) {
        for event in events {
            let whose = &mut self.list[unit];
            if whose.packets < MAX_PACKETS && self.of[event.position()].is_none() {
                whose.packets += 1;
                whose.last = whose.last.max(self.events[event.position()].at);
                self.of[event.position()] = u32::try_from(unit).ok();
            }
        }
    }

    /// Keeps the first ones, the slowest ones and some of every kind. Returns all subjects, the slowest first.
    pub fn protect(&mut self, case: &Case, limits: Limits) -> Vec<Subject> {
        let joined = self.joined;
        let subjects = assemble::by_delay(case, &Index::new(case));
        let slowest = subjects.iter().take(limits.list).map(|s| match s {
            Subject::Lookup(l) => of_lookup(*l),
            Subject::Connection(c) => of_connection(joined, *c),
        });
        let first = 0..joined.lookups.len().min(limits.list);
        let reached = { joined.connections.ids() }
            .take(limits.list)
            .map(|c| of_connection(joined, c));
        let mut stay: Vec<usize> = slowest.chain(first).chain(reached).collect();
        stay.extend(self.samples());
        for unit in stay {
            self.list[unit].stays = true;
        }
        subjects
    }

    /// The first few units of every kind.
    fn samples(&self) -> Vec<usize> {
        let mut kinds: Vec<u64> = vec![0; self.list.len()];
        for (l, lookup) in self.joined.lookups.entries() {
            kinds[of_lookup(l)] = kind_of_lookup(self.joined, lookup);
        }
        for (c, connection) in self.joined.connections.entries() {
            let unit = of_connection(self.joined, c);
            kinds[unit] ^= kind_of_connection(connection);
        }
        let mut seen: HashMap<u64, usize> = HashMap::new();
        let mut list = Vec::new();
        for (unit, kind) in kinds.into_iter().enumerate() {
            let alike = seen.entry(kind).or_default();
            *alike += 1;
            if *alike <= ALIKE && self.list[unit].packets > 0 && list.len() < OF_SOME_KIND {
                list.push(unit);
            }
        }
        list
    }

    /// Chooses units and loose packets until so many packets go: first what is over, of this the oldest.
    pub fn choose(&self, surplus: usize, horizon: Timestamp) -> Evicted {
        let settled = |over: bool, last: Timestamp| over && self.now - last > GRACE;
        let mut list: Vec<(bool, Timestamp, Option<usize>, usize)> = Vec::new();
        for (u, unit) in self.list.iter().enumerate() {
            if !unit.stays && unit.packets > 0 && unit.last <= horizon {
                list.push((
                    !settled(unit.over, unit.last),
                    unit.last,
                    Some(u),
                    unit.packets,
                ));
            }
        }
        // The first and the last packet show how long the capture ran.
        let inner = 1..self.events.len().saturating_sub(1);
        let loose = inner.filter(|e| self.of[*e].is_none() && self.events[*e].at <= horizon);
        for event in loose {
            let at = self.events[event].at;
            list.push((!settled(true, at), at, None, event));
        }
        list.sort_unstable();
        let mut gone = Evicted {
            events: vec![false; self.events.len()],
            units: vec![false; self.list.len()],
            unfinished: 0,
            repeated: 0,
        };
        let mut packets = 0;
        for (pending, _, unit, n) in list {
            if packets >= surplus {
                break;
            }
            if let Some(unit) = unit {
                gone.units[unit] = true;
                gone.unfinished += usize::from(pending && !self.list[unit].over);
                packets += n;
            } else {
                gone.events[n] = true;
                gone.repeated += usize::from(is_syn(&self.events[n]));
                packets += 1;
            }
        }
        let ends = [0, self.events.len() - 1];
        for (event, unit) in self.of.iter().enumerate() {
            if let Some(unit) = unit
                && !ends.contains(&event)
            {
                gone.events[event] = gone.units[*unit as usize];
            }
        }
        gone
    }
}

fn is_syn(event: &Event) -> bool {
    matches!(&event.what, What::Packet(Packet::Tcp { flags, .. }) if flags.syn && !flags.ack)
}

/// Whether nothing more is to be expected of a query.
fn is_settled(q: &Query) -> bool {
    match &q.state {
        State::Answered(_) => true,
        State::Unanswered(silence) => silence.refusal().is_some(),
        State::Open | State::Unseen | State::NeverSent(_) => false,
    }
}

/// What findings may tell of a lookup, in one number: whom it asked for what, and what became of it.
fn kind_of_lookup(joined: &Joined, lookup: &Lookup) -> u64 {
    let mut hasher = DefaultHasher::new();
    (lookup.outcome as u8, lookup.reverse.is_some()).hash(&mut hasher);
    (!lookup.searched.is_empty()).hash(&mut hasher);
    for q in lookup.queries(joined) {
        (q.resolver, q.transport, q.question.kind).hash(&mut hasher);
        let answer = q.answer().map(|a| (a.rcode, a.truncated, a.late));
        let refusal = q.refusal().map(|r| r.refused);
        (answer, refusal, q.is_open()).hash(&mut hasher);
    }
    hasher.finish()
}

/// The same for a connection.
fn kind_of_connection(connection: &Connection) -> u64 {
    let mut hasher = DefaultHasher::new();
    (connection.to, connection.outcome as u8).hash(&mut hasher);
    (connection.syns.len() > 1).hash(&mut hasher);
    hasher.finish()
}
