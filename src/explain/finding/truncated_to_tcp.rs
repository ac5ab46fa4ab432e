//! Answers too large for UDP.

use super::{Context, Draft, FindingId, Page, Severity, cost, parties, tally};
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::flow::Transport;
use crate::join::connect::Role;

/// What `presyn explain truncated-to-tcp` shows.
pub const PAGE: Page = Page {
    id: FindingId::TruncatedToTcp,
    rests_on_absence: false,
    in_summary: false,
    text: "A resolver cut its UDP answers short, so the client had to ask again over TCP.

That is how DNS works when an answer does not fit (the TC flag, RFC 1035, RFC 7766),
and no fault by itself: it costs a TCP handshake and a second question. The first
SYN in the capture is then the resolver's, not the server's. It becomes a fault when
TCP port 53 is blocked (resolver-tcp-stuck).

presyn sees the TC flag in the answer, and the connection to the resolver after it.

What to do: nothing, if it is fast. Else let the server send larger UDP answers
(EDNS: 'options edns0' in resolv.conf, 1232 bytes is safe), or make the answer
smaller; a server set to truncate everything does so as a defence against floods.",
};

/// Finds truncating resolvers, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut list = Vec::new();
    for t in &tally::resolvers(case) {
        let tally::SomeQueries {
            retained: cut,
            count,
        } = t.truncated();
        let Some(first) = cut.first() else { continue };
        let over_tcp = case.joined.queries.iter().any(|q| {
            q.transport == Transport::Tcp
                && q.is_clients()
                && q.resolver.ip == t.resolver.ip
                && q.sent >= first.sent
        });
        let connected = case.joined.connections.iter().any(|c| {
            c.role == Role::Resolver
                && c.to.ip == t.resolver.ip
                && c.reached().is_some_and(|at| at >= first.sent)
        });
        let found = cost::of_parties(context, &[Kind::ResolverTcp], &[t.resolver]);
        let name = words::resolver(t.resolver);
        list.push(Draft {
            id: PAGE.id,
            // The wait itself, where there is one, is resolver-tcp-stuck's.
            severity: Severity::Info,
            subject: found.subject,
            parties: parties::resolvers([t.resolver]),
            title: format!(
                "{name} cut {} of {} short{}",
                count,
                words::counted(t.answered().count, "UDP answer", "UDP answers"),
                if over_tcp || connected {
                    ", so the client turned to TCP"
                } else {
                    ""
                }
            ),
            detail: if over_tcp {
                format!(
                    "The client asked again over TCP and was answered; that took {}.",
                    context.case.took(found.span.unwrap_or_default())
                )
            } else if connected {
                "A TCP connection to the resolver followed, but no question over it is to be seen.".into()
            } else {
                "No TCP connection to the resolver followed: the client took what it had, or gave up.".into()
            },
            cost: found.span,
            total: found.total,
            remedy: Some(
                "No fault by itself. 'options edns0' in resolv.conf lets larger answers through over UDP.".into(),
            ),
            evidence: tally::evidence(cut),
        });
    }
    list
}
