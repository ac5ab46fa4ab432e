//! DNS over TCP that hangs.

use super::{Context, Draft, FindingId, Page, cost, parties, resolver_refused, tally};
use crate::explain::Case;
use crate::explain::ledger::{Kind, Subject};
use crate::explain::words;
use crate::flow::{self, Endpoint, Transport};
use crate::join::connect::{Connection, Ending, Role};
use crate::join::{EventId, Query, State};
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
    let mut ends: Vec<Endpoint> = Vec::new();
    for c in attempts(context.case) {
        if ends.len() < MAX_RESOLVERS && !ends.contains(&c.to) {
            ends.push(c.to);
        }
    }
    let over_tcp = ends.iter().map(|end| OverTcp::to(context, *end));
    let stuck = over_tcp.filter(OverTcp::is_stuck);
    stuck.map(|resolver| resolver.draft(context)).collect()
}

/// The client's own TCP connections to resolvers.
fn attempts<'a>(case: &'a Case) -> impl Iterator<Item = &'a Connection> {
    let all = case.joined.connections.iter();
    all.filter(|c| c.role == Role::Resolver && c.is_clients())
        .filter(|c| case.evidence.is_dns_port(c.to.port))
}

/// What went wrong with DNS over TCP to one resolver.
struct OverTcp<'a> {
    resolver: Endpoint,
    /// Attempts to connect that failed, or hang.
    failed: Vec<&'a Connection>,
    /// Queries over connections that were established.
    unanswered: Vec<&'a Query>,
    /// The others.
    answered: Vec<&'a Query>,
    /// The longer of what an account charges for it and what the failed attempts took.
    span: Span,
    subject: Option<Subject>,
}

impl<'a> OverTcp<'a> {
    fn to(context: &Context<'a>, resolver: Endpoint) -> Self {
        let case = context.case;
        let failed: Vec<&Connection> = attempts(case)
            .filter(|c| c.to == resolver && is_stuck(context, c))
            .collect();
        let queries = case.joined.queries.iter();
        let asked = queries
            .filter(|q| q.transport == Transport::Tcp && q.is_clients() && q.resolver == resolver);
        let (unanswered, answered) = asked.partition(|q| matches!(q.state, State::Unanswered(_)));
        let charged = cost::of_parties(context, &[Kind::ResolverTcp], &[resolver]);
        let tried: Span = failed.iter().map(|c| lasted(context, c)).sum();
        Self {
            resolver,
            failed,
            unanswered,
            answered,
            span: charged.span.unwrap_or_default().max(tried),
            subject: charged.subject,
        }
    }

    fn is_stuck(&self) -> bool {
        !self.failed.is_empty() || !self.unanswered.is_empty() || self.span >= STUCK
    }

    fn draft(&self, context: &Context) -> Draft {
        let mut not_connected = { self.failed.iter() }.filter(|c| c.outcome != Ending::Connected);
        let reason = not_connected.clone().find_map(|c| c.ended_by);
        let why = reason
            .and_then(|e| c_reason(context, e))
            .map_or_else(String::new, |reason| format!(" The error: {reason}."));
        Draft {
            id: PAGE.id,
            severity: cost::severity(Some(self.span), not_connected.next().is_some()),
            subject: self.subject,
            parties: parties::resolvers([self.resolver]),
            title: self.title(context),
            detail: format!(
                "No DNS timer bounds this wait: the client hangs for as long as the kernel tries.{why}"
            ),
            cost: Some(self.span),
            total: None,
            remedy: Some(self.remedy(context)),
            evidence: self.evidence(),
        }
    }

    fn remedy(&self, context: &Context) -> String {
        let resolver = words::placed(context.case, self.resolver.ip);
        // The port is open: what came over it came late, or not at all.
        if self.failed.is_empty() {
            return format!(
                "Find out what {resolver} waits for (its forwarders, the domain's authoritative servers: dig +tcp \
                 +trace), or use another resolver."
            );
        }
        let open = format!(
            "Open TCP port {} to {resolver} (RFC 7766 requires it), or",
            self.resolver.port
        );
        let mut queries = context.case.joined.queries.iter();
        if queries.any(|q| q.answer().is_some_and(|a| a.truncated)) {
            format!(
                "{open} avoid the truncation: 'options edns0' in resolv.conf, or another resolver."
            )
        } else {
            format!("{open} use another resolver.")
        }
    }

    fn title(&self, context: &Context) -> String {
        let (name, port) = (flow::host(self.resolver.ip), self.resolver.port);
        match self.failed.last() {
            Some(c) if c.outcome == Ending::Refused => format!("{name} refuses DNS over TCP"),
            Some(c) if c.outcome != Ending::Connected => {
                let time = context.case.took(lasted(context, c));
                match c.syns.len() {
                    0 if c.outcome.lacks_syn() => format!(
                        "No SYN to TCP port {port} of {name} left this host: the connect failed after {time}"
                    ),
                    0 => format!(
                        "No connection to TCP port {port} of {name} was established within {time}"
                    ),
                    n => format!(
                        "{name} did not accept a connection to TCP port {port}: {} in {time}",
                        words::counted(n, "SYN", "SYNs")
                    ),
                }
            }
            _ if self.unanswered.len() == 1 => {
                format!("{name} accepted the TCP connection but did not answer the query over it")
            }
            _ if !self.unanswered.is_empty() => format!(
                "{name} accepted the TCP connection but answered none of {} over it",
                words::queries(self.unanswered.len())
            ),
            _ => format!(
                "DNS over TCP with {name} took {}",
                context.case.took(self.span)
            ),
        }
    }

    fn evidence(&self) -> Vec<EventId> {
        let of_attempt = |c: &&'a Connection| {
            let syns = c.syns.iter().copied();
            syns.chain(c.ended_by).chain(c.cause.and_then(|x| x.call))
        };
        let attempts = self.failed.iter().flat_map(of_attempt);
        let late = self.failed.is_empty() && self.unanswered.is_empty();
        let queries = if late {
            &self.answered
        } else {
            &self.unanswered
        };
        let queries = tally::evidence(queries.iter().copied());
        { attempts.take(tally::MAX_EVIDENCE) }
            .chain(queries)
            .collect()
    }
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
        Ending::NoSyn(_) => c.ended_by.is_some(),
        Ending::TimedOut(_) | Ending::Open(_) => {
            c.syns.len() > 1 || !c.syns.is_empty() && lasted(context, c) >= STUCK
        }
    }
}

/// How long an attempt took, or has taken when the inputs end.
fn lasted(context: &Context, c: &Connection) -> Span {
    let from = c.began();
    let over = c.ended.or(from.filter(|_| !c.outcome.is_open()));
    let to = over.unwrap_or_else(|| context.case.evidence.end());
    from.map_or(Span::ZERO, |from| (to - from).max(Span::ZERO))
}
