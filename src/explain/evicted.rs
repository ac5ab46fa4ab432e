//! Evicted lookups and connections, counted as the retained ones are, and what the reader must know about them.

use super::finding::{attempt, tally};
use super::{Case, clients, resolver, unattributed, words};
use crate::join::connect::Role;
use crate::join::lookup::Lookup;
use crate::join::{ConnectionId, Query, QueryId};
use crate::report::NotAttributable;
use crate::totals::{AttemptCount, EvictedTotals, ResolverKey};
use std::collections::BTreeMap;

fn count_queries(
    totals: &mut EvictedTotals,
    case: &Case,
    queries: impl IntoIterator<Item = QueryId>,
) {
    let mut rows: BTreeMap<ResolverKey, Vec<&Query>> = BTreeMap::new();
    for q in queries {
        let query = &case.joined.queries[q];
        rows.entry(resolver::key(query)).or_default().push(query);
    }
    for (row, queries) in rows {
        let counts = resolver::count(&queries);
        totals.add_queries(row, &counts, &tally::outcomes(case, row.1, queries));
    }
}

/// Counts lookups that are evicted, of a case that still holds them.
pub fn count_lookups(totals: &mut EvictedTotals, case: &Case, lookups: &[&Lookup]) {
    totals.lookups += lookups.len();
    for (client, acts) in lookups.iter().filter_map(|l| clients::of_lookup(case, l)) {
        totals.add_acts(client, &acts);
    }
    let queries = || lookups.iter().flat_map(|l| l.queries.iter().copied());
    for q in queries() {
        let query = &case.joined.queries[q];
        if let Some(key) = unattributed::of_query(case, query) {
            totals.unattributed.add_query(key, query.sent);
        }
    }
    let queries = queries();
    count_queries(totals, case, queries);
}

/// What an attempt counts as.
pub fn attempt_count(case: &Case, c: ConnectionId) -> AttemptCount {
    let x = &case.joined.connections[c];
    let server = Some(x).filter(|x| x.role == Role::Server);
    AttemptCount {
        server: server.map(|x| (x.to, attempt::kinds(case, x))),
        client: clients::of_connection(case, x),
        foreign: x.from.filter(|_| x.role == Role::Other).map(|from| from.ip),
        not_attributable: x.may_be_forgotten(&case.evidence),
        unattributed: unattributed::of_attempt(case, x).zip(x.first_syn),
    }
}

/// What may be a part of something that was evicted and is forgotten; `None` where nothing is.
pub fn not_attributable(case: &Case) -> Option<NotAttributable> {
    let forgotten = &case.totals.forgotten;
    if forgotten.is_empty() {
        return None;
    }
    let connections = case.joined.connections.iter();
    let doubtful = connections.filter(|x| x.may_be_forgotten(&case.evidence));
    let [retained, evicted] = [&case.joined.unsolicited, &case.totals.unsolicited];
    Some(NotAttributable {
        connections: doubtful.count() + case.totals.not_attributable,
        responses: retained.not_attributable + evicted.not_attributable,
    })
}

/// What the reader must know about what was evicted.
pub fn remarks(case: &Case) -> Vec<String> {
    let totals = case.totals;
    if totals.is_empty() {
        return Vec::new();
    }
    let count = |n, one, many| words::counted(n, one, many);
    let mut list = vec![format!(
        "{} and {} were counted but not retained, so that memory stays bounded; the first, the slowest, and some of \
         every kind are listed (--all retains all). The table of resolvers and the findings about a resolver count \
         them",
        count(totals.lookups, "lookup", "lookups"),
        count(totals.connections, "connection", "connections")
    )];
    if totals.unfinished > 0 {
        list.push(format!(
            "too many were in progress at once to retain them all: {} of them may have continued",
            totals.unfinished
        ));
    }
    if let Some(doubtful) = not_attributable(case) {
        let mut parts = Vec::new();
        if doubtful.connections > 0 {
            let connections = count(doubtful.connections, "connection", "connections");
            parts.push(format!(
                "{connections} whose SYN may be a retransmission of theirs"
            ));
        }
        if doubtful.responses > 0 {
            let responses = count(doubtful.responses, "response", "responses");
            parts.push(format!("{responses} that may answer them"));
        }
        if !parts.is_empty() {
            list.push(format!(
                "more connection attempts and queries were in progress than can be remembered: not attributable are {}",
                words::list(&parts)
            ));
        }
    }
    if totals.repeated > 0 {
        list.push(format!(
            "{} of connection attempts that had thousands are not among their packets",
            count(totals.repeated, "repeated SYN", "repeated SYNs")
        ));
    }
    if totals.unnamed > 0 {
        list.push(format!(
            "{} to further resolvers are in no row of the table",
            words::queries(totals.unnamed)
        ));
    }
    list
}
