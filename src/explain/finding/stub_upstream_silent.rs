//! A stub on this host that was itself waiting.

use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::event::dns::{Name, Rcode};
use crate::explain::Case;
use crate::explain::ledger::{ChargedParty, Kind};
use crate::explain::words;
use crate::flow::Endpoint;
use crate::join::lookup::Outcome;
use crate::join::{EventId, Origin, Query, QueryId, State};
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, HashMap};

/// A forwarder asks at once; a little more for clocks that differ.
const BEFORE: Span = Span::millis(100);
/// And it may go on asking a little after the client gave up.
const AFTER: Span = Span::millis(500);
/// Shorter waits for a service on this host need no explanation.
const WORTH_EXPLAINING: Span = Span::millis(100);

/// What `presyn explain stub-upstream-silent` shows.
pub const PAGE: Page = Page {
    id: FindingId::StubUpstreamSilent,
    rests_on_absence: true,
    in_summary: true,
    text: "The stub on this host was slow or silent because the resolvers it asks were.

The client asked a stub on this host: 127.0.0.53 (systemd-resolved), 127.0.0.1
(dnsmasq, unbound), 127.0.0.11 (docker), or nscd over a unix socket. That stub,
another process, asked its upstream resolvers about the same name at the same time,
and those did not answer in time. The stub only passes the delay on.

presyn infers this: the upstream queries are another process's, so nothing but the
same name and the same time ties them to the client's.

What to do: fix the stub's upstream resolvers, not the client's resolv.conf, which
only names the stub. systemd-resolved: resolvectl status, DNS= in resolved.conf or in
the link's settings. dnsmasq: its server= lines, or the resolv-file it reads (strict-
order makes it wait for the first). docker: --dns, or \"dns\" in daemon.json, else the
host's resolv.conf. nscd reads /etc/resolv.conf itself.",
};

/// A query and its id.
type QueryWithId<'a> = (QueryId, &'a Query);

/// A stub whose trouble its upstream explains.
pub struct Explained<'a> {
    /// The stub: a resolver on loopback, or a name service.
    pub party: ChargedParty,
    /// The client's queries to it that went wrong; none for a name service.
    pub own: Vec<&'a Query>,
    /// The calls that show the wait for a name service.
    pub calls: Vec<EventId>,
    /// The upstream queries that went wrong.
    pub upstream: BTreeMap<QueryId, &'a Query>,
}

/// Stubs in trouble with an upstream in trouble, same name, same time.
pub fn explained<'a>(case: &'a Case<'a>) -> Vec<Explained<'a>> {
    let queries = &case.joined.queries;
    let mut by_name: HashMap<Name, Vec<QueryWithId>> = HashMap::new();
    let mut in_time: Vec<QueryWithId> = Vec::new();
    for (id, q) in queries.entries() {
        if q.origin.may_be_others() && !q.resolver.ip.is_loopback() && in_trouble(q) {
            by_name
                .entry(q.question.name.folded())
                .or_default()
                .push((id, q));
            in_time.push((id, q));
        }
    }
    if in_time.is_empty() {
        return Vec::new();
    }
    let mut stubs: BTreeMap<ChargedParty, Explained> = BTreeMap::new();
    for q in queries {
        if !q.is_clients() || !q.resolver.ip.is_loopback() || !in_trouble(q) {
            continue;
        }
        let same = by_name
            .get(&q.question.name.folded())
            .map_or(&[][..], Vec::as_slice);
        let others = within(
            same,
            q.sent,
            q.until.max(q.answer().map_or(q.until, |a| a.at)),
        );
        if others.is_empty() {
            continue;
        }
        let stub = entry(&mut stubs, ChargedParty::Endpoint(q.resolver));
        stub.own.push(q);
        stub.upstream.extend(others.iter().copied());
    }
    for wait in &case.joined.services {
        let asks_dns = matches!(wait.service, "nscd" | "systemd-resolved" | "sssd" | "nslcd");
        if !asks_dns || wait.ended - wait.began < WORTH_EXPLAINING {
            continue;
        }
        let untraced: Vec<QueryWithId> = within(&in_time, wait.began, wait.ended)
            .iter()
            .copied()
            .filter(|(_, q)| q.origin == Origin::Untraced)
            .collect();
        if untraced.is_empty() {
            continue;
        }
        let stub = entry(&mut stubs, ChargedParty::Service(wait.service));
        stub.calls.extend(wait.calls.iter().take(10));
        stub.upstream.extend(untraced);
    }
    stubs.into_values().collect()
}

/// Whether a resolver is one of these stubs: its upstream is the one to name.
pub fn is_explained(stubs: &[Explained], resolver: Endpoint) -> bool {
    let party = ChargedParty::Endpoint(resolver);
    stubs.iter().any(|stub| stub.party == party)
}

fn entry<'m, 'a>(
    stubs: &'m mut BTreeMap<ChargedParty, Explained<'a>>,
    party: ChargedParty,
) -> &'m mut Explained<'a> {
    stubs.entry(party).or_insert_with(|| Explained {
        party,
        own: Vec::new(),
        calls: Vec::new(),
        upstream: BTreeMap::new(),
    })
}

/// The queries, in order of time, that were sent in a window.
fn within<'s, 'a>(
    list: &'s [QueryWithId<'a>],
    from: Timestamp,
    to: Timestamp,
) -> &'s [QueryWithId<'a>] {
    let start = list.partition_point(|(_, q)| q.sent < from - BEFORE);
    let end = list.partition_point(|(_, q)| q.sent <= to + AFTER);
    &list[start..end.max(start)]
}

/// Unanswered, answered too late, slowly, or with an error.
fn in_trouble(q: &Query) -> bool {
    match &q.state {
        State::Unanswered(_) | State::NotReceived(..) => true,
        State::NeverSent(silence) => silence.refusal().is_some(),
        State::Answered(a) => a.late || a.at - q.sent >= tally::SLOW || a.rcode == Rcode::SERVFAIL,
        State::Open(_) | State::Unseen => false,
    }
}

/// Finds stubs that were themselves waiting for their upstream, one finding each.
pub fn find(context: &Context) -> Vec<Draft> {
    explained(context.case)
        .into_iter()
        .map(|stub| draft(context, &stub))
        .collect()
}

fn draft(context: &Context, stub: &Explained) -> Draft {
    let kinds = [
        Kind::ResolverSilent,
        Kind::ResolverAnswer,
        Kind::SearchDomains,
        Kind::NameService,
    ];
    let found = cost::of(context, |line| {
        line.party == Some(stub.party) && kinds.contains(&line.kind)
    });
    let mut ends: Vec<Endpoint> = Vec::new();
    for q in stub.upstream.values() {
        if !ends.contains(&q.resolver) {
            ends.push(q.resolver);
        }
    }
    let names: Vec<String> = ends.iter().map(|e| words::resolver(*e)).collect();
    let (who, asker) = match stub.party {
        ChargedParty::Endpoint(e) => (
            format!("The stub {}", words::resolver(e)),
            "another process",
        ),
        other @ (ChargedParty::Service(_) | ChargedParty::Host(_)) => {
            (other.to_string(), "another process of this capture")
        }
    };
    let upstream: Vec<&Query> = stub.upstream.values().copied().collect();
    Draft {
        id: PAGE.id,
        severity: cost::severity(found.span, has_failed(context.case, stub)),
        subject: found.subject,
        parties: [parties::of_entry(stub.party)]
            .into_iter()
            .chain(parties::resolvers(ends))
            .collect(),
        title: format!(
            "{who} was itself waiting for its upstream {}, {}",
            words::list(&names),
            how_upstream_answered(&upstream)
        ),
        detail: format!(
            "Inferred: {asker} asked about {} at the same time; only the same name and time tie it to the client's \
             question.{}",
            tally::names(&upstream),
            words::waited_for("the stub", found.span)
        ),
        cost: found.span,
        total: found.total,
        remedy: Some(remedy(stub.party, &names)),
        evidence: evidence(stub),
    }
}

fn how_upstream_answered(upstream: &[&Query]) -> String {
    match upstream.iter().filter(|q| q.answer().is_none()).count() {
        silent if silent == upstream.len() => {
            format!("which did not answer {}", words::queries(silent))
        }
        0 => "which answered slowly".into(),
        _ => "which answered late or not at all".into(),
    }
}

/// Whether a lookup failed for it: it left a question without an answer, and a lookup that asked it failed.
fn has_failed(case: &Case, stub: &Explained) -> bool {
    let joined = case.joined;
    let asks_it = |q: &Query| q.is_clients() && ChargedParty::Endpoint(q.resolver) == stub.party;
    let mut failed = joined
        .lookups
        .iter()
        .filter(|l| l.outcome == Outcome::Failed);
    stub.own.iter().any(|q| q.answer().is_none()) && failed.any(|l| l.queries(joined).any(asks_it))
}

fn evidence(stub: &Explained) -> Vec<EventId> {
    let mut list = tally::evidence(stub.own.iter().copied().take(10));
    list.extend(&stub.calls);
    list.extend(tally::evidence(stub.upstream.values().copied().take(20)));
    list
}

fn remedy(party: ChargedParty, upstream: &[String]) -> String {
    let them = words::list(upstream);
    let place = match party {
        ChargedParty::Service("nscd") => "nscd reads /etc/resolv.conf: change the resolvers there",
        ChargedParty::Service("systemd-resolved") => {
            "resolvectl status shows where the upstream resolvers are set"
        }
        ChargedParty::Service(_) | ChargedParty::Host(_) => {
            "the upstream resolvers are set in the service's own configuration"
        }
        ChargedParty::Endpoint(e) => match e.ip.to_string().as_str() {
            "127.0.0.53" | "127.0.0.54" => {
                "the upstream resolvers are set in the stub: resolvectl status and DNS= for systemd-resolved, server= \
                 for dnsmasq"
            }
            "127.0.0.11" => {
                "docker takes its resolvers from --dns, from \"dns\" in daemon.json, or from the host's resolv.conf"
            }
            _ => {
                "the upstream resolvers are set in the stub: server= for dnsmasq, forward-addr for unbound"
            }
        },
    };
    let blameless = if party == ChargedParty::Service("nscd") {
        ""
    } else {
        " The client's own resolv.conf is not at fault."
    };
    format!("Fix or replace the upstream {them}; {place}.{blameless}")
}
