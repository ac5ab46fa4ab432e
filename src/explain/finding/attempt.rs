//! Connection attempts that failed, as several findings look at them.

use super::tally::MAX_EVIDENCE;
use crate::event::{Outcome, What};
use crate::explain::Case;
use crate::join::EventId;
use crate::join::connect::{Connection, Role};
use crate::time::Span;

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
    let Some(at) = failed.reached() else {
        return false;
    };
    let all = &case.joined.connections;
    case.joined.connected.iter().any(|c| {
        let x = &all[*c];
        x.role == Role::Server
            && x.process == failed.process
            && x.reached().is_some_and(|r| r >= at)
            && (x.to.port == failed.to.port || x.lookup.is_some() && x.lookup == failed.lookup)
    })
}

/// The error of the call that ended an attempt.
pub fn error<'a>(case: &Case<'a>, x: &Connection) -> Option<&'a str> {
    use crate::event::Op;
    let event = x.ended_by?;
    match &case.evidence.events[event].what {
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
    let from = x.called.or(x.first_syn)?;
    Some((x.ended? - from).max(Span::ZERO))
}
