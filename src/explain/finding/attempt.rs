//! Connection attempts that failed, as several findings look at them.

use super::tally::MAX_EVIDENCE;
use crate::event::{Outcome, What};
use crate::explain::Case;
use crate::join::EventId;
use crate::join::connect::{Connection, Ending, Role};
use crate::time::Span;

/// How many later connections are looked at for one that worked.
const LOOK_AHEAD: usize = 1_000;

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
        What::Call(call) => match (&call.op, &call.outcome) {
            (Op::SocketError { error, .. }, _) => error.as_deref(),
            (_, Outcome::Failed(error)) => Some(error),
            _ => None,
        },
        _ => None,
    }
}

/// How long an attempt took from its call, or its first SYN, to its end.
pub fn lasted(x: &Connection) -> Option<Span> {
    let from = x.began()?;
    Some((x.ended? - from).max(Span::ZERO))
}

/// Whether an attempt failed for certain: a packet or a call says so, or its SYNs stayed unanswered. A socket
/// that was merely closed, in a log without packets, may have been connected.
pub fn failed(x: &Connection) -> bool {
    match x.outcome {
        Ending::Refused | Ending::Unreachable => true,
        Ending::TimedOut | Ending::NoSyn => !x.syns.is_empty() || x.ended_by.is_some(),
        Ending::Connected | Ending::Open => false,
    }
}
