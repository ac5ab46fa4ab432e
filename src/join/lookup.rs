//! Lookups: everything that the tasks of one process did to resolve one name or address.

pub(crate) mod giveup;
mod grouping;
mod implied;
#[cfg(test)]
mod tests;

use super::connect::{Connection, Ending, Role};
use super::{
    ConnectionId, Evidence, Id, IdVec, Joined, LookupId, ProcessId, Query, QueryId, State,
};
use crate::event::Task;
use crate::event::dns::{Name, Rcode, RecordType};
use crate::flow::{Endpoint, Transport};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;

/// One lookup.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The name as the application meant it: without a search domain, where that is known.
    pub name: Name,
    /// The address looked up, for a reverse lookup.
    pub reverse: Option<IpAddr>,
    /// Who asked.
    pub tasks: Vec<Task>,
    /// The asking process.
    pub process: Option<ProcessId>,
    /// Its queries, in order of time.
    pub queries: Vec<QueryId>,
    /// First query.
    pub began: Timestamp,
    /// When the client had its answer or gave up.
    pub ended: Timestamp,
    /// Addresses that were found.
    pub addresses: Vec<IpAddr>,
    /// What came of it.
    pub outcome: Outcome,
    /// Other names of the search list that were tried.
    pub searched: Vec<Name>,
}

impl Lookup {
    /// Its queries, in order of time.
    pub fn queries<'a>(&'a self, joined: &'a Joined) -> impl DoubleEndedIterator<Item = &'a Query> {
        self.queries_in(&joined.queries)
    }

    /// Its queries, in order of time, while the join is still at work.
    fn queries_in<'a>(
        &'a self,
        queries: &'a IdVec<QueryId, Query>,
    ) -> impl DoubleEndedIterator<Item = &'a Query> {
        self.queries.iter().map(|q| &queries[*q])
    }

    /// Whether it counts as the client's own, by its first query.
    pub fn is_clients(&self, joined: &Joined) -> bool {
        self.queries(joined).next().is_some_and(Query::is_clients)
    }
}

/// What came of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Some question was answered with records.
    Answered,
    /// All answers said that there is no such name or no such record.
    Negative,
    /// Nobody answered, or with errors only.
    Failed,
    /// Nobody can say.
    Open,
}

/// Groups queries into lookups, settles when the client stopped waiting for each query, and ties
/// connections to the lookup that gave their address.
pub fn group(
    evidence: &Evidence,
    queries: &mut IdVec<QueryId, Query>,
    connections: &mut IdVec<ConnectionId, Connection>,
) -> IdVec<LookupId, Lookup> {
    let mut lookups = grouping::group(evidence, queries);
    giveup::settle(evidence, queries, &mut lookups, connections);
    for lookup in lookups.iter_mut() {
        conclude(queries, lookup);
    }
    tie(queries, &lookups, connections);
    for c in connections.iter().filter(|c| c.role == Role::Resolver) {
        // A lookup lasts as long as the TCP connection that it went over to.
        if let Some(lookup) = c.lookup.and_then(|l| lookups.get_mut(l))
            && c.outcome != Ending::Connected
        {
            lookup.ended = lookup.ended.max(c.ended.unwrap_or(evidence.end()));
        }
    }
    lookups
}

/// Sums up a lookup from its queries.
fn conclude(queries: &IdVec<QueryId, Query>, lookup: &mut Lookup) {
    let mut records = false;
    let (mut negative, mut open, mut asked) = (false, false, false);
    for q in lookup.queries.iter().map(|q| &queries[*q]) {
        asked = true;
        match &q.state {
            // It came when the client had turned away.
            State::Answered(answer) if answer.late && answer.at > lookup.ended => {}
            State::Answered(answer) => {
                for address in answer.addresses.iter().filter(|a| !a.is_unspecified()) {
                    if !lookup.addresses.contains(address) {
                        lookup.addresses.push(*address);
                    }
                }
                records |= answer.records > 0 && answer.rcode == Rcode::NOERROR;
                negative |= answer.negative();
            }
            State::Open => open = true,
            State::Unanswered { .. } | State::NeverSent { .. } => {}
        }
    }
    // Most hold one or two, and a list that grew holds room for four.
    lookup.addresses.shrink_to_fit();
    lookup.queries.shrink_to_fit();
    let unanswered = lookup.queries_in(queries).any(|q| {
        !matches!(q.state, State::Answered(_))
            && !lookup.queries_in(queries).any(|o| {
                o.question.name.folded() == q.question.name.folded()
                    && o.question.kind == q.question.kind
                    && o.answer().is_some()
            })
    });
    lookup.outcome = if records {
        Outcome::Answered
    } else if negative && !unanswered {
        Outcome::Negative
    } else if open || !asked {
        Outcome::Open
    } else {
        Outcome::Failed
    };
}

/// A connection belongs to a lookup of its process that gave its address before: best one that was over
/// by then, best one of the same task, of these the last. Else it belongs to a reverse lookup of its
/// address. TCP to a resolver belongs to the lookup whose answer was cut.
fn tie(
    queries: &IdVec<QueryId, Query>,
    lookups: &IdVec<LookupId, Lookup>,
    connections: &mut IdVec<ConnectionId, Connection>,
) {
    let mut by_address: HashMap<IpAddr, Vec<LookupId>> = HashMap::new();
    for (l, lookup) in lookups.entries() {
        for address in lookup.addresses.iter().chain(&lookup.reverse) {
            by_address
                .entry(address.to_canonical())
                .or_default()
                .push(l);
        }
    }
    for c in connections.iter_mut() {
        let Some(at) = c.began() else {
            continue;
        };
        if c.role == Role::Resolver {
            c.lookup = cut_short(queries, lookups, c, at);
            continue;
        }
        let Some(list) = by_address.get(&c.to.ip) else {
            c.lookup = just_before(queries, lookups, c, at);
            continue;
        };
        let begun = list.partition_point(|l| lookups[*l].began <= at);
        let task = c.task.as_ref().map(|t| t.tid);
        c.lookup = list[..begun]
            .iter()
            .rev()
            .take(MAX_LOOKED_AT)
            .copied()
            .filter(|l| same_client(&lookups[*l], c))
            .max_by_key(|l| {
                let lookup = &lookups[*l];
                let same_task = lookup.tasks.iter().any(|t| Some(t.tid) == task);
                (
                    lookup.reverse.is_none(),
                    lookup.ended <= at,
                    same_task,
                    lookup.began,
                )
            });
    }
}

/// How soon after its lookup a connect follows whose address the lookup must have given.
const AT_ONCE: Span = Span::millis(200);

/// The lookup whose answer a log cut before its addresses (strace shows 32 bytes), when the connect
/// followed it at once in the same process.
fn just_before(
    queries: &IdVec<QueryId, Query>,
    lookups: &IdVec<LookupId, Lookup>,
    connection: &Connection,
    at: Timestamp,
) -> Option<LookupId> {
    before(lookups, at).find(|l| {
        let lookup = &lookups[*l];
        let unread = lookup.outcome == Outcome::Answered
            && lookup.addresses.is_empty()
            && lookup.reverse.is_none();
        let by_calls = lookup.queries_in(queries).all(|q| q.packet.is_none());
        let soon = lookup.ended <= at && at - lookup.ended <= AT_ONCE;
        connection.process.is_some()
            && same_client(lookup, connection)
            && unread
            && by_calls
            && soon
    })
}

/// How many lookups that gave an address are weighed for one connection: a busy service asks for the
/// same name all day, and only the last few can be its own.
const MAX_LOOKED_AT: usize = 64;

/// The last lookups that had begun by then, the latest first.
fn before(
    lookups: &IdVec<LookupId, Lookup>,
    at: Timestamp,
) -> impl Iterator<Item = LookupId> + use<> {
    let end = lookups.partition_point(|l| l.began <= at);
    (0..end).rev().take(MAX_LOOKED_AT).map(LookupId::at)
}

/// The lookup that a TCP connection to a resolver continues.
fn cut_short(
    queries: &IdVec<QueryId, Query>,
    lookups: &IdVec<LookupId, Lookup>,
    connection: &Connection,
    at: Timestamp,
) -> Option<LookupId> {
    let own = |l: &LookupId| same_client(&lookups[*l], connection);
    let asked = |l: &LookupId| {
        lookups[*l].queries_in(queries).any(|q| {
            let cut = q.transport == Transport::Udp
                && q.answer().is_some_and(|a| a.truncated && a.at <= at);
            q.resolver == connection.to
                && (cut || q.transport == Transport::Tcp && q.client == connection.from)
        })
    };
    before(lookups, at).find(|l| own(l) && asked(l))
}

/// Whether a lookup was made by the process (or, without a trace, from the host) that connects.
fn same_client(lookup: &Lookup, connection: &Connection) -> bool {
    lookup.process == connection.process
}

/// How a client asks, as far as it shows in one lookup.
pub fn parallel(queries: &IdVec<QueryId, Query>, lookup: &Lookup) -> bool {
    let mut first: HashMap<Option<RecordType>, (Timestamp, Endpoint)> = HashMap::new();
    lookup.queries_in(queries).any(|q| {
        if let Some((at, resolver)) = first.get(&q.question.kind) {
            *resolver != q.resolver && q.sent - *at < giveup::TOGETHER
        } else {
            first.insert(q.question.kind, (q.sent, q.resolver));
            false
        }
    })
}

/// How long a lookup may be silent before a new query for the same name is a new lookup: the longest
/// wait of any stub resolver measured (c-ares, about 15 s), and the resolver's TCP may hang longer.
pub(crate) const SAME_LOOKUP: Span = Span::seconds(31);
