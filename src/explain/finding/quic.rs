//! Servers that a client reaches, or tries to reach, without a SYN.

use super::{Context, Draft, FindingId, Page, Severity, cost, parties, tally};
use crate::explain::ledger::{ChargedParty, Kind};
use crate::explain::words;
use crate::flow::Endpoint;
use crate::join::probe::{Probe, ProbeEnd, Sought};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What `presyn explain quic` shows.
pub const PAGE: Page = Page {
    id: FindingId::Quic,
    rests_on_absence: false,
    in_summary: false,
    text: "A client speaks QUIC (HTTP/3): its connections begin with UDP packets, not with a SYN.

Browsers, curl --http3 and many apps use QUIC with servers that offer it, and remember
that they do. Then no SYN follows the lookup, and nothing is missing: presyn sees the
lookups, and that the server answered. Where UDP port 443 is blocked, the client waits
for QUIC first, some tenths of a second to seconds, and only then sends its SYN.

presyn knows QUIC by its Initial packets (RFC 9000), to or from port 443.

What to do: where the server does not answer, open UDP port 443 on the way, or let the
firewall reject it, so that clients know at once; for the test turn QUIC off in the client
(browsers: the 'Experimental QUIC protocol' flag, curl --http1.1).",
};

/// Finds QUIC, one finding for each client whose servers answered, and one for each server that did not.
pub fn find(context: &Context) -> Vec<Draft> {
    let mut answered: BTreeMap<IpAddr, Vec<(Endpoint, &Probe)>> = BTreeMap::new();
    let mut silent: BTreeMap<(IpAddr, Endpoint), Vec<&Probe>> = BTreeMap::new();
    for probe in &context.case.joined.probes {
        let Sought::Quic(server) = probe.what else {
            continue;
        };
        match probe.end {
            ProbeEnd::Answered { .. } => {
                answered
                    .entry(probe.from)
                    .or_default()
                    .push((server, probe));
            }
            ProbeEnd::Silent(_) => silent.entry((probe.from, server)).or_default().push(probe),
            ProbeEnd::Open(_) => {}
        }
    }
    let silent = silent
        .iter()
        .filter(|(_, probes)| probes.iter().any(|p| p.requests > 1))
        .map(|((client, server), probes)| in_vain(context, *client, *server, probes));
    let spoken = answered.iter().map(|(client, list)| spoken(*client, list));
    silent.chain(spoken).collect()
}

fn spoken(client: IpAddr, list: &[(Endpoint, &Probe)]) -> Draft {
    let servers = parties::servers(list.iter().map(|(server, _)| *server));
    let mut names: Vec<String> = list.iter().map(|(server, _)| server.to_string()).collect();
    names.dedup();
    names.sort();
    names.dedup();
    let named = if names.len() > 3 {
        format!("{} servers", names.len())
    } else {
        words::list(&names)
    };
    Draft {
        id: PAGE.id,
        severity: Severity::Info,
        subject: None,
        parties: servers,
        title: format!("{client} spoke QUIC with {named}: such a connection has no SYN"),
        detail: "Its Initial packets were answered.".into(),
        cost: None,
        total: None,
        remedy: None,
        evidence: tally::packets_of(list.iter().map(|(_, probe)| *probe)),
    }
}

fn in_vain(context: &Context, client: IpAddr, server: Endpoint, probes: &[&Probe]) -> Draft {
    let party = Some(ChargedParty::Endpoint(server));
    let found = cost::of(context, |l| l.kind == Kind::Quic && l.party == party);
    let packets: usize = probes.iter().map(|p| p.requests).sum();
    let connections = &context.case.joined.connections;
    let tcp = connections
        .iter()
        .any(|x| x.from.is_some_and(|from| from.ip == client) && x.to.ip == server.ip);
    Draft {
        id: PAGE.id,
        severity: match found.span {
            Some(span) => cost::severity(Some(span), false),
            None => Severity::Low,
        },
        subject: found.subject,
        parties: parties::servers([server]),
        title: format!(
            "{server} answered none of {} of {client} by QUIC{}",
            words::counted(packets, "Initial packet", "Initial packets"),
            if tcp {
                "; the client used TCP as well"
            } else {
                ""
            }
        ),
        detail: format!(
            "UDP port {} may be blocked on the way.{}",
            server.port,
            words::waited(found.span)
        ),
        cost: found.span,
        total: found.total,
        remedy: Some(format!(
            "Open UDP port {} to {}, or let the firewall reject it, so that clients turn to TCP at once.",
            server.port, server.ip
        )),
        evidence: tally::packets_of(probes.iter().copied()),
    }
}
