//! What was counted of lookups and connections that were evicted while a large input was read.
//!
//! Plain counts. [`crate::eviction`] adds to them what it drops, counted as [`crate::explain`] counts what is retained;
//! a report is made of both.

pub mod forgotten;
pub mod times;
pub mod unattributed;

use crate::event::Location;
use crate::event::dns::Rcode;
use crate::flow::{Endpoint, Transport};
use crate::report::Origin;
use crate::time::{Span, Timestamp};
use forgotten::Forgotten;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use times::{Times, Waits};
use unattributed::{UnattributedKey, UnattributedTotals};

/// How many rows of the resolver table are counted; a client has a few resolvers, and a report names a thousand.
const MAX_ROWS: usize = 1_000;

/// How many servers' attempts are told apart; a flood has millions.
const MAX_SERVERS: usize = 10_000;

/// How many clients are told apart.
const MAX_CLIENTS: usize = 10_000;

/// How many waits of all rows together are told apart, so that those that overlap later ones still count once.
const MAX_WAITS: usize = 200_000;

/// A row of the resolver table, in the order of the table.
pub type ResolverKey = (Origin, Endpoint, Transport);

/// Who a client is: a host, or a process of it that was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey {
    /// Its address.
    pub address: IpAddr,
    /// The process.
    pub pid: Option<u32>,
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        Self { address, pid: None }
    }
}

/// What a row of the resolver table counts.
#[derive(Clone, Debug, Default)]
pub struct ResolverCounts {
    /// Queries on the wire.
    pub sent: u64,
    /// Answered, in time or late.
    pub answered: u64,
    /// An answer was due, and none came.
    pub unanswered: u64,
    /// Nobody can tell.
    pub open: u64,
    /// Unanswered since an error came instead.
    pub refused: u64,
    /// Answered after the client had given up.
    pub late: u64,
    /// Answered, and the client did not get the answer.
    pub not_received: u64,
    /// A call, and no packet.
    pub never_sent: u64,
    /// Queries of one socket with one id, name and type count once.
    pub transactions: u64,
    /// Those of them without an answer.
    pub transactions_unanswered: u64,
    /// Answers by their code.
    pub rcodes: BTreeMap<Rcode, u64>,
    /// From query to answer.
    pub times: Times,
    /// When somebody waited.
    pub waits: Waits,
}

impl ResolverCounts {
    /// Counts another part of the row: queries of other lookups.
    pub fn add(&mut self, other: &Self) {
        for (mine, more) in [
            (&mut self.sent, other.sent),
            (&mut self.answered, other.answered),
            (&mut self.unanswered, other.unanswered),
            (&mut self.open, other.open),
            (&mut self.refused, other.refused),
            (&mut self.late, other.late),
            (&mut self.not_received, other.not_received),
            (&mut self.never_sent, other.never_sent),
            (&mut self.transactions, other.transactions),
            (
                &mut self.transactions_unanswered,
                other.transactions_unanswered,
            ),
        ] {
            *mine += more;
        }
        for (rcode, n) in &other.rcodes {
            *self.rcodes.entry(*rcode).or_default() += n;
        }
        self.times.add(&other.times);
        self.waits.add(&other.waits);
    }

    /// Something came for a query that is counted as unanswered, or as open.
    fn no_longer_waits(&mut self, unanswered: bool) {
        let counted = if unanswered {
            &mut self.unanswered
        } else {
            &mut self.open
        };
        *counted = counted.saturating_sub(1);
    }
}

/// An answer to a query that is evicted.
#[derive(Clone, Copy, Debug)]
pub struct LateAnswer {
    /// Response code.
    pub rcode: Rcode,
    /// It was truncated.
    pub truncated: bool,
    /// From query to answer.
    pub took: Span,
    /// The query is counted as unanswered: the answer was due before it came.
    pub due: bool,
}

/// Queries to one resolver by what findings say of them. A query may be of several kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// All.
    pub asked: usize,
    /// Answered, in time or late.
    pub answered: usize,
    /// Answered with a truncated response.
    pub truncated: usize,
    /// Answered with an error.
    pub errors: usize,
    /// Answered while the client still waited.
    pub in_time: usize,
    /// Of those, the ones that took long.
    pub slow: usize,
    /// Answered after the client had given up.
    pub late: usize,
    /// Answered on the wire, and the client did not get the answer.
    pub not_received: usize,
    /// Waited for, and nothing came back.
    pub silent: usize,
    /// Refused by the far end.
    pub refused: usize,
    /// Never left, or could not be delivered.
    pub undelivered: usize,
}

impl Outcomes {
    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.answered += other.answered;
        self.truncated += other.truncated;
        self.errors += other.errors;
        self.in_time += other.in_time;
        self.slow += other.slow;
        self.late += other.late;
        self.not_received += other.not_received;
        self.silent += other.silent;
        self.refused += other.refused;
        self.undelivered += other.undelivered;
    }
}

/// Attempts to reach one server by what findings say of them. An attempt may be of several kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    /// All.
    pub all: usize,
    /// Connected.
    pub connected: usize,
    /// Refused.
    pub refused: usize,
    /// Their SYN was never answered.
    pub unanswered: usize,
    /// Their SYN was answered only when it had been sent again.
    pub answered_late: usize,
}

impl Attempts {
    fn add(&mut self, other: &Self) {
        self.all += other.all;
        self.connected += other.connected;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.answered_late += other.answered_late;
    }

    fn take(&mut self, other: &Self) {
        for (mine, less) in [
            (&mut self.all, other.all),
            (&mut self.connected, other.connected),
            (&mut self.refused, other.refused),
            (&mut self.unanswered, other.unanswered),
            (&mut self.answered_late, other.answered_late),
        ] {
            *mine = mine.saturating_sub(less);
        }
    }
}

/// What one client's lookups and attempts came to, where packets alone show clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    /// Attempts to reach a server.
    pub connects: usize,
    /// Lookups.
    pub lookups: usize,
    /// Those of both that nothing answered.
    pub lost: usize,
}

impl Acts {
    /// Of one attempt to reach a server; `lost`: nothing answered it.
    pub fn connect(lost: bool) -> Self {
        Self {
            connects: 1,
            lost: lost.into(),
            ..Self::default()
        }
    }

    /// Counts others too.
    pub fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.lookups += other.lookups;
        self.lost += other.lost;
    }

    fn take(&mut self, other: &Self) {
        self.connects = self.connects.saturating_sub(other.connects);
        self.lookups = self.lookups.saturating_sub(other.lookups);
        self.lost = self.lost.saturating_sub(other.lost);
    }
}

/// What findings say of one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptKinds {
    /// Connected.
    pub connected: bool,
    /// Refused.
    pub refused: bool,
    /// Its SYN was never answered.
    pub unanswered: bool,
    /// Its SYN was answered only when it had been sent again.
    pub answered_late: bool,
}

impl From<AttemptKinds> for Attempts {
    fn from(one: AttemptKinds) -> Self {
        Self {
            all: 1,
            connected: one.connected.into(),
            refused: one.refused.into(),
            unanswered: one.unanswered.into(),
            answered_late: one.answered_late.into(),
        }
    }
}

/// What one attempt counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptCount {
    /// Of an attempt to reach a server: which one, and how that went.
    pub server: Option<(Endpoint, AttemptKinds)>,
    /// Where packets alone show clients: which one, and whether nothing answered it.
    pub client: Option<(ClientKey, bool)>,
    /// Of one that no call made, while there is a trace: from which address.
    pub foreign: Option<IpAddr>,
    /// No call is known to have made it, and it may be a part of one that is forgotten.
    pub not_attributable: bool,
    /// Of one of which nobody can say whose it is, where processes were watched: why, and when its first SYN left.
    pub unattributed: Option<(UnattributedKey, Timestamp)>,
}

/// Responses that answer no query of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsolicited {
    /// They answer nothing.
    pub responses: usize,
    /// They may answer a query that was evicted and is forgotten.
    pub not_attributable: usize,
}

impl Unsolicited {
    /// Counts a response; `forgotten`: it may answer a query that is.
    pub fn add(&mut self, forgotten: bool) {
        if forgotten {
            self.not_attributable += 1;
        } else {
            self.responses += 1;
        }
    }
}

/// What is known of one resolver's evicted queries.
#[derive(Debug, Default)]
struct Row {
    counts: ResolverCounts,
    outcomes: Outcomes,
}

/// All that was evicted.
#[derive(Debug, Default)]
pub struct EvictedTotals {
    /// Lookups.
    pub lookups: usize,
    /// Connections.
    pub connections: usize,
    /// Those of them that would have had an account.
    pub subjects: usize,
    /// Events that they, and others, were made of.
    pub events: usize,
    /// Lookups and connections that were not over when they had to go.
    pub unfinished: usize,
    /// Packets that another capture showed too.
    pub copies: u64,
    /// SYNs of attempts that had too many.
    pub repeated: usize,
    /// Queries to resolvers that no row names.
    pub unnamed: usize,
    /// Connections to name services, by the service's name.
    pub services: BTreeMap<&'static str, usize>,
    /// Where the retained attempts show whose asker's attempt after them was evicted, and whether what they tried was tried
    /// again.
    pub cut: HashMap<Location, bool>,
    /// Of what nothing is remembered, although more of it may come.
    pub forgotten: Forgotten,
    /// Connections that may be a part of one that is forgotten.
    pub not_attributable: usize,
    /// Responses that answer no query.
    pub unsolicited: Unsolicited,
    /// What nobody can say whose it is, where processes were watched.
    pub unattributed: UnattributedTotals,
    rows: BTreeMap<ResolverKey, Row>,
    servers: HashMap<Endpoint, Attempts>,
    clients: BTreeMap<ClientKey, Acts>,
    /// Attempts that no call made, by the address that they came from.
    foreign: BTreeMap<IpAddr, usize>,
}

impl EvictedTotals {
    /// Whether nothing was evicted.
    pub fn is_empty(&self) -> bool {
        self.lookups + self.connections + self.repeated == 0
    }

    /// Only what the join and the accounts of the next turn must know: where attempts were evicted after retained ones,
    /// which is taken, what is forgotten, and what is unattributed.
    #[must_use]
    pub fn for_next_turn(&mut self) -> Self {
        Self {
            cut: std::mem::take(&mut self.cut),
            forgotten: self.forgotten.clone(),
            unattributed: self.unattributed.clone(),
            ..Self::default()
        }
    }

    /// The rows of the resolver table that evicted queries were counted in.
    pub fn rows(&self) -> impl Iterator<Item = ResolverKey> {
        self.rows.keys().copied()
    }

    /// What a row counts of evicted queries.
    pub fn counts(&self, row: &ResolverKey) -> Option<&ResolverCounts> {
        self.rows.get(row).map(|row| &row.counts)
    }

    /// What findings say of a row's evicted queries.
    pub fn outcomes(&self, row: &ResolverKey) -> Outcomes {
        self.rows
            .get(row)
            .map(|row| row.outcomes)
            .unwrap_or_default()
    }

    /// Evicted attempts to reach a server.
    pub fn attempts(&self, to: Endpoint) -> Attempts {
        self.servers.get(&to).copied().unwrap_or_default()
    }

    /// Counts queries of one row that are evicted.
    pub fn add_queries(&mut self, row: ResolverKey, counts: &ResolverCounts, outcomes: &Outcomes) {
        if self.rows.len() >= MAX_ROWS && !self.rows.contains_key(&row) {
            self.unnamed += outcomes.asked;
            return;
        }
        let rows = self.rows.len().max(1);
        let row = self.rows.entry(row).or_default();
        row.counts.add(counts);
        row.counts.times.round();
        row.counts.waits.fold(MAX_WAITS / rows);
        row.outcomes.add(outcomes);
    }

    /// An evicted query that nothing had answered was answered after all.
    pub fn answered(&mut self, row: &ResolverKey, answer: &LateAnswer) {
        let Some(row) = self.rows.get_mut(row) else {
            return;
        };
        let late = answer.due;
        let counts = &mut row.counts;
        counts.answered += 1;
        counts.late += u64::from(late);
        counts.no_longer_waits(answer.due);
        counts.transactions_unanswered = counts.transactions_unanswered.saturating_sub(1);
        *counts.rcodes.entry(answer.rcode).or_default() += 1;
        counts.times.count(answer.took, 1);
        let outcomes = &mut row.outcomes;
        outcomes.answered += 1;
        outcomes.late += usize::from(late);
        outcomes.in_time += usize::from(!late);
        outcomes.silent = outcomes.silent.saturating_sub(usize::from(answer.due));
        outcomes.truncated += usize::from(answer.truncated);
        outcomes.errors += usize::from(answer.rcode.is_error());
    }

    /// An error came about an evicted query that nothing had answered. `due`: it was counted as unanswered; `refused`: the
    /// far end refused.
    pub fn ended_by_error(&mut self, row: &ResolverKey, due: bool, refused: bool) {
        let Some(row) = self.rows.get_mut(row) else {
            return;
        };
        row.counts.no_longer_waits(due);
        row.counts.unanswered += 1;
        row.counts.refused += 1;
        let outcomes = &mut row.outcomes;
        outcomes.silent = outcomes.silent.saturating_sub(usize::from(due));
        outcomes.refused += usize::from(refused);
        outcomes.undelivered += usize::from(!refused);
    }

    /// What clients did.
    pub fn clients(&self) -> impl Iterator<Item = (ClientKey, Acts)> {
        self.clients.iter().map(|(client, acts)| (*client, *acts))
    }

    /// Attempts that no call made, by the address that they came from.
    pub fn foreign(&self) -> impl Iterator<Item = (IpAddr, usize)> {
        self.foreign.iter().map(|(address, n)| (*address, *n))
    }

    /// Counts what a client did and is evicted.
    pub fn add_acts(&mut self, client: ClientKey, acts: &Acts) {
        if self.clients.len() < MAX_CLIENTS || self.clients.contains_key(&client) {
            self.clients.entry(client).or_default().add(acts);
        }
    }

    /// Counts an attempt that is evicted.
    pub fn add_attempt(&mut self, attempt: &AttemptCount) {
        self.connections += 1;
        self.not_attributable += usize::from(attempt.not_attributable);
        if let Some((key, sent)) = attempt.unattributed {
            self.unattributed.add_connection(key, sent);
        }
        if let Some((client, lost)) = attempt.client {
            self.add_acts(client, &Acts::connect(lost));
        }
        if let Some(from) = attempt.foreign
            && (self.foreign.len() < MAX_CLIENTS || self.foreign.contains_key(&from))
        {
            *self.foreign.entry(from).or_default() += 1;
        }
        if let Some((to, attempts)) = &attempt.server
            && (self.servers.len() < MAX_SERVERS || self.servers.contains_key(to))
        {
            self.servers
                .entry(*to)
                .or_default()
                .add(&(*attempts).into());
        }
    }

    /// Takes back the count of an attempt.
    pub fn take_attempt(&mut self, attempt: &AttemptCount) {
        self.connections = self.connections.saturating_sub(1);
        let doubtful = usize::from(attempt.not_attributable);
        self.not_attributable = self.not_attributable.saturating_sub(doubtful);
        if let Some((key, _)) = attempt.unattributed {
            self.unattributed.take_connection(key);
        }
        if let Some((client, lost)) = &attempt.client
            && let Some(counted) = self.clients.get_mut(client)
        {
            counted.take(&Acts::connect(*lost));
        }
        if let Some(counted) = { attempt.foreign }.and_then(|from| self.foreign.get_mut(&from)) {
            *counted = counted.saturating_sub(1);
        }
        if let Some((to, attempts)) = &attempt.server
            && let Some(counted) = self.servers.get_mut(to)
        {
            counted.take(&(*attempts).into());
        }
    }
}
