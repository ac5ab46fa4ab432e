//! A capture of any size is explained in bounded memory: what is over is evicted, and the report stays the same.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

use presyn::decode::resolv_conf::ResolvConf;
use presyn::event::dns::{Message, Name, Question, Rcode, RecordType};
use presyn::event::{Event, EventKind, Location, Packet, Service, TcpFlags};
use presyn::eviction::{Eviction, EvictionSetup};
use presyn::explain::assemble::Limits;
use presyn::flow::{Endpoint, FiveTuple, Target, Transport};
use presyn::input::CaptureFacts;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::report::{Connection, Delay, FindingId, Lookup, Report};
use presyn::time::{Span, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;

const DEAD: [u8; 4] = [10, 0, 0, 53];
const ALIVE: [u8; 4] = [10, 0, 0, 54];
/// It answers some queries, and refuses others.
const WEAK: [u8; 4] = [10, 0, 0, 55];

/// Packets under construction.
#[derive(Default)]
struct Wire {
    events: Vec<Event>,
    micros: i64,
    /// Initial sequence numbers are higher by so much.
    isn: u32,
}

impl Wire {
    fn packet(&mut self, after: i64, packet: Packet) {
        self.micros += after;
        self.events.push(Event {
            at: Timestamp::new(1_700_000_000, 0) + Span::micros(self.micros),
            place: Location {
                input: 0,
                number: self.events.len() as u64 + 1,
            },
            what: EventKind::Packet(packet),
        });
    }

    fn dns(&mut self, after: i64, n: u32, server: [u8; 4], reply: Option<(Rcode, IpAddr)>) {
        let (client, server) = (client(n), Endpoint::new(server.into(), 53));
        let (src, dst) = if reply.is_some() {
            (server, client)
        } else {
            (client, server)
        };
        let question = Question {
            name: Name(format!("host{}.example", n % 977).into()),
            kind: Some(RecordType::A),
            cut: false,
        };
        let answers = u16::from(reply.is_some_and(|(rcode, _)| rcode == Rcode::NOERROR));
        let message = Message {
            id: u16::try_from(n % 65_536).unwrap(),
            response: reply.is_some(),
            opcode: 0,
            truncated: false,
            rcode: reply.map_or(Rcode::NOERROR, |(rcode, _)| rcode),
            question: Some(question),
            answers,
            addresses: reply
                .iter()
                .take(usize::from(answers))
                .map(|(_, a)| *a)
                .collect(),
            edns: false,
            referral: false,
            complete: true,
            bytes: None,
        };
        let flow = FiveTuple {
            transport: Transport::Udp,
            src,
            dst,
        };
        self.packet(
            after,
            Packet::Dns {
                flow,
                service: Service::Unicast,
                message: Box::new(message),
            },
        );
    }

    fn tcp(&mut self, after: i64, n: u32, reply: Option<TcpFlags>) {
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: client(n),
            dst: Endpoint::new(server(n), 443),
        };
        self.packet(
            after,
            Packet::Tcp {
                flow: if reply.is_some() {
                    flow.reversed()
                } else {
                    flow
                },
                flags: reply.unwrap_or(TcpFlags {
                    syn: true,
                    ..TcpFlags::default()
                }),
                seq: self.isn + n,
                ack: if reply.is_some() { self.isn + n + 1 } else { 0 },
            },
        );
    }
}

fn client(n: u32) -> Endpoint {
    Endpoint::new(
        [10, 0, 1, 7].into(),
        20_000 + u16::try_from(n % 40_000).unwrap(),
    )
}

fn server(n: u32) -> IpAddr {
    [192, 0, 2, u8::try_from(n % 200).unwrap()].into()
}

/// Lookups and connections of one busy host: most are quick, some meet a dead resolver, an error, a name that does
/// not exist, a server that refuses or does not answer. No two waits of a kind are equally long.
fn busy(count: u32) -> Vec<Event> {
    let mut wire = Wire::default();
    let found = |n| Some((Rcode::NOERROR, server(n)));
    for n in 0..count {
        let odd = i64::from(n);
        match n % 50 {
            7 => {
                wire.dns(50, n, DEAD, None);
                wire.dns(5_000_000 + odd, n, ALIVE, None);
            }
            11 => {
                wire.dns(50, n, WEAK, None);
                wire.dns(700 + odd, n, WEAK, Some((Rcode::SERVFAIL, server(n))));
                wire.dns(50, n, ALIVE, None);
            }
            13 => {
                wire.dns(50, n, WEAK, None);
                wire.dns(600_000 + odd, n, WEAK, found(n));
                continue;
            }
            17 => {
                wire.dns(50, n, ALIVE, None);
                wire.dns(800 + odd, n, ALIVE, Some((Rcode::NXDOMAIN, server(n))));
                continue;
            }
            _ => wire.dns(50, n, ALIVE, None),
        }
        wire.dns(800 + odd % 97, n, ALIVE, found(n));
        wire.tcp(100 + odd, n, None);
        let (syn, rst) = (n % 50 != 19, n % 50 == 19);
        if n % 50 == 23 {
            wire.tcp(1_000_000, n, None);
            wire.tcp(2_000_000 + odd, n, None);
            continue;
        }
        let flags = TcpFlags {
            syn,
            rst,
            ack: true,
            fin: false,
        };
        wire.tcp(300 + odd, n, Some(flags));
    }
    wire.events
}

/// The report of what is read, and how many events were held at most.
fn explained(events: Vec<Event>, limits: Limits) -> (Report, usize) {
    explained_of(vec![events], limits, None)
}

/// The same of several captures that begin at the same time.
fn explained_of(
    captures: Vec<Vec<Event>>,
    limits: Limits,
    target: Option<Target>,
) -> (Report, usize) {
    let facts = |events: &Vec<Event>| CaptureFacts {
        path: "packets.pcap".into(),
        packets: events.len() as u64,
        first: events.first().map(|e| e.at),
        last: events.last().map(|e| e.at),
        ..CaptureFacts::default()
    };
    let conf = "nameserver 10.0.0.53\nnameserver 10.0.0.54\n";
    let mut gathered = Gathered {
        captures: captures.iter().map(facts).collect(),
        resolv_conf: Some(("resolv.conf".into(), conf.into())),
        ..Gathered::default()
    };
    let mut eviction = Eviction::new(EvictionSetup {
        dns_ports: vec![53],
        resolv_conf: Some(ResolvConf::parse(conf)),
        limits,
        target: target.clone(),
        capture: Some(CaptureFacts::default()),
        ..EvictionSetup::default()
    });
    let mut held = 0;
    let last = captures.len() - 1;
    for (input, events) in captures.into_iter().enumerate() {
        let begun = events[0].at;
        eviction.before(if input < last {
            begun
        } else {
            Timestamp(i64::MAX)
        });
        for mut event in events {
            event.place.input = u16::try_from(input).unwrap();
            eviction.push(event);
            held = held.max(eviction.retained());
        }
    }
    (gathered.packets, gathered.stacks, gathered.totals) = eviction.finish();
    let settings = Settings {
        target,
        ..Settings::default()
    };
    (pipeline::report(gathered, &settings), held)
}

/// Without its number and that of its lookup: both are numbered as they are retained.
fn connection(connection: &Connection) -> Value {
    plain(&Connection {
        id: String::new(),
        lookup: None,
        ..connection.clone()
    })
}

/// Without its number.
fn lookup(lookup: &Lookup) -> Value {
    plain(&Lookup {
        id: String::new(),
        ..lookup.clone()
    })
}

/// Without the numbers of its connection and lookup.
fn delay(delay: &Delay) -> Value {
    plain(&Delay {
        connection: None,
        lookup: None,
        ..delay.clone()
    })
}

/// As the JSON report has it.
fn plain<T: Serialize + ?Sized>(part: &T) -> Value {
    serde_json::to_value(part).unwrap()
}

#[test]
fn the_report_of_a_large_capture_is_that_of_all_its_packets() {
    let events = busy(30_000);
    let (whole, held) = explained(events.clone(), Limits::ALL);
    assert_eq!(held, events.len());
    let (some, held) = explained(events.clone(), Limits::BOUNDED);
    assert!(
        held <= 55_000 && events.len() >= 120_000,
        "{held} of {} held",
        events.len()
    );

    assert_eq!(some.summary, whole.summary);
    for (s, w) in some.resolvers.iter().zip(&whole.resolvers) {
        let mut s = s.clone();
        // Times of what is gone are known to three digits.
        let (a, b) = (s.rtt_s.median.take(), w.rtt_s.median);
        assert_eq!(a.is_some(), b.is_some());
        if let (Some(a), Some(b)) = (a, b) {
            assert!((a - b).abs() <= 0.01 * b, "{a} for {b}");
        }
        s.rtt_s.median = b;
        assert_eq!(plain(&s), plain(w));
    }
    assert_eq!(some.resolvers.len(), 3);

    let n = Limits::BOUNDED.list;
    let pairs = some.lookups.iter().zip(&whole.lookups);
    pairs.for_each(|(s, w)| assert_eq!(lookup(s), lookup(w)));
    let pairs = some.connections.iter().zip(&whole.connections);
    pairs.for_each(|(s, w)| assert_eq!(connection(s), connection(w)));
    let pairs = some.delays.iter().zip(&whole.delays);
    pairs.for_each(|(s, w)| assert_eq!(delay(s), delay(w)));
    let lengths = |r: &Report| [r.lookups.len(), r.connections.len(), r.delays.len()];
    assert_eq!(lengths(&some), lengths(&whole));
    assert_eq!(some.delays.len(), n);
    assert_eq!(some.omitted.lookups, whole.omitted.lookups);
    assert_eq!(some.omitted.connections, whole.omitted.connections);
    assert_eq!(some.omitted.delays, whole.omitted.delays);
    assert_eq!(plain(&some.clients), plain(&whole.clients));

    // Of findings about one resolver or server, kind, cost and counts.
    let said = |r: &Report| {
        let mut list: Vec<_> = r.findings.iter().map(|f| (f.id, f.title.clone())).collect();
        list.sort();
        list
    };
    let (some_said, whole_said) = (said(&some), said(&whole));
    for id in [
        FindingId::ResolverSilent,
        FindingId::ResolverError,
        FindingId::ResolverSlow,
        FindingId::ConnectRefused,
        FindingId::SynUnanswered,
    ] {
        let of = |list: &[(FindingId, String)]| -> Vec<String> {
            let these = list.iter().filter(|(i, _)| *i == id);
            these.map(|(_, title)| title.clone()).collect()
        };
        assert!(
            !of(&whole_said).is_empty(),
            "{id} is not in {whole_said:#?}"
        );
        assert_eq!(of(&some_said), of(&whole_said), "{id}");
    }
    assert!(
        some.warnings
            .iter()
            .any(|w| w.contains("were counted but not retained"))
    );
    assert!(!whole.warnings.iter().any(|w| w.contains("not retained")));
}

/// What one capture shows may be shown again by the next: nothing goes before that has been read as far.
#[test]
fn two_captures_of_the_same_traffic_count_it_once() {
    let events = busy(15_000);
    let (once, _) = explained(events.clone(), Limits::ALL);
    let (twice, _) = explained_of(vec![events.clone(), events.clone()], Limits::BOUNDED, None);
    assert_eq!(twice.duplicates_removed, events.len() as u64);
    assert_eq!(twice.summary, once.summary);
    let rows = |r: &Report| {
        r.resolvers
            .iter()
            .map(|r| (r.queries, r.answered, r.waited_s.unwrap().to_string()))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&twice), rows(&once));
    assert_eq!(
        twice.omitted.lookups + twice.lookups.len(),
        once.omitted.lookups + once.lookups.len()
    );
}

/// Whoever asks about one server gets all of its accounts, however quick it was.
#[test]
fn the_connections_of_the_target_stay() {
    let target: Option<Target> = Some(Endpoint::new(server(150), 443).into());
    let events = busy(30_000);
    let delays = |limits| {
        let (report, _) = explained_of(vec![events.clone()], limits, target.clone());
        report.delays.iter().map(delay).collect::<Vec<_>>()
    };
    let whole = delays(Limits::ALL);
    assert_eq!(whole.len(), 150);
    assert!(whole == delays(Limits::BOUNDED));
}

/// An answer that comes when its query has long been evicted is still that query's.
#[test]
fn answers_after_two_minutes_are_counted() {
    let mut wire = Wire::default();
    for n in 0..60_000 {
        if n % 40 == 7 {
            wire.dns(2_000, n, WEAK, None);
        } else {
            wire.dns(2_000, n, ALIVE, None);
            wire.dns(800, n, ALIVE, Some((Rcode::NOERROR, server(n))));
        }
        // 43,000 rounds are 120 s.
        if n >= 43_000 && (n - 43_000) % 40 == 7 {
            wire.dns(50, n - 43_000, WEAK, Some((Rcode::SERVFAIL, server(n))));
        }
    }
    let (whole, _) = explained(wire.events.clone(), Limits::ALL);
    let (some, _) = explained(wire.events, Limits::BOUNDED);
    let rows = |r: &Report| {
        let rows = r.resolvers.iter();
        rows.map(|r| {
            let mut r = r.clone();
            r.rtt_s.median = None;
            r.waited_s = None;
            plain(&r)
        })
        .collect::<Vec<_>>()
    };
    assert!(whole.resolvers.iter().any(|r| r.late > Some(300)));
    assert_eq!(rows(&some), rows(&whole));
}

/// What is still open is the last to go, and that it went is said.
#[test]
fn more_open_at_once_than_can_be_held_is_said() {
    let mut wire = Wire::default();
    for n in 0..200_000 {
        wire.dns(1, n, DEAD, None);
    }
    let (report, held) = explained(wire.events, Limits::BOUNDED);
    assert!(held < 60_000, "{held} held");
    assert_eq!(report.resolvers[0].queries, Some(200_000));
    assert!(
        report
            .warnings
            .iter()
            .any(|w| w.contains("in progress at once")),
        "{:?}",
        report.warnings
    );
}

/// One SYN repeated for ever is one attempt.
#[test]
fn a_flood_of_one_syn_is_bounded_too() {
    let mut wire = Wire::default();
    for _ in 0..200_000 {
        wire.tcp(1, 1, None);
    }
    let (report, held) = explained(wire.events, Limits::BOUNDED);
    assert!(held < 60_000, "{held} held");
    assert_eq!(report.connections.len(), 1);
    assert!(
        report.warnings.iter().any(|w| w.contains("repeated SYNs")),
        "{:?}",
        report.warnings
    );
}

/// So many attempts in a row that nobody answers, a millisecond apart, each with its SYN sent again after 1, 3, 7 and 15 s.
/// Of every 50 the first is answered then and the next is refused; the third is given up, and after 40 s there is another
/// one from the same port. A capture of no more packets than these.
fn unanswered(count: u32) -> Vec<Event> {
    let mut packets: Vec<(i64, u32, u32, Option<TcpFlags>)> = Vec::new();
    for n in 0..count {
        let at = i64::from(n) * 1_000;
        for second in [0, 1, 3, 7, 15] {
            packets.push((at + second * 1_000_000, n, 0, None));
        }
        if n % 50 == 2 {
            packets.push((at + 40_000_000, n, 1 << 20, None));
        }
        let reply = TcpFlags {
            syn: n % 50 == 0,
            rst: n % 50 == 1,
            ack: true,
            fin: false,
        };
        if reply.syn || reply.rst {
            packets.push((at + 15_000_400 + i64::from(n), n, 0, Some(reply)));
        }
    }
    packets.sort_by_key(|(at, n, ..)| (*at, *n));
    let mut wire = Wire::default();
    for (at, n, isn, reply) in packets {
        wire.isn = isn;
        wire.tcp(at - wire.micros, n, reply);
    }
    wire.events
}

/// A SYN that is sent again, and what answers it, belong to their attempt although that was evicted.
#[test]
fn a_syn_of_an_evicted_attempt_is_no_attempt_of_its_own() {
    const COUNT: u32 = 14_000;
    let events = unanswered(COUNT);
    let (whole, all) = explained(events.clone(), Limits::ALL);
    let (some, held) = explained(events, Limits::BOUNDED);
    assert!(held <= 55_000 && all > 70_000, "{held} of {all} held");
    for report in [&whole, &some] {
        let connections = report.connections.len() + report.omitted.connections;
        assert_eq!(connections, (COUNT + COUNT / 50) as usize);
    }
    assert!(
        some.not_attributable.is_none(),
        "{:?}",
        some.not_attributable
    );
    assert_eq!(some.summary, whole.summary);
    let pairs = some.connections.iter().zip(&whole.connections);
    pairs.for_each(|(s, w)| assert_eq!(connection(s), connection(w)));
    let pairs = some.delays.iter().zip(&whole.delays);
    pairs.for_each(|(s, w)| assert_eq!(delay(s), delay(w)));
    let titles = |r: &Report| {
        r.findings
            .iter()
            .map(|f| f.title.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(titles(&some), titles(&whole));
}

/// Of more attempts than can be remembered it is said that later SYNs may be theirs.
#[test]
fn what_may_belong_to_a_forgotten_attempt_is_not_attributable() {
    let all = 60_000 + 60_000 / 50;
    let events = unanswered(60_000);
    let (some, held) = explained(events, Limits::BOUNDED);
    assert!(held < 60_000, "{held} held");
    let doubtful = some.not_attributable.unwrap();
    let counted = some.connections.len() + some.omitted.connections;
    assert!(counted > all, "{counted} connections");
    // All that are counted twice are among them.
    assert!(
        doubtful.connections >= counted - all,
        "{doubtful:?} of {counted}"
    );
    assert!(doubtful.connections < counted, "{doubtful:?} of {counted}");
    let said = |w: &&String| w.contains("not attributable");
    assert_eq!(
        some.warnings.iter().filter(said).count(),
        1,
        "{:?}",
        some.warnings
    );
}
