//! What is remembered of evicted queries that nothing had answered: an answer that comes minutes later is still theirs.

use crate::event::dns::Message;
use crate::event::{Event, EventKind, Packet, Service};
use crate::explain::{Case, resolver};
use crate::flow::FiveTuple;
use crate::join::Query;
use crate::time::Timestamp;
use crate::totals::{self, EvictedTotals};
use std::collections::{HashMap, VecDeque};

/// So many are remembered, the latest. What answers an older one is attributed to nothing.
const MOST: usize = 16_384;

/// How a query and its answer know each other: the query's flow and its id.
type TransactionKey = (FiveTuple, u16);

/// One evicted query.
#[derive(Clone, Copy, Debug)]
struct Tombstone {
    row: totals::ResolverKey,
    sent: Timestamp,
}

/// Evicted queries without an answer.
#[derive(Debug, Default)]
pub struct Tombstones {
    known: HashMap<TransactionKey, Tombstone>,
    order: VecDeque<TransactionKey>,
}

impl Tombstones {
    /// Remembers a query that is evicted, if a packet may still answer it.
    pub fn add(&mut self, case: &Case, query: &Query) {
        let packet = query.packet.map(|p| &case.evidence.event(p).what);
        let Some(EventKind::Packet(Packet::Dns { flow, message, .. })) = packet else {
            return;
        };
        if !query.is_silent() {
            return;
        }
        let key = (*flow, message.id);
        let stone = Tombstone {
            row: resolver::key(query),
            sent: query.sent,
        };
        if self.known.insert(key, stone).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Counts a packet that answers an evicted query. Whether it does.
    pub fn answers(&mut self, event: &Event, totals: &mut EvictedTotals) -> bool {
        let EventKind::Packet(Packet::Dns {
            flow,
            service: Service::Unicast,
            message,
        }) = &event.what
        else {
            return false;
        };
        if self.known.is_empty() {
            return false;
        }
        if !message.response {
            // Another query has taken the port and the id: what comes now is its own.
            self.known.remove(&(*flow, message.id));
            return false;
        }
        let key = (flow.reversed(), message.id);
        let Some(stone) = self.known.remove(&key) else {
            return false;
        };
        let Message {
            rcode, truncated, ..
        } = **message;
        totals.answered_late(&stone.row, rcode, truncated, event.at - stone.sent);
        true
    }
}
