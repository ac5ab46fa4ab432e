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
struct Tombstone {
    row: ResolverKey,
    sent: Timestamp,
    /// Whether an answer was due: it is counted as unanswered.
    due: bool,
}

/// Evicted queries without an answer.
#[derive(Debug)]
pub struct QueryTombstones(Ring<TransactionKey, Tombstone>);

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
        let stone = Tombstone {
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
