//! What is remembered of evicted queries and connection attempts, so that what comes later is counted to them.
//!
//! Of each kind the latest so many. What an older one may belong to is not attributable ([`crate::totals::forgotten`]).

mod attempts;
mod queries;
mod ring;

use crate::event::{Event, EventKind};
use crate::explain::Case;
use crate::join::LookupId;
use crate::time::Span;
use crate::totals::EvictedTotals;
use attempts::AttemptTombstones;
pub use attempts::EvictedAttempt;
use queries::QueryTombstones;

/// Evicted queries and attempts, each kind by what later packets and calls show of them.
#[derive(Debug, Default)]
pub struct Tombstones {
    queries: QueryTombstones,
    attempts: AttemptTombstones,
}

/// Whose a packet or call is.
#[derive(Debug, PartialEq)]
pub enum Belongs {
    /// Not known to be an evicted one's.
    Elsewhere,
    /// An evicted one's: it was counted.
    Counted,
    /// An attempt's that a few packets are all of: these packets. The attempt is counted no longer.
    Revives(Vec<Event>),
}

impl Tombstones {
    /// Remembers the queries of a lookup that is evicted.
    pub fn lookup(&mut self, case: &Case, lookup: LookupId, totals: &mut EvictedTotals) {
        let now = case.evidence.end();
        for query in case.joined.lookups[lookup].queries(case.joined) {
            if let Some(sent) = self.queries.add(case, query) {
                totals.forgotten.query(sent, now);
            }
        }
    }

    /// Remembers an attempt that is evicted.
    pub fn attempt(&mut self, case: &Case, attempt: EvictedAttempt, totals: &mut EvictedTotals) {
        if let Some(forgotten) = self.attempts.add(case, attempt) {
            totals.forgotten.attempt(forgotten);
        }
    }

    /// Counts a packet or call that belongs to an evicted query or attempt. `tolerance` is how far the times of calls and
    /// packets may be apart.
    pub fn belongs(
        &mut self,
        event: &Event,
        tolerance: Span,
        totals: &mut EvictedTotals,
    ) -> Belongs {
        match &event.what {
            EventKind::Packet(packet) => {
                if self.queries.packet(event.at, packet, totals) {
                    return Belongs::Counted;
                }
                self.attempts.packet(event.at, packet, totals)
            }
            EventKind::Call(call) => self.attempts.call((event.at, call), tolerance, totals),
            EventKind::Life(_) | EventKind::Stack(_) | EventKind::Owner(_) => Belongs::Elsewhere,
        }
    }
}
