//! No connection came of it.

use super::{
    Context, Draft, FindingId, Page, Severity, attempt, cost, parties, server_reverse_lookup,
    syn_unanswered, tally,
};
use crate::explain::Case;
use crate::explain::ledger::Subject;
use crate::explain::words;
use crate::explain::words::spoken_name;
use crate::join::State;
use crate::join::connect::{Ending, Role};
use crate::join::lookup::{Lookup, Outcome, Stop};
use crate::time::Timestamp;
use std::collections::HashSet;

/// What `presyn explain never-connected` shows.
pub const PAGE: Page = Page {
    id: FindingId::NeverConnected,
    rests_on_absence: false,
    in_summary: false,
    text: "The client never connected.

Either the lookup failed, or found nothing, and no connect was attempted after it; or
connects were attempted and every one failed. The time before a SYN is then the time
until the program gave up, and the delay breakdown is the lookup's.

presyn says this for a process whose failed lookup no connect to a server followed,
and for servers that all attempts failed to reach. Whether the program wanted to
connect at all, only its user knows: getent and dig never do.

What to do: fix what made the lookup or the attempts fail; the other findings name it.",
};

/// Finds failed lookups without a connect, and servers never reached.
pub fn find(context: &Context) -> Vec<Draft> {
    let mut list = lookups(context);
    list.extend(servers(context));
    list
}

fn lookups(context: &Context) -> Vec<Draft> {
    let case = context.case;
    // What a host would have connected to, and whether it wanted to, only a trace shows.
    let coverage = case.evidence.coverage;
    if !coverage.shows_end(case.evidence.has_trace()) {
        return Vec::new();
    }
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    // A server attempts no connection.
    let of_servers = server_reverse_lookup::of_traced_servers(case);
    for account in context.accounts {
        let Subject::Lookup(l) = account.subject else {
            continue;
        };
        let lookup = &case.joined.lookups[l];
        // What the client did next is not in the trace.
        let due = coverage.shows_connection_due(!of_servers.contains(&l));
        if !due || !case.goes_on_after(lookup) {
            continue;
        }
        let Some(end) = end(case, lookup) else {
            continue;
        };
        // The hosts file may have given what DNS did not.
        let helped = answered_later(context, lookup) || case.in_hosts(lookup);
        let own = lookup.is_clients(case.joined);
        if own && !helped && seen.insert(lookup.name.folded()) {
            list.push(of_lookup(context, account.subject, lookup, end));
        }
    }
    list
}

/// How a lookup ended that gave the client nothing to connect to, and how grave that is.
fn end(case: &Case, lookup: &Lookup) -> Option<(&'static str, Severity)> {
    match lookup.outcome {
        Outcome::Failed => Some(("failed", Severity::High)),
        Outcome::Negative => Some(("found nothing", Severity::Medium)),
        // A signal, or the end of the trace, ended it: nobody can say how it would have gone on.
        Outcome::Open if lookup.stop != Stop::Client => None,
        Outcome::Open if case.evidence.has_trace() => Some(("did not end", Severity::Low)),
        Outcome::Open | Outcome::Answered | Outcome::Referred => None,
    }
}

fn of_lookup(
    context: &Context,
    subject: Subject,
    lookup: &Lookup,
    (said, severity): (&str, Severity),
) -> Draft {
    let case = context.case;
    let mut queries = lookup.queries(case.joined);
    let sent = if queries.all(|q| matches!(q.state, State::NeverSent(_))) {
        "could not leave this host"
    } else {
        "were sent"
    };
    Draft {
        id: PAGE.id,
        severity,
        subject: Some(subject),
        parties: parties::names([lookup]),
        title: format!(
            "No connection was attempted after the lookup of {} {said}",
            spoken_name(lookup)
        ),
        detail: format!(
            "{} {sent} in {}{}.",
            words::queries(lookup.queries.len()),
            case.took(ended(context, lookup) - lookup.began),
            if case.evidence.has_trace() {
                "; then the client gave up"
            } else {
                ""
            }
        ),
        // What cost the time has its own finding.
        cost: None,
        total: None,
        remedy: Some(if lookup.outcome == Outcome::Negative {
            "Check the spelling of the name: the resolvers answered that it does not exist or has no such record."
                .into()
        } else {
            "Fix the lookup first: the findings about the resolvers give the cause.".into()
        }),
        evidence: tally::evidence(lookup.queries(case.joined)),
    }
}

/// When the client was through with a lookup: TCP to a resolver may go on after the last query.
fn ended(context: &Context, lookup: &Lookup) -> Timestamp {
    let over_tcp = context.case.joined.connections.iter().filter(|x| {
        x.role == Role::Resolver
            && x.process == lookup.process
            && x.reached().is_some_and(|at| at >= lookup.began)
    });
    over_tcp
        .filter_map(|x| x.ended)
        .fold(lookup.ended, Timestamp::max)
}

/// The same process got an answer after this: it went another way.
fn answered_later(context: &Context, lookup: &Lookup) -> bool {
    let all = &context.case.joined.lookups;
    let start = all.partition_point(|l| l.began < lookup.began);
    all.as_slice()[start..]
        .iter()
        .any(|l| l.process == lookup.process && l.outcome == Outcome::Answered)
}

fn servers(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut list = Vec::new();
    for (
        to,
        attempt::SomeAttempts {
            retained: attempts,
            count,
        },
    ) in attempt::by_server(case, |_| true, |evicted| evicted.all)
    {
        let failed = attempts.iter().all(|c| {
            let x = &case.joined.connections[*c];
            attempt::failed(x) && !attempt::recovered(case, x) && !syn_unanswered::is_abandoned(x)
        });
        let failed = failed && case.totals.attempts(to).connected == 0;
        let Some(&last) = attempts.last().filter(|_| failed) else {
            continue;
        };
        let x = &case.joined.connections[last];
        let time = attempt::lasted(x);
        list.push(Draft {
            id: PAGE.id,
            severity: cost::severity(None, true),
            subject: Some(Subject::Connection(last)),
            parties: parties::servers([to]),
            title: if count == 1 {
                format!("The client never connected to {to}")
            } else {
                format!(
                    "None of {} to {to} connected",
                    words::counted(count, "attempt", "attempts")
                )
            },
            detail: format!(
                "The last attempt {}{}.",
                match x.outcome {
                    Ending::Refused => "was refused",
                    Ending::NoSyn(_) => "failed without a SYN",
                    Ending::Unreachable => "found the server unreachable",
                    _ => "got no answer",
                },
                time.map_or_else(String::new, |t| format!(" after {}", context.case.took(t)))
            ),
            cost: None,
            total: None,
            remedy: Some("See the other findings about this server for what to fix.".into()),
            evidence: attempt::evidence(attempts.iter().map(|c| &case.joined.connections[*c])),
        });
    }
    list
}
