//! Packets that the capture lacks.

use super::{Context, Draft, FindingId, Page, Severity, coverage};

/// What `presyn explain capture-incomplete` shows.
pub const PAGE: Page = Page {
    id: FindingId::CaptureIncomplete,
    rests_on_absence: false,
    in_summary: false,
    text: "The capture lacks packets, so silence in it proves less.

Packets were dropped while capturing, the file is damaged or cut off, it began after
the first calls of the trace, or a filter excluded what the calls received. Or a live
run met more packets that may be the client's than it retains, in a flood or next to a
program that uses io_uring. presyn blames no host on absence alone: findings that rest
on a missing packet are lowered by one step, and say why. Where the counters show when
packets were dropped, only what happened at that time is uncertain: a live run reads them
every second, and pcapng files may hold them with their times.

presyn knows it from the drop counters that pcapng and live captures have, from the
reader's own damage report, and from answers that the calls received but no packet
shows.

What to do: capture again: start tcpdump before the client and stop it after, with -B
4096 or larger buffers, on all interfaces ('-i any'), and without a filter, or at least
with 'port 53 or icmp or icmp6 or arp or tcp[tcpflags] & (tcp-syn|tcp-rst) != 0'.",
};

/// Finds what is missing.
pub fn find(context: &Context) -> Vec<Draft> {
    let gaps = coverage::gaps(context.case);
    if gaps.is_empty() {
        return Vec::new();
    }
    let mut detail = gaps
        .iter()
        .map(|g| g.words.as_str())
        .collect::<Vec<_>>()
        .join("; ");
    detail.push_str(if gaps.iter().all(|gap| gap.during.is_some()) {
        ". What no packet of that time shows is not known; findings that rest on packets of that time are lowered by one \
         step."
    } else {
        ". Findings that rest on missing packets are lowered by one step."
    });
    vec![Draft {
        id: PAGE.id,
        severity: Severity::Medium,
        subject: None,
        parties: Vec::new(),
        title: "The capture lacks packets, so silence in it proves less".into(),
        detail,
        cost: None,
        total: None,
        remedy: Some(
            "Capture again: begin before the client and end after it, on all interfaces, without a filter, with a \
             larger buffer (tcpdump -i any -B 4096)."
                .into(),
        ),
        evidence: gaps.into_iter().flat_map(|g| g.evidence).collect(),
    }]
}
