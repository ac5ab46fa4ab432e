//! Which packets of a live run stay: in memory for the report, and in the case. One rule for both, so that the case
//! gives the report that the run gave.
//!
//! A packet stays when
//! 1. it is to or from a socket of a traced process: by both ends where the connection itself was seen, otherwise by the
//!    local one, since address translation changes the other; where processes are watched, to or from a socket that a look
//!    found to be theirs, or of which it is unknown whose it is,
//! 2. it is to or from where such a process connects or sends without its own address being known,
//! 3. it explains one of those: a copy of its SYN behind address translation, a DNS message for a name that it asked
//!    for, any DNS message while it waits for a name service (nscd, avahi), an ICMP error that quotes one of these, an
//!    ARP or neighbour discovery message,
//! 4. calls may be missing (`io_uring`, `CLONE_UNTRACED`, events that were lost), and it is a SYN with its reply or a DNS
//!    message: up to a bound, of each destination a share. From which of the host's addresses such a call would send is
//!    not known: who looked up through 127.0.0.53 connects from another,
//! 5. packets of all processes are wanted (`--others`, or nothing is traced): up to a bound.
//!
//! Everything else is counted by kind in [`LeftOutPackets`]: as another process's, or, where a bound was reached, as what may be
//! anybody's. A packet may come before the call that explains it, so [`hold::Hold`] keeps it for a while.

pub mod classify;
pub mod hold;

use crate::event::{
    Address, Call, CallOutcome, Event, EventKind, Fd, FollowState, LifecycleChange, Op, Owner,
    SocketType, Whose,
};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::input::{DroppedKind, LeftOutPackets};
use crate::join::service;
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::net::IpAddr;

/// A socket that nothing was seen of for so long is closed: another process may have its port.
const SOCKET_IDLE: Span = Span::seconds(1_800);
/// So many sockets, names and places are known at most; the ports of an address are fewer.
const MAX_KNOWN: usize = 200_000;
/// A resolver asks its own resolvers about a name so long after it was asked, and a SYN is copied so soon.
const EXPLAINS: Span = Span::seconds(60);
/// Full tables are swept once in this time.
const SWEPT_AGAIN: Span = Span::seconds(1);
/// A socket that vanished without a port was looked at so long ago: ten times a second, and later on a busy machine.
const LOOKED_AT: Span = Span::millis(250);
/// So many of those are remembered; whoever makes more is a storm, in which the bounds below apply.
const MAX_VANISHED: usize = 64;
/// How far the clocks of the capture and of the trace may be apart.
const SAME_TIME: Span = Span::millis(10);
/// A client waits for a name service so long.
const SERVICE_WAIT: Span = Span::seconds(60);
/// A call that has not returned is reported again within this time.
const REPORTED_AGAIN: Span = Span::seconds(2);
/// Of a place whose askers' own address is unknown, and of a name that was asked for, so many packets stay: others may
/// ask there, and for it, too.
const MAX_SHARE: u32 = 5_000;
/// So many ARP and neighbour discovery messages stay for one address, and of one that traced processes talk to.
const MAX_PER_NEIGHBOUR: u32 = 64;
/// See there.
const MAX_PER_PEER: u32 = 5_000;
/// So many such messages stay in all.
const MAX_NEIGHBOURS: u32 = 20_000;
/// So many DNS messages of others stay because a name service that is waited for, or a resolver, may have sent them.
const MAX_UPSTREAM: u32 = 50_000;
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
pub enum PacketKey {
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

impl PacketKey {
    /// What it is called where it is counted.
    fn kind(&self) -> DroppedKind {
        match self {
            Self::Tcp { syn: true, .. } => DroppedKind::Syn,
            Self::Tcp { .. } => DroppedKind::Reply,
            Self::Dns {
                response: false, ..
            } => DroppedKind::Query,
            Self::Dns { .. } => DroppedKind::Response,
            _ => DroppedKind::Other,
        }
    }
}

/// When a call showed a socket.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The socket had no port before.
    since: Option<Timestamp>,
    at: Timestamp,
}

/// A socket of a traced process.
#[derive(Clone, Copy, Debug)]
struct TracedSocket {
    /// When the connect began that gave it its port; `None`: it may be older than the call that showed it.
    since: Option<Timestamp>,
    /// When something was last seen of it.
    last: Timestamp,
    /// Its own SYN was seen on its way to where the call says: no address translation stands between, and another
    /// destination is another socket's.
    untranslated: bool,
}

/// What explains packets for a while, and how many it has explained.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// A place: until when; a name: when it was asked for.
    at: Timestamp,
    packets: u32,
}

/// What is known of the traced processes, and what was dropped.
#[derive(Debug, Default)]
pub struct Retention {
    /// Packets of all processes are wanted.
    all: bool,
    kept_of_others: u64,
    /// Local ends of traced sockets.
    sockets: HashMap<(Transport, Endpoint), TracedSocket>,
    /// Both ends of those that connected.
    connected: HashSet<(Endpoint, Endpoint)>,
    /// Ports of sockets that are bound to all addresses, and when something was last seen of them.
    ports: HashMap<(Transport, u16), Timestamp>,
    /// Addresses that traced sockets talk to.
    peers: HashSet<IpAddr>,
    /// Where traced processes talk to from an address that is not known.
    places: HashMap<Endpoint, Share>,
    /// Sequence numbers of the traced sockets' SYNs.
    sequences: HashMap<u32, Timestamp>,
    /// Names that traced processes asked for.
    names: HashMap<u64, Share>,
    /// Where the resolvers of traced processes ask.
    upstreams: HashSet<Endpoint>,
    service_until: Option<Timestamp>,
    kept_of_upstream: u32,
    /// Calls may be missing.
    calls_missing: bool,
    /// When sockets vanished of which no port is known: just before, they may have been used.
    vanished: VecDeque<Timestamp>,
    unexplained: usize,
    /// Unexplained packets that stay, by the flow of their SYN or query.
    flows: HashMap<FiveTuple, u32>,
    destinations: HashMap<Endpoint, u32>,
    neighbours: HashMap<IpAddr, u32>,
    kept_of_neighbours: u32,
    /// When the tables were swept.
    swept: Timestamp,
    /// Something about a traced process did not fit into these tables.
    full: bool,
    /// A bound and nothing else refused the packet that was looked at last.
    refused: bool,
    omitted: LeftOutPackets,
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
    pub fn omitted(&self) -> &LeftOutPackets {
        &self.omitted
    }

    /// Whether a packet stays whatever explains it.
    pub fn wants_all(&self) -> bool {
        self.all && self.kept_of_others < MAX_OTHERS
    }

    /// Learns from an event of the trace.
    pub fn note(&mut self, event: &Event) {
        if let EventKind::Life(life) = &event.what
            && let LifecycleChange::Socket(look) = &life.change
        {
            if look.state == FollowState::Vanished {
                if self.vanished.len() >= MAX_VANISHED {
                    self.vanished.pop_front();
                }
                self.vanished.push_back(event.at);
            }
            self.talks(
                &look.fd,
                None,
                Seen {
                    since: None,
                    at: event.at,
                },
            );
        }
        let call = match &event.what {
            EventKind::Call(call) => call,
            EventKind::Owner(owner) => return self.note_owner(event.at, owner),
            EventKind::Packet(_) | EventKind::Life(_) | EventKind::Stack(_) => return,
        };
        let at = call.exited.unwrap_or(event.at);
        if leaves_the_trace(call) {
            self.calls_are_missing();
        }
        let began = event.at;
        self.learn(&call.op, began, at);
        if let Op::Connect {
            to: Address::Inet(to),
            ..
        } = &call.op
            && let Some(place) = self.places.get_mut(to)
        {
            // The end of a call that was open.
            place.at = place.at.max(at + REPORTED_AGAIN);
        }
        if let Op::Connect {
            to: Address::Unix(path),
            ..
        } = &call.op
            && service::name_of(path).is_some()
            && call.outcome.value().is_some()
        {
            self.service_until = Some(at + SERVICE_WAIT);
        }
    }

    /// A query or SYN whose socket was looked up. What nobody can be said to have sent may be a watched process's.
    fn note_owner(&mut self, at: Timestamp, owner: &Owner) {
        if owner.whose == Whose::Others {
            return;
        }
        let Owner { flow, .. } = owner;
        let since = Some(at);
        match self.peers.len() {
            0..MAX_KNOWN => drop(self.peers.insert(flow.dst.ip)),
            _ => self.full |= !self.peers.contains(&flow.dst.ip),
        }
        self.own(flow.transport, flow.src, Seen { since, at });
        self.connects(flow.src, flow.dst);
    }

    /// Learns from a call that has not returned.
    pub fn note_open(&mut self, op: &Op, since: Timestamp, now: Timestamp) {
        self.learn(op, since, now);
        if let Op::Connect {
            to: Address::Inet(to),
            ..
        } = op
        {
            self.place(*to, now + REPORTED_AGAIN);
        }
    }

    /// Traced events were lost, or a traced process has a way to the network that is no system call.
    pub fn calls_are_missing(&mut self) {
        self.calls_missing = true;
    }

    fn learn(&mut self, op: &Op, began: Timestamp, at: Timestamp) {
        let seen = Seen { since: None, at };
        match op {
            Op::Connect {
                fd,
                to: Address::Inet(to),
            } => {
                let since = Some(began);
                self.talks(fd, Some(*to), Seen { since, at });
            }
            Op::Bind {
                fd,
                local: Address::Inet(local),
            }
            | Op::LocalName {
                fd,
                local: Address::Inet(local),
            } => {
                self.talks(fd, None, seen);
                self.socket(fd, *local, seen);
            }
            Op::Accept { fd, new } => {
                self.talks(fd, None, seen);
                self.talks(new, None, seen);
            }
            Op::Send { fd, messages } | Op::Receive { fd, messages } => {
                self.talks(fd, None, seen);
                for message in messages {
                    if let Some(peer) = message.peer {
                        self.talks(fd, Some(peer), seen);
                    }
                    for question in message.dns.iter().filter_map(|m| m.question.as_ref()) {
                        self.named(classify::name(question), at);
                    }
                }
            }
            _ => {}
        }
    }

    /// A traced process uses a socket, perhaps to talk to somebody.
    fn talks(&mut self, fd: &Fd, to: Option<Endpoint>, seen: Seen) {
        let note = fd.note.as_deref();
        let peer = to.or(note.and_then(|n| n.peer));
        if let Some(peer) = peer {
            match self.peers.len() {
                0..MAX_KNOWN => drop(self.peers.insert(peer.ip)),
                _ => self.full |= !self.peers.contains(&peer.ip),
            }
        }
        match (note.and_then(|n| n.local), to) {
            (Some(local), _) if local.port != 0 => {
                self.socket(fd, local, seen);
                if let Some(to) = to {
                    self.connects(local, to);
                }
            }
            (_, Some(to)) => self.place(to, seen.at + EXPLAINS),
            _ => {}
        }
    }

    fn socket(&mut self, fd: &Fd, local: Endpoint, seen: Seen) {
        if local.port == 0 {
            return;
        }
        let style = fd.note.as_deref().and_then(|n| n.socket).map(|s| s.style);
        let transports: &[Transport] = match style {
            Some(SocketType::Stream) => &[Transport::Tcp],
            Some(SocketType::Datagram) => &[Transport::Udp],
            _ => &[Transport::Tcp, Transport::Udp],
        };
        for transport in transports {
            if local.ip.is_unspecified() {
                self.ports.insert((*transport, local.port), seen.at);
            } else {
                self.own(*transport, local, seen);
            }
        }
    }

    fn connects(&mut self, local: Endpoint, to: Endpoint) {
        if self.connected.len() < MAX_KNOWN {
            self.connected.insert((local, to));
        }
    }

    fn own(&mut self, transport: Transport, local: Endpoint, seen: Seen) {
        let Seen { since, at } = seen;
        if self.sockets.len().max(self.connected.len()) >= MAX_KNOWN {
            self.sweep(at);
        }
        if self.sockets.len().max(self.connected.len()) >= MAX_KNOWN {
            self.full = true;
            return;
        }
        let socket = self
            .sockets
            .entry((transport, local))
            .or_insert(TracedSocket {
                since,
                last: at,
                untranslated: false,
            });
        socket.last = socket.last.max(at);
        if let (Some(known), Some(since)) = (socket.since, since) {
            // The end of a call that was open.
            socket.since = Some(known.min(since));
        }
    }

    /// Takes out of the tables what explains nothing any more.
    fn sweep(&mut self, at: Timestamp) {
        if (at - self.swept).abs() < SWEPT_AGAIN {
            return;
        }
        self.swept = at;
        let old = |last: Timestamp| at - last >= EXPLAINS;
        self.sockets.retain(|_, socket| !old(socket.last));
        let sockets = &self.sockets;
        self.connected
            .retain(|(local, _)| sockets.contains_key(&(Transport::Tcp, *local)));
        self.places.retain(|_, place| !old(place.at));
        self.names.retain(|_, name| !old(name.at));
        self.sequences.retain(|_, last| !old(*last));
    }

    fn place(&mut self, to: Endpoint, until: Timestamp) {
        if self.places.len() >= MAX_KNOWN {
            self.sweep(until - EXPLAINS);
        }
        remember(&mut self.places, to, until, &mut self.full);
    }

    fn named(&mut self, name: u64, at: Timestamp) {
        if self.names.len() >= MAX_KNOWN {
            self.sweep(at);
        }
        remember(&mut self.names, name, at, &mut self.full);
    }

    /// Whether a frame with these messages stays. What does not is counted.
    pub fn keeps(&mut self, keys: &[PacketKey], at: Timestamp) -> bool {
        if self.explain(keys, at) {
            return true;
        }
        let key = keys.first().unwrap_or(&PacketKey::Other);
        self.settle(key, at)
    }

    /// Whether what is known now explains one of a frame's messages. All are looked at, for each may tell something.
    pub fn explain(&mut self, keys: &[PacketKey], at: Timestamp) -> bool {
        self.refused = false;
        keys.iter().filter(|key| self.explains(key, at)).count() > 0
    }

    /// Whether what is known now explains a message.
    fn explains(&mut self, key: &PacketKey, at: Timestamp) -> bool {
        match *key {
            PacketKey::Tcp { flow, syn, seq } => self.explains_tcp(flow, syn.then_some(seq), at),
            PacketKey::Dns {
                flow,
                response,
                name,
            } => self.explains_dns(flow, response, name, at),
            PacketKey::Error { quoted, name } => {
                let own = quoted.is_some_and(|f| self.is_own(f, at) || self.is_place(f, at));
                own || self.is_asked(name, at)
            }
            PacketKey::Neighbour(about) => self.explains_neighbour(about),
            PacketKey::Part(flow) => {
                self.is_own(flow, at) || self.is_place(flow, at) || self.is_upstream(flow)
            }
            PacketKey::Fragment(from, to) => self.peers.contains(&from) || self.peers.contains(&to),
            PacketKey::Other => false,
        }
    }

    fn explains_tcp(&mut self, flow: FiveTuple, syn: Option<u32>, at: Timestamp) -> bool {
        if self.is_own(flow, at) {
            if let Some(seq) = syn {
                if self.sequences.len() >= MAX_KNOWN {
                    self.sweep(at);
                }
                match self.sequences.len() {
                    0..MAX_KNOWN => drop(self.sequences.insert(seq, at)),
                    _ => self.full = true,
                }
                if self.connected.contains(&(flow.src, flow.dst))
                    && let Some(socket) = self.sockets.get_mut(&(Transport::Tcp, flow.src))
                {
                    socket.untranslated = true;
                }
            }
            return true;
        }
        let own = syn.and_then(|seq| self.sequences.get(&seq));
        let copy = own.is_some_and(|own| near(at, *own));
        if copy {
            let since = Some(at);
            self.own(Transport::Tcp, flow.src, Seen { since, at });
            self.connects(flow.src, flow.dst);
        }
        copy || self.is_place(flow, at) || self.is_upstream(flow)
    }

    fn explains_dns(
        &mut self,
        flow: FiveTuple,
        response: bool,
        name: Option<u64>,
        at: Timestamp,
    ) -> bool {
        if self.is_own(flow, at) {
            if let Some(name) = name {
                self.named(name, at);
            }
            return true;
        }
        if self.is_asked(name, at) {
            let upstream = if response { flow.src } else { flow.dst };
            if self.upstreams.len() < MAX_KNOWN {
                self.upstreams.insert(upstream);
            }
            return true;
        }
        if self.is_place(flow, at) {
            return true;
        }
        let served = |until| at <= until && until - at <= SERVICE_WAIT + REPORTED_AGAIN;
        let served = self.service_until.is_some_and(served);
        within(
            served,
            &mut self.kept_of_upstream,
            MAX_UPSTREAM,
            &mut self.refused,
        )
    }

    fn explains_neighbour(&mut self, about: IpAddr) -> bool {
        let most = if self.peers.contains(&about) {
            MAX_PER_PEER
        } else {
            MAX_PER_NEIGHBOUR
        };
        let in_all = most == MAX_PER_PEER || self.kept_of_neighbours < MAX_NEIGHBOURS;
        if !in_all || self.neighbours.len() >= MAX_KNOWN && !self.neighbours.contains_key(&about) {
            return false;
        }
        let seen = self.neighbours.entry(about).or_default();
        let stays = within(true, seen, most, &mut self.refused);
        self.kept_of_neighbours += u32::from(stays);
        stays
    }

    fn is_own(&mut self, flow: FiveTuple, at: Timestamp) -> bool {
        for (end, other) in [(flow.src, flow.dst), (flow.dst, flow.src)] {
            if let Some(socket) = self.sockets.get_mut(&(flow.transport, end)) {
                let others = socket.untranslated && !self.connected.contains(&(end, other));
                let before = socket.since.is_some_and(|since| at + SAME_TIME < since);
                if at - socket.last < SOCKET_IDLE && !others && !before {
                    socket.last = socket.last.max(at);
                    return true;
                }
            }
            if let Some(last) = self.ports.get_mut(&(flow.transport, end.port))
                && at - *last < SOCKET_IDLE
            {
                *last = (*last).max(at);
                return true;
            }
        }
        false
    }

    fn is_upstream(&mut self, flow: FiveTuple) -> bool {
        let upstream = self.upstreams.contains(&flow.src) || self.upstreams.contains(&flow.dst);
        within(
            upstream,
            &mut self.kept_of_upstream,
            MAX_UPSTREAM,
            &mut self.refused,
        )
    }

    fn is_asked(&mut self, name: Option<u64>, at: Timestamp) -> bool {
        let Some(name) = name.and_then(|name| self.names.get_mut(&name)) else {
            return false;
        };
        let asked = near(at, name.at);
        within(asked, &mut name.packets, MAX_SHARE, &mut self.refused)
    }

    fn is_place(&mut self, flow: FiveTuple, at: Timestamp) -> bool {
        for end in [flow.src, flow.dst] {
            if let Some(place) = self.places.get_mut(&end) {
                let open = at <= place.at;
                if within(open, &mut place.packets, MAX_SHARE, &mut self.refused) {
                    return true;
                }
            }
        }
        false
    }

    /// What becomes of a packet that nothing explains, now that its call would have been reported: whether it stays.
    fn settle(&mut self, key: &PacketKey, at: Timestamp) -> bool {
        let kind = key.kind();
        if self.all {
            self.kept_of_others += 1;
            let stays = self.kept_of_others <= MAX_OTHERS;
            if !stays {
                self.omitted.beyond.add(kind, at);
            }
            return stays;
        }
        let is_dns = matches!(key, PacketKey::Dns { .. });
        let perhaps_own = self.calls_missing || is_dns && self.is_of_vanished(at);
        let flow = match *key {
            PacketKey::Tcp { flow, .. } | PacketKey::Dns { flow, .. } => Some(flow),
            PacketKey::Error { quoted, .. } => quoted,
            _ => None,
        };
        if let Some(flow) = flow.filter(|_| perhaps_own) {
            let stays = match kind {
                DroppedKind::Syn | DroppedKind::Query => self.begin(flow),
                _ => self.go_on(flow),
            };
            if !stays {
                self.omitted.beyond.add(kind, at);
            }
            return stays;
        }
        if self.refused || self.full {
            self.omitted.beyond.add(kind, at);
        } else {
            self.omitted.foreign.add(kind, at);
        }
        false
    }

    /// Whether a datagram may be that of a traced socket whose port nobody knows.
    fn is_of_vanished(&self, at: Timestamp) -> bool {
        let near = |gone: &Timestamp| at <= *gone + SAME_TIME && *gone - at <= LOOKED_AT;
        self.vanished.iter().any(near)
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

/// Whether a call opens a way to the network that no later call shows: `io_uring`, or a child with `CLONE_UNTRACED`.
fn leaves_the_trace(call: &Call) -> bool {
    match &call.op {
        Op::IoUring => true,
        Op::Other { name } => {
            &**name == "clone" && matches!(call.outcome, CallOutcome::Returned(_))
        }
        _ => false,
    }
}

/// Counts what is explained in a way that strangers may use too, up to a bound.
fn within(explained: bool, packets: &mut u32, most: u32, refused: &mut bool) -> bool {
    if explained && *packets >= most {
        *refused = true;
        return false;
    }
    *packets += u32::from(explained);
    explained
}

/// Adds to a table that has a bound.
fn remember<K: Hash + Eq>(table: &mut HashMap<K, Share>, key: K, at: Timestamp, full: &mut bool) {
    if table.len() >= MAX_KNOWN && !table.contains_key(&key) {
        *full = true;
        return;
    }
    let share = table.entry(key).or_insert(Share { at, packets: 0 });
    share.at = share.at.max(at);
}

/// Whether two times belong to one exchange; a call may be reported after the packet that it caused.
fn near(at: Timestamp, known: Timestamp) -> bool {
    at - known <= EXPLAINS && known - at <= REPORTED_AGAIN
}

#[cfg(test)]
mod tests;
