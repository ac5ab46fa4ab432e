//! Small words that all findings share: lists, counts, addresses, lines of resolv.conf.

use crate::explain::Case;
use crate::explain::verdict::span;
use crate::flow::Endpoint;
use crate::time::Span;
use std::net::IpAddr;

/// How many names one sentence lists.
const MAX_LISTED: usize = 6;

/// `a`, `a and b`, `a, b and c`; of very many the first few and the count of the others.
pub fn list(names: &[String]) -> String {
    match names {
        [] => "nobody".into(),
        [one] => one.clone(),
        many if many.len() > MAX_LISTED => format!(
            "{} and {} others",
            many[..MAX_LISTED].join(", "),
            many.len() - MAX_LISTED
        ),
        [init @ .., last] => format!("{} and {last}", init.join(", ")),
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

/// A resolver as people write it: the port only when it is not 53.
pub fn resolver(end: Endpoint) -> String {
    if end.port == 53 {
        end.ip.to_string()
    } else {
        end.to_string()
    }
}

/// A span of time as people say it.
pub fn took(time: Span) -> String {
    span(time)
}

/// `: 5.00 s` of waiting in words, or nothing where no account has it.
pub fn waited(cost: Option<Span>) -> String {
    cost.filter(|c| *c >= Span::millis(1))
        .map_or_else(String::new, |c| {
            format!(" The client waited {} for it.", took(c))
        })
}

/// `10.0.1.93 (resolv.conf line 1)`, as far as the configuration is known.
pub fn placed(case: &Case, address: IpAddr) -> String {
    match line_of(case, address) {
        Some(line) => format!("{address} (resolv.conf line {line})"),
        None => address.to_string(),
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
