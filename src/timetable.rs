//! Stub resolvers: how long they wait, by arithmetic, and what sets them apart.
//!
//! A model is told what each server does with each query ([`ServerReply`]) and says what the stub resolver then does:
//! whom it asks when, how long it waits each time, and when the lookup is over ([`SimulatedLookup`]). One file per stub
//! resolver, each with its source; it ends with the stub resolver's [`Profile`]. What a model cannot know (c-ares' jitter, where `rotate` starts) makes it a
//! range: it is run for its least and its most.

pub mod c_ares;
pub mod glibc;
pub mod go;
pub mod musl;
pub mod profile;

use crate::report::Model;
use crate::time::Span;
pub use profile::{Profile, Signs, WaitsFor};
use std::collections::{BTreeMap, BTreeSet};

/// How patient a stub resolver is, as resolv.conf(5) words it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// `timeout:n`, seconds for the first server of the list.
    pub timeout: i64,
    /// `attempts:n`, rounds over all servers.
    pub attempts: usize,
}

impl Default for Patience {
    /// `RES_TIMEOUT` 5 and `RES_DFLRETRY` 2 of glibc's `<resolv.h>`; musl and Go have the same.
    fn default() -> Self {
        Self {
            timeout: 5,
            attempts: 2,
        }
    }
}

impl Patience {
    /// What is told, within a stub resolver's bounds: the least and the largest timeout in seconds, and the most
    /// attempts.
    fn within(options: &ResolverOptions, timeouts: (i64, i64), attempts: usize) -> Self {
        let default = Self::default();
        let (least, most) = timeouts;
        Self {
            timeout: options
                .timeout
                .unwrap_or(default.timeout)
                .clamp(least, most),
            attempts: options
                .attempts
                .unwrap_or(default.attempts)
                .clamp(1, attempts),
        }
    }
}

/// What resolv.conf tells every stub resolver; each has caps and defaults of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverOptions {
    /// How many resolvers there are to ask.
    pub servers: usize,
    /// `timeout:n`, as written.
    pub timeout: Option<i64>,
    /// `attempts:n`, as written.
    pub attempts: Option<usize>,
    /// `rotate`: start with another server each time.
    pub rotate: bool,
    /// `single-request`: ask for AAAA when A is answered.
    pub single_request: bool,
    /// `single-request-reopen`: the same, on a socket of its own.
    pub single_request_reopen: bool,
}

/// A stub resolver with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stub {
    /// The GNU C library's.
    Glibc,
    /// musl's.
    Musl,
    /// Go's own, without cgo.
    Go,
    /// c-ares, as node's `dns.resolve` and some builds of curl use it.
    CAres,
}

impl Stub {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Glibc, Self::Musl, Self::Go, Self::CAres];

    /// All that sets it apart from the others.
    pub fn profile(self) -> &'static Profile {
        match self {
            Self::Glibc => &glibc::PROFILE,
            Self::Musl => &musl::PROFILE,
            Self::Go => &go::PROFILE,
            Self::CAres => &c_ares::PROFILE,
        }
    }

    /// The name in sentences.
    pub fn spoken(self) -> &'static str {
        self.profile().spoken
    }

    /// Its timetable's name in reports.
    pub fn model(self) -> Model {
        self.profile().model
    }

    /// Timeout and attempts with this stub resolver's defaults and caps.
    pub fn patience(self, options: &ResolverOptions) -> Patience {
        (self.profile().patience)(options)
    }

    /// What it does when the servers reply like this. `start` is the server it begins with; all models but
    /// `rotate`'s begin with the first.
    pub fn simulate(
        self,
        options: &ResolverOptions,
        ask: &Ask,
        edge: Edge,
        start: usize,
    ) -> SimulatedLookup {
        (self.profile().simulate)(options, ask, edge, start)
    }
}

/// Which end of a range a model is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The shortest waits that it may make.
    Least,
    /// The longest.
    Most,
}

/// What a server does with one query. Times run from the query's sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerReply {
    /// Nothing, ever.
    Silent,
    /// An answer with records.
    Answer(Span),
    /// There is no such name, or no such record.
    Denied(Span),
    /// SERVFAIL, REFUSED and the like: another server may know better.
    Failure(Span),
    /// An error of the network: refused, or not to be reached.
    Error(Span),
    /// A truncated answer; the client repeats the question over TCP, which takes so much more.
    Truncated(Span, Span),
}

/// What is asked, and what would be replied.
pub struct Ask<'a> {
    /// How many questions go out together: two for A and AAAA.
    pub questions: usize,
    /// The reply to a query; `None`: nobody knows, and it is taken to be answered at once.
    pub reply: &'a dyn Fn(ServedQuery) -> Option<ServerReply>,
}

/// A query, as a server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedQuery {
    /// Position of the server in the list.
    pub server: usize,
    /// Which question.
    pub question: usize,
    /// How often this server was asked this question before.
    pub before: usize,
    /// How long ago it was asked first.
    pub since_first: Span,
}

/// One query message that a model sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelQuery {
    /// Position of the server in the list.
    pub server: usize,
    /// Which question.
    pub question: usize,
    /// When, from the lookup's beginning.
    pub at: Span,
    /// When the client stopped waiting for it.
    pub until: Span,
}

/// How a lookup ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LookupResult {
    /// Nobody answered.
    Failed,
    /// There is no such name or record.
    Denied,
    /// Answered.
    Answered,
}

/// What a stub resolver does for one lookup of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedLookup {
    /// Its queries, in order of time.
    pub sent: Vec<ModelQuery>,
    /// How long it takes.
    pub took: Span,
    /// How it ends.
    pub ending: LookupResult,
    /// Servers whose reply nobody knows, and which were taken to answer at once.
    pub guessed: BTreeSet<usize>,
}

/// A model's state: the clock, the queries sent, and how often each server was asked each question.
struct ModelRun<'a> {
    ask: &'a Ask<'a>,
    now: Span,
    asked: BTreeMap<(usize, usize), (usize, Span)>,
    sent: Vec<ModelQuery>,
    guessed: BTreeSet<usize>,
}

impl<'a> ModelRun<'a> {
    fn new(ask: &'a Ask<'a>) -> Self {
        Self {
            ask,
            now: Span::ZERO,
            asked: BTreeMap::new(),
            sent: Vec::new(),
            guessed: BTreeSet::new(),
        }
    }

    /// Sends a query now and says what comes of it. [`ModelRun::waited`] tells how long it was waited for.
    fn send(&mut self, server: usize, question: usize) -> ServerReply {
        let (before, first) = self
            .asked
            .entry((server, question))
            .or_insert((0, self.now));
        let reply = (self.ask.reply)(ServedQuery {
            server,
            question,
            before: *before,
            since_first: self.now - *first,
        });
        *before += 1;
        if reply.is_none() {
            self.guessed.insert(server);
        }
        self.sent.push(ModelQuery {
            server,
            question,
            at: self.now,
            until: self.now,
        });
        reply.unwrap_or(ServerReply::Answer(Span::ZERO))
    }

    /// The last query to a server for a question was waited for until then.
    fn waited(&mut self, server: usize, question: usize, until: Span) {
        let last = self.sent.iter_mut().rev();
        if let Some(sent) = { last }.find(|s| s.server == server && s.question == question) {
            sent.until = until;
        }
    }

    fn end(mut self, ending: LookupResult) -> SimulatedLookup {
        self.sent.sort_by_key(|s| (s.at, s.question, s.server));
        SimulatedLookup {
            sent: self.sent,
            took: self.now,
            ending,
            guessed: self.guessed,
        }
    }
}

/// Questions that are asked side by side, each with queries of its own (Go, c-ares): over when the last is.
fn side_by_side(
    one: impl Fn(usize) -> SimulatedLookup,
    questions: usize,
    in_turn: bool,
) -> SimulatedLookup {
    let mut all = SimulatedLookup {
        sent: Vec::new(),
        took: Span::ZERO,
        ending: LookupResult::Failed,
        guessed: BTreeSet::new(),
    };
    for question in 0..questions {
        let simulate = one(question);
        let from = if in_turn { all.took } else { Span::ZERO };
        all.sent
            .extend(simulate.sent.into_iter().map(|s| ModelQuery {
                at: s.at + from,
                until: s.until + from,
                ..s
            }));
        all.took = all.took.max(simulate.took + from);
        all.ending = all.ending.max(simulate.ending);
        all.guessed.extend(simulate.guessed);
    }
    all.sent.sort_by_key(|s| (s.at, s.question, s.server));
    all
}

/// One question, servers in turn, each waited for as long as `wait` says: a reply ends the wait, a usable one the
/// lookup. Answers that come later than that are lost.
fn in_turn(
    ask: &Ask,
    question: usize,
    tries: impl Iterator<Item = usize>,
    wait: impl Fn(usize) -> Span,
) -> SimulatedLookup {
    let mut run = ModelRun::new(ask);
    for (number, server) in tries.enumerate() {
        let patience = wait(number);
        let mut tcp = Span::ZERO;
        let (after, ending) = match run.send(server, question) {
            ServerReply::Answer(after) => (after, Some(LookupResult::Answered)),
            ServerReply::Denied(after) => (after, Some(LookupResult::Denied)),
            ServerReply::Truncated(after, more) => {
                tcp = more;
                (after, Some(LookupResult::Answered))
            }
            ServerReply::Failure(after) | ServerReply::Error(after) => (after, None),
            ServerReply::Silent => (patience, None),
        };
        let ending = ending.filter(|_| after <= patience);
        let until = run.now + after.min(patience);
        run.waited(server, question, until);
        run.now = until + if ending.is_some() { tcp } else { Span::ZERO };
        if let Some(ending) = ending {
            return run.end(ending);
        }
    }
    run.end(LookupResult::Failed)
}

#[cfg(test)]
mod tests;
