//! A resolver that answers some queries and leaves others.

use super::stub_upstream_silent::{explained, is_explained};
use super::{Context, Draft, FindingId, Page, Statement, cost, tally};
use crate::event::dns::{Name, RecordType};
use crate::explain::Case;
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::flow::{self, Endpoint};
use crate::join::Query;
use std::collections::HashSet;

/// What `presyn explain resolver-lossy` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverLossy,
    rests_on_absence: true,
    in_summary: false,
    text: "A resolver answered some queries and did not answer others.

The server works, but now and then a query or its answer is lost. UDP is not
repeated by the network: the client waits until its own timer runs out, 5 s with
glibc's defaults, and asks again. A loss of one packet in a hundred is one lookup
in fifty that takes 5 s longer, since most lookups ask A and AAAA.

presyn says this when the same resolver answered other queries in time. It does not
when one record type alone is left out (aaaa-silent), when the answer came late
(answer-late), or when the server is a stub on this host whose own upstream was
silent (stub-upstream-silent).

What to do: capture on the server's side and see which half is lost, the query or
the answer. Usual causes: an overloaded server, rate limiting, a full connection
tracking table in a firewall between, packet loss on the link, two packets with
one source port racing through NAT (then 'options single-request-reopen' helps).
'options timeout:1' makes each loss cost 1 s instead of 5 s.",
};

/// Finds lossy resolvers, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let stubs = explained(context.case);
    let tallies = tally::resolvers(context.case);
    let answering = tallies.iter().filter(|t| {
        !is_explained(&stubs, t.resolver) && t.in_time().count > 0 && t.late().count == 0
    });
    answering.filter_map(|t| draft(context, t)).collect()
}

fn draft(context: &Context, t: &tally::Tally) -> Option<Draft> {
    let case = context.case;
    let silent = t.silent();
    let lost = lost(t, &silent.retained);
    if lost.is_empty() {
        return None;
    }
    let found = cost::of_parties(context, &[Kind::ResolverSilent], &[t.resolver]);
    let left = silent.count - (silent.retained.len() - lost.len());
    let said = Statement {
        title: format!(
            "{} did not answer {left} of {} queries",
            words::resolver(t.resolver),
            t.answered().count + silent.count
        ),
        detail: format!(
            "{}: {}, about {}.{}{}",
            answered_others(t),
            tally::count_and_types(&lost, left),
            tally::names(&lost),
            match &*cost::shared_with(context, t.resolver) {
                [] => words::waited(found.span),
                others => words::asked_at_once(others),
            },
            tally::assumed(case, lost.iter().copied())
        ),
        remedy: remedy(case, t.resolver),
        evidence: tally::evidence(lost),
    };
    Some(t.conclude(PAGE.id, found, said))
}

/// The queries that got lost: without those of a type that is always left out, which is aaaa-silent's, and without
/// those whose name had a truncated answer: the client turns to TCP then and need not read the other one.
fn lost<'a>(t: &tally::Tally, silent: &[&'a Query]) -> Vec<&'a Query> {
    let typed = t.one_type_silent();
    let typed: HashSet<(Name, Option<RecordType>)> = typed
        .iter()
        .flat_map(|(_, list)| list.iter().map(|q| asked(q)))
        .collect();
    let cut: HashSet<Name> = { t.queries.iter() }
        .filter(|q| q.answer().is_some_and(|a| a.truncated))
        .map(|q| q.question.name.folded())
        .collect();
    { silent.iter().copied() }
        .filter(|q| !typed.contains(&asked(q)) && !cut.contains(&q.question.name.folded()))
        .collect()
}

/// What became of the other queries.
fn answered_others(t: &tally::Tally) -> String {
    let (other, count) = match t.answered().count {
        1 => ("The other one was".to_owned(), " one".to_owned()),
        n => (format!("The other {n} were"), format!(" {n}")),
    };
    if flow::unreadable(t.resolver.ip).is_some() {
        format!("{other} answered in time, by it or by another host of the same name in the log")
    } else {
        format!(
            "It answered the other{count} in time, so it is up, but queries or answers get lost"
        )
    }
}

fn remedy(case: &Case, resolver: Endpoint) -> String {
    if resolver.ip.is_loopback() {
        return "It is a stub on this host: check the resolvers that it asks (resolvectl status; server= of dnsmasq)."
            .into();
    }
    format!(
        "Capture at {} to see whether the query or the answer is lost (load, rate limit, firewall, link). Until then \
         {} shortens what a loss costs.",
        words::placed(case, resolver.ip),
        words::shorter_wait(case, "options timeout:1")
    )
}

/// What a query asks, whatever the case of the name.
fn asked(q: &Query) -> (Name, Option<RecordType>) {
    (q.question.name.folded(), q.question.kind)
}
