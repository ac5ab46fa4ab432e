//! What a live run captured and did not keep, for the report.

use super::{Case, cite};
use crate::input::{CaptureFacts, DroppedKind, PacketCount};
use crate::report::{DropTime, LeftOut, LeftOutWhy, PacketKind};

/// When packets were dropped while capturing. What was dropped before the first packet was read has its time.
pub fn drop_times(case: &Case, capture: &CaptureFacts) -> Vec<DropTime> {
    let spans = capture.drop_times.iter();
    spans
        .map(|span| {
            let first = capture.first.unwrap_or(span.until).min(span.until);
            DropTime {
                packets: span.packets,
                from_s: cite::since(case, span.from.max(first)),
                until_s: cite::since(case, span.until),
            }
        })
        .collect()
}

/// What a live run did not keep, by kind.
pub fn rows(case: &Case, capture: &CaptureFacts) -> Vec<LeftOut> {
    let omitted = &capture.omitted;
    let foreign = omitted.foreign.0.iter();
    let foreign = foreign.map(|entry| (LeftOutWhy::OtherProcess, entry));
    let beyond = omitted.beyond.0.iter();
    let beyond = beyond.map(|entry| (LeftOutWhy::NoRoom, entry));
    let row = |(why, (kind, counted)): (LeftOutWhy, (&DroppedKind, &PacketCount))| LeftOut {
        why,
        kind: match kind {
            DroppedKind::Query => PacketKind::Query,
            DroppedKind::Response => PacketKind::Response,
            DroppedKind::Syn => PacketKind::Syn,
            DroppedKind::Reply => PacketKind::TcpOther,
            DroppedKind::Other => PacketKind::Other,
        },
        packets: counted.packets,
        first_s: cite::since(case, counted.first),
        last_s: cite::since(case, counted.last),
    };
    foreign.chain(beyond).map(row).collect()
}
