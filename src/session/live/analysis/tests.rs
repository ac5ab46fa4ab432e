//! A run of a week, at another pace: what the analysis process holds does not grow with the time that a run takes.

use super::*;
use crate::event::{
    Address, Call, CallOutcome, Fd, FdNote, Op, SocketFamily, SocketKind, SocketType, Task,
    Transfer, dns,
};
use crate::explain::assemble::Limits;
use crate::flow::Endpoint;
use crate::pipeline;
use crate::report::Report;
use crate::session::live::RetainedRights;
use crate::time::SECOND;
use std::sync::Arc;

/// `LINKTYPE_RAW`.
const RAW: i32 = 101;
const CLIENT: [u8; 4] = [10, 0, 1, 7];
const DEAD: [u8; 4] = [10, 0, 0, 53];
const ALIVE: [u8; 4] = [10, 0, 0, 54];
const CONF: &str = "nameserver 10.0.0.53\nnameserver 10.0.0.54\n";
const DAYS: i64 = 7;
const WEEK: usize = 7;
const DAY: i64 = 86_400 * SECOND;
/// So often something is looked up and connected to.
const STEADY: i64 = 120 * SECOND;
/// So many lookups and connects come at once every day, so far apart.
const BURST: i64 = 1_200;
const APART: i64 = 3_000_000;

/// Takes the report.
#[derive(Default)]
struct Heard {
    gathered: Option<Gathered>,
    trouble: Vec<String>,
}

impl Listener for Heard {
    fn line(&mut self, _: &str) {}
    fn trouble(&mut self, line: &str) {
        self.trouble.push(line.to_owned());
    }
    fn event(&mut self, _: &Event) {}
    fn report(&mut self, gathered: Gathered) -> bool {
        self.gathered = Some(gathered);
        true
    }
    fn rights(&mut self, _: &RetainedRights, _: &str) {}
}

fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_be_bytes()).collect()
}

/// A query for a host's address, or the answer with this address.
fn message(n: u32, answer: Option<[u8; 4]>) -> Vec<u8> {
    let flags = if answer.is_some() { 0x8180 } else { 0x0100 };
    let id = u16::try_from(n % 65_521).unwrap();
    let mut bytes = words(&[id, flags, 1, answer.is_some().into(), 0, 0]);
    for label in [format!("host{n}"), "example".to_owned()] {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend(words(&[1, 1]));
    if let Some(address) = answer {
        bytes.extend(words(&[0xc00c, 1, 1, 0, 60, 4]));
        bytes.extend(address);
    }
    bytes
}

fn udp(src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    [words(&[src, dst, length, 0]), data.to_vec()].concat()
}

/// A segment with these flags.
fn tcp((src, dst): (u16, u16), (seq, ack): (u32, u32), flags: u8) -> Vec<u8> {
    let mut segment = words(&[src, dst]);
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags]);
    segment.extend(words(&[65_535, 0, 0]));
    segment
}

fn server(n: u32) -> [u8; 4] {
    let [_, b, c, d] = n.to_be_bytes();
    [11, b, c, d]
}

/// What the tracing process sends: frames and calls by the time at which they are known.
enum Sent {
    Frame(Vec<u8>),
    Call(Box<Event>),
}

#[derive(Default)]
struct Script {
    known: Vec<(i64, Sent)>,
    calls: u64,
}

/// One socket of a process.
#[derive(Clone, Copy)]
struct Socket {
    pid: u32,
    style: SocketType,
    port: u16,
    peer: Endpoint,
    identity: u64,
}

impl Socket {
    fn fd(self) -> Fd {
        Fd {
            number: 5,
            note: Some(Arc::new(FdNote {
                socket: Some(SocketKind {
                    family: SocketFamily::Inet,
                    style: self.style,
                }),
                identity: Some(self.identity),
                local: Some(Endpoint::new(CLIENT.into(), self.port)),
                peer: Some(self.peer),
                exact: true,
                ..FdNote::default()
            })),
        }
    }
}

impl Script {
    fn call(&mut self, pid: u32, (at, lasts): (i64, i64), outcome: CallOutcome, op: Op) {
        self.calls += 1;
        let place = Location {
            input: 1,
            number: self.calls,
        };
        let call = Call {
            task: Task {
                pid: Some(pid),
                tid: Some(pid),
                comm: Some("client".into()),
            },
            exited: Some(Timestamp(at + lasts)),
            outcome,
            op,
        };
        let event = Event {
            at: Timestamp(at),
            place,
            what: EventKind::Call(Box::new(call)),
        };
        self.known.push((at + lasts, Sent::Call(Box::new(event))));
    }

    fn frame(&mut self, at: i64, data: Vec<u8>) {
        self.known.push((at, Sent::Frame(data)));
    }

    fn socket(&mut self, at: i64, socket: Socket, error: Option<&str>) {
        let fd = socket.fd();
        let kind = SocketKind {
            family: SocketFamily::Inet,
            style: socket.style,
        };
        let opened = CallOutcome::Returned(5);
        let op = Op::Socket {
            kind,
            fd: Fd::bare(5),
        };
        self.call(socket.pid, (at, 1_000), opened, op);
        let outcome = error.map_or(CallOutcome::Returned(0), |e| CallOutcome::Failed(e.into()));
        let to = Address::Inet(socket.peer);
        let op = Op::Connect { fd, to };
        self.call(socket.pid, (at + 2_000, 1_000), outcome, op);
    }

    fn close(&mut self, at: i64, socket: Socket) {
        let fd = socket.fd();
        self.call(
            socket.pid,
            (at, 500),
            CallOutcome::Returned(0),
            Op::Close { fd },
        );
    }

    /// A query and the wait for its answer, until 5 s have passed if there is none. Returns when that was over.
    fn ask(
        &mut self,
        n: u32,
        at: i64,
        socket: Socket,
        (resolver, took): ([u8; 4], Option<i64>),
    ) -> i64 {
        let query = message(n, None);
        let transfer = |bytes: &[u8]| Transfer {
            peer: None,
            length: u32::try_from(bytes.len()).unwrap(),
            taken: true,
            dns: crate::decode::dns::parse(bytes)
                .into_iter()
                .collect::<Vec<dns::Message>>(),
            local: None,
        };
        self.socket(at, socket, None);
        let sent = at + 10_000;
        let messages = vec![transfer(&query)];
        let fd = socket.fd();
        let length = i64::try_from(query.len()).unwrap();
        let op = Op::Send { fd, messages };
        self.call(socket.pid, (sent, 1_000), CallOutcome::Returned(length), op);
        let datagram = udp(socket.port, 53, &query);
        self.frame(sent + 500, ipv4(CLIENT, resolver, 17, &datagram));
        let wait = |ready: Vec<i32>| Op::Wait {
            fds: vec![socket.fd()],
            ready,
            timeout: Some(Span::seconds(5)),
        };
        let Some(took) = took else {
            let lasts = 5 * SECOND;
            let none = CallOutcome::Returned(0);
            self.call(socket.pid, (sent + 2_000, lasts), none, wait(Vec::new()));
            self.close(sent + lasts + 10_000, socket);
            return sent + lasts + 20_000;
        };
        let answer = message(n, Some(server(n)));
        let datagram = udp(53, socket.port, &answer);
        self.frame(sent + took, ipv4(resolver, CLIENT, 17, &datagram));
        let one = CallOutcome::Returned(1);
        self.call(socket.pid, (sent + 2_000, took), one, wait(vec![5]));
        let op = Op::Receive {
            fd: socket.fd(),
            messages: vec![transfer(&answer)],
        };
        let length = i64::try_from(answer.len()).unwrap();
        let outcome = CallOutcome::Returned(length);
        self.call(socket.pid, (sent + took + 5_000, 1_000), outcome, op);
        self.close(sent + took + 8_000, socket);
        sent + took + 10_000
    }

    /// A lookup, of some hosts through a resolver that is dead, and a connect to what it gave.
    fn activity(&mut self, n: u32, at: i64) {
        let socket = |style, port, peer: ([u8; 4], u16)| Socket {
            pid: 1_000 + n % 8,
            style,
            port: port + u16::try_from(n % 9_000).unwrap(),
            peer: Endpoint::new(peer.0.into(), peer.1),
            identity: u64::from(n) * 4 + u64::from(port / 10_000),
        };
        let mut at = at;
        if is_slow(n) {
            let dead = socket(SocketType::Datagram, 20_000, (DEAD, 53));
            at = self.ask(n, at, dead, (DEAD, None));
        }
        let alive = socket(SocketType::Datagram, 30_000, (ALIVE, 53));
        at = self.ask(n, at, alive, (ALIVE, Some(500_000 + i64::from(n))));
        let stream = socket(SocketType::Stream, 40_000, (server(n), 443));
        self.socket(at, stream, Some("EINPROGRESS"));
        let ports = (stream.port, 443);
        let syn = tcp(ports, (n, 0), 0x02);
        self.frame(at + 2_500, ipv4(CLIENT, server(n), 6, &syn));
        let took = 300_000 + i64::from(n);
        let synack = tcp((443, stream.port), (1, n + 1), 0x12);
        self.frame(at + took, ipv4(server(n), CLIENT, 6, &synack));
        let wait = Op::Wait {
            fds: vec![stream.fd()],
            ready: vec![5],
            timeout: None,
        };
        let one = CallOutcome::Returned(1);
        self.call(stream.pid, (at + 5_000, took - 4_000), one, wait);
        let (fd, error) = (stream.fd(), None);
        let ended = Op::SocketError { fd, error };
        let none = CallOutcome::Returned(0);
        self.call(stream.pid, (at + took + 2_000, 500), none, ended);
        self.close(at + took + 4_000, stream);
        // Another process's: a SYN with the number of its own would be a copy of that behind address translation.
        let other = tcp(
            (50_000 + u16::try_from(n % 9_000).unwrap(), 80),
            (n + (1 << 24), 0),
            0x02,
        );
        self.frame(at + 3_000, ipv4(CLIENT, [12, 0, 0, 1], 6, &other));
    }
}

/// There are more slow lookups every day or two than the lists hold.
fn settings() -> Settings {
    let limits = Limits {
        list: 100,
        stacks: 100,
    };
    Settings {
        limits,
        ..Settings::default()
    }
}

fn is_slow(n: u32) -> bool {
    n % 40 == 7
}

/// When something is looked up and connected to, from the start.
fn times() -> Vec<i64> {
    let steady = (0..DAYS * DAY / STEADY).map(|k| k * STEADY);
    let bursts = (0..DAYS).flat_map(|d| (0..BURST).map(move |k| d * DAY + DAY / 2 + k * APART));
    let mut times: Vec<i64> = steady.chain(bursts).collect();
    times.sort_unstable();
    times
}

/// How much is retained at most on each day, and how many activities there were.
fn week(listener: &mut Heard) -> ([usize; WEEK], u32) {
    let job = Job {
        folder: None,
        capture: true,
        sight: Sight::Calls,
        others: false,
        dns_ports: vec![53],
        settings: settings(),
    };
    let packets = RefCell::new(Vec::new());
    let mut push = |event| packets.borrow_mut().push(event);
    let mut recorder = Recorder::new(&job, listener, &packets, None);
    let facts = CaptureFacts::default();
    recorder.kept.capture = Some(Reading::live(facts, &job.dns_ports, &mut push));
    let start = 1_700_000_000 * SECOND;
    recorder.take(Record::HostFile("resolv.conf", CONF.as_bytes()));
    recorder.take(Record::Begin(Box::new(Begin {
        header: jsonl::Header {
            started: Timestamp(start),
            ..jsonl::Header::default()
        },
        link: Some(RAW),
    })));
    let times = times();
    let mut held = [0; WEEK];
    let mut script = Script::default();
    for (n, at) in (0_u32..).zip(times.iter().copied()) {
        script.activity(n, start + at);
        // Of what is known before the next one begins.
        let next = times
            .get(n as usize + 1)
            .map_or(i64::MAX, |next| start + next);
        script.known.sort_by_key(|(known, _)| *known);
        let later = script.known.partition_point(|(known, _)| *known < next);
        let later = script.known.split_off(later);
        for (known, sent) in std::mem::replace(&mut script.known, later) {
            match sent {
                Sent::Frame(data) => recorder.take(Record::Frame(CapturedFrame {
                    at: Timestamp(known),
                    link: RAW,
                    interface: None,
                    data: &data,
                    original_length: u32::try_from(data.len()).unwrap(),
                })),
                Sent::Call(event) => recorder.take(Record::Event(event)),
            }
            if let Some(retained) = &recorder.retained {
                let today = &mut held[usize::try_from(at / DAY).unwrap()];
                *today = retained.retained().max(*today);
            }
        }
        let now = Timestamp(next.min(start + at + 20 * SECOND));
        recorder.take(Record::CapturedBefore(now));
        recorder.take(Record::Waiting(UnreturnedCalls {
            now,
            all: true,
            open: Vec::new(),
        }));
    }
    recorder.take(Record::Captured(Captured::default()));
    assert_eq!(recorder.end(&Footer::default()), 0);
    (held, u32::try_from(times.len()).unwrap())
}

#[test]
fn a_week_is_explained_in_the_memory_of_some_days() {
    let mut heard = Heard::default();
    let (held, activities) = week(&mut heard);
    assert!(heard.trouble.is_empty(), "{:?}", heard.trouble);
    let gathered = heard.gathered.unwrap();
    let capture = gathered.captures[0].clone();
    let length = capture.last.unwrap() - capture.first.unwrap();
    assert!(length.0 > DAYS * DAY - 2 * STEADY, "{length:?}");
    // The first, the slowest and some of every kind stay; beyond them the later days add nothing.
    let evicted = gathered.totals.events;
    eprintln!("DBG {held:?} {evicted}");
    let most = held[..4].iter().max().unwrap();
    assert!(
        *most < 80_000 && evicted > 100_000,
        "{held:?} held, {evicted} evicted"
    );
    let report: Report = pipeline::report(gathered, &settings());
    let all = activities as usize;
    let omitted = report.omitted;
    let counted = [
        report.lookups.len() + omitted.lookups,
        report.connections.len() + omitted.connections,
        report.delays.len() + omitted.delays,
    ];
    assert_eq!(counted, [all; 3]);
    let slow = (0..activities).filter(|n| is_slow(*n)).count() as u64;
    let rows = report.resolvers.iter();
    let rows: Vec<_> = rows
        .map(|r| (&*r.address, r.queries, r.answered, r.unanswered))
        .collect();
    let (all, some) = (Some(u64::from(activities)), Some(slow));
    let (dead, alive) = ("10.0.0.53", "10.0.0.54");
    let expected = [(alive, all, all, Some(0)), (dead, some, Some(0), some)];
    assert_eq!(rows, expected);
    // The slowest are those that waited for the dead resolver, of all days.
    assert_eq!(report.delays.len(), 100);
    assert!(report.delays.iter().all(|d| d.since_start_s > Some(5.0)));
    let foreign = capture.omitted.foreign.packets();
    assert_eq!(foreign, u64::from(activities));
    assert!(capture.omitted.shows_own() && report.not_attributable.is_none());
}
