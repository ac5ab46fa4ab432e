//! SYNs of the capture, grouped into attempts, with what answered them.

use super::{Ending, departure_limit, refusal};
use crate::event::{EventKind, Packet, TcpFlags};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::join::socket::Association;
use crate::join::{AssociationId, EventId, Evidence, How};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;

/// The longest gap between two SYNs of one attempt: Linux doubles it from one second up to 64 s, newer kernels end
/// with 34 s (`tcp_syn_retries`, `tcp_syn_linear_timeouts`; measured 1, 1, 1, 1, 1, 2, 4, 8, 16, 34 s).
pub const LONGEST_GAP: Span = Span::seconds(65);

/// The gap before the second SYN (RFC 6298 section 2: an initial timeout of one second), with a little slack.
const FIRST_GAP: Span = Span::millis(1_100);

/// The SYNs of one attempt: one flow, one sequence number.
#[derive(Clone, Debug)]
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
}

/// What came back for a SYN without completing the connection, a bounded number of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replies {
    /// SYN-ACKs after which the client sent its SYN again, or never went on.
    pub ignored: Vec<EventId>,
    /// ACKs that acknowledge another connection's bytes.
    pub foreign: Vec<EventId>,
}

impl Replies {
    /// How many of each kind are kept.
    const MAX: usize = 16;

    /// Whether nothing came back.
    pub fn is_empty(&self) -> bool {
        self.ignored.is_empty() && self.foreign.is_empty()
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
            (self.ending, self.ended, self.ended_by) = (Ending::Open, None, None);
        }
    }

    /// Another segment of the client: with the number after its SYN's it acknowledges a SYN-ACK.
    fn goes_on(&mut self, at: Timestamp, id: EventId, seq: u32) {
        let into = seq.wrapping_sub(self.seq.wrapping_add(1));
        if self.ending == Ending::Open && into < WINDOW {
            self.end(Ending::Connected, at, id);
        }
    }

    /// A segment of the server.
    fn reply(&mut self, at: Timestamp, id: EventId, flags: TcpFlags, ack: u32) {
        // A SYN may carry data (RFC 7413), which its SYN-ACK acknowledges with it.
        let beyond = ack.wrapping_sub(self.seq.wrapping_add(1));
        let ours = beyond == 0 || flags.syn && beyond < MOST_DATA;
        match (flags.syn, flags.ack, flags.rst) {
            // The client did not take one before this: only that it goes on shows that it took this.
            (true, true, false)
                if ours && !self.replies.ignored.is_empty() && self.ending == Ending::Open =>
            {
                Replies::keep(&mut self.replies.ignored, id);
            }
            // Also after a forged RST: what counts is that the connection came up.
            (true, true, _) if ours && self.ending != Ending::Connected => {
                self.end(Ending::Connected, at, id);
            }
            // A RST that acknowledges something else answers an older attempt.
            (syn, acks, true) if (!acks || ours || !syn) && self.ending == Ending::Open => {
                self.end(Ending::Refused, at, id);
            }
            (false, true, false) if self.ending == Ending::Open && !flags.fin => {
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
    let mut list: Vec<SynFlow> = Vec::new();
    let mut latest: HashMap<FiveTuple, usize> = HashMap::new();
    for (id, event) in evidence.numbered() {
        match &event.what {
            EventKind::Packet(Packet::Tcp {
                flow,
                flags,
                seq,
                ack,
            }) => {
                if flags.syn && !flags.ack && !flags.rst {
                    let known = latest.get(flow).map(|i| &mut list[*i]);
                    let known = known.filter(|f| f.seq == *seq && event.at - f.last <= LONGEST_GAP);
                    if let Some(known) = known {
                        known.again(event.at, id);
                    } else {
                        latest.insert(*flow, list.len());
                        list.push(SynFlow {
                            client: flow.src,
                            server: flow.dst,
                            seq: *seq,
                            first: event.at,
                            last: event.at,
                            due: event.at + FIRST_GAP,
                            syns: vec![id],
                            repeats: 0,
                            ending: Ending::Open,
                            ended: None,
                            ended_by: None,
                            replies: Replies::default(),
                        });
                    }
                } else if let Some(i) = latest.get(&flow.reversed()) {
                    list[*i].reply(event.at, id, *flags, *ack);
                } else if let Some(i) = latest.get(flow)
                    && flags.ack
                    && !flags.rst
                {
                    list[*i].goes_on(event.at, id, *seq);
                }
            }
            EventKind::Packet(Packet::Icmp {
                kind,
                quote: Some(quote),
                ..
            }) if quote.flow.transport == Transport::Tcp => {
                let Some(i) = latest.get(&quote.flow) else {
                    continue;
                };
                let known = &mut list[*i];
                if known.ending == Ending::Open
                    && quote.seq.is_none_or(|s| s == known.seq)
                    && refusal(event.at, id, *kind).is_some()
                {
                    (known.ending, known.ended, known.ended_by) =
                        (Ending::Unreachable, Some(event.at), Some(id));
                }
            }
            _ => {}
        }
    }
    list
}

/// Finds the SYNs of a call among the flows.
pub struct SynIndex {
    by_server: HashMap<Endpoint, Vec<usize>>,
    by_client_port: HashMap<u16, Vec<usize>>,
}

impl SynIndex {
    /// Indexes flows by both of their ends.
    pub fn new(flows: &[SynFlow]) -> Self {
        let mut this = Self {
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

    /// The flow of an association. With a known local end the port decides, whatever NAT made of the
    /// destination; without, the first free SYN to the same destination after the call.
    pub fn find(
        &self,
        flows: &[SynFlow],
        taken: &[Option<(AssociationId, How)>],
        association: &Association,
        exact: bool,
        tolerance: Span,
    ) -> Option<(usize, How)> {
        let peer = association.peer?;
        let from = association.opened - tolerance;
        let until = association.opened + departure_limit(None) + tolerance;
        let free = |i: &&usize| {
            taken[**i].is_none() && flows[**i].first >= from && flows[**i].first <= until
        };
        if exact {
            let local = association.local?;
            let same_port = self.by_client_port.get(&local.port)?;
            let start = same_port.partition_point(|i| flows[*i].first < from);
            // A failed connect resets the local address but keeps the port: compare ports, prefer the
            // same destination, accept another one (NAT) only from the same address.
            let near = || {
                same_port[start..]
                    .iter()
                    .take_while(|i| flows[**i].first <= until)
                    .filter(free)
            };
            return near()
                .find(|i| flows[**i].server == peer)
                .or_else(|| {
                    near().find(|i| flows[**i].client == local && flows[**i].server.port != 0)
                })
                .map(|i| (*i, How::Call));
        }
        let same_server = self.by_server.get(&peer)?;
        let start = same_server.partition_point(|i| flows[*i].first < from);
        same_server[start..]
            .iter()
            .take_while(|i| flows[**i].first <= until)
            .find(free)
            .map(|i| (*i, How::Inferred))
    }
}
