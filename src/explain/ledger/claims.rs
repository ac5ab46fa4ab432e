//! Who may own which moments of an account.

use super::index::is_own;
use super::probes;
use super::story::same_story;
use super::{ChargedParty, Index, Kind, Subject};
use crate::event::{EventKind, Task};
use crate::explain::Case;
use crate::flow::{Endpoint, Transport};
use crate::join::connect::{Connection, Ending, Role};
use crate::join::lookup::{Lookup, TOGETHER};
use crate::join::{
    ClientId, ConnectionId, EventId, How, Id, LookupId, Query, QueryId, Silence, State,
};
use crate::time::{Span, Timestamp};

/// A claim to a span of time.
#[derive(Clone, Debug)]
pub struct Claim {
    /// From.
    pub from: Timestamp,
    /// To.
    pub to: Timestamp,
    /// Greater ranks win.
    pub rank: u8,
    /// When what it claims for began: among equal ranks the latest wins.
    pub began: Timestamp,
    /// What for.
    pub kind: Kind,
    /// Whom it is charged to.
    pub party: Option<ChargedParty>,
    /// Other resolvers that were asked the same at once and were as silent.
    pub with: Vec<Endpoint>,
    /// The query behind it.
    pub query: Option<QueryId>,
    /// The lookup that it belongs to.
    pub lookup: Option<LookupId>,
    /// No waiting call shows it.
    pub inferred: bool,
    /// A resolver whose answer lay unread meanwhile.
    pub unread: Option<Endpoint>,
    /// An attempt of which no SYN left.
    pub unsent: bool,
    /// Evidence: calls.
    pub calls: Vec<EventId>,
    /// Evidence: packets.
    pub packets: Vec<EventId>,
}

impl Claim {
    /// Whether it is for the same, and for the same resolvers.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.party, &self.with) == (other.kind, other.party, &other.with)
    }
}

/// The subject's own lookup.
const OWN_LOOKUP: u8 = 6;
/// Earlier attempts of the same story.
const OWN_ATTEMPT: u8 = 5;
/// Whatever else the same task looked up.
const SAME_TASK: u8 = 4;
/// Whatever else its process looked up.
const SAME_PROCESS: u8 = 3;
/// What the processes that led to it looked up.
const LED_TO: u8 = 2;
/// Sockets that are neither a resolver's nor a name service's: whatever else is known says more.
const OTHER_SOCKET: u8 = 1;
/// What the host asked the network for meanwhile, for the client as it seems.
pub const ON_THE_LINK: u8 = 1;
/// Attempts before it whose end no input shows: known, and no more.
const UNDER_WAY: u8 = 0;

/// All claims to a subject's window.
pub fn list(
    case: &Case,
    index: &Index,
    subject: Subject,
    from: Timestamp,
    to: Timestamp,
) -> Vec<Claim> {
    let mut claimed = Claimed {
        case,
        index,
        subject,
        from,
        to,
        claims: Vec::new(),
    };
    claimed.by_lookups();
    claimed.by_services();
    claimed.by_other_sockets();
    claimed.by_connections();
    let probes = probes::claims(case, index, subject, (from, to));
    claimed.claims.extend(probes);
    claimed.claims
}

/// A subject's window and the claims to it.
struct Claimed<'a> {
    case: &'a Case<'a>,
    index: &'a Index,
    subject: Subject,
    from: Timestamp,
    to: Timestamp,
    claims: Vec<Claim>,
}

impl Claimed<'_> {
    /// The thread that the subject is of.
    fn task(&self) -> Option<&Task> {
        match self.subject {
            Subject::Connection(c) => self.case.joined.connections[c].task.as_ref(),
            Subject::Lookup(l) => self.case.joined.lookups[l].tasks.first(),
        }
    }

    fn by_lookups(&mut self) {
        let (case, index) = (self.case, self.index);
        let lookups = &case.joined.lookups;
        let first = lookups.partition_point(|l| l.began < self.from);
        let own = index.own_lookup(case, self.subject);
        let end = lookups.partition_point(|l| l.began <= self.to);
        let weighed = first..end.min(first.saturating_add(index.claims_each)).max(first);
        if weighed.end < end {
            index.cut.set(true);
        }
        let beyond = own.filter(|l| (weighed.end..end).contains(&l.position()));
        for l in weighed.map(LookupId::at).chain(beyond) {
            if self.claims.len() >= index.claims_each && own != Some(l) {
                index.cut.set(true);
                continue;
            }
            if let Some(rank) = rank_of_lookup(case, index, self.subject, l, self.to) {
                of_lookup(case, index, l, rank, &mut self.claims);
            }
        }
    }

    fn by_services(&mut self) {
        let asker = self.index.asker_of(self.case, self.subject);
        let tid = self.task().map(|t| t.tid);
        let waits = self.case.joined.services.iter();
        for wait in waits.filter(|s| s.ended > self.from && s.began < self.to) {
            let rank = match asker {
                ClientId::Process(p) if p == wait.process && tid == Some(wait.task.tid) => {
                    SAME_TASK
                }
                ClientId::Process(p) if p == wait.process => SAME_PROCESS,
                ClientId::Process(_) => LED_TO,
                ClientId::Host(_) => continue,
            };
            self.claims.push(Claim {
                from: wait.began,
                to: wait.ended,
                rank,
                began: wait.began,
                kind: Kind::NameService,
                party: Some(ChargedParty::Service(wait.service)),
                with: Vec::new(),
                query: None,
                lookup: None,
                inferred: wait.inferred,
                unread: None,
                unsent: false,
                calls: wait.calls.clone(),
                packets: Vec::new(),
            });
        }
    }

    /// Waits of the subject's own thread for other sockets.
    fn by_other_sockets(&mut self) {
        let waits = self.task().and_then(|t| self.index.other_waits.get(&t.tid));
        let waits = waits.map_or(&[][..], Vec::as_slice);
        let first = waits.partition_point(|w| w.to <= self.from);
        let within = waits[first..].iter().take_while(|w| w.from < self.to);
        let claims = within.take(self.index.claims_each).map(|wait| Claim {
            from: wait.from,
            to: wait.to,
            rank: OTHER_SOCKET,
            began: wait.from,
            kind: Kind::SocketWait,
            party: Some(wait.party),
            with: Vec::new(),
            query: None,
            lookup: None,
            inferred: false,
            unread: None,
            unsent: false,
            calls: vec![wait.call],
            packets: Vec::new(),
        });
        self.claims.extend(claims);
    }

    /// TCP to resolvers, earlier attempts of the same story, and this attempt's own failure.
    fn by_connections(&mut self) {
        let (case, index) = (self.case, self.index);
        let asker = index.asker_of(case, self.subject);
        let Some(list) = index.connections.get(&asker) else {
            return;
        };
        let at = |c: &ConnectionId| {
            let c = &case.joined.connections[*c];
            c.began().unwrap_or(c.ended.unwrap_or(self.from))
        };
        let start = list.partition_point(|c| at(c) < self.from);
        let within = list[start..].iter().take_while(|c| at(c) <= self.to);
        for &c in within.take(index.claims_each) {
            let other = &case.joined.connections[c];
            let Some((kind, rank, end)) = self.standing(c) else {
                continue;
            };
            let began = at(&c);
            self.claims.push(Claim {
                from: began,
                to: end,
                rank,
                began,
                kind,
                party: Some(ChargedParty::Endpoint(other.to)),
                with: Vec::new(),
                query: None,
                lookup: other.lookup.filter(|_| other.role == Role::Resolver),
                inferred: !other.origin.is_traced()
                    || other.cause.is_none_or(|c| c.how == How::Inferred),
                unread: None,
                unsent: other.outcome.lacks_syn(),
                calls: other.cause.and_then(|c| c.call).into_iter().collect(),
                packets: other
                    .syns
                    .iter()
                    .copied()
                    .chain(other.ended_by.filter(|e| is_packet(case, *e)))
                    .collect(),
            });
        }
    }

    /// Whether the subject follows an attempt that its thread closed and whose end no input shows: it tries the same server
    /// again, or another address of the same lookup.
    fn is_tried_again(&self, other: &Connection) -> bool {
        let Subject::Connection(c) = self.subject else {
            return false;
        };
        let this = &self.case.joined.connections[c];
        let tid = |x: &Connection| x.task.as_ref().map(|t| t.tid);
        let same_name = this.lookup.is_some() && this.lookup == other.lookup;
        other.outcome.is_open()
            && (same_name || other.to == this.to)
            && other.origin.is_traced()
            && tid(other) == tid(this)
    }

    /// What a connection claims for, how strongly, and until when; none where the subject did not wait for it.
    fn standing(&self, c: ConnectionId) -> Option<(Kind, u8, Timestamp)> {
        let (case, to) = (self.case, self.to);
        let other = &case.joined.connections[c];
        let own = self.subject == Subject::Connection(c);
        match other.role {
            // Without a trace the other lookups of a host are another program's.
            Role::Resolver
                if !other.origin.is_traced()
                    && other.lookup != self.index.own_lookup(case, self.subject) =>
            {
                None
            }
            Role::Resolver => {
                let end = last_answer(case, other)
                    .or(other.ended)
                    .or(other.began().filter(|_| !other.outcome.is_open()));
                Some((Kind::ResolverTcp, OWN_LOOKUP, end.unwrap_or(to)))
            }
            Role::Server if own && other.first_syn.is_none() => {
                Some((Kind::AttemptFailed, OWN_ATTEMPT, to))
            }
            Role::Server if !own && is_earlier(case, self.subject, other) => {
                Some((Kind::AttemptFailed, OWN_ATTEMPT, failed_at(other, to)))
            }
            // It may have been used for something that the trace does not show; busy or asleep the program was not.
            Role::Server if !own && self.is_tried_again(other) => {
                Some((Kind::Unexplained, UNDER_WAY, other.ended?))
            }
            _ => None,
        }
    }
}

/// How strong a lookup's claim is. One that was still going on when the connect was called cannot be
/// what the connect waited for, unless it is its own.
fn rank_of_lookup(
    case: &Case,
    index: &Index,
    subject: Subject,
    l: LookupId,
    to: Timestamp,
) -> Option<u8> {
    let joined = case.joined;
    let lookup = &joined.lookups[l];
    if !lookup.queries.iter().any(|q| is_own(&joined.queries[*q])) {
        return None;
    }
    let own = index.own_lookup(case, subject);
    let task = match subject {
        Subject::Lookup(_) => None,
        Subject::Connection(c) => joined.connections[c].task.as_ref(),
    };
    if own == Some(l)
        || own.is_some_and(|o| {
            joined.lookups[o].name.folded() == lookup.name.folded()
                && index.asker_of_lookup(case, o) == index.asker_of_lookup(case, l)
        })
    {
        return Some(OWN_LOOKUP);
    }
    if lookup.ended > to + case.evidence.tolerance + Span::millis(1) {
        return None;
    }
    let (asker, theirs) = (
        index.asker_of(case, subject),
        index.asker_of_lookup(case, l),
    );
    match (asker, theirs) {
        // What else a watched process looked up may have been another thread's doing, as with a host.
        _ if !lookup.origin.is_traced() => None,
        (ClientId::Process(p), ClientId::Process(o)) if p == o => {
            let same = task.is_some_and(|t| lookup.tasks.iter().any(|x| x.tid == t.tid));
            Some(if same { SAME_TASK } else { SAME_PROCESS })
        }
        (ClientId::Process(p), ClientId::Process(_)) => {
            let born = joined
                .processes
                .get(p)
                .and_then(|p| p.seen)
                .map(|(first, _)| first)?;
            (lookup.ended <= born + Span::millis(100)).then_some(LED_TO)
        }
        // What else a host looked up was for some other program of it, as far as anybody knows.
        _ => None,
    }
}

/// One claim per query of a lookup: from its sending until the client stopped waiting for it.
fn of_lookup(case: &Case, index: &Index, l: LookupId, rank: u8, claims: &mut Vec<Claim>) {
    let lookup = &case.joined.lookups[l];
    let waits_seen = case.evidence.sees_waits();
    for &q in &lookup.queries {
        let query = &case.joined.queries[q];
        if matches!(&query.state, State::Open(blind) if blind.hides_packets()) {
            // Its answer may be what the capture lacks: nobody knows what the client waited for.
            continue;
        }
        let kind = kind_of(lookup, query);
        let race = Race::of(case, lookup, query);
        if race.as_ref().is_some_and(|race| race.lost(query)) {
            continue;
        }
        let (leader, with, began) = match race {
            Some(race) => race.shared(query),
            None => (query.resolver, Vec::new(), query.sent),
        };
        let mut calls: Vec<EventId> = query.cause.and_then(|c| c.call).into_iter().collect();
        if let Some(task) = &query.task {
            calls.extend(index.waits_in(task.tid, query.sent, query.until));
        }
        let answer = query
            .response()
            .map(|a| a.event)
            .or(query.refusal().map(|r| r.event));
        let (mut packets, mut more) = (Vec::from_iter(query.packet), Vec::new());
        if let Some(event) = answer {
            match case.evidence.event(event).what {
                EventKind::Packet(_) => packets.push(event),
                _ => more.push(event),
            }
        }
        calls.extend(more);
        let inferred =
            query.implied || !waits_seen || query.cause.is_none_or(|c| c.how == How::Inferred);
        claims.push(Claim {
            from: began,
            to: query.until,
            rank,
            began,
            kind,
            party: Some(ChargedParty::Endpoint(leader)),
            with,
            query: Some(q),
            lookup: Some(l),
            inferred,
            unread: unread(case, lookup, query),
            unsent: false,
            calls,
            packets,
        });
    }
}

/// How many queries around one are looked at for a race: musl asks three resolvers for two types.
const MAX_RACE: usize = 32;

/// One question to several resolvers at once from one socket (musl): the client waits for the first good answer of any of
/// them, and while none comes for all of them.
struct Race<'a> {
    /// In the order of their sending; at least two resolvers.
    queries: Vec<&'a Query>,
    /// Whose answer ended the wait.
    winner: Option<&'a Query>,
}

impl<'a> Race<'a> {
    /// The race that a query is part of, if it is one.
    fn of(case: &'a Case, lookup: &'a Lookup, query: &'a Query) -> Option<Self> {
        let same_socket = |q: &Query| match (q.client, query.client) {
            (Some(a), Some(b)) => a == b,
            _ => q.association.is_some() && q.association == query.association,
        };
        let raced =
            |q: &&Query| same_socket(q) && q.question == query.question && q.refusal().is_none();
        let at = |q: &QueryId| case.joined.queries[*q].sent;
        let start = lookup
            .queries
            .partition_point(|q| at(q) < query.sent - TOGETHER);
        let around = lookup.queries[start..]
            .iter()
            .take(MAX_RACE)
            .map(|q| &case.joined.queries[*q])
            .take_while(|q| q.sent - query.sent <= TOGETHER);
        let queries: Vec<&Query> = around.filter(raced).collect();
        if query.refusal().is_some() || queries.iter().all(|q| q.resolver == query.resolver) {
            return None;
        }
        let good = |q: &&&Query| q.answer().is_some_and(|a| !a.late && !a.rcode.is_error());
        let winner = queries.iter().filter(good);
        let winner = winner.min_by_key(|q| q.answer().map(|a| a.at)).copied();
        Some(Self { queries, winner })
    }

    /// Whether another resolver's answer ended the wait for this query.
    fn lost(&self, query: &Query) -> bool {
        self.winner.is_some_and(|w| w.resolver != query.resolver)
    }

    /// Whom the wait is charged to, who was silent with it, and when the wait began.
    fn shared(&self, query: &Query) -> (Endpoint, Vec<Endpoint>, Timestamp) {
        let began = self.queries.first().map_or(query.sent, |q| q.sent);
        if self.winner.is_some() {
            return (query.resolver, Vec::new(), began);
        }
        let mut resolvers: Vec<Endpoint> = Vec::new();
        let alike = |q: &&&Query| q.answer().is_none() && q.is_lost() == query.is_lost();
        for q in self.queries.iter().filter(alike) {
            if !resolvers.contains(&q.resolver) {
                resolvers.push(q.resolver);
            }
        }
        if query.answer().is_some() || resolvers.is_empty() {
            return (query.resolver, Vec::new(), query.sent);
        }
        (resolvers.remove(0), resolvers, began)
    }
}

/// What waiting for a query is called.
fn kind_of(lookup: &Lookup, query: &Query) -> Kind {
    if query.transport == Transport::Tcp {
        return Kind::ResolverTcp;
    }
    match &query.state {
        State::Unanswered(Silence::Refused(why)) if why.refused => Kind::ResolverRefused,
        State::NeverSent(_) | State::Unanswered(Silence::Refused(_)) => Kind::ResolverUnreachable,
        State::Unanswered(Silence::Absent(_)) | State::Open(_) => Kind::ResolverSilent,
        State::Answered(answer) if answer.late => Kind::ResolverSilent,
        State::Answered(answer) if answer.negative() && is_searched(lookup, query) => {
            Kind::SearchDomains
        }
        State::NotReceived(..) => Kind::AnswerNotReceived,
        State::Answered(_) | State::Unseen => Kind::ResolverAnswer,
    }
}

/// Whether a query asked for a name of the search list that was tried in vain before another one.
fn is_searched(lookup: &Lookup, query: &Query) -> bool {
    lookup.searched.contains(&query.question.name.folded())
}

/// Another resolver of the same lookup whose answer to this very question had arrived too late and lay
/// unread while the client waited here.
fn unread(case: &Case, lookup: &Lookup, query: &Query) -> Option<Endpoint> {
    lookup.queries(case.joined).find_map(|other| {
        let answer = other
            .answer()
            .filter(|a| a.late && a.at >= query.sent && a.at < query.until)?;
        let same = other.question.kind == query.question.kind && other.resolver != query.resolver;
        (same && !answer.truncated).then_some(other.resolver)
    })
}

fn is_packet(case: &Case, event: EventId) -> bool {
    case.evidence.is_packet(event)
}

/// When the last DNS answer over a connection to a resolver came.
fn last_answer(case: &Case, connection: &Connection) -> Option<Timestamp> {
    if connection.outcome != Ending::Connected {
        return None;
    }
    let from = connection.began()?;
    let queries = &case.joined.queries;
    let start = queries.partition_point(|q| q.sent < from);
    queries.as_slice()[start..]
        .iter()
        .take_while(|q| q.sent - from < Span::seconds(140))
        .filter(|q| q.transport == Transport::Tcp && q.client == connection.from)
        .map(|q| q.answer().map_or(q.until, |a| a.at))
        .max()
}

fn is_earlier(case: &Case, subject: Subject, other: &Connection) -> bool {
    matches!(subject, Subject::Connection(c) if same_story(case, c, other))
}

fn failed_at(attempt: &Connection, to: Timestamp) -> Timestamp {
    match attempt.outcome {
        Ending::Refused | Ending::Unreachable | Ending::NoSyn(_) | Ending::TimedOut(_) => {
            attempt.ended.or(attempt.began()).unwrap_or(to)
        }
        Ending::Open(_) | Ending::Connected => to,
    }
}
