//! Each query of the case and the call that caused it.
//!
//! Transaction ids are no key: glibc sends the same id to every resolver in every round, and several
//! processes may use one port and one id in turn. What identifies a query is its socket, resolver,
//! question and time.

use super::connect::Connection;
use super::process::Processes;
use super::response;
use super::sent::Sent;
use super::socket::Sockets;
use super::{AssociationId, Cause, EventId, Evidence, How, Origin, Query, State};
use crate::event::dns::{Message, Name, Question};
use crate::event::{Packet, Service, SocketStyle, What};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet};

/// A send whose packet is farther away than this is another send: a neighbour search may hold a packet
/// back for three seconds (arp(7)).
const HELD_BACK: Span = Span::millis(3_500);
/// A connect without visible send is followed by its query within this.
const CONNECT_TO_QUERY: Span = Span::seconds(1);
/// How far beyond the capture's first and last packet its silence still says something. A resolver that
/// is absent from the link leaves the capture empty for as long as the client keeps asking it.
const CAPTURE_REACH: Span = Span::seconds(40);

/// A query packet of the capture.
struct OnWire<'a> {
    event: EventId,
    at: Timestamp,
    flow: FiveTuple,
    message: &'a Message,
    candidate: bool,
}

/// Who sent a packet.
#[derive(Clone, Copy)]
struct Sender {
    how: How,
    call: Option<EventId>,
    association: Option<AssociationId>,
    /// Who the call says was asked: differs from the packet under NAT.
    resolver: Endpoint,
}

/// All queries of the case in order of time, with their answers, and the number of unsolicited responses.
pub fn queries(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &mut Sockets,
    sent: Vec<Sent>,
    connections: &[Connection],
) -> (Vec<Query>, usize) {
    let wire = on_wire(evidence);
    let mut senders: Vec<Option<Sender>> = vec![None; wire.len()];
    let mut matched = vec![false; sent.len()];
    by_payload(evidence, sockets, &sent, &wire, &mut senders, &mut matched);
    by_port(evidence, sockets, &wire, &mut senders);
    over_tcp(
        evidence,
        sockets,
        connections,
        &sent,
        &wire,
        &mut senders,
        &mut matched,
    );
    by_connect(evidence, sockets, &sent, &wire, &mut senders, &mut matched);

    let mut queries: Vec<Query> = Vec::with_capacity(wire.len());
    for (packet, sender) in wire.iter().zip(&senders) {
        // A plausible message between odd ports counts only where a call proves it.
        if !packet.candidate || sender.is_some() {
            queries.push(from_packet(evidence, processes, sockets, packet, *sender));
        }
    }
    for (sent, matched) in sent.into_iter().zip(matched) {
        if !matched
            && (sent.message.is_some()
                || !evidence.has_capture()
                || seen_by_capture(evidence, sent.at))
        {
            queries.push(from_call(evidence, processes, sockets, sent));
        }
    }
    queries.sort_by_key(|q| (q.sent, q.packet, q.cause.and_then(|c| c.call)));
    let unsolicited = response::answer(evidence, sockets, &mut queries);
    (queries, unsolicited)
}

fn on_wire<'a>(evidence: &Evidence<'a>) -> Vec<OnWire<'a>> {
    let mut list = Vec::new();
    for (event, e) in evidence.events.iter().enumerate() {
        let What::Packet(Packet::Dns {
            flow,
            service,
            message,
        }) = &e.what
        else {
            continue;
        };
        let candidate = *service == Service::Candidate;
        let asked =
            candidate || *service == Service::Unicast && evidence.is_dns_port(flow.dst.port);
        if !message.response && asked {
            list.push(OnWire {
                event,
                at: e.at,
                flow: *flow,
                message,
                candidate,
            });
        }
    }
    list
}

/// Whether two questions may be the same; either may have been cut short.
pub(super) fn same_question(a: Option<&Question>, b: Option<&Question>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return true;
    };
    if a.kind.is_some() && b.kind.is_some() && a.kind != b.kind {
        return false;
    }
    let (x, y) = (&a.name.0, &b.name.0);
    match (a.cut, b.cut) {
        (false, false) => x.eq_ignore_ascii_case(y),
        (true, false) => starts_with(y, x),
        (false, true) => starts_with(x, y),
        (true, true) => starts_with(x, y) || starts_with(y, x),
    }
}

fn starts_with(long: &str, short: &str) -> bool {
    long.as_bytes()
        .get(..short.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(short.as_bytes()))
}

/// Joins packets to the very calls whose payload they carry.
fn by_payload(
    evidence: &Evidence,
    sockets: &mut Sockets,
    sent: &[Sent],
    wire: &[OnWire],
    senders: &mut [Option<Sender>],
    matched: &mut [bool],
) {
    let mut exact: HashMap<(Endpoint, u16), Vec<usize>> = HashMap::new();
    let mut anywhere: HashMap<u16, Vec<usize>> = HashMap::new();
    for (i, s) in sent
        .iter()
        .enumerate()
        .filter(|(_, s)| s.transport == Transport::Udp)
    {
        let Some(message) = &s.message else { continue };
        exact.entry((s.resolver, message.id)).or_default().push(i);
        anywhere.entry(message.id).or_default().push(i);
    }
    // First where call and packet name the same resolver, then where NAT stands between them.
    for through_nat in [false, true] {
        for (w, packet) in wire
            .iter()
            .enumerate()
            .filter(|(_, p)| p.flow.transport == Transport::Udp)
        {
            if senders[w].is_some() {
                continue;
            }
            let list = if through_nat {
                anywhere.get(&packet.message.id)
            } else {
                exact.get(&(packet.flow.dst, packet.message.id))
            };
            let Some(list) = list else { continue };
            let end = list.partition_point(|i| sent[*i].at <= packet.at + evidence.tolerance);
            let earliest = packet.at - HELD_BACK - evidence.tolerance;
            let found = list[..end]
                .iter()
                .rev()
                .take_while(|i| sent[**i].at >= earliest)
                .find(|i| {
                    let s = &sent[**i];
                    let local = s
                        .association
                        .and_then(|a| sockets.list[a].local.filter(|_| sockets.list[a].exact));
                    !matched[**i]
                        && same_question(
                            s.message.as_ref().and_then(|m| m.question.as_ref()),
                            packet.message.question.as_ref(),
                        )
                        && local.map_or(!through_nat, |l| l.port == packet.flow.src.port)
                });
            if let Some(&i) = found {
                matched[i] = true;
                let s = &sent[i];
                senders[w] = Some(Sender {
                    how: How::Call,
                    call: Some(s.call),
                    association: s.association,
                    resolver: s.resolver,
                });
                if let Some(a) = s.association
                    && sockets.list[a].local.is_none()
                {
                    sockets.list[a].local = Some(packet.flow.src);
                }
            }
        }
    }
}

/// Joins packets to sockets whose local port is known and that were open then.
fn by_port(
    evidence: &Evidence,
    sockets: &Sockets,
    wire: &[OnWire],
    senders: &mut [Option<Sender>],
) {
    let mut ports: HashMap<u16, Vec<AssociationId>> = HashMap::new();
    for (a, s) in sockets.list.iter().enumerate() {
        if let Some(local) = s.local.filter(|_| s.style != SocketStyle::Stream) {
            ports.entry(local.port).or_default().push(a);
        }
    }
    for list in ports.values_mut() {
        list.sort_by_key(|a| sockets.list[*a].opened);
    }
    for (w, packet) in wire.iter().enumerate() {
        if senders[w].is_some() || packet.flow.transport != Transport::Udp {
            continue;
        }
        let Some(list) = ports.get(&packet.flow.src.port) else {
            continue;
        };
        let end =
            list.partition_point(|a| sockets.list[*a].opened <= packet.at + evidence.tolerance);
        let owner = list[..end].iter().rev().copied().find(|a| {
            let s = &sockets.list[*a];
            let far = s.peer.is_none_or(|peer| {
                peer == packet.flow.dst || packet.candidate && evidence.is_dns_port(peer.port)
            });
            far && s.alive(packet.at, evidence.tolerance)
        });
        if let Some(a) = owner {
            let s = &sockets.list[a];
            let resolver = s.peer.unwrap_or(packet.flow.dst);
            if evidence.is_dns_port(resolver.port) {
                senders[w] = Some(Sender {
                    how: How::Socket,
                    call: s.connect,
                    association: Some(a),
                    resolver,
                });
            }
        }
    }
}

/// Joins DNS messages over TCP to the connection that carries them.
fn over_tcp(
    evidence: &Evidence,
    sockets: &Sockets,
    connections: &[Connection],
    sent: &[Sent],
    wire: &[OnWire],
    senders: &mut [Option<Sender>],
    matched: &mut [bool],
) {
    let mut by_client: HashMap<Endpoint, Vec<AssociationId>> = HashMap::new();
    for c in connections {
        if let (Some(from), Some(a)) = (c.from, c.association) {
            by_client.entry(from).or_default().push(a);
        }
    }
    let mut calls: HashMap<AssociationId, Vec<usize>> = HashMap::new();
    for (i, s) in sent
        .iter()
        .enumerate()
        .filter(|(_, s)| s.transport == Transport::Tcp)
    {
        if let Some(a) = s.association {
            calls.entry(a).or_default().push(i);
        }
    }
    for (w, packet) in wire
        .iter()
        .enumerate()
        .filter(|(_, p)| p.flow.transport == Transport::Tcp)
    {
        let Some(owners) = by_client.get(&packet.flow.src) else {
            continue;
        };
        let Some(&a) = owners
            .iter()
            .rev()
            .find(|a| sockets.list[**a].alive(packet.at, evidence.tolerance))
        else {
            continue;
        };
        let own = calls.get(&a).map_or(&[][..], Vec::as_slice);
        let call = own.iter().copied().find(|i| {
            let message = sent[*i].message.as_ref();
            !matched[*i] && message.is_some_and(|m| m.id == packet.message.id)
        });
        if let Some(i) = call {
            matched[i] = true;
        }
        senders[w] = Some(Sender {
            how: if call.is_some() {
                How::Call
            } else {
                How::Socket
            },
            call: call.map(|i| sent[i].call).or(sockets.list[a].connect),
            association: Some(a),
            resolver: sockets.list[a].peer.unwrap_or(packet.flow.dst),
        });
    }
}

/// Joins the flows that are left to connects whose local port nobody told: the first packet of a flow to
/// the same resolver after the connect, then everything else of that flow.
fn by_connect(
    evidence: &Evidence,
    sockets: &mut Sockets,
    sent: &[Sent],
    wire: &[OnWire],
    senders: &mut [Option<Sender>],
    matched: &mut [bool],
) {
    let mut free: HashMap<Endpoint, Vec<usize>> = HashMap::new();
    for (w, packet) in wire.iter().enumerate() {
        if senders[w].is_none() && packet.flow.transport == Transport::Udp && !packet.candidate {
            free.entry(packet.flow.dst).or_default().push(w);
        }
    }
    let spoken: HashSet<AssociationId> = senders
        .iter()
        .flatten()
        .filter_map(|s| s.association)
        .collect();
    for (i, s) in sent.iter().enumerate().filter(|(_, s)| s.message.is_none()) {
        let Some(a) = s.association else { continue };
        // Its packets may have been joined by port already.
        matched[i] = spoken.contains(&a);
        let Some(packets) = free.get(&s.resolver) else {
            continue;
        };
        let known = sockets.list[a].local;
        let (from, until) = (
            s.at - evidence.tolerance,
            s.at + CONNECT_TO_QUERY + evidence.tolerance,
        );
        let first = packets.iter().copied().find(|w| {
            let p = &wire[*w];
            senders[*w].is_none()
                && p.at >= from
                && p.at <= until
                && known.is_none_or(|l| l.port == p.flow.src.port)
        });
        let Some(first) = first else { continue };
        matched[i] = true;
        let client = wire[first].flow.src;
        sockets.list[a].local = known.or(Some(client));
        let closed = sockets.list[a].closed;
        for &w in packets.iter().skip_while(|w| **w < first) {
            let p = &wire[w];
            if p.at > closed + evidence.tolerance {
                break;
            }
            if senders[w].is_none() && p.flow.src == client {
                senders[w] = Some(Sender {
                    how: How::Inferred,
                    call: Some(s.call),
                    association: Some(a),
                    resolver: s.resolver,
                });
            }
        }
    }
}

fn from_packet(
    evidence: &Evidence,
    processes: &Processes,
    sockets: &Sockets,
    packet: &OnWire,
    sender: Option<Sender>,
) -> Query {
    let task = sender.and_then(|s| task_of(evidence, sockets, s.call, s.association));
    let question = packet.message.question.clone().unwrap_or_else(no_question);
    Query {
        question,
        id: Some(packet.message.id),
        transport: packet.flow.transport,
        client: Some(packet.flow.src),
        resolver: sender.map_or(packet.flow.dst, |s| s.resolver),
        sent: packet.at,
        packet: Some(packet.event),
        cause: sender.map(|s| Cause {
            how: s.how,
            call: s.call,
        }),
        origin: match sender {
            Some(_) => Origin::Traced,
            None if evidence.has_trace() => Origin::Untraced,
            None => Origin::Unknown,
        },
        process: task.as_ref().map(|t| processes.of(t)),
        task: task.map(|t| processes.complete(&t)),
        association: sender.and_then(|s| s.association),
        state: State::Open,
        implied: false,
        until: packet.at,
    }
}

fn from_call(evidence: &Evidence, processes: &Processes, sockets: &Sockets, sent: Sent) -> Query {
    let task = task_of(evidence, sockets, Some(sent.call), sent.association);
    let implied = sent.message.is_none();
    let unseen = evidence.shows_absence() && seen_by_capture(evidence, sent.at);
    let message = sent.message;
    Query {
        id: message.as_ref().map(|m| m.id),
        question: message.and_then(|m| m.question).unwrap_or_else(no_question),
        transport: sent.transport,
        client: sent.association.and_then(|a| sockets.list[a].local),
        resolver: sent.resolver,
        sent: sent.at,
        packet: None,
        cause: Some(Cause {
            how: if implied { How::Inferred } else { How::Call },
            call: Some(sent.call),
        }),
        origin: Origin::Traced,
        process: task.as_ref().map(|t| processes.of(t)),
        task: task.map(|t| processes.complete(&t)),
        association: sent.association,
        state: if unseen {
            State::NeverSent { refused: None }
        } else {
            State::Open
        },
        implied,
        until: sent.at,
    }
}

/// Whether the capture would have shown a packet sent then.
fn seen_by_capture(evidence: &Evidence, at: Timestamp) -> bool {
    evidence.captures.iter().any(|c| match (c.first, c.last) {
        (Some(first), Some(last)) => at >= first - CAPTURE_REACH && at <= last + CAPTURE_REACH,
        _ => false,
    })
}

fn task_of(
    evidence: &Evidence,
    sockets: &Sockets,
    call: Option<EventId>,
    association: Option<AssociationId>,
) -> Option<crate::event::Task> {
    match call.map(|c| &evidence.events[c].what) {
        Some(What::Call(call)) => Some(call.task.clone()),
        _ => association.map(|a| sockets.list[a].task.clone()),
    }
}

fn no_question() -> Question {
    Question {
        name: Name("?".into()),
        kind: None,
        cut: true,
    }
}
