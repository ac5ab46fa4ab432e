//! The resolver table: messages counted per resolver, transport and origin.

use super::{Case, cite};
use crate::event::dns::RecordType;
use crate::flow::{Endpoint, Transport};
use crate::join::{AssociationId, Origin, Query, State};
use crate::report;
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many tasks one row names.
const MAX_TASKS: usize = 20;

/// One row's key, in the order of the table.
type Key = (Origin, Endpoint, Transport);

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
    let mut sent: Vec<&Query> = queries.iter().copied().filter(|q| q.on_wire()).collect();
    let mut rcodes: BTreeMap<String, u64> = BTreeMap::new();
    let mut rtts: Vec<Span> = Vec::new();
    for q in &sent {
        if let Some(answer) = q.answer() {
            *rcodes.entry(answer.rcode.to_string()).or_default() += 1;
            rtts.push(answer.at - q.sent);
        }
    }
    rtts.sort_unstable();
    let (transactions, transactions_unanswered) = transactions(&mut sent);
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
        transactions,
        transactions_unanswered,
        rcodes,
        rtt_s: report::Rtt {
            median: median(&rtts).map(|s| cite::seconds(s.as_seconds())),
            max: rtts.last().map(|s| cite::seconds(s.as_seconds())),
        },
        waited_s: cite::seconds(waited(queries).as_seconds()),
        asked_by: tasks.into_iter().collect(),
    }
}

/// How many transactions these queries are, and how many of them got no answer. Sorted rather than collected: keys would
/// take more memory than all else in a report.
fn transactions(queries: &mut [&Query]) -> (u64, u64) {
    let order = |a: &Query, b: &Query| {
        transaction(a)
            .cmp(&transaction(b))
            .then_with(|| folded(a).cmp(folded(b)))
    };
    queries.sort_unstable_by(|a, b| order(a, b));
    let groups = || queries.chunk_by(|a, b| order(a, b).is_eq());
    let unanswered = groups().filter(|group| group.iter().all(|q| q.answer().is_none()));
    (groups().count() as u64, unanswered.count() as u64)
}

/// What makes queries one transaction, but for their name.
fn transaction(
    q: &Query,
) -> (
    Option<Endpoint>,
    Option<AssociationId>,
    Option<u16>,
    Option<RecordType>,
) {
    // Where no call tells the socket, its end on the wire does.
    let association = q
        .association
        .filter(|_| q.client.is_none() || q.origin == Origin::Traced);
    (q.client, association, q.id, q.question.kind)
}

/// The name in lower case.
fn folded(q: &Query) -> impl Iterator<Item = u8> {
    q.question.name.0.bytes().map(|b| b.to_ascii_lowercase())
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
