//! Which call or socket sent each query packet.
//!
//! A [`Matcher`] holds the query packets of the captures and the queries that calls sent, and joins them in five steps,
//! the surest first. What one step has joined is no longer free for the next:
//!
//! 1. *By payload*: a call handed over this very message for the address the packet went to.
//! 2. *By payload, through NAT*: the same message for another address, from the same local port.
//! 3. *By port*: the packet comes from the local port of a datagram socket that was open then.
//! 4. *Over TCP*: a connection that a call made carries the message.
//! 5. *By connect*: a socket of which only the connect is known, and the next packet to its resolver.
//!
//! Of several calls that fit a packet the latest one before it is taken: ids and sockets are used again in every
//! round, and what a client sent last is what leaves next.

use super::OnWire;
use crate::event::SocketType;
use crate::event::dns::Question;
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::join::connect::Attempt;
use crate::join::id::{SentId, WireId};
use crate::join::sent::Sent;
use crate::join::socket::Sockets;
use crate::join::{AssociationId, ConnectionId, EventId, Evidence, How, IdVec};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// A send whose packet is farther away than this is another send: a neighbour search may hold a packet
/// back for three seconds (arp(7)).
const HELD_BACK: Span = Span::millis(3_500);
/// A connect without visible send is followed by its query within this.
const CONNECT_TO_QUERY: Span = Span::seconds(1);

/// Who sent a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What the matcher found.
pub struct Matches<'a> {
    /// The query packets in order of time, with their senders.
    pub packets: Vec<(OnWire<'a>, Option<Sender>)>,
    /// The queries of calls of which no packet is known, with the socket's local end where one is.
    pub unseen: Vec<(Sent, Option<Endpoint>)>,
}

/// A query packet and who sent it, once that is known.
struct Transmitted<'a> {
    packet: OnWire<'a>,
    sender: Option<Sender>,
}

impl Transmitted<'_> {
    fn is_free(&self, transport: Transport) -> bool {
        self.sender.is_none() && self.packet.flow.transport == transport
    }
}

/// A query that a call sent, and whether its packet is known.
struct Called {
    sent: Sent,
    matched: bool,
}

/// Joins query packets to the calls and sockets that sent them.
pub struct Matcher<'a> {
    evidence: &'a Evidence<'a>,
    sockets: &'a Sockets,
    /// Local ends that packets showed, of sockets whose calls do not show them.
    learned: HashMap<AssociationId, Endpoint>,
    /// Sockets whose SYN was found.
    streams: HashSet<AssociationId>,
    wire: IdVec<WireId, Transmitted<'a>>,
    calls: IdVec<SentId, Called>,
}

impl<'a> Matcher<'a> {
    /// A matcher that has joined nothing yet. `attempts` says which sockets were found to be streams, and their
    /// local ends.
    pub fn new(
        evidence: &'a Evidence<'a>,
        sockets: &'a Sockets,
        attempts: &IdVec<ConnectionId, Attempt>,
        wire: Vec<OnWire<'a>>,
        sent: Vec<Sent>,
    ) -> Self {
        let with_syn = attempts.iter().filter(|c| c.first_syn.is_some());
        let learned: HashMap<AssociationId, Endpoint> = with_syn
            .filter_map(|c| Some((c.association?, c.from?)))
            .collect();
        Self {
            evidence,
            sockets,
            streams: learned.keys().copied().collect(),
            learned,
            wire: wire
                .into_iter()
                .map(|packet| Transmitted {
                    packet,
                    sender: None,
                })
                .collect(),
            calls: sent
                .into_iter()
                .map(|sent| Called {
                    sent,
                    matched: false,
                })
                .collect(),
        }
    }

    /// Takes all steps.
    pub fn run(mut self, attempts: &IdVec<ConnectionId, Attempt>) -> Matches<'a> {
        self.by_payload();
        self.by_payload_through_nat();
        self.by_port();
        self.over_tcp(attempts);
        self.by_connect();
        let learned = self.learned;
        let sockets = self.sockets;
        let local = |sent: &Sent| {
            let a = sent.association?;
            learned.get(&a).copied().or(sockets.list[a].local)
        };
        Matches {
            packets: { self.wire.into_iter() }
                .map(|w| (w.packet, w.sender))
                .collect(),
            unseen: { self.calls.into_iter() }
                .filter(|c| !c.matched)
                .map(|c| {
                    let local = local(&c.sent);
                    (c.sent, local)
                })
                .collect(),
        }
    }

    /// The local end of a socket, as a packet or the trace shows it.
    fn local(&self, a: AssociationId) -> Option<Endpoint> {
        let learned = self.learned.get(&a).copied();
        learned.or(self.sockets.list[a].local)
    }

    /// The local end of a call's socket, where the trace itself shows it.
    fn exact_local(&self, sent: &Sent) -> Option<Endpoint> {
        let a = sent.association?;
        self.local(a).filter(|_| self.sockets.list[a].exact)
    }

    fn is_stream(&self, a: AssociationId) -> bool {
        self.streams.contains(&a) || self.sockets.list[a].style == SocketType::Stream
    }

    /// Datagrams whose payload is visible, listed by a key, in order of time.
    fn datagrams<K: Eq + std::hash::Hash>(
        &self,
        key: impl Fn(&Sent, u16) -> K,
    ) -> HashMap<K, Vec<SentId>> {
        let mut lists: HashMap<K, Vec<SentId>> = HashMap::new();
        for (id, call) in self.calls.entries() {
            if let (Transport::Udp, Some(message)) = (call.sent.transport, &call.sent.message) {
                lists
                    .entry(key(&call.sent, message.id))
                    .or_default()
                    .push(id);
            }
        }
        lists
    }

    /// Step 1. A call sent a packet when
    ///
    /// 1. its message has the packet's id and was for the address that the packet went to,
    /// 2. [`Self::latest_that_fits`] finds it, and
    /// 3. its socket's local port, where the trace shows that, is the packet's source port.
    fn by_payload(&mut self) {
        let calls = self.datagrams(|sent, id| (sent.resolver, id));
        for w in self.wire.ids() {
            let OnWire { flow, message, .. } = &self.wire[w].packet;
            if let Some(list) = calls.get(&(flow.dst, message.id))
                && let Some(call) = self.latest_that_fits(list, w, |local| {
                    local.is_none_or(|l| l.port == flow.src.port)
                })
            {
                self.join(w, call);
            }
        }
    }

    /// Step 2. A call sent a packet to another address than it named (NAT on this host has changed it) when
    ///
    /// 1. its message has the packet's id,
    /// 2. [`Self::latest_that_fits`] finds it, and
    /// 3. the trace shows its socket's local port, and that is the packet's source port.
    fn by_payload_through_nat(&mut self) {
        let calls = self.datagrams(|_, id| id);
        for w in self.wire.ids() {
            let OnWire { flow, message, .. } = &self.wire[w].packet;
            if let Some(list) = calls.get(&message.id)
                && let Some(call) = self.latest_that_fits(list, w, |local| {
                    local.is_some_and(|l| l.port == flow.src.port)
                })
            {
                self.join(w, call);
            }
        }
    }

    /// The latest of some calls (in order of time) that may have sent a packet which nobody else has sent:
    ///
    /// 1. it was made no later than the packet left, within the tolerance of the two clocks,
    /// 2. and no longer before than a neighbour search may hold a packet back,
    /// 3. no other packet is its own already,
    /// 4. the questions may be the same (a log may have cut one), and
    /// 5. its socket's local end, where the trace shows it, is acceptable.
    fn latest_that_fits(
        &self,
        list: &[SentId],
        w: WireId,
        acceptable: impl Fn(Option<Endpoint>) -> bool,
    ) -> Option<SentId> {
        if !self.wire[w].is_free(Transport::Udp) {
            return None;
        }
        let packet = &self.wire[w].packet;
        let latest = packet.at + self.evidence.tolerance;
        let earliest = packet.at - HELD_BACK - self.evidence.tolerance;
        let end = list.partition_point(|c| self.calls[*c].sent.at <= latest);
        list[..end]
            .iter()
            .rev()
            .copied()
            .take_while(|c| self.calls[*c].sent.at >= earliest)
            .find(|c| {
                let call = &self.calls[*c];
                !call.matched
                    && Question::may_be(call.sent.question(), packet.message.question.as_ref())
                    && acceptable(self.exact_local(&call.sent))
            })
    }

    /// Settles that a call sent a packet, which shows the local end of its socket.
    fn join(&mut self, w: WireId, call: SentId) {
        self.calls[call].matched = true;
        let sent = &self.calls[call].sent;
        self.wire[w].sender = Some(Sender {
            how: How::Call,
            call: Some(sent.call),
            association: sent.association,
            resolver: sent.resolver,
        });
        if let Some(a) = sent.association
            && self.local(a).is_none()
        {
            self.learned.insert(a, self.wire[w].packet.flow.src);
        }
    }

    /// Step 3. A socket sent a packet when
    ///
    /// 1. it is no stream socket, and its local port is known and is the packet's source port,
    /// 2. it was open when the packet left,
    /// 3. it is connected to the address the packet went to, or is not connected; a packet between ports that are
    ///    not DNS's may have been changed by NAT, and only its socket's peer must be a resolver,
    /// 4. it comes from the socket's local address, if another packet that is the socket's own does: other hosts use the same
    ///    ports,
    /// 5. and whoever it asked is a resolver.
    ///
    /// Of several, which used the port in turn, the one opened last.
    fn by_port(&mut self) {
        let mut by_port: HashMap<u16, Vec<AssociationId>> = HashMap::new();
        for a in self.sockets.list.ids().filter(|a| !self.is_stream(*a)) {
            if let Some(local) = self.local(a) {
                by_port.entry(local.port).or_default().push(a);
            }
        }
        for list in by_port.values_mut() {
            list.sort_by_key(|a| self.sockets.list[*a].opened);
        }
        let tolerance = self.evidence.tolerance;
        let addresses = self.addresses();
        for w in self.wire.ids() {
            let packet = &self.wire[w].packet;
            let (Some(list), true) = (
                by_port.get(&packet.flow.src.port),
                self.wire[w].is_free(Transport::Udp),
            ) else {
                continue;
            };
            let may_ask = |peer: Endpoint| {
                peer == packet.flow.dst || packet.candidate && self.evidence.is_dns_port(peer.port)
            };
            let end =
                list.partition_point(|a| self.sockets.list[*a].opened <= packet.at + tolerance);
            let owner = list[..end].iter().rev().copied().find(|a| {
                let socket = &self.sockets.list[*a];
                let own = addresses.get(a).is_none_or(|ip| *ip == packet.flow.src.ip);
                (own || packet.candidate)
                    && socket.peer.is_none_or(may_ask)
                    && socket.alive(packet.at, tolerance)
            });
            let Some(a) = owner else { continue };
            let resolver = self.sockets.list[a].peer.unwrap_or(packet.flow.dst);
            if self.evidence.is_dns_port(resolver.port) {
                self.wire[w].sender = Some(Sender {
                    how: How::Socket,
                    call: self.sockets.list[a].connect,
                    association: Some(a),
                    resolver,
                });
            }
        }
    }

    /// The local addresses from which packets of sockets came so far.
    fn addresses(&self) -> HashMap<AssociationId, IpAddr> {
        let joined = self.wire.iter().filter_map(|w| {
            let a = w.sender?.association?;
            let from = w.packet.flow.src;
            (self.local(a) == Some(from)).then_some((a, from.ip))
        });
        joined.collect()
    }

    /// Step 4. A connection carried a message when
    ///
    /// 1. its local end is the packet's source, and
    /// 2. its socket was open then.
    ///
    /// The sending call is the socket's first one of that id that has no packet yet; where no send was traced, the
    /// socket alone is known.
    fn over_tcp(&mut self, attempts: &IdVec<ConnectionId, Attempt>) {
        let mut by_client: HashMap<Endpoint, Vec<AssociationId>> = HashMap::new();
        for c in attempts {
            if let (Some(from), Some(a)) = (c.from, c.association) {
                by_client.entry(from).or_default().push(a);
            }
        }
        let mut calls: HashMap<AssociationId, Vec<SentId>> = HashMap::new();
        for (id, call) in self.calls.entries() {
            if let (Transport::Tcp, Some(a)) = (call.sent.transport, call.sent.association) {
                calls.entry(a).or_default().push(id);
            }
        }
        for w in self.wire.ids() {
            let packet = &self.wire[w].packet;
            if packet.flow.transport != Transport::Tcp {
                continue;
            }
            let owners = by_client.get(&packet.flow.src);
            let open = |a: &&AssociationId| {
                self.sockets.list[**a].alive(packet.at, self.evidence.tolerance)
            };
            let Some(&a) = owners.and_then(|list| list.iter().rev().find(open)) else {
                continue;
            };
            let own = calls.get(&a).map_or(&[][..], Vec::as_slice);
            let call = own.iter().copied().find(|c| {
                let call = &self.calls[*c];
                let message = call.sent.message.as_ref();
                !call.matched && message.is_some_and(|m| m.id == packet.message.id)
            });
            let socket = &self.sockets.list[a];
            let sender = Sender {
                how: if call.is_some() {
                    How::Call
                } else {
                    How::Socket
                },
                call: call.map(|c| self.calls[c].sent.call).or(socket.connect),
                association: Some(a),
                resolver: socket.peer.unwrap_or(packet.flow.dst),
            };
            self.wire[w].sender = Some(sender);
            if let Some(call) = call {
                self.calls[call].matched = true;
            }
        }
    }

    /// Step 5. A socket of which the trace shows only the connect sent a packet when
    ///
    /// 1. the packet went to the resolver that the connect names, and nobody else is known to have sent it,
    /// 2. it left within [`CONNECT_TO_QUERY`] of the connect, and
    /// 3. it came from the socket's local port, where that is known.
    ///
    /// The first such packet shows the flow; later packets of that flow are the socket's too, until it is closed.
    fn by_connect(&mut self) {
        let connects: Vec<SentId> = { self.calls.entries() }
            .filter(|(_, call)| call.sent.message.is_none())
            .map(|(id, _)| id)
            .collect();
        if connects.is_empty() {
            return;
        }
        // Both in order of time. Sockets that nobody saw close would else each walk through all later packets.
        let mut to_resolver: HashMap<Endpoint, Vec<WireId>> = HashMap::new();
        let mut of_flow: HashMap<FiveTuple, Vec<WireId>> = HashMap::new();
        for (w, transmitted) in self.wire.entries() {
            let packet = &transmitted.packet;
            if transmitted.is_free(Transport::Udp) && !packet.candidate {
                to_resolver.entry(packet.flow.dst).or_default().push(w);
                of_flow.entry(packet.flow).or_default().push(w);
            }
        }
        // Packets of a socket may have been joined by port already.
        let senders = self.wire.iter().filter_map(|w| w.sender);
        let known: HashSet<AssociationId> = senders.filter_map(|s| s.association).collect();
        for call in connects {
            let sent = &self.calls[call].sent;
            let (at, name, resolver) = (sent.at, sent.call, sent.resolver);
            let Some(a) = sent.association else { continue };
            let first = to_resolver
                .get(&resolver)
                .and_then(|list| self.first_after(list, at, self.local(a)));
            self.calls[call].matched = first.is_some() || known.contains(&a);
            let Some(first) = first else { continue };
            let flow = self.wire[first].packet.flow;
            if self.local(a).is_none() {
                self.learned.insert(a, flow.src);
            }
            let own = of_flow.get(&flow).map_or(&[][..], Vec::as_slice);
            for &w in &own[own.partition_point(|w| *w < first)..] {
                let after =
                    |closed: Timestamp| self.wire[w].packet.at > closed + self.evidence.tolerance;
                if self.sockets.list[a].closed.is_some_and(after) {
                    break;
                }
                self.wire[w].sender.get_or_insert(Sender {
                    how: How::Inferred,
                    call: Some(name),
                    association: Some(a),
                    resolver,
                });
            }
        }
    }

    /// The first free packet of a list that left soon after a connect, from the local port where that is known.
    fn first_after(
        &self,
        list: &[WireId],
        connect: Timestamp,
        local: Option<Endpoint>,
    ) -> Option<WireId> {
        let tolerance = self.evidence.tolerance;
        let (from, until) = (connect - tolerance, connect + CONNECT_TO_QUERY + tolerance);
        let near = &list[list.partition_point(|w| self.wire[*w].packet.at < from)..];
        near.iter()
            .copied()
            .take_while(|w| self.wire[*w].packet.at <= until)
            .find(|w| {
                let port = self.wire[*w].packet.flow.src.port;
                self.wire[*w].sender.is_none() && local.is_none_or(|l| l.port == port)
            })
    }
}
