//! A name that does not exist.

use super::{Context, Draft, FindingId, Page, Severity, parties, tally};
use crate::event::dns::{Rcode, RecordType};
use crate::explain::Case;
use crate::explain::ledger::Subject;
use crate::explain::words;
use crate::explain::words::spoken_name;
use crate::join::lookup::{Lookup, Outcome};
use crate::join::{Answer, LookupId, Query};
use std::collections::{HashMap, HashSet};

/// What `presyn explain name-not-found` shows.
pub const PAGE: Page = Page {
    id: FindingId::NameNotFound,
    rests_on_absence: false,
    in_summary: false,
    text: "The resolvers answered that the name does not exist, or has no address.

NXDOMAIN means that there is no such name; NOERROR without records means that the name
exists, but not with this type (no A or AAAA). Neither is a failure of DNS: the
resolvers did their work, and asking others will not help unless they see another
version of the domain (split DNS).

presyn says this when every answer of a lookup said so and no connect used the name.

What to do: check the spelling and the search list; ask the domain's authoritative
servers (dig +trace NAME); after adding a record wait for the negative answer's
lifetime (the SOA's last number) to pass in the caches. In a VPN or a container see
whether the right resolvers are asked at all.",
};

/// Finds names that do not exist, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let joined = context.case.joined;
    let used: HashSet<LookupId> = joined.connections.iter().filter_map(|c| c.lookup).collect();
    let answered = || {
        let lookups = joined.lookups.entries();
        lookups.filter(|(_, l)| l.outcome == Outcome::Answered)
    };
    let known: HashSet<_> = answered()
        .map(|(_, l)| (l.asker(), l.name.folded()))
        .collect();
    let last_answered: HashMap<_, LookupId> = answered().map(|(n, l)| (l.asker(), n)).collect();
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    for (l, lookup) in joined.lookups.entries() {
        let queries: Vec<&Query> = lookup.queries(joined).collect();
        let key = (lookup.asker(), lookup.name.folded());
        if !lookup.is_clients(joined)
            || lookup.outcome != Outcome::Negative
            || used.contains(&l)
            || known.contains(&key)
            || is_optional(&queries)
            || !seen.insert(key)
        {
            continue;
        }
        // A name without which the client got on.
        let last = last_answered.get(&lookup.asker());
        let got_on = last.is_some_and(|last| *last > l);
        list.push(Draft {
            severity: severity(context, l, got_on),
            ..draft(context.case, l, &queries)
        });
    }
    list
}

/// A missing PTR record is common and harmless, and so is a name without which the client got on, or that its hosts file
/// has.
fn severity(context: &Context, l: LookupId, got_on: bool) -> Severity {
    let lookup = &context.case.joined.lookups[l];
    let mut accounts = context.accounts.iter();
    let followed = !accounts.any(|a| a.subject == Subject::Lookup(l));
    let listed = context.case.in_hosts(lookup);
    if followed || got_on || listed || lookup.reverse.is_some() {
        Severity::Info
    } else if context.case.evidence.has_trace() {
        Severity::Medium
    } else {
        // Browsers and scanners ask for names that do not exist all day.
        Severity::Low
    }
}

fn draft(case: &Case, l: LookupId, queries: &[&Query]) -> Draft {
    let lookup = &case.joined.lookups[l];
    let mut answers = queries.iter().filter_map(|q| q.answer());
    let denied = answers.any(|a| a.rcode == Rcode::NXDOMAIN);
    let name = spoken_name(lookup);
    let servers = words::list(&who(queries, |answer| answer.negative() && !answer.late));
    Draft {
        id: PAGE.id,
        severity: Severity::Info,
        subject: Some(Subject::Lookup(l)),
        parties: parties::names([lookup]),
        title: if denied {
            format!("There is no such name: {name} (answer of {servers})")
        } else {
            format!("{name} has no record of the type asked for (answer of {servers})")
        },
        detail: format!(
            "{} about it; the negative response came after {}.{}",
            words::queries(queries.len()),
            case.took(lookup.ended - lookup.began),
            if case.in_hosts(lookup) {
                " The client's hosts file has the name."
            } else {
                ""
            }
        ),
        cost: None,
        total: None,
        remedy: Some(remedy(lookup, queries, denied)),
        evidence: tally::evidence(queries.iter().copied()),
    }
}

fn remedy(lookup: &Lookup, queries: &[&Query], denied: bool) -> String {
    if let Some(address) = lookup.reverse {
        return format!(
            "Where a name for {address} is wanted, add a PTR record to its reverse zone; nothing else needs one."
        );
    }
    let knows = |answer: &Answer| answer.rcode == Rcode::NOERROR && answer.records > 0;
    match queries.iter().find(|q| q.answer().is_some_and(knows)) {
        None if denied => {
            "Check the spelling and the search list, and that these resolvers serve the domain."
                .into()
        }
        None => "The name exists: ask the administrator of its domain to add the record.".into(),
        Some(query) => format!(
            "{} has the name, but its answer came too late: resolvers of one resolv.conf must agree (split DNS?). \
             Compare the answers of both:\n{}",
            words::list(&who(queries, knows)),
            words::dig(query.resolver, lookup)
        ),
    }
}

/// Whether a client asks so in passing and gets on without an answer: for service records (`_http._tcp…`, RFC 2782), whether
/// an address is on a blocklist (RFC 5782: there is no such name where it is not), or for types that most names lack (AAAA, HTTPS, DS, SOA, …) where the name itself was not denied.
fn is_optional(queries: &[&Query]) -> bool {
    let service = queries.iter().all(|q| q.question.name.0.starts_with('_'));
    let denied = |q: &&Query| q.answer().is_some_and(|a| a.rcode == Rcode::NXDOMAIN);
    let needed = |q: &&Query| {
        matches!(
            q.question.kind,
            None | Some(RecordType::A | RecordType::PTR)
        )
    };
    let asks = queries.iter().any(|q| q.opcode == 0);
    let listed = queries.iter().all(|q| is_of_blocklist(&q.question.name.0));
    service || listed || !asks || !queries.iter().any(|q| denied(q) || needed(q))
}

/// Whether a name is an IPv4 address, its bytes reversed, below a domain that is not the one of PTR records.
fn is_of_blocklist(name: &str) -> bool {
    let mut labels = name.split('.');
    let is_byte = |label: &str| label.len() <= 3 && label.parse::<u8>().is_ok();
    let address = labels.by_ref().take(4).filter(|l| is_byte(l)).count() == 4;
    let domain: Vec<String> = labels.map(str::to_ascii_lowercase).collect();
    address && domain.len() > 1 && domain.last().is_some_and(|l| l != "arpa")
}

/// The resolvers that gave such an answer, each once.
fn who(queries: &[&Query], such: impl Fn(&Answer) -> bool) -> Vec<String> {
    let mut seen = HashSet::new();
    queries
        .iter()
        .filter(|q| q.answer().is_some_and(&such) && seen.insert(q.resolver))
        .map(|q| words::resolver(q.resolver))
        .collect()
}
