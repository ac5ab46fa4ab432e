//! Connects that no system call shows.

use super::{Context, Draft, FindingId, Page, Severity, parties, tally};
use crate::coverage::{Absence, Blind, ClaimKind as Sought, Wanted};
use crate::event::{EventKind, Op};
use crate::explain::Case;
use crate::explain::words;
use crate::input::DroppedKind;
use crate::join::EventId;
use crate::join::Origin;
use crate::join::connect::Role;
use std::collections::HashSet;

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
    let setups: Vec<EventId> = case
        .evidence
        .numbered()
        .filter(|(_, e)| matches!(&e.what, EventKind::Call(c) if c.op == Op::IoUring))
        .map(|(id, _)| id)
        .take(10)
        .collect();
    if setups.is_empty() {
        return Vec::new();
    }
    // The host's own addresses, as far as its traced sockets show them.
    let own: HashSet<_> = case
        .joined
        .connections
        .iter()
        .filter(|x| x.origin == Origin::Traced)
        .filter_map(|x| x.from.map(|f| f.ip))
        .chain(
            case.joined
                .queries
                .iter()
                .filter(|q| q.origin == Origin::Traced)
                .filter_map(|q| q.client.map(|c| c.ip)),
        )
        .collect();
    let uncaused = case.joined.connections.iter();
    let uncaused = uncaused.filter(|x| x.role == Role::Other);
    let (mut loose, elsewhere): (Vec<_>, Vec<_>) = uncaused.partition(|x| {
        x.from
            .is_some_and(|f| own.is_empty() || own.contains(&f.ip))
    });
    // A host has several addresses, and the trace may show one of them only.
    let certain = !loose.is_empty();
    if !certain {
        loose = elsewhere;
    }
    let captures = case.evidence.captures.iter();
    let dropped: u64 = captures
        .filter_map(|c| c.omitted.beyond.0.get(&DroppedKind::Syn))
        .map(|c| c.packets)
        .sum();
    let mut seen = HashSet::new();
    let to: Vec<String> = loose
        .iter()
        .filter(|x| seen.insert(x.to))
        .map(|x| x.to.to_string())
        .collect();
    let mut evidence = setups;
    evidence.extend(
        loose
            .iter()
            .filter_map(|x| x.syns.first())
            .take(tally::MAX_EVIDENCE),
    );
    vec![Draft {
        id: PAGE.id,
        severity: if loose.is_empty() && dropped == 0 {
            Severity::Info
        } else {
            Severity::Low
        },
        subject: None,
        parties: parties::servers(loose.iter().map(|x| x.to)),
        title: "The program uses io_uring: its connects may not show as calls".into(),
        detail: if dropped > 0 {
            format!(
                "For lack of space the capture does not hold {} that no call caused; some may be its own.",
                words::counted(
                    usize::try_from(dropped).unwrap_or(usize::MAX),
                    "SYN",
                    "SYNs"
                )
            )
        } else if loose.is_empty() {
            match missing(case) {
                Ok(_) => "No SYN to a server lacks a call, so nothing seems to be missing.".into(),
                Err(blind) => format!("Whether SYNs lack a call cannot be seen: {blind}."),
            }
        } else {
            format!(
                "{} {}, to {}, {} no call; they may be its own.",
                words::counted(loose.len(), "SYN", "SYNs"),
                if certain {
                    "of this host"
                } else {
                    "from an address that no traced socket has"
                },
                words::list(&to),
                if loose.len() == 1 { "has" } else { "have" }
            )
        },
        cost: None,
        total: None,
        remedy: Some(
            "Run it without io_uring if it can (node: UV_USE_IO_URING=0) to see every connect."
                .into(),
        ),
        evidence,
    }]
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
