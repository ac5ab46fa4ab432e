//! Nothing held the client up.

use super::{Context, Draft, FindingId, Page, Severity};
use crate::coverage::{Absence, Blind};
use crate::event::{EventKind, IcmpKind, Packet};
use crate::explain::ledger::after_syn;
use crate::explain::undelayed::{QUICK, undelayed};
use crate::join::connect::{Ending, Role};
use crate::join::lookup::Outcome;

/// What `presyn explain nothing-wrong` shows.
pub const PAGE: Page = Page {
    id: FindingId::NothingWrong,
    rests_on_absence: false,
    in_summary: false,
    text: "Names were resolved and connections made without a delay.

presyn found no fault, the client waited for name services less than half a second,
and every server answered the SYN within half a second. That is a finding, too: the
delay that was felt lies elsewhere, before this (the program was busy starting) or
after it (TLS, the application's protocol, the server's own work), or it did not
happen this time.

What to do: look at the line 'program busy or sleeping' of the delay breakdown for
time that the program itself took; capture again when it is slow, since the resolvers'
caches hide a second run; look at what follows the connect (TLS handshake, first
response).",
};

/// Says so when no other finding matters. Runs after all others.
pub fn find(context: &Context, others: &[Draft]) -> Vec<Draft> {
    let joined = context.case.joined;
    let servers: Vec<_> = joined
        .connections
        .iter()
        .filter(|x| x.role == Role::Server)
        .collect();
    let slow = context.accounts.iter().any(|a| a.waited() >= QUICK);
    let failed = servers
        .iter()
        .any(|x| x.outcome == Ending::Connected && after_syn(x).is_some_and(|t| t >= QUICK));
    let connected = servers.iter().any(|x| x.outcome == Ending::Connected);
    let resolved = context.accounts.iter().all(|a| match a.subject {
        crate::explain::ledger::Subject::Lookup(l) => {
            joined.lookups[l].outcome == Outcome::Answered
        }
        crate::explain::ledger::Subject::Connection(_) => true,
    });
    // An ICMP error about a query that no packet and no call shows: something was lost before the capture.
    let complained = context.case.evidence.events.iter().any(|e| {
        matches!(&e.what, EventKind::Packet(Packet::Icmp { kind, quote: Some(quote), .. })
            if *kind != IcmpKind::TooBig && context.case.evidence.is_dns_port(quote.flow.dst.port))
    });
    let anything = connected || servers.is_empty() && !context.accounts.is_empty();
    if others.iter().any(|d| d.severity >= Severity::Low)
        || slow
        || failed
        || !resolved
        || !anything
        || complained
    {
        return Vec::new();
    }
    let shown = context.accounts.iter().map(|a| undelayed(context.case, a));
    let shown: Result<Vec<Absence>, Blind> = shown.collect();
    match shown {
        Ok(all) if !all.is_empty() => vec![draft(context, &all)],
        _ => Vec::new(),
    }
}

/// The finding; its witnesses are that the inputs would have shown what delays a client, in every account.
fn draft(context: &Context, _: &[Absence]) -> Draft {
    let servers = context.case.joined.connections.iter();
    let servers: Vec<_> = servers.filter(|x| x.role == Role::Server).collect();
    let joined = context.case.joined;
    let waited = context
        .accounts
        .iter()
        .map(super::Account::waited)
        .max()
        .unwrap_or_default();
    let connect = servers.iter().filter_map(|x| after_syn(x)).max();
    Draft {
        id: PAGE.id,
        severity: Severity::Info,
        subject: context.accounts.first().map(|a| a.subject),
        parties: Vec::new(),
        title: "Nothing is wrong with the lookups and connects seen here".into(),
        detail: format!(
            "The longest wait for a name service was {}{}.",
            context.case.took(waited),
            connect.map_or_else(String::new, |t| format!(
                ", the slowest server answered its SYN in {}",
                context.case.took(t)
            ))
        ),
        cost: None,
        total: None,
        remedy: Some(
            "If it felt slow, look before the lookup (the program's own start) or after the connect (TLS, the \
             server's work), or capture again when it is slow: caches hide a second run."
                .into(),
        ),
        evidence: joined
            .connections
            .iter()
            .filter(|x| x.role == Role::Server)
            .filter_map(|x| x.syns.first().copied())
            .take(super::tally::MAX_EVIDENCE)
            .collect(),
    }
}
