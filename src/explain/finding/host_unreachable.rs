//! A server that no packet reaches.

use super::tally::MAX_EVIDENCE;
use super::{Context, Draft, FindingId, Page, Severity, attempt, cost, parties, resolver_refused};
use crate::event::Errno;
use crate::explain::ledger::Subject;
use crate::explain::words;
use crate::flow::{Endpoint, Transport};
use crate::join::connect::{Connection, Ending, Role};
use crate::join::unsent;
use crate::join::{ConnectionId, EventId};
use std::collections::BTreeMap;

/// What `presyn explain host-unreachable` shows.
pub const PAGE: Page = Page {
    id: FindingId::HostUnreachable,
    rests_on_absence: true,
    in_summary: false,
    text: "The server could not be reached: the network said so, or no SYN ever left.

ICMP (host, network or port unreachable, prohibited) answered the SYN, or the connect
itself failed: EHOSTUNREACH after 3 s when the neighbour or gateway does not answer
ARP, ENETUNREACH at once when there is no route, EACCES or EPERM when a rule on this
host forbids it, EADDRNOTAVAIL when no local port or address is left.

presyn sees the ICMP error, or the error of the call together with a capture in which
no SYN is found. A kernel that finds no neighbour sends the error to its own host and
quotes the SYN that was never transmitted: that shows it without a trace too.

What to do: 'ip route get ADDRESS' shows the route, 'ip neigh' whether the next hop
answers. ENETUNREACH for an IPv6 address on a host without IPv6 is harmless when the
program goes on to IPv4. Prohibited: the sender of the ICMP packet is the firewall.",
};

/// Finds unreachable servers, one finding per server.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    // A log of connects alone does not tell UDP sockets from TCP: only an error shows a failure there.
    let told = case
        .evidence
        .traces
        .iter()
        .all(|t| t.sees.sockets || t.sees.everything);
    let syns_seen = told && case.joined.connections.iter().any(|x| !x.syns.is_empty());
    let mut groups: BTreeMap<Endpoint, Vec<ConnectionId>> = BTreeMap::new();
    for (c, x) in case.joined.connections.entries() {
        let unreachable = match x.outcome {
            Ending::Unreachable => true,
            // That a capture shows no SYN proves nothing when it shows none at all, unless the call failed.
            Ending::NoSyn(_) => {
                let told = x.ended_by.is_some_and(|e| case.evidence.is_packet(e));
                told || attempt::error(case, x).is_some() || syns_seen
            }
            _ => false,
        };
        if x.role == Role::Server && unreachable {
            groups.entry(x.to).or_default().push(c);
        }
    }
    let failed = groups
        .into_iter()
        .filter_map(|(to, list)| draft(context, to, &list));
    failed.chain(told_itself(context)).collect()
}

/// Servers of which this host told itself by ICMP that they cannot be reached, and that no attempt is known to have
/// tried: the quoted SYN never left.
fn told_itself(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut groups: BTreeMap<Endpoint, Vec<EventId>> = BTreeMap::new();
    for (id, quote) in unsent::errors(&case.evidence) {
        if quote.flow.transport == Transport::Tcp {
            groups.entry(quote.flow.dst).or_default().push(id);
        }
    }
    groups.retain(|to, _| case.joined.connections.iter().all(|x| x.to != *to));
    groups
        .into_iter()
        .map(|(to, errors)| never_left(context, to, errors))
        .collect()
}

fn never_left(context: &Context, to: Endpoint, errors: Vec<EventId>) -> Draft {
    let told = context.case.evidence.event(errors[0]).at;
    let mut evidence: Vec<EventId> =
        unsent::search(&context.case.evidence, errors[0], to.ip).collect();
    let search = evidence
        .first()
        .map(|first| told - context.case.evidence.event(*first).at);
    let requests = evidence.len();
    evidence.extend(errors);
    evidence.truncate(MAX_EVIDENCE);
    Draft {
        id: PAGE.id,
        severity: Severity::High,
        subject: None,
        parties: parties::servers([to]),
        title: format!("No SYN to {to} left this host"),
        detail: format!(
            "The local kernel generated ICMP host-unreachable; the SYN it quotes was never transmitted.{}",
            search.map_or_else(String::new, |span| format!(
                " {} for its neighbour in {}, and no host answered.",
                words::counted(requests, "request", "requests"),
                context.case.took(span)
            ))
        ),
        cost: search,
        total: None,
        remedy: Some(remedy(to)),
        evidence,
    }
}

fn remedy(to: Endpoint) -> String {
    format!(
        "Check the path to {0}: ip route get {0}; ip neigh; nft list ruleset.",
        crate::flow::host(to.ip)
    )
}

fn draft(context: &Context, to: Endpoint, list: &[ConnectionId]) -> Option<Draft> {
    let case = context.case;
    let worst = list
        .iter()
        .copied()
        .max_by_key(|c| attempt::lasted(&case.joined.connections[*c]))?;
    let x = &case.joined.connections[worst];
    let took = attempt::lasted(x);
    let recovered = list
        .iter()
        .all(|c| attempt::recovered(case, &case.joined.connections[*c]));
    let quick = took.is_none_or(|t| t < crate::time::Span::millis(100));
    let severity = match (recovered, quick) {
        (true, true) => Severity::Info,
        (true, false) => cost::severity(took, false),
        (false, _) => Severity::High,
    };
    let draft = Draft {
        id: PAGE.id,
        severity,
        subject: Some(Subject::Connection(worst)),
        parties: parties::servers([to]),
        title: if x.syns.is_empty() {
            format!("No SYN to {to} left this host")
        } else {
            format!("{to} could not be reached")
        },
        detail: format!(
            "{}{}{}",
            why(context, x),
            took.map_or_else(String::new, |t| format!(
                " The attempt failed after {}.",
                context.case.took(t)
            )),
            if recovered {
                " The client then connected to another address."
            } else {
                ""
            }
        ),
        cost: took,
        total: None,
        remedy: Some(remedy(to)),
        evidence: attempt::evidence(list.iter().map(|c| &case.joined.connections[*c])),
    };
    Some(draft)
}

fn why(context: &Context, x: &Connection) -> String {
    if let Some(error) = attempt::error(context.case, x) {
        let meaning = match Errno::named(error) {
            Some(Errno::HostUnreachable) => {
                ": the next hop did not answer ARP, or a router reported it"
            }
            Some(Errno::NetworkUnreachable) => ": this host has no route to it",
            Some(Errno::Access | Errno::NotPermitted) => ": a rule on this host forbids it",
            Some(Errno::AddressNotAvailable) => ": no local address or port was left for it",
            Some(Errno::TimedOut) => ": nothing answered for as long as the kernel tried",
            _ => "",
        };
        return format!("The call returned {error}{meaning}.");
    }
    match x.ended_by {
        Some(event) => format!(
            "The error: {}.",
            resolver_refused::reason(context.case, event)
        ),
        None => "The call was made, but the capture shows no SYN for it.".into(),
    }
}
