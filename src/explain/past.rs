//! What was counted of lookups and connections that were let go while a large capture was read.

use super::finding::tally::{self, Forgotten};
use super::resolver::{Counts, Key, key};
use super::{Case, words};
use crate::flow::Endpoint;
use crate::join::connect::{Connection, Ending, Role};
use crate::join::{Query, QueryId};
use std::collections::{BTreeMap, HashMap};

/// How many rows of the resolver table are kept; a client has a few resolvers, and a report names a thousand.
const MAX_ROWS: usize = 1_000;

/// How many ends of connections are told apart; a flood has millions.
const MAX_ATTEMPTS: usize = 10_000;

/// How many waits of a row are told apart, so that those that overlap later ones still count once.
const MAX_WAITS: usize = 4_096;

/// What is known of one resolver's forgotten queries.
#[derive(Debug, Default)]
pub struct Row {
    /// For the resolver table.
    pub counts: Counts,
    /// For the findings.
    pub forgotten: Forgotten,
}

/// All that was let go.
#[derive(Debug, Default)]
pub struct Past {
    /// Lookups.
    pub lookups: usize,
    /// Connections.
    pub connections: usize,
    /// Those of them that would have had an account.
    pub subjects: usize,
    /// Lookups and connections that were not over when they had to go.
    pub unfinished: usize,
    /// Packets that another capture showed too.
    pub copies: u64,
    /// SYNs of attempts that had too many.
    pub repeated: usize,
    rows: BTreeMap<Key, Row>,
    /// Connections by where they went and how they ended.
    attempts: HashMap<(Endpoint, Ending), usize>,
    /// Queries to resolvers that no row names.
    unnamed: usize,
}

impl Past {
    /// Whether nothing was let go.
    pub fn is_empty(&self) -> bool {
        self.lookups + self.connections + self.repeated == 0
    }

    /// The resolvers that were asked.
    pub fn resolvers(&self) -> impl Iterator<Item = Key> {
        self.rows.keys().copied()
    }

    /// What is known of one.
    pub fn of(&self, key: &Key) -> Option<&Row> {
        self.rows.get(key)
    }

    /// How many attempts to reach a server ended so.
    pub fn attempts(&self, to: Endpoint, ending: Ending) -> usize {
        self.attempts.get(&(to, ending)).copied().unwrap_or(0)
    }

    /// Counts an attempt that is let go.
    pub fn count_attempt(&mut self, connection: &Connection) {
        self.connections += 1;
        let key = (connection.to, connection.outcome);
        if connection.role == Role::Server
            && (self.attempts.len() < MAX_ATTEMPTS || self.attempts.contains_key(&key))
        {
            *self.attempts.entry(key).or_default() += 1;
        }
    }

    /// Counts queries that are let go, of a case that holds them still.
    pub fn count(&mut self, case: &Case, queries: impl IntoIterator<Item = QueryId>) {
        let mut groups: BTreeMap<Key, Vec<&Query>> = BTreeMap::new();
        for q in queries {
            let query = &case.joined.queries[q];
            groups.entry(key(query)).or_default().push(query);
        }
        for (key, queries) in groups {
            if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&key) {
                self.unnamed += queries.len();
                continue;
            }
            let row = self.rows.entry(key).or_default();
            row.counts.add(&Counts::of(&queries));
            row.counts.times.round();
            row.counts.waits.fold(MAX_WAITS);
            row.forgotten.add(&tally::forget(case, key.1, queries));
        }
    }

    /// What the reader must know about it.
    pub fn remarks(&self) -> Vec<String> {
        if self.is_empty() {
            return Vec::new();
        }
        let count = |n, one, many| words::counted(n, one, many);
        let mut list = vec![format!(
            "{} and {} were counted and let go, so that memory stays bounded; the first ones, the slowest, and some of \
             every kind were kept (--all keeps all). The table of resolvers counts them, and so do findings about one",
            count(self.lookups, "lookup", "lookups"),
            count(self.connections, "connection", "connections")
        )];
        if self.unfinished > 0 {
            list.push(format!(
                "more was under way at once than is kept: {} of them may have gone on",
                self.unfinished
            ));
        }
        if self.repeated > 0 {
            list.push(format!(
                "{} of attempts that had thousands are not among their packets",
                count(self.repeated, "repeated SYN", "repeated SYNs")
            ));
        }
        if self.unnamed > 0 {
            list.push(format!(
                "{} to further name servers are in no row of the table",
                words::queries(self.unnamed)
            ));
        }
        list
    }
}
