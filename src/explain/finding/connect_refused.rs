//! A server that refuses the connection.

use super::{Context, Draft, FindingId, Page, Severity, attempt, parties};
use crate::explain::ledger::{Subject, after_syn};
use crate::join::connect::Ending;

/// What `presyn explain connect-refused` shows.
pub const PAGE: Page = Page {
    id: FindingId::ConnectRefused,
    rests_on_absence: false,
    in_summary: false,
    text: "The server refused the connection.

A RST answered the SYN (or the connect returned ECONNREFUSED): the host is up and
reachable, but no program listens on that port at that address, or a firewall rejects
with a reset. It is quick, unless the client tries again and again.

presyn sees the RST in the capture, or the error of the call.

What to do: start the service; see on the server with 'ss -ltn' whether it listens
on this port and on this address rather than on 127.0.0.1 only; check that the port is
the right one; look for a firewall rule 'reject with tcp-reset'.",
};

/// Finds refusals, one finding per server.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let refused = attempt::by_server(
        case,
        |x| x.outcome == Ending::Refused,
        |evicted| evicted.refused,
    );
    refused
        .into_iter()
        .filter_map(|(to, attempt::SomeAttempts { retained: list, count })| {
            let c = *list.first()?;
            let x = &case.joined.connections[c];
            let by_packet = x
                .ended_by
                .is_some_and(|e| case.evidence.is_packet(e));
            // The figure of the first sentence: from the SYN, where that is seen.
            let took = after_syn(x).or_else(|| attempt::lasted(x));
            let recovered = list
                .iter()
                .all(|c| attempt::recovered(case, &case.joined.connections[*c]));
            Some(Draft {
                id: PAGE.id,
                severity: if recovered { Severity::Low } else { Severity::High },
                subject: Some(Subject::Connection(c)),
                parties: parties::servers([to]),
                title: if count == 1 {
                    format!("{to} refused the connection")
                } else {
                    format!("{to} refused {count} connections")
                },
                detail: format!(
                    "{}: the host is up, but no program listens on port {} there.{}",
                    if by_packet {
                        "A reset came back"
                    } else {
                        "The connect returned ECONNREFUSED"
                    },
                    to.port,
                    took.map_or_else(String::new, |t| format!(
                        " It took {}.",
                        context.case.took(t)
                    ))
                ),
                cost: took,
                total: None,
                remedy: Some(format!(
                    "Check on {} with 'ss -ltn' that the service listens on port {} and on this address; look for a \
                     firewall rule that rejects.",
                    crate::flow::host(to.ip), to.port
                )),
                evidence: attempt::evidence(list.iter().map(|c| &case.joined.connections[*c])),
            })
        })
        .collect()
}
