//! Evidence in words: `FILE:N`, and the plain types of the report.

use super::Case;
use crate::event::{self, EventKind};
use crate::flow::Transport;
use crate::join::owners::{self, Owned};
use crate::join::{Cause, ConnectionId, EventId, How, Id, LookupId};
use crate::report;
use crate::time::{Span, Timestamp};

/// How many places one line of the report cites; the rest can be found from these.
pub const MAX_CITED: usize = 200;

/// `FILE:N` of an event; its time, where it is in no file.
pub fn place(case: &Case, event: EventId) -> String {
    let event = case.evidence.event(event);
    if !case.stored {
        return rfc3339(event.at);
    }
    let place = event.place;
    format!("{}:{}", path(case, place.input), place.number)
}

/// `FILE:N` of several events, without repetition, in order.
pub fn places<'a>(case: &Case, events: impl IntoIterator<Item = &'a EventId>) -> Vec<String> {
    let mut list: Vec<EventId> = events.into_iter().copied().collect();
    list.sort_unstable();
    let mut cited: Vec<String> = list.into_iter().map(|e| place(case, e)).collect();
    cited.dedup();
    cited.truncate(MAX_CITED);
    cited
}

/// RFC 3339 in UTC, to the microsecond.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(at.0))
        .map_or_else(|_| format!("@{}", at.0), |t| format!("{t:.6}"))
}

/// Calls and packets of a mixed list, apart.
pub fn split(case: &Case, events: impl IntoIterator<Item = EventId>) -> (Vec<String>, Vec<String>) {
    let (mut packets, mut calls) = (Vec::new(), Vec::new());
    for event in events {
        match case.evidence.event(event).what {
            EventKind::Packet(_) => packets.push(event),
            _ => calls.push(event),
        }
    }
    (places(case, &calls), places(case, &packets))
}

fn path<'a>(case: &Case<'a>, input: u16) -> &'a str {
    let captures = case
        .evidence
        .captures
        .iter()
        .find(|c| c.input == input)
        .map(|c| c.path.as_str());
    let traces = case
        .evidence
        .traces
        .iter()
        .find(|t| t.input == input)
        .map(|t| t.path.as_str());
    captures.or(traces).unwrap_or("?")
}

/// Seconds since the start of the case.
pub fn since(case: &Case, at: Timestamp) -> f64 {
    seconds((at - case.started).as_seconds())
}

/// Seconds since the start of the case of something that a packet shows or not: beside a trace without times, only what
/// packets show has a time.
pub fn moment(case: &Case, at: Timestamp, by_packet: bool) -> Option<f64> {
    (by_packet || case.evidence.is_timed()).then(|| since(case, at))
}

/// Seconds of a span, as far as it is known.
pub fn known(case: &Case, span: Span) -> Option<f64> {
    Some(seconds(case.evidence.known(span)?.as_seconds()))
}

/// Seconds rounded to the nanosecond, so that JSON shows no noise of floating point.
pub fn seconds(value: f64) -> f64 {
    (value * 1e9).round() / 1e9
}

/// A task of the report.
pub fn task(task: &event::Task) -> report::Task {
    report::Task {
        pid: task.pid,
        tid: task.tid,
        comm: task.comm.as_deref().map(str::to_owned),
    }
}

/// A cause of the report, and what a thread was found doing about the socket that the packet left by.
pub fn cause(case: &Case, cause: Cause, packet: Option<EventId>) -> report::Cause {
    report::Cause {
        how: match cause.how {
            How::Call => report::CauseKind::Call,
            How::Socket => report::CauseKind::Socket,
            How::Inferred => report::CauseKind::Inferred,
        },
        call: cause.call.map(|c| place(case, c)),
        stack: cause.call.and_then(|c| super::stack::of_call(case, c)),
        wait: packet.and_then(|packet| thread_wait(case, packet)),
    }
}

/// What a thread of a watched process was found doing about the socket of a packet.
pub fn thread_wait(case: &Case, packet: EventId) -> Option<report::ThreadWait> {
    let Some(Owned::Watched {
        wait: Some(look), ..
    }) = case.evidence.owners.of_packet(packet)
    else {
        return None;
    };
    let (task, wait) = owners::thread_wait(case.evidence.events, look)?;
    Some(report::ThreadWait {
        tid: task.tid,
        comm: task.comm.as_deref().map(str::to_owned),
        call: wait.call.to_string(),
        among: wait.among,
    })
}

/// A transport of the report.
pub fn transport(transport: Transport) -> report::Transport {
    match transport {
        Transport::Udp => report::Transport::Udp,
        Transport::Tcp => report::Transport::Tcp,
    }
}

/// Id of a lookup in the report.
pub fn lookup_id(lookup: LookupId) -> String {
    format!("L{}", lookup.position() + 1)
}

/// Id of a connection in the report.
pub fn connection_id(connection: ConnectionId) -> String {
    format!("C{}", connection.position() + 1)
}
