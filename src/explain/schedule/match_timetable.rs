//! Whether the waits of a lookup are those of a stub resolver's timetable.

use super::{QuestionPlan, Scheduled, ServerBehaviour, Setup, udp, waits};
use crate::explain::Case;
use crate::join::LookupId;
use crate::join::lookup::Lookup;
use crate::time::Span;
use crate::timetable::{Edge, Stub, WaitsFor};
use std::net::IpAddr;

/// A wait is never shorter than its timeout, but for the clock's grain.
const EARLY: Span = Span::millis(100);
/// A tracer stops the client at every call and a busy machine wakes it late.
const LATE: Span = Span::millis(500);
/// A query without an answer that was waited for this long ran into a timeout; the shortest of any stub resolver
/// is a second.
const TIMED_OUT: Span = Span::millis(500);

/// A wait that was seen, beside the timetable's.
#[derive(Clone, Debug)]
pub struct Compared {
    /// For whom.
    pub servers: Vec<IpAddr>,
    /// As seen.
    pub seen: Span,
    /// As the timetable has it, at least.
    pub least: Span,
    /// At most.
    pub most: Span,
    /// They agree.
    pub fits: bool,
}

/// A lookup's waits beside a timetable.
#[derive(Clone, Debug)]
pub struct TimetableMatch {
    /// Whose timetable.
    pub stub: Stub,
    /// Wait by wait, as far as both go.
    pub waits: Vec<Compared>,
    /// The lookup goes on as long as the timetable does; else the client ended it early.
    pub whole: bool,
    /// Every wait agrees, and the timetable has as many.
    pub fits: bool,
}

/// Whether some query of a lookup ran into a timeout: only then do its waits tell whose they are.
pub fn timed_out(case: &Case, lookup: &Lookup) -> bool {
    udp(case, lookup).any(|q| q.is_silent() && q.waited() >= TIMED_OUT)
}

/// Whether all resolvers that a lookup asked are the setup's.
pub fn concerns(case: &Case, lookup: &Lookup, setup: &Setup) -> bool {
    let servers = setup.servers();
    let mut asked = udp(case, lookup).map(|q| q.resolver.ip.to_canonical());
    asked.all(|address| servers.contains(&address))
}

/// Lays a lookup beside a timetable. `None`: the setup is not this lookup's, or nothing went over UDP.
pub fn compare(
    case: &Case,
    behaviour: &ServerBehaviour,
    lookup: LookupId,
    setup: &Setup,
    stub: Stub,
) -> Option<TimetableMatch> {
    let this = &case.joined.lookups[lookup];
    if !concerns(case, this, setup) {
        return None;
    }
    let plan = QuestionPlan::of(case, this, stub, setup)?;
    let scheduled = Scheduled {
        lookup,
        plan: &plan,
        behaviour,
        stub,
    };
    let least = scheduled.predict(setup, Edge::Least, true).waits;
    let most = scheduled.predict(setup, Edge::Most, true).waits;
    let queries = udp(case, this).map(|q| {
        let from = |at: crate::time::Timestamp| at - this.began;
        (q.resolver.ip.to_canonical(), from(q.sent), from(q.until))
    });
    let mut seen = waits(queries, stub);
    if stub.profile().waits_for == WaitsFor::OneServer {
        // The next wait ends this one.
        for i in 1..seen.len() {
            let next = seen[i].at;
            seen[i - 1].until = seen[i - 1].until.min(next);
        }
    }
    let grain = case.evidence.resolution().max(case.evidence.tolerance);
    let last = seen.len().saturating_sub(1);
    let mut whole = seen.len() >= least.len();
    let mut fits = seen.len() <= most.len();
    let mut list = Vec::new();
    for (number, ((seen, least), most)) in seen.iter().zip(&least).zip(&most).enumerate() {
        let late = Span(
            LATE.0
                .saturating_mul(i64::try_from(number).unwrap_or(0) + 1),
        );
        let in_turn = seen.at >= least.at - EARLY - grain && seen.at <= most.at + late + grain;
        let short = seen.span() < least.span() - EARLY - grain;
        let long = seen.span() > most.span() + LATE + grain;
        let same = seen.servers.iter().all(|s| least.servers.contains(s));
        // The client itself may have been ended in its last wait.
        let cut = short && number == last && same;
        // Without a trace nobody sees when the last wait ended.
        whole &= !cut || !case.evidence.has_trace();
        let agrees = same && in_turn && !long && (!short || cut);
        fits &= agrees;
        list.push(Compared {
            servers: seen.servers.clone(),
            seen: seen.span(),
            least: least.span(),
            most: most.span(),
            fits: agrees,
        });
    }
    Some(TimetableMatch {
        stub,
        waits: list,
        whole,
        fits,
    })
}
