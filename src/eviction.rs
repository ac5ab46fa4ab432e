//! Eviction of what is over, so that a capture of any size is explained in bounded memory.
//!
//! A capture alone is joined as it is read: whenever more packets are retained than `MOST`, they are joined, and
//! lookups with their connections are evicted, the oldest first, until `LEAST` packets are left. What they counted goes
//! to [`Totals`]. Retained are the first ones, the slowest ones, some of every kind, and what is not over. With a trace
//! nothing is evicted: a call may refer to any packet.

mod units;

use crate::coverage::Trust;
use crate::decode::resolv_conf::ResolvConf;
use crate::event::Event;
use crate::explain::assemble::Limits;
use crate::explain::ledger::Subject;
use crate::explain::stack::Stacks;
use crate::explain::{Case, evicted};
use crate::flow::Target;
use crate::input::CaptureFacts;
use crate::join::lookup::Lookup;
use crate::merge;
use crate::pipeline::{Asking, Surroundings};
use crate::time::{Span, Timestamp};
use crate::totals::Totals;
use units::{Evicted, Units};

/// So many retained packets are joined at the latest: with what the join makes of them some 40 MiB at most.
const MOST: usize = 50_000;
/// So many are left then.
const LEAST: usize = 30_000;

/// What the join and the account must know to say what is over.
#[derive(Debug)]
pub struct Eviction {
    dns_ports: Vec<u16>,
    asking: Asking,
    limits: Limits,
    target: Option<Target>,
    /// How many events are too many.
    most: usize,
    /// What happened at or after this may be shown by another capture.
    horizon: Timestamp,
}

impl Eviction {
    /// For a capture with name servers on these ports and a client with this resolv.conf, whose report holds so much,
    /// about this server alone if there is one.
    pub fn new(
        dns_ports: Vec<u16>,
        conf: Option<&ResolvConf>,
        limits: Limits,
        target: Option<Target>,
    ) -> Self {
        Self {
            dns_ports,
            asking: Asking::of(conf, &[]),
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

    /// Evicts what is over, if there are too many events.
    pub fn evict_finished(&mut self, events: &mut Vec<Event>, totals: &mut Totals) {
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
            totals.copies += merge::remove_copies(events);
        }
        let surroundings = Surroundings {
            // The capture goes on, whatever of it is still kept.
            own_capture: true,
            trust: Trust::Judged,
            captures: &[CaptureFacts::default()],
            traces: &[],
            dns_ports: &self.dns_ports,
            tolerance: Span::ZERO,
            asking: &self.asking,
            stacks: &Stacks::default(),
            started: events.first().map(|e| e.at).unwrap_or_default(),
            dated: true,
            config: None,
            environment: &[],
            hosts: None,
            totals: &Totals::default(),
            target: self.target,
        };
        let evicted = surroundings.with_case(events, |case| {
            let mut units = Units::new(case);
            let slowest = units.protect(case, self.limits);
            let evicted = units.choose(events.len().saturating_sub(LEAST), horizon);
            count(case, &slowest, &evicted, totals);
            evicted.events
        });
        let mut goes = evicted.iter();
        events.retain(|_| !goes.next().copied().unwrap_or(false));
        // Where little could go, the next turn waits, lest every few packets cost a join.
        self.most = if events.len() > LEAST {
            MOST.max(2 * events.len())
        } else {
            MOST
        };
    }
}

/// Counts what goes.
fn count(case: &Case, subjects: &[Subject], gone: &Evicted, totals: &mut Totals) {
    let joined = case.joined;
    let goes = |subject: &Subject| match subject {
        Subject::Lookup(l) => gone.units[units::of_lookup(*l)],
        Subject::Connection(c) => gone.units[units::of_connection(joined, *c)],
    };
    let lookups: Vec<&Lookup> = joined
        .lookups
        .entries()
        .filter(|(l, _)| goes(&Subject::Lookup(*l)))
        .map(|(_, lookup)| lookup)
        .collect();
    totals.lookups += lookups.len();
    for c in joined.connections.ids() {
        if goes(&Subject::Connection(c)) {
            evicted::count_attempt(totals, case, c);
        }
    }
    totals.subjects += subjects.iter().filter(|s| goes(s)).count();
    totals.unfinished += gone.unfinished;
    totals.repeated += gone.repeated;
    let queries = lookups.iter().flat_map(|l| l.queries.iter().copied());
    evicted::count_queries(totals, case, queries);
}
