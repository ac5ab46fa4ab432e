//! Lookups: everything that the tasks of one process did to resolve one name or address.

mod giveup;
mod grouping;

use super::connect::{Connection, Role};
use super::{Evidence, ProcessId, Query, State};
use crate::event::Task;
use crate::event::dns::{Name, RecordType};
use crate::flow::Endpoint;
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
    pub queries: Vec<usize>,
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
    queries: &mut [Query],
    connections: &mut [Connection],
) -> Vec<Lookup> {
    let mut lookups = grouping::group(evidence, queries);
    giveup::settle(evidence, queries, &mut lookups, connections);
    for lookup in &mut lookups {
        conclude(queries, lookup);
    }
    tie(&lookups, connections);
    lookups
}

/// Sums up a lookup from its queries.
fn conclude(queries: &[Query], lookup: &mut Lookup) {
    let mut records = false;
    let (mut negative, mut open, mut asked) = (false, false, false);
    for q in lookup.queries.iter().map(|q| &queries[*q]) {
        asked = true;
        match &q.state {
            State::Answered(answer) => {
                for address in answer.addresses.iter().filter(|a| !a.is_unspecified()) {
                    if !lookup.addresses.contains(address) {
                        lookup.addresses.push(*address);
                    }
                }
                records |= answer.records > 0 && answer.rcode.0 == 0;
                negative |= answer.negative();
            }
            State::Open => open = true,
            State::Unanswered { .. } | State::NeverSent { .. } => {}
        }
    }
    let unanswered = lookup.queries.iter().any(|q| {
        let q = &queries[*q];
        !matches!(q.state, State::Answered(_))
            && !lookup.queries.iter().any(|o| {
                let o = &queries[*o];
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

/// A connection belongs to the last lookup of its process that gave its address and began before it;
/// else to a reverse lookup of its address.
fn tie(lookups: &[Lookup], connections: &mut [Connection]) {
    let mut by_address: HashMap<IpAddr, Vec<usize>> = HashMap::new();
    for (l, lookup) in lookups.iter().enumerate() {
        for address in lookup.addresses.iter().chain(&lookup.reverse) {
            by_address
                .entry(address.to_canonical())
                .or_default()
                .push(l);
        }
    }
    for c in connections.iter_mut().filter(|c| c.role != Role::Resolver) {
        let Some(list) = by_address.get(&c.to.ip) else {
            continue;
        };
        let Some(at) = c.called.or(c.first_syn) else {
            continue;
        };
        let own = |l: &&usize| lookups[**l].began <= at && same_client(&lookups[**l], c);
        let forward = list
            .iter()
            .rev()
            .filter(own)
            .find(|l| lookups[**l].reverse.is_none());
        c.lookup = forward.or_else(|| list.iter().rev().find(own)).copied();
    }
}

/// Whether a lookup was made by the process (or, without a trace, from the host) that connects.
fn same_client(lookup: &Lookup, connection: &Connection) -> bool {
    lookup.process == connection.process
}

/// How a client asks, as far as it shows in one lookup.
pub fn parallel(queries: &[Query], lookup: &Lookup) -> bool {
    let mut first: HashMap<Option<RecordType>, (Timestamp, Endpoint)> = HashMap::new();
    lookup.queries.iter().any(|q| {
        let q = &queries[*q];
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
