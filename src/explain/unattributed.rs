//! Queries and connection attempts of which nobody can say whose they are, where processes were watched.

use super::Case;
use crate::event;
use crate::join::connect::Attempt;
use crate::join::owners::Owned;
use crate::join::{EventId, Query};
use crate::report::{self, UnattributedWhy};
use crate::totals::unattributed::{UnattributedKey, UnattributedTotals};

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
