//! A resolver that refuses queries below DNS.

use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::event::{EventKind, Packet};
use crate::explain::Case;
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::join::{EventId, Query};
use std::net::IpAddr;

/// What `presyn explain resolver-refused` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverRefused,
    rests_on_absence: false,
    in_summary: false,
    text: "The resolver's host refused the queries: no program listens there.

An ICMP error (port unreachable, or administratively prohibited) came back, or the
client's call returned ECONNREFUSED. The client learns of it at once and asks the
next server, so this costs little; but every lookup pays it, and when all servers
refuse, nothing resolves.

presyn knows it from the ICMP packets, which quote the query, or from the error of
the call that sent or received.

What to do: start the DNS server on that host, make it listen on that address
(ss -lun 'sport = :53'), open the firewall that prohibits it, or take the address
out of resolv.conf.",
};

/// Finds refusing resolvers, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let tallies = tally::resolvers(case);
    let mut list = Vec::new();
    for t in &tallies {
        let tally::SomeQueries {
            retained: refused,
            count,
        } = t.refused();
        if refused.is_empty() {
            continue;
        }
        let found = cost::of_parties(context, &[Kind::ResolverRefused], &[t.resolver]);
        let name = words::resolver(t.resolver);
        let failed = t.answered().count == 0 && t.lookup_failed();
        list.push(Draft {
            id: PAGE.id,
            severity: cost::severity(found.span, failed),
            subject: found.subject,
            parties: parties::resolvers([t.resolver]),
            title: format!(
                "{name} refused {}: {}",
                words::queries(count),
                if reasons(case, &refused).contains("prohibited") {
                    "a firewall prohibits it"
                } else {
                    "no program serves DNS there"
                }
            ),
            detail: format!(
                "Shown by {}; such an error comes at once, and a client need not wait longer.",
                reasons(case, &refused)
            ),
            cost: found.span,
            total: found.total,
            remedy: Some(remedy(case, t.resolver.ip, &refused)),
            evidence: tally::evidence(refused),
        });
    }
    list
}

fn remedy(case: &Case, resolver: IpAddr, refused: &[&Query]) -> String {
    match case.config {
        // Stub resolvers then ask this host (resolv.conf(5); Go's net/dnsconfig_unix.go).
        Some((path, conf)) if conf.nameservers.is_empty() && resolver.is_loopback() => format!(
            "{path} has no nameserver line, so the client asks {resolver}, where no program serves DNS: add \
             'nameserver \
             ADDRESS' to it."
        ),
        _ => format!(
            "Start the DNS server at {}, open its firewall, or take it out of {}.",
            words::placed(case, resolver),
            words::server_list(case, refused.iter().copied())
        ),
    }
}

/// What said that queries cannot be answered, each thing once.
pub fn reasons(case: &Case, queries: &[&Query]) -> String {
    let mut list: Vec<String> = Vec::new();
    for refusal in queries.iter().filter_map(|q| q.refusal()) {
        let reason = reason(case, refusal.event);
        if !list.contains(&reason) {
            list.push(reason);
        }
    }
    words::list(&list)
}

/// What an event says about why nothing came back.
pub fn reason(case: &Case, event: EventId) -> String {
    match &case.evidence.event(event).what {
        EventKind::Packet(Packet::Icmp { from, kind, .. }) => {
            format!("ICMP {} from {from}", kind_name(*kind))
        }
        EventKind::Packet(Packet::Neighbour { about, .. }) => {
            format!("an unanswered neighbour search (ARP) for {about}")
        }
        EventKind::Call(call) => match &call.outcome {
            crate::event::CallOutcome::Failed(error) => format!("the error {error} of the call"),
            _ => "the call".into(),
        },
        _ => "the network".into(),
    }
}

fn kind_name(kind: crate::event::IcmpKind) -> &'static str {
    use crate::event::IcmpKind as K;
    match kind {
        K::PortUnreachable => "port unreachable",
        K::HostUnreachable => "host unreachable",
        K::NetUnreachable => "network unreachable",
        K::Prohibited => "administratively prohibited",
        K::TooBig => "packet too big",
        K::TimeExceeded => "time exceeded",
        K::Other(_) => "unreachable",
    }
}
