//! A resolver that answers in time, but slowly.

use super::stub_upstream_silent::{explained, is_explained};
use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::explain::ledger::Kind;
use crate::explain::words;

/// What `presyn explain resolver-slow` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverSlow,
    rests_on_absence: false,
    in_summary: false,
    text: "A resolver answered in time, but took half a second or more.

The client got its answer before it gave up, so nothing looks broken; it only waited.
A cache answers in a millisecond, a full recursion takes some tens, so half a second
and more means that the resolver itself was waiting: for a forwarder that is dead, for
the domain's authoritative servers, for a lock or a CPU.

presyn measures from the query's packet to its answer's.

What to do: look at the resolver's forwarders and at the domain's authoritative
servers (dig +trace NAME); ask the same question again to see whether the cache hides
it; put a faster resolver first. A wait that repeats in whole seconds is a dead
forwarder with its timer.",
};

/// Finds slow resolvers, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let stubs = explained(case);
    let mut list = Vec::new();
    for t in &tally::resolvers(case) {
        let tally::SomeQueries {
            retained: slow,
            count,
        } = t.slow();
        let times = t.times_in_time();
        let stub = is_explained(&stubs, t.resolver);
        let Some(longest) = times.longest().filter(|_| !slow.is_empty() && !stub) else {
            continue;
        };
        let kinds = [Kind::ResolverAnswer, Kind::SearchDomains];
        let found = cost::of_parties(context, &kinds, &[t.resolver]);
        let name = words::resolver(t.resolver);
        list.push(Draft {
            id: PAGE.id,
            severity: cost::severity(found.span, false),
            subject: found.subject,
            parties: parties::resolvers([t.resolver]),
            title: format!("{name} took up to {} to answer", context.case.took(longest)),
            detail: format!(
                "{} of {} answers took {} or more (median {}): {}.{}",
                count,
                t.in_time().count,
                words::took(tally::SLOW),
                context.case.took(times.median().unwrap_or(longest)),
                tally::names(&slow),
                words::waited(found.span)
            ),
            cost: found.span,
            total: found.total,
            remedy: Some(format!(
                "Find out what {} waits for (its forwarders, the domain's authoritative servers: dig +trace), or put \
                 a faster resolver first in resolv.conf.",
                words::placed(case, t.resolver.ip)
            )),
            evidence: tally::evidence(slow),
        });
    }
    list
}
