//! How resolvers were silent, in words: never answering, answering one type only, too late, or lossy.

use super::{AccountEntry, Case, ChargedParty, count, one_type, party};
use crate::event::dns::RecordType;
use crate::explain::finding::stub_upstream_silent::{explained, is_explained};
use crate::explain::finding::tally::{answered_from, is_left_out};
use crate::explain::words;
use crate::flow::Endpoint;
use crate::join::{Origin, Query, State};
use std::collections::BTreeSet;

/// How a resolver was silent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SilenceKind {
    Never,
    OneType(RecordType),
    Late,
    Some,
    Open,
    /// Its responses came from another address, which no client accepts.
    From(Endpoint),
    /// Only connects show that it was asked.
    Seeming,
    /// It is a stub on this host whose own upstream kept it waiting: the finding about it says the rest.
    Stub,
}

/// Whom the client waited for without an answer, each with its kind of silence.
pub fn silence(case: &Case, lines: &[&AccountEntry]) -> String {
    let stubs = explained(case);
    let is_stub = |party| matches!(party, ChargedParty::Endpoint(e) if is_explained(&stubs, e));
    let mut groups: Vec<(SilenceKind, Vec<String>)> = Vec::new();
    for line in lines {
        let with = line.with.iter().map(|e| ChargedParty::Endpoint(*e));
        for named in line.party.into_iter().chain(with) {
            let how = if is_stub(named) {
                SilenceKind::Stub
            } else {
                how_silent(case, line, named)
            };
            let name = party(named);
            match groups.iter_mut().find(|(h, _)| *h == how) {
                Some((_, names)) if names.contains(&name) => {}
                Some((_, names)) => names.push(name),
                None => groups.push((how, vec![name])),
            }
        }
    }
    let clauses: Vec<String> = groups
        .iter()
        .map(|(how, names)| clause(*how, names))
        .collect();
    format!("for {}", clauses.join(", and for "))
}

fn clause(how: SilenceKind, names: &[String]) -> String {
    let many = names.len() > 1;
    let who = if many {
        format!(
            "the {} resolvers {}",
            count(names.len()),
            words::list(names)
        )
    } else {
        format!("resolver {}", words::list(names))
    };
    match how {
        SilenceKind::Stub if many => format!("the local stubs {}", words::list(names)),
        SilenceKind::Stub => format!("the local stub {}", words::list(names)),
        SilenceKind::Never => format!("{who}, which never answered"),
        SilenceKind::Seeming => {
            format!(
                "{who}, apparently without an answer: the log shows connects to {}, not what came back",
                if many { "them" } else { "it" }
            )
        }
        SilenceKind::OneType(kind) if many => {
            format!("{who}, which answer other questions but not {kind}")
        }
        SilenceKind::OneType(kind) => {
            format!("{who}, which answers other questions but not {kind}")
        }
        SilenceKind::Late => format!("{who}, which answered too late"),
        SilenceKind::Some => format!("{who}, which did not answer some queries"),
        SilenceKind::Open => format!("{who}, which had not answered by then"),
        SilenceKind::From(other) => format!(
            "{who}, whose responses came from another address ({})",
            words::resolver(other)
        ),
    }
}

/// Whether a resolver never answered this client, or what it did answer.
fn how_silent(case: &Case, line: &AccountEntry, who: ChargedParty) -> SilenceKind {
    let ChargedParty::Endpoint(resolver) = who else {
        return SilenceKind::Never;
    };
    let all = || {
        let queries = case.joined.queries.iter();
        queries.filter(move |q| q.resolver == resolver && q.is_clients())
    };
    // What nobody can say whose it is may be the client's, and was answered.
    let doubtful = case.joined.queries.iter().any(|q| {
        q.origin == Origin::Unattributed && q.resolver == resolver && q.answer().is_some()
    });
    let late = all().filter(|q| q.answer().is_some_and(|a| a.late)).count();
    let unanswered = all()
        .filter(|q| matches!(q.state, State::Unanswered(_)))
        .count();
    let answered: BTreeSet<_> = all()
        .filter(|q| q.answer().is_some_and(|a| !a.late))
        .map(|q| q.question.kind)
        .collect();
    let own: Vec<&Query> = line
        .queries
        .iter()
        .map(|q| &case.joined.queries[*q])
        .filter(|q| line.with.is_empty() || q.resolver == resolver)
        .collect();
    let from = answered_from(case, &own).filter(|_| answered.is_empty());
    match (one_type(case, line), from) {
        _ if !own.is_empty() && own.iter().all(|q| q.implied) => SilenceKind::Seeming,
        _ if own.iter().all(|q| q.is_open()) => SilenceKind::Open,
        (_, Some(other)) => SilenceKind::From(other),
        _ if answered.is_empty() && late == 0 && doubtful => SilenceKind::Some,
        _ if answered.is_empty() && late == 0 => SilenceKind::Never,
        _ if answered.is_empty() => SilenceKind::Late,
        (Some(kind), _)
            if !answered.contains(&Some(kind))
                && late == 0
                && is_left_out(kind, own.len(), true) =>
        {
            SilenceKind::OneType(kind)
        }
        // An answer that comes after the question was sent again counts for the copy: what is left without one
        // was answered late too.
        _ if late > 0 && late >= unanswered => SilenceKind::Late,
        _ => SilenceKind::Some,
    }
}
