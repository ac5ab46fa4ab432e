//! The answer where processes were watched: who waited is a process, perhaps one thread of it. Of its calls nothing is known.

use super::{
    Account, AccountEntry, Case, Subject, WORTH_SAYING, after_syn, culprit, ranked,
    unanswered_since,
};
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
    let alone = found(case, account).filter(is_alone);
    let thread = alone.map_or_else(String::new, |wait| {
        format!(", {} in {},", words::thread_name(&wait), wait.call)
    });
    Some(format!(
        "{process}{thread} waited {} of {} {}{}, before its SYN to {}.",
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

/// Whether a thread waits for one socket and nothing else.
fn is_alone(wait: &ThreadWait) -> bool {
    wait.among <= 1
}

/// Whether an account has a wait that is worth a sentence, before its SYN or after it.
fn is_slow(case: &Case, account: &Account) -> bool {
    let after = match account.subject {
        Subject::Connection(c) => {
            let x = &case.joined.connections[c];
            after_syn(x).or_else(|| unanswered_since(case, x))
        }
        Subject::Lookup(_) => None,
    };
    !ranked(account).is_empty() || after.is_some_and(|took| took >= WORTH_SAYING)
}

/// Which thread waited, and how that shows; nothing where the answer has it.
pub fn thread(case: &Case, account: &Account) -> Option<String> {
    let wait = found(case, account).filter(|_| is_slow(case, account))?;
    let (name, call) = (words::thread_name(&wait), &wait.call);
    let said = match account.subject {
        Subject::Connection(c) => {
            let own = case.joined.connections[c].lookup.is_some();
            own && !ranked(account).is_empty()
        }
        Subject::Lookup(_) => false,
    };
    match wait.among {
        0 | 1 if said => None,
        0 | 1 => Some(format!("It waited in {name}, in {call}.")),
        n => Some(format!(
            "Event loop {name} watched the socket among {n} descriptors, in {call}."
        )),
    }
}

/// From when on a lookup may have been made that gave an address: where some are unattributed, any of them may have.
pub fn may_have_asked_since(case: &Case, from: Timestamp) -> Timestamp {
    let watched = case.evidence.owners.watched();
    let first = case.evidence.captures.iter().filter_map(|c| c.first).min();
    let first = first.filter(|_| watched.is_some());
    first.map_or(from, |first| first.min(from))
}
