//! Lists to look things up by who did them.

use super::Subject;
use crate::event::{Op, Outcome, What};
use crate::explain::Case;
use crate::join::connect::Role;
use crate::join::{Asker, ConnectionId, EventId, LookupId, Query};
use crate::time::{Span, Timestamp};
use std::cell::Cell;
use std::collections::HashMap;

/// How many claims all accounts together weigh: some seconds of work.
const ALL_CLAIMS: usize = 1_000_000;
/// How many one account weighs at least: no client has as many lookups under way at once.
const LEAST_CLAIMS: usize = 256;

/// What the accounts of all subjects look up.
pub struct Index {
    /// Connections by asker, in order of time.
    pub connections: HashMap<Asker, Vec<ConnectionId>>,
    /// Lookups by asker, in order of time.
    pub lookups: HashMap<Asker, Vec<LookupId>>,
    /// The first attempt to reach a server.
    pub first_server: Option<ConnectionId>,
    /// Wait calls that lasted, by thread: entry, exit, call.
    pub waits: HashMap<Option<u32>, Vec<(Timestamp, Timestamp, EventId)>>,
    /// How many claims one account weighs: see [`Self::share_among`].
    pub claims_each: usize,
    /// Some account had more than that to weigh.
    pub cut: Cell<bool>,
    server_calls: HashMap<Asker, Timestamp>,
    /// The last attempt of any host to reach a server.
    last_of_hosts: Option<Timestamp>,
}

impl Index {
    /// Builds the lists.
    pub fn new(case: &Case) -> Self {
        let mut this = Self {
            connections: HashMap::new(),
            lookups: HashMap::new(),
            first_server: None,
            waits: HashMap::new(),
            claims_each: ALL_CLAIMS,
            cut: Cell::new(false),
            server_calls: HashMap::new(),
            last_of_hosts: None,
        };
        for (c, connection) in case.joined.connections.entries() {
            let asker = connection.asker();
            this.connections.entry(asker).or_default().push(c);
            if connection.role == Role::Server {
                this.first_server = this.first_server.or(Some(c));
                if let Some(at) = connection.began() {
                    let last = this.server_calls.entry(asker).or_insert(at);
                    *last = (*last).max(at);
                    if matches!(asker, Asker::Host(_)) {
                        this.last_of_hosts = this.last_of_hosts.max(Some(at));
                    }
                }
            }
        }
        for l in case.joined.lookups.ids() {
            let asker = this.asker_of_lookup(case, l);
            this.lookups.entry(asker).or_default().push(l);
        }
        for (id, event) in case.evidence.numbered() {
            let What::Call(call) = &event.what else {
                continue;
            };
            let lasted = call.exited.map_or(Span::ZERO, |exit| exit - event.at);
            let timed_out = matches!(call.outcome, Outcome::Returned(0));
            if matches!(call.op, Op::Wait { .. }) && (lasted > Span::millis(1) || timed_out) {
                let exit = call.exited.unwrap_or(event.at);
                this.waits
                    .entry(call.task.tid)
                    .or_default()
                    .push((event.at, exit, id));
            }
        }
        this
    }

    /// Settles how many claims each of so many accounts weighs. In a storm of overlapping lookups all of them may claim
    /// every window, and a thousand accounts of a million claims each would take hours.
    pub fn share_among(&mut self, accounts: usize) {
        self.claims_each = (ALL_CLAIMS / accounts.max(1)).max(LEAST_CLAIMS);
    }

    /// Who is behind a lookup.
    pub fn asker_of_lookup(&self, case: &Case, lookup: LookupId) -> Asker {
        let mut queries = case.joined.lookups[lookup].queries(case.joined);
        queries.next().map_or(Asker::Host(None), |q| q.asker())
    }

    /// Who is behind a subject.
    pub fn asker_of(&self, case: &Case, subject: Subject) -> Asker {
        match subject {
            Subject::Lookup(l) => self.asker_of_lookup(case, l),
            Subject::Connection(c) => case.joined.connections[c].asker(),
        }
    }

    /// Whether this asker tried to reach a server at or after a moment. Without a trace a client may use
    /// another source address for DNS than for the server, so any host counts.
    pub fn server_after(&self, asker: Asker, at: Timestamp) -> bool {
        match asker {
            Asker::Process(_) => self
                .server_calls
                .get(&asker)
                .is_some_and(|last| *last >= at),
            Asker::Host(_) => self.last_of_hosts.is_some_and(|last| last >= at),
        }
    }

    /// Wait calls of a thread that overlap a span of time.
    pub fn waits_in(
        &self,
        tid: Option<u32>,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = EventId> + '_ {
        let list = self.waits.get(&tid).map_or(&[][..], Vec::as_slice);
        let start = list.partition_point(|(entry, _, _)| *entry < from - Span::millis(5));
        list[start..]
            .iter()
            .take_while(move |(entry, _, _)| *entry < to)
            .map(|(_, _, id)| *id)
    }
}

/// Whether a query counts as the client's own in an account.
pub fn is_own(query: &Query) -> bool {
    query.is_clients()
}
