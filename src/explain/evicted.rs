//! Evicted lookups and connections, counted as the retained ones are, and what the reader must know about them.

use super::finding::{attempt, tally};
use super::{Case, clients, resolver, words};
use crate::join::connect::Role;
use crate::join::lookup::Lookup;
use crate::join::{ConnectionId, Query, QueryId};
use crate::totals::{EvictedTotals, ResolverKey};
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
    for (client, acts) in lookups.iter().filter_map(|l| clients::of_lookup(l)) {
        totals.add_acts(client, &acts);
    }
    let queries = lookups.iter().flat_map(|l| l.queries.iter().copied());
    count_queries(totals, case, queries);
}

/// Counts an attempt that is evicted, of a case that still holds it.
pub fn count_attempt(totals: &mut EvictedTotals, case: &Case, c: ConnectionId) {
    let x = &case.joined.connections[c];
    totals.connections += 1;
    if let Some((client, acts)) = clients::of_connection(case, x) {
        totals.add_acts(client, &acts);
    }
    if x.role == Role::Server {
        totals.add_attempts(x.to, &attempt::kinds(case, x));
    }
}

/// What the reader must know about what was evicted.
pub fn remarks(totals: &EvictedTotals) -> Vec<String> {
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
