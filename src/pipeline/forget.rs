//! Letting go of what is over, so that a capture of any size is explained in bounded memory.
//!
//! A capture alone is joined as it is read: whenever more packets are kept than `MOST`, they are joined, and
//! lookups with their connections go, the oldest first, until `LEAST` are left. What they counted stays in
//! [`Past`]. Kept are the first ones, the slowest ones, some of every kind, and what is not over. With a trace
//! nothing goes: a call may refer to any packet.

mod units;

use crate::decode::resolv_conf::ResolvConf;
use crate::event::Event;
use crate::explain::Case;
use crate::explain::assemble::Limits;
use crate::explain::ledger::Subject;
use crate::explain::past::Past;
use crate::explain::stack::Stacks;
use crate::flow::Target;
use crate::input::CaptureFacts;
use crate::join::lookup::Lookup;
use crate::join::{self, ConnectionId, Evidence};
use crate::merge;
use crate::time::{Span, Timestamp};
use units::{Gone, Units};

/// So many kept packets are joined at the latest: with what the join makes of them some 40 MiB at most.
const MOST: usize = 50_000;
/// So many are left then.
const LEAST: usize = 30_000;

/// What the join and the account must know to say what is over.
#[derive(Debug)]
pub struct Forget {
    dns_ports: Vec<u16>,
    search: Vec<String>,
    patience: Span,
    attempts: usize,
    limits: Limits,
    target: Option<Target>,
    /// How many events are too many.
    most: usize,
    /// What happened at or after this may be told by another capture.
    horizon: Timestamp,
}

impl Forget {
    /// For a capture with name servers on these ports and a client with this resolv.conf, whose report holds so much,
    /// about this server alone if there is one.
    pub fn new(
        dns_ports: Vec<u16>,
        conf: Option<&ResolvConf>,
        limits: Limits,
        target: Option<Target>,
    ) -> Self {
        let asking = super::Asking::of(conf, &[]);
        Self {
            dns_ports,
            search: asking.search,
            patience: asking.patience,
            attempts: asking.attempts,
            limits,
            target,
            most: MOST,
            horizon: Timestamp(i64::MAX),
        }
    }

    /// From here on only what was over before this may go.
    pub fn before(&mut self, horizon: Timestamp) {
        self.horizon = horizon;
    }

    /// Lets go of what is over, if there are too many events.
    pub fn some(&mut self, events: &mut Vec<Event>, past: &mut Past) {
        if events.len() < self.most || self.limits.list == usize::MAX {
            return;
        }
        // What is later than the packet just read may be shown again by the rest of this capture.
        let read = events.last().map(|e| e.at).unwrap_or_default();
        let horizon = (self.horizon - Span(1)).min(read);
        merge::order(events);
        if events
            .iter()
            .any(|e| e.place.input != events[0].place.input)
        {
            past.copies += merge::remove_copies(events);
        }
        let captures = [CaptureFacts::default()];
        let evidence = Evidence {
            events,
            captures: &captures,
            traces: &[],
            dns_ports: &self.dns_ports,
            tolerance: Span::ZERO,
            search: &self.search,
            patience: self.patience,
            attempts: self.attempts,
        };
        let joined = join::join(&evidence);
        let case = Case {
            evidence,
            joined: &joined,
            stacks: &Stacks::default(),
            started: events.first().map(|e| e.at).unwrap_or_default(),
            dated: true,
            config: None,
            environment: &[],
            hosts: None,
            past: &Past::default(),
            target: self.target,
        };
        let mut units = Units::new(&case);
        let slowest = units.protect(&case, self.limits);
        let gone = units.choose(events.len().saturating_sub(LEAST), horizon);
        count(&case, &slowest, &gone, past);
        let mut event = 0;
        events.retain(|_| {
            event += 1;
            !gone.events[event - 1]
        });
        // Where little could go, the next turn waits, lest every few packets cost a join.
        self.most = if events.len() > LEAST {
            MOST.max(2 * events.len())
        } else {
            MOST
        };
    }
}

/// Counts what goes.
fn count(case: &Case, subjects: &[Subject], gone: &Gone, past: &mut Past) {
    let joined = case.joined;
    let goes = |connection: ConnectionId| gone.units[units::of_connection(joined, connection)];
    let lookups: Vec<&Lookup> = joined
        .lookups
        .entries()
        .filter(|(l, _)| gone.units[units::of_lookup(*l)])
        .map(|(_, lookup)| lookup)
        .collect();
    past.lookups += lookups.len();
    for (_, x) in joined.connections.entries().filter(|(c, _)| goes(*c)) {
        past.count_attempt(x);
    }
    past.subjects += subjects
        .iter()
        .filter(|s| match s {
            Subject::Lookup(l) => gone.units[units::of_lookup(*l)],
            Subject::Connection(c) => goes(*c),
        })
        .count();
    past.unfinished += gone.unfinished;
    past.repeated += gone.repeated;
    past.count(case, lookups.iter().flat_map(|l| l.queries.iter().copied()));
}
