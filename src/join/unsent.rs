//! What never left, known without a trace: a host that finds no neighbour for a packet sends the error to itself, and
//! quotes the packet.

use crate::event::{EventKind, IcmpKind, Packet, Quote};
use crate::flow::Transport;
use crate::join::process::Processes;
use crate::join::query::Asker;
use crate::join::{Asked, Departure, EventId, Evidence, Id, Refusal, Sending, Silence};
use crate::time::Span;
use std::net::IpAddr;

/// How long a host may look for a neighbour before it gives up: three requests, a second each (arp(7): `mcast_solicit`,
/// `retrans_time`), and a little more.
const SEARCH: Span = Span::seconds(5);

/// The errors that a host sent to itself about its own packets, and what they quote.
pub fn errors<'a>(evidence: &Evidence<'a>) -> impl Iterator<Item = (EventId, &'a Quote)> + use<'a> {
    let events = evidence.numbered();
    events.filter_map(|(event, e)| match &e.what {
        EventKind::Packet(Packet::Icmp {
            from,
            to,
            kind: IcmpKind::HostUnreachable,
            quote: Some(quote),
        }) if from == to && quote.flow.src.ip == *to => Some((event, &**quote)),
        _ => None,
    })
}

/// The requests for a neighbour that was not found by the time of an error.
pub fn search<'a>(
    evidence: &Evidence<'a>,
    error: EventId,
    neighbour: IpAddr,
) -> impl Iterator<Item = EventId> + use<'a> {
    let events = evidence.events;
    let told = evidence.event(error).at;
    let start = events.partition_point(|e| e.at < told - SEARCH);
    (start..error.position()).map(EventId::at).filter(move |e| {
        matches!(events[e.position()].what, EventKind::Packet(Packet::Neighbour { about, reply: false, .. }) if about == neighbour)
    })
}

/// The queries that only such errors show, each sent when the search for its resolver began.
pub fn queries(evidence: &Evidence, processes: &Processes, seen: &[Sending]) -> Vec<Sending> {
    let mut list: Vec<Sending> = Vec::new();
    for (event, quote) in errors(evidence) {
        let at = evidence.event(event).at;
        let flow = quote.flow;
        let (Some(question), Transport::Udp) = (&quote.question, flow.transport) else {
            continue;
        };
        let known = |sending: &Sending| {
            let q = &sending.asked;
            q.client == Some(flow.src)
                && q.resolver == flow.dst
                && q.id == quote.dns_id
                && q.question == *question
                && (at - q.sent).abs() <= SEARCH
        };
        // The query may have left, and be forgotten.
        let forgotten = evidence.coverage.shows_query_of(at).is_err();
        let known = forgotten || seen.iter().chain(&list).any(known);
        if !evidence.is_dns_port(flow.dst.port) || known {
            continue;
        }
        let Asker {
            origin,
            cause,
            task,
        } = Asker::of_packet(evidence, event);
        let asked = Asked {
            question: question.clone(),
            opcode: 0,
            id: quote.dns_id,
            edns: None,
            transport: flow.transport,
            client: Some(flow.src),
            resolver: flow.dst,
            sent: search(evidence, event, flow.dst.ip)
                .next()
                .map_or(at, |e| evidence.event(e).at),
            packet: None,
            cause,
            origin,
            process: task.as_ref().map(|t| processes.of(t)),
            task: task.map(|t| processes.complete(&t)),
            association: None,
            implied: false,
        };
        list.push(Sending {
            asked,
            departure: Departure::NeverLeft(Silence::Refused(Refusal {
                at,
                event,
                refused: false,
            })),
        });
    }
    list
}
