//! The resolver table: messages counted per resolver, transport and origin.

use super::{Case, cite};
use crate::event::dns::RecordType;
use crate::flow::{Endpoint, host};
use crate::join::{AssociationId, Origin, Query, State};
use crate::report;
use crate::time::Span;
use crate::totals::times::Waits;
use crate::totals::{ResolverCounts, ResolverKey};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How many tasks one row names.
const MAX_TASKS: usize = 20;

/// The row of a query.
pub fn key(query: &Query) -> ResolverKey {
    let origin = match query.origin {
        Origin::Traced => report::Origin::Traced,
        Origin::Watched => report::Origin::Watched,
        Origin::Untraced => report::Origin::Untraced,
        Origin::Unattributed => report::Origin::Unattributed,
        Origin::Unknown | Origin::NotAttributable => report::Origin::Unknown,
    };
    (origin, query.resolver, query.transport)
}

/// The rows, those of traced tasks first, then in the order in which their resolvers were asked.
pub fn rows(case: &Case) -> Vec<report::Resolver> {
    let mut groups: BTreeMap<ResolverKey, Vec<&Query>> = BTreeMap::new();
    let mut order: HashMap<ResolverKey, usize> = HashMap::new();
    for query in &case.joined.queries {
        let next = order.len();
        order.entry(key(query)).or_insert(next);
        groups.entry(key(query)).or_default().push(query);
    }
    for key in case.totals.rows() {
        groups.entry(key).or_default();
    }
    let mut rows: Vec<(report::Origin, usize, report::Resolver)> = groups
        .into_iter()
        .map(|(key, queries)| {
            let mut counts = count(&queries);
            if let Some(evicted) = case.totals.counts(&key) {
                counts.add(evicted);
            }
            let first = order.get(&key).copied().unwrap_or(usize::MAX);
            (key.0, first, row(case, key, &queries, &counts))
        })
        .collect();
    rows.sort_by_key(|(origin, first, _)| (*origin, *first));
    rows.into_iter().map(|(_, _, row)| row).collect()
}

fn row(
    case: &Case,
    (origin, resolver, transport): ResolverKey,
    queries: &[&Query],
    counts: &ResolverCounts,
) -> report::Resolver {
    let mut tasks: BTreeSet<report::Task> = queries
        .iter()
        .filter_map(|q| q.task.as_ref())
        .map(cite::task)
        .collect();
    while tasks.len() > MAX_TASKS {
        tasks.pop_last();
    }
    let seconds = |s: Span| cite::known(case, s);
    report::Resolver {
        address: host(resolver.ip),
        port: resolver.port,
        transport: cite::transport(transport),
        origin,
        queries: Some(counts.sent),
        answered: Some(counts.answered),
        unanswered: Some(counts.unanswered),
        open: Some(counts.open),
        refused: Some(counts.refused),
        late: Some(counts.late),
        not_received: Some(counts.not_received),
        never_sent: Some(counts.never_sent),
        transactions: Some(counts.transactions),
        transactions_unanswered: Some(counts.transactions_unanswered),
        rcodes: counts
            .rcodes
            .iter()
            .map(|(rcode, n)| (rcode.to_string(), *n))
            .collect(),
        rtt_s: report::Rtt {
            median: counts.times.median().and_then(seconds),
            max: counts.times.longest().and_then(seconds),
        },
        waited_s: seconds(counts.waits.total()),
        asked_by: tasks.into_iter().collect(),
    }
}

/// Counts the queries of one row.
pub fn count(queries: &[&Query]) -> ResolverCounts {
    let mut this = ResolverCounts::default();
    let mut sent: Vec<&Query> = Vec::new();
    for q in queries {
        this.never_sent += u64::from(!q.on_wire() && (!q.implied || q.refusal().is_some()));
        this.open += u64::from(q.is_open());
        if let State::Unanswered(silence) = &q.state {
            this.unanswered += 1;
            this.refused += u64::from(silence.refusal().is_some());
        }
        if let Some(answer) = q.response() {
            this.answered += 1;
            this.late += u64::from(q.answer().is_some_and(|a| a.late));
            this.not_received += u64::from(q.is_lost());
            *this.rcodes.entry(answer.rcode).or_default() += 1;
            this.times.count(answer.at - q.sent, 1);
        }
        if q.on_wire() {
            sent.push(q);
        }
    }
    this.sent = sent.len() as u64;
    (this.transactions, this.transactions_unanswered) = transactions(&mut sent);
    this.waits = Waits::of(queries.iter().map(|q| (q.sent, q.until)).collect());
    this
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
    let unanswered = groups().filter(|group| group.iter().all(|q| q.response().is_none()));
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
