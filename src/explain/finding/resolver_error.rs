//! A resolver that answers with errors.

use super::{Context, Draft, FindingId, Page, Statement, cost, tally};
use crate::event::dns::Rcode;
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::join::QueryId;
use std::collections::{BTreeMap, BTreeSet};

/// What `presyn explain resolver-error` shows.
pub const PAGE: Page = Page {
    id: FindingId::ResolverError,
    rests_on_absence: false,
    in_summary: false,
    text: "A resolver answered with an error instead of an answer.

SERVFAIL: the server tried and failed (its forwarder or the domain's authoritative
servers do not answer, or DNSSEC validation failed). REFUSED: it does not serve this
client or this domain. FORMERR and NOTIMP: it does not understand the query, often its
EDNS part. The client then asks the next resolver; with only one, or when all return
errors, the lookup fails.

presyn reads the response code of each answer to the client's own queries.

What to do: ask by hand (dig @SERVER NAME) and read the server's log. SERVFAIL: look
at its forwarders, and at DNSSEC with dig +cd. REFUSED: allow this client
(allow-query, allow-recursion, access-control), or take the server out of
resolv.conf, if it only serves its own domains.",
};

/// Finds resolvers that err, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut list = Vec::new();
    for t in &tally::resolvers(case) {
        let tally::SomeQueries {
            retained: bad,
            count,
        } = t.errors();
        if bad.is_empty() {
            continue;
        }
        let mut codes: BTreeMap<u16, usize> = BTreeMap::new();
        for answer in bad.iter().filter_map(|q| q.answer()) {
            *codes.entry(answer.rcode.0).or_default() += 1;
        }
        let said: Vec<String> = codes.keys().map(|c| Rcode(*c).to_string()).collect();
        let own: BTreeSet<QueryId> = case
            .joined
            .queries
            .entries()
            .filter(|(_, q)| t.has_error(q))
            .map(|(q, _)| q)
            .collect();
        let found = cost::of_queries(context, Kind::ResolverAnswer, &own);
        let name = words::resolver(t.resolver);
        let said = Statement {
            title: format!(
                "{name} answered {} of {} with {}",
                count,
                words::queries(t.asked()),
                words::list(&said)
            ),
            detail: format!(
                "It was asked for {}; on such an answer a client asks the next resolver, if there is one.",
                tally::names(&bad)
            ),
            remedy: remedy(
                &codes,
                &words::placed(case, t.resolver.ip),
                &words::server_list(case, bad.iter().copied()),
            ),
            evidence: tally::evidence(bad),
        };
        list.push(t.conclude(PAGE.id, found, said));
    }
    list
}

fn remedy(codes: &BTreeMap<u16, usize>, place: &str, listed: &str) -> String {
    if codes.contains_key(&Rcode::SERVFAIL.0) {
        format!(
            "Check in the log of {place} why it fails: forwarders that do not answer, or DNSSEC (dig +cd answers then)."
        )
    } else if codes.contains_key(&Rcode::REFUSED.0) {
        format!(
            "Allow this client at {place} (allow-query, allow-recursion), or take it out of {listed}."
        )
    } else {
        format!(
            "Test {place} with dig +noedns: it does not understand the query; 'options no-edns0' in resolv.conf may \
             help."
        )
    }
}
