//! When a lookup was over.

use super::Stop;
use super::giveup::{LookupContext, Why, longest_wait};
use super::moves::{Act, Connect, outlasts};
use crate::flow::Transport;
use crate::join::response::Exchange;
use crate::time::{Span, Timestamp};

/// What a thread does sooner after its query than this belongs to the sending (its first `poll`, `sendmmsg` of AAAA).
const SENDING: Span = Span::millis(100);

/// When a lookup was over.
#[derive(Clone, Copy)]
pub struct LookupEnd {
    /// The moment.
    pub at: Timestamp,
    /// How that is known: [`Why::MovedOn`], [`Why::Used`], [`Why::CutShort`] or [`Why::Over`].
    pub why: Why,
    /// What ended it.
    pub stop: Stop,
}

impl LookupEnd {
    fn by_client(at: Timestamp, why: Why) -> Self {
        Self {
            at,
            why,
            stop: Stop::Client,
        }
    }
}

/// When a lookup was over, as far as its answers do not tell. The first of these that is known:
///
/// 1. its last wait call timed out;
/// 2. of a host or process that no trace shows: it connected to an address that an answer had given, else it waited for as long as
///    a stub resolver waits for one answer;
/// 3. the process connected to a server, unless the lookup still waits; or the thread that asked did something else, or
///    ended;
/// 4. the trace ends while the client was in a wait;
/// 5. as long as a stub resolver waits for one answer had passed.
///
/// Nothing but the first lasts beyond the end of the inputs.
pub fn of(lookup: &LookupContext) -> LookupEnd {
    let Some(last) = lookup.last() else {
        return LookupEnd::by_client(lookup.group.began, Why::Over);
    };
    let tcp = lookup.queries().any(|q| q.transport == Transport::Tcp);
    let limit = last.sent + longest_wait(if tcp { Transport::Tcp } else { Transport::Udp });
    // The client's own wait call says best when it gave up.
    if let Some(at) = timed_out(lookup, last, limit) {
        return LookupEnd {
            stop: lookup.moves.stopped(lookup.evidence, last, at),
            ..LookupEnd::by_client(at, Why::MovedOn)
        };
    }
    let end = if lookup.group.origin.is_traced() {
        of_process(lookup, last, limit)
    } else {
        of_host(lookup, last, limit)
    };
    LookupEnd {
        at: end.at.min(lookup.evidence.end().max(last.sent)),
        ..end
    }
}

/// The first wait for an answer to the last query of a lookup that ran into its timeout.
fn timed_out(lookup: &LookupContext, last: &Exchange, limit: Timestamp) -> Option<Timestamp> {
    let sockets = lookup.queries().filter_map(|q| q.association).collect();
    let tasks = &lookup.group.tasks;
    lookup.moves.timed_out(tasks, &sockets, last.sent, limit)
}

/// The end of a lookup of a host or process that no trace shows. Nothing else that it does shows that a lookup of it is over: it may
/// be another program's doing.
fn of_host(lookup: &LookupContext, last: &Exchange, limit: Timestamp) -> LookupEnd {
    let evidence = lookup.evidence;
    let alone = evidence.coverage.shows_one_program(false);
    let used = lookup
        .moves
        .connections_after(last.asker(), last.sent)
        .find(|used| gave(lookup, used) || alone)
        .map(|used| used.at)
        .filter(|at| *at <= limit);
    if let Some(at) = used {
        return LookupEnd::by_client(at, Why::Used);
    }
    let at = last.sent + evidence.patience;
    // What another process asked may be under way when the inputs end.
    let cut = at > evidence.end().max(last.sent) && evidence.has_trace();
    LookupEnd {
        stop: if cut { Stop::Trace } else { Stop::Client },
        ..LookupEnd::by_client(at, Why::Over)
    }
}

/// Whether a host connected to an address that an answer of a lookup had given by then.
fn gave(lookup: &LookupContext, used: &Connect) -> bool {
    let mut answers = lookup.queries().filter_map(|q| q.answer());
    answers.any(|a| a.at <= used.at && a.addresses.contains(&used.to))
}

/// What the thread that asked did next.
fn next_act(lookup: &LookupContext, last: &Exchange, from: Timestamp) -> Option<(Timestamp, Act)> {
    let task = last.task.as_ref()?;
    lookup.moves.next_of(task, from)
}

/// The first act of a process after its last query, once that was sent. What follows at once counts where nothing else
/// does, and no connect either.
fn later_act(
    lookup: &LookupContext,
    last: &Exchange,
    used: Option<Timestamp>,
) -> Option<(Timestamp, Act)> {
    // Without times the order of the calls is all there is.
    let settled = if lookup.evidence.is_timed() {
        last.sent + SENDING + lookup.evidence.tolerance
    } else {
        last.sent + Span(1)
    };
    let soon = || next_act(lookup, last, last.sent + Span(1)).filter(|_| used.is_none());
    next_act(lookup, last, settled).or_else(soon)
}

/// The connection of its process that used an answer.
fn used(lookup: &LookupContext, last: &Exchange) -> Option<Timestamp> {
    let mut connects = lookup.moves.connections_after(last.asker(), last.sent);
    connects
        .find(|used| !still_waits(lookup, used, last.sent + lookup.evidence.patience))
        .map(|used| used.at)
}

/// The end of a traced lookup: the connection that used the answer, or whatever the thread did next.
fn of_process(lookup: &LookupContext, last: &Exchange, limit: Timestamp) -> LookupEnd {
    let used = used(lookup, last);
    let act = later_act(lookup, last, used);
    let moves = [used, act.map(|(at, _)| at)].into_iter().flatten();
    match (moves.min().filter(|at| *at <= limit), act) {
        (Some(at), Some((killed, Act::Killed(by)))) if killed == at => LookupEnd {
            at,
            why: Why::CutShort,
            stop: Stop::Signal(by),
        },
        (Some(at), _) => LookupEnd::by_client(at, Why::MovedOn),
        (None, act) => unseen(lookup, last, act.is_some()),
    }
}

/// The end of a traced lookup whose client did nothing in time that is seen, though perhaps later.
fn unseen(lookup: &LookupContext, last: &Exchange, acted_later: bool) -> LookupEnd {
    let evidence = lookup.evidence;
    let patience = if evidence.is_timed() {
        evidence.patience
    } else {
        Span::ZERO
    };
    let at = last.sent + patience;
    if last.task.is_none() || acted_later || outlasts(evidence, at) {
        return LookupEnd::by_client(at, Why::Over);
    }
    let waiting = lookup.moves.still_waiting(last);
    LookupEnd {
        at: if waiting { evidence.end() } else { at },
        why: Why::CutShort,
        stop: Stop::Trace,
    }
}

/// Whether a lookup goes on although its process has connected: another thread did, for another lookup. A thread of
/// its own is in a wait, or its answer is still to come and in time.
fn still_waits(
    lookup: &LookupContext,
    &Connect { at, by, .. }: &Connect,
    in_time: Timestamp,
) -> bool {
    let tasks = &lookup.group.tasks;
    if by.is_none() || tasks.is_empty() || tasks.iter().any(|t| t.tid == by) {
        return false;
    }
    let mut answers = lookup.queries().filter_map(|q| q.answer());
    tasks.iter().any(|t| lookup.moves.in_wait(t, at))
        || answers.any(|a| at < a.at && a.at <= in_time)
}
