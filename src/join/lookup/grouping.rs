//! Which queries serve one lookup.

use super::{Lookup, Outcome, SAME_LOOKUP};
use crate::event::Task;
use crate::event::dns::Name;
use crate::flow::Transport;
use crate::join::{Evidence, IdVec, LookupId, Origin, ProcessId, Query, QueryId};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// The next name of a search list is asked as soon as the last one was denied.
const NEXT_NAME: Span = Span::millis(500);
/// A question asked again to the same resolver sooner than any timeout, by another thread, is that
/// thread's own lookup.
const PENDING: Span = Span::millis(900);

/// Whose lookups are kept apart: processes of a trace, hosts without one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Asker {
    Process(ProcessId),
    Host(Option<IpAddr>, Origin),
}

/// A lookup in the making.
struct Draft {
    lookup: Lookup,
    /// The name asked last, folded.
    current: Name,
    last: Timestamp,
}

/// A lookup with more queries than this is a storm; the next query begins another one.
const MAX_QUERIES: usize = 512;
/// How many recent lookups of one asker a query is held against: those of the same name, and the last
/// ones of any name (for search lists).
const MAX_RECENT: usize = 16;

/// Groups queries into lookups, in order of their beginning.
pub fn group(evidence: &Evidence, queries: &IdVec<QueryId, Query>) -> IdVec<LookupId, Lookup> {
    let mut done: Vec<Draft> = Vec::new();
    let mut by_name: HashMap<(Asker, Name), Vec<usize>> = HashMap::new();
    let mut recent: HashMap<Asker, VecDeque<usize>> = HashMap::new();
    for (i, query) in queries.entries() {
        let host = Asker::Host(query.client.map(|c| c.ip), query.origin);
        let asker = query.process.map_or(host, Asker::Process);
        let name = query.question.name.folded();
        let named = by_name.entry((asker, name.clone())).or_default();
        let last = recent.entry(asker).or_default();
        let fits = |d: &usize| {
            let draft = &done[*d];
            query.sent - draft.last <= SAME_LOOKUP
                && draft.lookup.queries.len() < MAX_QUERIES
                && joins(evidence, queries, draft, query, &name)
        };
        let found = named
            .iter()
            .rev()
            .take(MAX_RECENT)
            .find(|d| fits(d))
            .or_else(|| last.iter().rev().find(|d| fits(d)));
        let d = found.copied().unwrap_or(done.len());
        if d == done.len() {
            done.push(begin(query, &name));
            last.push_back(d);
            if last.len() > MAX_RECENT {
                last.pop_front();
            }
        }
        if named.last() != Some(&d) {
            named.push(d);
        }
        add(&mut done[d], queries, i, name);
    }
    // In place: without this the list would keep the room of the drafts.
    let mut lookups: Vec<Lookup> = done.into_iter().map(|d| d.lookup).collect();
    lookups.shrink_to_fit();
    lookups.into()
}

fn begin(query: &Query, name: &Name) -> Draft {
    Draft {
        lookup: Lookup {
            name: query.question.name.clone(),
            reverse: query.question.name.reverse_of(),
            tasks: Vec::new(),
            process: query.process,
            queries: Vec::new(),
            began: query.sent,
            ended: query.sent,
            addresses: Vec::new(),
            outcome: Outcome::Open,
            searched: Vec::new(),
        },
        current: name.clone(),
        last: query.sent,
    }
}

fn add(draft: &mut Draft, queries: &IdVec<QueryId, Query>, i: QueryId, name: Name) {
    let query = &queries[i];
    let lookup = &mut draft.lookup;
    lookup.queries.push(i);
    if let Some(task) = &query.task
        && !lookup.tasks.contains(task)
    {
        lookup.tasks.push(task.clone());
    }
    draft.last = query.sent.max(query.answer().map_or(query.sent, |a| a.at));
    if name != draft.current {
        if unknown(&draft.current) {
            lookup.name = query.question.name.clone();
            lookup.reverse = query.question.name.reverse_of();
        } else {
            let before = Name(draft.current.0.clone());
            if !lookup.searched.contains(&before) {
                lookup.searched.push(before);
            }
            lookup.name = base(&draft.current, &name);
        }
        draft.current = name;
    }
}

/// A query known only from a connect: its name was never seen.
fn unknown(name: &Name) -> bool {
    name.known().is_none()
}

/// Whether a query belongs to a lookup.
fn joins(
    evidence: &Evidence,
    queries: &IdVec<QueryId, Query>,
    draft: &Draft,
    query: &Query,
    name: &Name,
) -> bool {
    let same_task = same_task(draft, query);
    if unknown(name) || unknown(&draft.current) {
        // A new socket to a resolver that this lookup has asked is the next lookup's: glibc keeps its
        // sockets for the second round.
        let again = draft
            .lookup
            .queries
            .iter()
            .any(|q| queries[*q].resolver == query.resolver);
        return same_task && !again && unknown(name) == unknown(&draft.current);
    }
    if *name == draft.current {
        return again(queries, draft, query, same_task);
    }
    same_task
        && query.transport == Transport::Udp
        && is_next_of_search(evidence, queries, draft, query, name)
}

fn same_task(draft: &Draft, query: &Query) -> bool {
    query
        .task
        .as_ref()
        .is_none_or(|t| draft.lookup.tasks.iter().any(|o: &Task| o.tid == t.tid))
}

/// Whether a query for the name of this lookup continues it, or is another lookup of the same name.
fn again(queries: &IdVec<QueryId, Query>, draft: &Draft, query: &Query, same_task: bool) -> bool {
    let earlier: Vec<&Query> = draft
        .lookup
        .queries
        .iter()
        .map(|q| &queries[*q])
        .filter(|q| {
            q.question.kind == query.question.kind && q.question.name.folded() == draft.current
        })
        .collect();
    let Some(last) = earlier.last() else {
        // Another type of the same name (A beside AAAA), perhaps by another thread (Go).
        return true;
    };
    if query.transport == Transport::Tcp {
        // After a truncated answer the same question goes over TCP.
        return true;
    }
    if !same_task {
        let pending =
            last.answer().is_none_or(|a| a.at > query.sent) && query.sent - last.sent < PENDING;
        let done = last
            .answer()
            .is_some_and(|a| a.at <= query.sent && !a.truncated);
        return !pending && !done && query.id != last.id;
    }
    if query.id == last.id {
        return true;
    }
    // A client that repeats its id within a lookup (glibc, c-ares) begins the next one with a new id.
    let repeats = earlier.len() >= 2 && earlier.iter().all(|q| q.id == last.id);
    let parallel =
        earlier.len() >= 2 && earlier[earlier.len() - 1].sent - earlier[0].sent < Span::millis(20);
    if repeats && !parallel {
        return false;
    }
    // Asked and answered: whoever asks once more is looking up once more.
    let usable = |q: &&&Query| q.answer().is_some_and(|a| a.at <= query.sent && a.usable());
    let by_other_client =
        query.task.is_none() && query.client != last.client && query.sent - last.sent < PENDING;
    !earlier.iter().any(|q| usable(&q)) && !by_other_client
}

/// Whether `name` is what a stub resolver asks after `draft.current` was denied: the same beginning with
/// another search domain, or with none.
fn is_next_of_search(
    evidence: &Evidence,
    queries: &IdVec<QueryId, Query>,
    draft: &Draft,
    query: &Query,
    name: &Name,
) -> bool {
    if draft.lookup.reverse.is_some() || query.sent - draft.last > NEXT_NAME {
        return false;
    }
    let denied = draft
        .lookup
        .queries
        .iter()
        .rev()
        .map(|q| &queries[*q])
        .find(|q| q.question.name.folded() == draft.current);
    let denied = denied.is_some_and(|q| {
        q.answer()
            .is_some_and(|a| a.negative() && a.at <= query.sent)
    });
    if !denied {
        return false;
    }
    let base = base(&draft.current, name);
    if base.0.is_empty() {
        return false;
    }
    let rest = |n: &Name| {
        n.0.get(base.0.len()..)
            .unwrap_or("")
            .trim_start_matches('.')
            .to_owned()
    };
    let (a, b) = (rest(&draft.current), rest(name));
    // With a known search list its domains decide; without, any other ending of the same host.
    let listed = |suffix: &str| {
        suffix.is_empty()
            || evidence
                .search
                .iter()
                .any(|s| s.eq_ignore_ascii_case(suffix))
    };
    evidence.search.is_empty() || listed(&a) && listed(&b) || listed(&shortest(&a, &b))
}

fn shortest(a: &str, b: &str) -> String {
    if a.len() < b.len() {
        a.to_owned()
    } else {
        b.to_owned()
    }
}

/// The labels that two names begin with.
fn base(a: &Name, b: &Name) -> Name {
    let common: Vec<&str> =
        a.0.split('.')
            .zip(b.0.split('.'))
            .take_while(|(x, y)| x.eq_ignore_ascii_case(y))
            .map(|(x, _)| x)
            .collect();
    Name(common.join(".").into())
}
