//! Which segments without SYN, FIN and RST say how a connection attempt went.
//!
//! Nearly all segments of a capture carry data and say nothing about a handshake. Those that do:
//!
//! 1. the client's first one, where its SYN-ACK is not in the capture, or where the client sent its SYN again after a
//!    SYN-ACK: it shows that the connection came up;
//! 2. what a server sends instead of a SYN-ACK: an ACK of another number is that of an older connection with the same
//!    ports (a challenge ACK: RFC 9293 section 3.10.7.4, RFC 5961 section 4).

use crate::event::TcpFlags;
use crate::flow::FiveTuple;
use std::collections::HashMap;

/// How many handshakes are followed at once. A flood of SYNs has more, and those are the oldest that go.
const MAX_PENDING: usize = 4096;

/// How many answers of a server to one SYN are kept.
const MAX_ANSWERS: u8 = 16;

/// How many slots there are for port pairs.
const SLOTS: usize = 1 << 12;

/// Port pairs that are followed, so that most segments cost one look into a table.
#[derive(Clone, Debug)]
pub struct PortSlots(Vec<u16>);

impl Default for PortSlots {
    fn default() -> Self {
        Self(vec![0; SLOTS])
    }
}

impl PortSlots {
    /// Whether a pair of ports may be followed, in either direction.
    pub fn may_hold(&self, a: u16, b: u16) -> bool {
        self.0[slot(a, b)] > 0
    }

    /// Follows a pair.
    pub fn add(&mut self, a: u16, b: u16) {
        self.0[slot(a, b)] += 1;
    }

    /// Follows one of a pair less.
    pub fn remove(&mut self, a: u16, b: u16) {
        let slot = &mut self.0[slot(a, b)];
        *slot = slot.saturating_sub(1);
    }
}

/// Handshakes that are under way, by the client's direction.
#[derive(Clone, Debug, Default)]
pub struct Handshakes {
    pending: HashMap<FiveTuple, OpenHandshake>,
    slots: PortSlots,
}

/// A SYN whose handshake is not complete.
#[derive(Clone, Copy, Debug)]
struct OpenHandshake {
    /// The sequence number of the SYN.
    seq: u32,
    /// A SYN-ACK came.
    answered: bool,
    /// The SYN was sent again after that.
    repeated: bool,
    /// How many other answers were kept.
    answers: u8,
}

/// The slot of a pair of ports, the same for both directions.
fn slot(a: u16, b: u16) -> usize {
    usize::from(a ^ b ^ a.wrapping_add(b).rotate_left(7)) % SLOTS
}

impl Handshakes {
    /// Whether a segment between these ports may belong to a handshake.
    pub fn may_concern(&self, a: u16, b: u16) -> bool {
        self.slots.may_hold(a, b)
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        if !self.pending.is_empty() {
            *self = Self::default();
        }
    }

    /// Takes a segment; whether it says how a handshake went although it has neither SYN nor FIN nor RST.
    pub fn take(&mut self, flow: FiveTuple, flags: TcpFlags, seq: u32, ack: u32) -> bool {
        if !flags.syn && !self.may_concern(flow.src.port, flow.dst.port) {
            return false;
        }
        match (flags.syn, flags.ack) {
            _ if flags.rst || flags.fin => {
                self.remove(&flow);
                self.remove(&flow.reversed());
                false
            }
            (true, false) => {
                self.syn(flow, seq);
                false
            }
            (true, true) => {
                if let Some(known) = self.pending.get_mut(&flow.reversed()) {
                    known.answered |= ack == known.seq.wrapping_add(1);
                }
                false
            }
            (false, true) => self.plain(flow, seq),
            (false, false) => false,
        }
    }

    fn syn(&mut self, flow: FiveTuple, seq: u32) {
        if let Some(known) = self.pending.get_mut(&flow)
            && known.seq == seq
        {
            known.repeated |= known.answered;
            return;
        }
        if self.pending.len() >= MAX_PENDING {
            self.clear();
        }
        let fresh = OpenHandshake {
            seq,
            answered: false,
            repeated: false,
            answers: 0,
        };
        if self.pending.insert(flow, fresh).is_none() {
            self.slots.add(flow.src.port, flow.dst.port);
        }
    }

    /// A segment with ACK alone: of the client, or of the server that it calls.
    fn plain(&mut self, flow: FiveTuple, seq: u32) -> bool {
        if let Some(known) = self.pending.get(&flow).copied() {
            // One of an older connection with the same ports has another number.
            let ours = seq.wrapping_sub(known.seq.wrapping_add(1)) < 1 << 20;
            if ours {
                self.remove(&flow);
            }
            return ours && (!known.answered || known.repeated);
        }
        match self.pending.get_mut(&flow.reversed()) {
            Some(known) if !known.answered && known.answers < MAX_ANSWERS => {
                known.answers += 1;
                true
            }
            _ => false,
        }
    }

    fn remove(&mut self, flow: &FiveTuple) {
        if self.pending.remove(flow).is_some() {
            self.slots.remove(flow.src.port, flow.dst.port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, Transport};

    const SYN: TcpFlags = TcpFlags {
        syn: true,
        ack: false,
        rst: false,
        fin: false,
    };
    const SYN_ACK: TcpFlags = TcpFlags { ack: true, ..SYN };
    const ACK: TcpFlags = TcpFlags {
        syn: false,
        ..SYN_ACK
    };

    fn flow() -> FiveTuple {
        FiveTuple {
            transport: Transport::Tcp,
            src: Endpoint::new([10, 0, 0, 1].into(), 4000),
            dst: Endpoint::new([10, 0, 0, 2].into(), 443),
        }
    }

    #[test]
    fn an_ordinary_handshake_and_its_data_say_nothing_more() {
        let (out, back) = (flow(), flow().reversed());
        let mut this = Handshakes::default();
        assert!(!this.may_concern(4000, 443));
        assert!(!this.take(out, SYN, 7, 0));
        assert!(this.may_concern(443, 4000));
        assert!(!this.take(back, SYN_ACK, 90, 8));
        assert!(!this.take(out, ACK, 8, 91));
        assert!(!this.take(back, ACK, 91, 8));
        assert!(!this.may_concern(4000, 443));
    }

    #[test]
    fn what_a_handshake_lacks_is_shown_by_the_clients_first_segment() {
        let (out, back) = (flow(), flow().reversed());
        // The SYN-ACK is not in the capture.
        let mut this = Handshakes::default();
        this.take(out, SYN, 7, 0);
        assert!(this.take(out, ACK, 8, 91));
        assert!(!this.take(out, ACK, 8, 191));
        // The client sent its SYN again all the same.
        let mut this = Handshakes::default();
        this.take(out, SYN, 7, 0);
        this.take(back, SYN_ACK, 90, 8);
        this.take(out, SYN, 7, 0);
        assert!(this.take(out, ACK, 8, 91));
    }

    #[test]
    fn an_ack_instead_of_a_syn_ack_is_shown_some_times() {
        let (out, back) = (flow(), flow().reversed());
        let mut this = Handshakes::default();
        this.take(out, SYN, 7, 0);
        let shown = (0..100).filter(|_| this.take(back, ACK, 5, 555_000));
        assert_eq!(shown.count(), usize::from(MAX_ANSWERS));
        // What belongs to the older connection does not complete the new one.
        assert!(!this.take(out, ACK, 0x8000_0000, 91));
        assert!(this.take(out, ACK, 8, 91));
    }

    #[test]
    fn memory_is_bounded() {
        let mut this = Handshakes::default();
        for port in 0..20_000 {
            let src = Endpoint::new([10, 0, 0, 1].into(), port);
            this.take(FiveTuple { src, ..flow() }, SYN, 7, 0);
        }
        assert!(this.pending.len() <= MAX_PENDING);
        let counted: usize = this.slots.0.iter().map(|n| usize::from(*n)).sum();
        assert_eq!(counted, this.pending.len());
    }
}
