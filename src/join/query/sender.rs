//! Which call or socket sent a query packet.

use super::OnWire;
use crate::event::SocketStyle;
use crate::event::dns::Question;
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::join::connect::Connection;
use crate::join::sent::Sent;
use crate::join::socket::Sockets;
use crate::join::{AssociationId, ConnectionId, EventId, Evidence, How, IdVec};
use crate::time::Span;
use std::collections::{HashMap, HashSet};

/// A send whose packet is farther away than this is another send: a neighbour search may hold a packet
/// back for three seconds (arp(7)).
const HELD_BACK: Span = Span::millis(3_500);
/// A connect without visible send is followed by its query within this.
const CONNECT_TO_QUERY: Span = Span::seconds(1);
/// Who sent a packet.
#[derive(Clone, Copy)]
pub struct Sender {
    /// How that is known.
    pub how: How,
    /// The sending call, or the socket's connect.
    pub call: Option<EventId>,
    /// The socket.
    pub association: Option<AssociationId>,
    /// Who the call says was asked: differs from the packet under NAT.
    pub resolver: Endpoint,
}

/// Joins packets to the very calls whose payload they carry.
pub fn by_payload(
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
                        && Question::may_be(
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
pub fn by_port(
    evidence: &Evidence,
    sockets: &Sockets,
    wire: &[OnWire],
    senders: &mut [Option<Sender>],
) {
    let mut ports: HashMap<u16, Vec<AssociationId>> = HashMap::new();
    for (a, s) in sockets.list.entries() {
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
pub fn over_tcp(
    evidence: &Evidence,
    sockets: &Sockets,
    connections: &IdVec<ConnectionId, Connection>,
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
pub fn by_connect(
    evidence: &Evidence,
    sockets: &mut Sockets,
    sent: &[Sent],
    wire: &[OnWire],
    senders: &mut [Option<Sender>],
    matched: &mut [bool],
) {
    if sent.iter().all(|s| s.message.is_some()) {
        return;
    }
    // Both in order of time. Sockets that nobody saw close would else each walk through all later packets.
    let mut free: HashMap<Endpoint, Vec<usize>> = HashMap::new();
    let mut of_flow: HashMap<FiveTuple, Vec<usize>> = HashMap::new();
    for (w, packet) in wire.iter().enumerate() {
        if senders[w].is_none() && packet.flow.transport == Transport::Udp && !packet.candidate {
            free.entry(packet.flow.dst).or_default().push(w);
            of_flow.entry(packet.flow).or_default().push(w);
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
        let near = &packets[packets.partition_point(|w| wire[*w].at < from)..];
        let first = near
            .iter()
            .copied()
            .take_while(|w| wire[*w].at <= until)
            .find(|w| {
                let port = wire[*w].flow.src.port;
                senders[*w].is_none() && known.is_none_or(|l| l.port == port)
            });
        let Some(first) = first else { continue };
        matched[i] = true;
        let client = wire[first].flow.src;
        sockets.list[a].local = known.or(Some(client));
        let closed = sockets.list[a].closed;
        let own = of_flow
            .get(&wire[first].flow)
            .map_or(&[][..], Vec::as_slice);
        for &w in &own[own.partition_point(|w| *w < first)..] {
            if closed.is_some_and(|closed| wire[w].at > closed + evidence.tolerance) {
                break;
            }
            if senders[w].is_none() {
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
