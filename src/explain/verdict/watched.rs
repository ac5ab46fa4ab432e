//! The answer where processes were watched: who waited is a process, perhaps one thread of it. Of its calls nothing is known.

use super::{Account, AccountEntry, Case, Subject, WORTH_SAYING, culprit, ranked};
use crate::explain::{cite, words};
use crate::join::connect::Connection;
use crate::join::{EventId, Query, QueryId};
use crate::report::ThreadWait;
use crate::time::{Span, Timestamp};
use std::collections::BTreeSet;

/// What a process waited for before its SYN, if a sentence is worth it and its lookup shows.
pub fn waited(case: &Case, account: &Account, x: &Connection) -> Option<String> {
    let process = words::process_name(case, x.process?);
    let worst = *ranked(account).first()?;
    let same: Vec<&AccountEntry> = account
        .lines
        .iter()
        .filter(|l| l.kind == worst.kind && l.span >= WORTH_SAYING)
        .collect();
    let time: Span = same.iter().map(|l| l.span).sum();
    let who = match alone(case, account) {
        Some(wait) => format!("{process}, {},", words::thread_name(&wait)),
        None => process,
    };
    Some(format!(
        "{who} waited {} of {} {}{}, before its SYN to {}.",
        words::took(time),
        words::took(account.total()),
        culprit(case, &same),
        asked(case, &same),
        x.to
    ))
}

/// ` (A and AAAA db.example.net)`: what was asked, where it is one name.
fn asked(case: &Case, lines: &[&AccountEntry]) -> String {
    let queries = lines.iter().flat_map(|l| &l.queries);
    let queries: Vec<&Query> = queries.map(|q| &case.joined.queries[*q]).collect();
    let names: BTreeSet<String> = { queries.iter() }
        .filter(|q| q.question.name.known().is_some())
        .map(|q| q.question.name.folded().to_string())
        .collect();
    let kinds: BTreeSet<String> = { queries.iter() }
        .filter_map(|q| q.question.kind)
        .map(|kind| kind.to_string())
        .collect();
    match Vec::from_iter(names).as_slice() {
        [name] => format!(" ({} {name})", words::list(&Vec::from_iter(kinds))),
        _ => String::new(),
    }
}

/// The packets behind the longest wait of an account; where nothing was waited for, those of its own lookup or attempt.
fn packets(case: &Case, account: &Account) -> Vec<EventId> {
    let of_query = |q: &QueryId| case.joined.queries[*q].packet;
    if let Some(worst) = ranked(account).first() {
        return worst.queries.iter().filter_map(of_query).collect();
    }
    match account.subject {
        Subject::Connection(c) => case.joined.connections[c].syns.clone(),
        Subject::Lookup(l) => {
            let queries = case.joined.lookups[l].queries.iter();
            queries.filter_map(of_query).collect()
        }
    }
}

/// What a thread was found doing about the longest wait of an account: best one that waits for nothing else.
fn found(case: &Case, account: &Account) -> Option<ThreadWait> {
    let packets = packets(case, account);
    let waits = packets.iter().filter_map(|p| cite::thread_wait(case, *p));
    waits.min_by_key(|wait| wait.among)
}

/// The thread that waited for that alone.
fn alone(case: &Case, account: &Account) -> Option<ThreadWait> {
    found(case, account).filter(|wait| wait.among == 1)
}

/// Which thread waited, and how that shows.
pub fn thread(case: &Case, account: &Account) -> Option<String> {
    let wait = found(case, account)?;
    let name = words::thread_name(&wait);
    Some(match wait.among {
        0 | 1 => format!("{} waited for it alone, in {}.", capital(&name), wait.call),
        n => format!(
            "Event loop {name} watched it among {n} descriptors, in {}.",
            wait.call
        ),
    })
}

fn capital(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

/// From when on a lookup may have been made that gave an address: where some are unattributed, any of them may have.
pub fn may_have_asked_since(case: &Case, from: Timestamp) -> Timestamp {
    let watched = case.evidence.owners.watched();
    let first = case.evidence.captures.iter().filter_map(|c| c.first).min();
    let first = first.filter(|_| watched.is_some());
    first.map_or(from, |first| first.min(from))
}
