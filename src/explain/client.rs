//! Which stub resolver a lookup was made by, from its behaviour.
//!
//! By elimination: each stub resolver's profile strikes it out where it cannot have behaved so. A name is given only when one is left and something speaks for it.

use super::Case;
use super::schedule::Setup;
use super::schedule::match_timetable::{self, TimetableMatch};
use super::schedule::server_behaviour::ServerBehaviour;
use super::words;
use crate::flow::Transport;
use crate::join::lookup::{Lookup, parallel};
use crate::join::{How, LookupId, Origin, Query};
use crate::report::StubResolver;
use crate::time::Span;
use crate::timetable::{Signs, Stub};
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

/// Names of busybox' own client, `nslookup` (it waits 2.5 s, twice for each resolver).
const BUSYBOX: [&str; 2] = ["busybox", "nslookup"];

/// So many queries tell what there is to tell: a lookup with more is a storm.
const MAX_LOOKED_AT: usize = 48;

/// What shows in the queries of a lookup of a client that was told `setup`.
fn signs(case: &Case, setup: &Setup, lookup: &Lookup, queries: &[&Query]) -> Signs {
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
    let edns_option = |option: &String| option == "edns0";
    let resolvers: HashSet<_> = queries.iter().map(|q| q.resolver).collect();
    Signs {
        queries: queries.len(),
        resolvers: resolvers.len(),
        untraced: queries
            .first()
            .is_some_and(|q| q.origin == Origin::Untraced),
        several_configured: setup.known && setup.servers().len() > 1,
        edns_configured: setup.conf.has("edns0") || setup.environment.iter().any(edns_option),
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
    }
}

/// Whose lookup it was, as far as the facts tell. `setup` is what the client was told.
pub fn guess(case: &Case, behaviour: &ServerBehaviour, setup: &Setup, l: LookupId) -> Guess {
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
    let signs = signs(case, setup, lookup, &queries);
    if comm.is_some_and(|c| BUSYBOX.contains(&c)) && signs.reused && signs.connected == Some(true) {
        return Guess {
            client: Some(StubResolver::Busybox),
            why: "the task's name; one connected socket per resolver, asked twice".into(),
            allowed: Vec::new(),
        };
    }
    if let Some(tool) = comm.filter(|c| TOOLS.contains(c)) {
        return unknown(
            format!("{tool} sends its own queries, without a stub resolver"),
            Vec::new(),
        );
    }
    let possible = Stub::ALL.into_iter();
    // A log of connects alone shows neither ids nor sends.
    let possible: Vec<Stub> = possible
        .filter(|s| first.implied && !signs.at_once || !(s.profile().excluded_by)(&signs))
        .collect();
    let fits = fitting(case, behaviour, setup, l, &possible);
    let allowed: Vec<Stub> = if fits.is_empty() {
        possible
    } else {
        fits.iter().map(|f| f.stub).collect()
    };
    let [one] = allowed[..] else {
        return unknown(undecided(&allowed), allowed);
    };
    let waits = fits.first().map(|f| waits_in_words(f, setup));
    let sign = (one.profile().signature)(&signs, !fits.is_empty());
    let why: Vec<String> = sign.into_iter().chain(waits).collect();
    if why.is_empty() {
        return unknown(undecided(&allowed), allowed);
    }
    Guess {
        client: Some((one.profile().client)(comm)),
        why: why.join("; "),
        allowed,
    }
}

/// The timetables that the waits fit, if they tell anything: some wait timed out, and the lookup went through.
fn fitting(
    case: &Case,
    behaviour: &ServerBehaviour,
    setup: &Setup,
    lookup: LookupId,
    possible: &[Stub],
) -> Vec<TimetableMatch> {
    if !match_timetable::timed_out(case, &case.joined.lookups[lookup]) {
        return Vec::new();
    }
    let compared = possible.iter();
    compared
        .filter_map(|stub| match_timetable::compare(case, behaviour, lookup, setup, *stub))
        .filter(|fit| fit.fits && fit.whole)
        .collect()
}

fn undecided(allowed: &[Stub]) -> String {
    match allowed {
        [] => "no stub resolver that presyn knows asks like this".into(),
        [one] => format!(
            "only the absence of other candidates suggests {}",
            one.spoken()
        ),
        many => {
            let names: Vec<String> = many.iter().map(|s| s.spoken().to_owned()).collect();
            format!("the queries may be those of {}", words::either(&names))
        }
    }
}

/// The waits in words: `its waits of 5, 3, 6 s match 3 resolvers, timeout 5`.
fn waits_in_words(fit: &TimetableMatch, setup: &Setup) -> String {
    format!(
        "its waits of {} match {}",
        waits_of(fit),
        terms(fit.stub, setup)
    )
}

/// The waits that a fit has, in words; what was answered at once is left out.
pub fn waits_of(fit: &TimetableMatch) -> String {
    let long = fit.waits.iter().filter(|w| w.seen >= Span::millis(500));
    let seconds: Vec<String> = long.map(|w| words::rounded(w.seen)).collect();
    format!("{} s", seconds.join(", "))
}

/// `3 resolvers, timeout 5`, as a stub resolver reads its setup.
pub fn terms(stub: Stub, setup: &Setup) -> String {
    let options = setup.options_for(stub);
    let servers = words::counted(options.servers, "resolver", "resolvers");
    format!("{servers}, timeout {}", stub.patience(&options).timeout)
}
