//! Lookups: everything that the tasks of one process did to resolve one name or address.

mod became;
mod end;
mod giveup;
mod grouping;
mod implied;
mod lost;
mod moves;
#[cfg(test)]
mod tests;

use super::connect::{Attempt, Connection, Ending, Role};
use super::response::Exchange;
use super::service::{ServiceReply, ServiceWait};
use super::socket::Sockets;
use super::{
    ClientId, ConnectionId, EventId, Evidence, Id, IdVec, Joined, LookupId, Origin, ProcessId,
    Query, QueryId,
};
use crate::coverage::Coverage;
use crate::event::Task;
use crate::event::dns::{Name, Rcode, RecordType};
use crate::flow::{Endpoint, Transport};
use crate::time::{Span, Timestamp};
pub use giveup::TOGETHER;
use grouping::Group;
use moves::Moves;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// One lookup.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The name as the application meant it: without a search domain, where that is known.
    pub name: Name,
    /// Only the beginning of the name is known: strace cut every payload that holds it.
    pub cut: bool,
    /// The address looked up, for a reverse lookup.
    pub reverse: Option<IpAddr>,
    /// Who asked.
    pub tasks: Vec<Task>,
    /// The asking process.
    pub process: Option<ProcessId>,
    /// Whose it is.
    pub origin: Origin,
    /// The address that its queries came from, where a packet shows it.
    pub client: Option<IpAddr>,
    /// Its queries, in order of time.
    pub queries: Vec<QueryId>,
    /// First query.
    pub began: Timestamp,
    /// When the client had its answer or gave up.
    pub ended: Timestamp,
    /// Addresses that were found.
    pub addresses: Vec<IpAddr>,
    /// What came of it.
    pub outcome: Outcome,
    /// What ended it, where no answer did.
    pub stop: Stop,
    /// Other names of the search list that were tried.
    pub searched: Vec<Name>,
}

impl Lookup {
    /// The name, as far as it is known, with a mark where it was cut.
    pub fn shown_name(&self) -> Option<String> {
        let name = self.name.known()?;
        Some(format!("{name}{}", if self.cut { CUT } else { "" }))
    }

    /// Its queries, in order of time.
    pub fn queries<'a>(&'a self, joined: &'a Joined) -> impl DoubleEndedIterator<Item = &'a Query> {
        self.queries_in(&joined.queries)
    }

    /// Its queries, in order of time, while the join is still at work.
    fn queries_in<'a>(
        &'a self,
        queries: &'a IdVec<QueryId, Query>,
    ) -> impl DoubleEndedIterator<Item = &'a Query> {
        self.queries.iter().map(|q| &queries[*q])
    }

    /// Whether it counts as the client's own, by its first query.
    pub fn is_clients(&self, joined: &Joined) -> bool {
        self.queries(joined).next().is_some_and(|q| q.is_clients())
    }

    /// Who asked.
    pub fn asker(&self) -> ClientId {
        self.process
            .map_or(ClientId::Host(self.client), ClientId::Process)
    }
}

/// What came of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Some question was answered with records.
    Answered,
    /// All answers said that there is no such name or no such record.
    Negative,
    /// Nothing but the names of other servers to ask came back.
    Referred,
    /// Nobody answered, or with errors only.
    Failed,
    /// Nobody can say.
    Open,
}

/// Stands behind a name of which only the beginning is known.
pub const CUT: &str = "…";

/// What ended a lookup that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The client: it did something else, or ended by itself. Without a trace it is taken to be so.
    Client,
    /// A signal ended the client.
    Signal(EventId),
    /// The trace ends before the lookup does.
    Trace,
}

/// What the last steps of the join make.
pub struct ResolvedLookups {
    /// Every query, in order of time.
    pub queries: IdVec<QueryId, Query>,
    /// Every lookup, in order of its beginning.
    pub lookups: IdVec<LookupId, Lookup>,
    /// Every connection attempt, with its lookup.
    pub connections: IdVec<ConnectionId, Connection>,
}

/// Groups queries into lookups, says when the client stopped waiting for each query, and ties
/// connections to the lookup that gave their address.
pub fn find(
    evidence: &Evidence,
    sockets: &Sockets,
    services: &[ServiceWait],
    mut exchanges: IdVec<QueryId, Exchange>,
    attempts: IdVec<ConnectionId, Attempt>,
) -> ResolvedLookups {
    // Without a query nobody asks what threads did next.
    let moves = if exchanges.is_empty() {
        Moves::none(sockets)
    } else {
        Moves::new(evidence, sockets, &attempts)
    };
    lost::mark(evidence, &mut exchanges, &moves);
    let mut groups = grouping::group(evidence, &exchanges, &moves);
    if !evidence.has_capture() {
        let next = |task: &Task, at| moves.next_of(task, at).map(|(at, _)| at);
        implied::complete(evidence, &mut exchanges, &mut groups, next);
    }
    let (queries, stops) = giveup::settle(evidence, exchanges, &groups, &moves);
    let lookups = groups.into_iter().zip(stops);
    let mut lookups: Vec<Lookup> = lookups
        .map(|(g, stop)| conclude(evidence.coverage, &queries, g, stop))
        .collect();
    let alone = of_services(services, &queries, &attempts);
    if !alone.is_empty() {
        lookups.extend(alone);
        lookups.sort_by_key(|l| l.began);
    }
    let lookups: IdVec<LookupId, Lookup> = lookups.into();
    let connections = tie(&queries, &lookups, attempts);
    let lookups = with_tcp(evidence, lookups, &connections);
    ResolvedLookups {
        queries,
        lookups,
        connections,
    }
}

/// The lookups, each lasting as long as the TCP connection that it went over to, unless that came up.
fn with_tcp(
    evidence: &Evidence,
    lookups: IdVec<LookupId, Lookup>,
    connections: &IdVec<ConnectionId, Connection>,
) -> IdVec<LookupId, Lookup> {
    let mut ends: HashMap<LookupId, Timestamp> = HashMap::new();
    for c in connections {
        if let (Role::Resolver, Some(lookup)) = (c.role, c.lookup)
            && c.outcome != Ending::Connected
        {
            let end = ends.entry(lookup).or_default();
            let over = match c.outcome {
                Ending::Open(_) => c.ended.or(Some(evidence.end())),
                _ => c.ended.or(c.began()),
            };
            *end = Timestamp::max(*end, over.unwrap_or_default());
        }
    }
    if ends.is_empty() {
        return lookups;
    }
    let ids = lookups.ids();
    let longer = ids.zip(lookups).map(|(l, lookup)| Lookup {
        ended: ends
            .get(&l)
            .map_or(lookup.ended, |end| lookup.ended.max(*end)),
        ..lookup
    });
    longer.collect()
}

/// What a name service was asked although its client sent no query and connected to no server afterwards: nothing else
/// tells of it.
fn of_services(
    services: &[ServiceWait],
    queries: &IdVec<QueryId, Query>,
    attempts: &IdVec<ConnectionId, Attempt>,
) -> Vec<Lookup> {
    let told = |wait: &&ServiceWait| {
        let own = Some(wait.process);
        queries
            .iter()
            .any(|q| q.process == own && q.sent >= wait.began)
            || attempts.iter().any(|x| {
                x.role == Role::Server && x.process == own && x.began() >= Some(wait.began)
            })
    };
    let waits = services.iter().take(MAX_SERVICES);
    // Services are asked for users and groups, too: only a name shows a lookup.
    let alone = waits.filter(|wait| wait.asked.is_some() && !told(wait));
    alone.map(of_service).collect()
}

/// A client that asks name services more often is one itself.
const MAX_SERVICES: usize = 256;

fn of_service(wait: &ServiceWait) -> Lookup {
    let asked = wait.asked.as_deref().unwrap_or_default();
    Lookup {
        name: Name(asked.into()),
        cut: false,
        reverse: asked.parse().ok(),
        tasks: vec![wait.task.clone()],
        process: Some(wait.process),
        origin: Origin::Traced,
        client: None,
        queries: Vec::new(),
        began: wait.began,
        ended: wait.replied.unwrap_or(wait.ended).max(wait.began),
        addresses: Vec::new(),
        outcome: match wait.reply {
            ServiceReply::Answered => Outcome::Answered,
            ServiceReply::Denied => Outcome::Negative,
            ServiceReply::Failed => Outcome::Failed,
            ServiceReply::Unseen => Outcome::Open,
        },
        stop: Stop::Client,
        searched: Vec::new(),
    }
}

/// The lookup that a group of queries was.
fn conclude(
    coverage: &Coverage,
    queries: &IdVec<QueryId, Query>,
    mut group: Group,
    stop: Stop,
) -> Lookup {
    // Most hold one or two, and a list that grew holds room for four.
    group.queries.shrink_to_fit();
    let of = || group.queries.iter().map(|q| &queries[*q]);
    let ended = of().map(|q| q.until).max().unwrap_or(group.began);
    // Not those that came when the client had turned away.
    let heard = || {
        of().filter_map(Query::answer)
            .filter(|a| !a.late || a.at <= ended)
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in heard().flat_map(|a| a.addresses.iter()) {
        if !address.is_unspecified() && !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses.shrink_to_fit();
    let unanswered = of().any(|q| {
        q.answer().is_none()
            && !of().any(|o| {
                o.question.name.folded() == q.question.name.folded()
                    && o.question.kind == q.question.kind
                    && o.answer().is_some()
            })
    });
    // Names of a search list that do not exist say nothing about the name itself, unless all were tried.
    let searched = |q: &&Query| group.searched.contains(&q.question.name.folded());
    let all_searched = of().all(|q| searched(&q));
    let last = of().filter(|q| all_searched || !searched(q));
    let mut last = last.filter_map(Query::answer);
    let denies = |a: &super::Answer| a.negative() || a.referral && coverage.shows_denial(false);
    let denied = last.any(|a| denies(a) && (!a.late || a.at <= ended));
    // Its response carries no records.
    let no_question = of().any(|q| q.opcode != 0);
    let good =
        |a: &crate::join::Answer| a.rcode == Rcode::NOERROR && (a.records > 0 || no_question);
    let outcome = if heard().any(good) {
        Outcome::Answered
    } else if denied && !unanswered {
        Outcome::Negative
    } else if heard().any(|a| a.referral) && !unanswered {
        Outcome::Referred
    } else if of().any(Query::is_open) || stop != Stop::Client {
        Outcome::Open
    } else {
        Outcome::Failed
    };
    let cut = !coverage.shows_whole_name(!of().all(|q| q.question.cut));
    Lookup {
        name: group.name,
        cut,
        reverse: group.reverse,
        tasks: group.tasks,
        process: group.process,
        origin: group.origin,
        client: group.client,
        queries: group.queries,
        began: group.began,
        ended,
        addresses,
        outcome,
        stop,
        searched: group.searched,
    }
}

/// A connection belongs to a lookup of its client that gave its address before: best one that was over
/// by then, best one of the same task, best one that no other connection has used, of these the last. Else it belongs to
/// a reverse lookup of its address. TCP to a resolver belongs to the lookup whose answer was cut.
fn tie(
    queries: &IdVec<QueryId, Query>,
    lookups: &IdVec<LookupId, Lookup>,
    attempts: IdVec<ConnectionId, Attempt>,
) -> IdVec<ConnectionId, Connection> {
    let mut givers = Givers::new(lookups, Hosts::of(lookups, &attempts));
    let mut order: Vec<ConnectionId> = attempts.ids().collect();
    order.sort_by_key(|c| attempts[*c].began());
    let mut found: HashMap<ConnectionId, LookupId> = HashMap::new();
    for c in order {
        let attempt = &attempts[c];
        let began = attempt.began();
        let Some(at) = began.filter(|_| attempt.origin != Origin::Unattributed) else {
            continue;
        };
        let lookup = if attempt.role == Role::Resolver {
            cut_short(queries, lookups, attempt, at)
        } else if givers.by_address.contains_key(&attempt.to.ip) {
            givers.gave_address(attempt, at)
        } else {
            givers.just_before(queries, attempt, at)
        };
        if let Some(lookup) = lookup {
            found.insert(c, lookup);
            if attempt.role == Role::Server {
                givers.note_use(lookup, attempt.to.ip);
            }
        }
    }
    let ids = attempts.ids();
    { ids.zip(attempts) }
        .map(|(c, attempt)| Connection {
            lookup: found.get(&c).copied(),
            attempt,
        })
        .collect()
}

/// How soon after its lookup a connect takes it for its own, although another lookup that gave the same address is used.
const FRESH: Span = Span::seconds(1);
/// The same where the other lookups of the address were under way at the same time: of many threads some wait for a
/// processor.
const FRESH_AMONG_MANY: Span = Span::seconds(5);

/// The lookups that gave addresses.
struct Givers<'l> {
    lookups: &'l IdVec<LookupId, Lookup>,
    /// Those that gave an address, in order of their beginning.
    by_address: HashMap<IpAddr, Vec<LookupId>>,
    /// Of these, those that no connection has used.
    unused: HashMap<IpAddr, Vec<LookupId>>,
    used: HashSet<LookupId>,
    /// Those of a thread.
    by_thread: HashMap<u32, Vec<LookupId>>,
    hosts: Hosts,
}

impl<'l> Givers<'l> {
    fn new(lookups: &'l IdVec<LookupId, Lookup>, hosts: Hosts) -> Self {
        let mut by_address: HashMap<IpAddr, Vec<LookupId>> = HashMap::new();
        let mut by_thread: HashMap<u32, Vec<LookupId>> = HashMap::new();
        for (l, lookup) in lookups.entries() {
            // Nobody can say whose it is, and so whose connection used it.
            if lookup.origin == Origin::Unattributed {
                continue;
            }
            for address in lookup.addresses.iter().chain(&lookup.reverse) {
                let list = by_address.entry(address.to_canonical()).or_default();
                list.push(l);
            }
            for tid in lookup.tasks.iter().filter_map(|t| t.tid) {
                by_thread.entry(tid).or_default().push(l);
            }
        }
        Self {
            lookups,
            unused: by_address.clone(),
            by_address,
            used: HashSet::new(),
            by_thread,
            hosts,
        }
    }

    /// Remembers that a connection used the address that a lookup gave.
    fn note_use(&mut self, lookup: LookupId, address: IpAddr) {
        self.used.insert(lookup);
        if let Some(list) = self.unused.get_mut(&address)
            && let Ok(n) = list.binary_search(&lookup)
        {
            list.remove(n);
        }
    }

    /// The last lookups of the thread that connects.
    fn of_thread(&self, attempt: &Attempt, at: Timestamp) -> impl Iterator<Item = LookupId> {
        let tid = attempt.task.as_ref().and_then(|t| t.tid);
        let list = tid.and_then(|tid| self.by_thread.get(&tid));
        let list = list.map_or(&[][..], Vec::as_slice);
        self.begun(list, at).take(MAX_LOOKED_AT)
    }

    /// Those of a list that had begun by then, the latest first.
    fn begun<'a>(
        &self,
        list: &'a [LookupId],
        at: Timestamp,
    ) -> impl Iterator<Item = LookupId> + use<'a> {
        let end = list.partition_point(|l| self.lookups[*l].began <= at);
        list[..end].iter().rev().copied()
    }

    /// The best of the lookups that gave the address of a connection.
    fn gave_address(&self, attempt: &Attempt, at: Timestamp) -> Option<LookupId> {
        let address = attempt.to.ip;
        let task = attempt.task.as_ref().map(|t| t.tid);
        let all = self.by_address.get(&address).map_or(&[][..], Vec::as_slice);
        let unused = self.unused.get(&address).map_or(&[][..], Vec::as_slice);
        let gave = |l: &LookupId| {
            let lookup = &self.lookups[*l];
            let mut given = lookup.addresses.iter().chain(&lookup.reverse);
            given.any(|a| a.to_canonical() == address)
        };
        let candidates = || {
            let own = self.of_thread(attempt, at).filter(gave);
            let unused = self.begun(unused, at).take(MAX_UNUSED);
            let latest = self.begun(all, at).take(MAX_LOOKED_AT);
            own.chain(unused).chain(latest)
        };
        let last_began = self.begun(all, at).next().map(|l| self.lookups[l].began);
        let fresh = |l: &LookupId| {
            let lookup = &self.lookups[*l];
            let among_many = Some(lookup.ended) >= last_began;
            let pause = if among_many { FRESH_AMONG_MANY } else { FRESH };
            lookup.ended <= at && at - lookup.ended <= pause && !self.used.contains(l)
        };
        let best = |own: &dyn Fn(&Lookup) -> bool| {
            candidates()
                .filter(|l| own(&self.lookups[*l]))
                .max_by_key(|l| {
                    let lookup = &self.lookups[*l];
                    let over = lookup.ended <= at;
                    let same_task = lookup.tasks.iter().any(|t| Some(t.tid) == task);
                    let forward = lookup.reverse.is_none();
                    (forward, over, same_task, fresh(l), lookup.began)
                })
        };
        best(&|lookup| same_client(lookup, attempt)).or_else(|| {
            let lookups = candidates().map(|l| &self.lookups[l]);
            let other = other_address(&self.hosts, lookups, attempt)?;
            best(&|lookup| lookup.process == attempt.process && lookup.client == Some(other))
        })
    }

    /// The lookup whose answer a log cut before its addresses (strace shows 32 bytes), when the connect
    /// followed it at once in the same process: best one of the same thread, and none that another connection has used.
    fn just_before(
        &self,
        queries: &IdVec<QueryId, Query>,
        attempt: &Attempt,
        at: Timestamp,
    ) -> Option<LookupId> {
        let fits = |l: &LookupId, pause: Span| {
            let lookup = &self.lookups[*l];
            let unread = lookup.outcome == Outcome::Answered
                && lookup.addresses.is_empty()
                && lookup.reverse.is_none();
            let by_calls = lookup.queries_in(queries).all(|q| q.packet.is_none());
            let soon = lookup.ended <= at && at - lookup.ended <= pause;
            let own = attempt.origin.is_traced() && same_client(lookup, attempt);
            own && unread && by_calls && soon
        };
        let own = self.of_thread(attempt, at).next();
        let own = own.filter(|l| fits(l, OWN_PAUSE) && !self.used.contains(l));
        // Another thread's lookup, as a resolver's thread makes it for the one that connects, is taken once, and else the
        // last one serves again.
        let near = || before(self.lookups, at).filter(|l| fits(l, AT_ONCE));
        own.or_else(|| near().find(|l| !self.used.contains(l)))
            .or_else(|| near().next())
    }
}

/// The other address of the host that connects, from which it may have asked: a host has addresses of both families, and
/// asks a stub on itself from the loopback address. Only where no other client's lookup gave the address, and a host that
/// asks from the address that it connects from is not believed to ask from another one as well.
fn other_address<'l>(
    hosts: &Hosts,
    lookups: impl Iterator<Item = &'l Lookup>,
    attempt: &Attempt,
) -> Option<IpAddr> {
    let from = attempt.from?.ip;
    let mut clients = lookups.map(|l| l.client);
    let (local, remote): (Vec<_>, Vec<_>) = clients
        .by_ref()
        .filter(|client| *client != Some(from))
        .partition(|client| client.is_some_and(|c| c.is_loopback()));
    let one = |list: &[Option<IpAddr>]| {
        let first = list.first().copied().flatten()?;
        list.iter().all(|c| *c == Some(first)).then_some(first)
    };
    match (one(&local), remote.is_empty()) {
        (Some(local), true) => Some(local),
        _ => one(&remote).filter(|other| {
            let one = may_be_one_host(*other, from) || hosts.one_client(*other, from);
            local.is_empty() && one && !hosts.askers.contains(&from) && *other != attempt.to.ip
        }),
    }
}

/// The addresses that packets alone show, loopback left out.
struct Hosts {
    /// Those that looked something up.
    askers: HashSet<IpAddr>,
    /// Those that connected to a server and looked nothing up.
    others: HashSet<IpAddr>,
}

impl Hosts {
    fn of(lookups: &IdVec<LookupId, Lookup>, attempts: &IdVec<ConnectionId, Attempt>) -> Self {
        let asked = lookups.iter().filter(|l| !l.origin.is_traced());
        let askers: HashSet<IpAddr> = asked.filter_map(|l| l.client).collect();
        let askers: HashSet<IpAddr> = askers.into_iter().filter(|ip| !ip.is_loopback()).collect();
        let connects = attempts
            .iter()
            .filter(|x| !x.origin.is_traced() && x.role == Role::Server);
        let sources = connects.filter_map(|x| x.from).map(|from| from.ip);
        let others = sources.filter(|ip| !ip.is_loopback() && !askers.contains(ip));
        Self {
            others: others.collect(),
            askers,
        }
    }

    /// Whether a capture of one address that asks and one that connects is of one host with two interfaces.
    fn one_client(&self, asks: IpAddr, connects: IpAddr) -> bool {
        let only = |set: &HashSet<IpAddr>, ip| set.len() == 1 && set.contains(&ip);
        only(&self.askers, asks) && only(&self.others, connects)
    }
}

/// Whether one interface may have both addresses: of two families, or two of IPv6 (RFC 4291 section 2.8, RFC 8981), of
/// which one is link-local or both are in one subnet.
fn may_be_one_host(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            a.is_unicast_link_local()
                || b.is_unicast_link_local()
                || a.segments()[..4] == b.segments()[..4]
        }
        _ => a.is_ipv4() != b.is_ipv4(),
    }
}

/// How soon after its lookup a connect follows whose address the lookup must have given.
const AT_ONCE: Span = Span::millis(200);

/// How soon the thread that looked up connects: it may wait for a processor, or be slowed by its tracer.
const OWN_PAUSE: Span = Span::seconds(5);

/// How many lookups that gave an address are weighed for one connection: a busy service asks for the
/// same name all day, and only the last few can be its own.
const MAX_LOOKED_AT: usize = 64;
/// The same of lookups that no connection has used: as many threads may have had their answers at once.
const MAX_UNUSED: usize = 512;

/// The last lookups that had begun by then, the latest first.
fn before(
    lookups: &IdVec<LookupId, Lookup>,
    at: Timestamp,
) -> impl Iterator<Item = LookupId> + use<> {
    let end = lookups.partition_point(|l| l.began <= at);
    (0..end).rev().take(MAX_LOOKED_AT).map(LookupId::at)
}

/// The lookup that a TCP connection to a resolver continues.
fn cut_short(
    queries: &IdVec<QueryId, Query>,
    lookups: &IdVec<LookupId, Lookup>,
    attempt: &Attempt,
    at: Timestamp,
) -> Option<LookupId> {
    let known = |l: &LookupId| lookups[*l].origin != Origin::Unattributed;
    let own = |l: &LookupId| known(l) && same_client(&lookups[*l], attempt);
    let asked = |l: &LookupId| {
        lookups[*l].queries_in(queries).any(|q| {
            let cut = q.transport == Transport::Udp
                && q.answer().is_some_and(|a| a.truncated && a.at <= at);
            q.resolver == attempt.to
                && (cut || q.transport == Transport::Tcp && q.client == attempt.from)
        })
    };
    before(lookups, at).find(|l| own(l) && asked(l))
}

/// Whether a lookup was made by the process (or, where no call shows either, from the address) that connects.
fn same_client(lookup: &Lookup, attempt: &Attempt) -> bool {
    lookup.process == attempt.process
        && (lookup.process.is_some() || lookup.client == attempt.from.map(|from| from.ip))
}

/// How a client asks, as far as it shows in one lookup.
pub fn parallel(queries: &IdVec<QueryId, Query>, lookup: &Lookup) -> bool {
    let mut first: HashMap<Option<RecordType>, (Timestamp, Endpoint)> = HashMap::new();
    lookup.queries_in(queries).any(|q| {
        if let Some((at, resolver)) = first.get(&q.question.kind) {
            *resolver != q.resolver && q.sent - *at < TOGETHER
        } else {
            first.insert(q.question.kind, (q.sent, q.resolver));
            false
        }
    })
}

/// The longest that a lookup may be silent before a new query for the same name is a new lookup: a stub resolver may be told to
/// wait for half a minute, and TCP to a resolver hangs as long.
pub(crate) const SAME_LOOKUP: Span = Span::seconds(31);
