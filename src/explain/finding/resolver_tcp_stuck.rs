//! DNS over TCP that hangs.

use super::{Context, Draft, FindingId, Page, cost, parties, resolver_refused, tally};
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::flow::{self, Endpoint, Transport};
use crate::join::connect::{Connection, Ending, Role};
use crate::join::{EventId, State};
use crate::time::Span;

/// Less waiting than this is the price of a handshake.
const STUCK: Span = Span::millis(500);

/// How many resolvers are looked at; a client has a few.
const MAX_RESOLVERS: usize = 256;

/// What `presyn explain resolver-tcp-stuck` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverTcpStuck,
    rests_on_absence: true,
    in_summary: false,
    text: "DNS over TCP to a resolver failed or was slow.

After a truncated UDP answer (truncated-to-tcp) a client connects to port 53 over
TCP. Where a firewall drops that, no DNS timer applies: the client waits as long as
the kernel tries to connect, up to two minutes and more with Linux defaults. Tests
with dig look fine, because most answers fit into UDP.

presyn sees the SYNs to the resolver that were not answered, the refusal, or the query
over the connection that got no answer.

What to do: open TCP port 53 to the resolver, both in the firewall and in the resolver
itself; RFC 7766 requires it. Until then avoid the truncation: 'options edns0' in
resolv.conf, a smaller answer, or another resolver.",
};

/// Finds stuck DNS over TCP, one finding per resolver.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut ends: Vec<Endpoint> = Vec::new();
    let own = case
        .joined
        .connections
        .iter()
        .filter(|c| c.role == Role::Resolver && c.is_clients())
        .filter(|c| case.evidence.is_dns_port(c.to.port));
    for c in own.clone() {
        if ends.len() < MAX_RESOLVERS && !ends.contains(&c.to) {
            ends.push(c.to);
        }
    }
    let mut list = Vec::new();
    for end in ends {
        let attempts: Vec<&Connection> = own.clone().filter(|c| c.to == end).collect();
        let failed: Vec<&Connection> = attempts
            .iter()
            .copied()
            .filter(|c| is_stuck(context, c))
            .collect();
        let unanswered: Vec<_> = case
            .joined
            .queries
            .iter()
            .filter(|q| {
                q.transport == Transport::Tcp
                    && q.is_clients()
                    && q.resolver == end
                    && matches!(q.state, State::Unanswered(_))
            })
            .collect();
        let charged = cost::of_parties(context, &[Kind::ResolverTcp], &[end]);
        let tried: Span = failed.iter().map(|c| lasted(context, c)).sum();
        let span = charged.span.unwrap_or_default().max(tried);
        if failed.is_empty() && unanswered.is_empty() && span < STUCK {
            continue;
        }
        let name = flow::host(end.ip);
        let title = match failed.last() {
            Some(c) if matches!(c.outcome, Ending::Refused) => {
                format!("{name} refuses DNS over TCP")
            }
            Some(c) if c.outcome != Ending::Connected => format!(
                "{name} did not accept a connection to TCP port {}: {} in {}",
                end.port,
                words::counted(c.syns.len(), "SYN", "SYNs"),
                context.case.took(lasted(context, c))
            ),
            _ if !unanswered.is_empty() => format!(
                "{name} accepted the TCP connection but answered none of {} over it",
                words::queries(unanswered.len())
            ),
            _ => format!("DNS over TCP with {name} took {}", context.case.took(span)),
        };
        let why = failed
            .iter()
            .find_map(|c| c.ended_by.filter(|_| c.outcome != Ending::Connected))
            .map_or_else(String::new, |e| match c_reason(context, e) {
                Some(reason) => format!(" The error: {reason}."),
                None => String::new(),
            });
        let mut evidence: Vec<EventId> = failed
            .iter()
            .flat_map(|c| {
                c.syns
                    .iter()
                    .copied()
                    .chain(c.ended_by)
                    .chain(c.cause.and_then(|x| x.call))
            })
            .take(tally::MAX_EVIDENCE)
            .collect();
        evidence.extend(tally::evidence(unanswered.iter().copied()));
        let draft = Draft {
            id: PAGE.id,
            severity: cost::severity(
                Some(span),
                failed.iter().any(|c| c.outcome != Ending::Connected),
            ),
            subject: charged.subject,
            parties: parties::resolvers([end]),
            title,
            detail: format!(
                "No DNS timer bounds this wait: the client hangs for as long as the kernel tries.{why}"
            ),
            cost: Some(span),
            total: None,
            remedy: Some(format!(
                "Open TCP port {} to {} (RFC 7766 requires it), or avoid the truncation: 'options edns0' in \
                 resolv.conf, or another resolver.",
                end.port,
                words::placed(case, end.ip)
            )),
            evidence,
        };
        list.push(draft);
    }
    list
}

fn c_reason(context: &Context, event: EventId) -> Option<String> {
    use crate::event::{Errno, EventKind, Packet};
    let ended = match &context.case.evidence.event(event).what {
        EventKind::Packet(Packet::Icmp { .. }) => true,
        // Not where a signal stopped the client.
        EventKind::Call(call) => {
            call.outcome.has_failed() && call.outcome.errno() != Some(Errno::Restart)
        }
        _ => false,
    };
    ended.then(|| resolver_refused::reason(context.case, event))
}

/// An attempt that failed, or hangs. Sockets that were opened and never used send no SYN and fail with
/// nothing: they are none.
fn is_stuck(context: &Context, c: &Connection) -> bool {
    match c.outcome {
        Ending::Connected => c.syns.len() > 1 && lasted(context, c) >= STUCK,
        Ending::Refused | Ending::Unreachable => true,
        Ending::NoSyn => c.ended_by.is_some(),
        Ending::TimedOut | Ending::Open => {
            c.syns.len() > 1 || !c.syns.is_empty() && lasted(context, c) >= STUCK
        }
    }
}

/// How long an attempt took, or has taken when the inputs end.
fn lasted(context: &Context, c: &Connection) -> Span {
    let from = c.began();
    let over = c.ended.or(from.filter(|_| c.outcome != Ending::Open));
    let to = over.unwrap_or_else(|| context.case.evidence.end());
    from.map_or(Span::ZERO, |from| (to - from).max(Span::ZERO))
}
