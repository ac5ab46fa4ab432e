//! The resolver table: messages counted per resolver, transport and origin.

use super::{Case, cite};
use crate::flow::{Endpoint, Transport};
use crate::join::{AssociationId, Origin, Query, State};
use crate::report;
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many tasks one row names.
const MAX_TASKS: usize = 20;

/// One row's key, in the order of the table.
type Key = (Origin, Endpoint, Transport);
/// What makes queries one transaction.
type Transaction = (
    Option<Endpoint>,
    Option<AssociationId>,
    Option<u16>,
    Box<str>,
    Option<u16>,
);

/// The rows, those of traced tasks first.
pub fn rows(case: &Case) -> Vec<report::Resolver> {
    let mut groups: BTreeMap<Key, Vec<&Query>> = BTreeMap::new();
    let mut order: HashMap<Key, usize> = HashMap::new();
    for query in &case.joined.queries {
        let key = (query.origin, query.resolver, query.transport);
        let next = order.len();
        order.entry(key).or_insert(next);
        groups.entry(key).or_default().push(query);
    }
    let mut rows: Vec<(Origin, usize, report::Resolver)> = groups
        .into_iter()
        .map(|(key, queries)| (key.0, order[&key], row(key, &queries)))
        .collect();
    rows.sort_by_key(|(origin, first, _)| (*origin, *first));
    rows.into_iter().map(|(_, _, row)| row).collect()
}

fn row((origin, resolver, transport): Key, queries: &[&Query]) -> report::Resolver {
    let count = |test: &dyn Fn(&Query) -> bool| queries.iter().filter(|q| test(q)).count() as u64;
    let sent: Vec<&Query> = queries.iter().copied().filter(|q| q.on_wire()).collect();
    let mut rcodes: BTreeMap<String, u64> = BTreeMap::new();
    let mut rtts: Vec<Span> = Vec::new();
    let mut transactions: HashMap<Transaction, bool> = HashMap::new();
    for q in &sent {
        if let Some(answer) = q.answer() {
            *rcodes.entry(answer.rcode.to_string()).or_default() += 1;
            rtts.push(answer.at - q.sent);
        }
        let key = (
            q.client,
            if q.client.is_some() && origin != Origin::Traced {
                None
            } else {
                q.association
            },
            q.id,
            q.question.name.folded().0,
            q.question.kind.map(|k| k.0),
        );
        *transactions.entry(key).or_default() |= q.answer().is_some();
    }
    rtts.sort_unstable();
    let mut tasks: BTreeSet<report::Task> = queries
        .iter()
        .filter_map(|q| q.task.as_ref())
        .map(cite::task)
        .collect();
    while tasks.len() > MAX_TASKS {
        tasks.pop_last();
    }
    report::Resolver {
        address: resolver.ip.to_string(),
        port: resolver.port,
        transport: transport.to_string(),
        origin: match origin {
            Origin::Traced => "traced",
            Origin::Untraced => "untraced",
            Origin::Unknown => "unknown",
        }
        .into(),
        queries: sent.len() as u64,
        answered: count(&|q| q.answer().is_some()),
        unanswered: count(&|q| matches!(q.state, State::Unanswered { .. })),
        open: count(&|q| q.state == State::Open),
        refused: count(&|q| matches!(q.state, State::Unanswered { refused: Some(_) })),
        late: count(&|q| q.answer().is_some_and(|a| a.late)),
        never_sent: count(&|q| !q.on_wire() && !q.implied),
        transactions: transactions.len() as u64,
        transactions_unanswered: transactions.values().filter(|answered| !**answered).count()
            as u64,
        rcodes,
        rtt_s: report::Rtt {
            median: median(&rtts).map(|s| cite::seconds(s.as_seconds())),
            max: rtts.last().map(|s| cite::seconds(s.as_seconds())),
        },
        waited_s: cite::seconds(waited(queries).as_seconds()),
        asked_by: tasks.into_iter().collect(),
    }
}

/// The middle value; of an even number the mean of both.
fn median(sorted: &[Span]) -> Option<Span> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(Span(i64::midpoint(sorted[middle - 1].0, sorted[middle].0))),
    }
}

/// Time during which somebody waited for these queries: overlapping waits count once.
pub fn waited(queries: &[&Query]) -> Span {
    let mut spans: Vec<(Timestamp, Timestamp)> =
        queries.iter().map(|q| (q.sent, q.until)).collect();
    spans.sort_unstable();
    let mut total = Span::ZERO;
    let mut reached = Timestamp(i64::MIN);
    for (from, to) in spans {
        let from = from.max(reached);
        if to > from {
            total = total + (to - from);
            reached = to;
        }
    }
    total
}
