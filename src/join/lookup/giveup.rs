//! When the client stopped waiting for each query.

use super::end::{self, LookupEnd};
use super::grouping::Group;
use super::moves::Moves;
use super::{Stop, became};
use crate::flow::Transport;
use crate::join::response::Exchange;
use crate::join::{Departure, Evidence, Id, IdVec, LookupId, Query, QueryId};
use crate::time::{Span, Timestamp};

/// Queries sent within this are one batch: A and AAAA of one `sendmmsg`, or one question to all
/// resolvers (musl). No stub resolver's timeout is shorter.
pub const TOGETHER: Span = Span::millis(50);

/// The longest single wait of a stub resolver over UDP: c-ares' last, about 15 s (measured).
pub const UDP_PATIENCE: Span = Span::seconds(16);
/// TCP to a black-holed resolver hung 134.9 s (measured; `tcp_syn_retries` = 6).
const TCP_PATIENCE: Span = Span::seconds(140);

/// What a call that received an answer may take between its poll and its return.
const READING: Span = Span::millis(5);

/// What a thread did longer than this after its last waiting call was no waiting.
const AFTER_LAST_WAIT: Span = Span::millis(500);

/// How soon a client connects to an address that it has been given.
const AT_ONCE: Span = Span::seconds(1);

/// How many later queries are looked at for one of the same lookup that no call shows.
const MAX_LATER: usize = 64;

/// The longest that a client waits for one query.
pub fn longest_wait(transport: Transport) -> Span {
    match transport {
        Transport::Udp => UDP_PATIENCE,
        Transport::Tcp => TCP_PATIENCE,
    }
}

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
        let lookup = LookupContext {
            evidence,
            exchanges: &exchanges,
            moves,
            group,
        };
        let end = end::of(&lookup);
        let of_group = group.queries.iter().enumerate();
        waits.extend(of_group.map(|(position, q)| (*q, lookup.wait(position, end))));
        let shown = evidence.coverage.shows_end(end.stop == Stop::Client);
        stops.push(match end.stop {
            _ if shown => Stop::Client,
            Stop::Client => Stop::Trace,
            stop => stop,
        });
    }
    waits.sort_unstable_by_key(|(q, _)| *q);
    let waits = waits.into_iter().map(|(_, wait)| wait);
    let settled = exchanges.into_iter().zip(waits);
    let queries = settled
        .map(|(e, wait)| became::query(evidence, e, wait))
        .collect();
    (queries, stops)
}

/// Until when the client waited for a query, and why no longer.
#[derive(Clone, Copy)]
pub struct Wait {
    /// When it stopped.
    pub until: Timestamp,
    /// Why then.
    pub why: Why,
    /// Whether the last waiting call for it timed out, where one is seen.
    pub timed_out: Option<bool>,
    /// The same was asked before or after it: its client had no answer.
    pub repeated: bool,
}

/// Why the client stopped waiting for a query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Why {
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

/// A lookup whose queries and replies are known, and what its client did meanwhile.
pub struct LookupContext<'a> {
    pub evidence: &'a Evidence<'a>,
    pub exchanges: &'a IdVec<QueryId, Exchange>,
    pub moves: &'a Moves<'a>,
    pub group: &'a Group,
}

impl<'a> LookupContext<'a> {
    /// Its queries, in order of time.
    pub fn queries(&self) -> impl DoubleEndedIterator<Item = &'a Exchange> + use<'a> {
        self.group.of(self.exchanges)
    }

    /// Its last query.
    pub fn last(&self) -> Option<&'a Exchange> {
        self.queries().next_back()
    }

    /// Its queries that ask what this one asks.
    fn same_question(&self, this: &Exchange) -> impl Iterator<Item = &'a Exchange> {
        self.queries().filter(|o| asks_the_same(this, o))
    }

    /// How long the client waited for a query. The wait ended at the first of these moments, and never before the query
    /// was sent:
    ///
    /// 1. the lookup was over;
    /// 2. the client had given up: it asked the same again, though not in one breath, or asked for another name;
    /// 3. a response to the same question came from another resolver that was asked in the same breath;
    /// 4. a response to the query, or an error about it, came;
    /// 5. of a query that only a connect shows: two of the longest single waits had passed. What lasted longer was
    ///    something else too;
    /// 6. a packet asked the same with the same id, which no call shows;
    /// 7. the last waiting call for it was over, if half a second or more had passed since. The log does not show what the
    ///    thread did then, and it was no waiting;
    /// 8. its socket became readable, if nothing shows what was read.
    ///
    /// 5 to 8 correct what 1 to 4 leave, each what the ones before it leave.
    fn wait(&self, position: usize, end: LookupEnd) -> Wait {
        let q = self.group.queries[position];
        let this = &self.exchanges[q];
        let (until, why) = self.replied(this, self.given_up(position, end));
        let until = self
            .most_implied(this)
            .map_or(until, |most| until.min(most));
        let until = self.asked_again_unseen(q, until).unwrap_or(until);
        let own = self.moves.own_wait(self.evidence, this, until);
        let left = own.filter(|own| until - own.to > AFTER_LAST_WAIT);
        let until = left.map_or(until, |own| own.to.max(this.sent));
        let readable = self.moves.read_unseen(self.evidence, this);
        let readable = readable.filter(|at| *at <= until + READING);
        Wait {
            until: readable.map_or(until, |at| at.max(this.sent)),
            why: readable.map_or(why, |_| Why::Unseen),
            timed_out: own.and_then(|own| own.timed_out),
            repeated: self
                .same_question(this)
                .any(|o| (o.sent - this.sent).abs() > TOGETHER),
        }
    }

    /// Conditions 1 and 2: how long the client waited for a query if nothing came back for it.
    fn given_up(&self, position: usize, end: LookupEnd) -> (Timestamp, Why) {
        let this = &self.exchanges[self.group.queries[position]];
        let later = || {
            let rest = self.group.queries[position + 1..].iter();
            rest.map(|q| &self.exchanges[*q])
        };
        let replaced = later()
            .filter(|o| asks_the_same(this, o))
            .find(|o| !in_one_breath(this, o));
        // A client that turns to another name is through with this one.
        let moved_on = later().find(|o| !same_name(this, o));
        let gave_up = [replaced, moved_on].into_iter().flatten();
        let gave_up = gave_up.map(|o| o.sent).min();
        let gave_up = gave_up.filter(|at| !self.is_accepted(this, *at));
        let latest = end.at.max(this.sent);
        let until = gave_up.unwrap_or(end.at).min(latest).max(this.sent);
        let why = gave_up.map_or(end.why, |_| Why::GaveUp);
        // No call shows that a host stopped waiting when nothing else happened: it takes what comes in time.
        let in_time = this
            .answer()
            .map(|a| a.at)
            .filter(|at| {
                !this.origin.is_traced() && *at - this.sent <= longest_wait(this.transport)
            })
            .filter(|_| why == Why::Over);
        (in_time.map_or(until, |at| until.max(at)), why)
    }

    /// Conditions 3 and 4: the same, by what came back.
    fn replied(&self, this: &Exchange, (given_up, why): (Timestamp, Why)) -> (Timestamp, Why) {
        let elsewhere = self.answered_elsewhere(this).filter(|at| *at < given_up);
        let (until, why) =
            elsewhere.map_or((given_up, why), |at| (at.max(this.sent), Why::Elsewhere));
        let left = this.departure == Departure::Left || !this.origin.is_traced();
        let error = this.refusal().map(|r| r.at);
        let error = error.filter(|at| left && *at < given_up);
        // A call shows an answer when it returns, which is a little later than when the wait ended.
        let slack = if this.packet.is_none() {
            READING
        } else {
            Span::ZERO
        };
        let reply = this.answer().map(|a| a.at).or(error);
        let reply = reply.filter(|at| *at <= until + slack);
        reply.map_or((until, why), |at| (at.max(this.sent), Why::Told))
    }

    /// Condition 3: when another resolver that was asked in the same breath gave a usable response.
    fn answered_elsewhere(&self, this: &Exchange) -> Option<Timestamp> {
        let rivals = self.same_question(this).filter(|o| {
            let (a, b) = if o.sent < this.sent {
                (*o, this)
            } else {
                (this, *o)
            };
            in_one_breath(a, b) && o.resolver != this.resolver
        });
        let usable = rivals.filter_map(|o| o.answer().filter(|a| a.usable()));
        usable.map(|a| a.at).min()
    }

    /// Condition 5.
    fn most_implied(&self, this: &Exchange) -> Option<Timestamp> {
        let patience = self.evidence.patience;
        this.implied.then(|| this.sent + patience + patience)
    }

    /// Condition 6: when a query of the same id and question left that no call of the trace shows. A trace may lack some
    /// calls of a lookup, and a stub resolver keeps the id for all of it.
    fn asked_again_unseen(&self, q: QueryId, until: Timestamp) -> Option<Timestamp> {
        let this = &self.exchanges[q];
        if this.packet.is_none() || !this.is_clients() || this.answer().is_some() {
            return None;
        }
        let later = self.exchanges.as_slice()[q.position() + 1..].iter();
        let mut later = later.take(MAX_LATER).take_while(|o| o.sent < until);
        let again = later.find(|o| {
            // Ids are chosen by chance: another host's may be the same.
            let host = |q: &Exchange| q.client.map(|c| c.ip);
            let same = o.id == this.id && o.question == this.question && host(o) == host(this);
            !o.is_clients() && same && o.sent - this.sent > TOGETHER
        });
        again.map(|o| o.sent)
    }

    /// Whether a host took an answer although it had asked once more before it came: it asked no more after it, nothing
    /// else had answered by then, and it connected to an address of the answer at once. A client may listen to all that it
    /// has asked (Windows, systems that ask the next resolver after a second).
    fn is_accepted(&self, this: &Exchange, gave_up: Timestamp) -> bool {
        let Some(own) = this.answer().filter(|a| a.at > gave_up && a.usable()) else {
            return false;
        };
        let answered = |o: &Exchange| o.answer().is_some_and(|a| a.usable() && a.at < own.at);
        let mut others = self.same_question(this);
        !this.origin.is_traced() && !others.any(|o| o.sent > own.at || answered(o)) && {
            self.moves.connections_after(this.asker(), own.at)
        }
        .take_while(|used| used.at - own.at <= AT_ONCE)
        .any(|used| own.addresses.contains(&used.to))
    }
}

fn asks_the_same(a: &Exchange, b: &Exchange) -> bool {
    a.question.kind == b.question.kind && same_name(a, b)
}

fn same_name(a: &Exchange, b: &Exchange) -> bool {
    a.question.name.0.eq_ignore_ascii_case(&b.question.name.0)
}

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
