//! A resolver that no packet reaches.

use super::{Context, Draft, FindingId, Page, cost, parties, resolver_refused, tally};
use crate::event::Errno;
use crate::explain::ledger::Kind;
use crate::explain::{Case, words};
use crate::flow;
use crate::join::Query;
use std::net::IpAddr;

/// What `presyn explain resolver-unreachable` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverUnreachable,
    rests_on_absence: true,
    in_summary: false,
    text: "Queries to a resolver could not be delivered.

Either no packet left this host although the client's calls sent queries, or the
network answered that the host cannot be reached. The usual reason is that the
resolver is on the same link and does not answer ARP (or IPv6 neighbour discovery):
the kernel holds the query back, asks for the neighbour three times, and gives up
after 3 s with ICMP host unreachable, which it sends to itself over lo. To the client
it looks like a slow or silent resolver.

presyn knows it from send calls without packets in a capture that would have shown
them, and from the ICMP errors and neighbour searches in it.

What to do: check that the address is right and the machine is up ('ip neigh show'
says FAILED or INCOMPLETE for it), and that there is a route ('ip route get
ADDRESS'). Take it out of resolv.conf if it is gone.",
};

/// Finds unreachable resolvers, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut list = Vec::new();
    for t in &tally::resolvers(case) {
        let tally::SomeQueries {
            retained: lost,
            count,
        } = t.undelivered();
        if lost.is_empty() {
            continue;
        }
        let kept: Vec<_> = lost.iter().copied().filter(|q| !q.on_wire()).collect();
        let found = cost::of_parties(context, &[Kind::ResolverUnreachable], &[t.resolver]);
        let name = words::resolver(t.resolver);
        let why = resolver_refused::reasons(case, &lost);
        let why = if lost.iter().all(|q| q.refusal().is_none()) {
            "No packet shows why.".to_owned()
        } else {
            format!("Evidence: {why}.")
        };
        let title = if kept.len() == lost.len() {
            format!(
                "No packet left for {name}: {} stayed on this host",
                words::queries(count)
            )
        } else {
            format!(
                "{name} could not be reached: {} failed",
                words::queries(count)
            )
        };
        let draft = Draft {
            id: PAGE.id,
            severity: cost::severity(found.span, t.answered().count == 0 && t.lookup_failed()),
            subject: found.subject,
            parties: parties::resolvers([t.resolver]),
            title,
            detail: format!(
                "The client sent {}, about {}. {why}{}",
                tally::count_and_types(&lost, count),
                tally::names(&lost),
                words::waited(found.span)
            ),
            cost: found.span,
            total: found.total,
            remedy: Some(remedy(case, t.resolver.ip, &lost)),
            evidence: tally::evidence(lost),
        };
        list.push(draft);
    }
    list
}

/// What to look at: the firewall where the kernel did not let a send through (send(2): `EPERM`), the routes where there is
/// none (`ENETUNREACH`), otherwise the resolver and its network.
fn remedy(case: &Case, resolver: IpAddr, lost: &[&Query]) -> String {
    let calls = lost
        .iter()
        .filter_map(|q| case.evidence.call(q.refusal()?.event));
    let errors: Vec<Option<Errno>> = calls
        .filter(|call| call.outcome.has_failed())
        .map(|call| call.outcome.errno())
        .collect();
    let all = |error| errors.len() == lost.len() && errors.iter().all(|e| *e == Some(error));
    let listed = words::server_list(case, lost.iter().copied());
    let (placed, host) = (words::placed(case, resolver), flow::host(resolver));
    if all(Errno::NotPermitted) {
        format!(
            "Find what rejects packets to {placed} on this host: nft list ruleset, iptables -S OUTPUT, and the \
             policies of its cgroup (systemd's IPAddressDeny=)."
        )
    } else if all(Errno::NetworkUnreachable) {
        format!(
            "Give this host a route to {placed} (ip addr; ip route get {host}), or take that address out of {listed}."
        )
    } else {
        format!(
            "Check whether {placed} is up and on the right network (ip neigh; ip route get {host}), or take it out of \
             {listed}."
        )
    }
}
