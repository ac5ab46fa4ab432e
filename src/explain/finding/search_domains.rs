//! Names of the search list that do not exist.

use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::event::dns::Rcode;
use crate::explain::Case;
use crate::explain::ledger::Kind;
use crate::explain::words;
use crate::join::lookup::Lookup;
use crate::join::{Origin, Query};

/// What `presyn explain search-domains` shows.
pub const PAGE: Page = Page {
    id: FindingId::SearchDomains,
    rests_on_absence: false,
    in_summary: false,
    text: "The client asked for names of the search list that do not exist, before the right one.

A name with fewer dots than 'ndots' is first tried with each domain of resolv.conf's
'search' line appended; only when none of them exists is it tried as it stands. Every
wrong name costs a query (two, with A and AAAA) and its answer, again in every lookup,
since stub resolvers have no cache. Kubernetes sets ndots:5, so nearly every outside
name costs three or more queries for names that do not exist.

presyn compares the names that do not exist with the search list.

What to do: write the name with a final dot ('web.example.org.'), so that it is taken
as it stands; lower ndots ('options ndots:1'); shorten the search list, or put the
domain that is right most often first.",
};

/// Finds vain searches; all of them are one finding.
pub fn find(context: &Context) -> Vec<Draft> {
    let joined = context.case.joined;
    let is_clients = |l: &Lookup| {
        let first = l.queries.first().map(|q| joined.queries[*q].origin);
        first.is_some_and(|origin| origin != Origin::Untraced)
    };
    let searched = joined.lookups.iter().filter(|l| !l.searched.is_empty());
    let searched: Vec<&Lookup> = searched.filter(|l| is_clients(l)).collect();
    draft(context, &searched).into_iter().collect()
}

fn draft(context: &Context, searched: &[&Lookup]) -> Option<Draft> {
    let case = context.case;
    let first = searched.first()?;
    let asked: usize = searched.iter().map(|l| l.queries.len()).sum();
    let vain: Vec<&Query> = searched
        .iter()
        .flat_map(|l| {
            l.queries(case.joined)
                .filter(|q| l.searched.contains(&q.question.name.folded()))
        })
        .collect();
    if vain.is_empty() {
        return None;
    }
    let found = cost::of(context, |l| l.kind == Kind::SearchDomains);
    let tried: Vec<String> = first.searched.iter().map(ToString::to_string).collect();
    let likewise = match searched.len() - 1 {
        0 => String::new(),
        n => format!(
            ", and {} likewise",
            words::counted(n, "other lookup", "other lookups")
        ),
    };
    Some(Draft {
        id: PAGE.id,
        severity: cost::severity_of_habit(found.span),
        subject: found.subject,
        parties: parties::names(searched.iter().copied()),
        title: format!(
            "{} of {} asked for names of the search list that do not exist",
            vain.len(),
            words::queries(asked)
        ),
        detail: format!(
            "{} was tried as {}{}{likewise}.{}",
            first.name,
            words::list(&tried),
            settings(case),
            words::waited_for("these negative responses", found.span)
        ),
        cost: found.span,
        total: found.total,
        remedy: Some(format!(
            "Write {} with its final dot, lower ndots, or put the domain that is right first in the search line of \
             resolv.conf.",
            right(case, first).unwrap_or_else(|| "the full name".into())
        )),
        evidence: tally::evidence(vain),
    })
}

/// What makes a client search, where its configuration is known.
fn settings(case: &Case) -> String {
    match case.config {
        Some((_, conf)) if !conf.search.is_empty() => {
            let search = words::list(&conf.search);
            format!(" (search {search}, ndots:{})", conf.ndots())
        }
        _ => String::new(),
    }
}

/// The name that was right in the end, with the final dot.
fn right(case: &Case, lookup: &Lookup) -> Option<String> {
    lookup
        .queries(case.joined)
        .find(|q| {
            q.answer()
                .is_some_and(|a| a.rcode == Rcode::NOERROR && a.records > 0)
        })
        .map(|q| format!("'{}.'", q.question.name))
}
