//! SYNs of the capture, grouped into attempts, with what answered them.

use super::{Ending, SynAnswer, departure_limit, refusal};
use crate::event::{EventKind, OpeningStep, Packet, TcpFlags};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::join::socket::{Association, Sockets};
use crate::join::{AssociationId, EventId, Evidence, How, Refusal};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;

/// The longest gap between two SYNs of one attempt: Linux doubles it from one second up to 64 s, newer kernels end
/// with 34 s (`tcp_syn_retries`, `tcp_syn_linear_timeouts`; measured 1, 1, 1, 1, 1, 2, 4, 8, 16, 34 s).
pub const LONGEST_GAP: Span = Span::seconds(65);

/// The gap before the second SYN (RFC 6298 section 2: an initial timeout of one second), with a little slack.
const FIRST_GAP: Span = Span::millis(1_100);

/// The SYNs of one attempt: one flow, one sequence number.
#[derive(Debug)]
pub struct SynFlow {
    /// Who connects.
    pub client: Endpoint,
    /// To whom.
    pub server: Endpoint,
    /// Initial sequence number.
    pub seq: u32,
    /// Time of the first SYN.
    pub first: Timestamp,
    /// Time of the last SYN.
    pub last: Timestamp,
    /// When another one was due, at the latest, had the client gone on.
    pub due: Timestamp,
    /// All SYNs.
    pub syns: Vec<EventId>,
    /// How many of them the client sent again: copies of one packet follow each other sooner.
    pub repeats: usize,
    /// How it ended, as far as packets show.
    pub ending: Ending,
    /// When.
    pub ended: Option<Timestamp>,
    /// By which packet.
    pub ended_by: Option<EventId>,
    /// What came back without completing the connection.
    pub replies: Replies,
    /// What followed the handshake.
    pub opening: Opening,
}

/// What followed a handshake, where the capture holds data segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// The capture was taken nearer to the server than to the client.
    pub near_server: bool,
    /// The client's first data.
    pub client_data: Option<Timestamp>,
    /// The server's first data.
    pub server_data: Option<Timestamp>,
}

impl Opening {
    fn add(&mut self, at: Timestamp, step: OpeningStep) {
        match step {
            OpeningStep::LateAck => self.near_server = true,
            OpeningStep::ClientData => self.client_data = self.client_data.or(Some(at)),
            OpeningStep::ServerData => self.server_data = self.server_data.or(Some(at)),
        }
    }
}

/// What came back for a SYN without completing the connection, a bounded number of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    /// SYN-ACKs after which the client sent its SYN again, or never went on.
    pub ignored: Vec<EventId>,
    /// ACKs that acknowledge another connection's bytes.
    pub foreign: Vec<EventId>,
    /// The SYN-ACK that came when the client had closed the socket: it was reset at once.
    pub too_late: Option<EventId>,
}

impl Replies {
    /// How many of each kind are kept.
    const MAX: usize = 16;

    /// Whether nothing came back.
    pub fn is_empty(&self) -> bool {
        self.ignored.is_empty() && self.foreign.is_empty() && self.too_late.is_none()
    }

    fn keep(list: &mut Vec<EventId>, id: EventId) {
        if list.len() < Self::MAX {
            list.push(id);
        }
    }
}

/// What follows a SYN sooner is a copy of it (netfilter hooks, mirrors): the least timeout is one second (RFC 6298
/// section 2.1), some systems can be told to use 0.3 s.
const COPIED: Span = Span::millis(250);

/// How long after the last SYN an answer may come: what comes later is stamped by another clock.
const ONE_CLOCK: Span = Span::seconds(600);

/// How soon after a SYN-ACK a SYN may have left before the client had that: they crossed.
const CROSSED: Span = Span::millis(1);

/// More data than a SYN can carry.
const MOST_DATA: u32 = 1 << 16;

/// How far into the first window a client's first captured segment may be.
const WINDOW: u32 = 1 << 20;

impl SynFlow {
    fn end(&mut self, ending: Ending, at: Timestamp, by: EventId) {
        let measured = at - self.last <= ONE_CLOCK;
        (self.ending, self.ended, self.ended_by) =
            (ending, Some(at).filter(|_| measured), Some(by));
    }

    /// Takes out how it ended.
    pub fn take_ending(&mut self) -> Ending {
        std::mem::replace(&mut self.ending, Ending::Open(SynAnswer::Unknown))
    }

    /// The client sent its SYN again.
    fn again(&mut self, at: Timestamp, id: EventId) {
        let gap = at - self.last;
        self.due = at + Ord::max(FIRST_GAP, gap + gap);
        self.syns.push(id);
        self.last = at;
        if gap < COPIED {
            return;
        }
        self.repeats += 1;
        // A SYN-ACK came before: the client did not take it.
        if self.ending == Ending::Connected
            && let (Some(ended), Some(by)) = (self.ended, self.ended_by)
            && at - ended > CROSSED
        {
            Replies::keep(&mut self.replies.ignored, by);
            (self.ended, self.ended_by) = (None, None);
            self.take_ending();
        }
    }

    /// Whether the client sent its SYN once more after it was refused.
    fn is_tried_again(&self) -> bool {
        self.ending == Ending::Refused && self.ended.is_some_and(|ended| self.last > ended)
    }

    /// A RST of the client without an acknowledgement answers a segment for which it has no socket (RFC 9293 section
    /// 3.10.7.1): right behind the SYN-ACK it has the number that this acknowledged.
    fn reset(&mut self, at: Timestamp, seq: u32) {
        let has_just_come = self.ended.is_some_and(|ended| at - ended <= CROSSED);
        let of_syn_ack = self.ending == Ending::Connected && seq == self.seq.wrapping_add(1);
        if of_syn_ack && has_just_come && self.opening == Opening::default() {
            self.replies.too_late = self.ended_by.take();
            self.ended = None;
            self.take_ending();
        }
    }

    /// Another segment of the client: with the number after its SYN's it acknowledges a SYN-ACK.
    fn goes_on(&mut self, at: Timestamp, id: EventId, seq: u32) {
        let into = seq.wrapping_sub(self.seq.wrapping_add(1));
        if self.ending.is_open() && into < WINDOW {
            self.end(Ending::Connected, at, id);
        }
    }

    /// An ICMP error; it quotes the sequence number of the SYN it is about, where it quotes enough.
    fn unreachable(&mut self, why: Refusal, quoted: Option<u32>) {
        if self.ending.is_open() && quoted.is_none_or(|seq| seq == self.seq) {
            (self.ending, self.ended, self.ended_by) =
                (Ending::Unreachable, Some(why.at), Some(why.event));
        }
    }

    /// A segment of the server.
    fn reply(&mut self, at: Timestamp, id: EventId, flags: TcpFlags, ack: u32) {
        // A SYN may carry data (RFC 7413), which its SYN-ACK or RST acknowledges with it.
        let beyond = ack.wrapping_sub(self.seq.wrapping_add(1));
        let ours = beyond == 0 || (flags.syn || flags.rst) && beyond < MOST_DATA;
        match (flags.syn, flags.ack, flags.rst) {
            // The client did not take one before this: only that it goes on shows that it took this.
            (true, true, false)
                if ours && !self.replies.ignored.is_empty() && self.ending.is_open() =>
            {
                Replies::keep(&mut self.replies.ignored, id);
            }
            // Also after a forged RST: what counts is that the connection came up.
            (true, true, _) if ours && self.ending != Ending::Connected => {
                self.end(Ending::Connected, at, id);
            }
            // The client drops a RST that acknowledges something else, or nothing (RFC 9293 section 3.10.7.3).
            // Some clients try again in spite of it (Windows, three times half a second apart): the last one ends it.
            (_, true, true) if ours && (self.ending.is_open() || self.is_tried_again()) => {
                self.end(Ending::Refused, at, id);
            }
            (false, true, false) if self.ending.is_open() && !flags.fin => {
                if ours {
                    self.end(Ending::Connected, at, id);
                } else {
                    Replies::keep(&mut self.replies.foreign, id);
                }
            }
            _ => {}
        }
    }
}

/// Groups SYNs, SYN-ACKs, RSTs and ICMP errors into attempts, in order of their first SYN.
pub fn flows(evidence: &Evidence) -> Vec<SynFlow> {
    let mut handshakes = SynFlows::default();
    for (id, event) in evidence.numbered() {
        match &event.what {
            EventKind::Packet(Packet::Tcp {
                flow,
                flags,
                seq,
                ack,
            }) => {
                if flags.syn && !flags.ack && !flags.rst {
                    handshakes.syn(event.at, id, flow, *seq);
                } else if let Some(known) = handshakes.latest(&flow.reversed()) {
                    known.reply(event.at, id, *flags, *ack);
                } else if let Some(known) = handshakes.latest(flow) {
                    match (flags.ack, flags.rst) {
                        (true, false) => known.goes_on(event.at, id, *seq),
                        (false, true) => known.reset(event.at, *seq),
                        _ => {}
                    }
                }
            }
            EventKind::Packet(Packet::Opening { flow, step }) => {
                if let Some(known) = handshakes.latest(flow) {
                    known.opening.add(event.at, *step);
                }
            }
            EventKind::Packet(Packet::Icmp {
                kind,
                quote: Some(quote),
                ..
            }) if quote.flow.transport == Transport::Tcp => {
                if let Some(known) = handshakes.latest(&quote.flow)
                    && let Some(why) = refusal(event.at, id, *kind)
                {
                    known.unreachable(why, quote.seq);
                }
            }
            _ => {}
        }
    }
    handshakes.list
}

/// Attempts while the packets of a capture pass.
#[derive(Default)]
struct SynFlows {
    list: Vec<SynFlow>,
    /// The attempt that later packets of a flow are about.
    latest: HashMap<FiveTuple, usize>,
}

impl SynFlows {
    fn latest(&mut self, flow: &FiveTuple) -> Option<&mut SynFlow> {
        self.latest.get(flow).map(|i| &mut self.list[*i])
    }

    /// A SYN: of the attempt that its flow knows by this sequence number, unless that has been silent for too long;
    /// else of a new one.
    fn syn(&mut self, at: Timestamp, id: EventId, flow: &FiveTuple, seq: u32) {
        let known = self.latest(flow);
        if let Some(known) = known.filter(|f| f.seq == seq && at - f.last <= LONGEST_GAP) {
            known.again(at, id);
            return;
        }
        self.latest.insert(*flow, self.list.len());
        self.list.push(SynFlow {
            client: flow.src,
            server: flow.dst,
            seq,
            first: at,
            last: at,
            due: at + FIRST_GAP,
            syns: vec![id],
            repeats: 0,
            ending: Ending::Open(SynAnswer::Unknown),
            ended: None,
            ended_by: None,
            replies: Replies::default(),
            opening: Opening::default(),
        });
    }
}

/// Gives the SYNs of the captures to the sockets whose calls caused them, each to one socket.
pub struct SynMatcher {
    flows: Vec<SynFlow>,
    /// Whether a socket has the flow.
    taken: Vec<bool>,
    of_socket: HashMap<AssociationId, (usize, How)>,
}

impl SynMatcher {
    /// A matcher of flows that no socket has yet.
    pub fn new(flows: Vec<SynFlow>) -> Self {
        Self {
            taken: vec![false; flows.len()],
            of_socket: HashMap::new(),
            flows,
        }
    }

    /// Gives each of these sockets the flow that is its own, the surest socket first.
    pub fn give(&mut self, evidence: &Evidence, sockets: &Sockets, surest_first: &[AssociationId]) {
        // Without a trace there may be many flows and nobody to look for one.
        if surest_first.is_empty() {
            return;
        }
        let index = SynIndex::new(&self.flows);
        let next = next_with_same_ends(sockets, surest_first);
        for &a in surest_first {
            let this = &sockets.list[a];
            let departure = SendWindow::of(this, next.get(&a).copied(), evidence.tolerance);
            let found = index.find(&self.taken, this, &departure);
            if let Some((flow, how)) = found {
                self.taken[flow] = true;
                self.of_socket.insert(a, (flow, how));
            }
        }
    }

    /// Whether a socket has a flow.
    pub fn has(&self, a: AssociationId) -> bool {
        self.of_socket.contains_key(&a)
    }

    /// Takes its flow from a socket that turned out not to have sent it.
    pub fn release(&mut self, a: AssociationId) {
        if let Some((flow, _)) = self.of_socket.remove(&a) {
            self.taken[flow] = false;
        }
    }

    /// The flow of a socket, and how that is known.
    pub fn of(&mut self, a: AssociationId) -> Option<(&mut SynFlow, How)> {
        let (flow, how) = *self.of_socket.get(&a)?;
        Some((&mut self.flows[flow], how))
    }

    /// How many flows no socket has.
    pub fn left(&self) -> usize {
        self.flows.len() - self.of_socket.len()
    }

    /// The flows that no socket has.
    pub fn into_left(self) -> impl Iterator<Item = SynFlow> {
        let flows = self.flows.into_iter().zip(self.taken);
        flows.filter(|(_, taken)| !taken).map(|(flow, _)| flow)
    }
}

/// When the SYN of a socket may have left.
struct SendWindow {
    from: Timestamp,
    until: Timestamp,
}

impl SendWindow {
    /// Of this socket; `next` is when a later one with the same two ends was connected. Both cannot be open at once: what
    /// leaves after that is the later one's, although the capture may lack this one's.
    fn of(association: &Association, next: Option<Timestamp>, tolerance: Span) -> Self {
        let opened = association.opened;
        let latest = opened + departure_limit(None) + tolerance;
        let is_apart = |next: &Timestamp| *next - opened > tolerance + tolerance;
        Self {
            from: opened - tolerance,
            until: next
                .filter(is_apart)
                .map_or(latest, |next| latest.min(next - tolerance)),
        }
    }
}

/// For each of these sockets, whose own port is known, when the next one with that port was connected to the same end.
/// (A failed connect resets the local address but keeps the port.)
fn next_with_same_ends(
    sockets: &Sockets,
    in_order: &[AssociationId],
) -> HashMap<AssociationId, Timestamp> {
    let mut later: HashMap<(u16, Endpoint), Timestamp> = HashMap::new();
    let mut next = HashMap::new();
    let exact = in_order.iter().filter(|a| sockets.list[**a].exact);
    for &a in exact.rev() {
        let this = &sockets.list[a];
        if let Some(ends) = this.local.map(|local| local.port).zip(this.peer)
            && let Some(opened) = later.insert(ends, this.opened)
        {
            next.insert(a, opened);
        }
    }
    next
}

/// Finds the SYNs of a call among the flows.
struct SynIndex<'f> {
    flows: &'f [SynFlow],
    by_server: HashMap<Endpoint, Vec<usize>>,
    by_client_port: HashMap<u16, Vec<usize>>,
}

impl<'f> SynIndex<'f> {
    /// Indexes flows by both of their ends.
    fn new(flows: &'f [SynFlow]) -> Self {
        let mut this = Self {
            flows,
            by_server: HashMap::new(),
            by_client_port: HashMap::new(),
        };
        for (i, flow) in flows.iter().enumerate() {
            this.by_server.entry(flow.server).or_default().push(i);
            this.by_client_port
                .entry(flow.client.port)
                .or_default()
                .push(i);
        }
        this
    }

    /// The flow that the connect of a socket began:
    ///
    /// 1. its first SYN left after the call, no later than a neighbour search may hold it back, within the tolerance
    ///    of the two clocks, and before a later socket was connected with the same port to the same address,
    /// 2. no other socket has it,
    /// 3. where the trace shows the socket's local port: it comes from that port, and goes to the address that the
    ///    call names; where none does, NAT on this host has changed the address, and it comes from the very local end
    ///    of the socket. (A failed connect resets the local address but keeps the port.)
    /// 4. where the trace does not: it goes to the address that the call names.
    ///
    /// Of several the first.
    fn find<'l>(
        &'l self,
        taken: &'l [bool],
        association: &Association,
        departure: &SendWindow,
    ) -> Option<(usize, How)> {
        let peer = association.peer?;
        let SendWindow { from, until } = *departure;
        let in_time = |list: &'l [usize]| {
            let start = list.partition_point(|i| self.flows[*i].first < from);
            let after = list[start..].iter().copied();
            after
                .take_while(move |i| self.flows[*i].first <= until)
                .filter(move |i| !taken[*i])
        };
        if association.exact {
            let local = association.local?;
            let same_port = self.by_client_port.get(&local.port)?;
            let to_peer = in_time(same_port).find(|i| self.flows[*i].server == peer);
            let changed = |i: &usize| {
                let flow = &self.flows[*i];
                flow.client == local && flow.server.port != 0
            };
            return to_peer
                .or_else(|| in_time(same_port).find(changed))
                .map(|i| (i, How::Call));
        }
        let same_server = self.by_server.get(&peer)?;
        in_time(same_server).next().map(|i| (i, How::Inferred))
    }
}
