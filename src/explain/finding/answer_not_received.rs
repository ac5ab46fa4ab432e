//! Answers that a capture holds and that the client did not get.

use super::{Context, Draft, FindingId, Page, Statement, cost, tally};
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::join::Query;

/// What `presyn explain answer-not-received` shows.
pub const PAGE: Page = Page {
    id: FindingId::AnswerNotReceived,
    rests_on_absence: false,
    in_summary: false,
    text: "A resolver answered in time, but the client did not get the answer.

The answer is in the capture. Yet the client went on waiting: its wait for that
socket timed out although the answer had come, no call of it received anything, or
it sent the same question with the same id again when its timer ran out. A capture
taken on the client shows packets before the kernel has looked at them, so an answer
in the capture may still be dropped on this host. The resolver did its work.

Usual causes on the client: a firewall rule for incoming packets (INPUT: replies of
UDP port 53 from outside, a connection-tracking table that is full or was flushed),
the reverse-path filter (rp_filter: the answer came in by another interface than the
one that leads to the server), a wrong UDP checksum, a full socket buffer, an answer
that goes to another port than the one that asked. Where the capture was taken
elsewhere (a router, the server), the way from there to the client may lose it.

What to do: on the client look at the counters while a lookup runs
(nstat -az UdpInCsumErrors UdpInErrors UdpRcvbufErrors TcpExtIPReversePathFilter),
at the rules (nft list ruleset, iptables -vnL INPUT: which counter grows?), and at
sysctl net.ipv4.conf.all.rp_filter. Letting replies in takes a rule for established
connections (ct state established,related accept).",
};

/// Finds resolvers whose answers did not reach the client, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let tallies = tally::resolvers(context.case);
    tallies.iter().filter_map(|t| draft(context, t)).collect()
}

fn draft(context: &Context, t: &tally::Tally) -> Option<Draft> {
    let case = context.case;
    let tally::SomeQueries {
        retained: lost,
        count,
    } = t.not_received();
    let after = lost
        .iter()
        .filter_map(|q| q.response().map(|a| a.at - q.sent))
        .max()?;
    let found = cost::of_parties(context, &[Kind::AnswerNotReceived], &[t.resolver]);
    let name = words::resolver(t.resolver);
    let answers = words::counted(count, "answer", "answers");
    let client = lost.iter().find_map(|q| q.client);
    let client = client.map_or_else(|| "the client".into(), |c| crate::flow::host(c.ip));
    let said = Statement {
        title: format!("{answers} of {name} did not reach the client"),
        detail: format!(
            "The capture holds {} about {}, at most {} after the query, but {}: {name} is not to blame.{}",
            if count == 1 {
                "the answer"
            } else {
                "the answers"
            },
            tally::names(&lost),
            case.took(after),
            shown_by(&lost),
            words::waited(found.span)
        ),
        remedy: format!(
            "On {client}, find what drops them: rules for incoming packets (nft list ruleset; iptables -vnL INPUT), \
             sysctl net.ipv4.conf.all.rp_filter, and the counters of nstat -az UdpInCsumErrors UdpRcvbufErrors \
             TcpExtIPReversePathFilter. If the capture was taken elsewhere, the way from there to {client} may lose \
             them, too."
        ),
        evidence: tally::evidence(lost),
    };
    Some(t.conclude(PAGE.id, found, said))
}

/// What shows that the client did not get them.
fn shown_by(lost: &[&Query]) -> &'static str {
    if lost.iter().any(|q| q.origin.is_traced()) {
        "the client's calls received nothing and it waited on"
    } else {
        "the client sent the same message (question and id) again, as it does when nothing has come"
    }
}
