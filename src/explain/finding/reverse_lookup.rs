//! The name of an address is looked up before connecting to that address.

use super::{Context, Draft, FindingId, Page, cost, parties, tally};
use crate::explain::Case;
use crate::explain::ledger::{Account, Subject};
use crate::explain::words;
use crate::flow::Endpoint;
use crate::join::connect::{Connection, Role};
use crate::join::lookup::Lookup;
use crate::join::{AssociationId, ConnectionId, ProcessId, Query, QueryId};
use crate::time::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What `presyn explain reverse-lookup` shows.
pub const PAGE: Page = Page {
    id: FindingId::ReverseLookup,
    rests_on_absence: false,
    in_summary: true,
    text: "The program asked for the name of an address that it already had, then connected to it.

The program was given an address, yet it did a reverse lookup (PTR, in-addr.arpa) of
it before the connect: for Kerberos or SASL, for a certificate's name, for its log.
The answer is not needed to connect, but the program waits for it, and where no
resolver answers PTR queries for private addresses that takes seconds.

presyn says this when the same process looked up the very address that it then
connected to.

What to do: switch the reverse lookup off, or make it fast. ZooKeeper clients:
-Dzookeeper.sasl.client.canonicalize.hostname=false (one lookup of two) or
-Dzookeeper.sasl.client=false (none). ssh: GSSAPIAuthentication no; sshd: UseDNS no.
MySQL: skip-name-resolve. Any program: put 'ADDRESS NAME' into /etc/hosts, or add PTR
records for your networks to the resolvers.",
};

/// A connection and the lookups of its address before it.
type LookedUp<'a> = (ConnectionId, Vec<&'a Lookup>);

/// Without a trace, how soon after a reverse lookup a client connects that made it for that: packets do not show who asked.
const FOR_IT: Span = Span::seconds(1);

/// Finds reverse lookups of addresses that were then connected to, one finding per address.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let mut by_server: BTreeMap<(Endpoint, Option<ProcessId>), LookedUp> = BTreeMap::new();
    let mut first_to: BTreeMap<(IpAddr, Option<ProcessId>), Vec<ConnectionId>> = BTreeMap::new();
    for (c, x) in case.joined.connections.entries() {
        if x.role == Role::Server {
            first_to.entry((x.to.ip, x.process)).or_default().push(c);
        }
    }
    for lookup in &case.joined.lookups {
        let Some(address) = lookup.reverse else {
            continue;
        };
        let later = first_to
            .get(&(address.to_canonical(), lookup.process))
            .and_then(|list| {
                let before = list.partition_point(|c| {
                    let x = &case.joined.connections[*c];
                    x.began().is_none_or(|at| at < lookup.began)
                });
                list.get(before)
            });
        if let Some(&c) = later {
            let to = case.joined.connections[c].to;
            by_server
                .entry((to, lookup.process))
                .or_insert((c, Vec::new()))
                .1
                .push(lookup);
        }
    }
    by_server
        .into_values()
        .map(|(c, lookups)| (c, made_for(case, c, lookups)))
        .filter(|(_, lookups)| !lookups.is_empty())
        .map(|(c, lookups)| draft(context, c, &lookups))
        .collect()
}

/// Of lookups before a connection those that the client seems to have made because it was to connect. Of packets alone
/// these are the ones that followed one another up to the SYN, unless it is the resolver itself that was asked for: nslookup(1)
/// does that first.
fn made_for<'a>(case: &Case, c: ConnectionId, lookups: Vec<&'a Lookup>) -> Vec<&'a Lookup> {
    let x = &case.joined.connections[c];
    if x.origin.is_traced() {
        return lookups;
    }
    let mut next = x.first_syn;
    let latest_first = lookups.into_iter().rev();
    let mut chain: Vec<&Lookup> = latest_first
        .take_while(|lookup| {
            let at_once = next.is_some_and(|next| next - lookup.ended <= FOR_IT);
            next = Some(lookup.began);
            let mut queries = lookup.queries(case.joined);
            at_once && queries.all(|q| q.resolver.ip != x.to.ip)
        })
        .collect();
    chain.reverse();
    chain
}

fn draft(context: &Context, c: ConnectionId, lookups: &[&Lookup]) -> Draft {
    let case = context.case;
    let x = &case.joined.connections[c];
    let own: BTreeSet<QueryId> = lookups
        .iter()
        .flat_map(|l| l.queries.iter().copied())
        .collect();
    let queries: Vec<&Query> = own.iter().map(|q| &case.joined.queries[*q]).collect();
    let account = context
        .accounts
        .iter()
        .find(|a| a.subject == Subject::Connection(c));
    let span = account.map(|a| share(case, a, &own));
    let answered = queries.iter().filter(|q| q.answer().is_some()).count();
    // glibc repeats itself over rounds and servers within one lookup; lookups that follow one another
    // are the program's own repetition.
    let rounds = repetitions(&queries);
    let mut evidence = tally::evidence(queries.iter().copied());
    evidence.extend(x.cause.and_then(|cause| cause.call));
    evidence.extend(x.syns.first());
    Draft {
        id: PAGE.id,
        severity: cost::severity_of_habit(span),
        subject: Some(Subject::Connection(c)),
        parties: parties::servers([x.to]),
        title: format!(
            "The client made {} of {} before it connected to that address",
            words::counted(
                rounds.max(1),
                "reverse lookup (PTR)",
                "reverse lookups (PTR)"
            ),
            x.to.ip
        ),
        detail: format!(
            "{} for {}, {}; the connect does not need that name.{}",
            words::queries(queries.len()),
            tally::names(&queries),
            if answered == 0 {
                "none was answered".to_owned()
            } else {
                format!("{answered} answered")
            },
            words::waited(span)
        ),
        cost: span,
        total: None,
        remedy: Some(remedy(case, x)),
        evidence,
    }
}

/// The part of the account that these queries own.
fn share(case: &Case, account: &Account, own: &BTreeSet<QueryId>) -> Span {
    account
        .lines
        .iter()
        .filter(|l| !l.queries.is_disjoint(own))
        .map(|l| cost::part(case, l, own))
        .sum()
}

/// How often the program asked: a lookup begins when the first server is asked on a new socket, or with
/// a new id.
fn repetitions(queries: &[&Query]) -> usize {
    let Some(first) = queries.first() else {
        return 0;
    };
    let asked: BTreeSet<(Option<u16>, Option<Endpoint>, Option<AssociationId>)> = queries
        .iter()
        .filter(|q| q.resolver == first.resolver)
        .map(|q| (q.id, q.client, q.association))
        .collect();
    asked.len().max(1)
}

fn remedy(case: &Case, x: &Connection) -> String {
    let task = x.task.as_ref().and_then(|t| t.comm.as_deref());
    let zookeeper = "-Dzookeeper.sasl.client.canonicalize.hostname=false halves the wait, \
                     -Dzookeeper.sasl.client=false removes it";
    let hosts = format!(
        "put '{} NAME' into /etc/hosts, or give the address a PTR record",
        x.to.ip
    );
    let program = programs(case, x).to_ascii_lowercase();
    let comm = task.unwrap_or("").to_ascii_lowercase();
    let is = |what: &str| comm.contains(what) || program.contains(what);
    if is("sendthread") || is("zookeeper") || is("zkcli") {
        format!("ZooKeeper client: {zookeeper}. Or {hosts}.")
    } else if is("java") {
        format!(
            "If this Java program is a ZooKeeper client: {zookeeper}. For any program: {hosts}."
        )
    } else if is("ssh") {
        format!("ssh: GSSAPIAuthentication no (on the server UseDNS no). Or {hosts}.")
    } else if is("mysql") || is("mariadb") {
        format!("MySQL: skip-name-resolve. Or {hosts}.")
    } else if comm.is_empty() && program.is_empty() {
        format!(
            "Switch the reverse lookup off in the program (ZooKeeper clients: {zookeeper}; ssh: \
             GSSAPIAuthentication no). For any program: {hosts}."
        )
    } else {
        format!("Switch the reverse lookup off in the program, if it can; else {hosts}.")
    }
}

/// The programs that the connecting process became, as its exec calls show.
fn programs(case: &Case, x: &Connection) -> String {
    use crate::event::{EventKind, Op};
    let mut list = String::new();
    for event in case.evidence.events {
        if let EventKind::Call(call) = &event.what
            && let Op::Exec { program } = &call.op
            && x.process == Some(case.joined.processes.of(&call.task))
            && list.len() < 1_000
        {
            list.push_str(program);
            list.push(' ');
        }
    }
    list
}
