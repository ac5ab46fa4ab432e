//! A SYN-ACK that takes longer than the path does.

use super::{Context, Draft, FindingId, Page, attempt, cost, parties};
use crate::explain::Case;
use crate::explain::ledger::{Subject, after_syn, is_answer_captured};
use crate::join::connect::{Connection, Ending};
use crate::time::Span;
use std::collections::HashMap;
use std::net::IpAddr;

/// What `presyn explain syn-ack-slow` shows.
pub const PAGE: Page = Page {
    id: FindingId::SynAckSlow,
    rests_on_absence: false,
    in_summary: false,
    text: "The server's SYN-ACK came, but much later than the path explains.

The kernel answers a SYN by itself, so the time until the SYN-ACK is that of the path:
tens of milliseconds within a continent, a tenth to three tenths of a second across an
ocean, over half a second by satellite. More than that is a queue that is full, a radio
link that wakes up, a middlebox that holds the SYN (a proxy, a SYN cookie firewall, a
load balancer that starts its backend), or a SYN-ACK that was lost and sent again.

presyn compares with the fastest handshake to the same network in the same capture: at
least a tenth of a second and three times as long. Where there is none to compare with,
only a whole second counts.

What to do: measure the path at another time (ping, mtr), capture on the server to
see when the SYN arrives and when the SYN-ACK leaves.",
};

/// What no path of the Internet needs.
const BEYOND_ANY_PATH: Span = Span::seconds(1);

/// Less is not worth a word.
const NOTICEABLE: Span = Span::millis(100);

/// How many times as long as the fastest one to its network a handshake may take.
const TIMES: i64 = 3;

/// The fastest handshakes, by the network that they went to.
pub struct Paths(HashMap<IpAddr, Span>);

impl Paths {
    /// Of all connections of a case.
    pub fn new(case: &Case) -> Self {
        let mut fastest: HashMap<IpAddr, Span> = HashMap::new();
        for x in &case.joined.connections {
            if let Some(took) = handshake(case, x) {
                let known = fastest.entry(network(x.to.ip)).or_insert(took);
                *known = (*known).min(took);
            }
        }
        Self(fastest)
    }

    /// Whether a handshake took much longer than its path does.
    pub fn is_slow(&self, case: &Case, x: &Connection) -> bool {
        let Some(took) = handshake(case, x) else {
            return false;
        };
        let path = self.0.get(&network(x.to.ip)).copied().unwrap_or(took);
        let slower = took >= Span(path.0.saturating_mul(TIMES)) && took >= NOTICEABLE;
        took >= BEYOND_ANY_PATH || slower
    }
}

/// From the SYN to what answered it, where the one SYN that was needed and its answer are packets.
fn handshake(case: &Case, x: &Connection) -> Option<Span> {
    let once = !x.syns.is_empty() && x.repeats == 0 && x.replies.is_empty();
    let once = once && is_answer_captured(case, x);
    after_syn(x).filter(|_| once && x.outcome == Ending::Connected)
}

/// The network that an address is in, as far as a path is one: 24 bits of IPv4, 48 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(v6) => {
            let [a, b, c, ..] = v6.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
        }
    }
}

/// Finds slow handshakes, one finding per server.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let paths = Paths::new(case);
    let slow = attempt::by_server(case, |x| paths.is_slow(case, x), |_| 0);
    let slow = slow.into_iter();
    slow.filter_map(|(to, group)| {
        let time = |c: &crate::join::ConnectionId| handshake(case, &case.joined.connections[*c]);
        let worst = *group.retained.iter().max_by_key(|c| time(c))?;
        let took = time(&worst)?;
        let path = paths.0.get(&network(to.ip)).copied().filter(|path| *path < took);
        let compared = path.map_or_else(
            || "There is no other handshake to its network to compare with.".into(),
            |path| format!("The fastest handshake to its network took {}.", case.took(path)),
        );
        let many = match group.retained.len() {
            1 => String::new(),
            n => format!(" {n} handshakes with it were so slow."),
        };
        Some(Draft {
            id: PAGE.id,
            severity: cost::severity(Some(took), false),
            subject: Some(Subject::Connection(worst)),
            parties: parties::servers([to]),
            title: format!("{to} answered the SYN only after {}", case.took(took)),
            detail: format!("One SYN, no retransmission. {compared}{many}"),
            cost: Some(took),
            total: None,
            remedy: Some(format!(
                "Measure the path to {} at another time (ping, mtr); capture on the server to see when the SYN arrives.",
                to.ip
            )),
            evidence: attempt::evidence(
                group.retained.iter().map(|c| &case.joined.connections[*c]),
            ),
        })
    })
    .collect()
}
