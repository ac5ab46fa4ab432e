//! The later rounds of a lookup that only its connects show.
//!
//! glibc connects one socket per resolver and keeps it: a log of connects shows the first round, then a
//! silent gap as long as the rest of the timetable. Where the gap fits the timetable, the queries of the
//! later rounds are put where the timetable says; they stay marked as implied.

use super::grouping::Group;
use crate::event::Task;
use crate::join::response::{Exchange, Reply};
use crate::join::{Asked, Departure, Evidence, Id, IdVec, LookupId, QueryId};
use crate::time::{SECOND, Span, Timestamp};
use crate::timetable::{self, Patience};

/// How far a gap may be off the timetable: strace stops the client at every call.
const SLACK: Span = Span::millis(600);

/// Adds the queries of later rounds to lookups of which only connects are known. `next` gives a task's next
/// sign of life at or after a moment. Queries stay in order of time.
pub fn complete(
    evidence: &Evidence,
    queries: &mut IdVec<QueryId, Exchange>,
    lookups: &mut IdVec<LookupId, Group>,
    next: impl Fn(&Task, Timestamp) -> Option<Timestamp>,
) {
    let known = queries.len();
    for lookup in lookups.iter_mut() {
        let more = later_rounds(evidence, queries, lookup, &next);
        for query in more {
            let id = queries.push(query);
            lookup.queries.push(id);
        }
    }
    if queries.len() > known {
        reorder(queries, lookups);
    }
}

fn later_rounds(
    evidence: &Evidence,
    queries: &IdVec<QueryId, Exchange>,
    lookup: &Group,
    next: &impl Fn(&Task, Timestamp) -> Option<Timestamp>,
) -> Vec<Exchange> {
    let first: Vec<&Exchange> = lookup.of(queries).collect();
    let Some(last) = first.last().filter(|_| first.iter().all(|q| q.implied)) else {
        return Vec::new();
    };
    let patience = Patience {
        timeout: evidence.patience.0 / SECOND,
        attempts: evidence.attempts,
    };
    let waits: Vec<Span> = (0..first.len())
        .map(|i| timetable::glibc::wait(patience, i, first.len()))
        .collect();
    let slack = SLACK + evidence.resolution();
    let fits = |gap: Span, wait: Span| (gap - wait).abs() <= slack;
    if !first
        .windows(2)
        .zip(&waits)
        .all(|(pair, wait)| fits(pair[1].sent - pair[0].sent, *wait))
    {
        return Vec::new();
    }
    let rounds = patience.attempts.saturating_sub(1);
    let rest: Span = waits.iter().copied().sum::<Span>();
    let total =
        waits[waits.len() - 1] + Span(rest.0.saturating_mul(i64::try_from(rounds).unwrap_or(0)));
    let moved = last
        .task
        .as_ref()
        .and_then(|t| next(t, last.sent + evidence.resolution() + Span(1)));
    if !moved.is_some_and(|at| fits(at - last.sent, total)) {
        return Vec::new();
    }
    let mut more = Vec::new();
    let mut at = last.sent + waits[waits.len() - 1];
    for _ in 0..rounds {
        for (query, wait) in first.iter().zip(&waits) {
            more.push(Exchange {
                asked: Asked {
                    sent: at,
                    ..query.asked.clone()
                },
                departure: Departure::Left,
                reply: Reply::None,
                foreign: None,
            });
            at = at + *wait;
        }
    }
    more
}

/// Puts queries back into order of time and follows them in the lookups.
fn reorder(queries: &mut IdVec<QueryId, Exchange>, lookups: &mut IdVec<LookupId, Group>) {
    let mut order: Vec<QueryId> = queries.ids().collect();
    order.sort_by_key(|q| (queries[*q].sent, *q));
    let mut place: IdVec<QueryId, QueryId> = order.clone().into();
    for (new, old) in order.iter().enumerate() {
        place[*old] = QueryId::at(new);
    }
    // Stable, so it agrees with the order above.
    queries.sort_by_key(|q| q.sent);
    for lookup in lookups.iter_mut() {
        for q in &mut lookup.queries {
            *q = place[*q];
        }
        lookup.queries.sort_unstable();
    }
}
