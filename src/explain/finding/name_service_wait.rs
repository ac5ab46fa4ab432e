//! Waiting for avahi, nscd, systemd-resolved and their like.

use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::explain::ledger::{ChargedParty, Kind};
use crate::explain::words;
use crate::time::Span;
use std::collections::BTreeSet;

/// Shorter waits are the service's normal work.
const WORTH_SAYING: Span = Span::millis(100);

/// What `presyn explain name-service-wait` shows.
pub const PAGE: Page = Page {
    id: FindingId::NameServiceWait,
    rests_on_absence: false,
    in_summary: false,
    text: "The client waited for a name service on this host, over a unix socket.

Not every lookup is a packet: nsswitch.conf sends some to avahi (mdns), nscd, sssd or
systemd-resolved. avahi asks the local network by multicast and waits 5 s when no host
there knows the name; that happens for every address and name outside '.local' when
nsswitch.conf has 'mdns4' or 'mdns' rather than 'mdns4_minimal'.

presyn sees the connect to the service's socket and the next thing the client did.

What to do: avahi: in nsswitch.conf use 'hosts: files mdns4_minimal [NOTFOUND=return]
dns', or take mdns out of the line. nscd and systemd-resolved only pass the question
on: look at the resolvers that they ask (stub-upstream-silent), restart them if they
hang, or stop nscd and see whether the delay goes away.",
};

/// Finds waits for name services, one finding per service.
pub fn find(context: &Context) -> Vec<Draft> {
    let services: BTreeSet<&'static str> = context
        .accounts
        .iter()
        .flat_map(|a| &a.lines)
        .filter(|l| l.kind == Kind::NameService)
        .filter_map(|l| match l.party {
            Some(ChargedParty::Service(name)) => Some(name),
            _ => None,
        })
        .collect();
    let mut list = Vec::new();
    for service in services {
        let party = Some(ChargedParty::Service(service));
        let found = cost::of(context, |l| l.kind == Kind::NameService && l.party == party);
        let Some(span) = found.span.filter(|s| *s >= WORTH_SAYING) else {
            continue;
        };
        let line = context
            .accounts
            .iter()
            .filter(|a| Some(a.subject) == found.subject)
            .flat_map(|a| &a.lines)
            .find(|l| l.kind == Kind::NameService && l.party == party);
        let evicted = context.case.totals.services.get(service);
        let waits = context
            .case
            .joined
            .services
            .iter()
            .filter(|w| w.service == service)
            .count()
            + evicted.copied().unwrap_or_default();
        let inferred = line.is_some_and(|l| l.inferred);
        list.push(Draft {
            id: PAGE.id,
            severity: cost::severity(Some(span), false),
            subject: found.subject,
            parties: vec![parties::of_entry(ChargedParty::Service(service))],
            title: format!("The client waited {} for {service}", context.case.took(span)),
            detail: format!(
                "The client connected {} to {service}'s unix socket{}.",
                words::times(waits),
                if inferred {
                    "; the trace does not show the answer, so the wait is taken to last until its next call"
                } else {
                    " and waited there for the answer"
                }
            ),
            cost: Some(span),
            total: None,
            remedy: Some(remedy(service)),
            evidence: line.map_or_else(Vec::new, |l| {
                l.calls.iter().copied().take(tally::MAX_EVIDENCE).collect()
            }),
        });
    }
    list
}

fn remedy(service: &str) -> String {
    match service {
        "avahi" => "In nsswitch.conf write 'hosts: files mdns4_minimal [NOTFOUND=return] dns', or take mdns out of \
                    the hosts line: plain mdns asks the local network about every name and address."
            .into(),
        "nscd" => "Check the resolvers that nscd asks (it reads /etc/resolv.conf); restart it if it hangs (systemctl \
         restart nscd), or stop it and compare."
            .into(),
        "systemd-resolved" => {
            "Check the resolvers that it asks (resolvectl status; resolvectl statistics), and 'resolve' in \
             nsswitch.conf."
                .into()
        }
        other => format!("Check {other}'s log and its server, or take it out of the hosts line of nsswitch.conf."),
    }
}
