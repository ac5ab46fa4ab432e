//! Cost grows with the input, not with its square: connects joined to their SYNs.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests; tables of cases are long"
)]

use presyn::event::{
    Address, Call, CallOutcome, Event, EventKind, Fd, FdNote, Location, Op, Packet, SocketFamily,
    SocketKind, SocketType, Task, TcpFlags,
};
use presyn::flow::{Endpoint, FiveTuple, Transport};
use presyn::input::{CaptureFacts, TraceClock, TraceFacts, VisibleSyscalls};
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::json;
use presyn::report::{ConnectionOutcome, Report};
use presyn::time::{Span, Timestamp};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: i64 = 1_000_000_000;

/// `count` connects, 2 ms apart, each with its SYN and SYN-ACK; `exact` as `-yy` notes show the sockets.
fn connects(count: u32, exact: bool) -> Gathered {
    let (mut packets, mut calls) = (Vec::new(), Vec::new());
    for i in 0..count {
        let at = Timestamp(1_700_000_000 * SECOND + i64::from(i) * 2_000_000);
        let [_, b, c, d] = (i / 40_000).to_be_bytes();
        let local = Endpoint::new(
            [10, b, c, d].into(),
            20_000 + u16::try_from(i % 40_000).unwrap(),
        );
        let to = Endpoint::new([192, 0, 2, u8::try_from(i % 200).unwrap()].into(), 443);
        let socket = SocketKind {
            family: SocketFamily::Inet,
            style: SocketType::Stream,
        };
        let note = |local| FdNote {
            socket: Some(socket),
            identity: Some(u64::from(i) + 1),
            local,
            peer: local.map(|_| to),
            ..FdNote::default()
        };
        let fd = |local| Fd {
            number: 7,
            note: exact.then(|| Arc::new(note(local))),
        };
        let mut call = |after: i64, outcome, op| {
            let number = calls.len() as u64 + 1;
            let at = at + Span::micros(after);
            calls.push(Event {
                at,
                place: Location { input: 1, number },
                what: EventKind::Call(Box::new(Call {
                    task: Task {
                        pid: Some(1000 + i % 50),
                        tid: Some(1000 + i % 50),
                        comm: None,
                    },
                    exited: Some(at + Span::micros(20)),
                    outcome,
                    op,
                })),
            });
        };
        call(
            0,
            CallOutcome::Returned(7),
            Op::Socket {
                kind: socket,
                fd: fd(None),
            },
        );
        let pending = CallOutcome::Failed(Arc::from("EINPROGRESS"));
        call(
            50,
            pending,
            Op::Connect {
                fd: fd(None),
                to: Address::Inet(to),
            },
        );
        call(
            400,
            CallOutcome::Returned(0),
            Op::SocketError {
                fd: fd(Some(local)),
                error: None,
            },
        );
        call(
            500,
            CallOutcome::Returned(0),
            Op::Close {
                fd: fd(Some(local)),
            },
        );
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: local,
            dst: to,
        };
        for (after, flow, ack) in [(60, flow, false), (160, flow.reversed(), true)] {
            packets.push(Event {
                at: at + Span::micros(after),
                place: Location {
                    input: 0,
                    number: packets.len() as u64 + 1,
                },
                what: EventKind::Packet(Packet::Tcp {
                    flow,
                    flags: TcpFlags {
                        syn: true,
                        ack,
                        ..TcpFlags::default()
                    },
                    seq: i,
                    ack: if ack { i + 1 } else { 0 },
                }),
            });
        }
    }
    Gathered {
        captures: vec![CaptureFacts {
            path: "many.pcap".into(),
            packets: packets.len() as u64,
            first: packets.first().map(|e| e.at),
            last: packets.last().map(|e| e.at),
            ..CaptureFacts::default()
        }],
        traces: vec![(
            TraceFacts {
                writer: presyn::report::TraceWriter::Strace,
                path: "many.strace".into(),
                input: 1,
                style: "-f -ttt".into(),
                calls: calls.len() as u64,
                skipped_lines: 0,
                unread_connects: 0,
                ended_times: false,
                unreadable_addresses: 0,
                from_start: true,
                clock: TraceClock::Epoch {
                    resolution: Span::micros(1),
                },
                sees: VisibleSyscalls {
                    sockets: true,
                    closes: true,
                    ..VisibleSyscalls::default()
                },
                warnings: Vec::new(),
                damaged: false,
            },
            calls,
        )],
        packets,
        ..Gathered::default()
    }
}

/// The time that the report of so many connects takes (the best of `tries`), and the report.
fn timed(count: u32, exact: bool, tries: usize) -> (Duration, Report) {
    let mut best: Option<(Duration, Report)> = None;
    for _ in 0..tries {
        let gathered = connects(count, exact);
        let begun = Instant::now();
        let report = pipeline::report(gathered, &Settings::default());
        let took = begun.elapsed();
        if best.as_ref().is_none_or(|(t, _)| took < *t) {
            best = Some((took, report));
        }
    }
    best.unwrap()
}

/// Every attempt was joined, and the report holds a bounded part of them.
fn check(report: &Report, count: u32) {
    let shown = report.connections.len();
    assert_eq!(shown + report.omitted.connections, count as usize);
    assert!(shown <= 1_000, "{shown} connections in a bounded report");
    assert!(report.delays.len() <= 1_000);
    for connection in &report.connections {
        assert_eq!(connection.syns, Some(1), "{connection:?}");
        assert_eq!(connection.outcome, Some(ConnectionOutcome::Connected));
        assert!(
            connection.cause.as_ref().is_some_and(|c| c.call.is_some()),
            "{connection:?}"
        );
    }
    let mut bytes = Vec::new();
    json::write(report, &mut bytes).unwrap();
    assert!(bytes.len() < 8 << 20, "{} bytes of JSON", bytes.len());
}

fn linear(small: u32, large: u32, exact: bool) {
    let (fast, few) = timed(small, exact, 3);
    let (slow, many) = timed(large, exact, 2);
    check(&few, small);
    check(&many, large);
    let each = |took: Duration, count: u32| took.as_secs_f64() / f64::from(count);
    let ratio = each(slow, large) / each(fast, small);
    println!(
        "{small}: {fast:?}, {large}: {slow:?}; per connect {ratio:.2} times as long (exact {exact})"
    );
    assert!(ratio < 3.0, "{small}: {fast:?}, {large}: {slow:?}");
}

#[test]
fn connects_with_exact_sockets_cost_the_same_each() {
    linear(10_000, 100_000, true);
}

#[test]
fn connects_without_annotations_cost_the_same_each() {
    linear(10_000, 100_000, false);
}

/// Half a minute and some gigabytes: `cargo test --release --test scale -- --ignored`.
#[test]
#[ignore = "a million connects need minutes and gigabytes"]
fn a_million_connects() {
    linear(100_000, 1_000_000, true);
    linear(100_000, 1_000_000, false);
}
