//! Words that the verdict and all findings share: lists, counts, times, names, lines of resolv.conf.

pub mod inputs;
pub mod outside;
pub mod selection;

use super::Case;
use super::ledger::other::service_of_port;
use super::ledger::{AccountEntry, ChargedParty};
use crate::event::Task;
use crate::flow::{self, Endpoint};
use crate::join::lookup::Lookup;
use crate::join::{ProcessId, Query};
use crate::report::{DropTime, ThreadWait};
use crate::shell;
use crate::time::Span;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How many names one sentence lists.
const MAX_LISTED: usize = 6;

/// `a`, `a and b`, `a, b and c`; of very many the first few and the count of the others.
pub fn list(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        [one] => one.clone(),
        many if many.len() > MAX_LISTED => format!(
            "{} and {} others",
            many[..MAX_LISTED].join(", "),
            many.len() - MAX_LISTED
        ),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
    }
}

/// `a`, `a or b`, `a, b or c`.
pub fn either(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        [one] => one.clone(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

/// Seconds without a unit, whole where they are nearly whole: `5`, `2.5`, `2.75`.
pub fn rounded(span: Span) -> String {
    let hundredths = (span.as_seconds() * 100.0).round() / 100.0;
    if (hundredths - hundredths.round()).abs() < 0.045 {
        format!("{:.0}", hundredths.round())
    } else {
        format!("{hundredths:.2}").trim_end_matches('0').to_owned()
    }
}

/// `1 query`, `4 queries`.
pub fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `1 query`, `4 queries`.
pub fn queries(n: usize) -> String {
    counted(n, "query", "queries")
}

/// `once`, `twice`, `5 times`.
pub fn times(n: usize) -> String {
    match n {
        1 => "once".into(),
        2 => "twice".into(),
        n => format!("{n} times"),
    }
}

/// So many times are named; of more, only how many.
const NAMED_TIMES: usize = 3;

/// `from 4.0 s to 5.0 s and from 7.0 s to 8.0 s`: when packets were dropped.
pub fn drop_times(spans: &[DropTime]) -> String {
    let named = spans.iter().take(NAMED_TIMES);
    let mut parts: Vec<String> = named
        .map(|span| format!("from {:.1} s to {:.1} s", span.from_s, span.until_s))
        .collect();
    let others = spans.len() - parts.len();
    if others > 0 {
        parts.push(counted(others, "other time", "other times"));
    }
    list(&parts)
}

/// A resolver as people write it: the port only when it is not 53.
pub fn resolver(end: Endpoint) -> String {
    if end.port == 53 {
        flow::host(end.ip)
    } else {
        end.to_string()
    }
}

/// A span of time as people say it: two or three digits and a unit.
pub fn took(span: Span) -> String {
    let s = span.as_seconds();
    let size = s.abs();
    if span == Span::ZERO {
        // Two stamps that are alike, or out of order, show no more.
        "less than 1 µs".into()
    } else if size >= 9.995 {
        format!("{s:.1} s")
    } else if size >= 0.9995 {
        format!("{s:.2} s")
    } else if size >= 0.0995 {
        format!("{:.0} ms", s * 1e3)
    } else if size >= 0.000_995 {
        format!("{:.1} ms", s * 1e3)
    } else {
        format!("{:.0} µs", s * 1e6)
    }
}

/// A name in words: the address for a reverse lookup.
pub fn spoken_name(lookup: &Lookup) -> String {
    match lookup.reverse {
        Some(address) => format!("the name of {address}"),
        None => lookup
            .shown_name()
            .unwrap_or_else(|| "a name that the trace does not show".into()),
    }
}

/// What the queries of a lookup are, where they are no questions about a name (RFC 1996, RFC 2136).
pub fn operation(case: &Case, lookup: &Lookup) -> Option<&'static str> {
    let opcode = lookup.queries(case.joined).next()?.opcode;
    match opcode {
        0 => None,
        4 => Some("a zone change notification (NOTIFY)"),
        5 => Some("a dynamic update (UPDATE)"),
        _ => Some("a DNS message that is no standard query"),
    }
}

/// Where a client's resolvers are listed, as far as the inputs show its system: `resolv.conf` where there is one or a
/// trace, which only Linux writes; the forwarders of a resolver, which asks for others.
pub fn server_list<'a>(case: &Case, queries: impl IntoIterator<Item = &'a Query>) -> String {
    if case.config.is_some() || case.evidence.has_trace() {
        return "resolv.conf".into();
    }
    let asked: BTreeSet<IpAddr> = case.joined.queries.iter().map(|q| q.resolver.ip).collect();
    let askers: BTreeSet<IpAddr> = queries
        .into_iter()
        .filter_map(|q| Some(q.client?.ip))
        .collect();
    match askers.first() {
        Some(resolver) if askers.iter().all(|a| asked.contains(a)) => {
            format!("the servers that the resolver {resolver} forwards to")
        }
        _ => "the client's list of resolvers".into(),
    }
}

/// What shortens the wait for a resolver, in the words of the client's system where that is known.
pub fn shorter_wait(case: &Case, options: &str) -> String {
    if case.config.is_some() || case.evidence.has_trace() {
        format!("'{options}' in resolv.conf")
    } else {
        format!(
            "a shorter timeout of the client's stub resolver (on Linux '{options}' in resolv.conf)"
        )
    }
}

/// The command that asks a server for the name of a lookup, safe to paste whatever the name is.
pub fn dig(server: Endpoint, lookup: &Lookup) -> String {
    let port = if server.port == 53 {
        String::new()
    } else {
        format!("-p {} ", server.port)
    };
    let name = match lookup.reverse {
        Some(address) => format!("-x {address}"),
        None if lookup.cut || lookup.name.known().is_none() => "NAME".into(),
        // Without -q dig reads such a name as an option, a server or a type.
        None => match &*lookup.name.0 {
            name if name.starts_with(['-', '+', '@']) || !name.contains('.') => {
                format!("-q {}", shell::word(name))
            }
            name => shell::word(name).into_owned(),
        },
    };
    let server = match flow::unreadable(server.ip) {
        Some(_) => "SERVER".into(),
        None => server.ip.to_string(),
    };
    format!("dig {port}@{server} {name}")
}

/// What another log would show that this one does not, to be put behind a sentence.
pub fn what_would_show(case: &Case) -> &'static str {
    let evidence = &case.evidence;
    if !evidence.follows_threads() {
        ": another thread may have waited (record again with strace -f)"
    } else if !evidence.sees_waits() {
        ": it shows no calls that wait (record again without -e, or with -e trace=%network,poll,ppoll,select,pselect6)"
    } else {
        ""
    }
}

/// `: 5.00 s` of waiting in words, or nothing where no account has it.
pub fn waited(cost: Option<Span>) -> String {
    waited_for("it", cost)
}

/// The same, with what was waited for.
pub fn waited_for(what: &str, cost: Option<Span>) -> String {
    cost.filter(|c| *c >= Span::millis(1))
        .map_or_else(String::new, |c| {
            format!(" The client waited {} for {what}.", took(c))
        })
}

/// That one wait was for several resolvers.
pub fn asked_at_once(others: &[Endpoint]) -> String {
    let others: Vec<String> = others.iter().map(|e| resolver(*e)).collect();
    format!(
        " The client had asked {} at the same time: the wait is the same.",
        list(&others)
    )
}

/// `10.0.1.93 (resolv.conf line 1)`, as far as the configuration is known.
pub fn placed(case: &Case, address: IpAddr) -> String {
    match line_of(case, address) {
        Some(line) => format!("{address} (resolv.conf line {line})"),
        None => flow::host(address),
    }
}

/// The line of resolv.conf that names this server.
pub fn line_of(case: &Case, address: IpAddr) -> Option<usize> {
    let (_, conf) = case.config?;
    conf.nameservers
        .iter()
        .find(|(a, _)| a.to_canonical() == address.to_canonical())
        .map(|(_, line)| *line)
}

/// The far ends of other sockets, each with what its port is for.
pub fn sockets(lines: &[&AccountEntry]) -> String {
    let mut names: Vec<String> = Vec::new();
    for party in lines.iter().filter_map(|l| l.party) {
        let service = match party {
            ChargedParty::Endpoint(end) => service_of_port(end.port),
            ChargedParty::Service(_) | ChargedParty::Host(_) => None,
        };
        let name = service.map_or_else(|| party.to_string(), |s| format!("{party} ({s})"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    list(&names)
}

/// A process that was watched: `java (pid 4711)`.
pub fn process_name(case: &Case, process: ProcessId) -> String {
    let process = case.joined.processes.get(process);
    let pid = process.and_then(|p| p.pid);
    let comm = process.and_then(|p| p.comm.as_deref());
    match (comm, pid) {
        (Some(comm), Some(pid)) => format!("{comm} (pid {pid})"),
        (None, Some(pid)) => format!("process {pid}"),
        (Some(comm), None) => comm.to_owned(),
        (None, None) => "the process".into(),
    }
}

/// A thread: `thread pool-1 (tid 4720)`.
pub fn thread_name(wait: &ThreadWait) -> String {
    match (&wait.comm, wait.tid) {
        (Some(comm), Some(tid)) => format!("thread {comm} (tid {tid})"),
        (None, Some(tid)) => format!("thread {tid}"),
        (_, None) => "a thread".into(),
    }
}

/// A process as warnings call it.
pub fn task_name(task: &Task) -> String {
    let comm = task.comm.as_deref().unwrap_or("process");
    match task.pid.or(task.tid) {
        Some(pid) => format!("{comm} ({pid})"),
        None => comm.to_owned(),
    }
}
