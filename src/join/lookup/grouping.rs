//! Which queries serve one lookup.

use super::SAME_LOOKUP;
use super::giveup::TOGETHER;
use super::moves::Moves;
use crate::event::Task;
use crate::event::dns::{Name, Rcode, RecordType};
use crate::flow::{Endpoint, Transport};
use crate::join::response::Exchange;
use crate::join::{ClientId, Evidence, IdVec, LookupId, Origin, ProcessId, QueryId};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// The next name of a search list is asked as soon as the last one was denied.
const NEXT_NAME: Span = Span::millis(500);
/// So soon it is asked by the same stub resolver.
const AT_ONCE: Span = Span::millis(5);
/// A question asked again to the same resolver sooner than any timeout, by another thread, is that
/// thread's own lookup.
const PENDING: Span = Span::millis(900);

/// The queries that serve one lookup.
#[derive(Clone, Debug)]
pub struct Group {
    /// The name without a search domain, where that is known.
    pub name: Name,
    /// The address looked up, for a reverse lookup.
    pub reverse: Option<IpAddr>,
    /// Who asked.
    pub tasks: Vec<Task>,
    /// The asking process.
    pub process: Option<ProcessId>,
    /// Whose they are.
    pub origin: Origin,
    /// The address that the queries came from, where a packet shows it.
    pub client: Option<IpAddr>,
    /// In order of time.
    pub queries: Vec<QueryId>,
    /// The first query.
    pub began: Timestamp,
    /// Other names of the search list that were tried.
    pub searched: Vec<Name>,
}

impl Group {
    /// Its queries, in order of time.
    pub fn of<'a>(
        &'a self,
        exchanges: &'a IdVec<QueryId, Exchange>,
    ) -> impl DoubleEndedIterator<Item = &'a Exchange> {
        self.queries.iter().map(|q| &exchanges[*q])
    }
}

/// A group in the making.
struct GroupDraft {
    group: Group,
    /// The name asked last, folded.
    current: Name,
    /// That name was never seen.
    unnamed: bool,
    last: Timestamp,
    /// It may go on over TCP.
    over_tcp: bool,
}

/// A lookup with more queries than this is a storm; the next query begins another one.
const MAX_QUERIES: usize = 512;
/// How many recent lookups of one asker a query is held against: those of the same name, and the last
/// ones of any name (for search lists).
const MAX_RECENT: usize = 16;

/// Whose lookups are kept apart: an untraced process and a traced one of a host are two.
type ClientKey = (ClientId, Origin);

/// What of a query shows which lookup it belongs to, whatever else is asked at the time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum LookupMark {
    /// The thread that asked.
    Thread(u32),
    /// The id that glibc and c-ares keep for a type over all resolvers and rounds. Of many lookups at once some share an id.
    Id(u16, Option<RecordType>),
    /// The local end of its socket.
    Socket(Endpoint),
}

/// The marks of a query, the surest first: where a trace shows the thread, that alone.
fn marks(query: &Exchange) -> impl Iterator<Item = LookupMark> {
    let thread = query.calling_task().and_then(|t| t.tid);
    let thread = thread.map(LookupMark::Thread);
    let id = query.id.filter(|_| thread.is_none());
    let id = id.map(|id| LookupMark::Id(id, query.question.kind));
    let socket = query.client.filter(|_| thread.is_none());
    [thread, id, socket.map(LookupMark::Socket)]
        .into_iter()
        .flatten()
}

/// The lookups that a query may belong to.
#[derive(Default)]
struct Candidates {
    by_name: HashMap<(ClientKey, Name), Vec<usize>>,
    /// The latest lookup of a client and a name with each mark.
    marked: HashMap<(ClientKey, Name, LookupMark), usize>,
    /// The latest lookup of a thread, whatever its name.
    of_thread: HashMap<(ClientKey, u32), usize>,
    recent: HashMap<ClientKey, VecDeque<usize>>,
}

impl Candidates {
    /// The lookup that a query belongs to: of those that bear a mark of it, then of those of its name, then of the
    /// client's last ones, the latest that fits.
    fn find(
        &self,
        client: ClientKey,
        name: &Name,
        query: &Exchange,
        fits: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let marked = marks(query).filter_map(|m| self.marked.get(&(client, name.clone(), m)));
        let tid = query.calling_task().and_then(|t| t.tid);
        let of_thread = tid.and_then(|tid| self.of_thread.get(&(client, tid)));
        let named = self.by_name.get(&(client, name.clone()));
        let named = named.into_iter().flat_map(|list| list.iter().rev());
        let recent = self.recent.get(&client);
        let recent = recent.into_iter().flat_map(|list| list.iter().rev());
        marked
            .chain(of_thread)
            .chain(named.take(MAX_RECENT))
            .chain(recent)
            .copied()
            .find(|d| fits(*d))
    }

    /// Remembers that a query belongs to a lookup.
    fn note(&mut self, client: ClientKey, name: &Name, query: &Exchange, d: usize) {
        for mark in marks(query) {
            self.marked.insert((client, name.clone(), mark), d);
        }
        if let Some(tid) = query.calling_task().and_then(|t| t.tid) {
            self.of_thread.insert((client, tid), d);
        }
        let named = self.by_name.entry((client, name.clone())).or_default();
        if named.last() != Some(&d) {
            named.push(d);
        }
    }

    /// Remembers a new lookup.
    fn began(&mut self, client: ClientKey, d: usize) {
        let last = self.recent.entry(client).or_default();
        last.push_back(d);
        if last.len() > MAX_RECENT {
            last.pop_front();
        }
    }
}

/// Groups queries into lookups, in order of their beginning.
pub fn group(
    evidence: &Evidence,
    queries: &IdVec<QueryId, Exchange>,
    moves: &Moves,
) -> IdVec<LookupId, Group> {
    let mut done: Vec<GroupDraft> = Vec::new();
    let mut candidates = Candidates::default();
    for (i, query) in queries.entries() {
        let client = (query.asker(), query.origin);
        let name = query.question.name.folded();
        let found = candidates.find(client, &name, query, |d| {
            let draft = &done[d];
            query.sent - draft.last <= longest_pause(evidence, draft, query)
                && draft.group.queries.len() < MAX_QUERIES
                && may_share(moves, draft, query)
                && joins(evidence, queries, draft, query, &name)
        });
        let d = found.unwrap_or(done.len());
        if d == done.len() {
            done.push(begin(query, &name));
            candidates.began(client, d);
        }
        candidates.note(client, &name, query, d);
        add(&mut done[d], queries, i, name);
    }
    // In place: without this the list would keep the room of the drafts.
    let mut groups: Vec<Group> = done.into_iter().map(|d| d.group).collect();
    groups.shrink_to_fit();
    groups.into()
}

/// Whether a query may be of a lookup as far as their threads tell: a thread that waits for its resolvers itself (glibc,
/// musl) shares its lookup with no other. A runtime that waits for all of them in one place (Go) has threads in turn.
fn may_share(moves: &Moves, draft: &GroupDraft, query: &Exchange) -> bool {
    let waits = |task: &Task| moves.waits_itself(task);
    let alone = query.task.as_ref().is_some_and(waits) || draft.group.tasks.iter().any(waits);
    same_task(draft, query) || !alone
}

/// How long after its last packet a lookup may go on: the longest wait of the stub resolver and a tenth, and 15 s where
/// that is not known (c-ares waits as long, measured). TCP to a resolver hangs longer.
fn longest_pause(evidence: &Evidence, draft: &GroupDraft, query: &Exchange) -> Span {
    if query.transport == Transport::Tcp || draft.over_tcp {
        return SAME_LOOKUP;
    }
    let patience = evidence.patience.0;
    let longest = Span(patience.saturating_add(patience / 10));
    longest.clamp(Span::seconds(15), SAME_LOOKUP)
}

fn begin(query: &Exchange, name: &Name) -> GroupDraft {
    GroupDraft {
        group: Group {
            name: query.question.name.clone(),
            reverse: query.question.name.reverse_of(),
            tasks: Vec::new(),
            process: query.process,
            origin: query.origin,
            client: query.client.map(|client| client.ip),
            queries: Vec::new(),
            began: query.sent,
            searched: Vec::new(),
        },
        current: name.clone(),
        unnamed: unnamed(query),
        last: query.sent,
        over_tcp: false,
    }
}

fn add(draft: &mut GroupDraft, queries: &IdVec<QueryId, Exchange>, i: QueryId, name: Name) {
    let query = &queries[i];
    let group = &mut draft.group;
    group.queries.push(i);
    if let Some(task) = &query.task {
        add_task(&mut group.tasks, task, query.origin);
    }
    draft.over_tcp |=
        query.transport == Transport::Tcp || query.answer().is_some_and(|a| a.truncated);
    draft.last = query.sent.max(query.answer().map_or(query.sent, |a| a.at));
    if name != draft.current {
        if draft.unnamed {
            group.name = query.question.name.clone();
            group.reverse = query.question.name.reverse_of();
        } else {
            let before = Name(draft.current.0.clone());
            group.name = base(&draft.current, &name);
            // The name itself, asked before any domain was added to it, is none of the search list.
            if before != group.name.folded() && !group.searched.contains(&before) {
                group.searched.push(before);
            }
        }
        draft.current = name;
        draft.unnamed = unnamed(query);
    }
}

/// Adds who asked. Of a watched process the thread of some queries is known: then the process alone says no more.
fn add_task(tasks: &mut Vec<Task>, task: &Task, origin: Origin) {
    if tasks.contains(task) {
        return;
    }
    let same_process = |o: &Task| origin == Origin::Watched && o.pid == task.pid;
    if task.tid.is_none() && tasks.iter().any(same_process) {
        return;
    }
    tasks.retain(|o| o.tid.is_some() || !same_process(o));
    tasks.push(task.clone());
}

/// A query known only from a connect: its name was never seen. The name of the root is empty, too, but has a type.
fn unnamed(query: &Exchange) -> bool {
    query.question.name.known().is_none() && query.question.kind.is_none()
}

/// Whether a query belongs to a lookup.
fn joins(
    evidence: &Evidence,
    queries: &IdVec<QueryId, Exchange>,
    draft: &GroupDraft,
    query: &Exchange,
    name: &Name,
) -> bool {
    let same_task = same_task(draft, query);
    if unnamed(query) || draft.unnamed {
        // A new socket to a resolver that this lookup has asked is the next lookup's: glibc keeps its
        // sockets for the second round.
        let again = draft
            .group
            .queries
            .iter()
            .any(|q| queries[*q].resolver == query.resolver);
        // Where nothing can leave, all rounds over all resolvers follow each other at once.
        let at_once = query.sent - draft.last <= NEXT_NAME && query.refusal().is_some();
        return same_task && (!again || at_once) && unnamed(query) == draft.unnamed;
    }
    if *name == draft.current {
        return again(queries, draft, query, same_task);
    }
    same_task
        && query.transport == Transport::Udp
        && is_next_of_search(evidence, queries, draft, query, name)
}

fn same_task(draft: &GroupDraft, query: &Exchange) -> bool {
    query
        .calling_task()
        .is_none_or(|t| draft.group.tasks.iter().any(|o: &Task| o.tid == t.tid))
}

/// Whether a query for the name of this lookup continues it, or is another lookup of the same name.
fn again(
    queries: &IdVec<QueryId, Exchange>,
    draft: &GroupDraft,
    query: &Exchange,
    same_task: bool,
) -> bool {
    let earlier: Vec<&Exchange> = draft
        .group
        .queries
        .iter()
        .map(|q| &queries[*q])
        .filter(|q| {
            q.question.kind == query.question.kind && q.question.name.folded() == draft.current
        })
        .collect();
    let Some(last) = earlier.last() else {
        // Another type of the same name (A beside AAAA), perhaps by another thread (Go). Where no trace tells, one that
        // comes when everything was answered for some time is another program's question.
        let mut all = draft.group.of(queries);
        let answered = |q: &Exchange| q.answer().is_some_and(|a| a.at <= query.sent);
        let over = query.sent - draft.last > TOGETHER && all.all(answered);
        return query.origin.is_traced() || !over;
    };
    // Asked and answered: whoever asks once more is looking up once more.
    let usable = |q: &&&Exchange| q.answer().is_some_and(|a| a.at <= query.sent && a.usable());
    if query.transport == Transport::Tcp {
        // After a truncated answer the same question goes over TCP.
        return !earlier.iter().any(|q| usable(&q));
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
    // Sooner than any timeout, from another socket, while the first one still waits: another program's lookup. Resolvers
    // turn to another server sooner than stubs do.
    let over = [last.answer().map(|a| a.at), last.refusal().map(|r| r.at)];
    let pending = !over.into_iter().flatten().any(|at| at <= query.sent);
    let by_other_client = !query.origin.is_traced()
        && query.client != last.client
        && query.resolver == last.resolver
        && pending
        && query.sent - last.sent < PENDING;
    !earlier.iter().any(|q| usable(&q)) && !by_other_client
}

/// Whether `name` is what a stub resolver asks after `draft.current` was denied: the same beginning with
/// another search domain, or with none.
fn is_next_of_search(
    evidence: &Evidence,
    queries: &IdVec<QueryId, Exchange>,
    draft: &GroupDraft,
    query: &Exchange,
    name: &Name,
) -> bool {
    if draft.group.reverse.is_some() || query.sent - draft.last > NEXT_NAME {
        return false;
    }
    if !is_denied(queries, draft, query.sent) {
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
    // With a known search list its domains decide.
    let listed = |suffix: &str| {
        suffix.is_empty()
            || evidence
                .search
                .iter()
                .any(|s| s.eq_ignore_ascii_case(suffix))
    };
    if !evidence.search.is_empty() {
        return listed(&a) && listed(&b) || listed(&shortest(&a, &b));
    }
    // Without, only what no two other names have in common: the bare name after one with a domain, or before one (a name
    // with ndots dots or more), or the domain's parent (default.svc.cluster.local, svc.cluster.local, cluster.local).
    let parent = a.strip_suffix(&*b).is_some_and(|rest| rest.ends_with('.'));
    let bare = a.is_empty() || b.is_empty();
    // Or a sibling below one domain (corp.example.com, lab.example.com), at once after the denial.
    let shared = a.rsplit('.').zip(b.rsplit('.')).take_while(|(a, b)| a == b);
    let sibling = shared.count() >= 2 && query.sent - draft.last <= AT_ONCE;
    bare || sibling && base.0.split('.').count() == 1
        || parent && b.contains('.')
        || parent && base.0.split('.').count() == 1
}

/// Whether the name that a lookup asked for last was denied by then: no type of it had records, and what a stub resolver
/// asks for, an address, was answered without one. That most names have no HTTPS or AAAA record denies nothing.
fn is_denied(queries: &IdVec<QueryId, Exchange>, draft: &GroupDraft, by: Timestamp) -> bool {
    let asked = draft.group.queries.iter().map(|q| &queries[*q]);
    let asked = asked.filter(|q| q.question.name.folded() == draft.current);
    let (mut denied, mut found) = (false, false);
    for query in asked {
        let Some(answer) = query.answer().filter(|a| a.at <= by) else {
            continue;
        };
        let address = matches!(
            query.question.kind,
            None | Some(RecordType::A | RecordType::AAAA)
        );
        denied |= answer.rcode == Rcode::NXDOMAIN || answer.negative() && address;
        found |= answer.rcode == Rcode::NOERROR && answer.records > 0;
    }
    denied && !found
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
