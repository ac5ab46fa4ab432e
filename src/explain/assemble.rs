//! The report's plain types, made from what the join and the account say.

use super::clients::{self, ClientTally};
use super::ledger::{Account, AccountEntry, Index, Kind, Subject, window};
use super::listed::Listed;
use super::whatif::{WhatIfModel, to_report};
use super::{
    Case, cite, evicted, finding, ledger, left_out, lost, resolver, stack, unattributed, verdict,
    words,
};
use crate::clock::Solution;
use crate::join::connect::{Connection, Ending, Role};
use crate::join::lookup::{Lookup, Outcome};
use crate::join::{ConnectionId, LookupId, Query, Silence, State};
use crate::report::{
    self, ConnectionOutcome, LookupKind, LookupOutcome, QueryState, Report, SubjectKind,
};
use crate::time::{Span, Timestamp};
use crate::totals::ClientKey;
use std::cmp::Reverse;

/// How many elements the bounded lists keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of lookups, connections and delays each.
    pub list: usize,
    /// Of stacks, which are long.
    pub stacks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::BOUNDED
    }
}

impl Limits {
    /// Enough for any case a person reads, little enough for a machine to hold.
    pub const BOUNDED: Self = Self {
        list: 1_000,
        stacks: 100,
    };
    /// `--all`.
    pub const ALL: Self = Self {
        list: usize::MAX,
        stacks: usize::MAX,
    };
}

/// Makes the report of a case.
pub fn report(case: &Case, clock: &[Solution], limits: Limits) -> Report {
    let mut index = Index::new(case);
    let (accounts, left_out) = accounts(case, &mut index, limits);
    let findings = finding::all(case, &accounts);
    let whatif = WhatIfModel::new(case);
    let joined = case.joined;
    let mut resolvers = resolver::rows(case);
    let resolvers_left_out = resolvers.len().saturating_sub(limits.list);
    resolvers.truncate(limits.list);
    let listed = Listed::choose(case, &accounts, &findings, limits.list);
    let mut report = Report {
        schema: report::SCHEMA.into(),
        started: case.dated.then(|| cite::rfc3339(case.started)),
        run: None,
        summary: verdict::sentences(case, &accounts, &findings),
        inputs: inputs(case, clock),
        resolver_config: case.config.map(|(path, conf)| report::ResolverConfig {
            path: path.into(),
            nameservers: conf
                .nameservers
                .iter()
                .map(|(a, _)| a.to_string())
                .collect(),
            search: conf.search.clone(),
            options: conf.options.clone(),
        }),
        resolvers,
        lookups: { listed.lookups.iter() }
            .map(|l| lookup(case, &whatif, *l, &joined.lookups[*l]))
            .collect(),
        connections: { listed.connections.iter() }
            .map(|c| connection(case, *c, &joined.connections[*c]))
            .collect(),
        clients: hosts(case, &accounts, limits),
        delays: accounts.iter().map(|a| delay(case, a)).collect(),
        totals: lost::totals(case, &accounts, left_out),
        best_change: accounts.first().and_then(|a| to_report::best(&whatif, a)),
        findings: findings.into_iter().map(|f| f.report).collect(),
        stacks: Vec::new(),
        unsolicited_responses: joined.unsolicited.responses + case.totals.unsolicited.responses,
        not_attributable: evicted::not_attributable(case),
        unattributed: unattributed::rows(case),
        duplicates_removed: case
            .evidence
            .captures
            .iter()
            .map(|c| c.duplicates)
            .sum::<u64>()
            + case.totals.copies,
        omitted: report::Omitted {
            lookups: joined.lookups.len() - listed.lookups.len() + case.totals.lookups,
            connections: joined.connections.len() - listed.connections.len()
                + case.totals.connections,
            delays: left_out,
            stacks: 0,
            resolvers: resolvers_left_out,
        },
        warnings: warnings(case, &index),
    };
    stack::list(case, &mut report, limits.stacks);
    report
}

/// The hosts that asked and connected, where packets alone show them and there are several.
fn hosts(case: &Case, accounts: &[Account], limits: Limits) -> Vec<report::Client> {
    if case.evidence.has_trace() {
        return Vec::new();
    }
    let mut list: Vec<_> = clients::all(case, accounts).into_iter().collect();
    if list.len() < 2 {
        return Vec::new();
    }
    list.sort_by_key(|(key, client)| (Reverse(client.slowest), *key));
    list.truncate(limits.list);
    let row = |(key, client): (ClientKey, ClientTally)| report::Client {
        address: key.address.to_string(),
        task: key.pid.map(|pid| report::Task {
            pid: Some(pid),
            tid: None,
            comm: { case.joined.processes.watched(pid) }
                .and_then(|p| p.comm.as_deref())
                .map(str::to_owned),
        }),
        connects: Some(client.acts.connects as u64),
        lookups: Some(client.acts.lookups as u64),
        slowest_s: client.slowest.map(|s| cite::seconds(s.as_seconds())),
        lost: Some(client.acts.lost as u64),
    };
    list.into_iter().map(row).collect()
}

/// The accounts of the slowest subjects, slowest first, and how many others there are.
pub fn accounts(case: &Case, index: &mut Index, limits: Limits) -> (Vec<Account>, usize) {
    let mut subjects = by_delay(case, index);
    let left_out = subjects.len().saturating_sub(limits.list);
    subjects.truncate(limits.list);
    index.share_among(subjects.len());
    let kept = subjects.into_iter();
    (
        kept.filter_map(|s| ledger::account(case, index, s))
            .collect(),
        left_out + case.totals.subjects,
    )
}

/// All subjects, the slowest first.
pub fn by_delay(case: &Case, index: &Index) -> Vec<Subject> {
    let mut subjects: Vec<(Reverse<Span>, usize, Subject)> = window::subjects(case, index)
        .into_iter()
        .enumerate()
        .filter_map(|(n, s)| {
            let (from, to) = window::bounds(case, index, s)?;
            let after = match s {
                Subject::Connection(c) => what_came_after(case, index, c),
                Subject::Lookup(_) => Span::ZERO,
            };
            Some((Reverse((to - from) + after), n, s))
        })
        .collect();
    subjects.sort_unstable_by_key(|(slow, n, _)| (*slow, *n));
    subjects.into_iter().map(|(_, _, s)| s).collect()
}

/// The wait after the SYN, unless a later attempt of the same story has it in its own account.
fn what_came_after(case: &Case, index: &Index, c: ConnectionId) -> Span {
    let this = &case.joined.connections[c];
    if is_retried(case, index, c) {
        Span::ZERO
    } else {
        let pending = || verdict::unanswered_since(case, this);
        let tried = || finding::attempt::tried(case, this);
        ledger::after_syn(this)
            .or_else(pending)
            .or_else(tried)
            .unwrap_or_default()
    }
}

/// How many attempts after one are looked at for one of its story.
const NEXT_ATTEMPTS: usize = 16;

/// Whether a later attempt goes on with the story of one that did not connect. Where those after it were evicted, that is
/// known from before.
pub fn is_retried(case: &Case, index: &Index, c: ConnectionId) -> bool {
    let this = &case.joined.connections[c];
    if this.outcome == Ending::Connected {
        return false;
    }
    if let Some(retried) = window::retried_by_evicted(case, c) {
        return retried;
    }
    let list = index
        .connections
        .get(&index.asker_of(case, Subject::Connection(c)));
    let later = list.map_or(&[][..], |list| &list[list.partition_point(|o| *o <= c)..]);
    let mut follows = true;
    let mut next = later.iter().take(NEXT_ATTEMPTS).take_while(|o| {
        let takes = follows;
        follows = !window::precedes_evicted(case, **o);
        takes
    });
    next.any(|o| ledger::story::same_story(case, *o, this))
}

fn inputs(case: &Case, clock: &[Solution]) -> report::Inputs {
    let evidence = &case.evidence;
    report::Inputs {
        captures: evidence
            .captures
            .iter()
            .map(|c| report::Capture {
                path: c.path.clone(),
                packets: c.packets,
                undecodable: c.undecodable,
                dropped: c.dropped,
                drop_times: left_out::drop_times(case, c),
                left_out: left_out::rows(case, c),
                left_out_early: Some(c.omitted.hurried).filter(|n| *n > 0),
            })
            .collect(),
        traces: evidence
            .traces
            .iter()
            .map(|t| report::Trace {
                path: t.path.clone(),
                writer: t.writer,
                style: t.style.clone(),
                calls: t.calls,
                skipped_lines: t.skipped_lines,
            })
            .collect(),
        watched: evidence.owners.watched().map(|w| report::Watched {
            target: w.target.clone(),
            netns: w.netns,
            no_threads: w.no_threads.clone(),
            inexact: w.inexact.clone(),
        }),
        // Of several traces the one laid beside the captures least surely, in whatever order they came.
        clock: clock
            .iter()
            .max_by_key(|s| {
                let method = s.method.to_string();
                (s.uncertainty, s.offset.abs(), s.offset, method)
            })
            .map_or_else(
                || report::Clock {
                    method: if evidence.has_capture() && evidence.has_trace() {
                        "one clock: traced and captured by presyn at once".into()
                    } else {
                        "one input, one clock".into()
                    },
                    offset_s: Some(0.0),
                    uncertainty_s: Some(0.0),
                },
                |s| report::Clock {
                    offset_s: Some(cite::seconds(s.offset.as_seconds())),
                    uncertainty_s: Some(cite::seconds(s.uncertainty.as_seconds())),
                    method: s.method.to_string(),
                },
            ),
    }
}

fn lookup(case: &Case, whatif: &WhatIfModel, l: LookupId, lookup: &Lookup) -> report::Lookup {
    let known = whatif.known(l);
    let first = lookup.queries.first().map(|q| &case.joined.queries[*q]);
    let by_packet = first.is_some_and(|q| q.packet.is_some());
    let began = cite::moment(case, lookup.began, by_packet);
    report::Lookup {
        id: cite::lookup_id(l),
        name: lookup.shown_name(),
        kind: if lookup.reverse.is_some() {
            LookupKind::Reverse
        } else {
            LookupKind::Forward
        },
        tasks: lookup.tasks.iter().map(cite::task).collect(),
        from: lookup.client.map(|client| client.to_string()),
        began: began
            .filter(|_| case.dated)
            .map(|_| cite::rfc3339(lookup.began)),
        began_s: began,
        seconds: cite::known(case, lookup.ended - lookup.began),
        addresses: lookup.addresses.iter().map(ToString::to_string).collect(),
        outcome: Some(match lookup.outcome {
            Outcome::Answered => LookupOutcome::Answered,
            Outcome::Negative => LookupOutcome::Negative,
            Outcome::Referred => LookupOutcome::Referred,
            Outcome::Failed => LookupOutcome::Failed,
            Outcome::Open => LookupOutcome::Open,
        }),
        callers: stack::callers(
            case,
            lookup
                .queries
                .iter()
                .filter_map(|q| case.joined.queries[*q].cause?.call),
        ),
        timetable: to_report::timetable(whatif, &known),
        client: known.guess.client,
        client_why: known.guess.why.clone(),
        searched: lookup.searched.iter().map(ToString::to_string).collect(),
        queries: lookup
            .queries
            .iter()
            .take(cite::MAX_CITED)
            .map(|q| query(case, &case.joined.queries[*q]))
            .collect(),
    }
}

fn query(case: &Case, q: &Query) -> report::Query {
    report::Query {
        resolver: q.resolver.to_string(),
        transport: cite::transport(q.transport),
        question: q.question.name.known().map(|_| q.question.to_string()),
        sent_s: cite::moment(case, q.sent, q.packet.is_some()),
        state: state(q),
        rcode: q.response().map(|a| a.rcode.to_string()),
        waited_s: cite::known(case, q.waited()),
        cause: q.cause.map(|c| cite::cause(case, c, q.packet)),
        packet: q.packet.map(|p| cite::place(case, p)),
        answer: q.response().map(|a| cite::place(case, a.event)),
    }
}

/// What became of a query.
fn state(q: &Query) -> QueryState {
    match &q.state {
        State::Answered(answer) if answer.late => QueryState::Late,
        State::Answered(_) => QueryState::Answered,
        State::NotReceived(..) => QueryState::NotReceived,
        State::Unanswered(Silence::Refused(_)) => QueryState::Refused,
        State::Unanswered(Silence::Absent(_)) => QueryState::Unanswered,
        State::Open(_) | State::Unseen => QueryState::Open,
        State::NeverSent(_) => QueryState::NeverSent,
    }
}

/// How an attempt ended.
fn outcome(ending: &Ending) -> ConnectionOutcome {
    match ending {
        Ending::Connected => ConnectionOutcome::Connected,
        Ending::Refused => ConnectionOutcome::Refused,
        Ending::Unreachable => ConnectionOutcome::Unreachable,
        Ending::TimedOut(_) => ConnectionOutcome::TimedOut,
        Ending::NoSyn(_) => ConnectionOutcome::NoSyn,
        Ending::Open(_) => ConnectionOutcome::Open,
    }
}

fn connection(case: &Case, c: ConnectionId, x: &Connection) -> report::Connection {
    let ended_by = x.ended_by.filter(|e| case.evidence.is_packet(*e));
    let connected = x.outcome == Ending::Connected;
    report::Connection {
        id: cite::connection_id(c),
        to: x.to.to_string(),
        wire_to: x.wire_to.map(|w| w.to_string()),
        from: x.from.map(|f| f.to_string()),
        task: x.task.as_ref().map(cite::task),
        role: match x.role {
            Role::Server => report::Role::Server,
            Role::Resolver => report::Role::Resolver,
            Role::Other => report::Role::Other,
            Role::NotAttributable => report::Role::NotAttributable,
            Role::Unattributed => report::Role::Unattributed,
        },
        called_s: x.called.and_then(|at| cite::moment(case, at, false)),
        syn_s: x.first_syn.map(|at| cite::since(case, at)),
        syns: Some(x.syns.len() as u64),
        retransmissions: Some(x.repeats as u64),
        outcome: Some(outcome(&x.outcome)),
        connect_seconds: ledger::after_syn(x)
            .filter(|_| connected)
            .and_then(|s| cite::known(case, s)),
        client_data_s: after_connected(x, x.opening.client_data),
        server_data_s: after_connected(x, x.opening.server_data),
        lookup: x.lookup.map(cite::lookup_id),
        cause: { x.cause }.map(|cause| cite::cause(case, cause, x.syns.first().copied())),
        packets: cite::places(case, x.syns.iter().chain(&ended_by)),
    }
}

/// From the end of a handshake to a later packet of its connection.
fn after_connected(x: &Connection, at: Option<Timestamp>) -> Option<f64> {
    let connected = x.ended.filter(|_| x.outcome == Ending::Connected)?;
    let after = (at? - connected).max(Span::ZERO);
    Some(cite::seconds(after.as_seconds()))
}

fn delay(case: &Case, account: &Account) -> report::Delay {
    let since = |at: Option<Timestamp>| at.and_then(|at| cite::known(case, account.to - at));
    let (connection, lookup, after) = match account.subject {
        Subject::Connection(c) => {
            let x = &case.joined.connections[c];
            (
                Some(cite::connection_id(c)),
                x.lookup.map(cite::lookup_id),
                ledger::after_syn(x),
            )
        }
        Subject::Lookup(l) => (None, Some(cite::lookup_id(l)), None),
    };
    report::Delay {
        subject: match account.subject {
            Subject::Connection(_) => SubjectKind::Connection,
            Subject::Lookup(_) => SubjectKind::Lookup,
        },
        connection,
        lookup,
        since_start_s: cite::known(case, account.total()),
        at_least: case.evidence.only_lower_bounds(),
        since_first_query_s: since(account.first_query),
        since_first_lookup_s: since(account.first_lookup),
        after_syn_s: after.and_then(|s| cite::known(case, s)),
        cpu_seconds: account.cpu.map(|c| cite::seconds(c.as_seconds())),
        entries: account
            .lines
            .iter()
            .filter(|l| l.party.is_some() || case.evidence.known(l.span).is_some())
            .map(|l| entry(case, l))
            .collect(),
    }
}

fn entry(case: &Case, line: &AccountEntry) -> report::Entry {
    report::Entry {
        kind: line.kind,
        party: line.party.map(|p| p.to_string()),
        question: verdict::one_question(case, line),
        queries: Some(line.queries.len() as u64),
        seconds: cite::known(case, line.span),
        inferred: line.inferred || case.evidence.only_lower_bounds(),
        start_up: line.kind == Kind::Running && line.start_up,
        note: note(case, line),
        calls: cite::places(case, &line.calls),
        packets: cite::places(case, &line.packets),
    }
}

/// What else is to be said about an entry.
pub fn note(case: &Case, line: &AccountEntry) -> Option<String> {
    if !line.with.is_empty() {
        let others: Vec<String> = line.with.iter().map(|e| words::resolver(*e)).collect();
        return Some(format!(
            "{} {} asked at the same time and did not answer either",
            words::list(&others),
            if others.len() == 1 { "was" } else { "were" }
        ));
    }
    if let Some(resolver) = line.unread {
        return Some(format!(
            "an answer of {resolver} had arrived meanwhile and was not read"
        ));
    }
    if line.unsent {
        return Some("no SYN left this host".into());
    }
    if line.kind == Kind::Unexplained && line.party.is_some() {
        return Some("connect was called, and the log does not show whether it succeeded".into());
    }
    let queries = line.queries.iter().map(|q| &case.joined.queries[*q]);
    let assumed = queries.filter(|q| q.assumed && q.is_silent());
    let longest = assumed.map(Query::waited).max()?.min(line.span);
    Some(format!(
        "{} of that assumed: no later packet shows when the client stopped waiting",
        case.took(longest)
    ))
}

fn warnings(case: &Case, index: &Index) -> Vec<String> {
    let evidence = &case.evidence;
    let mut list: Vec<String> = Vec::new();
    for warnings in evidence
        .captures
        .iter()
        .map(|c| &c.warnings)
        .chain(evidence.traces.iter().map(|t| &t.warnings))
    {
        list.extend(warnings.iter().cloned());
    }
    list.extend(finding::coverage::remarks(case));
    list.extend(evicted::remarks(case));
    if index.cut.get() {
        list.push(format!(
            "so many lookups overlapped that a delay breakdown considers only {} of them",
            index.claims_each
        ));
    }
    list
}
