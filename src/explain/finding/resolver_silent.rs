//! A resolver that answered nothing.

use super::stub_upstream_silent::{explained, is_explained};
use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::explain::Case;
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::join::Query;
use crate::join::lookup::Lookup;
use crate::time::Span;

/// What `presyn explain resolver-silent` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverSilent,
    rests_on_absence: true,
    in_summary: false,
    text: "A resolver answered none of the client's queries.

The queries left the host (the capture shows their packets; without a capture the
calls show them), an answer was due, and nothing came back: no answer, no ICMP error.
A stub resolver waits for such a resolver before it asks the next one, and most wait
again for every lookup, because they have no memory of it: glibc 5 s for the first
server of resolv.conf, then 3 s and 6 s for the second and third, twice.

presyn says this only when not a single answer came from that resolver, not even a
late one, and counts only queries that were the client's own. Queries that the client
did not wait for, or at the end of the capture, count as open and are not held against
a resolver.

What to do: ask the resolver by hand (dig @SERVER NAME +tries=1). If it is dead or
wrong, take it out of resolv.conf or put it last. If it is up, look for a firewall
between that drops UDP port 53 or its answers, and capture on the server. Until
then 'options timeout:1 attempts:2' in resolv.conf shortens every wait.",
};

/// Finds silent resolvers; all of them are one finding.
pub fn find(context: &Context) -> Vec<Draft> {
    let stubs = explained(context.case);
    let tallies = tally::resolvers(context.case);
    let silent: Vec<&tally::Tally> = { tallies.iter() }
        .filter(|t| is_silent(t) && !is_explained(&stubs, t.resolver))
        .collect();
    if silent.is_empty() {
        return Vec::new();
    }
    let ends: Vec<_> = silent.iter().map(|t| t.resolver).collect();
    let queries: Vec<_> = silent.iter().flat_map(|t| t.silent().retained).collect();
    let implied = queries.iter().all(|q| q.implied);
    let found = cost::of_parties(context, &[Kind::ResolverSilent], &ends);
    let failed = silent.iter().any(|t| t.lookup_failed());
    vec![Draft {
        id: PAGE.id,
        severity: cost::severity(found.span, failed),
        subject: found.subject,
        parties: parties::resolvers(ends),
        title: title(context.case, &silent, &queries, implied),
        detail: detail(context, &silent, &queries, implied),
        cost: found.span,
        total: found.total,
        remedy: Some(remedy(context, &tallies, &silent)),
        evidence: tally::evidence(queries),
    }]
}

fn title(case: &Case, silent: &[&tally::Tally], queries: &[&Query], implied: bool) -> String {
    let names: Vec<String> = { silent.iter() }
        .map(|t| words::resolver(t.resolver))
        .collect();
    match silent.iter().map(|t| t.silent().count).sum() {
        _ if implied => format!(
            "The client waited for {}, as far as the connects show",
            words::list(&names)
        ),
        1 => format!(
            "{} did not answer the one query it got{}",
            names[0],
            elsewhere(case, queries)
        ),
        count => format!(
            "{} answered none of {}{}",
            words::list(&names),
            words::queries(count),
            elsewhere(case, queries)
        ),
    }
}

/// That responses came, and were none that a client accepts.
fn elsewhere(case: &Case, queries: &[&Query]) -> String {
    tally::answered_from(case, queries).map_or_else(String::new, |from| {
        format!(
            "; a response came from another address ({})",
            words::resolver(from)
        )
    })
}

fn detail(
    context: &Context,
    silent: &[&tally::Tally],
    queries: &[&Query],
    implied: bool,
) -> String {
    let case = context.case;
    let each: Vec<String> = { silent.iter() }
        .map(|t| share(context, t, implied))
        .collect();
    if implied {
        return format!(
            "{}. The trace shows neither sends nor answers: how often each was asked is not known, nor whether one \
             of two answers came.",
            each.join("; ")
        );
    }
    let mut shared = { silent.iter() }.map(|t| cost::shared_with(context, t.resolver));
    let shared = shared.find(|others| !others.is_empty());
    format!(
        "Asked about {}: {}. {}{}{}",
        tally::names(queries),
        each.join("; "),
        what_came(case, queries),
        shared.map_or_else(String::new, |others| words::asked_at_once(&others)),
        tally::assumed(case, queries.iter().copied())
    )
}

/// Whether a resolver answered nothing of what reached it.
fn is_silent(tally: &tally::Tally) -> bool {
    let silent = tally.silent();
    !silent.retained.is_empty()
        && silent.count > tally.undelivered().count
        && tally.answered().count == 0
        && tally.not_received().count == 0
        && tally.refused().count == 0
}

/// What one of the silent resolvers was asked and cost.
fn share(context: &Context, tally: &tally::Tally, implied: bool) -> String {
    let left = tally.silent();
    let waited = cost::of_parties(context, &[Kind::ResolverSilent], &[tally.resolver]);
    let time = waited
        .total
        .or(waited.span)
        .filter(|s| *s >= Span::millis(1));
    format!(
        "{} got {}{}",
        words::resolver(tally.resolver),
        if implied {
            words::counted(left.count, "connect", "connects")
        } else {
            tally::count_and_types(&left.retained, left.count)
        },
        match (time, &*cost::shared_with(context, tally.resolver)) {
            (Some(time), []) => format!(" and cost {}", context.case.took(time)),
            _ => String::new(),
        }
    )
}

/// What came instead of an answer.
fn what_came(case: &Case, queries: &[&Query]) -> String {
    match tally::answered_from(case, queries) {
        Some(from) => format!(
            "A response with the same id and question came from {from} instead: clients accept it only from the \
             address that they asked."
        ),
        None => "No answer and no error came back.".into(),
    }
}

fn remedy(context: &Context, tallies: &[tally::Tally], silent: &[&tally::Tally]) -> String {
    let case = context.case;
    if silent.iter().all(|t| t.resolver.ip.is_loopback()) {
        return "It is a stub on this host: check whether it runs, and which resolvers it asks (resolvectl status; \
            server= of dnsmasq). A capture on all interfaces shows what those answered."
            .into();
    }
    let placed: Vec<String> = silent
        .iter()
        .map(|t| words::placed(case, t.resolver.ip))
        .collect();
    let good: Vec<String> = tallies
        .iter()
        .filter(|t| t.in_time().count > 0 && t.silent().count == 0 && t.late().count == 0)
        .map(|t| words::resolver(t.resolver))
        .collect();
    let (them, are) = if silent.len() == 1 {
        ("it", "is")
    } else {
        ("them", "are")
    };
    let queries = silent.iter().flat_map(|t| t.queries.iter().copied());
    let listed = words::server_list(case, queries);
    let first = if good.is_empty() {
        let none = if tallies.len() == silent.len() {
            "No resolver answered. "
        } else {
            ""
        };
        format!(
            "{none}Check that {} {are} up and that UDP port 53 is open on the way, or list resolvers that answer.",
            words::list(&placed)
        )
    } else {
        format!(
            "Repair {}, or take {them} out of {listed}, or put {them} last; {} answered.",
            words::list(&placed),
            words::list(&good)
        )
    };
    let shorter = words::shorter_wait(case, "options timeout:1 attempts:2");
    format!(
        "{first} Until then {shorter} shortens every wait.{}",
        test(case, silent)
    )
}

/// The command that asks the first of them by hand what the client asked, on a line of its own; none where that is not known.
fn test(case: &Case, silent: &[&tally::Tally]) -> String {
    let joined = case.joined;
    let asked = silent.iter().find_map(|tally| {
        let its = |l: &&Lookup| {
            let mut queries = l.queries.iter().map(|q| &joined.queries[*q]);
            queries.any(|q| q.resolver == tally.resolver)
        };
        let readable = crate::flow::unreadable(tally.resolver.ip).is_none();
        let lookup = joined.lookups.iter().find(its).filter(|_| readable)?;
        (lookup.reverse.is_some() || lookup.name.known().is_some() && !lookup.cut)
            .then(|| words::dig(tally.resolver, lookup))
    });
    asked.map_or_else(String::new, |command| format!("\n{command}"))
}
