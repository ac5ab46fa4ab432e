//! A server that looks up the name of the client which it has just accepted.

use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::event::{EventKind, Op};
use crate::explain::Case;
use crate::explain::ledger::Subject;
use crate::explain::words;
use crate::join::connect::{Connection, Ending};
use crate::join::lookup::{Lookup, Outcome};
use crate::join::{EventId, LookupId, ProcessId, Query};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// What `presyn explain server-reverse-lookup` shows.
pub const PAGE: Page = Page {
    id: FindingId::ServerReverseLookup,
    rests_on_absence: false,
    in_summary: true,
    text: "A server looked up the name of the client that it had just accepted.

The client's handshake is quick, and then nothing happens until the server has the name,
or has given up on it. Only a log file needs that name: sshd with UseDNS, databases
(MySQL without skip-name-resolve), mail and FTP servers, tcp_wrappers, identd clients
do it. The resolvers that are asked are the server's own.

presyn sees a connection that a host accepts, and then a PTR query of the same host for
the address of the other end, which was slow or not answered.

What to do: switch it off: 'UseDNS no' in sshd_config, 'skip-name-resolve' for MySQL,
HostnameLookups Off for Apache. Or put the clients' addresses into the server's
/etc/hosts, or repair the reverse zone that its resolvers cannot reach.",
};

/// How soon after accepting a connection a server looks up its client.
const AT_ONCE: Span = Span::seconds(5);

/// A lookup that costs less than this delays nobody.
const NOTICEABLE: Span = Span::millis(100);

/// Finds slow reverse lookups of accepted clients, one finding per server.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut by_peer: HashMap<(IpAddr, IpAddr), Vec<&Connection>> = HashMap::new();
    for x in &case.joined.connections {
        let accepted = !x.origin.is_traced() && x.outcome == Ending::Connected;
        if let Some(from) = x.from.filter(|_| accepted) {
            by_peer.entry((x.to.ip, from.ip)).or_default().push(x);
        }
    }
    let mut by_server: HashMap<IpAddr, Vec<(LookupId, &Connection)>> = HashMap::new();
    for (l, lookup) in case.joined.lookups.entries() {
        let Some((server, peer)) = lookup.client.zip(lookup.reverse) else {
            continue;
        };
        let before = |x: &&&Connection| {
            let since = x.ended.map(|at| lookup.began - at);
            since.is_some_and(|since| since >= Span::ZERO && since <= AT_ONCE)
        };
        let accepted = by_peer
            .get(&(server, peer))
            .and_then(|list| list.iter().rev().find(before));
        if let Some(x) = accepted.filter(|_| is_slow(lookup)) {
            by_server.entry(server).or_default().push((l, x));
        }
    }
    let mut servers: Vec<_> = by_server.into_iter().collect();
    servers.sort_unstable_by_key(|(server, _)| *server);
    let drafts = servers.iter();
    let seen = drafts.filter_map(|(server, list)| draft(case, *server, list));
    seen.chain(by_calls(case)).collect()
}

/// A connection that a traced process accepted.
struct Accepted {
    at: Timestamp,
    peer: IpAddr,
    process: ProcessId,
    call: EventId,
}

fn accepted(case: &Case) -> Vec<Accepted> {
    let events = case.evidence.numbered();
    let calls = events.filter_map(|(call, event)| {
        let EventKind::Call(c) = &event.what else {
            return None;
        };
        let Op::Accept { new, .. } = &c.op else {
            return None;
        };
        Some(Accepted {
            at: c.exited.unwrap_or(event.at),
            peer: new.note.as_ref()?.peer?.ip,
            process: case.joined.processes.of(&c.task),
            call,
        })
    });
    calls.collect()
}

/// A lookup and the call that accepted the connection of the address that it asks about.
fn calls_before(case: &Case) -> Vec<(LookupId, EventId)> {
    let accepted = accepted(case);
    if accepted.is_empty() {
        return Vec::new();
    }
    let mut list = Vec::new();
    for (l, lookup) in case.joined.lookups.entries() {
        let (Some(peer), Some(process)) = (lookup.reverse, lookup.process) else {
            continue;
        };
        let line = lineage(case, process);
        let end = accepted.partition_point(|a| a.at <= lookup.began);
        let recent = accepted[..end].iter().rev();
        let own = recent
            .take_while(|a| lookup.began - a.at <= AT_ONCE)
            .find(|a| a.peer.to_canonical() == peer.to_canonical() && line.contains(&a.process));
        list.extend(own.map(|a| (l, a.call)));
    }
    list
}

/// A process and those that led to it: a server accepts, and its child looks up.
fn lineage(case: &Case, process: ProcessId) -> Vec<ProcessId> {
    let parent = |p: &ProcessId| case.joined.processes.get(*p)?.parent;
    std::iter::successors(Some(process), parent)
        .take(8)
        .collect()
}

/// The lookups of clients that traced servers had accepted.
pub fn of_traced_servers(case: &Case) -> HashSet<LookupId> {
    calls_before(case).into_iter().map(|(l, _)| l).collect()
}

fn by_calls(case: &Case) -> Option<Draft> {
    let lookups = &case.joined.lookups;
    let lasted = |l: LookupId| lookups[l].ended - lookups[l].began;
    let list = calls_before(case);
    let &(worst, call) = list.iter().max_by_key(|(l, _)| lasted(*l))?;
    let (lookup, time) = (&lookups[worst], lasted(worst));
    if lookup.outcome == Outcome::Answered && time < NOTICEABLE {
        return None;
    }
    let peer = lookup.reverse?;
    let queries: Vec<&Query> = lookup.queries(case.joined).collect();
    let comm = lookup.tasks.first().and_then(|t| t.comm.as_deref());
    let mut evidence = vec![call];
    evidence.extend(tally::evidence(queries.iter().copied()));
    Some(Draft {
        id: PAGE.id,
        severity: cost::severity(Some(time), false),
        subject: Some(Subject::Lookup(worst)),
        parties: parties::names([lookup]),
        title: format!(
            "{} had just accepted a connection of {peer}: this is a server's reverse lookup of its client",
            comm.unwrap_or("The process")
        ),
        detail: format!(
            "{} for the name of {peer} in {}; {} accepted {} followed by such a lookup. A server that does this \
             serves its client only afterwards, and does not need the name.",
            words::queries(queries.len()),
            case.took(time),
            words::counted(list.len(), "connection", "connections"),
            if list.len() == 1 { "was" } else { "were" }
        ),
        cost: Some(time),
        total: None,
        remedy: Some(format!(
            "Switch the lookup off in the server ('UseDNS no' for sshd, 'skip-name-resolve' for MySQL), or repair the \
             reverse zone of {peer}."
        )),
        evidence,
    })
}

fn is_slow(lookup: &Lookup) -> bool {
    !lookup.origin.is_traced()
        && (lookup.outcome == Outcome::Failed || lookup.ended - lookup.began >= NOTICEABLE)
}

fn draft(case: &Case, server: IpAddr, list: &[(LookupId, &Connection)]) -> Option<Draft> {
    let lookups = &case.joined.lookups;
    let lasted = |l: LookupId| lookups[l].ended - lookups[l].began;
    let &(worst, x) = list.iter().max_by_key(|(l, _)| lasted(*l))?;
    let lookup = &lookups[worst];
    let time = lasted(worst);
    let queries: Vec<&Query> = lookup.queries(case.joined).collect();
    let peer = lookup.reverse?;
    let end = match lookup.outcome {
        Outcome::Answered => format!("answered after {}", case.took(time)),
        Outcome::Negative => format!("answered after {} (no such name)", case.took(time)),
        Outcome::Referred | Outcome::Failed | Outcome::Open => "not answered".into(),
    };
    let many = match list.len() {
        1 => String::new(),
        n => format!(" {n} connections to it were followed by such a lookup."),
    };
    Some(Draft {
        id: PAGE.id,
        severity: cost::severity(Some(time), false),
        subject: Some(Subject::Lookup(worst)),
        parties: parties::names([lookup]),
        title: format!(
            "{server} had just accepted a connection of {peer} to port {}: this is a server's reverse lookup of its \
             client",
            x.to.port
        ),
        detail: format!(
            "{} for the name of {peer}, {end}. A server that does this serves its client only afterwards.{many}",
            words::queries(queries.len())
        ),
        cost: Some(time),
        total: None,
        remedy: Some(format!(
            "Switch the lookup off in the server at port {} ('UseDNS no' for sshd, 'skip-name-resolve' for MySQL), or \
             repair the reverse zone of {peer}.",
            x.to.port
        )),
        evidence: {
            let mut events = x.syns.clone();
            events.extend(x.ended_by);
            events.extend(tally::evidence(queries));
            events
        },
    })
}
