//! Which packets of a live run stay: in memory for the report, and in the case. One rule for both, so that the case
//! gives the report that the run gave.
//!
//! A packet stays when
//! 1. it is to or from a socket of a traced process,
//! 2. it is to or from where such a process connects or sends without its own address being known,
//! 3. it explains one of those: a copy of its SYN behind address translation, a DNS message for a name that it asked
//!    for, any DNS message while it waits for a name service (nscd, avahi), an ICMP error that quotes one of these, an
//!    ARP or neighbour discovery message,
//! 4. calls may be missing because a traced process uses `io_uring`, and it is a SYN with its reply or a DNS message from
//!    an address that the traced processes use: up to a bound, of each destination a share,
//! 5. packets of all processes are wanted (`--others`, or nothing is traced): up to a bound.
//!
//! Everything else is counted by kind in [`Omitted`]. A packet may come before the call that explains it, so
//! [`hold::Hold`] asks again after a while.

pub mod hold;

use crate::event::{Address, Event, Fd, Op, Packet, SocketStyle, What, dns};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::input::{Kind, Omitted};
use crate::join::service;
use crate::time::{Span, Timestamp};
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

/// A socket that nothing was seen of for so long is closed: another process may have its port.
const SOCKET_IDLE: Span = Span::seconds(1_800);
/// So many sockets, names and places are known at most; the ports of an address are fewer.
const MAX_KNOWN: usize = 200_000;
/// A resolver asks its own resolvers about a name so long after it was asked, and a SYN is copied so soon.
const EXPLAINS: Span = Span::seconds(60);
/// A client waits for a name service so long.
const SERVICE_WAIT: Span = Span::seconds(60);
/// A call that has not returned is reported again within this time.
const REPORTED_AGAIN: Span = Span::seconds(2);
/// Of a place whose askers' own address is unknown, so many packets stay: others may ask it too.
const MAX_PER_PLACE: u32 = 5_000;
/// So many ARP and neighbour discovery messages stay for one address.
const MAX_PER_NEIGHBOUR: u32 = 64;
/// So many packets stay although no call explains them (some 10 MB).
const MAX_UNEXPLAINED: usize = 50_000;
/// And so many of one destination: a storm does not take the place of others.
const MAX_PER_DESTINATION: u32 = 500;
/// So many packets of one flow.
const MAX_PER_FLOW: u32 = 16;
/// So many packets of other processes stay with `--others`.
const MAX_OTHERS: u64 = 400_000;

/// A packet, as far as the rule looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A TCP segment with SYN, FIN or RST.
    Tcp {
        /// Who sent it to whom.
        flow: FiveTuple,
        /// SYN without ACK.
        syn: bool,
        /// Its sequence number.
        seq: u32,
    },
    /// A DNS message.
    Dns {
        /// Who sent it to whom.
        flow: FiveTuple,
        /// Whether it is a response.
        response: bool,
        /// The name it asks for.
        name: Option<u64>,
    },
    /// An ICMP error about a packet.
    Error {
        /// The flow that it quotes.
        quoted: Option<FiveTuple>,
        /// The name asked for in the quote.
        name: Option<u64>,
    },
    /// ARP or neighbour discovery about an address.
    Neighbour(IpAddr),
    /// A part of a flow that is no message of its own.
    Part(FiveTuple),
    /// A fragment without ports.
    Fragment(IpAddr, IpAddr),
    /// Anything else.
    Other,
}

impl Key {
    /// Of a decoded packet.
    pub fn of(packet: &Packet) -> Self {
        match packet {
            Packet::Tcp {
                flow, flags, seq, ..
            } => Self::Tcp {
                flow: *flow,
                syn: flags.syn && !flags.ack,
                seq: *seq,
            },
            Packet::Dns { flow, message, .. } => Self::Dns {
                flow: *flow,
                response: message.response,
                name: message.question.as_ref().map(name),
            },
            Packet::Icmp { quote, .. } => Self::Error {
                quoted: quote.as_ref().map(|q| q.flow),
                name: quote.as_ref().and_then(|q| q.question.as_ref()).map(name),
            },
            Packet::Neighbour { about, .. } => Self::Neighbour(*about),
        }
    }

    /// What it is called where it is counted.
    fn kind(&self) -> Kind {
        match self {
            Self::Tcp { syn: true, .. } => Kind::Syn,
            Self::Tcp { .. } => Kind::Reply,
            Self::Dns {
                response: false, ..
            } => Kind::Query,
            Self::Dns { .. } => Kind::Response,
            _ => Kind::Other,
        }
    }
}

/// A name in one number: names of other processes are not stored to be compared.
fn name(question: &dns::Question) -> u64 {
    let mut hasher = DefaultHasher::new();
    question.name.folded().hash(&mut hasher);
    hasher.finish()
}

/// A place that somebody talks to from an address that nobody knows.
#[derive(Clone, Copy, Debug)]
struct Place {
    until: Timestamp,
    packets: u32,
}

/// What is known of the traced processes, and what was dropped.
#[derive(Debug, Default)]
pub struct Retention {
    /// Packets of all processes are wanted.
    all: bool,
    kept_of_others: u64,
    /// Local ends of traced sockets, and when something was last seen of them.
    sockets: HashMap<(Transport, Endpoint), Timestamp>,
    /// Ports of sockets that are bound to all addresses.
    ports: HashMap<(Transport, u16), Timestamp>,
    /// Addresses that traced sockets are bound to.
    addresses: HashSet<IpAddr>,
    /// Addresses that traced sockets talk to.
    peers: HashSet<IpAddr>,
    places: HashMap<Endpoint, Place>,
    /// Sequence numbers of the traced sockets' SYNs.
    sequences: HashMap<u32, Timestamp>,
    /// Names that traced processes asked for.
    names: HashMap<u64, Timestamp>,
    /// Where the resolvers of traced processes ask.
    upstreams: HashSet<Endpoint>,
    service_until: Option<Timestamp>,
    /// Calls may be missing.
    io_uring: bool,
    unexplained: usize,
    /// Unexplained packets that stay, by the flow of their SYN or query.
    flows: HashMap<FiveTuple, u32>,
    destinations: HashMap<Endpoint, u32>,
    neighbours: HashMap<IpAddr, u32>,
    omitted: Omitted,
}

impl Retention {
    /// Of the traced processes' packets, or of all.
    pub fn new(all: bool) -> Self {
        Self {
            all,
            ..Self::default()
        }
    }

    /// What was dropped so far.
    pub fn omitted(&self) -> &Omitted {
        &self.omitted
    }

    /// Learns from an event of the trace.
    pub fn note(&mut self, event: &Event) {
        let What::Call(call) = &event.what else {
            return;
        };
        let at = call.exited.unwrap_or(event.at);
        self.learn(&call.op, at);
        if let Op::Connect {
            to: Address::Inet(to),
            ..
        } = &call.op
            && let Some(place) = self.places.get_mut(to)
        {
            // The end of a call that was open.
            place.until = place.until.max(at + REPORTED_AGAIN);
        }
    }

    /// Learns from a call that has not returned.
    pub fn note_open(&mut self, op: &Op, now: Timestamp) {
        self.learn(op, now);
        if let Op::Connect {
            to: Address::Inet(to),
            ..
        } = op
        {
            self.place(*to, now + REPORTED_AGAIN);
        }
    }

    fn learn(&mut self, op: &Op, at: Timestamp) {
        match op {
            Op::IoUring => self.io_uring = true,
            Op::Connect {
                fd,
                to: Address::Inet(to),
            } => self.talks(fd, Some(*to), at),
            Op::Connect {
                to: Address::Unix(path),
                ..
            } if service::name_of(path).is_some() => {
                self.service_until = Some(at + SERVICE_WAIT);
            }
            Op::Bind {
                fd,
                local: Address::Inet(local),
            }
            | Op::LocalName {
                fd,
                local: Address::Inet(local),
            } => {
                self.talks(fd, None, at);
                self.socket(fd, *local, at);
            }
            Op::Accept { fd, new } => {
                self.talks(fd, None, at);
                self.talks(new, None, at);
            }
            Op::Send { fd, messages } | Op::Receive { fd, messages } => {
                self.talks(fd, None, at);
                for message in messages {
                    if let Some(peer) = message.peer {
                        self.talks(fd, Some(peer), at);
                    }
                    for question in message.dns.iter().filter_map(|m| m.question.as_ref()) {
                        self.named(name(question), at);
                    }
                }
            }
            _ => {}
        }
    }

    /// A traced process uses a socket, perhaps to talk to somebody.
    fn talks(&mut self, fd: &Fd, to: Option<Endpoint>, at: Timestamp) {
        let note = fd.note.as_deref();
        let peer = to.or(note.and_then(|n| n.peer));
        if let Some(peer) = peer.filter(|_| self.peers.len() < MAX_KNOWN) {
            self.peers.insert(peer.ip);
        }
        match (note.and_then(|n| n.local), to) {
            (Some(local), _) if local.port != 0 => self.socket(fd, local, at),
            (_, Some(to)) => self.place(to, at + EXPLAINS),
            _ => {}
        }
    }

    fn socket(&mut self, fd: &Fd, local: Endpoint, at: Timestamp) {
        if local.port == 0 {
            return;
        }
        let style = fd.note.as_deref().and_then(|n| n.socket).map(|s| s.style);
        let transports: &[Transport] = match style {
            Some(SocketStyle::Stream) => &[Transport::Tcp],
            Some(SocketStyle::Datagram) => &[Transport::Udp],
            _ => &[Transport::Tcp, Transport::Udp],
        };
        for transport in transports {
            if local.ip.is_unspecified() {
                self.ports.insert((*transport, local.port), at);
            } else {
                self.own(*transport, local, at);
            }
        }
    }

    fn own(&mut self, transport: Transport, local: Endpoint, at: Timestamp) {
        self.addresses.insert(local.ip);
        if self.sockets.len() >= MAX_KNOWN {
            self.sockets.retain(|_, last| at - *last < EXPLAINS);
        }
        if self.sockets.len() < MAX_KNOWN {
            self.sockets.insert((transport, local), at);
        }
    }

    fn place(&mut self, to: Endpoint, until: Timestamp) {
        if self.places.len() >= MAX_KNOWN {
            self.places
                .retain(|_, place| place.until >= until - EXPLAINS);
        }
        if self.places.len() < MAX_KNOWN {
            let place = self.places.entry(to).or_insert(Place { until, packets: 0 });
            place.until = place.until.max(until);
        }
    }

    fn named(&mut self, name: u64, at: Timestamp) {
        if self.names.len() >= MAX_KNOWN {
            self.names.retain(|_, last| at - *last < EXPLAINS);
        }
        if self.names.len() < MAX_KNOWN {
            self.names.insert(name, at);
        }
    }

    /// Whether what is known now explains a packet.
    pub fn explains(&mut self, key: &Key, at: Timestamp) -> bool {
        match *key {
            Key::Tcp { flow, syn, seq } => {
                if self.is_own(flow, at) {
                    if syn {
                        if self.sequences.len() >= MAX_KNOWN {
                            self.sequences.retain(|_, last| at - *last < EXPLAINS);
                        }
                        self.sequences.insert(seq, at);
                    }
                    return true;
                }
                let copy = syn && self.sequences.get(&seq).is_some_and(|own| near(at, *own));
                if copy {
                    self.own(Transport::Tcp, flow.src, at);
                }
                copy || self.is_upstream(flow) || self.is_place(flow, at)
            }
            Key::Dns {
                flow,
                response,
                name,
            } => {
                if self.is_own(flow, at) {
                    if let Some(name) = name {
                        self.named(name, at);
                    }
                    return true;
                }
                if self.is_asked(name, at) {
                    if self.upstreams.len() < MAX_KNOWN {
                        let upstream = if response { flow.src } else { flow.dst };
                        self.upstreams.insert(upstream);
                    }
                    return true;
                }
                let served = |until| at <= until && until - at <= SERVICE_WAIT + REPORTED_AGAIN;
                self.service_until.is_some_and(served) || self.is_place(flow, at)
            }
            Key::Error { quoted, name } => {
                let own = quoted.is_some_and(|f| self.is_own(f, at) || self.is_place(f, at));
                own || self.is_asked(name, at)
            }
            Key::Neighbour(about) => {
                if self.neighbours.len() >= MAX_KNOWN && !self.neighbours.contains_key(&about) {
                    return self.peers.contains(&about);
                }
                let seen = self.neighbours.entry(about).or_default();
                *seen += 1;
                *seen <= MAX_PER_NEIGHBOUR || self.peers.contains(&about)
            }
            Key::Part(flow) => {
                self.is_own(flow, at) || self.is_upstream(flow) || self.is_place(flow, at)
            }
            Key::Fragment(from, to) => self.peers.contains(&from) || self.peers.contains(&to),
            Key::Other => false,
        }
    }

    fn is_own(&mut self, flow: FiveTuple, at: Timestamp) -> bool {
        for end in [flow.src, flow.dst] {
            let sockets = self.sockets.get_mut(&(flow.transport, end));
            let last = sockets.or_else(|| self.ports.get_mut(&(flow.transport, end.port)));
            if let Some(last) = last
                && at - *last < SOCKET_IDLE
            {
                *last = (*last).max(at);
                return true;
            }
        }
        false
    }

    fn is_upstream(&self, flow: FiveTuple) -> bool {
        self.upstreams.contains(&flow.src) || self.upstreams.contains(&flow.dst)
    }

    fn is_asked(&self, name: Option<u64>, at: Timestamp) -> bool {
        name.and_then(|name| self.names.get(&name))
            .is_some_and(|asked| near(at, *asked))
    }

    fn is_place(&mut self, flow: FiveTuple, at: Timestamp) -> bool {
        [flow.src, flow.dst].iter().any(|end| {
            let place = self.places.get_mut(end).filter(|p| at <= p.until);
            place.is_some_and(|place| {
                place.packets += 1;
                place.packets <= MAX_PER_PLACE
            })
        })
    }

    /// What becomes of a packet that nothing explains, now that its call would have been reported: whether it stays.
    pub fn settle(&mut self, key: &Key, at: Timestamp) -> bool {
        let kind = key.kind();
        if self.all {
            self.kept_of_others += 1;
            let stays = self.kept_of_others <= MAX_OTHERS;
            if !stays {
                self.omitted.beyond.add(kind, at);
            }
            return stays;
        }
        let (Key::Tcp { flow, .. } | Key::Dns { flow, .. }) = *key else {
            self.omitted.foreign.add(kind, at);
            return false;
        };
        let here = |ip| self.addresses.is_empty() || self.addresses.contains(&ip);
        if !self.io_uring || !here(flow.src.ip) && !here(flow.dst.ip) {
            self.omitted.foreign.add(kind, at);
            return false;
        }
        let stays = match kind {
            Kind::Syn | Kind::Query => self.begin(flow),
            _ => self.go_on(flow),
        };
        if !stays {
            self.omitted.beyond.add(kind, at);
        }
        stays
    }

    /// A SYN or a query: it stays within its destination's share.
    fn begin(&mut self, flow: FiveTuple) -> bool {
        if self.flows.contains_key(&flow) {
            return self.go_on(flow);
        }
        let of_one = self.destinations.get(&flow.dst).copied().unwrap_or(0);
        if of_one >= MAX_PER_DESTINATION || self.unexplained >= MAX_UNEXPLAINED {
            return false;
        }
        self.unexplained += 1;
        *self.destinations.entry(flow.dst).or_default() += 1;
        self.flows.insert(flow, 1);
        true
    }

    /// Another packet of a flow: it stays where the first one did.
    fn go_on(&mut self, flow: FiveTuple) -> bool {
        for way in [flow, flow.reversed()] {
            if let Some(packets) = self.flows.get_mut(&way) {
                *packets += 1;
                return *packets <= MAX_PER_FLOW;
            }
        }
        false
    }
}

/// Whether two times belong to one exchange; a call may be reported after the packet that it caused.
fn near(at: Timestamp, known: Timestamp) -> bool {
    at - known <= EXPLAINS && known - at <= REPORTED_AGAIN
}

#[cfg(test)]
mod tests;
