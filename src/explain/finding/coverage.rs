//! What the inputs could not show, said beside every claim.

use crate::explain::Case;
use crate::join::How;

/// Remarks for the reader: what a missing capture or trace would have added, and what is inferred.
pub fn remarks(case: &Case) -> Vec<String> {
    let evidence = &case.evidence;
    let mut list = Vec::new();
    match (evidence.has_capture(), evidence.has_trace()) {
        (true, false) => list.push(
            "no trace: packets are not tied to processes; a strace log (strace -f -ttt -T -yy) would show who \
             asked, and what the client waited for"
                .into(),
        ),
        (false, true) => list.push(
            "no capture: answers, SYNs and what left the host are known only from the calls; a capture \
             (tcpdump -i any -w) would show them"
                .into(),
        ),
        _ => {}
    }
    for filter in evidence.captures.iter().filter_map(|c| c.filter.as_ref()) {
        list.push(format!(
            "only packets that the filter '{filter}' keeps were read: what it hides may well have been sent"
        ));
    }
    let implied = case.joined.queries.iter().filter(|q| q.implied).count();
    if implied > 0 {
        list.push(format!(
            "the trace shows connects to resolvers but not what was sent: {implied} {} inferred from them",
            if implied == 1 { "query is" } else { "queries are" }
        ));
    }
    let inferred = case
        .joined
        .queries
        .iter()
        .filter(|q| !q.implied && q.cause.is_some_and(|c| c.how == How::Inferred))
        .count();
    if inferred > 0 {
        list.push(format!(
            "{inferred} {} joined to calls by destination, order and time only (strace -yy would show the sockets)",
            if inferred == 1 { "query is" } else { "queries are" }
        ));
    }
    list
}
