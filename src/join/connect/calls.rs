//! What became of an attempt, as the client's own calls tell.

use super::{Attempt, Ending};
use crate::coverage::{Kind, Wanted};
use crate::event::{Op, Outcome, What};
use crate::join::socket::Association;
use crate::join::{EventId, Evidence};
use crate::time::{Span, Timestamp};

/// What the calls say about an attempt whose end no packet shows.
pub fn conclude(
    evidence: &Evidence,
    this: &Association,
    later: &[EventId],
    connection: &mut Attempt,
) {
    let Some(id) = this.connect else { return };
    let Some(call) = evidence.call(id) else {
        return;
    };
    let sent = connection.first_syn.is_some();
    let note = match &call.op {
        Op::Connect { fd, .. } => fd.note.as_ref(),
        _ => None,
    };
    let wanted = Wanted {
        kind: Kind::Syn,
        from: this.local.map(|l| l.ip),
        to: Some(connection.to.ip),
        netns: note.and_then(|n| n.netns),
    };
    let exit = call.exited;
    let until = exit.unwrap_or(this.opened);
    let silence = evidence.coverage.would_show(wanted, this.opened, until);
    let silence = silence.ok().filter(|_| !sent);
    let silent = silence.is_some();
    let (outcome, ended) = match &call.outcome {
        // Without an exit nothing says when it came up.
        Outcome::Returned(_) => (Ending::Connected, exit),
        Outcome::Failed(error) if &**error == "EINPROGRESS" || &**error == "EINTR" => {
            by_later_calls(evidence, this, later, connection, silent);
            connection.silence = silence.filter(|_| connection.outcome == Ending::NoSyn);
            return;
        }
        Outcome::Failed(error) => {
            let ended = exit.or_else(|| error_came(evidence, id, error));
            (ending_of(error, silent), ended)
        }
        Outcome::Unknown => (Ending::Open, None),
    };
    (connection.outcome, connection.ended, connection.ended_by) = (outcome, ended, Some(id));
    connection.silence = silence.filter(|_| outcome == Ending::NoSyn);
}

/// When a call without a known exit failed: errors that the kernel gives after a wait came before the thread's next
/// event; when others came, nobody can say.
fn error_came(evidence: &Evidence, id: EventId, error: &str) -> Option<Timestamp> {
    let waited = matches!(error, "ETIMEDOUT" | "EHOSTUNREACH");
    let next = || crate::join::next_of_thread(evidence, id);
    if waited && evidence.is_timed() {
        next().map(|next| evidence.event(next).at)
    } else {
        None
    }
}

/// A wait that timed out after this shows that the connection had not come up; shorter ones only look.
const A_WAIT: Span = Span::millis(1);

/// An attempt that went on in the background: `SO_ERROR`, the first use of the socket, or its end.
fn by_later_calls(
    evidence: &Evidence,
    this: &Association,
    later: &[EventId],
    connection: &mut Attempt,
    silent: bool,
) {
    // Only a close that was seen ends the wait: a descriptor that is used again, or a process that ends, says
    // nothing about the attempt.
    let closes = |id: &EventId| matches!(&evidence.event(*id).what, What::Call(c) if matches!(c.op, Op::Close { .. }));
    let closed = later
        .iter()
        .rev()
        .find(|id| closes(id))
        .map(|id| evidence.event(*id).at);
    let mut in_vain: Option<EventId> = None;
    for &id in later.iter().filter(|id| Some(**id) > this.connect) {
        let event = &evidence.event(id);
        let What::Call(call) = &event.what else {
            continue;
        };
        match &call.op {
            Op::SocketError { error, .. } => {
                let outcome = error
                    .as_ref()
                    .map_or(Ending::Connected, |e| ending_of(e, silent));
                (connection.outcome, connection.ended, connection.ended_by) =
                    (outcome, Some(event.at), Some(id));
                return;
            }
            // It was connected by then; since when, this does not tell.
            Op::PeerName { .. } | Op::Send { .. } if call.outcome.value().is_some() => {
                (connection.outcome, connection.ended, connection.ended_by) =
                    (Ending::Connected, None, Some(id));
                return;
            }
            Op::Wait { timeout, .. } => {
                let lasted = match (call.exited, timeout) {
                    (Some(exit), _) => exit - event.at >= A_WAIT,
                    (None, Some(timeout)) => *timeout >= A_WAIT,
                    (None, None) => false,
                };
                if lasted && call.outcome == Outcome::Returned(0) {
                    in_vain = Some(id);
                }
            }
            Op::Send { .. } | Op::Receive { .. } => {
                if let Outcome::Failed(error) = &call.outcome
                    && let outcome @ (Ending::Refused
                    | Ending::Unreachable
                    | Ending::NoSyn
                    | Ending::TimedOut) = ending_of(error, silent)
                    && &**error != "EAGAIN"
                {
                    (connection.outcome, connection.ended, connection.ended_by) =
                        (outcome, Some(event.at), Some(id));
                    return;
                }
            }
            _ => {}
        }
    }
    if let Some(closed) = closed {
        connection.outcome = if silent {
            Ending::NoSyn
        } else if in_vain.is_some() || connection.first_syn.is_some() {
            Ending::TimedOut
        } else {
            // It may have been connected and used by calls that the trace does not show.
            Ending::Open
        };
        (connection.ended, connection.ended_by) = (Some(closed), in_vain);
    } else if in_vain.is_some() {
        connection.ended_by = in_vain;
    } else if silent {
        connection.outcome = Ending::NoSyn;
    }
}

/// What an error of `connect` (or `SO_ERROR`) means.
fn ending_of(error: &str, silent: bool) -> Ending {
    match error {
        "ECONNREFUSED" => Ending::Refused,
        "ETIMEDOUT" if !silent => Ending::TimedOut,
        _ if silent => Ending::NoSyn,
        "EHOSTUNREACH" | "ENETUNREACH" | "EACCES" | "EPERM" | "EADDRNOTAVAIL" => {
            Ending::Unreachable
        }
        _ => Ending::Open,
    }
}
