//! Traces, alone or beside the capture of the same run, are explained in bounded memory too: what is over is evicted, and
//! the report stays that of all events.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "tests: a row of a case names every figure of its event"
)]

use presyn::decode::resolv_conf::ResolvConf;
use presyn::event::dns::{Message as Dns, Name, Question, Rcode, RecordType};
use presyn::event::{
    Address, Call, CallOutcome, Event, EventKind, Fd, FdNote, Lifecycle, LifecycleChange, Location,
    Op, Packet, Service, SocketFamily, SocketKind, SocketType, Task, TcpFlags, Transfer,
};
use presyn::eviction::{Eviction, EvictionSetup};
use presyn::explain::assemble::Limits;
use presyn::flow::{Endpoint, FiveTuple, Transport};
use presyn::input::{CaptureFacts, TraceClock, TraceFacts, VisibleSyscalls};
use presyn::pipeline::{self, Gathered, Settings};
use presyn::report::{ConnectionOutcome, FindingId, Report, TraceWriter};
use presyn::session::inputs::{self, InputOptions};
use presyn::time::{Span, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

const DEAD: [u8; 4] = [10, 0, 0, 53];
const ALIVE: [u8; 4] = [10, 0, 0, 54];
const CONF: &str = "nameserver 10.0.0.53\nnameserver 10.0.0.54\n";
/// So long a late answer takes.
const LATE: i64 = 120_000_000;

/// What a script shows beside its calls.
#[derive(Clone, Copy)]
struct Shown {
    /// Packets of the same run.
    packets: bool,
    /// Each call tells its socket's ends.
    notes: bool,
}

/// A run under construction: events by the time at which they are known.
struct Run {
    shown: Shown,
    known: Vec<(i64, Event)>,
    ports: u16,
    /// The next initial sequence numbers are higher by so much.
    isn: u32,
}

/// One socket of a process.
#[derive(Clone, Copy)]
struct Socket {
    pid: u32,
    fd: i32,
    style: SocketType,
    local: Endpoint,
    peer: Endpoint,
    identity: u64,
}

impl Socket {
    fn fd(self, shown: Shown) -> Fd {
        let note = FdNote {
            socket: Some(kind(self.style)),
            identity: Some(self.identity),
            local: Some(self.local),
            peer: Some(self.peer),
            exact: true,
            ..FdNote::default()
        };
        Fd {
            number: self.fd,
            note: shown.notes.then(|| Arc::new(note)),
        }
    }

    fn flow(self, transport: Transport) -> FiveTuple {
        FiveTuple {
            transport,
            src: self.local,
            dst: self.peer,
        }
    }
}

fn kind(style: SocketType) -> SocketKind {
    SocketKind {
        family: SocketFamily::Inet,
        style,
    }
}

fn moment(micros: i64) -> Timestamp {
    Timestamp::new(1_700_000_000, 0) + Span::micros(micros)
}

fn task(pid: u32) -> Task {
    Task {
        pid: Some(pid),
        tid: Some(pid),
        comm: Some("client".into()),
    }
}

fn dns(n: u32, answer: Option<Rcode>) -> Dns {
    let found = answer == Some(Rcode::NOERROR);
    Dns {
        id: u16::try_from(n % 65_521).unwrap(),
        response: answer.is_some(),
        opcode: 0,
        truncated: false,
        rcode: answer.unwrap_or(Rcode::NOERROR),
        question: Some(Question {
            name: Name(format!("host{n}.example").into()),
            kind: Some(RecordType::A),
            cut: false,
        }),
        answers: u16::from(found),
        addresses: if found {
            vec![server(n).ip].into()
        } else {
            Vec::new().into()
        },
        edns: false,
        referral: false,
        complete: true,
        bytes: None,
    }
}

/// Every connect of a lookup has an address of its own, so that no lookup serves another's connect.
fn server(n: u32) -> Endpoint {
    let [_, b, c, d] = n.to_be_bytes();
    Endpoint::new([11, b, c, d].into(), [80, 443][n as usize % 2])
}

impl Run {
    fn call(&mut self, pid: u32, at: i64, lasts: i64, outcome: CallOutcome, op: Op) {
        let call = Call {
            task: task(pid),
            exited: Some(moment(at + lasts)),
            outcome,
            op,
        };
        self.event(at, at + lasts, EventKind::Call(Box::new(call)));
    }

    fn event(&mut self, at: i64, known: i64, what: EventKind) {
        let input = u16::from(!matches!(what, EventKind::Packet(_)));
        let place = Location { input, number: 0 };
        let at = moment(at);
        self.known.push((known, Event { at, place, what }));
    }

    fn packet(&mut self, at: i64, packet: Packet) {
        if self.shown.packets {
            self.event(at, at, EventKind::Packet(packet));
        }
    }

    fn ok(&mut self, pid: u32, at: i64, op: Op) {
        self.call(pid, at, 10, CallOutcome::Returned(0), op);
    }

    /// A socket from its `socket` call to its `connect`.
    fn socket(
        &mut self,
        n: u32,
        pid: u32,
        fd: i32,
        at: i64,
        style: SocketType,
        peer: Endpoint,
    ) -> Socket {
        self.ports = if self.ports > 60_000 {
            20_000
        } else {
            self.ports + 1
        };
        let this = Socket {
            pid,
            fd,
            style,
            local: Endpoint::new([10, 0, 1, 7].into(), self.ports),
            peer,
            identity: u64::from(n) * 8 + self.known.len() as u64,
        };
        let opened = Op::Socket {
            kind: kind(style),
            fd: Fd::bare(fd),
        };
        self.call(pid, at, 5, CallOutcome::Returned(i64::from(fd)), opened);
        this
    }

    fn datagram(&mut self, n: u32, pid: u32, fd: i32, at: i64, resolver: [u8; 4]) -> Socket {
        let peer = Endpoint::new(resolver.into(), 53);
        let socket = self.socket(n, pid, fd, at, SocketType::Datagram, peer);
        self.ok(
            pid,
            at + 10,
            Op::Connect {
                fd: socket.fd(self.shown),
                to: Address::Inet(peer),
            },
        );
        socket
    }

    fn ask(&mut self, n: u32, socket: Socket, pid: u32, at: i64) {
        let message = Transfer {
            peer: None,
            length: 40,
            taken: true,
            dns: vec![dns(n, None)],
            local: None,
        };
        let op = Op::Send {
            fd: socket.fd(self.shown),
            messages: vec![message],
        };
        self.call(pid, at, 10, CallOutcome::Returned(40), op);
        self.dns_packet(at + 5, socket.flow(Transport::Udp), dns(n, None));
    }

    fn dns_packet(&mut self, at: i64, flow: FiveTuple, message: Dns) {
        self.packet(
            at,
            Packet::Dns {
                flow,
                service: Service::Unicast,
                message: Box::new(message),
            },
        );
    }

    /// A wait of the thread that ends with an answer, and its reading.
    fn answer(&mut self, n: u32, socket: Socket, pid: u32, asked: i64, took: i64, rcode: Rcode) {
        let message = dns(n, Some(rcode));
        self.dns_packet(
            asked + took,
            socket.flow(Transport::Udp).reversed(),
            message.clone(),
        );
        let wait = Op::Wait {
            fds: vec![socket.fd(self.shown)],
            ready: vec![socket.fd],
            timeout: Some(Span::seconds(5)),
        };
        self.call(pid, asked + 20, took - 10, CallOutcome::Returned(1), wait);
        let message = Transfer {
            peer: Some(socket.peer),
            length: 60,
            taken: true,
            dns: vec![message],
            local: None,
        };
        let op = Op::Receive {
            fd: socket.fd(self.shown),
            messages: vec![message],
        };
        self.call(pid, asked + took + 20, 10, CallOutcome::Returned(60), op);
    }

    fn in_vain(&mut self, socket: Socket, pid: u32, asked: i64, lasted: i64) {
        let wait = Op::Wait {
            fds: vec![socket.fd(self.shown)],
            ready: Vec::new(),
            timeout: Some(Span::seconds(5)),
        };
        self.call(pid, asked + 20, lasted - 40, CallOutcome::Returned(0), wait);
    }

    fn close(&mut self, socket: Socket, at: i64) {
        self.ok(
            socket.pid,
            at,
            Op::Close {
                fd: socket.fd(self.shown),
            },
        );
    }

    /// A connect of a stream socket that does not wait; what comes of it after `took`. Returns the socket.
    fn connect(
        &mut self,
        n: u32,
        pid: u32,
        fd: i32,
        at: i64,
        took: i64,
        error: Option<&str>,
    ) -> Socket {
        let socket = self.begin(n, pid, fd, at);
        self.handshake(n, socket, at, took, error);
        self.result(socket, at, took, error);
        socket
    }

    /// The call of such a connect.
    fn begin(&mut self, n: u32, pid: u32, fd: i32, at: i64) -> Socket {
        let to = server(n);
        let socket = self.socket(n, pid, fd, at, SocketType::Stream, to);
        let pending = CallOutcome::Failed("EINPROGRESS".into());
        self.call(
            pid,
            at + 10,
            10,
            pending,
            Op::Connect {
                fd: socket.fd(self.shown),
                to: Address::Inet(to),
            },
        );
        socket
    }

    /// Its packets.
    fn handshake(&mut self, n: u32, socket: Socket, at: i64, took: i64, error: Option<&str>) {
        let (flow, isn) = (socket.flow(Transport::Tcp), self.isn + n);
        for second in [0, 1, 3, 7, 15, 31] {
            let after = second * 1_000_000 + 15;
            if after < took {
                syn(self, at + after, flow, isn);
            }
        }
        if error != Some("ETIMEDOUT") {
            let rst = error.is_some();
            let flags = TcpFlags {
                syn: !rst,
                rst,
                ack: true,
                fin: false,
            };
            let (flow, seq, ack) = (flow.reversed(), 1, isn + 1);
            self.packet(
                at + took,
                Packet::Tcp {
                    flow,
                    flags,
                    seq,
                    ack,
                },
            );
        }
    }

    /// The client's wait for it, and its result.
    fn result(&mut self, socket: Socket, at: i64, took: i64, error: Option<&str>) {
        let wait = Op::Wait {
            fds: vec![socket.fd(self.shown)],
            ready: vec![socket.fd],
            timeout: None,
        };
        let woken = CallOutcome::Returned(1);
        self.call(socket.pid, at + 30, took - 20, woken, wait);
        let ended = Op::SocketError {
            fd: socket.fd(self.shown),
            error: error.map(Into::into),
        };
        self.ok(socket.pid, at + took + 20, ended);
    }

    fn life(&mut self, pid: u32, at: i64, change: LifecycleChange) {
        let life = Lifecycle {
            task: task(pid),
            change,
        };
        self.event(at, at, EventKind::Life(Box::new(life)));
    }

    /// A process of its own, as a child of the first one.
    fn fork(&mut self, n: u32, at: i64) -> u32 {
        self.fork_of(1_000, n, at)
    }

    /// The same of any process.
    fn fork_of(&mut self, parent: u32, n: u32, at: i64) -> u32 {
        let child = 100_000 + n;
        let op = Op::Clone {
            thread: false,
            files: false,
        };
        self.call(parent, at, 10, CallOutcome::Returned(i64::from(child)), op);
        self.life(
            child,
            at + 5,
            LifecycleChange::Forked {
                parent: Some(parent),
                thread: Some(false),
            },
        );
        child
    }

    /// A quick lookup and a connect to what it gave.
    fn quick(&mut self, n: u32, pid: u32, fd: i32, at: i64) {
        let odd = i64::from(n);
        let asked = self.datagram(n, pid, fd, at, ALIVE);
        self.ask(n, asked, pid, at + 100);
        self.answer(n, asked, pid, at + 100, 500 + odd % 97, Rcode::NOERROR);
        if n % 7 != 3 {
            self.close(asked, at + 1_000);
        }
        let before = self.ports;
        let stream = self.connect(n, pid, fd, at + 2_000, 300 + odd, None);
        if n % 5 != 2 {
            self.close(stream, at + 10_000 + odd);
        }
        // The next socket has the port of this one.
        self.ports = if n % 11 == 4 { before } else { self.ports };
    }
}

/// `count` rounds of 20 ms, most of them a quick lookup and connect of one of eight processes. Some are children with
/// inherited sockets, meet a dead resolver, an answer after two minutes, a server that refuses or is silent; some
/// use a descriptor again without a close, a local port of a moment ago, or both ends within the time of `TIME_WAIT`; some
/// sockets are inherited, passed to another process or duplicated while they connect. No two waits of a kind are equally
/// long.
fn busy(count: u32, shown: Shown) -> Vec<Event> {
    let mut run = Run {
        shown,
        known: Vec::new(),
        ports: 20_000,
        isn: 0,
    };
    run.ok(
        1_000,
        -200,
        Op::Exec {
            program: "/usr/bin/client".into(),
        },
    );
    // A resolver's socket that all children inherit.
    let inherited = run.datagram(0, 1_000, 900, -100, ALIVE);
    for n in 1..=count {
        let (at, odd) = (i64::from(n) * 20_000, i64::from(n));
        let pid = 1_000 + n % 8;
        let fd = 5 + i32::try_from(n % 3).unwrap();
        // Some connects are answered at once, some only after 40 s.
        let long = if n % 100 < 50 { 4_000 } else { 40_000_000 };
        match n % 50 {
            7 => {
                let child = run.fork(n, at);
                let dead = run.datagram(n, child, 3, at + 100, DEAD);
                run.ask(n, dead, child, at + 200);
                run.in_vain(dead, child, at + 200, 5_000_000 + odd);
                let alive = run.datagram(n, child, 4, at + 5_000_300 + odd, ALIVE);
                run.ask(n, alive, child, at + 5_000_400 + odd);
                run.answer(
                    n,
                    alive,
                    child,
                    at + 5_000_400 + odd,
                    900 + odd,
                    Rcode::NOERROR,
                );
                run.connect(n, child, 5, at + 5_010_000 + 3 * odd, 300 + odd, None);
                run.life(child, at + 5_500_000 + 5 * odd, LifecycleChange::Exited(0));
            }
            13 => {
                // The answer comes when nobody waits for it any more; the socket is still open.
                let child = run.fork(n, at);
                let slow = run.datagram(n, child, 3, at + 100, ALIVE);
                run.ask(n, slow, child, at + 200);
                run.in_vain(slow, child, at + 200, 5_000_000 + odd);
                run.ok(
                    child,
                    at + 5_100_000 + odd,
                    Op::Bind {
                        fd: Fd::bare(77),
                        local: Address::Unspecified,
                    },
                );
                run.answer(n, slow, child, at + LATE + odd, 500, Rcode::NOERROR);
                run.life(child, at + LATE + 1_000_000, LifecycleChange::Exited(0));
            }
            19 => {
                let child = run.fork(n, at);
                run.ask(n, inherited, child, at + 200);
                run.answer(
                    n,
                    inherited,
                    child,
                    at + 200,
                    700 + odd % 977,
                    Rcode::NXDOMAIN,
                );
                run.life(child, at + 9_000, LifecycleChange::Exited(1));
            }
            23 => {
                let child = run.fork(n, at);
                run.connect(n, child, 3, at + 100, 2_500 + odd, Some("ECONNREFUSED"));
                run.life(child, at + 9_000 + odd, LifecycleChange::Exited(1));
            }
            29 => {
                let child = run.fork(n, at);
                run.connect(n, child, 3, at + 100, 3_000_000 + odd, Some("ETIMEDOUT"));
                run.life(child, at + 4_000_000 + 2 * odd, LifecycleChange::Exited(1));
            }
            31 => {
                // A child inherits a socket whose connect is under way; the parent closes its descriptor (fork(2)).
                let socket = run.begin(n, pid, 40, at);
                run.handshake(n, socket, at, long + odd, None);
                let child = run.fork_of(pid, n, at + 100);
                run.close(socket, at + 300);
                let inherited = Socket {
                    pid: child,
                    ..socket
                };
                run.result(inherited, at + 500, long - 400 + odd, None);
                run.life(
                    child,
                    at + long + 9_000 + 3 * odd,
                    LifecycleChange::Exited(0),
                );
            }
            33 => {
                // Another process is given the socket through a unix socket (SCM_RIGHTS, unix(7)).
                let socket = run.begin(n, pid, 41, at);
                run.handshake(n, socket, at, long + 1_000 + odd, None);
                let passed = Socket {
                    pid: 1_000 + (n + 3) % 8,
                    fd: 60,
                    ..socket
                };
                run.close(socket, at + 400);
                run.result(passed, at + 1_000, long + 100 + odd, None);
                run.close(passed, at + long + 9_000 + odd);
            }
            37 => {
                // The same two ends again, a minute later: the port was in TIME_WAIT (RFC 6191).
                let port = run.ports;
                for (isn, later) in [(0, 0), (1 << 20, 55_000_000 + odd)] {
                    (run.ports, run.isn) = (port, isn);
                    let socket = run.connect(n, pid, 42, at + later, 600 + odd, None);
                    run.close(socket, at + later + 2_000 + 2 * odd);
                }
                run.isn = 0;
            }
            41 => {
                // Another descriptor for the socket, and the first one is closed (dup(2)). Each is another process's: of
                // attempts beside each other the last to fail may count as tried again.
                let child = run.fork(n, at - 50);
                let socket = run.begin(n, child, 43, at);
                run.handshake(n, socket, at, long + 7_000 + odd, Some("ECONNREFUSED"));
                let fd = socket.fd(shown);
                let copy = Op::Duplicate { fd, new: 61 };
                run.call(child, at + 50, 2, CallOutcome::Returned(61), copy);
                run.close(socket, at + 100);
                let copied = Socket { fd: 61, ..socket };
                run.result(copied, at + 100, long + 6_900 + odd, Some("ECONNREFUSED"));
                run.close(copied, at + long + 16_000 + odd);
                run.life(child, at + long + 30_000 + odd, LifecycleChange::Exited(0));
            }
            43 => {
                // Its number is used for another socket while nothing has answered it (dup2(2) without a close).
                let socket = run.begin(n, pid, 44, at);
                run.handshake(n, socket, at, long + odd, None);
                let other = run.connect(n + 500_000, pid, 44, at + 2_000, 800 + odd, None);
                run.close(other, at + 5_000 + 2 * odd);
            }
            _ => run.quick(n, pid, fd, at),
        }
    }
    in_order(run.known)
}

/// Events by the time at which they are known, with their numbers.
fn in_order(mut known: Vec<(i64, Event)>) -> Vec<Event> {
    known.sort_by_key(|(known, event)| (*known, event.at));
    let mut numbers = [0; 2];
    let numbered = known.into_iter().map(|(_, mut event)| {
        let number = &mut numbers[usize::from(event.place.input)];
        *number += 1;
        event.place.number = *number;
        event
    });
    numbered.collect()
}

/// The report of a run, read with this bound, and how many events were retained at most.
fn explained(events: Vec<Event>, shown: Shown, bound: Limits) -> (Report, usize) {
    let of_packets = |e: &&Event| matches!(e.what, EventKind::Packet(_));
    let capture = shown.packets.then(|| CaptureFacts {
        path: "packets.pcap".into(),
        packets: events.iter().filter(of_packets).count() as u64,
        first: events.iter().find(of_packets).map(|e| e.at),
        last: events.iter().rfind(of_packets).map(|e| e.at),
        ..CaptureFacts::default()
    });
    let trace = TraceFacts {
        path: "trace.jsonl".into(),
        input: 1,
        writer: TraceWriter::Presyn,
        style: "presyn".into(),
        calls: events.len() as u64,
        skipped_lines: 0,
        unread_connects: 0,
        unreadable_addresses: 0,
        from_start: true,
        ended_times: false,
        clock: TraceClock::Epoch {
            resolution: Span(1),
        },
        sees: VisibleSyscalls {
            sockets: true,
            sends: true,
            followed_sends_only: false,
            writes: true,
            waits: true,
            closes: true,
            clones: true,
            everything: false,
        },
        warnings: Vec::new(),
        damaged: false,
    };
    let mut eviction = Eviction::new(EvictionSetup {
        dns_ports: vec![53],
        resolv_conf: Some(ResolvConf::parse(CONF)),
        limits: bound,
        capture: capture.as_ref().map(|_| CaptureFacts::default()),
        tolerance: if shown.packets {
            Span::millis(1)
        } else {
            Span::ZERO
        },
        ..EvictionSetup::default()
    });
    let mut held = 0;
    for event in events {
        eviction.push(event);
        held = held.max(eviction.retained());
    }
    let (events, stacks, totals) = eviction.finish();
    let (packets, calls) = events
        .into_iter()
        .partition(|e| matches!(e.what, EventKind::Packet(_)));
    let gathered = Gathered {
        captures: capture.into_iter().collect(),
        packets,
        traces: vec![(trace, calls)],
        resolv_conf: Some(("resolv.conf".into(), CONF.into())),
        one_clock: true,
        stacks,
        totals,
        ..Gathered::default()
    };
    (pipeline::report(gathered, &Settings::default()), held)
}

fn plain<T: Serialize + ?Sized>(part: &T) -> Value {
    serde_json::to_value(part).unwrap()
}

/// As the JSON report has it, without the numbers that elements have in this report.
fn unnumbered<T: Serialize + ?Sized>(part: &T) -> Value {
    let mut value = plain(part);
    for number in ["id", "lookup", "connection"] {
        if let Some(number) = value.get_mut(number) {
            *number = Value::Null;
        }
    }
    value
}

/// Where two values differ.
fn differences(at: &str, some: &Value, whole: &Value, list: &mut Vec<String>) {
    match (some, whole) {
        (Value::Object(some), Value::Object(whole)) if some.len() == whole.len() => {
            for (key, value) in some {
                differences(&format!("{at}.{key}"), value, &whole[key], list);
            }
        }
        (Value::Array(some), Value::Array(whole)) if some.len() == whole.len() => {
            for (n, (some, whole)) in some.iter().zip(whole).enumerate() {
                differences(&format!("{at}[{n}]"), some, whole, list);
            }
        }
        _ if some != whole => list.push(format!("{at}: {some} for {whole}")),
        _ => {}
    }
}

fn same(at: &str, some: &Value, whole: &Value) {
    let mut list = Vec::new();
    differences(at, some, whole, &mut list);
    assert!(list.is_empty(), "{list:#?}");
}

fn same_lists<T: Serialize>(what: &str, some: &[T], whole: &[T]) {
    assert_eq!(some.len(), whole.len(), "{what}");
    for (n, (some, whole)) in some.iter().zip(whole).enumerate() {
        same(
            &format!("{what} {n}"),
            &unnumbered(some),
            &unnumbered(whole),
        );
    }
}

/// The report of a run in bounded memory, which must be that of all its events.
fn same_report(shown: Shown, events: Vec<Event>) -> Report {
    let (whole, all) = explained(events.clone(), shown, Limits::ALL);
    let (some, held) = explained(events, shown, Limits::BOUNDED);
    assert!(
        held < 110_000 && 2 * all > 3 * held,
        "{held} of {all} retained"
    );
    for (s, w) in some.resolvers.iter().zip(&whole.resolvers) {
        let mut s = s.clone();
        // Times of what was evicted are known to three digits.
        let (a, b) = (
            s.rtt_s.median.take().unwrap_or(0.0),
            w.rtt_s.median.unwrap_or(0.0),
        );
        assert!((a - b).abs() <= 0.01 * b, "{a} for {b}");
        s.rtt_s.median = w.rtt_s.median;
        s.asked_by.clone_from(&w.asked_by);
        same("row", &plain(&s), &plain(w));
    }
    assert_eq!(some.resolvers.len(), whole.resolvers.len());
    let counts = |r: &Report| {
        [
            r.lookups.len() + r.omitted.lookups,
            r.connections.len() + r.omitted.connections,
            r.delays.len() + r.omitted.delays,
        ]
    };
    assert_eq!(counts(&some), counts(&whole));
    same_lists("delay", &some.delays, &whole.delays);
    same_lists("lookup", &some.lookups, &whole.lookups);
    same_lists("connection", &some.connections, &whole.connections);
    assert_eq!(some.summary, whole.summary);
    let titles = |r: &Report| {
        r.findings
            .iter()
            .map(|f| f.title.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(titles(&some), titles(&whole));
    assert_eq!(some.unsolicited_responses, whole.unsolicited_responses);
    assert!(
        some.not_attributable.is_none(),
        "{:?}",
        some.not_attributable
    );
    nothing_dangles("bounded", &some);
    nothing_dangles("whole", &whole);
    some
}

/// Whatever a report refers to is in its lists.
fn nothing_dangles(case: &str, report: &Report) {
    let lookups: HashSet<&str> = report.lookups.iter().map(|l| &*l.id).collect();
    let connections: HashSet<&str> = report.connections.iter().map(|c| &*c.id).collect();
    let stacks: HashSet<&str> = report.stacks.iter().map(|s| &*s.id).collect();
    let of_delays = report
        .delays
        .iter()
        .flat_map(|d| [&d.connection, &d.lookup]);
    let of_connections = report.connections.iter().map(|c| &c.lookup);
    let of_findings = report.findings.iter().map(|f| &f.subject);
    for id in of_delays.chain(of_connections).chain(of_findings).flatten() {
        let listed = lookups.contains(&**id) || connections.contains(&**id);
        assert!(listed, "{case}: {id}");
    }
    let queries = report.lookups.iter().flat_map(|l| &l.queries);
    let causes = queries.filter_map(|q| q.cause.as_ref());
    let causes = causes.chain(report.connections.iter().filter_map(|c| c.cause.as_ref()));
    let callers = report.lookups.iter().flat_map(|l| &l.callers);
    let callers = callers.chain(report.findings.iter().flat_map(|f| &f.callers));
    let of_causes = causes.filter_map(|c| c.stack.as_ref());
    for id in of_causes.chain(callers.filter_map(|c| c.stack.as_ref())) {
        assert!(stacks.contains(&**id), "{case}: {id}");
    }
}

#[test]
fn references_are_to_what_is_listed_in_every_case() {
    let mut cases = 0;
    for entry in fs::read_dir("captures").unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        cases += 1;
        for (list, stacks) in [(1, 1), (2, 3), (1_000, 100)] {
            let gathered =
                inputs::gather(std::slice::from_ref(&path), &InputOptions::default()).unwrap();
            let settings = Settings {
                limits: Limits { list, stacks },
                ..Settings::default()
            };
            let report = pipeline::report(gathered, &settings);
            nothing_dangles(&path.display().to_string(), &report);
        }
    }
    assert!(cases > 30, "{cases} cases");
}

#[test]
fn a_trace_is_explained_in_bounded_memory() {
    let shown = Shown {
        packets: false,
        notes: true,
    };
    same_report(shown, busy(16_000, shown));
}

#[test]
fn a_trace_without_annotations_too() {
    let shown = Shown {
        packets: false,
        notes: false,
    };
    same_report(shown, busy(16_000, shown));
}

#[test]
fn a_trace_with_its_capture_too() {
    let shown = Shown {
        packets: true,
        notes: true,
    };
    same_report(shown, busy(14_000, shown));
}

/// A storm of connects that are refused, through a few ports. The client pauses now and then, each time for another while.
/// The capture may lack every other stretch. Some other calls go before.
fn storm(connects: u32, before: u32, is_lossy: bool) -> Vec<Event> {
    let shown = Shown {
        packets: true,
        notes: true,
    };
    let mut run = Run {
        shown,
        known: Vec::new(),
        ports: 20_000,
        isn: 0,
    };
    let to = server(7);
    for n in 0..before {
        run.ok(1_000, -1_000 + i64::from(n), Op::Sleep);
    }
    for n in 0..connects {
        let at = i64::from(n) * 60 + i64::from(n / 997) * (900 + i64::from(n / 997));
        let socket = Socket {
            pid: 1_000,
            fd: 3 + i32::try_from(n % 8).unwrap(),
            style: SocketType::Stream,
            local: Endpoint::new(
                [10, 0, 1, 7].into(),
                20_000 + u16::try_from(n % 3_001).unwrap(),
            ),
            peer: to,
            identity: u64::from(n),
        };
        let op = Op::Connect {
            fd: socket.fd(shown),
            to: Address::Inet(to),
        };
        run.call(1_000, at, 12, CallOutcome::Failed("EINPROGRESS".into()), op);
        if !is_lossy || n / 15_000 % 2 == 1 {
            for (after, flow, rst) in [
                (5, socket.flow(Transport::Tcp), false),
                (8, socket.flow(Transport::Tcp).reversed(), true),
            ] {
                let flags = TcpFlags {
                    syn: !rst,
                    rst,
                    ack: rst,
                    fin: false,
                };
                let (seq, ack) = if rst { (0, n + 1) } else { (n, 0) };
                run.packet(
                    at + after,
                    Packet::Tcp {
                        flow,
                        flags,
                        seq,
                        ack,
                    },
                );
            }
        }
        // A socket may be left open, and looks as one does whose next call is still to come.
        if n % 5 == 2 {
            continue;
        }
        for asked in [14, 18, 22] {
            let op = Op::LocalName {
                fd: socket.fd(shown),
                local: Address::Inet(socket.local),
            };
            run.call(1_000, at + asked, 2, CallOutcome::Returned(0), op);
        }
        run.ok(
            1_000,
            at + 30,
            Op::Close {
                fd: Fd::bare(socket.fd),
            },
        );
    }
    in_order(run.known)
}

// Each call is one attempt, in whatever part of the storm it is counted.
#[test]
fn an_attempt_is_counted_once_although_the_capture_lacks_parts_of_a_storm() {
    const CONNECTS: u32 = 32_000;
    let shown = Shown {
        packets: true,
        notes: true,
    };
    let (whole, _) = explained(storm(CONNECTS, 0, true), shown, Limits::ALL);
    let titles = |r: &Report| {
        let all = r.findings.iter().map(|f| f.title.clone());
        all.collect::<Vec<_>>()
    };
    // Whatever event is the last one when the first attempts are evicted.
    for before in 0..5 {
        let (some, held) = explained(storm(CONNECTS, before, true), shown, Limits::BOUNDED);
        assert!(held < 60_000, "{held} retained");
        for report in [&whole, &some] {
            let connects = report.connections.len() + report.omitted.connections;
            assert_eq!(connects, CONNECTS as usize);
            // No socket takes the SYN of a later one with the same ports.
            let all = report.connections.iter();
            let late = |syn: f64, call: f64| syn - call > 0.1;
            let late = all.filter(|c| c.syn_s.zip(c.called_s).is_some_and(|(s, c)| late(s, c)));
            assert_eq!(late.count(), 0);
        }
        assert_eq!(titles(&some), titles(&whole));
    }
}

/// The account of an attempt reaches back over those that failed before it, and those may be evicted.
#[test]
fn the_slowest_of_a_storm_of_failures_are_those_of_all_events() {
    let shown = Shown {
        packets: true,
        notes: true,
    };
    let events = storm(32_000, 0, false);
    let (whole, _) = explained(events.clone(), shown, Limits::ALL);
    let (some, held) = explained(events, shown, Limits::BOUNDED);
    assert!(held < 110_000, "{held} retained");
    same_lists("delay", &some.delays, &whole.delays);
    same_lists("connection", &some.connections, &whole.connections);
    assert_eq!(some.omitted.delays, whole.omitted.delays);
    assert_eq!(some.summary, whole.summary);
    nothing_dangles("bounded", &some);
}

/// A SYN of the wire alone.
fn syn(run: &mut Run, at: i64, flow: FiveTuple, seq: u32) {
    let flags = TcpFlags {
        syn: true,
        ..TcpFlags::default()
    };
    let ack = 0;
    run.packet(
        at,
        Packet::Tcp {
            flow,
            flags,
            seq,
            ack,
        },
    );
}

/// When the SYNs of an attempt leave that nobody answers.
const SYNS: [i64; 5] = [0, 1_000_000, 3_000_000, 7_000_000, 15_000_000];
/// So many connects block.
const BLOCKED: u32 = 40;

/// So many attempts of other processes, a millisecond apart, that nobody answers, some to the servers of the client: in the
/// midst of them each of some processes is blocked in a connect until nobody has answered its fifth SYN either, or somebody
/// has.
fn blocked(others: u32, shown: Shown) -> Vec<Event> {
    let mut run = Run {
        shown,
        known: Vec::new(),
        ports: 20_000,
        isn: 0,
    };
    let program = "/usr/bin/client".into();
    run.ok(1_000, -200, Op::Exec { program });
    for n in 0..others {
        let at = i64::from(n) * 1_000;
        let to = if n % 50 == 7 {
            n % BLOCKED
        } else {
            100_000 + n
        };
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: Endpoint::new(
                [10, 0, 1, 8 + u8::try_from(n / 30_000).unwrap()].into(),
                u16::try_from(30_000 + n % 30_000).unwrap(),
            ),
            dst: server(to),
        };
        for after in SYNS {
            syn(&mut run, at + after, flow, n);
        }
    }
    for n in 0..BLOCKED {
        let (at, pid, odd) = (4_000_000 + i64::from(n) * 700, 1_000 + n, i64::from(n));
        let socket = run.socket(n, pid, 3, at - 10, SocketType::Stream, server(n));
        let flow = socket.flow(Transport::Tcp);
        for after in SYNS {
            syn(&mut run, at + 5 + after, flow, 1_000_000 + n);
        }
        let (lasts, outcome) = if n % 2 == 0 {
            (31_000_000, CallOutcome::Failed("ETIMEDOUT".into()))
        } else {
            let flags = TcpFlags {
                syn: true,
                ack: true,
                ..TcpFlags::default()
            };
            let (flow, seq, ack) = (flow.reversed(), 1, 1_000_001 + n);
            run.packet(
                at + 15_030_000 + odd,
                Packet::Tcp {
                    flow,
                    flags,
                    seq,
                    ack,
                },
            );
            (15_030_010, CallOutcome::Returned(0))
        };
        let op = Op::Connect {
            fd: socket.fd(shown),
            to: Address::Inet(socket.peer),
        };
        run.call(pid, at, lasts + odd, outcome, op);
        run.close(socket, at + lasts + odd + 20);
    }
    in_order(run.known)
}

/// A connect that returns when its SYNs were evicted as nobody's made them all the same.
#[test]
fn a_blocked_connect_has_the_syns_that_were_evicted_before_it_returned() {
    for notes in [true, false] {
        let shown = Shown {
            packets: true,
            notes,
        };
        let report = same_report(shown, blocked(13_000, shown));
        let mut own = report.connections.iter().filter(|c| c.task.is_some());
        assert!(own.by_ref().take(20).all(|c| c.syns == Some(5)), "{notes}");
        assert!(own.count() >= 20, "{notes}");
    }
}

/// Where more is in progress than can be remembered, nothing is concluded from what is forgotten: that a SYN has no call, or
/// that a call has no SYN.
#[test]
fn nothing_is_claimed_of_what_may_be_forgotten() {
    let shown = Shown {
        packets: true,
        notes: true,
    };
    let mut events = blocked(60_000, shown);
    let uring = Call {
        task: task(1_000),
        exited: Some(moment(-90)),
        outcome: CallOutcome::Returned(9),
        op: Op::IoUring,
    };
    let place = Location {
        input: 1,
        number: 0,
    };
    events.insert(
        1,
        Event {
            at: moment(-100),
            place,
            what: EventKind::Call(Box::new(uring)),
        },
    );
    let (report, held) = explained(events, shown, Limits::BOUNDED);
    assert!(held < 110_000, "{held} retained");
    let own = report.connections.iter().filter(|c| c.task.is_some());
    let own: Vec<_> = own.collect();
    assert_eq!(own.len(), BLOCKED as usize);
    // Some are forgotten when their calls return.
    let lacking = own.iter().filter(|c| c.syns == Some(0)).count();
    assert!(lacking > 0, "{own:#?}");
    let claimed = own
        .iter()
        .filter(|c| c.outcome == Some(ConnectionOutcome::NoSyn));
    assert_eq!(claimed.count(), 0, "{own:#?}");
    // What is counted twice is nobody's for certain.
    let counted = report.connections.len() + report.omitted.connections;
    let twice = counted - 60_000 - BLOCKED as usize;
    let doubtful = report.not_attributable.unwrap();
    assert!(
        twice > 0 && doubtful.connections >= twice,
        "{doubtful:?}, {twice} twice"
    );
    let uring = report.findings.iter().find(|f| f.id == FindingId::IoUring);
    let detail = &uring.unwrap().detail;
    assert!(detail.contains("cannot be known"), "{detail}");
}
