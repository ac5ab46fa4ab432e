//! Evicted connection attempts: SYNs that are sent again, what answers them, and the call that made them belong to them.
//!
//! 1. A later packet is an attempt's when it has its two ends, and
//!    - is a SYN with its sequence number, no later after the last one than a client waits, or its first SYN, where none had
//!      been seen and one may still leave; or
//!    - answers its SYN, and nothing has answered that before; or is an ICMP error that quotes it.
//! 2. A later call is an attempt's when it is a connect to its server and a SYN of the attempt left within the time in which
//!    that of the call may have left; where the trace shows the socket's own end, that is the attempt's. It is also an
//!    attempt's when its socket is: a second connect asks for the result of the first (connect(2)).
//! 3. An attempt that a few packets are all of comes back with what belongs to it, and is joined again. Of another one, which
//!    calls or a lookup belong to, the count changes.
//! 4. A SYN with another number is another attempt, from the same port (RFC 6191).

use super::Belongs;
use super::ring::Ring;
use crate::event::{
    Address, Call, CallOutcome, Errno, Event, EventKind, Fd, Op, Packet, SocketType, TcpFlags,
};
use crate::explain::{Case, evicted};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::join::ConnectionId;
use crate::join::connect::{Connection, Ending, LONGEST_GAP, departure_limit, is_refusal};
use crate::time::{Span, Timestamp};
use crate::totals::forgotten::ForgottenAttempt;
use crate::totals::{AttemptCount, AttemptKinds, EvictedTotals};
use std::collections::BTreeSet;

/// So many that were not over are remembered.
const MOST_WAITING: usize = 16_384;
/// So many that were over: nothing more is expected of them.
const MOST_OVER: usize = 4_096;
/// An attempt of more packets does not come back.
const MOST_PACKETS: usize = 12;
/// What follows a SYN sooner is a copy of it (see the join's `connect::syn`).
const COPIED: Span = Span::millis(250);
/// More data than a SYN can carry.
const MOST_DATA: u32 = 1 << 16;

/// An attempt that is evicted.
#[derive(Clone, Copy, Debug)]
pub struct EvictedAttempt {
    /// Which one.
    pub connection: ConnectionId,
    /// No lookup is evicted with it.
    pub alone: bool,
    /// Nothing more is expected of it.
    pub over: bool,
    /// It would have had an account.
    pub subject: bool,
    /// It is counted as one that may have continued.
    pub unfinished: bool,
    /// What it tried was tried again.
    pub retried: bool,
}

/// What is remembered of one.
#[derive(Debug)]
struct Tombstone {
    /// The sequence number of its SYN, where one was seen.
    seq: Option<u32>,
    /// When its first SYN left, else its call was made.
    first: Timestamp,
    /// When its last one did.
    last: Timestamp,
    /// Its SYN was sent again.
    again: bool,
    /// Nothing has answered it.
    open: bool,
    /// The kernel's names for its socket and for that one's network namespace, where a trace shows them.
    socket: Option<(u64, Option<u64>)>,
    counted: AttemptCount,
    subject: bool,
    unfinished: bool,
    retried: bool,
    /// All that it is, where that is a few packets.
    packets: Option<Box<[Event]>>,
}

/// Evicted attempts, by their SYN's two ends.
#[derive(Debug)]
pub struct AttemptTombstones {
    waiting: Ring<FiveTuple, Box<Tombstone>>,
    over: Ring<FiveTuple, Box<Tombstone>>,
    /// Those that no call is known of, by server and time.
    without_call: BTreeSet<(Endpoint, Timestamp, Endpoint)>,
}

impl Default for AttemptTombstones {
    fn default() -> Self {
        Self {
            waiting: Ring::new(MOST_WAITING),
            over: Ring::new(MOST_OVER),
            without_call: BTreeSet::new(),
        }
    }
}

impl AttemptTombstones {
    /// Remembers an attempt that is evicted. Returns the one that is forgotten instead, if more of that may come.
    pub fn add(&mut self, case: &Case, attempt: EvictedAttempt) -> Option<ForgottenAttempt> {
        let connection = &case.joined.connections[attempt.connection];
        let (flow, stone) = Tombstone::of(case, attempt, connection)?;
        self.take(&flow);
        let ring = if attempt.over {
            &mut self.over
        } else {
            &mut self.waiting
        };
        if stone.packets.is_some() && case.evidence.has_trace() {
            self.without_call.insert((flow.dst, stone.first, flow.src));
        }
        let (flow, forgotten) = ring.add(flow, Box::new(stone))?;
        self.without_call
            .remove(&(flow.dst, forgotten.first, flow.src));
        (!attempt.over).then(|| ForgottenAttempt {
            first: forgotten.first,
            forgotten: case.evidence.end(),
            until: forgotten.last + LONGEST_GAP,
        })
    }

    fn get(&mut self, flow: &FiveTuple) -> Option<&mut Tombstone> {
        let stone = match self.waiting.get(flow) {
            Some(stone) => Some(stone),
            None => self.over.get(flow),
        };
        stone.map(|stone| &mut **stone)
    }

    fn take(&mut self, flow: &FiveTuple) -> Option<Box<Tombstone>> {
        let stone = self.waiting.take(flow).or_else(|| self.over.take(flow))?;
        self.without_call.remove(&(flow.dst, stone.first, flow.src));
        Some(stone)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.over.is_empty()
    }

    /// Counts a packet that belongs to an attempt.
    pub fn packet(
        &mut self,
        at: Timestamp,
        packet: &Packet,
        totals: &mut EvictedTotals,
    ) -> Belongs {
        if self.is_empty() {
            return Belongs::Elsewhere;
        }
        let sign = match packet {
            Packet::Tcp {
                flow, flags, seq, ..
            } if flags.syn && !flags.ack && !flags.rst => self.syn(at, flow, *seq),
            Packet::Tcp {
                flow,
                flags,
                seq,
                ack,
            } => self.segment(flow, *flags, (*seq, *ack)),
            Packet::Icmp {
                kind,
                quote: Some(quote),
                ..
            } if is_refusal(*kind).is_some() => {
                let stone = self.get(&quote.flow).filter(|stone| stone.open);
                stone
                    .filter(|stone| quote.seq.is_none_or(|seq| stone.seq == Some(seq)))
                    .map(|_| (quote.flow, Sign::Unreachable))
            }
            _ => None,
        };
        match sign {
            Some((flow, sign)) => self.shows(&flow, at, sign, totals),
            None => Belongs::Elsewhere,
        }
    }

    fn syn(&mut self, at: Timestamp, flow: &FiveTuple, seq: u32) -> Option<(FiveTuple, Sign)> {
        let is_own = self.get(flow)?.is_syn(at, seq);
        if is_own {
            return Some((*flow, Sign::Syn(seq)));
        }
        self.take(flow);
        None
    }

    /// Another segment: of the server, or of the client.
    fn segment(
        &mut self,
        flow: &FiveTuple,
        flags: TcpFlags,
        (seq, ack): (u32, u32),
    ) -> Option<(FiveTuple, Sign)> {
        let back = flow.reversed();
        if let Some(stone) = self.get(&back) {
            return stone.reply(flags, ack).map(|sign| (back, sign));
        }
        let stone = self.get(flow).filter(|_| flags.ack && !flags.rst)?;
        stone.goes_on(seq).then_some((*flow, Sign::Connected))
    }

    /// Counts what a packet shows of the attempt with these ends.
    fn shows(
        &mut self,
        flow: &FiveTuple,
        at: Timestamp,
        sign: Sign,
        totals: &mut EvictedTotals,
    ) -> Belongs {
        match self.get(flow) {
            None => Belongs::Elsewhere,
            Some(stone) if stone.packets.is_some() => self.revive(flow, totals),
            Some(stone) => {
                totals.events += 1;
                stone.learn(at, sign, totals);
                Belongs::Counted
            }
        }
    }

    fn revive(&mut self, flow: &FiveTuple, totals: &mut EvictedTotals) -> Belongs {
        let Some(stone) = self.take(flow) else {
            return Belongs::Elsewhere;
        };
        let packets = stone.packets.map(Vec::from).unwrap_or_default();
        totals.take_attempt(&stone.counted);
        totals.subjects = totals.subjects.saturating_sub(stone.subject.into());
        totals.unfinished = totals.unfinished.saturating_sub(stone.unfinished.into());
        totals.events = totals.events.saturating_sub(packets.len());
        // Other attempts after it may be evicted.
        let shows = packets.first().map(|first| first.place);
        totals.cut.extend(shows.map(|place| (place, stone.retried)));
        Belongs::Revives(packets)
    }

    /// Counts a call that belongs to an attempt.
    pub fn call(
        &mut self,
        (at, call): (Timestamp, &Call),
        tolerance: Span,
        totals: &mut EvictedTotals,
    ) -> Belongs {
        let Op::Connect {
            fd,
            to: Address::Inet(to),
        } = &call.op
        else {
            return Belongs::Elsewhere;
        };
        let note = fd.note.as_deref();
        let style = note.and_then(|n| n.socket).map(|s| s.style);
        if self.is_empty() || style == Some(SocketType::Datagram) {
            return Belongs::Elsewhere;
        }
        let window = (at - tolerance, at + departure_limit(None) + tolerance);
        let from = match own_end(fd, *to) {
            Some(from) => Some(from),
            None => self.earliest(*to, window),
        };
        let Some(from) = from else {
            return Belongs::Elsewhere;
        };
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: from,
            dst: *to,
        };
        let socket = note.and_then(|n| Some((n.identity?, n.netns)));
        match self.get(&flow) {
            Some(stone) if stone.packets.is_some() => {
                if stone.first < window.0 || stone.first > window.1 {
                    return Belongs::Elsewhere;
                }
                self.revive(&flow, totals)
            }
            Some(stone) if stone.socket.is_some() && stone.socket == socket => {
                totals.events += 1;
                if let Some(sign) = Sign::of_call(&call.outcome) {
                    stone.learn(at, sign, totals);
                }
                Belongs::Counted
            }
            _ => Belongs::Elsewhere,
        }
    }

    /// The client's end of the first attempt to reach a server in this time that no call is known of.
    fn earliest(&self, to: Endpoint, (from, until): (Timestamp, Timestamp)) -> Option<Endpoint> {
        let lowest = Endpoint::new([0, 0, 0, 0].into(), 0);
        let mut later = self.without_call.range((to, from, lowest)..);
        let (server, first, client) = later.next()?;
        (*server == to && *first <= until).then_some(*client)
    }
}

/// The end of a socket that a connect shows, unless that is an older one's (see the join's `socket::replay`).
fn own_end(fd: &Fd, to: Endpoint) -> Option<Endpoint> {
    let note = fd.note.as_deref()?;
    let current = note.exact || note.peer == Some(to);
    { note.local }.filter(|local| current && local.port != 0 && !local.ip.is_unspecified())
}

/// What a packet or call shows of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// A SYN.
    Syn(u32),
    Connected,
    Refused,
    Unreachable,
}

impl Sign {
    /// What the result of a second connect says.
    fn of_call(outcome: &CallOutcome) -> Option<Self> {
        match outcome {
            CallOutcome::Returned(_) => Some(Self::Connected),
            failed => match failed.errno()? {
                Errno::IsConnected => Some(Self::Connected),
                Errno::ConnectionRefused => Some(Self::Refused),
                Errno::HostUnreachable | Errno::NetworkUnreachable => Some(Self::Unreachable),
                _ => None,
            },
        }
    }
}

impl Tombstone {
    /// Of an attempt, and its ends. None of one that no later packet can be told to belong to.
    fn of(case: &Case, evicted: EvictedAttempt, attempt: &Connection) -> Option<(FiveTuple, Self)> {
        let evidence = &case.evidence;
        let (flow, seq) = ends(case, attempt)?;
        let first = attempt.first_syn.or(attempt.called)?;
        let last = attempt.syns.last().map_or(first, |e| evidence.event(*e).at);
        let whole = evicted.alone && attempt.called.is_none() && attempt.association.is_none();
        let packets = || {
            let own = attempt.syns.iter().chain(&attempt.ended_by);
            let own = own.copied().filter(|e| evidence.is_packet(*e));
            let looks = attempt.syns.iter().flat_map(|e| evidence.owners.looks(*e));
            { own.chain(looks.take(MOST_PACKETS)) }
                .map(|e| evidence.event(e).clone())
                .collect()
        };
        let packets = (whole && attempt.syns.len() < MOST_PACKETS).then(packets);
        let call = attempt.cause.and_then(|cause| evidence.call(cause.call?));
        let note = call.and_then(|call| call.op.fd()?.note.as_deref());
        let stone = Self {
            seq,
            first,
            last,
            again: attempt.repeats > 0,
            open: is_open(&attempt.outcome),
            socket: note.and_then(|n| Some((n.identity?, n.netns))),
            counted: evicted::attempt_count(case, evicted.connection),
            subject: evicted.subject,
            unfinished: evicted.unfinished,
            retried: evicted.retried,
            packets,
        };
        Some((flow, stone))
    }

    /// Whether a SYN from the same end to the same end is one of this attempt.
    fn is_syn(&self, at: Timestamp, seq: u32) -> bool {
        match self.seq {
            Some(own) => own == seq && at - self.last <= LONGEST_GAP,
            None => self.open && at - self.first <= departure_limit(None),
        }
    }

    /// What a segment of the server says of its SYN (RFC 9293 section 3.10.7.3).
    fn reply(&self, flags: TcpFlags, ack: u32) -> Option<Sign> {
        let beyond = ack.wrapping_sub(self.seq?.wrapping_add(1));
        let ours = beyond == 0 || (flags.syn || flags.rst) && beyond < MOST_DATA;
        match (flags.syn, flags.ack, flags.rst) {
            _ if !self.open || !ours => None,
            (_, true, true) => Some(Sign::Refused),
            (true, true, false) => Some(Sign::Connected),
            (false, true, false) if !flags.fin => Some(Sign::Connected),
            _ => None,
        }
    }

    /// Whether a segment of the client acknowledges a SYN-ACK.
    fn goes_on(&self, seq: u32) -> bool {
        self.open && self.seq.is_some_and(|own| seq == own.wrapping_add(1))
    }

    /// Changes the count of the attempt by what something that came later shows.
    fn learn(&mut self, at: Timestamp, sign: Sign, totals: &mut EvictedTotals) {
        if let Sign::Syn(seq) = sign {
            self.again |= self.seq.is_some() && at - self.last >= COPIED;
            (self.seq, self.last) = (Some(seq), at);
            return;
        }
        if !std::mem::take(&mut self.open) {
            return;
        }
        totals.take_attempt(&self.counted);
        if let Some((_, attempts)) = &mut self.counted.server {
            *attempts = AttemptKinds {
                connected: sign == Sign::Connected,
                refused: sign == Sign::Refused,
                unanswered: false,
                answered_late: sign == Sign::Connected && self.again,
            };
        }
        if let Some((_, lost)) = &mut self.counted.client {
            *lost = false;
        }
        totals.add_attempt(&self.counted);
    }
}

/// The two ends of an attempt's SYN and its sequence number; without a SYN those of its socket, where they are known.
fn ends(case: &Case, attempt: &Connection) -> Option<(FiveTuple, Option<u32>)> {
    let syn = attempt.syns.first().map(|e| &case.evidence.event(*e).what);
    if let Some(EventKind::Packet(Packet::Tcp { flow, seq, .. })) = syn {
        return Some((*flow, Some(*seq)));
    }
    let flow = FiveTuple {
        transport: Transport::Tcp,
        src: attempt.from.filter(|from| from.port != 0)?,
        dst: attempt.to,
    };
    Some((flow, None))
}

/// Whether an answer may still come.
fn is_open(ending: &Ending) -> bool {
    matches!(ending, Ending::Open(_) | Ending::TimedOut(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::totals::Attempts;

    const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 5_000);
    const SERVER: ([u8; 4], u16) = ([10, 9, 9, 9], 80);

    fn end((ip, port): ([u8; 4], u16)) -> Endpoint {
        Endpoint::new(ip.into(), port)
    }

    fn flow() -> FiveTuple {
        FiveTuple {
            transport: Transport::Tcp,
            src: end(CLIENT),
            dst: end(SERVER),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    /// An attempt that calls belong to: its SYN with number 7 left at 0 s.
    fn counted() -> Tombstone {
        let attempts = AttemptKinds {
            unanswered: true,
            ..AttemptKinds::default()
        };
        Tombstone {
            seq: Some(7),
            first: at(0),
            last: at(0),
            again: false,
            open: true,
            socket: Some((99, Some(1))),
            counted: AttemptCount {
                server: Some((end(SERVER), attempts)),
                ..AttemptCount::default()
            },
            subject: true,
            unfinished: true,
            retried: false,
            packets: None,
        }
    }

    /// `syn`, `synack`, `rst` or `ack` with the number of the SYN that it is, acknowledges or follows.
    fn packet(kind: &str, seq: u32) -> Packet {
        let (syn, rst, ack) = (kind.starts_with("syn"), kind == "rst", kind != "syn");
        let flags = TcpFlags {
            syn,
            ack,
            rst,
            fin: false,
        };
        let (seq, ack) = match kind {
            "syn" => (seq, 0),
            "ack" => (seq + 1, 1),
            _ => (1, seq + 1),
        };
        let forth = matches!(kind, "syn" | "ack");
        Packet::Tcp {
            flow: if forth { flow() } else { flow().reversed() },
            flags,
            seq,
            ack,
        }
    }

    /// What packets at these seconds make of the count of such an attempt, and how many of them are its own.
    fn made(packets: &[(i64, &str, u32)]) -> (usize, Attempts) {
        let mut totals = EvictedTotals::default();
        let mut stones = AttemptTombstones::default();
        let stone = counted();
        totals.add_attempt(&stone.counted);
        assert!(stones.waiting.add(flow(), Box::new(stone)).is_none());
        let mut own = 0;
        for (second, kind, seq) in packets {
            let belongs = stones.packet(at(*second), &packet(kind, *seq), &mut totals);
            own += usize::from(belongs == Belongs::Counted);
        }
        assert_eq!((totals.connections, totals.events), (1, own), "{packets:?}");
        (own, totals.attempts(end(SERVER)))
    }

    #[test]
    fn what_belongs_to_an_attempt_with_calls_changes_its_count() {
        for (packets, own, [connected, refused, unanswered, late]) in [
            (&[][..], 0, [0, 0, 1, 0]),
            (&[(1, "syn", 7), (3, "syn", 7)], 2, [0, 0, 1, 0]),
            (&[(1, "synack", 7)], 1, [1, 0, 0, 0]),
            (&[(1, "syn", 7), (1, "synack", 7)], 2, [1, 0, 0, 1]),
            (&[(1, "ack", 7)], 1, [1, 0, 0, 0]),
            (&[(1, "rst", 7)], 1, [0, 1, 0, 0]),
            // Only the first answer counts, and only one to its own SYN.
            (&[(1, "rst", 7), (1, "synack", 7)], 1, [0, 1, 0, 0]),
            (&[(1, "rst", 6), (1, "synack", 6)], 0, [0, 0, 1, 0]),
            // Another attempt from the same port: what follows is not this one's.
            (
                &[(20, "syn", 9), (20, "synack", 9), (21, "syn", 7)],
                0,
                [0, 0, 1, 0],
            ),
            // Nobody sends a SYN again after so long (tcp_syn_retries).
            (&[(70, "syn", 7)], 0, [0, 0, 1, 0]),
        ] {
            let (all, expected) = (1, own);
            let attempts = Attempts {
                all,
                connected,
                refused,
                unanswered,
                answered_late: late,
            };
            assert_eq!(made(packets), (expected, attempts), "{packets:?}");
        }
    }

    #[test]
    fn a_second_connect_of_its_socket_asks_for_the_result() {
        use crate::event::{FdNote, Task};
        use std::sync::Arc;
        let connect = |identity, netns, outcome: CallOutcome| Call {
            task: Task::default(),
            exited: None,
            outcome,
            op: Op::Connect {
                fd: Fd {
                    number: 3,
                    note: Some(Arc::new(FdNote {
                        identity: Some(identity),
                        netns: Some(netns),
                        local: Some(end(CLIENT)),
                        exact: true,
                        ..FdNote::default()
                    })),
                },
                to: Address::Inet(end(SERVER)),
            },
        };
        for (identity, netns, belongs, connected) in [
            (99, 1, Belongs::Counted, 1),
            // Another socket has its ends: in another network namespace, or later.
            (99, 2, Belongs::Elsewhere, 0),
            (98, 1, Belongs::Elsewhere, 0),
        ] {
            let mut totals = EvictedTotals::default();
            let mut stones = AttemptTombstones::default();
            let stone = counted();
            totals.add_attempt(&stone.counted);
            stones.waiting.add(flow(), Box::new(stone));
            let call = connect(identity, netns, CallOutcome::Returned(0));
            let said = stones.call((at(40), &call), Span::ZERO, &mut totals);
            assert_eq!(said, belongs, "{identity} {netns}");
            let attempts = totals.attempts(end(SERVER));
            assert_eq!(attempts.connected, connected, "{identity} {netns}");
        }
    }
}
