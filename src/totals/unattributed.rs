//! Queries and connection attempts of which nobody can say whose they are, where processes were watched.

use crate::event;
use crate::input::drops::{DropSpan, DropTimes};
use crate::time::Timestamp;
use std::collections::BTreeMap;

/// So many network namespaces have a row of their own; what is in others is in the row of unknown ones.
const MAX_NAMESPACES: usize = 64;

/// A network namespace, where it is known, and the reason, where the case says one.
pub type UnattributedKey = (Option<u64>, Option<event::Unattributed>);

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnattributedCounts {
    /// Query messages.
    pub queries: usize,
    /// Connection attempts.
    pub connections: usize,
}

/// What is unattributed, by namespace and reason, and when it left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnattributedTotals {
    rows: BTreeMap<UnattributedKey, UnattributedCounts>,
    times: DropTimes,
}

impl UnattributedTotals {
    /// All rows, those of known namespaces last.
    pub fn rows(&self) -> impl Iterator<Item = (UnattributedKey, UnattributedCounts)> {
        self.rows.iter().map(|(key, counts)| (*key, *counts))
    }

    /// When they left.
    pub fn times(&self) -> &DropTimes {
        &self.times
    }

    /// Counts a query.
    pub fn add_query(&mut self, key: UnattributedKey, sent: Timestamp) {
        self.left(sent);
        self.row(key).queries += 1;
    }

    /// Counts a connection attempt.
    pub fn add_connection(&mut self, key: UnattributedKey, sent: Timestamp) {
        self.left(sent);
        self.row(key).connections += 1;
    }

    /// Takes back the count of a connection attempt.
    pub fn take_connection(&mut self, key: UnattributedKey) {
        let row = self.row(key);
        row.connections = row.connections.saturating_sub(1);
    }

    fn left(&mut self, at: Timestamp) {
        self.times.add(DropSpan {
            packets: 1,
            from: at,
            until: at,
        });
    }

    fn row(&mut self, (netns, why): UnattributedKey) -> &mut UnattributedCounts {
        let known = |this: &Self| {
            let own = (netns, None)..=(netns, Some(event::Unattributed::NotLookedUp));
            this.rows.range(own).next().is_some()
        };
        let crowded = || {
            let mut namespaces: Vec<_> = self.rows.keys().map(|(netns, _)| *netns).collect();
            namespaces.dedup();
            namespaces.len() >= MAX_NAMESPACES
        };
        let netns = netns.filter(|_| known(self) || !crowded());
        self.rows.entry((netns, why)).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_few_whatever_the_namespaces_are() {
        let mut all = UnattributedTotals::default();
        for netns in 0..1_000 {
            let key = (Some(netns), Some(event::Unattributed::Gone));
            all.add_query(key, Timestamp::new(1, 0));
        }
        assert_eq!(all.rows().count(), MAX_NAMESPACES + 1);
        let queries: usize = all.rows().map(|(_, counts)| counts.queries).sum();
        assert_eq!(queries, 1_000);
        all.add_connection((Some(3), None), Timestamp::new(2, 0));
        all.take_connection((Some(3), None));
        let row = all.rows().find(|(key, _)| *key == (Some(3), None));
        assert_eq!(row.unwrap().1, UnattributedCounts::default());
        assert_eq!(all.times().packets(), 1_001);
    }
}
