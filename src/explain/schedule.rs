//! A lookup laid on a stub resolver's timetable: how it asked, what a model of the stub resolver makes of what
//! the resolvers did, and ([`match_timetable`]) whether the waits seen are the model's.

pub mod match_timetable;
pub mod server_behaviour;

use super::Case;
use crate::decode::resolv_conf::{MAX_NAMESERVERS, ResolvConf};
use crate::event::dns::{Name, RecordType};
use crate::flow::Transport;
use crate::join::lookup::Lookup;
use crate::join::lookup::TOGETHER;
use crate::join::{LookupId, Query};
use crate::time::Span;
use crate::timetable::{Ask, Edge, LookupResult, ResolverOptions, ServedQuery, Stub, WaitsFor};
use server_behaviour::{QuestionTo, ServerBehaviour};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The resolvers and options that a client is told.
#[derive(Clone, Debug)]
pub struct Setup {
    /// resolv.conf; without one, the resolvers in the order in which they were first asked.
    pub conf: ResolvConf,
    /// Options that stand beside the file, in `RES_OPTIONS`.
    pub environment: Vec<String>,
    /// There is a resolv.conf.
    pub known: bool,
}

impl Setup {
    /// As the case has it.
    pub fn recorded(case: &Case) -> Self {
        Self {
            conf: case
                .config
                .map_or_else(|| in_order_asked(case), |(_, conf)| conf.clone()),
            environment: case.environment.to_vec(),
            known: case.config.is_some(),
        }
    }

    /// The resolvers that are asked.
    pub fn servers(&self) -> Vec<IpAddr> {
        let used = self.conf.used().iter();
        used.map(|(address, _)| address.to_canonical()).collect()
    }

    /// What a stub resolver makes of it.
    pub fn options_for(&self, stub: Stub) -> ResolverOptions {
        let more = if stub.profile().reads_environment {
            &self.environment[..]
        } else {
            &[]
        };
        self.conf.options_with(more)
    }
}

fn in_order_asked(case: &Case) -> ResolvConf {
    let mut conf = ResolvConf::default();
    let own = case
        .joined
        .queries
        .iter()
        .filter(|q| q.transport == Transport::Udp && q.is_clients());
    for query in own {
        let address = query.resolver.ip.to_canonical();
        if conf.nameservers.iter().all(|(a, _)| *a != address) {
            conf.nameservers.push((address, 0));
        }
        if conf.nameservers.len() == MAX_NAMESERVERS {
            break;
        }
    }
    conf
}

/// Questions that go out together.
#[derive(Clone, Debug)]
struct Stage {
    name: Name,
    /// Only the beginning of the name is known.
    cut: bool,
    kinds: Vec<Option<RecordType>>,
    /// How it ended in the case.
    ending: LookupResult,
}

/// How a lookup asks: its names in turn (a search list), of each the questions that share a wait.
#[derive(Clone, Debug)]
pub struct QuestionPlan {
    stages: Vec<Stage>,
    /// Whom it asked first.
    first: IpAddr,
}

impl QuestionPlan {
    /// From what was seen of a client that was told `setup`. `None`: nothing went over UDP.
    pub fn of(case: &Case, lookup: &Lookup, stub: Stub, setup: &Setup) -> Option<Self> {
        let reopens = setup.options_for(stub).single_request_reopen;
        let mut stages: Vec<(Stage, &Query)> = Vec::new();
        for query in udp(case, lookup) {
            let name = query.question.name.folded();
            let kind = query.question.kind;
            let ending = ending(query);
            let known = stages.iter_mut();
            if let Some((stage, _)) =
                { known }.find(|(s, _)| s.name == name && s.kinds.contains(&kind))
            {
                stage.ending = stage.ending.max(ending);
                continue;
            }
            match stages.last_mut() {
                Some((stage, first))
                    if stage.name == name && share(stub, reopens, first, query) =>
                {
                    stage.kinds.push(kind);
                    stage.ending = stage.ending.max(ending);
                }
                _ => stages.push((
                    Stage {
                        name,
                        cut: query.question.cut,
                        kinds: vec![kind],
                        ending,
                    },
                    query,
                )),
            }
        }
        let first = stages.first()?.1.resolver.ip.to_canonical();
        Some(Self {
            stages: stages.into_iter().map(|(stage, _)| stage).collect(),
            first,
        })
    }
}

/// The queries of a lookup that went over UDP.
fn udp<'a>(case: &'a Case, lookup: &'a Lookup) -> impl Iterator<Item = &'a Query> {
    let queries = lookup.queries(case.joined);
    { queries }.filter(|q| q.transport == Transport::Udp)
}

/// Whether two questions share a wait: glibc asks both from one socket, or waits for them in turn (`getent
/// hosts`); the others send what belongs together in one breath.
fn share(stub: Stub, reopens: bool, first: &Query, query: &Query) -> bool {
    let one_socket = stub.profile().waits_for == WaitsFor::OneServer;
    match (one_socket, first.client, query.client) {
        // With `single-request-reopen` glibc takes another socket within the wait.
        (true, ..) if reopens => true,
        (true, Some(a), Some(b)) => a == b,
        (true, ..) if first.association.is_some() => first.association == query.association,
        _ => query.sent - first.sent <= TOGETHER,
    }
}

fn ending(query: &Query) -> LookupResult {
    match query.answer() {
        Some(a) if a.truncated || a.usable() && !a.negative() => LookupResult::Answered,
        Some(a) if a.negative() => LookupResult::Denied,
        _ => LookupResult::Failed,
    }
}

/// One wait: for one server, or (musl) for all at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledWait {
    /// For whom.
    pub servers: Vec<IpAddr>,
    /// From the lookup's beginning.
    pub at: Span,
    /// When it was over.
    pub until: Span,
}

impl ScheduledWait {
    /// How long.
    pub fn span(&self) -> Span {
        self.until - self.at
    }
}

/// Queries (server, sent, waited until; in order of time) as waits: A and AAAA in one breath are one.
fn waits(queries: impl Iterator<Item = (IpAddr, Span, Span)>, stub: Stub) -> Vec<ScheduledWait> {
    let all = stub.profile().waits_for == WaitsFor::AllServers;
    let mut list: Vec<ScheduledWait> = Vec::new();
    for (server, at, until) in queries {
        let together =
            |w: &&mut ScheduledWait| at - w.at <= TOGETHER && (all || w.servers.contains(&server));
        match list.iter_mut().rev().take(4).find(together) {
            Some(wait) => {
                wait.until = Ord::max(wait.until, until);
                if !wait.servers.contains(&server) {
                    wait.servers.push(server);
                }
            }
            None => list.push(ScheduledWait {
                servers: vec![server],
                at,
                until,
            }),
        }
    }
    list
}

/// What a model makes of a lookup.
#[derive(Clone, Debug)]
pub struct Predicted {
    /// Its waits, in order.
    pub waits: Vec<ScheduledWait>,
    /// How long it takes.
    pub took: Span,
    /// How it ends.
    pub ending: LookupResult,
    /// Servers of which the case says nothing.
    pub guessed: BTreeSet<IpAddr>,
}

/// A lookup, how it asks, and the resolvers' conduct.
pub struct Scheduled<'a> {
    /// Position among the lookups.
    pub lookup: LookupId,
    /// Its plan.
    pub plan: &'a QuestionPlan,
    /// What the resolvers do.
    pub behaviour: &'a ServerBehaviour<'a>,
    /// By whom.
    pub stub: Stub,
}

impl Scheduled<'_> {
    /// The least or the most that the model says under a setup. With `rotate` any server may be the first,
    /// unless it is the case's own run that is told again (`as_seen`).
    pub fn predict(&self, setup: &Setup, edge: Edge, as_seen: bool) -> Predicted {
        let (options, servers) = (setup.options_for(self.stub), setup.servers());
        let in_turn = self.stub.profile().waits_for != WaitsFor::AllServers;
        let rotates = options.rotate && !servers.is_empty() && in_turn;
        let starts = match (rotates, as_seen) {
            (false, _) => 0..1,
            (true, true) => {
                let first = servers.iter().position(|s| *s == self.plan.first);
                let first = first.unwrap_or(0);
                first..first + 1
            }
            (true, false) => 0..servers.len(),
        };
        let first = starts.start;
        let mut best = self.run(&options, &servers, edge, first);
        for start in starts.skip(1) {
            let other = self.run(&options, &servers, edge, start);
            let better = match edge {
                Edge::Least => other.took < best.took,
                Edge::Most => other.took > best.took,
            };
            if better {
                best = other;
            }
        }
        best
    }

    fn run(
        &self,
        options: &ResolverOptions,
        servers: &[IpAddr],
        edge: Edge,
        start: usize,
    ) -> Predicted {
        let mut now = Span::ZERO;
        let mut sent = Vec::new();
        let mut ending = LookupResult::Failed;
        let mut guessed = BTreeSet::new();
        let replies = self.behaviour.of_lookup(self.lookup);
        for stage in &self.plan.stages {
            let reply = |asked: ServedQuery| {
                let question = QuestionTo {
                    server: *servers.get(asked.server)?,
                    transport: Transport::Udp,
                    name: stage.name.clone(),
                    kind: *stage.kinds.get(asked.question)?,
                    cut: stage.cut,
                };
                replies.reply(&question, &asked, edge)
            };
            let ask = Ask {
                questions: stage.kinds.len(),
                reply: &reply,
            };
            let course = self.stub.simulate(options, &ask, edge, start);
            let absolute = course
                .sent
                .iter()
                .filter_map(|s| Some((*servers.get(s.server)?, s.at + now, s.until + now)));
            sent.extend(absolute);
            now = now + course.took;
            ending = ending.max(course.ending);
            let unknown = course.guessed.iter().filter_map(|s| servers.get(*s));
            guessed.extend(unknown);
            // As in the case, unless it goes better or worse than there: then the rest is not asked.
            let better = course.ending > stage.ending && course.ending == LookupResult::Answered;
            let worse = course.ending < stage.ending && course.ending == LookupResult::Failed;
            if better || worse && !self.stub.profile().searches_on {
                break;
            }
        }
        Predicted {
            waits: waits(sent.into_iter(), self.stub),
            took: now,
            ending,
            guessed,
        }
    }
}
