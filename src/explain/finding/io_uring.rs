//! Connects that no system call shows.

use super::{Context, Draft, FindingId, Page, Severity, parties, tally};
use crate::coverage::{Absence, Blind, ClaimKind as Sought, Wanted};
use crate::event::{EventKind, Op};
use crate::explain::Case;
use crate::explain::{evicted, words};
use crate::input::DroppedKind;
use crate::join::EventId;
use crate::join::Origin;
use crate::join::connect::{Connection, Role};
use std::collections::HashSet;
use std::net::IpAddr;

/// What `presyn explain io-uring` shows.
pub const PAGE: Page = Page {
    id: FindingId::IoUring,
    rests_on_absence: false,
    in_summary: false,
    text: "The program set up io_uring, so its connects and sends may be invisible in the trace.

With io_uring a program hands its network operations to the kernel through shared
memory: neither strace nor any other tracer of system calls sees a connect(2) or a
sendto(2). The packets are in the capture all the same, but nothing ties them to the
program except time and place.

presyn sees the call io_uring_setup. It lists SYNs of this host that no traced call
caused; they may be the program's, or another's.

What to do: run the program without io_uring if it can (node: UV_USE_IO_URING=0), or
forbid it for the test: sysctl kernel.io_uring_disabled=2 (Linux 6.6 and later).",
};

/// Finds `io_uring`.
pub fn find(context: &Context) -> Vec<Draft> {
    let case = context.case;
    let setups = case.evidence.numbered();
    let setups = setups
        .filter(|(_, e)| matches!(&e.what, EventKind::Call(c) if c.op == Op::IoUring))
        .map(|(id, _)| id);
    let mut evidence: Vec<EventId> = setups.take(10).collect();
    if evidence.is_empty() {
        return Vec::new();
    }
    let uncaused = Uncaused::of(case);
    let first_syns = uncaused.list.iter().filter_map(|x| x.syns.first());
    evidence.extend(first_syns.take(tally::MAX_EVIDENCE));
    vec![Draft {
        id: PAGE.id,
        severity: if uncaused.list.is_empty() && uncaused.dropped == 0 {
            Severity::Info
        } else {
            Severity::Low
        },
        subject: None,
        parties: parties::servers(uncaused.list.iter().map(|x| x.to)),
        title: "The program uses io_uring: its connects may not show as calls".into(),
        detail: uncaused.in_words(case),
        cost: None,
        total: None,
        remedy: Some(
            "Run it without io_uring if it can (node: UV_USE_IO_URING=0) to see every connect."
                .into(),
        ),
        evidence,
    }]
}

/// Connections that no call caused.
struct Uncaused<'a> {
    /// Those that are retained.
    list: Vec<&'a Connection>,
    /// How many there are, evicted ones among them.
    count: usize,
    /// They are from an address that a traced socket has; else a host has several, and the trace may show one only.
    of_this_host: bool,
    /// SYNs that the capture does not hold for lack of space.
    dropped: u64,
    /// Connections of which nobody can tell whether a call caused them.
    not_attributable: usize,
}

impl<'a> Uncaused<'a> {
    fn of(case: &'a Case<'a>) -> Self {
        let own = traced_addresses(case);
        let uncaused = case.joined.connections.iter();
        let uncaused = uncaused.filter(|x| x.role == Role::Other);
        let (loose, elsewhere): (Vec<_>, Vec<_>) = uncaused.partition(|x| {
            x.from
                .is_some_and(|f| own.is_empty() || own.contains(&f.ip))
        });
        let of_this_host = !loose.is_empty();
        let evicted = case.totals.foreign().filter(|(from, _)| {
            let loose = own.is_empty() || own.contains(from);
            loose == of_this_host
        });
        let evicted: usize = evicted.map(|(_, n)| n).sum();
        let captures = case.evidence.captures.iter();
        let dropped = captures.filter_map(|c| c.omitted.beyond.0.get(&DroppedKind::Syn));
        let list = if of_this_host { loose } else { elsewhere };
        Self {
            count: list.len() + evicted,
            list,
            of_this_host,
            dropped: dropped.map(|c| c.packets).sum(),
            not_attributable: evicted::not_attributable(case).map_or(0, |n| n.connections),
        }
    }

    fn in_words(&self, case: &Case) -> String {
        if self.dropped > 0 {
            let dropped = usize::try_from(self.dropped).unwrap_or(usize::MAX);
            return format!(
                "For lack of space the capture does not hold {} that no call caused; some may be its own.",
                words::counted(dropped, "SYN", "SYNs")
            );
        }
        if self.list.is_empty() {
            return match missing(case) {
                Ok(_) => "No SYN to a server lacks a call, so nothing seems to be missing.".into(),
                Err(blind) => format!("Whether SYNs lack a call cannot be seen: {blind}."),
            };
        }
        let mut seen = HashSet::new();
        let to = self.list.iter().map(|x| x.to);
        let to: Vec<String> = to
            .filter(|to| seen.insert(*to))
            .map(|to| to.to_string())
            .collect();
        format!(
            "{} {}, to {}, {} no call; they may be its own.{}",
            words::counted(self.count, "SYN", "SYNs"),
            if self.of_this_host {
                "of this host"
            } else {
                "from an address that no traced socket has"
            },
            words::list(&to),
            if self.count == 1 { "has" } else { "have" },
            match self.not_attributable {
                0 => String::new(),
                n => format!(
                    " Whether {} one cannot be known: they may be retransmissions.",
                    words::counted(n, "more has", "more have")
                ),
            }
        )
    }
}

/// The host's own addresses, as far as its traced sockets show them.
fn traced_addresses(case: &Case) -> HashSet<IpAddr> {
    let connections = case.joined.connections.iter();
    let connected = connections
        .filter(|x| x.origin == Origin::Traced)
        .filter_map(|x| x.from.map(|f| f.ip));
    let queries = case.joined.queries.iter();
    let asked = queries
        .filter(|q| q.origin == Origin::Traced)
        .filter_map(|q| q.client.map(|c| c.ip));
    connected.chain(asked).collect()
}

/// The witness that no SYN is missing in the inputs.
fn missing(case: &Case) -> Result<Absence, Blind> {
    let wanted = Wanted {
        kind: Sought::Syn,
        from: None,
        to: None,
        netns: None,
    };
    let evidence = &case.evidence;
    evidence
        .coverage
        .would_show(wanted, case.started, evidence.end())
}
