//! Queries that never left, known without a trace: a host that finds no neighbour for one sends the error to itself, and
//! quotes it.

use crate::event::{IcmpKind, Packet, What};
use crate::flow::Transport;
use crate::join::{EventId, Evidence, Origin, Query, Refusal, State};
use crate::time::{Span, Timestamp};

/// How long a host may look for a neighbour before it gives up: three requests, a second each (arp(7): `mcast_solicit`,
/// `retrans_time`), and a little more.
pub(crate) const SEARCH: Span = Span::seconds(5);

/// The queries that only such an error shows, each sent when the search for its resolver began.
pub(super) fn quoted(evidence: &Evidence, seen: &[Query]) -> Vec<Query> {
    let mut list: Vec<Query> = Vec::new();
    for (event, e) in evidence.events.iter().enumerate() {
        let What::Packet(Packet::Icmp {
            from,
            to,
            kind: IcmpKind::HostUnreachable,
            quote: Some(quote),
        }) = &e.what
        else {
            continue;
        };
        let flow = quote.flow;
        let own = from == to && flow.src.ip == *to;
        let (Some(question), true) = (&quote.question, own && flow.transport == Transport::Udp)
        else {
            continue;
        };
        let known = |q: &Query| {
            q.client == Some(flow.src)
                && q.resolver == flow.dst
                && q.id == quote.dns_id
                && q.question == *question
                && (e.at - q.sent).abs() <= SEARCH
        };
        if !evidence.is_dns_port(flow.dst.port) || seen.iter().chain(&list).any(known) {
            continue;
        }
        list.push(Query {
            question: question.clone(),
            id: quote.dns_id,
            edns: None,
            transport: flow.transport,
            client: Some(flow.src),
            resolver: flow.dst,
            sent: search_began(evidence, event, flow.dst.ip, e.at),
            packet: None,
            cause: None,
            origin: Origin::Unknown,
            task: None,
            process: None,
            association: None,
            state: State::NeverSent {
                refused: Some(Refusal {
                    at: e.at,
                    event,
                    refused: false,
                }),
            },
            implied: false,
            until: e.at,
        });
    }
    list
}

/// When the host began to look for a neighbour that it did not find by the time of an error.
fn search_began(
    evidence: &Evidence,
    error: EventId,
    about: std::net::IpAddr,
    at: Timestamp,
) -> Timestamp {
    let start = evidence.events.partition_point(|e| e.at < at - SEARCH);
    let asked = evidence.events[start..error].iter().find(|e| {
        matches!(e.what, What::Packet(Packet::Neighbour { about: a, reply: false }) if a == about)
    });
    asked.map_or(at, |e| e.at)
}
