//! What a stub on the client's host asked its own resolvers when it was asked: nothing but the same name and the same time
//! ties those queries to the client's.

use crate::event::dns::{Name, RecordType};
use crate::explain::Case;
use crate::flow::{Endpoint, Transport};
use crate::join::{Origin, Query};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;

/// A forwarder asks at once, and may go on a little after its client gave up.
const BEFORE: Span = Span::millis(20);
/// How long after its client's query a forwarder's are its own.
const AFTER: Span = Span::seconds(30);
/// So many queries of one leg are sent again.
const MAX_LEG: usize = 200;

/// One query of a stub to its own resolver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// When, from the client's question on.
    pub after: Span,
    /// To whom.
    pub to: Endpoint,
    /// What for.
    pub name: Name,
    /// Which type.
    pub kind: RecordType,
}

/// A question to a stub.
type StubQuestion = (IpAddr, Name, Option<RecordType>);

/// The stubs' own queries: for the n-th time that a stub is asked something.
#[derive(Clone, Debug, Default)]
pub struct Legs {
    of: HashMap<StubQuestion, Vec<Vec<Leg>>>,
}

impl Legs {
    /// Ties each query of another process to the client's latest question for the same to a stub on loopback.
    pub fn of(case: &Case) -> Self {
        let mut this = Self::default();
        // The latest question to a stub for a name and type: whom, which time, when.
        let mut open: HashMap<(Name, Option<RecordType>), (StubQuestion, usize, Timestamp)> =
            HashMap::new();
        for query in &case.joined.queries {
            let (name, kind) = (query.question.name.folded(), query.question.kind);
            let server = query.resolver.ip.to_canonical();
            if server.is_loopback() {
                let question = (server, name.clone(), kind);
                let times = this.of.entry(question.clone()).or_default();
                times.push(Vec::new());
                open.insert((name, kind), (question, times.len() - 1, query.sent));
            } else if let Some((question, n, asked)) = open.get(&(name, kind))
                && query.origin.may_be_others()
                && query.sent - *asked <= AFTER
                && let Some(leg) = leg(query, *asked)
                && let Some(list) = this
                    .of
                    .get_mut(question)
                    .and_then(|times| times.get_mut(*n))
                && list.len() < MAX_LEG
            {
                list.push(leg);
            }
        }
        this
    }

    /// What a stub asks when it is asked this for the n-th time: as then, or as the last time.
    pub fn nth(&self, server: IpAddr, name: &Name, kind: Option<RecordType>, n: usize) -> &[Leg] {
        let times = self.of.get(&(server, name.folded(), kind));
        let times = times.map_or(&[][..], Vec::as_slice);
        times.get(n).or(times.last()).map_or(&[][..], Vec::as_slice)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of.values().flatten().all(Vec::is_empty)
    }
}

/// What other processes asked resolvers within a time.
pub fn within(case: &Case, from: Timestamp, to: Timestamp) -> Vec<Leg> {
    let queries = case.joined.queries.iter();
    { queries }
        .filter(|q| q.origin == Origin::Untraced && !q.resolver.ip.is_loopback())
        .filter(|q| q.sent >= from - BEFORE && q.sent <= to)
        .filter_map(|q| leg(q, from))
        .take(MAX_LEG)
        .collect()
}

fn leg(query: &Query, asked: Timestamp) -> Option<Leg> {
    (query.transport == Transport::Udp && !query.question.cut).then_some(Leg {
        after: (query.sent - asked).max(Span::ZERO),
        to: query.resolver,
        name: query.question.name.clone(),
        kind: query.question.kind?,
    })
}
