//! Properties of the pure pipeline over made-up cases: clients with one or two threads that ask up to three
//! resolvers about up to three names, and then connect.

#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::too_many_arguments,
    clippy::type_complexity,
    reason = "tests; tables of cases are long, and a row names every figure of its event"
)]

use presyn::event::dns::{Message as Dns, Name, Question, Rcode, RecordType};
use presyn::event::{
    Address, Call, CallOutcome, Event, EventKind, Fd, FdNote, IcmpKind, Lifecycle, LifecycleChange,
    Location, Op, OpeningStep, Packet, Quote, Service, SocketFamily, SocketKind, SocketType, Task,
    TcpFlags, Transfer,
};
use presyn::flow::{Endpoint, FiveTuple, Transport};
use presyn::input::{CaptureFacts, TraceClock, TraceFacts, VisibleSyscalls};
use presyn::pipeline::{self, Gathered, Settings};
use presyn::report::{self, ConnectionOutcome, EntryKind, Origin, QueryState, Report, Role};
use presyn::time::{Span, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What becomes of one query.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Silent,
    /// After so many milliseconds, in time.
    Answered(u16),
    /// So many milliseconds after the client gave up.
    Late(u16),
    /// ICMP port unreachable.
    Refused,
}

/// One name that one thread looks up: the resolvers in order, again and again, until one answers.
#[derive(Clone, Debug)]
struct LookupPlan {
    thread: usize,
    name: usize,
    /// A and AAAA in one `sendmmsg`, else A alone.
    both: bool,
    rounds: usize,
    fates: Vec<Fate>,
}

#[derive(Clone, Debug)]
struct Plan {
    resolvers: usize,
    lookups: Vec<LookupPlan>,
    /// Descriptors carry what `-yy` prints.
    notes: bool,
    syn_ack: bool,
    /// Which of two captures saw each packet, which of two logs holds each thread.
    split: u64,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        3 => Just(Fate::Silent),
        // Not within 20 ms of half a second, where a wait begins to count as one: clocks may differ by less.
        3 => prop_oneof![0..480_u16, 520..900_u16].prop_map(Fate::Answered),
        1 => (50..4_000_u16).prop_map(Fate::Late),
        1 => Just(Fate::Refused),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let lookup = (
        0..2_usize,
        0..3_usize,
        any::<bool>(),
        1..=2_usize,
        prop::collection::vec(fate(), 6),
    )
        .prop_map(|(thread, name, both, rounds, fates)| LookupPlan {
            thread,
            name,
            both,
            rounds,
            fates,
        });
    (
        1..=3_usize,
        prop::collection::vec(lookup, 1..=3),
        any::<bool>(),
        any::<bool>(),
        any::<u64>(),
    )
        .prop_map(|(resolvers, lookups, notes, syn_ack, split)| Plan {
            resolvers,
            lookups,
            notes,
            syn_ack,
            split,
        })
}

const START: i64 = 1_750_000_000_000_000_000;
const PID: u32 = 4000;

/// Writes a plan down as events.
struct Scribe {
    notes: bool,
    packets: Vec<(Timestamp, Packet)>,
    /// Thread, entry, call.
    calls: Vec<(Timestamp, Call)>,
    queries: u64,
    refusals: u64,
    port: u16,
    id: u16,
}

const fn kind(style: SocketType) -> SocketKind {
    SocketKind {
        family: SocketFamily::Inet,
        style,
    }
}

fn resolver(n: usize) -> Endpoint {
    Endpoint::new([10, 0, 1, 93 + u8::try_from(n).unwrap()].into(), 53)
}

fn server() -> Endpoint {
    Endpoint::new([192, 168, 110, 231].into(), 8998)
}

struct Socket {
    fd: i32,
    style: SocketType,
    local: Endpoint,
    peer: Endpoint,
}

impl Scribe {
    fn socket(&mut self, style: SocketType, peer: Endpoint) -> Socket {
        self.port += 1;
        let host = if peer.port == 53 {
            [10, 0, 1, 10]
        } else {
            [192, 168, 110, 50]
        };
        Socket {
            fd: i32::from(self.port - 30_000),
            style,
            local: Endpoint::new(host.into(), self.port),
            peer,
        }
    }

    fn fd(&self, socket: &Socket, connected: bool) -> Fd {
        Fd {
            number: socket.fd,
            note: self.notes.then(|| {
                Arc::new(FdNote {
                    socket: Some(kind(socket.style)),
                    identity: Some(u64::from(socket.local.port)),
                    local: connected.then_some(socket.local),
                    peer: connected.then_some(socket.peer),
                    ..FdNote::default()
                })
            }),
        }
    }

    /// A call that takes `took`; the time after it.
    fn call(
        &mut self,
        thread: usize,
        at: Timestamp,
        took: Span,
        outcome: CallOutcome,
        op: Op,
    ) -> Timestamp {
        let tid = PID + u32::try_from(thread).unwrap();
        let task = Task {
            pid: Some(PID),
            tid: Some(tid),
            comm: None,
        };
        let exited = Some(at + took);
        self.calls.push((
            at,
            Call {
                task,
                exited,
                outcome,
                op,
            },
        ));
        at + took + Span::micros(10)
    }

    fn connect(&mut self, thread: usize, at: Timestamp, socket: &Socket) -> Timestamp {
        let opened = Op::Socket {
            kind: kind(socket.style),
            fd: self.fd(socket, false),
        };
        let at = self.call(
            thread,
            at,
            Span::micros(8),
            CallOutcome::Returned(socket.fd.into()),
            opened,
        );
        let outcome = match socket.style {
            SocketType::Stream => CallOutcome::Failed(Arc::from("EINPROGRESS")),
            _ => CallOutcome::Returned(0),
        };
        let connect = Op::Connect {
            fd: self.fd(socket, false),
            to: Address::Inet(socket.peer),
        };
        self.call(thread, at, Span::micros(120), outcome, connect)
    }

    fn wait(
        &mut self,
        thread: usize,
        at: Timestamp,
        socket: &Socket,
        took: Span,
        ready: bool,
    ) -> Timestamp {
        let op = Op::Wait {
            fds: vec![self.fd(socket, true)],
            ready: if ready { vec![socket.fd] } else { Vec::new() },
            timeout: Some(Span::seconds(1)),
        };
        self.call(thread, at, took, CallOutcome::Returned(ready.into()), op)
    }

    fn lookup(&mut self, plan: &LookupPlan, resolvers: usize, mut at: Timestamp) -> Timestamp {
        self.id += 7;
        let name: Box<str> = format!("n{}.example.lab", plan.name).into();
        let types = if plan.both {
            &[RecordType::A, RecordType::AAAA][..]
        } else {
            &[RecordType::A]
        };
        let message = |n: usize, response: bool, id: u16| Dns {
            id: id + u16::try_from(n).unwrap(),
            response,
            opcode: 0,
            truncated: false,
            rcode: Rcode(0),
            question: Some(Question {
                name: Name(name.clone().into()),
                kind: Some(types[n]),
                cut: false,
            }),
            answers: u16::from(response && n == 0),
            addresses: if response && n == 0 {
                [server().ip].into()
            } else {
                [].into()
            },
            edns: false,
            referral: false,
            complete: true,
            bytes: None,
        };
        let id = self.id;
        let mut sockets: Vec<Socket> = Vec::new();
        'rounds: for round in 0..plan.rounds {
            for n in 0..resolvers {
                if round == 0 {
                    let socket = self.socket(SocketType::Datagram, resolver(n));
                    at = self.connect(plan.thread, at, &socket);
                    sockets.push(socket);
                }
                let socket = &sockets[n];
                let flow = FiveTuple {
                    transport: Transport::Udp,
                    src: socket.local,
                    dst: socket.peer,
                };
                let messages = (0..types.len()).map(|m| Transfer {
                    peer: None,
                    length: 33,
                    taken: true,
                    dns: vec![message(m, false, id)],
                    local: None,
                });
                let op = Op::Send {
                    fd: self.fd(socket, true),
                    messages: messages.collect(),
                };
                let sent = at;
                let count = i64::try_from(types.len()).unwrap();
                let all = CallOutcome::Returned(if plan.both { count } else { 33 });
                at = self.call(plan.thread, at, Span::micros(90), all, op);
                for m in 0..types.len() {
                    self.queries += 1;
                    self.packets.push((
                        sent + Span::micros(40 + i64::try_from(m).unwrap()),
                        Packet::Dns {
                            flow,
                            service: Service::Unicast,
                            message: Box::new(message(m, false, id)),
                        },
                    ));
                }
                let fate = plan.fates[(round * resolvers + n) % plan.fates.len()];
                let patience = Span::seconds(1);
                let answers = |scribe: &mut Self, when: Timestamp| {
                    for m in 0..types.len() {
                        scribe.packets.push((
                            when + Span::micros(i64::try_from(m).unwrap()),
                            Packet::Dns {
                                flow: flow.reversed(),
                                service: Service::Unicast,
                                message: Box::new(message(m, true, id)),
                            },
                        ));
                    }
                };
                match fate {
                    Fate::Silent => at = self.wait(plan.thread, at, socket, patience, false),
                    Fate::Late(more) => {
                        answers(self, at + patience + Span::millis(more.into()));
                        at = self.wait(plan.thread, at, socket, patience, false);
                    }
                    Fate::Answered(after) => {
                        let took = Span::millis(after.into()) + Span::micros(30);
                        answers(self, at + took - Span::micros(10));
                        at = self.wait(plan.thread, at, socket, took, true);
                        for m in 0..types.len() {
                            let op = Op::Receive {
                                fd: self.fd(socket, true),
                                messages: vec![Transfer {
                                    peer: Some(socket.peer),
                                    length: 49,
                                    taken: true,
                                    dns: vec![message(m, true, id)],
                                    local: None,
                                }],
                            };
                            at = self.call(
                                plan.thread,
                                at,
                                Span::micros(9),
                                CallOutcome::Returned(49),
                                op,
                            );
                        }
                        break 'rounds;
                    }
                    Fate::Refused => {
                        for m in 0..types.len() {
                            self.refusals += 1;
                            let quoted = message(m, false, id);
                            let quote = Quote {
                                flow,
                                seq: None,
                                dns_id: Some(quoted.id),
                                question: quoted.question,
                            };
                            self.packets.push((
                                sent + Span::micros(80 + i64::try_from(m).unwrap()),
                                Packet::Icmp {
                                    from: socket.peer.ip,
                                    to: socket.local.ip,
                                    kind: IcmpKind::PortUnreachable,
                                    quote: Some(Box::new(quote)),
                                },
                            ));
                        }
                        at = self.wait(plan.thread, at, socket, Span::micros(20), true);
                        let op = Op::Receive {
                            fd: self.fd(socket, true),
                            messages: Vec::new(),
                        };
                        let refused = CallOutcome::Failed(Arc::from("ECONNREFUSED"));
                        at = self.call(plan.thread, at, Span::micros(9), refused, op);
                    }
                }
            }
        }
        for socket in &sockets {
            let fd = self.fd(socket, true);
            at = self.call(
                plan.thread,
                at,
                Span::micros(5),
                CallOutcome::Returned(0),
                Op::Close { fd },
            );
        }
        at
    }

    fn server_connect(&mut self, at: Timestamp, syn_ack: bool) {
        let socket = self.socket(SocketType::Stream, server());
        let after = self.connect(0, at, &socket);
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: socket.local,
            dst: socket.peer,
        };
        let syn = TcpFlags {
            syn: true,
            ..TcpFlags::default()
        };
        let sent = after - Span::micros(60);
        self.packets.push((
            sent,
            Packet::Tcp {
                flow,
                flags: syn,
                seq: 100,
                ack: 0,
            },
        ));
        if syn_ack {
            let flags = TcpFlags { ack: true, ..syn };
            let flow = flow.reversed();
            self.packets.push((
                sent + Span::millis(3),
                Packet::Tcp {
                    flow,
                    flags,
                    seq: 7,
                    ack: 101,
                },
            ));
            let fd = self.fd(&socket, true);
            let op = Op::SocketError { fd, error: None };
            self.call(
                0,
                after + Span::millis(4),
                Span::micros(4),
                CallOutcome::Returned(0),
                op,
            );
        }
    }
}

/// A plan as events: what the sources would deliver, and how many queries and refusals it has.
fn write_down(plan: &Plan) -> Scribe {
    let mut scribe = Scribe {
        notes: plan.notes,
        packets: Vec::new(),
        calls: Vec::new(),
        queries: 0,
        refusals: 0,
        port: 30_010,
        id: 1000,
    };
    let mut now = [Timestamp(START), Timestamp(START) + Span::millis(137)];
    for lookup in &plan.lookups {
        now[lookup.thread] =
            scribe.lookup(lookup, plan.resolvers, now[lookup.thread] + Span::millis(2));
    }
    scribe.server_connect(now[0].max(now[1]) + Span::millis(1), plan.syn_ack);
    scribe
}

fn trace_facts(input: u16) -> TraceFacts {
    TraceFacts {
        writer: presyn::report::TraceWriter::Strace,
        path: format!("trace-{input}"),
        input,
        style: "-f -ttt -T".into(),
        calls: 0,
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
            sends: true,
            waits: true,
            closes: true,
            ..VisibleSyscalls::default()
        },
        warnings: Vec::new(),
        damaged: false,
    }
}

fn number(mut events: Vec<(Timestamp, EventKind)>, input: u16) -> Vec<Event> {
    events.sort_by_key(|(at, _)| *at);
    let numbered = events.into_iter().zip(1..);
    numbered
        .map(|((at, what), number)| Event {
            at,
            place: Location { input, number },
            what,
        })
        .collect()
}

/// The sources of a plan: one capture or two, one log or one per thread.
fn sources(plan: &Plan) -> (Vec<Vec<Event>>, Vec<Vec<Event>>) {
    let scribe = write_down(plan);
    let (two_captures, two_logs) = (plan.split & 1 == 1, plan.split & 2 == 2);
    let mut captures = vec![Vec::new(); 2];
    for (n, (at, packet)) in scribe.packets.into_iter().enumerate() {
        let which = usize::from(two_captures && plan.split >> (n % 60 + 2) & 1 == 1);
        captures[which].push((at, EventKind::Packet(packet)));
    }
    let mut logs = vec![Vec::new(); 2];
    for (at, call) in scribe.calls {
        let which = usize::from(two_logs && call.task.tid != Some(PID));
        logs[which].push((at, EventKind::Call(Box::new(call))));
    }
    let filled = |lists: Vec<Vec<(Timestamp, EventKind)>>, first: u16| {
        let lists = lists.into_iter().filter(|l| !l.is_empty());
        lists
            .zip(first..)
            .map(|(l, input)| number(l, input))
            .collect::<Vec<_>>()
    };
    (filled(captures, 0), filled(logs, 2))
}

/// Inputs listed as they are in `captures` and `logs`, and numbered in that order; the packets interleaved
/// as `order` says.
fn gather(captures: &[Vec<Event>], logs: &[Vec<Event>], order: u64) -> Gathered {
    let name = |events: &[Event]| events[0].place.input;
    let (names, log_names): (Vec<u16>, Vec<u16>) = (
        captures.iter().map(|c| name(c)).collect(),
        logs.iter().map(|l| name(l)).collect(),
    );
    let (mut captures, mut logs) = (captures.to_vec(), logs.to_vec());
    for (events, input) in captures.iter_mut().chain(&mut logs).zip(0..) {
        for event in events {
            event.place.input = input;
        }
    }
    let mut rest: Vec<&[Event]> = captures.iter().map(Vec::as_slice).collect();
    let (mut packets, mut bits) = (Vec::new(), order);
    while rest.iter().any(|r| !r.is_empty()) {
        let which = usize::try_from(bits & 1).unwrap() % rest.len();
        bits = bits.rotate_right(1);
        let which = if rest[which].is_empty() {
            rest.len() - 1 - which
        } else {
            which
        };
        let (first, others) = rest[which].split_first().unwrap();
        packets.push(first.clone());
        rest[which] = others;
    }
    let facts = captures.iter().zip(names).map(|(c, name)| CaptureFacts {
        path: format!("capture-{name}"),
        input: c[0].place.input,
        packets: c.len() as u64,
        first: c.first().map(|e| e.at),
        last: c.last().map(|e| e.at),
        ..CaptureFacts::default()
    });
    Gathered {
        captures: facts.collect(),
        packets,
        traces: logs
            .iter()
            .zip(log_names)
            .map(|(l, name)| {
                let path = format!("trace-{name}");
                (
                    TraceFacts {
                        writer: presyn::report::TraceWriter::Strace,
                        path,
                        ..trace_facts(l[0].place.input)
                    },
                    l.clone(),
                )
            })
            .collect(),
        resolv_conf: Some((
            "resolv.conf".into(),
            "nameserver 10.0.1.93\nnameserver 10.0.1.94\nnameserver 10.0.1.95\noptions timeout:1\n"
                .into(),
        )),
        ..Gathered::default()
    }
}

fn analyzed(plan: &Plan) -> Report {
    let (captures, logs) = sources(plan);
    pipeline::report(gather(&captures, &logs, 0), &Settings::default())
}

fn text(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap()
}

/// The report without the order in which its inputs were named. Packets of one moment in two captures are told in
/// that order too.
fn listed_anyhow(mut report: Report) -> String {
    report.inputs.captures.sort_by(|a, b| a.path.cmp(&b.path));
    report.inputs.traces.sort_by(|a, b| a.path.cmp(&b.path));
    let mut report = serde_json::to_value(report).unwrap();
    sort_texts(&mut report);
    serde_json::to_string_pretty(&report).unwrap()
}

fn sort_texts(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Array(list) => {
            if list.iter().all(serde_json::Value::is_string) {
                list.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            }
            list.iter_mut().for_each(sort_texts);
        }
        serde_json::Value::Object(map) => map.values_mut().for_each(sort_texts),
        _ => {}
    }
}

/// Both alike, else the first line that differs.
fn same(one: &str, other: &str) -> Result<(), TestCaseError> {
    let differ = one.lines().zip(other.lines()).position(|(a, b)| a != b);
    let around = |text: &str, n: usize| {
        let from = n.saturating_sub(3);
        text.lines()
            .skip(from)
            .take(7)
            .collect::<Vec<_>>()
            .join("\n")
    };
    if let Some(n) = differ {
        let (one, other) = (around(one, n), around(other, n));
        return Err(TestCaseError::fail(format!(
            "line {n}:\n{one}\nbecame\n{other}"
        )));
    }
    prop_assert_eq!(one.len(), other.len());
    Ok(())
}

/// Whether a clock has times that measure what lasts less than a second.
fn is_fine(clock: TraceClock) -> bool {
    clock.has_times() && presyn::clock::resolution(clock) < Span::seconds(1)
}

/// What must hold of every report, whatever went in; figures are known where the log's clock is fine enough.
fn sound(report: &Report, timed: bool) -> Result<(), TestCaseError> {
    for r in &report.resolvers {
        let sum = |counts: [Option<u64>; 2]| counts.into_iter().sum::<Option<u64>>();
        let judged = sum([sum([r.answered, r.unanswered]), r.open]);
        prop_assert!(judged.is_some(), "{:?}", r);
        prop_assert_eq!(judged, r.queries, "{:?}", r);
        prop_assert!(r.refused <= sum([r.unanswered, r.never_sent]), "{:?}", r);
        prop_assert!(r.late <= r.answered, "{:?}", r);
        prop_assert_eq!(Some(r.rcodes.values().sum::<u64>()), r.answered, "{:?}", r);
        // Unknown where a log has no times.
        prop_assert!(r.waited_s.map_or(!timed, |s| s >= 0.0), "{:?}", r);
        prop_assert!(r.transactions_unanswered <= r.transactions, "{:?}", r);
    }
    for query in report.lookups.iter().flat_map(|l| &l.queries) {
        prop_assert!(query.waited_s.map_or(!timed, |s| s >= 0.0), "{:?}", query);
    }
    // Of a log without times only parts are known, each rounded down to a microsecond.
    for delay in &report.delays {
        if !timed {
            let known = || delay.entries.iter().filter_map(|e| e.seconds);
            prop_assert!(known().all(|s| s >= 0.0), "{:?}", delay);
            let whole = delay.since_start_s.unwrap_or(f64::MAX);
            let slack = 1e-5_f64.max(whole.abs() * 1e-12);
            let saturated = whole > 9.2e9;
            prop_assert!(
                saturated || known().sum::<f64>() <= whole + slack,
                "{:?}",
                delay
            );
            continue;
        }
        let sum: Option<f64> = delay.entries.iter().map(|e| e.seconds).sum();
        let (Some(sum), Some(whole)) = (sum, delay.since_start_s) else {
            return Err(TestCaseError::fail(format!(
                "seconds are missing: {delay:?}"
            )));
        };
        // Nanoseconds in a double: exact to 1e-6 for spans of years, not of centuries.
        let slack = 1e-6_f64.max(whole.abs() * 1e-12);
        // A span of more than 292 years does not fit into nanoseconds and saturates.
        let saturated = whole > 9.2e9;
        prop_assert!(
            saturated || (sum - whole).abs() <= slack,
            "{} is not {:?}",
            sum,
            delay
        );
        for entry in &delay.entries {
            prop_assert!(entry.seconds >= Some(0.0), "{:?}", entry);
        }
    }
    Ok(())
}

/// How many queries are in each state, over all lookups.
fn states(report: &Report) -> BTreeMap<QueryState, u64> {
    let mut counts = BTreeMap::new();
    for query in report.lookups.iter().flat_map(|l| &l.queries) {
        *counts.entry(query.state).or_default() += 1;
    }
    counts
}

fn rows(report: &Report) -> Vec<(String, [Option<u64>; 7])> {
    let count = |r: &report::Resolver| {
        let place = format!("{}:{}/{} {}", r.address, r.port, r.transport, r.origin);
        (
            place,
            [
                r.queries,
                r.answered,
                r.unanswered,
                r.open,
                r.refused,
                r.late,
                r.never_sent,
            ],
        )
    };
    report.resolvers.iter().map(count).collect()
}

/// Seconds by kind and party, and everything that is not a time.
type Account = Vec<BTreeMap<(EntryKind, Option<String>), f64>>;

fn accounts(report: &Report) -> Account {
    let mut accounts = Account::new();
    for delay in &report.delays {
        let mut sums = BTreeMap::new();
        for entry in &delay.entries {
            *sums.entry((entry.kind, entry.party.clone())).or_default() += entry.seconds.unwrap();
        }
        accounts.push(sums);
    }
    accounts
}

/// The same report however the packets of two captures are interleaved, and whichever input is named first.
fn listing_does_not_matter(plan: &Plan, order: u64) -> Result<(), TestCaseError> {
    let (mut captures, mut logs) = sources(plan);
    let settings = Settings::default();
    let straight = pipeline::report(gather(&captures, &logs, 0), &settings);
    let woven = pipeline::report(gather(&captures, &logs, order), &settings);
    same(&text(&straight), &text(&woven))?;
    captures.reverse();
    logs.reverse();
    let listed = pipeline::report(gather(&captures, &logs, order), &settings);
    same(&listed_anyhow(straight), &listed_anyhow(listed))
}

/// Two interfaces show one lookup of A and AAAA, asked twice: the late answers to the first round in one, those to the
/// second in the other. They look like the same answers on two clocks.
#[test]
fn late_answers_and_repeated_ones_are_no_second_clock() {
    for split in [3_064_793_145_524_020_037, 13_032_787_884_758_052_745] {
        let plan = Plan {
            resolvers: 1,
            lookups: vec![LookupPlan {
                thread: 0,
                name: 0,
                both: true,
                rounds: 2,
                fates: vec![Fate::Late(50), Fate::Answered(0)],
            }],
            notes: false,
            syn_ack: false,
            split,
        };
        listing_does_not_matter(&plan, 0).unwrap();
        let report = analyzed(&plan);
        assert_eq!(report.resolvers[0].queries, Some(4));
    }
}

/// So many cases, or as many as `PROPTEST_CASES` says (scripts/properties).
fn config(cases: u32) -> ProptestConfig {
    let wanted = std::env::var_os("PROPTEST_CASES");
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: if wanted.is_some() {
            default.cases
        } else {
            cases
        },
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn interleaving_and_listing_do_not_matter(plan in plan(), order in any::<u64>()) {
        listing_does_not_matter(&plan, order)?;
    }

    #[test]
    fn every_query_is_counted_once_and_ends_in_one_state(plan in plan()) {
        let scribe = write_down(&plan);
        let report = analyzed(&plan);
        sound(&report, true)?;
        let sum = |of: fn(&report::Resolver) -> Option<u64>| {
            report.resolvers.iter().map(of).sum::<Option<u64>>().unwrap()
        };
        prop_assert_eq!(sum(|r| r.queries), scribe.queries);
        prop_assert_eq!(sum(|r| r.never_sent), 0);
        prop_assert_eq!(sum(|r| if r.origin == Origin::Traced { Some(0) } else { r.queries }), 0);
        let states = states(&report);
        prop_assert_eq!(states.values().sum::<u64>(), scribe.queries, "{:?}", states);
        prop_assert_eq!(sum(|r| r.late), states.get(&QueryState::Late).copied().unwrap_or(0));
        prop_assert_eq!(sum(|r| r.refused), states.get(&QueryState::Refused).copied().unwrap_or(0));
        // Each ICMP error ends one query, and no late answer to an earlier one undoes it.
        prop_assert_eq!(sum(|r| r.refused), scribe.refusals);
        let server: Vec<_> = report.connections.iter().filter(|c| c.role == Role::Server).collect();
        prop_assert_eq!(server.len(), 1);
        prop_assert_eq!((&*server[0].to, server[0].syns), ("192.168.110.231:8998", Some(1)));
        prop_assert_eq!(server[0].outcome == Some(ConnectionOutcome::Connected), plan.syn_ack, "{:?}", server[0]);
    }

    #[test]
    fn a_skewed_clock_changes_nothing_but_the_clock(
        plan in plan(),
        skew in prop_oneof![-3_600_000_i64..-50, 50..3_600_000_i64],
    ) {
        let (captures, logs) = sources(&plan);
        let straight = pipeline::report(gather(&captures, &logs, 0), &Settings::default());
        let mut skewed = logs.clone();
        for event in skewed.iter_mut().flatten() {
            event.at = event.at + Span::millis(skew);
            if let EventKind::Call(call) = &mut event.what {
                call.exited = call.exited.map(|at| at + Span::millis(skew));
            }
        }
        let report = pipeline::report(gather(&captures, &skewed, 0), &Settings::default());
        sound(&report, true)?;
        prop_assert_eq!(rows(&straight), rows(&report), "{:?}", report.inputs.clock);
        prop_assert_eq!(states(&straight), states(&report));
        let attempts = |r: &Report| {
            let each = r.connections.iter();
            each.map(|c| (c.to.clone(), c.role, c.outcome, c.syns)).collect::<Vec<_>>()
        };
        prop_assert_eq!(attempts(&straight), attempts(&report));
        let (before, after) = (accounts(&straight), accounts(&report));
        prop_assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            for key in before.keys().chain(after.keys()) {
                let seconds = |of: &BTreeMap<_, f64>| of.get(key).copied().unwrap_or(0.0);
                let gap = (seconds(before) - seconds(after)).abs();
                prop_assert!(gap <= 0.02, "{:?}: {:?} became {:?}", key, before, after);
            }
        }
    }
}

/// Two logs on one clock, 69 ms slow; the second holds one query, whose connect could also be laid on the other
/// thread's queries. Its id says which is right.
#[test]
fn a_query_outweighs_a_connect_when_the_clock_is_solved() {
    let lookup = |thread, first| LookupPlan {
        thread,
        name: 0,
        both: false,
        rounds: 1,
        fates: vec![first],
    };
    let plan = Plan {
        resolvers: 1,
        lookups: vec![
            lookup(0, Fate::Refused),
            lookup(1, Fate::Late(50)),
            lookup(0, Fate::Silent),
        ],
        notes: false,
        syn_ack: false,
        split: 2,
    };
    let (captures, logs) = sources(&plan);
    assert_eq!(logs.len(), 2);
    let skewed = logs.into_iter().map(|mut log| {
        presyn::merge::shift(&mut log, Span::millis(-69));
        log
    });
    let report = pipeline::report(
        gather(&captures, &skewed.collect::<Vec<_>>(), 0),
        &Settings::default(),
    );
    let silent: f64 = report.delays[0]
        .entries
        .iter()
        .filter(|e| e.kind == EntryKind::ResolverSilent)
        .map(|e| e.seconds.unwrap())
        .sum();
    assert!((silent - 1.1347).abs() < 0.001, "{:?}", report.delays[0]);
}

/// Descriptors from everywhere.
fn any_fd() -> impl Strategy<Value = Fd> {
    let number = prop_oneof![4 => -1..6_i32, 1 => any::<i32>()];
    let note = prop::option::of((
        prop::option::of(any_kind()),
        any::<bool>(),
        prop::option::of(0..4_u64),
        prop::option::of(any_end()),
        prop::option::of(any_end()),
        any::<bool>(),
    ));
    (number, note).prop_map(|(number, note)| Fd {
        number,
        note: note.map(|(socket, not_a_socket, identity, local, peer, exact)| {
            Arc::new(FdNote {
                socket,
                not_a_socket,
                identity,
                local,
                peer,
                exact,
                ..FdNote::default()
            })
        }),
    })
}

fn any_kind() -> impl Strategy<Value = SocketKind> {
    use SocketFamily::{Inet, Netlink, Other as Others, Unix};
    use SocketType::{Datagram, Other, Stream, Unknown};
    (
        prop::sample::select(vec![Inet, Inet, Unix, Netlink, Others]),
        prop::sample::select(vec![Stream, Datagram, Other, Unknown]),
    )
        .prop_map(|(family, style)| SocketKind { family, style })
}

/// Few ends, so that they meet.
fn any_end() -> impl Strategy<Value = Endpoint> {
    let ip = prop::sample::select(vec![
        "10.0.1.10",
        "10.0.1.93",
        "127.0.0.1",
        "0.0.0.0",
        "fe80::1",
        "::",
    ]);
    let port = prop::sample::select(vec![0_u16, 53, 80, 5353, 40_000, 65_535]);
    (ip, port).prop_map(|(ip, port)| Endpoint::new(ip.parse::<IpAddr>().unwrap(), port))
}

fn any_dns() -> impl Strategy<Value = Dns> {
    let name = prop::sample::select(vec![
        "",
        ".",
        "a.example",
        "A.Example",
        "9.1.0.10.in-addr.arpa",
        "ip6.arpa",
    ]);
    let question = prop::option::of((name, prop::option::of(any::<u16>()), any::<bool>()));
    (
        0..3_u16,
        any::<bool>(),
        any::<[bool; 2]>(),
        question,
        any::<u16>(),
        prop::collection::vec(any_end(), 0..3),
    )
        .prop_map(
            |(id, response, [truncated, complete], question, code, ends)| Dns {
                id,
                response,
                opcode: 0,
                truncated,
                rcode: Rcode(code % 7),
                question: question.map(|(name, kind, cut)| Question {
                    name: Name(name.into()),
                    kind: kind.map(|k| RecordType(k % 30)),
                    cut,
                }),
                answers: code,
                addresses: ends.iter().map(|e| e.ip).collect(),
                edns: false,
                referral: false,
                complete,
                bytes: None,
            },
        )
}

fn any_message() -> impl Strategy<Value = Transfer> {
    (
        prop::option::of(any_end()),
        any::<u32>(),
        any::<bool>(),
        prop::collection::vec(any_dns(), 0..2),
    )
        .prop_map(|(peer, length, taken, dns)| Transfer {
            peer,
            length,
            taken,
            dns,
            local: None,
        })
}

fn any_address() -> impl Strategy<Value = Address> {
    prop_oneof![
        4 => any_end().prop_map(Address::Inet),
        1 => prop::sample::select(vec!["/var/run/nscd/socket", "@x", "", "/run/avahi-daemon/socket"])
            .prop_map(|p| Address::Unix(p.into())),
        1 => Just(Address::Unspecified),
        1 => Just(Address::Other("AF_VSOCK".into())),
    ]
}

/// Any call whatever.
fn any_op() -> impl Strategy<Value = Op> {
    let messages = || prop::collection::vec(any_message(), 0..3);
    let error = || prop::option::of(Just(Arc::<str>::from("ECONNREFUSED")));
    let span = || prop::option::of(any::<i64>().prop_map(Span));
    prop_oneof![
        (any_kind(), any_fd()).prop_map(|(kind, fd)| Op::Socket { kind, fd }),
        (any_fd(), any_address()).prop_map(|(fd, to)| Op::Connect { fd, to }),
        (any_fd(), any_address()).prop_map(|(fd, local)| Op::Bind { fd, local }),
        (any_fd(), any_fd()).prop_map(|(fd, new)| Op::Accept { fd, new }),
        (any_fd(), any_address()).prop_map(|(fd, local)| Op::LocalName { fd, local }),
        (any_fd(), any_address()).prop_map(|(fd, peer)| Op::PeerName { fd, peer }),
        (any_fd(), any_kind()).prop_map(|(fd, k)| Op::SocketTypeIs { fd, style: k.style }),
        (any_fd(), error()).prop_map(|(fd, error)| Op::SocketError { fd, error }),
        (any_fd(), messages()).prop_map(|(fd, messages)| Op::Send { fd, messages }),
        (any_fd(), messages()).prop_map(|(fd, messages)| Op::Receive { fd, messages }),
        (
            prop::collection::vec(any_fd(), 0..3),
            prop::collection::vec(any::<i32>(), 0..2),
            span()
        )
            .prop_map(|(fds, ready, timeout)| Op::Wait {
                fds,
                ready,
                timeout
            }),
        any_fd().prop_map(|fd| Op::Close { fd }),
        (any_fd(), any::<i32>()).prop_map(|(fd, new)| Op::Duplicate { fd, new }),
        any::<[bool; 2]>().prop_map(|[thread, files]| Op::Clone { thread, files }),
        Just(Op::Exec {
            program: "/bin/true".into()
        }),
        Just(Op::Sleep),
        Just(Op::IoUring),
        Just(Op::Other {
            name: "ioctl".into()
        }),
    ]
}

fn any_task() -> impl Strategy<Value = Task> {
    (
        prop::option::of(0..4_u32),
        prop::option::of(0..4_u32),
        any::<bool>(),
    )
        .prop_map(|(pid, tid, named)| Task {
            pid,
            tid,
            comm: named.then(|| Arc::from("x\u{1b}]0;\u{202e}")),
        })
}

/// Mostly near, sometimes anywhere in 64 bits.
fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        8 => (0..40_000_000_000_i64).prop_map(|n| Timestamp(START + n)),
        1 => any::<i64>().prop_map(Timestamp),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX])
            .prop_map(Timestamp),
    ]
}

fn any_flow() -> impl Strategy<Value = FiveTuple> {
    (any::<bool>(), any_end(), any_end()).prop_map(|(udp, src, dst)| FiveTuple {
        transport: if udp { Transport::Udp } else { Transport::Tcp },
        src,
        dst,
    })
}

fn any_packet() -> impl Strategy<Value = Packet> {
    use IcmpKind::{
        HostUnreachable, NetUnreachable, Other, PortUnreachable, Prohibited, TimeExceeded, TooBig,
    };
    let service = prop::sample::select(vec![
        Service::Unicast,
        Service::Mdns,
        Service::Llmnr,
        Service::Candidate,
    ]);
    let icmp = prop::sample::select(vec![
        PortUnreachable,
        HostUnreachable,
        NetUnreachable,
        Prohibited,
        TooBig,
        TimeExceeded,
        Other(9),
    ]);
    let quote = (
        any_flow(),
        prop::option::of(0..3_u32),
        prop::option::of(0..3_u16),
        any_dns(),
    );
    prop_oneof![
        (any_flow(), service, any_dns()).prop_map(|(flow, service, message)| Packet::Dns {
            flow,
            service,
            message: Box::new(message)
        }),
        (any_flow(), any::<[bool; 4]>(), 0..3_u32, 0..4_u32).prop_map(
            |(flow, [syn, ack, rst, fin], seq, acked)| Packet::Tcp {
                flow,
                flags: TcpFlags { syn, ack, rst, fin },
                seq,
                ack: acked,
            }
        ),
        (any_end(), any_end(), icmp, prop::option::of(quote)).prop_map(
            |(from, to, kind, quote)| {
                Packet::Icmp {
                    from: from.ip,
                    to: to.ip,
                    kind,
                    quote: quote.map(|(flow, seq, dns_id, dns)| {
                        Box::new(Quote {
                            flow,
                            seq,
                            dns_id,
                            question: dns.question,
                        })
                    }),
                }
            }
        ),
        (any_end(), 0..3_u8).prop_map(|(end, step)| Packet::Opening {
            flow: FiveTuple {
                transport: Transport::Tcp,
                src: end,
                dst: server()
            },
            step: [
                OpeningStep::LateAck,
                OpeningStep::ClientData,
                OpeningStep::ServerData
            ][usize::from(step)],
        }),
        any_end().prop_map(|end| Packet::QuicInitial {
            flow: FiveTuple {
                transport: Transport::Udp,
                src: end,
                dst: resolver(0)
            }
        }),
        (any_end(), any::<bool>()).prop_map(|(about, reply)| Packet::Neighbour {
            about: about.ip,
            reply,
            from: Some(about.ip).filter(|_| !reply),
        }),
    ]
}

fn any_trace_event() -> impl Strategy<Value = EventKind> {
    let outcome = prop_oneof![
        (-1..8_i64).prop_map(CallOutcome::Returned),
        any::<i64>().prop_map(CallOutcome::Returned),
        prop::sample::select(vec![
            "EINPROGRESS",
            "ECONNREFUSED",
            "EAGAIN",
            "ETIMEDOUT",
            "?"
        ])
        .prop_map(|e| CallOutcome::Failed(Arc::from(e))),
        Just(CallOutcome::Unknown),
    ];
    let change = prop_oneof![
        (prop::option::of(0..4_u32), prop::option::of(any::<bool>()))
            .prop_map(|(parent, thread)| LifecycleChange::Forked { parent, thread }),
        any::<i32>().prop_map(LifecycleChange::Exited),
        Just(LifecycleChange::Killed("SIGKILL".into())),
        (0..4_u32).prop_map(LifecycleChange::ChildDied),
        Just(LifecycleChange::Signal("SIGUSR1".into())),
    ];
    prop_oneof![
        8 => (any_task(), prop::option::of(any_time()), outcome, any_op())
            .prop_map(|(task, exited, outcome, op)| EventKind::Call(Box::new(Call { task, exited, outcome, op }))),
        1 => (any_task(), change).prop_map(|(task, change)| EventKind::Life(Box::new(Lifecycle { task, change }))),
    ]
}

fn any_clock() -> impl Strategy<Value = TraceClock> {
    let resolution = Span::micros(1);
    prop::sample::select(vec![
        TraceClock::Epoch { resolution },
        TraceClock::TimeOfDay {
            resolution: Span::seconds(1),
        },
        TraceClock::LocalDate { resolution },
        TraceClock::Relative { resolution },
        TraceClock::None,
    ])
}

/// Events in the order given, numbered as a source would; the times as they are.
fn as_source(events: Vec<(Timestamp, EventKind)>, input: u16) -> Vec<Event> {
    let numbered = events.into_iter().zip(1..);
    numbered
        .map(|((at, what), number)| Event {
            at,
            place: Location { input, number },
            what,
        })
        .collect()
}

proptest! {
    #![proptest_config(config(1500))]

    #[test]
    fn garbage_never_panics(
        packets in prop::collection::vec((any_time(), any_packet().prop_map(EventKind::Packet)), 0..24),
        calls in prop::collection::vec((any_time(), any_trace_event()), 0..40),
        clock in any_clock(),
        one_clock in any::<bool>(),
        search in any::<bool>(),
    ) {
        let mut gathered = Gathered { one_clock, ..Gathered::default() };
        if !packets.is_empty() {
            gathered.captures.push(CaptureFacts {
                path: "c".into(),
                first: packets.first().map(|e| e.0),
                last: packets.last().map(|e| e.0),
                ..CaptureFacts::default()
            });
            gathered.packets = as_source(packets, 0);
        }
        if !calls.is_empty() {
            gathered.traces.push((TraceFacts { clock, ..trace_facts(2) }, as_source(calls, 2)));
        }
        if search {
            let conf = "search example a\nnameserver 10.0.1.93\noptions ndots:99999999999 timeout:0 attempts:0\n";
            gathered.resolv_conf = Some(("resolv.conf".into(), conf.into()));
        }
        let report = pipeline::report(gathered, &Settings::default());
        sound(&report, is_fine(clock))?;
        let mut text = Vec::new();
        presyn::render::text::write(&report, presyn::render::text::Look::default(), &mut text).unwrap();
        prop_assert!(!text.contains(&0x1b), "{}", String::from_utf8_lossy(&text));
    }

    /// The calls and packets of a sound case in any order of time.
    #[test]
    fn shuffled_times_never_panic(
        plan in plan(),
        times in prop::collection::vec(any_time(), 1..200),
        clock in any_clock(),
    ) {
        let (mut captures, mut logs) = sources(&plan);
        for (event, at) in captures.iter_mut().chain(&mut logs).flatten().zip(times) {
            event.at = at;
        }
        let mut gathered = gather(&captures, &logs, plan.split);
        for (facts, _) in &mut gathered.traces {
            facts.clock = clock;
        }
        let report = pipeline::report(gathered, &Settings::default());
        sound(&report, is_fine(clock))?;
    }
}

/// The log of one thread shows nothing but the server connect, that of the other the whole lookup: on a clock that is
/// off, the first belongs to the capture because the second does.
#[test]
fn a_log_with_one_connect_belongs_where_its_sibling_does() {
    let plan = Plan {
        resolvers: 2,
        lookups: vec![LookupPlan {
            thread: 1,
            name: 0,
            both: false,
            rounds: 2,
            fates: vec![Fate::Late(50), Fate::Late(1001), Fate::Silent, Fate::Silent],
        }],
        notes: false,
        syn_ack: false,
        split: 2,
    };
    let (captures, logs) = sources(&plan);
    assert_eq!(logs.len(), 2);
    let skewed = logs.into_iter().map(|mut log| {
        presyn::merge::shift(&mut log, Span::millis(-52));
        log
    });
    let skewed: Vec<_> = skewed.collect();
    let report = pipeline::report(gather(&captures, &skewed, 0), &Settings::default());
    assert_eq!(states(&report).get(&QueryState::NotReceived), Some(&1));
    let causes = report.lookups.iter().flat_map(|l| &l.queries);
    assert!(
        causes
            .filter_map(|q| q.cause.as_ref())
            .all(|c| c.how != presyn::report::CauseKind::Inferred)
    );
}
