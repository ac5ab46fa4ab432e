//! A host that nobody on the link answers for.

use super::{Context, Draft, FindingId, Page, Severity, cost, parties, tally};
use crate::explain::Case;
use crate::explain::ledger::{ChargedParty, Kind};
use crate::explain::words;
use crate::join::connect::Ending;
use crate::join::probe::{Probe, Sought};
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

/// What `presyn explain arp-unanswered` shows.
pub const PAGE: Page = Page {
    id: FindingId::ArpUnanswered,
    rests_on_absence: true,
    in_summary: true,
    text:
        "A client asked for the hardware address of a host on its own link (ARP, for IPv6 neighbour
discovery), and no host answered.

Before a packet leaves for a host on the same link, the kernel asks who has its address.
Linux asks three times, a second apart; until then the query or the SYN waits, and is
then thrown away with 'no route to host'. So nothing of it is in a capture but the
requests, and the client loses three seconds for each attempt.

presyn counts only requests of hosts that look up or connect in the same capture, and
only where the capture holds what is sent to them: requests go to all hosts of a link,
answers to the one that asked.

What to do: see whether the host is up and has that address ('arping ADDRESS' from a
neighbour), and whether client and host are in the same VLAN. Take addresses that are
gone out of resolv.conf, of DNS, or of the program's list of servers.",
};

/// A client that gives one host up turns to the next at once.
const THEN: Span = Span::millis(500);
/// A host that asks for more addresses than this is looking around, not waiting for each.
const MAX_SOUGHT: usize = 8;

/// Finds neighbours that did not answer, one finding for each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut sought: BTreeMap<(IpAddr, IpAddr), Vec<&Probe>> = BTreeMap::new();
    for probe in case.joined.probes.iter().filter(|p| p.is_silent()) {
        if let Sought::Neighbour(about) = probe.what {
            sought.entry((probe.from, about)).or_default().push(probe);
        }
    }
    let clients = clients(case);
    let reported = reported(case);
    let mut each: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for (from, _) in sought.keys() {
        *each.entry(*from).or_default() += 1;
    }
    let wanted = sought.iter().filter(|((from, about), probes)| {
        let again = probes.iter().any(|p| p.requests > 1);
        clients.contains(from) && !reported.contains(about) && again && each[from] <= MAX_SOUGHT
    });
    wanted
        .map(|((from, about), probes)| draft(context, *from, *about, probes))
        .collect()
}

/// Hosts that look something up or connect.
fn clients(case: &Case) -> BTreeSet<IpAddr> {
    let lookups = case.joined.lookups.iter().filter_map(|l| l.client);
    let connections = case.joined.connections.iter();
    lookups
        .chain(connections.filter_map(|x| Some(x.from?.ip)))
        .collect()
}

/// Hosts of which an error says already that they cannot be reached.
fn reported(case: &Case) -> BTreeSet<IpAddr> {
    let unreachable = case.joined.connections.iter();
    let unreachable =
        unreachable.filter(|x| matches!(x.outcome, Ending::Unreachable | Ending::NoSyn(_)));
    let refused = case.joined.queries.iter().filter(|q| q.refusal().is_some());
    unreachable
        .map(|x| x.to.ip)
        .chain(refused.map(|q| q.resolver.ip))
        .collect()
}

fn draft(context: &Context, from: IpAddr, about: IpAddr, probes: &[&Probe]) -> Draft {
    let case = context.case;
    let party = Some(ChargedParty::Host(about));
    let found = cost::of(context, |l| {
        l.kind == Kind::AddressResolution && l.party == party
    });
    let requests: usize = probes.iter().map(|p| p.requests).sum();
    let time: Span = probes.iter().map(|p| p.until - p.began).sum();
    let protocol = if about.is_ipv4() { "ARP" } else { "ND" };
    let given = given_by(case, from, about);
    let mut detail = match &given {
        Some(name) => format!("The client's lookup of {name} gave this address. "),
        None => String::new(),
    };
    let then = went_on(context, from, probes);
    if let Some((after, what)) = &then {
        let _ = write!(detail, "It {what} {} later. ", words::took(*after));
    }
    Draft {
        id: PAGE.id,
        severity: match found.span {
            Some(span) => cost::severity(Some(span), false),
            None if given.is_some() || then.is_some() => Severity::Medium,
            None => Severity::Info,
        },
        subject: found.subject,
        parties: vec![parties::of_host(about)],
        title: format!(
            "{about} did not answer {protocol}: {} of {from}, for {}",
            words::counted(requests, "request", "requests"),
            words::took(time)
        ),
        detail: format!(
            "{detail}No packet can be sent to a host of the same link before it answers; what waited for it is not in \
             the capture."
        ),
        cost: found.span,
        total: found.total,
        remedy: Some(format!(
            "See whether {about} is up and in the client's network ({}); if it is gone, take it out of resolv.conf, DNS, or \
             the program's list of servers.",
            if about.is_ipv4() {
                format!("from a neighbour: 'arping {about}'")
            } else {
                format!("from a neighbour: 'ndisc6 {about} INTERFACE'")
            }
        )),
        evidence: tally::packets_of(probes.iter().copied()),
    }
}

/// The name whose lookup gave a client this address.
fn given_by(case: &Case, from: IpAddr, about: IpAddr) -> Option<String> {
    let mut lookups = case.joined.lookups.iter();
    let gave = lookups.find(|l| l.client == Some(from) && l.addresses.contains(&about))?;
    Some(words::spoken_name(gave))
}

/// What the client did as soon as it had given up.
fn went_on(context: &Context, from: IpAddr, probes: &[&Probe]) -> Option<(Span, String)> {
    let joined = context.case.joined;
    let until = probes.iter().map(|p| p.until).max()?;
    let soon = |at: Timestamp| at >= until && at - until <= THEN;
    let asked = joined
        .queries
        .iter()
        .find(|q| q.client.is_some_and(|client| client.ip == from) && soon(q.sent));
    let asked = asked.map(|q| {
        (
            q.sent - until,
            format!("asked {}", words::resolver(q.resolver)),
        )
    });
    let connected = joined.connections.iter().find_map(|x| {
        let at = x
            .first_syn
            .filter(|at| x.from.is_some_and(|end| end.ip == from) && soon(*at))?;
        Some((at - until, format!("sent a SYN to {}", x.to)))
    });
    asked.into_iter().chain(connected).min()
}
