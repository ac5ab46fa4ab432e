//! Lists to look things up by who did them.

use super::other::{self, OtherWait};
use super::{Subject, story};
use crate::event::{CallOutcome, EventKind, Op};
use crate::explain::Case;
use crate::join::connect::Role;
use crate::join::lookup::Outcome as LookupOutcome;
use crate::join::{ClientId, ConnectionId, EventId, LookupId, ProcessId, Query};
use crate::time::{Span, Timestamp};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// How many claims all accounts together weigh: some seconds of work.
const ALL_CLAIMS: usize = 1_000_000;
/// How many one account weighs at least: no client has as many lookups under way at once.
const LEAST_CLAIMS: usize = 256;
/// How many lookups of a host before the one that a connection used are looked at for earlier tries.
const MAX_TRIES: usize = 64;

/// What the accounts of all subjects look up.
pub struct Index {
    /// Connections by asker, in order of time.
    pub connections: HashMap<ClientId, Vec<ConnectionId>>,
    /// Lookups by asker, in order of time.
    pub lookups: HashMap<ClientId, Vec<LookupId>>,
    /// The first attempt to reach a server.
    pub first_server: Option<ConnectionId>,
    /// Wait calls that lasted, by thread: entry, exit, call.
    pub waits: HashMap<Option<u32>, Vec<(Timestamp, Timestamp, EventId)>>,
    /// Waits for sockets that are neither a resolver's nor a name service's, by thread.
    pub other_waits: HashMap<Option<u32>, Vec<OtherWait>>,
    /// When a process first set up `io_uring`: from then on its waits need not show as calls.
    pub io_uring: HashMap<ClientId, Timestamp>,
    /// How many claims one account weighs: see [`Self::share_among`].
    pub claims_each: usize,
    /// Some account had more than that to weigh.
    pub cut: Cell<bool>,
    server_calls: HashMap<ClientId, Timestamp>,
    /// Connections to an address that an earlier one had used.
    cached: HashSet<ConnectionId>,
    /// When processes became other programs, in order.
    execs: Vec<(Timestamp, ProcessId)>,
    /// Lookups that some connection used, and the failed tries before them.
    used: HashSet<LookupId>,
    /// The first of the tries that a host made until a lookup gave what was wanted.
    first_tries: HashMap<LookupId, LookupId>,
}

impl Index {
    /// Builds the lists.
    pub fn new(case: &Case) -> Self {
        let mut this = Self {
            connections: HashMap::new(),
            lookups: HashMap::new(),
            first_server: None,
            waits: HashMap::new(),
            other_waits: other::waits(case),
            io_uring: HashMap::new(),
            claims_each: ALL_CLAIMS,
            cut: Cell::new(false),
            execs: Vec::new(),
            server_calls: HashMap::new(),
            cached: story::cached(&case.evidence, case.joined),
            used: HashSet::new(),
            first_tries: HashMap::new(),
        };
        for (c, connection) in case.joined.connections.entries() {
            let asker = connection.asker();
            this.connections.entry(asker).or_default().push(c);
            if connection.role == Role::Server {
                this.first_server = this.first_server.or(Some(c));
                if let Some(at) = connection.began() {
                    let last = this.server_calls.entry(asker).or_insert(at);
                    *last = (*last).max(at);
                }
            }
        }
        for l in case.joined.lookups.ids() {
            let asker = this.asker_of_lookup(case, l);
            this.lookups.entry(asker).or_default().push(l);
        }
        this.find_tries(case);
        for (id, event) in case.evidence.numbered() {
            let EventKind::Call(call) = &event.what else {
                continue;
            };
            if matches!(call.op, Op::Exec { .. }) && call.outcome.value().is_some() {
                let process = case.joined.processes.of(&call.task);
                this.execs.push((event.at, process));
            }
            if call.op == Op::IoUring {
                let process = ClientId::Process(case.joined.processes.of(&call.task));
                this.io_uring.entry(process).or_insert(event.at);
            }
            let lasted = call.exited.map_or(Span::ZERO, |exit| exit - event.at);
            let timed_out = matches!(call.outcome, CallOutcome::Returned(0));
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

    /// Finds the lookups that connections used, and the tries of the same name that went before them. A trace shows when a
    /// program begins; without one the first try does.
    fn find_tries(&mut self, case: &Case) {
        let lookups = &case.joined.lookups;
        // A connection to a resolver is a part of the lookup that it carries.
        let connections = case.joined.connections.entries();
        let servers = connections.filter(|(_, x)| x.role == Role::Server);
        let used = servers.filter_map(|(c, _)| self.own_lookup(case, Subject::Connection(c)));
        self.used = used.collect();
        let hosts = self.used.iter().copied();
        let hosts: Vec<LookupId> = hosts.filter(|l| !lookups[*l].origin.is_traced()).collect();
        for lookup in hosts {
            let list = self.lookups.get(&lookups[lookup].asker());
            let list = list.map_or(&[][..], Vec::as_slice);
            let before = &list[..list.partition_point(|l| *l < lookup)];
            let mut first = lookup;
            for &l in before.iter().rev().take(MAX_TRIES) {
                let (this, next) = (&lookups[l], &lookups[first]);
                let gap = next.began - this.ended;
                let futile = this.reverse.is_some() || this.outcome != LookupOutcome::Answered;
                let same = this.name.folded() == next.name.folded();
                if same && futile && gap <= story::NEXT_ATTEMPT && self.used.insert(l) {
                    first = l;
                }
            }
            if first != lookup {
                self.first_tries.insert(lookup, first);
            }
        }
    }

    /// When the program of a process began, unless it is the first of the case: its last exec by then; of a process that
    /// made none, its fork.
    pub fn program_start(
        &self,
        case: &Case,
        process: ProcessId,
        by: Timestamp,
    ) -> Option<Timestamp> {
        let first = self.execs.first()?;
        let own = |(at, of): &&(Timestamp, ProcessId)| *of == process && *at <= by;
        match self.execs.iter().rev().find(own) {
            Some(exec) if exec == first => None,
            Some((at, _)) => Some(*at),
            None => {
                let process = case.joined.processes.get(process)?;
                process.parent.and(process.seen).map(|(first, _)| first)
            }
        }
    }

    /// Settles how many claims each of so many accounts weighs. In a storm of overlapping lookups all of them may claim
    /// every window, and a thousand accounts of a million claims each would take hours.
    pub fn share_among(&mut self, accounts: usize) {
        self.claims_each = (ALL_CLAIMS / accounts.max(1)).max(LEAST_CLAIMS);
    }

    /// Who is behind a lookup.
    pub fn asker_of_lookup(&self, case: &Case, lookup: LookupId) -> ClientId {
        let mut queries = case.joined.lookups[lookup].queries(case.joined);
        // A name service may have been asked without a query.
        let own = || case.joined.lookups[lookup].asker();
        queries.next().map_or_else(own, |q| q.asker())
    }

    /// Who is behind a subject.
    pub fn asker_of(&self, case: &Case, subject: Subject) -> ClientId {
        match subject {
            Subject::Lookup(l) => self.asker_of_lookup(case, l),
            Subject::Connection(c) => case.joined.connections[c].asker(),
        }
    }

    /// The lookup that a subject waited for: a connection's own, unless an earlier connection had used it.
    pub fn own_lookup(&self, case: &Case, subject: Subject) -> Option<LookupId> {
        match subject {
            Subject::Lookup(l) => Some(l),
            Subject::Connection(c) => case.joined.connections[c]
                .lookup
                .filter(|_| !self.cached.contains(&c)),
        }
    }

    /// Whether a connection went to an address that an earlier one had used.
    pub fn is_cached(&self, c: ConnectionId) -> bool {
        self.cached.contains(&c)
    }

    /// Where the lookups of one name began that followed each other until this one gave what was wanted.
    pub fn first_try(&self, lookup: LookupId) -> LookupId {
        self.first_tries.get(&lookup).copied().unwrap_or(lookup)
    }

    /// Whether a connect to a server followed a lookup: one of its process, and without a trace one that used it.
    pub fn is_followed(&self, case: &Case, lookup: LookupId) -> bool {
        let asker = case.joined.lookups[lookup].asker();
        let began = case.joined.lookups[lookup].began;
        if case.joined.lookups[lookup].origin.is_traced() {
            let last = self.server_calls.get(&asker);
            last.is_some_and(|last| *last >= began)
        } else {
            self.used.contains(&lookup)
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
