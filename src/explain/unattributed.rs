//! Queries and connection attempts of which nobody can say whose they are, where processes were watched.

use super::{Case, words};
use crate::event;
use crate::join::connect::Attempt;
use crate::join::owners::Owned;
use crate::join::{EventId, Query};
use crate::report::{self, UnattributedWhy};
use crate::totals::unattributed::{UnattributedKey, UnattributedTotals};
use std::collections::BTreeSet;

/// Where a query is counted, if it is one of them.
pub fn of_query(case: &Case, query: &Query) -> Option<UnattributedKey> {
    let unattributed = query.origin == crate::join::Origin::Unattributed;
    unattributed.then(|| key(case, query.packet))
}

/// Where a connection attempt is counted, if it is one of them.
pub fn of_attempt(case: &Case, attempt: &Attempt) -> Option<UnattributedKey> {
    let unattributed = attempt.origin == crate::join::Origin::Unattributed;
    unattributed.then(|| key(case, attempt.syns.first().copied()))
}

fn key(case: &Case, packet: Option<EventId>) -> UnattributedKey {
    let owners = case.evidence.owners;
    let own = packet.and_then(|packet| owners.of_packet(packet));
    let why = match own {
        Some(Owned::Unattributed(why)) => why,
        Some(Owned::Watched { .. } | Owned::Others) | None => None,
    };
    let netns = packet.and_then(|packet| owners.netns(packet));
    let netns = netns.or_else(|| owners.watched()?.netns);
    (netns, why)
}

/// All of them, those that were evicted too.
pub fn totals(case: &Case) -> UnattributedTotals {
    let mut all = case.totals.unattributed.clone();
    for query in &case.joined.queries {
        if let Some(key) = of_query(case, query) {
            all.add_query(key, query.sent);
        }
    }
    for connection in &case.joined.connections {
        if let (Some(key), Some(sent)) = (of_attempt(case, connection), connection.first_syn) {
            all.add_connection(key, sent);
        }
    }
    all
}

/// The same for the report.
pub fn rows(case: &Case) -> Vec<report::Unattributed> {
    let all = totals(case);
    let rows = all
        .rows()
        .map(|((netns, why), counts)| report::Unattributed {
            netns,
            why: match why {
                Some(event::Unattributed::Gone) => UnattributedWhy::Gone,
                Some(event::Unattributed::Ambiguous) => UnattributedWhy::Ambiguous,
                Some(event::Unattributed::Unreadable) => UnattributedWhy::Unreadable,
                Some(event::Unattributed::NotLookedUp) => UnattributedWhy::NotLookedUp,
                None => UnattributedWhy::NotRecorded,
            },
            queries: counts.queries,
            connections: counts.connections,
        });
    rows.filter(|row| row.queries + row.connections > 0)
        .collect()
}

/// `, but 3 queries and a connection attempt could not be attributed`, behind a sentence that says there is nothing.
pub fn beside(case: &Case) -> String {
    match counted(case) {
        Some(what) => format!(", but {what} could not be attributed to a process"),
        None => String::new(),
    }
}

/// `3 queries and 1 connection attempt`; `None` where there are none.
fn counted(case: &Case) -> Option<String> {
    let rows = rows(case);
    let queries: usize = rows.iter().map(|row| row.queries).sum();
    let connections: usize = rows.iter().map(|row| row.connections).sum();
    let parts = [
        (queries, "query", "queries"),
        (connections, "connection attempt", "connection attempts"),
    ];
    let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
    let parts: Vec<String> = parts
        .map(|(n, one, many)| words::counted(n, one, many))
        .collect();
    (!parts.is_empty()).then(|| words::list(&parts))
}

/// What the reader must know about them.
pub fn remark(case: &Case) -> Option<String> {
    let what = counted(case)?;
    let mut reasons: Vec<(UnattributedWhy, usize)> = Vec::new();
    let mut namespaces: BTreeSet<Option<u64>> = BTreeSet::new();
    for row in rows(case) {
        namespaces.insert(row.netns);
        let packets = row.queries + row.connections;
        match reasons.iter_mut().find(|(why, _)| *why == row.why) {
            Some((_, n)) => *n += packets,
            None => reasons.push((row.why, packets)),
        }
    }
    let reasons: Vec<String> = { reasons.into_iter() }
        .map(|(why, n)| format!("{n} {}", reason(why)))
        .collect();
    let namespaces = match namespaces.len() {
        1 => String::new(),
        n => format!(", in {n} network namespaces"),
    };
    Some(format!(
        "{what} could not be attributed to a process ({}){namespaces}: they may be of a process that was watched or of \
         another one, and are in no figure of either",
        words::list(&reasons)
    ))
}

fn reason(why: UnattributedWhy) -> &'static str {
    match why {
        UnattributedWhy::Gone => "whose socket was gone when it was looked up",
        UnattributedWhy::Ambiguous => "whose socket may be one of several",
        UnattributedWhy::Unreadable => "whose socket could not be read",
        UnattributedWhy::NotLookedUp => "not looked up, because too many came",
        UnattributedWhy::NotRecorded => "of which the case does not say that they were looked up",
    }
}
