//! A resolver that answers one address type and never the other.

use super::{Context, Draft, FindingId, Page, Statement, cost, tally};
use crate::event::dns::RecordType;
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::join::Query;

/// What `presyn explain aaaa-silent` shows.
pub const PAGE: Page = Page {
    id: FindingId::AaaaSilent,
    rests_on_absence: true,
    in_summary: false,
    text: "A resolver answers A but never AAAA (or the other way round).

Most clients ask for IPv4 (A) and IPv6 (AAAA) addresses together and wait for both
answers, even when they have one already. A resolver or a firewall that drops AAAA
queries therefore delays every lookup, though the resolver looks healthy in every test
with dig, which asks for A. The client does not turn to the next resolver: it has an
answer from this one, so glibc asks it again, up to 15 s in all.

presyn says this when a query of one type was answered by this resolver while every
query of the other type for the same name got neither an answer nor an error.

What to do: fix the resolver or the firewall; 'no such record' is the right answer to
AAAA where there is no IPv6, silence is not. Until then: in resolv.conf 'options
single-request-reopen' (asks one after the other from separate ports; helps where a
device confuses the two), 'options no-aaaa' (glibc 2.36 and later; asks for IPv4
only), curl -4, for Java -Djava.net.preferIPv4Stack=true.",
};

/// Finds resolvers that leave one type out.
pub fn find(context: &Context) -> Vec<Draft> {
    let mut list = Vec::new();
    for t in &tally::resolvers(context.case) {
        let left_out = t.one_type_silent().into_iter();
        list.extend(left_out.map(|(kind, left)| draft(context, t, kind, left)));
    }
    list
}

fn draft(context: &Context, t: &tally::Tally, kind: RecordType, left: Vec<&Query>) -> Draft {
    let case = context.case;
    let found = cost::of_parties(context, &[Kind::ResolverSilent], &[t.resolver]);
    let other = if kind == RecordType::AAAA {
        RecordType::A
    } else {
        RecordType::AAAA
    };
    let answered = t.answered().retained.into_iter();
    let spoken: Vec<&Query> = answered
        .filter(|q| q.question.kind == Some(other))
        .collect();
    let name = words::resolver(t.resolver);
    let of_type =
        |n: usize, kind| words::counted(n, &format!("{kind} query"), &format!("{kind} queries"));
    let said = Statement {
        title: if left.len() == 1 {
            format!("{name} answers {other} but did not answer {kind}")
        } else {
            format!(
                "{name} answers {other} but none of {} {kind} queries",
                left.len()
            )
        },
        detail: format!(
            "For {} it answered {} and left {} {}; clients wait for both.{}",
            tally::names(&left),
            of_type(spoken.len(), other),
            of_type(left.len(), kind),
            tally::how_left(case, &left),
            words::waited(found.span)
        ),
        remedy: remedy(&words::placed(case, t.resolver.ip), kind),
        evidence: tally::evidence(left.into_iter().chain(spoken)),
    };
    t.conclude(PAGE.id, found, said)
}

fn remedy(place: &str, left_out: RecordType) -> String {
    if left_out == RecordType::AAAA {
        format!(
            "Fix {place} or the firewall in front of it: AAAA needs an answer, an empty one where there is no IPv6. \
             Until then use 'options single-request-reopen' or 'options no-aaaa' (glibc 2.36 and later) in \
             resolv.conf, curl -4, or -Djava.net.preferIPv4Stack=true for Java."
        )
    } else {
        format!(
            "Fix {place} or the firewall in front of it: AAAA queries pass and A queries are dropped. Until then put \
             another resolver first in resolv.conf."
        )
    }
}
