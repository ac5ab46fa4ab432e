//! Which stub resolver a lookup was made by, from its behaviour.

use super::Case;
use crate::flow::Transport;
use crate::join::Query;
use crate::join::lookup::{Lookup, parallel};
use crate::time::Span;
use std::collections::HashSet;

/// The stub resolver's name, or `unknown`. Each rule is a row of the table "How clients ask": musl asks
/// all resolvers at once from one socket; Go takes a new socket and a new id for every query; c-ares a new
/// socket but the same id for every try; glibc keeps socket and id for a round.
pub fn of(case: &Case, lookup: &Lookup) -> &'static str {
    let queries: Vec<&Query> = lookup
        .queries
        .iter()
        .map(|q| &case.joined.queries[*q])
        .filter(|q| q.transport == Transport::Udp && !q.implied)
        .collect();
    if queries.is_empty() {
        return "unknown";
    }
    let resolvers: HashSet<_> = queries.iter().map(|q| q.resolver).collect();
    let clients: HashSet<_> = queries.iter().map(|q| q.client).collect();
    if resolvers.len() > 1 && clients.len() == 1 && parallel(&case.joined.queries, lookup) {
        return "musl";
    }
    let comm = queries
        .iter()
        .find_map(|q| q.task.as_ref()?.comm.as_deref());
    let ids: HashSet<_> = queries.iter().map(|q| q.id).collect();
    let own_sockets = clients.len() == queries.len() && queries.len() > 1;
    if own_sockets && ids.len() == queries.len() && written(case, &queries) {
        return "go";
    }
    let retried = queries.iter().enumerate().any(|(i, q)| {
        queries[..i]
            .iter()
            .any(|o| o.question == q.question && q.sent - o.sent > Span::seconds(1))
    });
    if retried && own_sockets && ids.len() < queries.len() {
        return if resolvers.len() == queries.len() {
            "unknown"
        } else {
            "c-ares"
        };
    }
    let shared = queries.iter().enumerate().any(|(i, q)| {
        queries[..i]
            .iter()
            .any(|o| o.client == q.client && o.question.kind != q.question.kind)
    });
    let paired = shared || retried && ids.len() < queries.len();
    match (paired, comm.is_some_and(|c| c.contains("java"))) {
        (true, true) => "java",
        (true, false) => "glibc",
        _ => "unknown",
    }
}

/// Whether the queries were sent by calls that the trace does not show as sends (`write`).
fn written(case: &Case, queries: &[&Query]) -> bool {
    case.evidence.has_trace()
        && queries
            .iter()
            .all(|q| q.cause.is_some_and(|c| c.how != crate::join::How::Call))
}
