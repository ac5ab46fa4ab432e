//! Which stub resolver a lookup was made by, from its behaviour.
//!
//! By elimination: each rule is a row of the table "how clients ask", and strikes out those that cannot have
//! behaved so. A name is given only when one is left and something speaks for it.

use super::Case;
use super::schedule::Setup;
use super::schedule::conduct::Conduct;
use super::schedule::fit::{self, Fit};
use super::words;
use crate::flow::Transport;
use crate::join::lookup::{Lookup, parallel};
use crate::join::{How, LookupId, Origin, Query};
use crate::report::StubResolver;
use crate::time::Span;
use crate::timetable::Stub;
use std::collections::HashSet;

/// What is known of a lookup's stub resolver.
#[derive(Clone, Debug)]
pub struct Guess {
    /// Whose it was; `None` where the facts allow several.
    pub client: Option<StubResolver>,
    /// The evidence in words.
    pub why: String,
    /// Models that the facts allow.
    pub allowed: Vec<Stub>,
}

/// Programs that ask DNS themselves, with waits of their own.
const TOOLS: [&str; 6] = ["dig", "host", "nslookup", "delv", "kdig", "drill"];

/// Names of busybox' own client, `nslookup` (it waits 2.5 s, twice for each name server).
const BUSYBOX: [&str; 2] = ["busybox", "nslookup"];

/// So many queries tell what there is to tell: a lookup with more is a storm.
const MAX_LOOKED_AT: usize = 48;

/// What shows in the queries of a lookup.
struct Signs<'a> {
    queries: Vec<&'a Query>,
    /// One question to several resolvers at once, from one socket.
    at_once: bool,
    /// Questions of two types shared a socket.
    shared: bool,
    /// Two types left in one call.
    one_call: bool,
    /// The same question again to the same resolver from the same socket, after a wait.
    reused: bool,
    /// The same question again, after a wait or at another resolver: its id was the same.
    same_id: bool,
    /// It was another.
    new_id: bool,
    /// The same question again came from another socket.
    new_socket: bool,
    /// Every query had a socket of its own.
    own_sockets: bool,
    /// The trace shows the sockets but not the sends: they were writes.
    written: bool,
    /// Every socket was connected to its resolver; `None` without a trace.
    connected: Option<bool>,
    /// EDNS in all queries, or in none; `None` when mixed or not visible.
    edns: Option<bool>,
}

impl<'a> Signs<'a> {
    fn of(case: &'a Case, lookup: &'a Lookup, queries: Vec<&'a Query>) -> Self {
        let socket = |q: &Query| (q.client, q.association);
        let same_socket = |a: &Query, b: &Query| match (a.client, b.client) {
            (Some(a), Some(b)) => a == b,
            _ => a.association.is_some() && a.association == b.association,
        };
        let pairs = || {
            let earlier = |i: usize| queries[..i].iter().map(|q| &**q);
            queries
                .iter()
                .enumerate()
                .flat_map(move |(i, q)| earlier(i).map(move |o| (o, &**q)))
        };
        let again = || {
            pairs().filter(|(o, q)| {
                o.question == q.question
                    && (q.sent - o.sent > Span::millis(500) || o.resolver != q.resolver)
            })
        };
        let sockets: HashSet<_> = queries.iter().map(|q| socket(q)).collect();
        let connected = |q: &&Query| {
            let association = q.association.map(|a| &case.joined.sockets.list[a]);
            association.map(|a| a.connect.is_some())
        };
        let connects: Option<Vec<bool>> = queries.iter().map(connected).collect();
        let edns: HashSet<_> = queries.iter().map(|q| q.edns).collect();
        Self {
            at_once: sockets.len() == 1 && parallel(&case.joined.queries, lookup),
            shared: pairs().any(|(o, q)| same_socket(o, q) && o.question.kind != q.question.kind),
            one_call: pairs().any(|(o, q)| {
                let call = |q: &Query| q.cause.filter(|c| c.how == How::Call)?.call;
                call(o).is_some() && call(o) == call(q) && o.question.kind != q.question.kind
            }),
            reused: again().any(|(o, q)| same_socket(o, q) && o.resolver == q.resolver),
            same_id: again().any(|(o, q)| o.id.is_some() && o.id == q.id),
            new_id: again().any(|(o, q)| o.id.is_some() && q.id.is_some() && o.id != q.id),
            new_socket: again().any(|(o, q)| !same_socket(o, q)),
            own_sockets: sockets.len() == queries.len(),
            written: case.evidence.has_trace()
                && queries
                    .iter()
                    .all(|q| q.cause.is_some_and(|c| c.how != How::Call)),
            connected: connects.map(|list| list.into_iter().all(|c| c)),
            edns: match edns.into_iter().collect::<Vec<_>>()[..] {
                [one] => one,
                _ => None,
            },
            queries,
        }
    }

    /// Whether a stub resolver cannot behave so.
    fn excludes(&self, stub: Stub, setup: &Setup) -> bool {
        let sequential = !self.at_once && self.new_socket;
        match stub {
            Stub::Glibc => {
                let asks_for_edns =
                    setup.conf.has("edns0") || setup.environment.iter().any(|o| o == "edns0");
                self.at_once
                    || self.new_id
                    || self.written
                    || self.connected == Some(false)
                    || self.edns == Some(true) && !asks_for_edns
            }
            Stub::Musl => {
                // It would have asked all of several servers at once.
                let several = setup.known && setup.servers().len() > 1;
                sequential
                    || several && !self.at_once
                    || self.new_id
                    || self.written
                    || self.connected == Some(true)
                    || self.edns == Some(true)
            }
            Stub::Go => {
                self.at_once
                    || self.shared
                    || self.same_id
                    || self.reused
                    || !self.own_sockets
                    || self.connected == Some(false)
                    || self.edns == Some(false) && !self.written
            }
            Stub::CAres => {
                self.at_once || self.one_call || self.reused || self.new_id || self.written
            }
        }
    }
}

/// Whose lookup it was, as far as the facts tell. `setup` is what the client was told.
pub fn guess(case: &Case, conduct: &Conduct, setup: &Setup, l: LookupId) -> Guess {
    let lookup = &case.joined.lookups[l];
    let unknown = |why: String, allowed| Guess {
        client: None,
        why,
        allowed,
    };
    let queries = lookup.queries(case.joined);
    let queries = queries.filter(|q| q.transport == Transport::Udp);
    let queries: Vec<&Query> = queries.take(MAX_LOOKED_AT).collect();
    let Some(&first) = queries.first() else {
        return unknown("no query went over UDP".into(), Vec::new());
    };
    let comm = { queries.iter() }.find_map(|q| q.task.as_ref()?.comm.as_deref());
    if comm.is_some_and(|c| c.starts_with("systemd-resolve")) {
        return Guess {
            client: Some(StubResolver::SystemdResolved),
            why: "the task's name".into(),
            allowed: Vec::new(),
        };
    }
    let signs = Signs::of(case, lookup, queries);
    if comm.is_some_and(|c| BUSYBOX.contains(&c)) && signs.reused && signs.connected == Some(true) {
        return Guess {
            client: Some(StubResolver::Busybox),
            why: "the task's name; one connected socket per name server, asked twice".into(),
            allowed: Vec::new(),
        };
    }
    if let Some(tool) = comm.filter(|c| TOOLS.contains(c)) {
        return unknown(
            format!("{tool} asks by itself, not through a stub resolver"),
            Vec::new(),
        );
    }
    let (implied, untraced) = (first.implied, first.origin == Origin::Untraced);
    let possible = Stub::ALL.into_iter();
    // A log of connects alone shows neither ids nor sends.
    let possible: Vec<Stub> = possible
        .filter(|s| implied && !signs.at_once || !signs.excludes(*s, setup))
        .collect();
    let fits = fitting(case, conduct, setup, l, &possible);
    let allowed: Vec<Stub> = if fits.is_empty() {
        possible
    } else {
        fits.iter().map(|f| f.stub).collect()
    };
    let [one] = allowed[..] else {
        return unknown(undecided(&allowed), allowed);
    };
    let waits = fits.first().map(|f| told(f, setup));
    let sign = signature(&signs, one, untraced, !fits.is_empty());
    let why: Vec<String> = sign.into_iter().chain(waits).collect();
    if why.is_empty() {
        return unknown(undecided(&allowed), allowed);
    }
    let java = comm.is_some_and(|c| c.contains("java"));
    Guess {
        client: Some(match one {
            Stub::Glibc if java => StubResolver::Java,
            Stub::Glibc => StubResolver::Glibc,
            Stub::Musl => StubResolver::Musl,
            Stub::Go => StubResolver::Go,
            Stub::CAres => StubResolver::CAres,
        }),
        why: why.join("; "),
        allowed,
    }
}

/// The timetables that the waits fit, if they tell anything: some wait timed out, and the lookup went through.
fn fitting(
    case: &Case,
    conduct: &Conduct,
    setup: &Setup,
    lookup: LookupId,
    possible: &[Stub],
) -> Vec<Fit> {
    if !fit::timed_out(case, &case.joined.lookups[lookup]) {
        return Vec::new();
    }
    let compared = possible.iter();
    compared
        .filter_map(|stub| fit::compare(case, conduct, lookup, setup, *stub))
        .filter(|fit| fit.fits && fit.whole)
        .collect()
}

fn undecided(allowed: &[Stub]) -> String {
    match allowed {
        [] => "no stub resolver that presyn knows asks like this".into(),
        [one] => format!(
            "nothing but the absence of others speaks for {}",
            one.spoken()
        ),
        many => {
            let names: Vec<String> = many.iter().map(|s| s.spoken().to_owned()).collect();
            format!("the queries may be those of {}", words::either(&names))
        }
    }
}

/// What speaks for a stub resolver beside its waits.
fn signature(signs: &Signs, stub: Stub, untraced: bool, fits: bool) -> Option<String> {
    match stub {
        Stub::Glibc if signs.one_call => Some("A and AAAA left in one sendmmsg call".into()),
        // Others do so too, with waits of their own.
        Stub::Glibc if fits && signs.reused && signs.same_id => {
            Some("the second round reused sockets and ids".into())
        }
        Stub::CAres if fits && signs.same_id && signs.new_socket => {
            Some("each try had a new socket and the same id".into())
        }
        Stub::Musl if signs.at_once => {
            let resolvers: HashSet<_> = signs.queries.iter().map(|q| q.resolver).collect();
            Some(format!(
                "one socket asked {} name servers at once",
                resolvers.len()
            ))
        }
        Stub::Musl if signs.connected == Some(false) && signs.reused => {
            Some("it asked again from one unconnected socket".into())
        }
        // A forwarder asks like this too.
        Stub::Go if !untraced && signs.own_sockets && signs.queries.len() > 1 => {
            let how = match (signs.written, signs.edns) {
                (true, _) => " and was sent with write",
                (_, Some(true)) => " and EDNS",
                _ => return None,
            };
            Some(format!("each query had a socket and an id of its own{how}"))
        }
        _ => None,
    }
}

/// The waits in words: `its waits of 5, 3, 6 s are those with 3 name servers, timeout 5`.
fn told(fit: &Fit, setup: &Setup) -> String {
    format!(
        "its waits of {} are those with {}",
        waits_of(fit),
        terms(fit.stub, setup)
    )
}

/// The waits that a fit has, in words; what was answered at once is left out.
pub fn waits_of(fit: &Fit) -> String {
    let long = fit.waits.iter().filter(|w| w.seen >= Span::millis(500));
    let seconds: Vec<String> = long.map(|w| words::rounded(w.seen)).collect();
    format!("{} s", seconds.join(", "))
}

/// `3 name servers, timeout 5`, as a stub resolver reads its setup.
pub fn terms(stub: Stub, setup: &Setup) -> String {
    let told = setup.told(stub);
    let servers = words::counted(told.servers, "name server", "name servers");
    format!("{servers}, timeout {}", stub.patience(&told).timeout)
}
