//! Names that were asked for by multicast or broadcast, in vain.

use super::{Context, Draft, FindingId, Page, Severity, parties, tally};
use crate::explain::words;
use crate::join::lookup::Outcome;
use crate::join::probe::{NameProtocol, Probe, Sought};
use crate::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What `presyn explain multicast-lookup` shows.
pub const PAGE: Page = Page {
    id: FindingId::MulticastLookup,
    rests_on_absence: true,
    in_summary: false,
    text: "A client asked all hosts of its link for a name (mDNS, LLMNR, NetBIOS), and no host answered.

Windows asks by LLMNR and NetBIOS for names that DNS does not know, Linux and macOS ask
by mDNS for names under .local (avahi, with 'mdns' in nsswitch.conf, for others too). Who
asks all hosts cannot know that none will answer, so it waits: about 0.8 s for LLMNR
and 2.3 s for NetBIOS on Windows, up to 5 s for mDNS with avahi.

presyn counts questions for addresses, not those for services, and only where the capture
holds what is sent to the client.

What to do: make the name known to DNS, or write it in full; where the protocols are not
used, turn them off (Windows: the policy 'Turn off multicast name resolution', NetBIOS
over TCP/IP in the adapter's WINS page; Linux: LLMNR=no and MulticastDNS=no for
systemd-resolved, mdns4_minimal in nsswitch.conf).",
};

/// Shorter waits are not worth a word.
const WORTH_SAYING: Span = Span::millis(300);

/// The questions of a client for a name.
#[derive(Default)]
struct NameQuestions<'a> {
    probes: Vec<&'a Probe>,
    protocols: BTreeSet<NameProtocol>,
}

impl NameQuestions<'_> {
    /// How long somebody was asked, overlaps counted once.
    fn time(&self) -> Span {
        let (mut time, mut until) = (Span::ZERO, None);
        for probe in &self.probes {
            let from = until.map_or(probe.began, |until| probe.began.max(until));
            time = time + (probe.until - from).max(Span::ZERO);
            until = Some(until.map_or(probe.until, |u| probe.until.max(u)));
        }
        time
    }
}

/// Finds names that nobody on the link answered for, one finding for each client.
pub fn find(context: &Context) -> Vec<Draft> {
    let mut clients: BTreeMap<IpAddr, BTreeMap<&str, NameQuestions>> = BTreeMap::new();
    for probe in &context.case.joined.probes {
        let Sought::Name(protocol, name) = &probe.what else {
            continue;
        };
        let names = clients.entry(probe.from).or_default();
        let asked = names.entry(&name.0).or_default();
        asked.probes.push(probe);
        asked.protocols.insert(*protocol);
    }
    let mut list = Vec::new();
    for (client, mut names) in clients {
        // A name that one protocol finds was found.
        names.retain(|_, asked| asked.probes.iter().all(|p| p.is_silent()));
        names.retain(|_, asked| asked.time() >= WORTH_SAYING);
        if !names.is_empty() {
            list.push(draft(context, client, &names));
        }
    }
    list
}

fn draft(context: &Context, client: IpAddr, names: &BTreeMap<&str, NameQuestions>) -> Draft {
    let slowest = names
        .values()
        .map(NameQuestions::time)
        .max()
        .unwrap_or_default();
    let protocols: BTreeSet<NameProtocol> =
        names.values().flat_map(|a| &a.protocols).copied().collect();
    let protocols: Vec<String> = protocols.iter().map(|p| p.name().to_owned()).collect();
    let spoken = words::list(&names.keys().map(|n| (*n).to_owned()).collect::<Vec<_>>());
    // After DNS had no answer, this is what the client still waited for.
    let dns_failed = context.case.joined.lookups.iter().any(|l| {
        let failed = matches!(l.outcome, Outcome::Negative | Outcome::Failed);
        l.client == Some(client)
            && failed
            && l.shown_name()
                .is_some_and(|n| names.contains_key(&*n.to_ascii_lowercase()))
    });
    let time = if names.len() == 1 {
        format!("for {}", words::took(slowest))
    } else {
        format!("for up to {} each", words::took(slowest))
    };
    Draft {
        id: PAGE.id,
        severity: if slowest >= Span::seconds(1) && dns_failed {
            Severity::Medium
        } else {
            Severity::Low
        },
        subject: None,
        parties: parties::of_names(names.keys().copied()),
        title: format!(
            "{client} asked the hosts of its link for {spoken} by {} {time}, and none answered",
            words::list(&protocols)
        ),
        detail: if dns_failed {
            "DNS had said before that there is no such name.".into()
        } else {
            "No answer of DNS for it is in the capture.".into()
        },
        cost: None,
        total: None,
        remedy: Some(
            "Make the name known to DNS or write it in full; where LLMNR, NetBIOS and mDNS are not used, turn them off."
                .into(),
        ),
        evidence: tally::packets_of(names.values().flat_map(|a| &a.probes).copied()),
    }
}
