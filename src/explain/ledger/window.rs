//! Where an account begins and ends.

use super::probes;
use super::story::same_story;
use super::{Index, Subject};
use crate::event::Location;
use crate::explain::Case;
use crate::flow::TargetHost;
use crate::join::connect::{Connection, Role};
use crate::join::{ClientId, ConnectionId, Id, Origin, Query};
use crate::time::Timestamp;
use std::collections::HashSet;
use std::net::IpAddr;

/// The subjects of a case: every attempt to reach a server, and every lookup that no such attempt of
/// the same asker followed.
pub fn subjects(case: &Case, index: &Index) -> Vec<Subject> {
    let joined = case.joined;
    let mut list: Vec<Subject> = Vec::new();
    let chosen: HashSet<IpAddr> = match case.target.map(|target| &target.host) {
        Some(TargetHost::Name(name)) => case.addresses_of(name).collect(),
        Some(TargetHost::Any | TargetHost::At(_)) | None => HashSet::new(),
    };
    for (c, connection) in joined.connections.entries() {
        if is_subject(connection) && is_wanted(case, &chosen, connection) {
            list.push(Subject::Connection(c));
        }
    }
    for (l, lookup) in joined.lookups.entries() {
        let origin = lookup.queries.first().map(|q| joined.queries[*q].origin);
        // What only a call shows is a traced process's.
        let ours = origin.is_none_or(Origin::is_clients);
        if ours && !index.is_followed(case, l) && case.target.is_none() {
            list.push(Subject::Lookup(l));
        }
    }
    list
}

fn is_subject(connection: &Connection) -> bool {
    connection.role == Role::Server && connection.reached().is_some()
}

/// Whether the user wants to see a connection; `chosen` are the addresses of the host, where it was chosen by name.
fn is_wanted(case: &Case, chosen: &HashSet<IpAddr>, connection: &Connection) -> bool {
    case.target.is_none_or(|target| {
        let ends = [Some(connection.to), connection.wire_to];
        ends.into_iter()
            .flatten()
            .any(|end| target.includes(end, chosen))
    })
}

/// The window of a subject.
///
/// 1. It ends at the attempt's first SYN, or its failure; at the end of the lookup.
/// 2. It begins at the beginning of the lookup that gave the address, unless an earlier connection had used that; else at
///    the connect call, without a trace at the SYN itself.
/// 3. An attempt that follows others of its story has their time as well.
///    In a capture it begins with the request for a neighbour or name that gave the address, where no lookup did.
/// 4. Where a trace shows the start of the program that connects, its first server connect begins there. A capture shows no such thing: what was
///    before the first packet of a connection is not known.
pub fn bounds(case: &Case, index: &Index, subject: Subject) -> Option<(Timestamp, Timestamp)> {
    let joined = case.joined;
    let (own, to, first) = match subject {
        Subject::Connection(c) => {
            let connection = &joined.connections[c];
            let to = connection.reached()?;
            let called = connection.called.unwrap_or(to).min(to);
            let lookup = index.own_lookup(case, subject);
            let lookup = lookup.map(|l| joined.lookups[index.first_try(l)].began);
            let earliest = earlier_attempts(case, index, c).last();
            let story = earliest.and_then(|o| joined.connections[o].began());
            let story = story.unwrap_or(called);
            // A neighbour or a name by multicast, where no lookup gave the address.
            let probe = probes::before(case, c)
                .filter(|_| lookup.is_none() && !connection.origin.is_traced());
            let story = probe.map_or(story, |probe| probe.began.min(story));
            let own = lookup.unwrap_or(story).min(story).min(called);
            (own, to, index.first_server == Some(c))
        }
        Subject::Lookup(l) => {
            let lookup = &joined.lookups[l];
            (
                lookup.began,
                lookup.ended,
                index.first_server.is_none() && l.position() == 0,
            )
        }
    };
    let from = if first
        && case
            .evidence
            .coverage
            .shows_start(case.evidence.has_trace())
    {
        let process = match index.asker_of(case, subject) {
            ClientId::Process(process) => Some(process),
            ClientId::Host(_) => None,
        };
        // Another program had run before.
        let alone = case.evidence.coverage.shows_one_program(false);
        let program = process.filter(|_| !alone);
        let program = program.and_then(|p| index.program_start(case, p, own));
        // What was attached to had run before the first event.
        let attached = case.evidence.was_attached();
        let began = program.or_else(|| (!attached).then(|| client_start(case)));
        began.map_or(own, |began| began.min(own))
    } else {
        own
    };
    Some((from, to.max(from)))
}

/// The failed attempts of the same story before this one, the latest first: a fallback's account tells of what failed. Where
/// attempts between were evicted, a story is not followed back.
pub fn earlier_attempts<'c>(
    case: &'c Case,
    index: &'c Index,
    c: ConnectionId,
) -> impl Iterator<Item = ConnectionId> + 'c {
    let list = index
        .connections
        .get(&index.asker_of(case, Subject::Connection(c)))
        .filter(|_| !index.is_cached(c));
    let before = list.map_or(&[][..], |list| &list[..list.partition_point(|o| *o < c)]);
    let latest_first = before.iter().rev().take(MAX_ATTEMPTS).copied();
    latest_first.take_while(move |o| {
        !precedes_evicted(case, *o) && same_story(case, c, &case.joined.connections[*o])
    })
}

/// Whether the attempt of the same asker after this one was evicted.
pub fn precedes_evicted(case: &Case, c: ConnectionId) -> bool {
    retried_by_evicted(case, c).is_some()
}

/// Of an attempt after which some of the same asker were evicted: whether what it tried was tried again.
pub fn retried_by_evicted(case: &Case, c: ConnectionId) -> Option<bool> {
    let cut = &case.totals.cut;
    if cut.is_empty() {
        return None;
    }
    cut.get(&place(case, c)?).copied()
}

/// Where an attempt shows: its call, or its first SYN.
pub fn place(case: &Case, c: ConnectionId) -> Option<Location> {
    let attempt = &case.joined.connections[c];
    let call = attempt.cause.and_then(|cause| cause.call);
    let shows = call.or(attempt.syns.first().copied())?;
    Some(case.evidence.event(shows).place)
}

/// More attempts in one story than a name has addresses are a retry loop, not a fallback.
pub const MAX_ATTEMPTS: usize = 16;

/// When a client began of which nothing else is known: with the trace, without one with the first packet of any kind.
fn client_start(case: &Case) -> Timestamp {
    let captures = case.evidence.captures.iter();
    let first = captures.filter_map(|c| c.first).min();
    first
        .filter(|_| !case.evidence.has_trace())
        .map_or(case.started, |first| first.min(case.started))
}

/// The first query in the window by a traced task (by anybody, without a trace), and the first
/// name-service activity of any kind.
pub fn first_activity(
    case: &Case,
    index: &Index,
    subject: Subject,
    from: Timestamp,
    to: Timestamp,
) -> (Option<Timestamp>, Option<Timestamp>) {
    let asker = index.asker_of(case, subject);
    let ours = |q: &Query| match q.origin {
        Origin::Traced => true,
        Origin::Watched | Origin::Unknown => q.asker() == asker,
        Origin::Untraced | Origin::NotAttributable | Origin::Unattributed => false,
    };
    let queries = &case.joined.queries;
    let start = queries.partition_point(|q| q.sent < from);
    let query = queries.as_slice()[start..]
        .iter()
        .take_while(|q| q.sent <= to)
        .find(|q| ours(q))
        .map(|q| q.sent);
    let services = &case.joined.services;
    let service = services
        .iter()
        .map(|s| s.began)
        .find(|at| *at >= from && *at <= to);
    (query, [query, service].into_iter().flatten().min())
}
