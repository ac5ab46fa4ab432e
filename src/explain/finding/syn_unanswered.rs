//! A server that does not answer the SYN.

use super::{Context, Draft, FindingId, Page, attempt, cost, parties};
use crate::explain::Case;
use crate::explain::ledger::{Subject, after_syn, is_answer_captured};
use crate::explain::{clients, words};
use crate::flow::Endpoint;
use crate::join::connect::{Connection, Ending, SynAnswer};
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;

/// Linux repeats a SYN after one second (RFC 6298 section 2); one that is younger when it is abandoned
/// proves nothing.
const FIRST_RETRANSMISSION: Span = Span::seconds(1);

/// What `presyn explain syn-unanswered` shows.
pub const PAGE: Page = Page {
    id: FindingId::SynUnanswered,
    rests_on_absence: true,
    in_summary: false,
    text: "The client's SYN got no answer, or one only after retransmissions.

The name was resolved and the connect was called; the SYN left, and nothing came back:
no SYN-ACK, no RST, no ICMP. The kernel sends it again after 1 s and then at growing
intervals, for about two minutes in all (net.ipv4.tcp_syn_retries). This delay comes
after the SYN and has nothing to do with DNS.

presyn sees the first SYN and its repetitions in the capture, and what answered.

What to do: capture on the server. SYNs do not arrive there: a firewall or a route
drops them on the way. They arrive and are not answered: a firewall on the server, a
full accept queue (ss -ltn, nstat TcpExtListenOverflows), or an answer that takes
another way back. Answered late: the server was starting or overloaded.",
};

/// Finds unanswered SYNs, one finding per server and kind of end.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let late = attempt::by_server(case, |x| is_late(case, x), |evicted| evicted.answered_late);
    let never = attempt::by_server(case, |x| is_never(case, x), |evicted| evicted.unanswered);
    let late = late.into_iter().map(|(to, list)| ((to, false), list));
    let never = never.into_iter().map(|(to, list)| ((to, true), list));
    let groups: BTreeMap<(Endpoint, bool), attempt::SomeAttempts> = late.chain(never).collect();
    groups
        .into_iter()
        .filter_map(|((to, never), list)| draft(context, to, never, &list))
        .collect()
}

/// Whether the SYN of an attempt was answered only when it had been sent again, or so late that it must have been.
pub fn is_late(case: &Case, x: &Connection) -> bool {
    let again = x.repeats > 0;
    // The call alone is seen.
    let unseen = x.syns.is_empty() && slow_call(x);
    let connected = x.outcome == Ending::Connected && x.left().is_some();
    // One that came before the last SYN was not late: the client did not take it.
    let captured = is_answer_captured(case, x);
    connected && (again || unseen) && captured && x.replies.is_empty() && !is_never(case, x)
}

/// Whether the SYN of an attempt was never answered, and an answer was due.
pub fn is_never(case: &Case, x: &Connection) -> bool {
    let again = x.repeats > 0;
    x.left().is_some()
        && match x.outcome {
            // A call that returned before the last SYN left tells of another socket.
            Ending::Connected => again && x.ended.is_none_or(|end| end < last_syn(case, x)),
            Ending::TimedOut(SynAnswer::Unknown) | Ending::Open(SynAnswer::Unknown) => false,
            Ending::TimedOut(_) | Ending::Open(_) => {
                again || is_abandoned(x) || waited(case, x) >= FIRST_RETRANSMISSION
            }
            _ => false,
        }
}

/// Whether packets alone show an attempt that was never answered nor repeated: its wait is not known.
pub fn is_abandoned(x: &Connection) -> bool {
    let alone = x.called.is_none() && x.repeats == 0;
    alone && x.outcome.is_timeout() && x.measured_end().is_none()
}

fn draft(
    context: &Context,
    to: Endpoint,
    never: bool,
    attempts: &attempt::SomeAttempts,
) -> Option<Draft> {
    let case = context.case;
    let joined = case.joined;
    let slowest = { attempts.retained.iter().copied() }
        .max_by_key(|c| waited(case, &joined.connections[*c]))?;
    let x = &joined.connections[slowest];
    let abandoned = is_abandoned(x);
    let time = waited(case, x);
    let failed = never && !abandoned && !attempt::recovered(case, x);
    Some(Draft {
        id: PAGE.id,
        severity: cost::severity(Some(time), failed),
        subject: Some(Subject::Connection(slowest)),
        parties: parties::servers([to]),
        title: title(case, x, never),
        detail: detail(x, never, attempts.count),
        cost: Some(time).filter(|_| !abandoned),
        total: None,
        remedy: Some(remedy(case, x)),
        evidence: attempt::evidence(attempts.retained.iter().map(|c| &joined.connections[*c])),
    })
}

fn remedy(case: &Case, x: &Connection) -> String {
    let server = crate::flow::host(x.to.ip);
    if clients::is_inbound(case, x) {
        return format!(
            "The SYNs arrive at {server}, where this was captured: look at its firewall and its accept queue ('ss -ltn', \
             'nstat -az TcpExtListenOverflows')."
        );
    }
    format!(
        "Capture on {server}: if the SYNs do not arrive, look at the firewalls and routes between; if they do, at its \
         own firewall, its accept queue and the way back."
    )
}

fn title(case: &Case, x: &Connection, never: bool) -> String {
    let (to, time) = (x.to, case.took(waited(case, x)));
    match x.syns.is_empty() {
        true if never => format!("{to} did not accept a connection for {time}"),
        true => format!("{to} accepted a connection only after {time}"),
        false if is_abandoned(x) => format!("{to} did not answer the SYN, which was sent once"),
        false if never => format!(
            "{to} answered none of {} in {time}",
            words::counted(x.repeats + 1, "SYN", "SYNs")
        ),
        false => format!(
            "{to} answered the SYN only after {time} and {}",
            words::counted(x.repeats, "retransmission", "retransmissions")
        ),
    }
}

/// What the slowest of some attempts rests on, and how it ended.
fn detail(x: &Connection, never: bool, attempts: usize) -> String {
    let end = match x.outcome {
        Ending::Connected if never => "Whether it connected is not seen",
        Ending::Connected => "Then it connected",
        Ending::TimedOut(_) if x.measured_end().is_none() => {
            "No further SYN of it is in the capture"
        }
        Ending::TimedOut(_) => "Then the client gave up",
        _ if x.called.is_none() => "The inputs end before its next SYN was due",
        _ => "The inputs do not show that the client gave up",
    };
    let many = if attempts > 1 {
        format!(
            "; {} to it did the same, this was the slowest",
            words::counted(attempts, "attempt", "attempts")
        )
    } else {
        String::new()
    };
    if x.syns.is_empty() {
        format!(
            "The trace shows only the call. A SYN that gets no answer is sent again after 1, 3 and 7 s: in a connect \
             this long SYNs were lost, or the server was slow to accept. {end}{many}."
        )
    } else {
        format!(
            "The capture holds the SYN, and no SYN-ACK, RST or ICMP error that answers it in that time. {end}{many}."
        )
    }
}

/// Whether a connect took so long that its SYN was not answered at once.
fn slow_call(x: &Connection) -> bool {
    after_syn(x).is_some_and(|took| took >= FIRST_RETRANSMISSION)
}

/// From the first SYN to the end of the attempt, or of the inputs.
fn waited(case: &Case, x: &Connection) -> Span {
    let end = match (x.measured_end(), &x.outcome) {
        (Some(end), _) => end,
        (None, Ending::TimedOut(_)) => last_syn(case, x),
        (None, _) => case.evidence.end(),
    };
    let end = end.max(last_syn(case, x));
    x.left()
        .map_or(Span::ZERO, |first| (end - first).max(Span::ZERO))
}

fn last_syn(case: &Case, x: &Connection) -> Timestamp {
    x.syns
        .last()
        .map_or(Timestamp(i64::MIN), |e| case.evidence.event(*e).at)
}
