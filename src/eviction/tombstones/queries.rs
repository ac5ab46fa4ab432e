//! Evicted queries that nothing had answered: an answer or an error that comes minutes later is still theirs.

use super::ring::Ring;
use crate::event::dns::Message;
use crate::event::{EventKind, Packet, Service};
use crate::explain::{Case, resolver};
use crate::flow::FiveTuple;
use crate::join::Query;
use crate::join::connect::is_refusal;
use crate::time::Timestamp;
use crate::totals::{EvictedTotals, LateAnswer, ResolverKey};

/// So many are remembered.
const MOST: usize = 16_384;

/// How a query and its answer know each other: the query's flow and its id.
type TransactionKey = (FiveTuple, u16);

/// One evicted query.
#[derive(Clone, Copy, Debug)]
struct QueryTombstone {
    row: ResolverKey,
    sent: Timestamp,
    /// Whether an answer was due: it is counted as unanswered.
    due: bool,
}

/// Evicted queries without an answer.
#[derive(Debug)]
pub struct QueryTombstones(Ring<TransactionKey, QueryTombstone>);

impl Default for QueryTombstones {
    fn default() -> Self {
        Self(Ring::new(MOST))
    }
}

impl QueryTombstones {
    /// Remembers a query that is evicted, if a packet may still answer it. Returns when the one was sent that is forgotten
    /// instead.
    pub fn add(&mut self, case: &Case, query: &Query) -> Option<Timestamp> {
        let packet = query.packet.map(|p| &case.evidence.event(p).what);
        let Some(EventKind::Packet(Packet::Dns { flow, message, .. })) = packet else {
            return None;
        };
        if !query.is_silent() && !query.is_open() {
            return None;
        }
        let stone = QueryTombstone {
            row: resolver::key(query),
            sent: query.sent,
            due: query.is_silent(),
        };
        let forgotten = self.0.add((*flow, message.id), stone);
        forgotten.map(|(_, stone)| stone.sent)
    }

    /// Counts a packet that answers an evicted query, or that is an error about one. Whether it is.
    pub fn packet(&mut self, at: Timestamp, packet: &Packet, totals: &mut EvictedTotals) -> bool {
        if self.0.is_empty() {
            return false;
        }
        match packet {
            Packet::Dns {
                flow,
                service: Service::Unicast,
                message,
            } => self.message(at, flow, message, totals),
            Packet::Icmp {
                kind,
                quote: Some(quote),
                ..
            } => {
                let Some(refused) = is_refusal(*kind) else {
                    return false;
                };
                let key = quote.dns_id.map(|id| (quote.flow, id));
                let Some(stone) = key.and_then(|key| self.0.take(&key)) else {
                    return false;
                };
                totals.ended_by_error(&stone.row, stone.due, refused);
                true
            }
            _ => false,
        }
    }

    fn message(
        &mut self,
        at: Timestamp,
        flow: &FiveTuple,
        message: &Message,
        totals: &mut EvictedTotals,
    ) -> bool {
        if !message.response {
            // Another query has taken the port and the id: what comes now is its own.
            self.0.take(&(*flow, message.id));
            return false;
        }
        let Some(stone) = self.0.take(&(flow.reversed(), message.id)) else {
            return false;
        };
        let answer = LateAnswer {
            rcode: message.rcode,
            truncated: message.truncated,
            took: at - stone.sent,
            due: stone.due,
        };
        totals.answered(&stone.row, &answer);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::IcmpKind;
    use crate::event::Quote;
    use crate::flow::{Endpoint, Transport};
    use crate::report::Origin;
    use crate::totals::{Outcomes, ResolverCounts};

    fn end(last: u8, port: u16) -> Endpoint {
        Endpoint::new([10, 0, 0, last].into(), port)
    }

    /// What an error makes of the counts of a query with number 7 that is `due` or open: unanswered, open, refused, and
    /// whether the error was about it.
    fn after(kind: IcmpKind, id: u16, due: bool) -> (u64, u64, u64, bool) {
        let flow = FiveTuple {
            transport: Transport::Udp,
            src: end(1, 4_000),
            dst: end(2, 53),
        };
        let row = (Origin::Unknown, flow.dst, flow.transport);
        let mut totals = EvictedTotals::default();
        let counts = ResolverCounts {
            sent: 1,
            unanswered: due.into(),
            open: (!due).into(),
            ..ResolverCounts::default()
        };
        totals.add_queries(row, &counts, &Outcomes::default());
        let mut stones = QueryTombstones::default();
        let sent = Timestamp::new(1, 0);
        assert!(
            stones
                .0
                .add((flow, 7), QueryTombstone { row, sent, due })
                .is_none()
        );
        let error = Packet::Icmp {
            from: flow.src.ip,
            to: flow.src.ip,
            kind,
            quote: Some(Box::new(Quote {
                flow,
                seq: None,
                dns_id: Some(id),
                question: None,
            })),
        };
        let own = stones.packet(Timestamp::new(4, 0), &error, &mut totals);
        let counts = totals.counts(&row).unwrap();
        (counts.unanswered, counts.open, counts.refused, own)
    }

    #[test]
    fn an_error_about_an_evicted_query_is_no_query_of_its_own() {
        assert_eq!(after(IcmpKind::HostUnreachable, 7, true), (1, 0, 1, true));
        assert_eq!(after(IcmpKind::HostUnreachable, 7, false), (1, 0, 1, true));
        assert_eq!(after(IcmpKind::HostUnreachable, 8, true), (1, 0, 0, false));
        assert_eq!(after(IcmpKind::TooBig, 7, true), (1, 0, 0, false));
    }
}
