//! Connection attempts that failed, as several findings look at them.

use super::syn_unanswered;
use super::tally::MAX_EVIDENCE;
use crate::event::{CallOutcome, EventKind};
use crate::explain::Case;
use crate::explain::ledger::after_syn;
use crate::flow::Endpoint;
use crate::join::connect::{Connection, Ending, Role};
use crate::join::{ConnectionId, EventId};
use crate::time::Span;
use crate::totals::{AttemptKinds, Attempts};
use std::collections::BTreeMap;

/// How many later connections are looked at for one that worked.
const LOOK_AHEAD: usize = 1_000;

/// Attempts of one kind to reach one server: those that are retained, and how many there were in all.
pub struct SomeAttempts {
    /// Those that are retained, in order of time; at least one.
    pub retained: Vec<ConnectionId>,
    /// How many there were, evicted ones among them.
    pub count: usize,
}

/// The attempts of one kind by server. `evicted` says how many of that kind were evicted.
pub fn by_server(
    case: &Case,
    is_kind: impl Fn(&Connection) -> bool,
    evicted: impl Fn(&Attempts) -> usize,
) -> BTreeMap<Endpoint, SomeAttempts> {
    let mut groups: BTreeMap<Endpoint, SomeAttempts> = BTreeMap::new();
    for (c, x) in case.joined.connections.entries() {
        if x.role == Role::Server && is_kind(x) {
            let group = groups.entry(x.to).or_insert_with(|| SomeAttempts {
                retained: Vec::new(),
                count: evicted(&case.totals.attempts(x.to)),
            });
            group.retained.push(c);
            group.count += 1;
        }
    }
    groups
}

/// What findings say of one attempt.
pub fn kinds(case: &Case, x: &Connection) -> AttemptKinds {
    AttemptKinds {
        connected: x.outcome == Ending::Connected,
        refused: x.outcome == Ending::Refused,
        unanswered: syn_unanswered::is_never(case, x),
        answered_late: syn_unanswered::is_late(case, x),
    }
}

/// The calls and packets of some attempts.
pub fn evidence<'a>(attempts: impl IntoIterator<Item = &'a Connection>) -> Vec<EventId> {
    let mut list: Vec<EventId> = Vec::new();
    for x in attempts {
        if list.len() >= MAX_EVIDENCE {
            break;
        }
        list.extend(x.cause.and_then(|c| c.call));
        list.extend(&x.syns);
        list.extend(x.ended_by);
    }
    list.truncate(MAX_EVIDENCE);
    list
}

/// The same and the segments that answered their SYNs without completing them.
pub fn evidence_with_replies<'a>(
    attempts: impl Iterator<Item = &'a Connection> + Clone,
) -> Vec<EventId> {
    let mut list = evidence(attempts.clone());
    for x in attempts {
        let replies = x.replies.ignored.iter().chain(&x.replies.foreign);
        list.extend(replies.chain(&x.replies.too_late));
    }
    list.truncate(MAX_EVIDENCE);
    list
}

/// The attempt that took longest to complete, or else to send its SYNs, and how long that was.
pub fn slowest(case: &Case, list: &[ConnectionId]) -> Option<(ConnectionId, Option<Span>)> {
    let timed = list.iter().map(|c| {
        let x = &case.joined.connections[*c];
        (*c, after_syn(x).or(tried(case, x)))
    });
    timed.max_by_key(|(_, time)| *time)
}

/// Whether the same process later got a connection of the same story: to the same port, or from the
/// same lookup.
pub fn recovered(case: &Case, failed: &Connection) -> bool {
    let Some(at) = failed.began() else {
        return false;
    };
    let all = &case.joined.connections;
    let start = all.partition_point(|x| x.began().is_none_or(|t| t < at));
    all.as_slice()[start.saturating_sub(1)..]
        .iter()
        .take(LOOK_AHEAD)
        .any(|x| {
            x.role == Role::Server
                && x.outcome == Ending::Connected
                && x.process == failed.process
                && x.reached().is_some_and(|r| r >= at)
                && (x.to.port == failed.to.port || x.lookup.is_some() && x.lookup == failed.lookup)
        })
}

/// The error of the call that ended an attempt.
pub fn error<'a>(case: &Case<'a>, x: &Connection) -> Option<&'a str> {
    use crate::event::Op;
    let event = x.ended_by?;
    match &case.evidence.event(event).what {
        EventKind::Call(call) => match (&call.op, &call.outcome) {
            (Op::SocketError { error, .. }, _) => error.as_deref(),
            (_, CallOutcome::Failed(error)) => Some(error),
            _ => None,
        },
        _ => None,
    }
}

/// How long an attempt took from its call, or its first SYN, to its end.
pub fn lasted(x: &Connection) -> Option<Span> {
    let from = x.began()?;
    Some((x.measured_end()? - from).max(Span::ZERO))
}

/// Over how long the SYNs of an attempt left.
pub fn tried(case: &Case, x: &Connection) -> Option<Span> {
    let last = x.syns.last().map(|e| case.evidence.event(*e).at)?;
    Some(last - x.first_syn?)
}

/// Whether an attempt failed for certain: a packet or a call says so, or its SYNs stayed unanswered. A socket
/// that was merely closed, in a log without packets, may have been connected.
pub fn failed(x: &Connection) -> bool {
    match x.outcome {
        Ending::Refused | Ending::Unreachable => true,
        Ending::TimedOut(_) | Ending::NoSyn(_) => !x.syns.is_empty() || x.ended_by.is_some(),
        Ending::Connected | Ending::Open(_) => false,
    }
}
