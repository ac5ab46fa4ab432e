//! What became of an attempt, as the client's own calls tell.

use super::{Attempt, Ending, SynAnswer, departure_limit};
use crate::coverage::{Absence, ClaimKind, Wanted};
use crate::event::{
    Call, CallOutcome, Errno, EventKind, FdNote, LifecycleChange, Op, SocketFamily, SocketType,
};
use crate::join::socket::Association;
use crate::join::{EventId, Evidence};
use crate::time::{Span, Timestamp};
use std::sync::Arc;

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
        kind: ClaimKind::Syn,
        from: this.local.map(|l| l.ip),
        to: Some(connection.to.ip),
        netns: note.and_then(|n| n.netns),
    };
    let exit = call.exited;
    let until = exit.unwrap_or(this.opened);
    let silence = evidence.coverage.would_show(wanted, this.opened, until);
    let silence = silence.ok().filter(|_| !sent);
    let (outcome, ended) = match &call.outcome {
        // Without an exit nothing says when it came up.
        CallOutcome::Returned(_) => (Ending::Connected, exit),
        failed if failed.errno().is_some_and(Errno::goes_on) => {
            return by_later_calls(evidence, this, later, connection, silence);
        }
        CallOutcome::Failed(error) => {
            let error = Errno::named(error);
            let ended = exit.or_else(|| error_came(evidence, id, error));
            (CallResult::of(error).ending(silence), ended)
        }
        CallOutcome::Unknown => (Ending::Open(SynAnswer::Unknown), None),
    };
    (connection.outcome, connection.ended, connection.ended_by) = (outcome, ended, Some(id));
}

/// When a call without a known exit failed: errors that the kernel gives after a wait came before the thread's next
/// event; when others came, nobody can say.
fn error_came(evidence: &Evidence, id: EventId, error: Option<Errno>) -> Option<Timestamp> {
    let waited = error.is_some_and(Errno::follows_wait);
    let next = || crate::join::next_of_thread(evidence, id);
    if waited && evidence.is_timed() {
        next().map(|next| evidence.event(next).at)
    } else {
        None
    }
}

/// A wait that timed out after this shows that the connection had not come up; shorter ones only look.
const A_WAIT: Span = Span::millis(1);

/// What one later call shows of an attempt that went on in the background.
enum CallSign {
    /// How it ended, and when, where the call tells that.
    Ended(CallResult, Option<Timestamp>),
    /// It was not connected after a wait.
    WaitedInVain,
    /// It had ended, one way or the other.
    Over,
    Nothing,
}

impl CallSign {
    /// `SO_ERROR` and errors of the first use of the socket tell the end, a use that succeeds that there is a connection.
    fn of(at: Timestamp, call: &Call, silent: bool) -> Self {
        match &call.op {
            Op::SocketError { error: None, .. } => Self::Ended(CallResult::Connected, Some(at)),
            Op::SocketError {
                error: Some(error), ..
            } => Self::Ended(CallResult::of(Errno::named(error)), Some(at)),
            // It was connected by then; since when, this does not tell.
            Op::PeerName { .. } | Op::Send { .. } if call.outcome.value().is_some() => {
                Self::Ended(CallResult::Connected, None)
            }
            // A second call asks for the result of the first (connect(2)).
            Op::Connect { .. } => match &call.outcome {
                CallOutcome::Returned(_) => Self::Ended(CallResult::Connected, Some(at)),
                failed if failed.errno() == Some(Errno::IsConnected) => {
                    Self::Ended(CallResult::Connected, None)
                }
                failed => Self::failed(failed.errno(), at, silent),
            },
            // A look at the socket itself, by the tracer, found its far end.
            op if op
                .fd()
                .and_then(|fd| fd.note.as_ref())
                .is_some_and(is_connected) =>
            {
                Self::Ended(CallResult::Connected, None)
            }
            Op::Wait { timeout, .. } if call.outcome == CallOutcome::Returned(0) => {
                let lasted = call.exited.map(|exit| exit - at).or(*timeout);
                if lasted.is_some_and(|lasted| lasted >= A_WAIT) {
                    Self::WaitedInVain
                } else {
                    Self::Nothing
                }
            }
            // Nothing else can have ended it.
            Op::Wait { fds, .. } if fds.len() == 1 && call.outcome.value() > Some(0) => Self::Over,
            Op::Send { .. } | Op::Receive { .. } if call.outcome.has_failed() => {
                Self::failed(call.outcome.errno(), at, silent)
            }
            _ => Self::Nothing,
        }
    }

    /// What an error of a later call tells.
    fn failed(error: Option<Errno>, at: Timestamp, silent: bool) -> Self {
        match CallResult::of(error) {
            CallResult::OtherError if !silent => Self::Nothing,
            _ if error.is_none_or(Errno::ends_nothing) => Self::Nothing,
            ended => Self::Ended(ended, Some(at)),
        }
    }
}

/// Ends an attempt that went on in the background by its later calls: `SO_ERROR`, the first use of the socket, or its end.
fn by_later_calls(
    evidence: &Evidence,
    this: &Association,
    later: &[EventId],
    connection: &mut Attempt,
    silence: Option<Absence>,
) {
    let calls = || {
        let calls = later
            .iter()
            .filter_map(|id| Some((*id, evidence.call(*id)?)));
        calls.map(|(id, call)| (id, evidence.event(id).at, call))
    };
    let mut in_vain: Option<EventId> = None;
    let mut over = false;
    for (id, at, call) in calls().filter(|(id, ..)| Some(*id) > this.connect) {
        match CallSign::of(at, call, silence.is_some()) {
            CallSign::Ended(result, ended) => {
                (connection.outcome, connection.ended) = (result.ending(silence), ended);
                connection.ended_by = Some(id);
                return;
            }
            CallSign::Over => (in_vain, over) = (None, true),
            // A wait after the end is one for data.
            CallSign::WaitedInVain if !over => in_vain = Some(id),
            CallSign::WaitedInVain | CallSign::Nothing => {}
        }
    }
    // Only a close that was seen ends the wait: a descriptor that is used again says nothing about the attempt.
    let mut closes = calls().filter(|(_, _, call)| matches!(call.op, Op::Close { .. }));
    if let Some((by, closed, call)) = closes.next_back() {
        let unconnected = call
            .op
            .fd()
            .and_then(|fd| fd.note.as_ref())
            .is_some_and(is_unconnected);
        in_vain = in_vain.or(unconnected.then_some(by));
        let waited = in_vain.is_some() || connection.first_syn.is_some();
        connection.outcome = match silence {
            Some(absence) => Ending::NoSyn(absence),
            None if waited => Ending::TimedOut(SynAnswer::Unknown),
            // It may have been connected and used by calls that the trace does not show.
            None => Ending::Open(SynAnswer::Unknown),
        };
        (connection.ended, connection.ended_by) = (Some(closed), in_vain);
    } else if (connection.first_syn.is_some() || in_vain.is_some())
        && let Some(exit) = this.closed.filter(|at| exited(evidence, this, *at))
    {
        // Nothing answered until then, as the capture shows (see `silence`) or a wait for it: a program that exits by
        // itself has given up.
        connection.outcome = Ending::TimedOut(SynAnswer::Unknown);
        (connection.ended, connection.ended_by) = (Some(exit), in_vain);
    } else if in_vain.is_some() {
        connection.ended_by = in_vain;
    } else if let Some(absence) = silence
        && (this.closed.is_some() || departed(evidence, this))
    {
        connection.outcome = Ending::NoSyn(absence);
    }
}

/// Whether a SYN would have left by the end of the inputs, had it not been dropped.
fn departed(evidence: &Evidence, this: &Association) -> bool {
    evidence.end() > this.opened + departure_limit(None)
}

/// Whether the process of a socket ended by itself then.
fn exited(evidence: &Evidence, this: &Association, at: Timestamp) -> bool {
    let start = evidence.events.partition_point(|e| e.at < at);
    let then = evidence.events[start..].iter().take_while(|e| e.at == at);
    then.into_iter().any(|e| match &e.what {
        EventKind::Life(life) => {
            let own = life.task.tid == this.task.tid
                || life.task.pid.is_some() && life.task.pid == this.task.pid;
            own && matches!(life.change, LifecycleChange::Exited(_))
        }
        _ => false,
    })
}

/// Whether the tracer found a far end: before it is connected, and after an error, a socket has none (getpeername(2)).
fn is_connected(note: &Arc<FdNote>) -> bool {
    note.exact && note.peer.is_some()
}

/// Whether the tracer found a stream socket's SYN unanswered.
fn is_unconnected(note: &Arc<FdNote>) -> bool {
    let stream = note
        .socket
        .is_some_and(|s| (s.family, s.style) == (SocketFamily::Inet, SocketType::Stream));
    note.exact && stream && note.local.is_some() && note.peer.is_none()
}

/// What `connect`, `SO_ERROR` or a use of the socket says.
#[derive(Clone, Copy)]
enum CallResult {
    Connected,
    Refused,
    /// `ETIMEDOUT`.
    TimedOut,
    Unreachable,
    OtherError,
}

impl CallResult {
    /// What an error means.
    fn of(error: Option<Errno>) -> Self {
        match error {
            Some(Errno::ConnectionRefused) => Self::Refused,
            Some(Errno::TimedOut) => Self::TimedOut,
            Some(
                Errno::HostUnreachable
                | Errno::NetworkUnreachable
                | Errno::Access
                | Errno::NotPermitted
                | Errno::AddressNotAvailable,
            ) => Self::Unreachable,
            _ => Self::OtherError,
        }
    }

    /// How the attempt ended; `silence` is the witness that no SYN left.
    fn ending(self, silence: Option<Absence>) -> Ending {
        match (self, silence) {
            (Self::Connected, _) => Ending::Connected,
            (Self::Refused, _) => Ending::Refused,
            (Self::TimedOut | Self::Unreachable | Self::OtherError, Some(absence)) => {
                Ending::NoSyn(absence)
            }
            (Self::TimedOut, None) => Ending::TimedOut(SynAnswer::Unknown),
            (Self::Unreachable, None) => Ending::Unreachable,
            (Self::OtherError, None) => Ending::Open(SynAnswer::Unknown),
        }
    }
}
