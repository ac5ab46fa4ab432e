//! What each resolver did for the client, counted once for all findings.

use super::cost::{self, Cost};
use super::{Draft, FindingId, Statement, parties};
use crate::coverage::WaitEnd;
use crate::event::dns::{Name, RecordType};
use crate::event::{EventKind, Op, Packet};
use crate::explain::Case;
use crate::explain::resolver;
use crate::flow::{Endpoint, Transport};
use crate::join::lookup::CUT;
use crate::join::probe::Probe;
use crate::join::{EventId, Query, Silence, State};
use crate::time::Span;
use crate::totals::Outcomes;
use crate::totals::times::Times;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Answers that take longer are worth a word: a recursive lookup over half the world takes less.
pub const SLOW: Span = Span::millis(500);

/// How many calls and packets one finding cites.
pub const MAX_EVIDENCE: usize = 50;

/// An answer is late when it came this much after the client had given up; less is the time between the
/// end of a wait and the call that reads.
const LATE: Span = Span::millis(5);

/// Whether the answer came after the client had given up.
fn is_late(q: &Query) -> bool {
    q.answer().is_some_and(|a| a.late && a.at - q.until >= LATE)
}

/// Whether the answer was an error.
fn is_error(q: &Query) -> bool {
    q.answer().is_some_and(|a| a.rcode.is_error())
}

/// How many resolvers are looked at: a client has a few, and whoever talks to more is a resolver itself.
const MAX_RESOLVERS: usize = 256;
/// A client that asks another resolver from another socket so soon has not waited for this one: an error told
/// it to go on. Those that ask all at once (musl) use one socket.
const MOVED_ON: Span = Span::millis(500);
/// How many queries around one are looked at for that.
const AROUND: usize = 200;

/// One resolver and the client's own queries to it over UDP.
pub struct Tally<'a> {
    case: &'a Case<'a>,
    /// Who was asked.
    pub resolver: Endpoint,
    /// The queries, in order of time.
    pub queries: Vec<&'a Query>,
    /// Others, which were evicted.
    evicted: Outcomes,
    /// How long the answers to those took.
    times: Option<&'a Times>,
}

/// Queries of one kind: those that are retained, and how many there were in all.
pub struct SomeQueries<'a> {
    /// Those that are retained, in order of time.
    pub retained: Vec<&'a Query>,
    /// How many there were, evicted ones among them.
    pub count: usize,
}

/// What findings say of queries to one resolver.
pub fn outcomes(case: &Case, resolver: Endpoint, queries: Vec<&Query>) -> Outcomes {
    let tally = Tally {
        case,
        resolver,
        queries,
        evicted: Outcomes::default(),
        times: None,
    };
    Outcomes {
        asked: tally.asked(),
        answered: tally.answered().count,
        truncated: tally.truncated().count,
        errors: tally.errors().count,
        in_time: tally.in_time().count,
        slow: tally.slow().count,
        late: tally.late().count,
        not_received: tally.not_received().count,
        silent: tally.silent().count,
        refused: tally.refused().count,
        undelivered: tally.undelivered().count,
    }
}

/// A tally per resolver, in the order they were first asked. Queries of untraced processes are nobody's
/// here: the client is never blamed for them.
pub fn resolvers<'a>(case: &'a Case<'a>) -> Vec<Tally<'a>> {
    let mut list: Vec<Tally> = Vec::new();
    let mut position: HashMap<Endpoint, usize> = HashMap::new();
    for query in case
        .joined
        .queries
        .iter()
        .filter(|q| q.is_clients() && q.transport == Transport::Udp && q.opcode == 0)
    {
        if list.len() >= MAX_RESOLVERS && !position.contains_key(&query.resolver) {
            continue;
        }
        let i = *position.entry(query.resolver).or_insert_with(|| {
            let row = resolver::key(query);
            list.push(Tally {
                case,
                resolver: query.resolver,
                queries: Vec::new(),
                evicted: case.totals.outcomes(&row),
                times: case.totals.counts(&row).map(|counts| &counts.times),
            });
            list.len() - 1
        });
        list[i].queries.push(query);
    }
    list
}

impl<'a> Tally<'a> {
    /// How many queries there were.
    pub fn asked(&self) -> usize {
        self.queries.len() + self.evicted.asked
    }

    /// Answered, in time or late.
    pub fn answered(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.answered, |q| q.answer().is_some())
    }

    /// Answered with a truncated response.
    pub fn truncated(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.truncated, |q| {
            q.answer().is_some_and(|a| a.truncated)
        })
    }

    /// Answered while the client still waited.
    pub fn in_time(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.in_time, |q| {
            q.answer().is_some() && !is_late(q)
        })
    }

    /// Answered with FORMERR, SERVFAIL, NOTIMP or REFUSED (RFC 1035 section 4.1.1): the server would not or could not
    /// answer. NXDOMAIN is an answer.
    pub fn errors(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.errors, is_error)
    }

    /// Whether a query is one of this resolver's that it answered with an error.
    pub fn has_error(&self, q: &Query) -> bool {
        q.is_clients()
            && q.transport == Transport::Udp
            && q.resolver == self.resolver
            && is_error(q)
    }

    /// Answered in time, but after [`SLOW`].
    pub fn slow(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.slow, |q| {
            q.answer().is_some_and(|a| a.at - q.sent >= SLOW) && !is_late(q)
        })
    }

    /// How long the answers in time took, those of evicted queries among them.
    pub fn times_in_time(&self) -> Times {
        let mut times = self.times.cloned().unwrap_or_default();
        for q in self.in_time().retained {
            if let Some(answer) = q.answer() {
                times.count(answer.at - q.sent, 1);
            }
        }
        times
    }

    /// Answered too late.
    pub fn late(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.late, is_late)
    }

    /// Answered on the wire, and the client did not get the answer.
    pub fn not_received(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.not_received, Query::is_lost)
    }

    /// Left the host, and nothing at all came back although an answer was due. Where there is a capture,
    /// only what it shows leaving counts: outside of it nobody can tell.
    pub fn silent(&self) -> SomeQueries<'a> {
        let capture = self.case.evidence.has_capture();
        self.pick(self.evicted.silent, |q| {
            q.is_silent()
                && (q.packet.is_some() || !capture)
                && self
                    .case
                    .evidence
                    .coverage
                    .was_due(q.waited(), WaitEnd::Seen, Span::ZERO)
                    .is_ok()
                && !self.moved_on(q)
        })
    }

    /// Refused by the far end: port unreachable, prohibited, `ECONNREFUSED`.
    pub fn refused(&self) -> SomeQueries<'a> {
        self.pick(self.evicted.refused, |q| {
            q.refusal().is_some_and(|r| r.refused)
        })
    }

    /// Never left, or the network said that the resolver cannot be reached.
    pub fn undelivered(&self) -> SomeQueries<'a> {
        let on_wire = self.queries.iter().any(|q| q.packet.is_some());
        self.pick(self.evicted.undelivered, |q| match &q.state {
            // A connect alone may have been followed by no send at all: only an error, or a wait that
            // no packet accounts for, makes it a query.
            State::NeverSent(Silence::Absent(_)) if q.implied => {
                !on_wire && q.waited() >= Span::seconds(1)
            }
            State::NeverSent(Silence::Absent(_)) => true,
            State::NeverSent(Silence::Refused(r)) | State::Unanswered(Silence::Refused(r)) => {
                !r.refused
            }
            _ => false,
        })
    }

    /// Whether the client turned to another resolver without waiting.
    fn moved_on(&self, q: &Query) -> bool {
        let all = &self.case.joined.queries;
        let start = all.partition_point(|o| o.sent <= q.sent);
        let soon = all.as_slice()[start..]
            .iter()
            .take(AROUND)
            .take_while(|o| o.sent - q.sent < MOVED_ON);
        q.association.is_some()
            && soon.into_iter().any(|o| {
                o.resolver != q.resolver
                    && o.process == q.process
                    && o.association != q.association
                    && o.association.is_some()
                    && o.question == q.question
                    && o.task == q.task
            })
    }

    fn pick(&self, evicted: usize, test: impl Fn(&Query) -> bool) -> SomeQueries<'a> {
        let retained: Vec<&Query> = self.queries.iter().copied().filter(|q| test(q)).collect();
        SomeQueries {
            count: retained.len() + evicted,
            retained,
        }
    }

    /// Questions of one type that this resolver leaves out for a name while it answers the other address
    /// type of the same name: the type, and the queries it left.
    pub fn one_type_silent(&self) -> Vec<(RecordType, Vec<&'a Query>)> {
        let mut by_question: HashMap<(Name, RecordType), (usize, Vec<&'a Query>)> = HashMap::new();
        let mut answered_types: HashSet<RecordType> = HashSet::new();
        for q in &self.queries {
            let Some(kind) = q.question.kind else {
                continue;
            };
            let (answered, silent) = by_question
                .entry((q.question.name.folded(), kind))
                .or_default();
            if q.answer().is_some_and(|a| a.truncated) {
                // The client turns to TCP and need not read the other answer.
                continue;
            }
            if q.answer().is_some() {
                *answered += 1;
                answered_types.insert(kind);
            } else if q.is_silent() {
                silent.push(*q);
            }
        }
        let mut found = Vec::new();
        for (kind, other) in [
            (RecordType::AAAA, RecordType::A),
            (RecordType::A, RecordType::AAAA),
        ] {
            let mut left: Vec<&Query> = Vec::new();
            for ((name, k), (answered, silent)) in &by_question {
                let spoke = by_question
                    .get(&(name.clone(), other))
                    .is_some_and(|(n, _)| *n > 0);
                let never = !answered_types.contains(&kind);
                let sure = is_left_out(kind, silent.len(), never);
                if *k == kind && *answered == 0 && !silent.is_empty() && spoke && sure {
                    left.extend(silent);
                }
            }
            if !left.is_empty() {
                left.sort_by_key(|q| q.sent);
                found.push((kind, left));
            }
        }
        found
    }

    /// A conclusion about this resolver, as grave as the time it cost, and graver where a lookup failed for it.
    pub fn conclude(&self, id: FindingId, cost: Cost, said: Statement) -> Draft {
        Draft {
            id,
            severity: cost::severity(cost.span, self.lookup_failed()),
            subject: cost.subject,
            parties: parties::resolvers([self.resolver]),
            title: said.title,
            detail: said.detail,
            cost: cost.span,
            total: cost.total,
            remedy: Some(said.remedy),
            evidence: said.evidence,
        }
    }

    /// Whether a lookup that asked this resolver failed.
    pub fn lookup_failed(&self) -> bool {
        let joined = self.case.joined;
        joined.lookups.iter().any(|l| {
            l.outcome == crate::join::lookup::Outcome::Failed
                && l.queries.iter().any(|q| {
                    let q = &joined.queries[*q];
                    q.resolver == self.resolver && q.is_clients()
                })
        })
    }
}

/// Whether a resolver leaves out a type of which it was silent this often, never answering it perhaps. One lost packet looks
/// the same: that AAAA is dropped is a common fault, that A is and AAAA is not would be a strange one.
pub fn is_left_out(kind: RecordType, silent: usize, never_answered: bool) -> bool {
    silent > 1 || kind == RecordType::AAAA && never_answered
}

/// The address from which a response came to one of these that were sent to another one.
pub fn answered_from(case: &Case, queries: &[&Query]) -> Option<Endpoint> {
    queries
        .iter()
        .find_map(|q| match &case.evidence.event(q.foreign?).what {
            EventKind::Packet(Packet::Dns { flow, .. }) if flow.src != q.resolver => Some(flow.src),
            _ => None,
        })
}

/// How queries were left without an answer: in silence, or with a response that answers another question.
pub fn how_left(case: &Case, queries: &[&Query]) -> String {
    let Some(event) = queries.iter().find_map(|q| q.foreign) else {
        return "without an answer".into();
    };
    if let Some(from) = answered_from(case, queries) {
        return format!("with a response that came from another address ({from})");
    }
    let message = match &case.evidence.event(event).what {
        EventKind::Packet(Packet::Dns { message, .. }) => Some(&**message),
        EventKind::Call(call) => match &call.op {
            Op::Receive { messages, .. } => messages.iter().find_map(|m| m.dns.first()),
            _ => None,
        },
        _ => None,
    };
    match message.and_then(|m| m.question.as_ref()) {
        Some(question) => format!("with a response that answers another question ({question})"),
        None => "with a response that answers another question".into(),
    }
}

/// The record types asked for: `A and AAAA`.
pub fn types(queries: &[&Query]) -> String {
    let kinds: BTreeSet<RecordType> = queries.iter().filter_map(|q| q.question.kind).collect();
    let names: Vec<String> = kinds.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        String::new()
    } else {
        crate::explain::words::list(&names)
    }
}

/// `2 queries (A and AAAA)`, of which these are retained.
pub fn count_and_types(queries: &[&Query], count: usize) -> String {
    let kinds = types(queries);
    let n = crate::explain::words::queries(count);
    if kinds.is_empty() {
        n
    } else {
        format!("{n} ({kinds})")
    }
}

/// The names asked for, in order, as a sentence has them.
pub fn names(queries: &[&Query]) -> String {
    let mut seen = HashSet::new();
    let names: Vec<String> = queries
        .iter()
        .filter(|q| q.question.name.known().is_some() && seen.insert(q.question.name.folded()))
        .map(|q| {
            let cut = if q.question.cut { CUT } else { "" };
            format!("{}{cut}", q.question.name)
        })
        .collect();
    if names.is_empty() {
        "a name that the trace does not show".into()
    } else {
        crate::explain::words::list(&names)
    }
}

/// The packets of probes, a bounded number.
pub fn packets_of<'a>(probes: impl IntoIterator<Item = &'a Probe>) -> Vec<EventId> {
    let all = probes.into_iter().flat_map(|p| p.packets.iter().copied());
    all.take(MAX_EVIDENCE).collect()
}

/// That nobody saw how long the client waited, where that is so.
pub fn assumed<'a>(case: &Case, queries: impl IntoIterator<Item = &'a Query>) -> String {
    let assumed = |q: &Query| q.assumed && q.is_silent();
    let queries = queries.into_iter();
    let (count, all) = queries.fold((0, 0), |(count, all), q| {
        (count + usize::from(assumed(q)), all + 1)
    });
    let which = match (count, all) {
        (0, _) => return String::new(),
        (1, 1) => "it".to_owned(),
        (count, all) if count == all => "each".into(),
        (count, _) => format!("{count} of them"),
    };
    format!(
        " How long the client waited for {which} is assumed, not seen: no later packet ends that wait, and stub resolvers wait {}.",
        case.took(case.evidence.patience)
    )
}

/// What shows these queries: packets, answers, errors, causing calls.
pub fn evidence<'a>(queries: impl IntoIterator<Item = &'a Query>) -> Vec<EventId> {
    let mut list: Vec<EventId> = Vec::new();
    for q in queries {
        if list.len() >= MAX_EVIDENCE {
            break;
        }
        list.extend(q.packet);
        list.extend(q.cause.and_then(|c| c.call));
        list.extend(q.response().map(|a| a.event));
        list.extend(q.refusal().map(|r| r.event));
    }
    list.truncate(MAX_EVIDENCE);
    list
}
