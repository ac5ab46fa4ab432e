//! A SYN that an older connection of the same ports answers.

use super::{Context, Draft, FindingId, Page, Severity, attempt, cost, parties};
use crate::explain::ledger::Subject;
use crate::explain::words;
use crate::flow::Endpoint;
use crate::join::ConnectionId;
use crate::join::connect::{Connection, Ending};

/// What `presyn explain challenge-ack` shows.
pub const PAGE: Page = Page {
    id: FindingId::ChallengeAck,
    rests_on_absence: false,
    in_summary: false,
    text: "An ACK of another number answered the SYN: the far end still has an older connection
with the same addresses and ports.

The SYN arrives. What answers it (the server, or a firewall or NAT in front of it)
holds a connection of this port pair, takes the SYN for a mistake, and acknowledges
what it expects instead (a challenge ACK: RFC 5961 section 4, RFC 9293 section
3.10.7.4). The client answers that with a RST, which should end the old connection;
where something drops the RST, or the old connection is in TIME_WAIT with a higher
sequence number, the client repeats its SYN until that connection has expired.

presyn sees a segment with ACK and without SYN that acknowledges another number than
the SYN's plus one.

What to do: find who uses the same source port again too soon: SNAT of many clients
behind one address (a Kubernetes node, a load balancer, a proxy), a fixed source port in
the client. More source addresses or ports for the NAT, net.ipv4.tcp_tw_reuse on the
client side, or see what drops the RST.",
};

/// Finds challenge ACKs, one finding per server.
pub fn find(context: &Context) -> Vec<Draft> {
    let challenged = |x: &Connection| !x.replies.foreign.is_empty();
    let groups = attempt::by_server(context.case, challenged, |_| 0);
    let groups = groups.into_iter();
    groups
        .filter_map(|(to, group)| draft(context, to, &group.retained))
        .collect()
}

fn draft(context: &Context, to: Endpoint, list: &[ConnectionId]) -> Option<Draft> {
    let case = context.case;
    let (worst, time) = attempt::slowest(case, list)?;
    let x = &case.joined.connections[worst];
    let end = match x.outcome {
        Ending::Connected => "Then it connected.",
        Ending::Refused => "Then a RST ended the attempt.",
        _ => "That it connected is not in the capture.",
    };
    let from = x
        .from
        .map_or_else(String::new, |from| format!(" of {from}"));
    Some(Draft {
        id: PAGE.id,
        severity: match x.outcome {
            Ending::Connected | Ending::Refused => cost::severity(time, false),
            _ => Severity::High,
        },
        subject: Some(Subject::Connection(worst)),
        parties: parties::servers([to]),
        title: format!("An ACK of an older connection answered the SYN{from} to {to}"),
        detail: format!(
            "{} got {} of other bytes: the SYNs arrive, and the far end still has a connection with these \
             ports (challenge ACK, RFC 5961). {end}",
            words::counted(x.repeats + 1, "SYN", "SYNs"),
            words::counted(x.replies.foreign.len(), "ACK", "ACKs"),
        ),
        cost: time,
        total: None,
        remedy: Some(
            "Find out why the source port is used again so soon (SNAT of many clients behind one address, a fixed source \
             port), and whether something drops the client's RST."
                .into(),
        ),
        evidence: attempt::evidence_with_replies(list.iter().map(|c| &case.joined.connections[*c])),
    })
}
