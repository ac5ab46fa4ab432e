//! What follows a handshake and says something about the connection: the client's first data, the server's first data, and
//! where the capture was taken.
//!
//! A capture at the server has the SYN-ACK at once and the client's ACK a round trip later; one at the client has it
//! the other way round. Of one handshake an ACK that came late is told, by `is_near_server`.

use super::handshake::PortSlots;
use crate::event::{OpeningStep, TcpFlags};
use crate::flow::FiveTuple;
use crate::time::{Span, Timestamp};
use std::collections::HashMap;

/// How many connections are followed at once: with more of them most port pairs would have to be looked at. Of those that
/// go, when there are more, the first data are not known.
const MAX_FOLLOWED: usize = 256;

/// A client's ACK that came later than this, and ten times as late as the SYN-ACK, has crossed a network that the SYN-ACK
/// had not.
const ROUND_TRIP: Span = Span::millis(1);
/// No host answers a SYN sooner (8 us measured on loopback); the stamps of such a capture are not to be believed.
const SOONEST: Span = Span::micros(2);
/// How much later.
const TIMES: i64 = 10;
/// An ACK may be held back for 40 ms (Linux: `TCP_DELACK_MIN`), whatever the path.
const HELD_BACK: [Span; 2] = [Span::millis(38), Span::millis(46)];

/// Connections whose first data are to come, by the client's direction.
#[derive(Clone, Debug, Default)]
pub struct Openings {
    followed: HashMap<FiveTuple, AwaitingData>,
    /// Sides whose first data are to come.
    data: PortSlots,
    /// Clients whose first segment after the handshake is to come.
    acks: PortSlots,
}

#[derive(Clone, Copy, Debug)]
struct AwaitingData {
    syn: Timestamp,
    syn_ack: Option<Timestamp>,
    acked: bool,
    request: bool,
    response: bool,
}

/// A segment, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct OpeningSegment {
    /// When it was captured.
    pub at: Timestamp,
    /// Who sent it to whom.
    pub flow: FiveTuple,
    /// Its flags.
    pub flags: TcpFlags,
    /// It carries data.
    pub data: bool,
}

impl Openings {
    /// Whether a segment without SYN, FIN and RST may be of a connection that is followed, and of a side whose first data,
    /// or first ACK, are to come: of a long transfer nearly all segments are not.
    pub fn may_concern(&self, from: u16, to: u16, data: bool) -> bool {
        data && self.data.may_hold(from, !to) || self.acks.may_hold(from, !to)
    }

    /// Whether a segment may be of a connection that is followed at all: of each, data of some side are to come.
    fn may_follow(&self, flow: FiveTuple) -> bool {
        let (src, dst) = (flow.src.port, flow.dst.port);
        self.data.may_hold(src, !dst) || self.data.may_hold(dst, !src)
    }

    fn expect_data(&mut self, from: FiveTuple) {
        self.data.add(from.src.port, !from.dst.port);
    }

    fn expect_no_data(&mut self, from: FiveTuple) {
        self.data.remove(from.src.port, !from.dst.port);
    }

    fn expect_ack(&mut self, client: FiveTuple) {
        self.acks.add(client.src.port, !client.dst.port);
    }

    fn expect_no_ack(&mut self, client: FiveTuple) {
        self.acks.remove(client.src.port, !client.dst.port);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        if !self.followed.is_empty() {
            *self = Self::default();
        }
    }

    /// Takes a segment and tells what it shows: the client's direction, and the step.
    pub fn take(&mut self, part: OpeningSegment, tell: &mut dyn FnMut(FiveTuple, OpeningStep)) {
        let OpeningSegment {
            at,
            flow,
            flags,
            data,
        } = part;
        match (flags.syn, flags.ack) {
            (true, false) => return self.syn(at, flow),
            _ if !self.may_follow(flow) => return,
            (true, true) => {
                if let Some(known) = self.followed.get_mut(&flow.reversed()) {
                    known.syn_ack.get_or_insert(at);
                }
                return;
            }
            _ => {}
        }
        if let Some(known) = self.followed.get_mut(&flow) {
            let first = !std::mem::replace(&mut known.acked, true);
            let late = known.syn_ack.filter(|_| first);
            let late = late.is_some_and(|syn_ack| is_near_server(known.syn, syn_ack, at));
            let request = data && !std::mem::replace(&mut known.request, true);
            if first {
                self.expect_no_ack(flow);
            }
            if late {
                tell(flow, OpeningStep::LateAck);
            }
            if request {
                self.expect_no_data(flow);
                tell(flow, OpeningStep::ClientData);
            }
        } else if let Some(known) = self.followed.get_mut(&flow.reversed())
            && data
            && !std::mem::replace(&mut known.response, true)
        {
            self.expect_no_data(flow);
            tell(flow.reversed(), OpeningStep::ServerData);
        }
        for client in [flow, flow.reversed()] {
            let over =
                |known: &AwaitingData| known.request && known.response || flags.fin || flags.rst;
            if self.followed.get(&client).is_some_and(over)
                && let Some(known) = self.followed.remove(&client)
            {
                if !known.acked {
                    self.expect_no_ack(client);
                }
                if !known.request {
                    self.expect_no_data(client);
                }
                if !known.response {
                    self.expect_no_data(client.reversed());
                }
            }
        }
    }

    fn syn(&mut self, at: Timestamp, flow: FiveTuple) {
        if self.followed.len() >= MAX_FOLLOWED {
            self.clear();
        }
        let fresh = AwaitingData {
            syn: at,
            syn_ack: None,
            acked: false,
            request: false,
            response: false,
        };
        let known = self.followed.insert(flow, fresh);
        if known.is_none_or(|known| known.acked) {
            self.expect_ack(flow);
        }
        if known.is_none_or(|known| known.request) {
            self.expect_data(flow);
        }
        if known.is_none_or(|known| known.response) {
            self.expect_data(flow.reversed());
        }
    }
}

/// Whether a handshake was captured nearer to the server than to the client.
fn is_near_server(syn: Timestamp, syn_ack: Timestamp, ack: Timestamp) -> bool {
    let (there, back) = ((syn_ack - syn).max(Span::ZERO), ack - syn_ack);
    let [from, to] = HELD_BACK;
    there >= SOONEST
        && back >= ROUND_TRIP
        && back >= Span(there.0.saturating_mul(TIMES))
        && !(back >= from && back <= to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Endpoint, Transport};

    fn flow(port: u16) -> FiveTuple {
        FiveTuple {
            transport: Transport::Tcp,
            src: Endpoint::new([10, 0, 0, 1].into(), port),
            dst: Endpoint::new([10, 0, 0, 2].into(), 443),
        }
    }

    /// The steps that segments show: microseconds, direction, flags, data.
    fn steps(rows: &[(i64, bool, &str, bool)]) -> Vec<OpeningStep> {
        let (mut openings, mut told) = (Openings::default(), Vec::new());
        for (micros, out, flags, data) in rows {
            let flags = TcpFlags {
                syn: flags.contains('S'),
                ack: flags.contains('A'),
                rst: flags.contains('R'),
                fin: flags.contains('F'),
            };
            let part = OpeningSegment {
                at: Timestamp(0) + Span::micros(*micros),
                flow: if *out {
                    flow(4000)
                } else {
                    flow(4000).reversed()
                },
                flags,
                data: *data,
            };
            openings.take(part, &mut |client, step| {
                assert_eq!(client, flow(4000));
                told.push(step);
            });
        }
        let expected =
            openings.may_concern(443, 4000, true) || openings.may_concern(4000, 443, true);
        assert_eq!(openings.followed.is_empty(), !expected);
        told
    }

    #[test]
    fn first_data_of_both_sides_are_told_once() {
        let told = steps(&[
            (0, true, "S", false),
            (30_000, false, "SA", false),
            (30_020, true, "A", false),
            (30_100, true, "A", true),
            (30_200, true, "A", true),
            (60_000, false, "A", false),
            (7_000_000, false, "A", true),
            (7_000_100, false, "A", true),
        ]);
        assert_eq!(told, [OpeningStep::ClientData, OpeningStep::ServerData]);
        // A server that speaks first.
        let told = steps(&[
            (0, true, "S", false),
            (30_000, false, "SA", false),
            (30_020, true, "A", false),
            (40_000, false, "A", true),
            (50_000, false, "FA", false),
            (50_010, true, "A", true),
        ]);
        assert_eq!(told, [OpeningStep::ServerData]);
    }

    #[test]
    fn a_late_ack_shows_a_capture_at_the_server() {
        let ack = |syn_ack, ack| {
            let told = steps(&[
                (0, true, "S", false),
                (syn_ack, false, "SA", false),
                (ack, true, "A", false),
                (ack + 9, true, "R", false),
            ]);
            !told.is_empty()
        };
        assert!(ack(40, 20_040));
        assert!(!ack(20_000, 20_040), "at the client");
        assert!(!ack(300, 2_000), "somewhere between");
        assert!(!ack(40, 60), "on one host");
        assert!(!ack(40, 40_100), "held back");
        assert!(!ack(1, 20_040), "stamps that cannot be");
    }

    #[test]
    fn a_side_whose_first_segments_were_seen_is_looked_at_no_more() {
        let mut openings = Openings::default();
        let mut take = |out: bool, syn: bool, ack: bool, data: bool| {
            let flags = TcpFlags {
                syn,
                ack,
                ..TcpFlags::default()
            };
            let flow = if out {
                flow(4000)
            } else {
                flow(4000).reversed()
            };
            openings.take(
                OpeningSegment {
                    at: Timestamp(0),
                    flow,
                    flags,
                    data,
                },
                &mut |_, _| (),
            );
            (
                openings.may_concern(4000, 443, true),
                openings.may_concern(443, 4000, true),
                openings.may_concern(4000, 443, false),
            )
        };
        assert_eq!(take(true, true, false, false), (true, true, true));
        assert_eq!(take(false, true, true, false), (true, true, true));
        // A download without a request: its segments are nearly all that there are.
        assert_eq!(take(false, false, true, true), (true, false, true));
        // Nor do the ACKs that it is answered with say anything after the first.
        assert_eq!(take(true, false, true, false), (true, false, false));
        assert_eq!(take(true, false, true, false), (true, false, false));
        // Another connection with the same ports.
        assert_eq!(take(true, true, false, false), (true, true, true));
        assert_eq!(take(true, false, true, true), (false, true, false));
        assert_eq!(take(false, false, true, true), (false, false, false));
    }

    #[test]
    fn memory_is_bounded() {
        let mut openings = Openings::default();
        for port in 0..20_000 {
            let flags = TcpFlags {
                syn: true,
                ..TcpFlags::default()
            };
            let part = OpeningSegment {
                at: Timestamp(0),
                flow: flow(port),
                flags,
                data: false,
            };
            openings.take(part, &mut |_, _| ());
        }
        assert!(openings.followed.len() <= MAX_FOLLOWED);
    }
}
