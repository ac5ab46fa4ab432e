//! A client that does not take the server's SYN-ACK.

use super::{Context, Draft, FindingId, Page, Severity, attempt, cost, parties};
use crate::explain::ledger::{Subject, after_syn};
use crate::explain::words;
use crate::flow::Endpoint;
use crate::join::ConnectionId;
use crate::join::connect::{Connection, Ending};

/// What `presyn explain syn-ack-ignored` shows.
pub const PAGE: Page = Page {
    id: FindingId::SynAckIgnored,
    rests_on_absence: false,
    in_summary: false,
    text: "The server answered the SYN, and the client sent its SYN again all the same.

The SYN-ACK is in the capture, so the server and the way to it are in order. The
client did not accept it: its own firewall drops what comes in (an INPUT rule, a
missing conntrack entry, rp_filter with an asymmetric route), the SYN-ACK is lost
between the place of the capture and the client, or its checksum or address is wrong.

presyn sees a SYN with the same sequence number more than a millisecond after the
SYN-ACK. What comes of the attempt is known only when the client goes on.

What to do: capture on the client, on the interface itself, and compare. If the
SYN-ACK is there: its firewall counters (nft list ruleset, iptables -nvL), 'nstat -az
| grep -i -e filter -e drop', sysctl net.ipv4.conf.all.rp_filter. If it is not: look
between the two captures.",
};

/// Finds ignored SYN-ACKs, one finding per server.
pub fn find(context: &Context) -> Vec<Draft> {
    let ignored = |x: &Connection| !x.replies.ignored.is_empty();
    let groups = attempt::by_server(context.case, ignored, |_| 0);
    let groups = groups.into_iter();
    groups
        .filter_map(|(to, group)| draft(context, to, &group.retained))
        .collect()
}

fn draft(context: &Context, to: Endpoint, list: &[ConnectionId]) -> Option<Draft> {
    let case = context.case;
    let (worst, time) = attempt::slowest(case, list)?;
    let x = &case.joined.connections[worst];
    let first = case.evidence.event(*x.replies.ignored.first()?).at;
    let after = first - x.first_syn?;
    let connected = x.outcome == Ending::Connected;
    let end = if connected {
        format!(
            "The client went on after {}.",
            after_syn(x).map_or_else(|| "that".into(), |t| case.took(t))
        )
    } else {
        "That the client went on is not in the capture.".to_owned()
    };
    let many = if list.len() > 1 {
        format!(
            " {} to it went so.",
            words::counted(list.len(), "attempt", "attempts")
        )
    } else {
        String::new()
    };
    Some(Draft {
        id: PAGE.id,
        severity: if connected {
            cost::severity(time, false)
        } else {
            Severity::High
        },
        subject: Some(Subject::Connection(worst)),
        parties: parties::servers([to]),
        title: format!(
            "{to} answered the SYN after {}, but the client sent its SYN again",
            case.took(after)
        ),
        detail: format!(
            "{} and {} of one attempt are in the capture: the server answers, and the client does not accept it. \
             {end}{many}",
            words::counted(x.repeats + 1, "SYN", "SYNs"),
            words::counted(x.replies.ignored.len(), "SYN-ACK", "SYN-ACKs"),
        ),
        cost: time,
        total: None,
        remedy: Some(format!(
            "On the client, find what drops packets from {} (nft list ruleset; sysctl net.ipv4.conf.all.rp_filter), \
             or capture there to see whether the SYN-ACK reaches it.",
            to.ip
        )),
        evidence: attempt::evidence_with_replies(list.iter().map(|c| &case.joined.connections[*c])),
    })
}
