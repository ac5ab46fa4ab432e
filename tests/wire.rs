//! What a capture alone shows, and what it does not: who the client is, where an account begins, what ends a lookup, how a
//! connection attempt went. Packets are rows of text; times are seconds.

#![allow(clippy::unwrap_used, clippy::too_many_lines, reason = "tests")]

use presyn::event::dns::{Message, Name, Question, Rcode, RecordType};
use presyn::event::{Event, EventKind, Location, OpeningStep, Packet, Service, TcpFlags};
use presyn::flow::{Endpoint, FiveTuple, Transport};
use presyn::input::CaptureFacts;
use presyn::pipeline::{Gathered, Settings, report};
use presyn::report::{FindingId, LookupOutcome, Report};
use presyn::time::{Span, Timestamp};
use std::net::SocketAddr;

fn at(seconds: &str) -> Timestamp {
    let seconds: f64 = seconds.parse().unwrap();
    #[allow(clippy::cast_possible_truncation, reason = "seconds of a test")]
    let nanos = (seconds * 1e9).round() as i64;
    Timestamp::new(1_795_000_000, 0) + Span(nanos)
}

fn end(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().unwrap().into()
}

/// `TIME SRC DST query|answer ID TYPE NAME [ADDRESS,…|nxdomain|nodata|servfail|refused|referral|truncated]` or
/// `TIME SRC DST syn|synack|ack|rst|rst-ack|fin SEQ [ACK]`, also `llmnr|llmnr-answer|mdns|…` for `query|answer`,
/// `TIME SRC DST late-ack|client-data|server-data 0` (SRC is the client), `TIME SRC DST quic 0`, and for ARP `TIME SRC ADDRESS who-has 0` and `TIME SRC SRC is-at 0`.
fn packet(row: &str) -> (Timestamp, Packet) {
    let words: Vec<&str> = row.split_whitespace().collect();
    let [time, src, dst, what, number, rest @ ..] = &*words else {
        panic!("{row}");
    };
    let flow = |transport| FiveTuple {
        transport,
        src: end(src),
        dst: end(dst),
    };
    let number: u32 = number.parse().unwrap();
    if matches!(*what, "who-has" | "is-at") {
        let reply = *what == "is-at";
        let packet = Packet::Neighbour {
            about: dst.parse().unwrap(),
            reply,
            from: src.parse().ok().filter(|_| !reply),
        };
        return (at(time), packet);
    }
    let multicast = what.split('-').next().and_then(|name| match name {
        "llmnr" => Some(Service::Llmnr),
        "mdns" => Some(Service::Mdns),
        "netbios" => Some(Service::NetBios),
        _ => None,
    });
    if let Some(service) = multicast {
        let packet = Packet::Dns {
            flow: flow(Transport::Udp),
            service,
            message: Box::new(message(number, what.ends_with("answer"), rest)),
        };
        return (at(time), packet);
    }
    let step = match *what {
        "late-ack" => Some(OpeningStep::LateAck),
        "client-data" => Some(OpeningStep::ClientData),
        "server-data" => Some(OpeningStep::ServerData),
        _ => None,
    };
    if let Some(step) = step {
        let flow = flow(Transport::Tcp);
        return (at(time), Packet::Opening { flow, step });
    }
    let packet = match *what {
        "quic" => Packet::QuicInitial {
            flow: flow(Transport::Udp),
        },
        "query" | "answer" => Packet::Dns {
            flow: flow(Transport::Udp),
            service: Service::Unicast,
            message: Box::new(message(number, *what == "answer", rest)),
        },
        tcp => Packet::Tcp {
            flow: flow(Transport::Tcp),
            flags: TcpFlags {
                syn: tcp.starts_with("syn"),
                ack: tcp.ends_with("ack") || tcp == "fin",
                rst: tcp.starts_with("rst"),
                fin: tcp == "fin",
            },
            seq: number,
            ack: rest.first().map_or(0, |ack| ack.parse().unwrap()),
        },
    };
    (at(time), packet)
}

fn message(id: u32, response: bool, rest: &[&str]) -> Message {
    let said = rest.get(2).copied();
    let addresses = said.into_iter().flat_map(|word| word.split(','));
    let addresses: Vec<_> = addresses.filter_map(|word| word.parse().ok()).collect();
    Message {
        id: u16::try_from(id).unwrap(),
        response,
        opcode: 0,
        truncated: said == Some("truncated"),
        rcode: match said {
            Some("nxdomain") => Rcode::NXDOMAIN,
            Some("servfail") => Rcode::SERVFAIL,
            Some("refused") => Rcode::REFUSED,
            _ => Rcode::NOERROR,
        },
        question: Some(Question {
            name: Name(rest[1].into()),
            kind: Some(match rest[0] {
                "A" => RecordType::A,
                "AAAA" => RecordType::AAAA,
                "PTR" => RecordType::PTR,
                other => RecordType(other.parse().unwrap()),
            }),
            cut: false,
        }),
        answers: u16::try_from(addresses.len()).unwrap(),
        addresses: addresses.into_iter().collect(),
        edns: false,
        referral: said == Some("referral"),
        complete: true,
        bytes: None,
    }
}

/// The report about a capture of these packets; it goes on for a minute after the last one where `goes_on` says so.
fn of(rows: &str, goes_on: bool) -> Report {
    let mut packets: Vec<Event> = Vec::new();
    let rows = rows.lines().map(str::trim).filter(|row| !row.is_empty());
    for (at, packet) in rows.map(packet) {
        let number = packets.len() as u64 + 1;
        packets.push(Event {
            at,
            place: Location { input: 0, number },
            what: EventKind::Packet(packet),
        });
    }
    let last = packets.last().unwrap().at;
    if goes_on {
        let number = packets.len() as u64 + 1;
        let about = [10, 0, 0, 254].into();
        packets.push(Event {
            at: last + Span::seconds(60),
            place: Location { input: 0, number },
            what: EventKind::Packet(Packet::Neighbour {
                about,
                reply: true,
                from: None,
            }),
        });
    }
    let facts = CaptureFacts {
        path: "packets.pcap".into(),
        packets: packets.len() as u64,
        first: packets.first().map(|e| e.at),
        last: packets.last().map(|e| e.at),
        ..CaptureFacts::default()
    };
    let gathered = Gathered {
        captures: vec![facts],
        packets,
        ..Gathered::default()
    };
    report(gathered, &Settings::default())
}

/// The longest account of connections to a place.
fn longest(report: &Report, to: &str) -> f64 {
    let ids: Vec<&str> = report
        .connections
        .iter()
        .filter(|c| c.to == to)
        .map(|c| &*c.id)
        .collect();
    let own = report.delays.iter().filter(|d| {
        let id = d.connection.as_deref();
        id.is_some_and(|id| ids.contains(&id))
    });
    own.filter_map(|d| d.since_start_s).fold(0.0, f64::max)
}

fn first(report: &Report) -> &str {
    &report.summary[0]
}

/// One lookup that took 10 ms.
const QUICK: &str = "0.000 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                     0.010 10.0.0.53:53 10.0.0.1:4000 answer 1 A a.example 10.9.9.1\n";

#[test]
fn an_account_begins_at_the_connections_own_lookup() {
    // What another program of the host looked up minutes before is nothing to it.
    let idle = format!(
        "{QUICK}
         400.00 10.0.0.1:4001 10.0.0.53:53 query 2 A b.example
         400.03 10.0.0.53:53 10.0.0.1:4001 answer 2 A b.example 10.9.9.2
         400.04 10.0.0.1:5000 10.9.9.2:443 syn 1
         400.05 10.9.9.2:443 10.0.0.1:5000 synack 9 2"
    );
    let report = of(&idle, true);
    assert!((0.03..0.05).contains(&longest(&report, "10.9.9.2:443")));
    assert!(first(&report).contains("40.0 ms after its first query for b.example"));
    // Without a lookup nothing is known.
    let bare = "5.0 10.0.0.1:5000 10.9.9.2:443 syn 1
                5.1 10.9.9.2:443 10.0.0.1:5000 synack 9 2";
    let report = of(bare, true);
    assert!(longest(&report, "10.9.9.2:443") == 0.0);
    let said = report.summary.concat();
    assert!(
        said.contains("Nothing before the SYN of 10.0.0.1"),
        "{said}"
    );
    // Two lookups of one name, one after the other, are one effort.
    let retried = "0.0 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                   0.1 10.0.0.53:53 10.0.0.1:4000 answer 1 A a.example servfail
                   0.8 10.0.0.1:4001 10.0.0.53:53 query 2 A a.example
                   0.9 10.0.0.53:53 10.0.0.1:4001 answer 2 A a.example 10.9.9.1
                   1.0 10.0.0.1:5000 10.9.9.1:443 syn 1
                   1.1 10.9.9.1:443 10.0.0.1:5000 synack 9 2";
    assert!((0.99..1.01).contains(&longest(&of(retried, true), "10.9.9.1:443")));
}

#[test]
fn a_lookup_serves_the_first_connection_after_it() {
    let slow = "0.0 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                5.0 10.0.0.1:4001 10.0.0.54:53 query 1 A a.example
                5.1 10.0.0.54:53 10.0.0.1:4001 answer 1 A a.example 10.9.9.1\n";
    let connect = |at: f64, port: u16| {
        let back = at + 0.01;
        format!(
            "{at} 10.0.0.1:{port} 10.9.9.1:443 syn 1
             {back} 10.9.9.1:443 10.0.0.1:{port} synack 9 2\n"
        )
    };
    let report = of(
        &format!("{slow}{}{}", connect(5.11, 5000), connect(9.0, 5001)),
        true,
    );
    let mut delays: Vec<f64> = report
        .delays
        .iter()
        .filter_map(|d| d.since_start_s)
        .collect();
    delays.sort_by(f64::total_cmp);
    assert_eq!(delays, [0.0, 5.11]);
    // One that comes long after it waited for nothing; the lookup stands by itself.
    let report = of(&format!("{slow}{}", connect(60.0, 5000)), true);
    assert!(longest(&report, "10.9.9.1:443") == 0.0);
    assert!(first(&report).contains("looked up a.example and was answered after 5.10 s"));
}

#[test]
fn each_client_has_its_own_lookups() {
    let two = "0.0 10.20.0.7:4000 10.0.0.53:53 query 1 A a.example
               4.9 10.20.0.8:4000 10.0.0.53:53 query 2 A a.example
               4.901 10.0.0.53:53 10.20.0.8:4000 answer 2 A a.example 10.9.9.1
               4.902 10.20.0.8:5000 10.9.9.1:443 syn 1
               4.903 10.9.9.1:443 10.20.0.8:5000 synack 9 2
               5.0 10.20.0.7:4001 10.0.0.54:53 query 1 A a.example
               5.001 10.0.0.54:53 10.20.0.7:4001 answer 1 A a.example 10.9.9.1
               5.002 10.20.0.7:5000 10.9.9.1:443 syn 1
               5.003 10.9.9.1:443 10.20.0.7:5000 synack 9 2";
    let report = of(two, true);
    assert!(first(&report).starts_with("10.20.0.7 sent its SYN to 10.9.9.1:443 5.00 s after"));
    let rows = report.clients.iter();
    let rows: Vec<_> = rows
        .map(|c| (&*c.address, c.lookups, c.connects, c.slowest_s))
        .collect();
    assert_eq!(
        rows,
        [
            ("10.20.0.7", Some(1), Some(1), Some(5.002)),
            ("10.20.0.8", Some(1), Some(1), Some(0.002)),
        ]
    );
    // A stranger that connects to the host that asks has not waited for that host's lookups, and is no client.
    let inbound = format!(
        "{QUICK}
         0.02 203.0.113.7:2330 10.0.0.1:22 syn 1
         0.03 10.0.0.1:22 203.0.113.7:2330 synack 9 2"
    );
    let report = of(&inbound, true);
    assert!(longest(&report, "10.0.0.1:22") == 0.0);
    assert!(report.clients.is_empty());
    let said = report.summary.concat();
    assert!(!said.contains("203.0.113.7 sent"), "{said}");
}

#[test]
fn what_the_end_of_the_capture_cut_is_open() {
    let rows = "0.0 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                0.4 10.0.0.1:5000 10.9.9.1:443 syn 1";
    let report = of(rows, false);
    assert_eq!(report.resolvers[0].open, Some(1));
    let said = report.summary.concat();
    assert!(said.contains("still open when the capture ended"), "{said}");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

fn ids(report: &Report) -> Vec<&str> {
    report.findings.iter().map(|f| f.id.name()).collect()
}

fn outcome(report: &Report) -> &str {
    report.connections[0]
        .outcome
        .map_or("unknown", |o| o.name())
}

#[test]
fn a_client_that_goes_on_is_connected() {
    let one_way = "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                   0.02 10.0.0.1:5000 10.9.9.1:443 syn 7
                   0.05 10.0.0.1:5000 10.9.9.1:443 ack 8 91";
    let report = of(one_way, true);
    assert_eq!(outcome(&report), "connected");
    assert_eq!(
        report.resolvers[0].unanswered,
        Some(0),
        "the capture is deaf"
    );
    assert_eq!(ids(&report), [""; 0]);
    // The server's data acknowledge the SYN as well.
    let lost = "0.02 10.0.0.1:5000 10.9.9.1:443 syn 7
                0.06 10.9.9.1:443 10.0.0.1:5000 ack 91 8";
    assert_eq!(outcome(&of(lost, true)), "connected");
}

#[test]
fn a_syn_ack_that_the_client_does_not_take_is_the_clients_matter() {
    let ignored = "0.00 10.0.0.1:5000 10.9.9.1:443 syn 7
                   0.03 10.9.9.1:443 10.0.0.1:5000 synack 90 8
                   1.00 10.0.0.1:5000 10.9.9.1:443 syn 7
                   1.03 10.9.9.1:443 10.0.0.1:5000 synack 90 8\n";
    let report = of(ignored, true);
    assert_eq!(
        (outcome(&report), ids(&report)),
        ("open", vec!["syn-ack-ignored"])
    );
    assert!(
        first(&report).contains("after 30.0 ms, but the client sent 2 SYNs"),
        "{}",
        first(&report)
    );
    let taken = format!("{ignored} 1.04 10.0.0.1:5000 10.9.9.1:443 ack 8 91");
    let report = of(&taken, true);
    assert_eq!(
        (outcome(&report), ids(&report)),
        ("connected", vec!["syn-ack-ignored"])
    );
    assert_eq!(report.connections[0].connect_seconds, Some(1.04));
    // They crossed on the way.
    let crossed = "0.0000 10.0.0.1:5000 10.9.9.1:443 syn 7
                   1.0000 10.9.9.1:443 10.0.0.1:5000 synack 90 8
                   1.0004 10.0.0.1:5000 10.9.9.1:443 syn 7";
    let report = of(crossed, true);
    assert_eq!(outcome(&report), "connected");
    assert!(!ids(&report).contains(&"syn-ack-ignored"));
}

#[test]
fn an_ack_of_other_bytes_is_an_older_connections() {
    let challenged = "0.000 10.0.0.1:5000 10.9.9.1:443 syn 7
                      0.003 10.9.9.1:443 10.0.0.1:5000 ack 5000 900000
                      0.004 10.0.0.1:5000 10.9.9.1:443 rst 900000
                      1.000 10.0.0.1:5000 10.9.9.1:443 syn 7
                      1.003 10.9.9.1:443 10.0.0.1:5000 ack 5000 900000";
    let report = of(challenged, true);
    assert_eq!(ids(&report), ["challenge-ack"]);
    let said = report.summary.concat();
    assert!(
        said.contains("2 SYNs of 10.0.0.1 with an ACK of another connection"),
        "{said}"
    );
    // A SYN that was challenged was answered, whatever came of it.
    let then = format!(
        "{challenged}
         3.000 10.0.0.1:5000 10.9.9.1:443 syn 7
         3.003 10.9.9.1:443 10.0.0.1:5000 synack 90 8
         3.004 10.0.0.1:5000 10.9.9.1:443 ack 8 91"
    );
    assert_eq!(ids(&of(&then, true)), ["challenge-ack"]);
}

/// A response from another address is none, and its sender is named.
#[test]
fn a_response_from_another_address_is_reported_as_that() {
    let rows = "0.0 10.0.0.1:4000 10.0.0.53:53 query 1 A host.test
                0.1 10.0.0.54:53 10.0.0.1:4000 answer 1 A host.test 10.9.9.1
                5.0 10.0.0.1:4000 10.0.0.53:53 query 1 A host.test";
    let report = of(rows, true);
    assert_eq!(ids(&report), ["resolver-silent"]);
    assert!(
        report.findings[0]
            .detail
            .contains("came from 10.0.0.54:53 instead"),
        "{:#?}",
        report.findings
    );
    assert_eq!(report.unsolicited_responses, 1);
}

/// The SYNs to a resolver are part of the lookup, not a connection that used it.
#[test]
fn a_lookup_that_hangs_in_tcp_has_an_account() {
    let rows = "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 A host.test
                0.01 10.0.0.53:53 10.0.0.1:4000 answer 1 A host.test truncated
                0.02 10.0.0.1:5000 10.0.0.53:53 syn 7
                1.03 10.0.0.1:5000 10.0.0.53:53 syn 7
                3.04 10.0.0.1:5000 10.0.0.53:53 syn 7";
    let report = of(rows, false);
    assert!(
        first(&report).contains("10.0.0.1's lookup of host.test"),
        "{}",
        first(&report)
    );
}

/// That a client goes on shows that it was answered, and not when.
#[test]
fn a_handshake_without_its_answer_has_no_time() {
    let late = "0.0 10.0.0.1:5000 10.9.9.1:443 syn 7
                9.0 10.0.0.1:5000 10.9.9.1:443 fin 8 91";
    let report = of(late, true);
    assert_eq!(ids(&report), [""; 0]);
    assert!(
        report
            .summary
            .concat()
            .contains("no SYN-ACK between them is in the capture"),
        "{:?}",
        report.summary
    );
}

/// A SYN-ACK acknowledges the data of its SYN, too.
#[test]
fn a_syn_with_data_is_answered() {
    let rows = "0.000 10.0.0.1:5000 10.9.9.1:443 syn 7
                0.010 10.9.9.1:443 10.0.0.1:5000 synack 90 108
                0.030 10.0.0.1:5000 10.9.9.1:443 ack 108 91";
    let said = of(rows, true).summary.concat();
    assert!(
        said.contains("answered the SYN of 10.0.0.1 in 10.0 ms"),
        "{said}"
    );
}

/// What does not exist is a name of the search list; the name itself failed.
#[test]
fn an_error_for_the_name_itself_denies_nothing() {
    let rows = "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 A www.host.test.corp.example
                0.01 10.0.0.53:53 10.0.0.1:4000 answer 1 A www.host.test.corp.example nxdomain
                0.02 10.0.0.1:4001 10.0.0.53:53 query 2 A www.host.test
                3.02 10.0.0.53:53 10.0.0.1:4001 answer 2 A www.host.test servfail";
    let report = of(rows, true);
    assert!(
        report
            .lookups
            .iter()
            .any(|l| l.outcome == Some(LookupOutcome::Failed)),
        "{:#?}",
        report.lookups
    );
    assert!(
        !first(&report).contains("no such name"),
        "{}",
        first(&report)
    );
}

/// Where another address of the host asked, it is named.
#[test]
fn the_address_that_asked_is_named_where_it_is_another() {
    let rows = "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 AAAA host.test
                0.20 10.0.0.53:53 10.0.0.1:4000 answer 1 AAAA host.test 2001:db8::9
                0.21 [2001:db8::1]:5000 [2001:db8::9]:443 syn 7
                0.22 [2001:db8::9]:443 [2001:db8::1]:5000 synack 90 8
                0.23 [2001:db8::1]:5000 [2001:db8::9]:443 ack 8 91";
    let said = of(rows, true).summary.concat();
    assert!(
        !said.contains("its first query") && said.contains("10.0.0.1"),
        "{said}"
    );
}

/// One question to several resolvers at once: nobody is waited for alone.
#[test]
fn a_race_waits_for_its_winner_or_for_all() {
    let lost = "0.0000 10.0.0.1:4000 10.0.0.51:53 query 1 A host.test
                0.0001 10.0.0.1:4000 10.0.0.52:53 query 1 A host.test
                0.0002 10.0.0.1:4000 10.0.0.53:53 query 1 A host.test";
    let again = "2.5000 10.0.0.1:4000 10.0.0.51:53 query 1 A host.test
                 2.5001 10.0.0.1:4000 10.0.0.52:53 query 1 A host.test
                 2.5002 10.0.0.1:4000 10.0.0.53:53 query 1 A host.test
                 2.5200 10.0.0.52:53 10.0.0.1:4000 answer 1 A host.test 10.9.9.1
                 2.5300 10.0.0.53:53 10.0.0.1:4000 answer 1 A host.test 10.9.9.1
                 2.5210 10.0.0.1:5000 10.9.9.1:443 syn 7
                 2.5310 10.9.9.1:443 10.0.0.1:5000 synack 90 8
                 2.5311 10.0.0.1:5000 10.9.9.1:443 ack 8 91";
    let report = of(&format!("{lost}\n{again}"), true);
    let lines: Vec<_> = report.delays[0]
        .entries
        .iter()
        .filter_map(|e| Some((e.party.as_deref()?, (e.seconds? * 1e3).round() / 1e3)))
        .collect();
    assert_eq!(lines, [("10.0.0.51:53", 2.5), ("10.0.0.52:53", 0.02)]);
    let note = report.delays[0].entries[0].note.as_deref();
    assert!(
        note.is_some_and(|n| n.contains("10.0.0.52 and 10.0.0.53")),
        "{note:?}"
    );
    for resolver in ["10.0.0.51", "10.0.0.52", "10.0.0.53"] {
        assert!(first(&report).contains(resolver), "{}", first(&report));
    }
    assert!(
        report.findings.iter().all(|f| f.seconds == Some(2.5)),
        "{:#?}",
        report.findings
    );
}

/// Where packets alone show it, an attempt lasts until its next SYN was due.
#[test]
fn the_next_address_of_a_lookup_waited_for_the_first() {
    let rows = "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 A host.test
                0.01 10.0.0.53:53 10.0.0.1:4000 answer 1 A host.test 10.9.9.1,10.9.9.2";
    let rest = "0.03 10.0.0.1:5000 10.9.9.1:443 syn 7
                1.04 10.0.0.1:5000 10.9.9.1:443 syn 7
                3.05 10.0.0.1:5000 10.9.9.1:443 syn 7
                5.03 10.0.0.1:5001 10.9.9.2:443 syn 8
                5.04 10.9.9.2:443 10.0.0.1:5001 synack 90 9
                5.05 10.0.0.1:5001 10.9.9.2:443 ack 9 91";
    let report = of(&format!("{rows}\n{rest}"), true);
    let fallback = report
        .findings
        .iter()
        .find(|f| f.id == FindingId::AddressFallback);
    let seconds = fallback.and_then(|f| f.seconds);
    assert!(
        seconds.is_some_and(|s| (s - 5.0).abs() < 0.01),
        "{:#?}",
        report.findings
    );
    assert!((longest(&report, "10.9.9.2:443") - 5.03).abs() < 0.01);
    // A minute later the address came from a cache.
    let late = rest.replace("5.0", "65.0");
    let report = of(&format!("{rows}\n{late}"), true);
    assert!(longest(&report, "10.9.9.2:443") < 0.01);
}

#[test]
fn what_nobody_measured_is_not_printed() {
    let once = "0.0 10.0.0.1:5000 10.9.9.1:443 syn 7";
    let report = of(once, true);
    let finding = report
        .findings
        .iter()
        .find(|f| f.id.name() == "syn-unanswered")
        .unwrap();
    assert_eq!(
        (&*finding.title, finding.seconds),
        (
            "10.9.9.1:443 did not answer the SYN, which was sent once",
            None
        )
    );
    let words = format!("{:?}", (&report.summary, &report.findings));
    assert!(
        !words.contains("1.10 s") && !words.contains("gave up"),
        "{words}"
    );
    let thrice = format!(
        "{once}\n1.0 10.0.0.1:5000 10.9.9.1:443 syn 7\n3.0 10.0.0.1:5000 10.9.9.1:443 syn 7"
    );
    assert!(
        first(&of(&thrice, true))
            .contains("Nothing answered 3 SYNs of 10.0.0.1 to 10.9.9.1:443, sent over 3.00 s")
    );
}

#[test]
fn a_handshake_is_slow_beside_others_to_its_network() {
    let connect = |at: f64, port: u16, last: u8, took: f64| {
        let back = at + took;
        format!(
            "{at} 10.0.0.1:{port} 10.9.9.{last}:443 syn 7
             {back} 10.9.9.{last}:443 10.0.0.1:{port} synack 9 8\n"
        )
    };
    let far = format!(
        "{}{}",
        connect(0.0, 5000, 1, 0.28),
        connect(1.0, 5001, 2, 0.3)
    );
    assert!(!ids(&of(&far, true)).contains(&"syn-ack-slow"));
    let slow = format!(
        "{}{}",
        connect(0.0, 5000, 1, 0.02),
        connect(1.0, 5001, 2, 0.3)
    );
    let report = of(&slow, true);
    assert_eq!(ids(&report), ["syn-ack-slow"]);
    assert!(
        report.findings[0]
            .detail
            .contains("fastest handshake to its network took 20.0 ms")
    );
}

#[test]
fn a_server_that_looks_up_its_client_is_reported_as_that() {
    let accepted = "0.00 203.0.113.7:5000 10.0.0.1:22 syn 7
                    0.05 10.0.0.1:22 203.0.113.7:5000 synack 9 8
                    0.06 10.0.0.1:4000 10.0.0.53:53 query 1 PTR 7.113.0.203.in-addr.arpa
                    5.06 10.0.0.1:4000 10.0.0.53:53 query 1 PTR 7.113.0.203.in-addr.arpa\n";
    let report = of(accepted, true);
    assert!(
        ids(&report).contains(&"server-reverse-lookup"),
        "{:?}",
        ids(&report)
    );
    assert!(
        report
            .summary
            .concat()
            .contains("server's reverse lookup of its client")
    );
    let quick = format!(
        "{accepted} 0.07 10.0.0.53:53 10.0.0.1:4000 answer 1 PTR 7.113.0.203.in-addr.arpa nxdomain"
    );
    let quick: Vec<&str> = quick
        .lines()
        .filter(|row| !row.trim().starts_with("5.06"))
        .collect();
    assert!(!ids(&of(&quick.join("\n"), true)).contains(&"server-reverse-lookup"));
    // Another client's name.
    let other = accepted.replace("7.113.0.203.in", "8.113.0.203.in");
    assert!(!ids(&of(&other, true)).contains(&"server-reverse-lookup"));
}

#[test]
fn a_type_that_a_name_lacks_denies_nothing() {
    // A browser asks for A and HTTPS (65) of each name.
    let browser = "0.000 10.0.0.1:4000 10.0.0.53:53 query 1 A fonts.alpha.example
                   0.001 10.0.0.1:4001 10.0.0.53:53 query 2 65 fonts.alpha.example
                   0.010 10.0.0.53:53 10.0.0.1:4000 answer 1 A fonts.alpha.example 10.9.9.1
                   0.011 10.0.0.53:53 10.0.0.1:4001 answer 2 65 fonts.alpha.example nodata
                   0.100 10.0.0.1:4002 10.0.0.53:53 query 3 A fonts.beta.example
                   0.101 10.0.0.1:4003 10.0.0.53:53 query 4 65 fonts.beta.example
                   0.110 10.0.0.53:53 10.0.0.1:4002 answer 3 A fonts.beta.example 10.9.9.2
                   0.111 10.0.0.53:53 10.0.0.1:4003 answer 4 65 fonts.beta.example nodata";
    let report = of(browser, true);
    let names: Vec<_> = report
        .lookups
        .iter()
        .map(|l| l.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["fonts.alpha.example", "fonts.beta.example"]);
    let faults = report
        .findings
        .iter()
        .filter(|f| f.id.name() != "nothing-wrong");
    assert_eq!(faults.count(), 0, "{:?}", ids(&report));
    // Alone, it is no missing name either; an A that is missing is.
    let lone = |kind: &str, name: &str, said: &str| {
        let rows = format!(
            "0.000 10.0.0.1:4000 10.0.0.53:53 query 1 {kind} {name}
             0.010 10.0.0.53:53 10.0.0.1:4000 answer 1 {kind} {name} {said}"
        );
        ids(&of(&rows, true)).contains(&"name-not-found")
    };
    assert!(!lone("AAAA", "a.example", "nodata"));
    assert!(!lone("33", "_http._tcp.a.example", "nxdomain"));
    assert!(lone("A", "a.example", "nodata"));
    assert!(lone("AAAA", "a.example", "nxdomain"));
}

#[test]
fn names_with_one_beginning_are_no_search_list() {
    let two = |second: &str| {
        let rows = format!(
            "0.000 10.0.0.1:4000 10.0.0.53:53 query 1 A www.shop.alpha.example
             0.010 10.0.0.53:53 10.0.0.1:4000 answer 1 A www.shop.alpha.example nxdomain
             0.020 10.0.0.1:4001 10.0.0.53:53 query 2 A {second}
             0.030 10.0.0.53:53 10.0.0.1:4001 answer 2 A {second} 10.9.9.2"
        );
        of(&rows, true).lookups.len()
    };
    assert_eq!(two("www.beta.example"), 2);
    // The parent domain, and the bare name.
    assert_eq!((two("www.alpha.example"), two("www")), (1, 1));
}

#[test]
fn a_referral_denies_nothing() {
    let rows = "0.000 10.0.0.1:4000 10.0.0.53:53 query 1 A www.alpha.example
                0.010 10.0.0.53:53 10.0.0.1:4000 answer 1 A www.alpha.example referral";
    let report = of(rows, true);
    assert_eq!(
        report.lookups[0].outcome.map(LookupOutcome::name),
        Some("referred")
    );
    assert!(!ids(&report).contains(&"name-not-found"));
    // Who asks iteratively goes on with the same name elsewhere.
    let on = format!(
        "{rows}
         0.020 10.0.0.1:4001 10.0.0.54:53 query 2 A www.alpha.example
         0.030 10.0.0.54:53 10.0.0.1:4001 answer 2 A www.alpha.example 10.9.9.2"
    );
    let report = of(&on, true);
    assert_eq!(report.lookups.len(), 1);
    assert_eq!(
        report.lookups[0].outcome.map(LookupOutcome::name),
        Some("answered")
    );
}

#[test]
fn a_syn_that_was_captured_twice_was_sent_once() {
    let hooks = "0.00000 10.0.0.1:5000 10.9.9.1:443 syn 7
                 0.00001 10.0.0.1:5000 10.9.9.1:443 syn 7
                 0.02000 10.9.9.1:443 10.0.0.1:5000 synack 90 8
                 0.02001 10.9.9.1:443 10.0.0.1:5000 synack 90 8";
    let report = of(hooks, true);
    assert_eq!(outcome(&report), "connected");
    let words = format!("{:?}", (&report.summary, &report.findings));
    assert!(!words.contains("retransmission"), "{words}");
    // A stamp of another clock is no time.
    let clock = "0.0 10.0.0.1:5000 10.9.9.1:443 syn 7
                 999999.0 10.9.9.1:443 10.0.0.1:5000 synack 90 8";
    let report = of(clock, true);
    assert_eq!(
        (outcome(&report), report.connections[0].connect_seconds),
        ("connected", None)
    );
    assert!(!format!("{:?}", (&report.summary, &report.findings)).contains("999999"));
}

#[test]
fn another_type_long_after_the_answer_is_another_lookup() {
    let two = |gap: f64| {
        let (asked, back) = (0.01 + gap, 0.02 + gap);
        let rows = format!(
            "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 AAAA a.example
             0.01 10.0.0.53:53 10.0.0.1:4000 answer 1 AAAA a.example nodata
             {asked} 10.0.0.1:4000 10.0.0.53:53 query 2 A a.example
             {back} 10.0.0.53:53 10.0.0.1:4000 answer 2 A a.example 10.9.9.1"
        );
        of(&rows, true).lookups.len()
    };
    assert_eq!((two(0.001), two(3.0)), (1, 2));
}

/// The seconds of one kind in the account of the connection to a place.
fn seconds_of(report: &Report, to: &str, kind: &str) -> f64 {
    let own = report.delays.iter().filter(|d| {
        let connection = report
            .connections
            .iter()
            .find(|c| Some(&c.id) == d.connection.as_ref());
        connection.is_some_and(|c| c.to == to)
    });
    let entries = own
        .flat_map(|d| &d.entries)
        .filter(|e| e.kind.name() == kind);
    entries.filter_map(|e| e.seconds).sum()
}

fn titles(report: &Report, id: FindingId) -> Vec<&str> {
    let found = report.findings.iter().filter(|f| f.id == id);
    found.map(|f| &*f.title).collect()
}

const SYN: &str = "10.0.0.1:5000 10.0.0.77:443 syn 1";
const SYN_ACK: &str = "10.0.0.77:443 10.0.0.1:5000 synack 9 2";

#[test]
fn a_syn_waits_for_its_neighbour() {
    let late = format!(
        "0.0 10.0.0.1 10.0.0.77 who-has 0
         1.0 10.0.0.1 10.0.0.77 who-has 0
         1.5 10.0.0.77 10.0.0.77 is-at 0
         1.5001 {SYN}
         1.51 {SYN_ACK}"
    );
    let report = of(&late, true);
    let waited = seconds_of(&report, "10.0.0.77:443", "address-resolution");
    assert!((1.49..1.51).contains(&waited), "{waited}");
    let said = first(&report);
    assert!(
        said.contains("1.50 s after its first ARP request for 10.0.0.77"),
        "{said}"
    );
    // Found long before, or by somebody else: nothing is known of what was before the SYN.
    let long_before = late.replace("1.5001", "3.5001").replace("1.51", "3.51");
    let another = late
        .replace("0.0 10.0.0.1 ", "0.0 10.0.0.9 ")
        .replace("1.0 10.0.0.1 ", "1.0 10.0.0.9 ");
    for rows in [long_before, another] {
        let report = of(&rows, true);
        assert!(longest(&report, "10.0.0.77:443") == 0.0, "{rows}");
    }
    // The router of the link: the query left as soon as it was found.
    let router = format!(
        "0.0 10.0.0.1 10.0.0.254 who-has 0
         1.0 10.0.0.1 10.0.0.254 who-has 0
         1.5 10.0.0.254 10.0.0.254 is-at 0
         1.5001 {SYN}
         1.51 {SYN_ACK}"
    );
    assert!(
        longest(&of(&router, true), "10.0.0.77:443") == 0.0,
        "a next hop is not known"
    );
}

#[test]
fn a_neighbour_that_does_not_answer_is_named() {
    let arp = "10.0.0.1 10.0.0.77 who-has 0";
    let rows = |then: &str| {
        format!(
            "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
             0.01 10.0.0.53:53 10.0.0.1:4000 answer 1 A a.example 10.0.0.77
             0.02 {arp}
             1.02 {arp}
             2.02 {arp}
             {then}"
        )
    };
    let next =
        "3.03 10.0.0.1:5000 10.0.0.78:443 syn 1\n3.04 10.0.0.78:443 10.0.0.1:5000 synack 9 2";
    let report = of(&rows(next), true);
    let [title] = titles(&report, FindingId::ArpUnanswered)[..] else {
        panic!("{:?}", report.summary);
    };
    assert_eq!(
        title,
        "10.0.0.77 did not answer ARP: 3 requests of 10.0.0.1, for 3.00 s"
    );
    // An answer, or a packet of the client to it, shows that it was found; one request proves nothing.
    for found in ["2.5 10.0.0.77 10.0.0.77 is-at 0", &format!("2.5 {SYN}")] {
        let report = of(&rows(found), true);
        assert!(
            titles(&report, FindingId::ArpUnanswered).is_empty(),
            "{found}"
        );
    }
    let once = rows("")
        .replace(&format!("1.02 {arp}"), "")
        .replace(&format!("2.02 {arp}"), "");
    assert!(titles(&of(&once, true), FindingId::ArpUnanswered).is_empty());
    // A capture at another host has the requests, which go to all, and not the answers.
    let elsewhere = format!(
        "0.02 {arp}\n1.02 {arp}\n2.02 {arp}\n3.0 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example"
    );
    assert!(titles(&of(&elsewhere, true), FindingId::ArpUnanswered).is_empty());
    // The capture ends before the answer was due.
    assert!(titles(&of(&rows(""), false), FindingId::ArpUnanswered).is_empty());
}

#[test]
fn names_asked_for_on_the_link_are_waits() {
    let rows = "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 A fs
                0.01 10.0.0.53:53 10.0.0.1:4000 answer 1 A fs nxdomain
                0.02 10.0.0.1:5005 224.0.0.252:5355 llmnr 1 A FS
                0.43 10.0.0.1:5005 224.0.0.252:5355 llmnr 1 A fs
                0.84 10.0.0.1:137 10.0.0.255:137 netbios 1 A fs
                1.59 10.0.0.1:137 10.0.0.255:137 netbios 1 A fs
                2.34 10.0.0.1:137 10.0.0.255:137 netbios 1 A fs\n";
    let report = of(rows, true);
    let titles_of = |report: &Report| titles(report, FindingId::MulticastLookup).join("\n");
    assert_eq!(
        titles_of(&report),
        "10.0.0.1 asked the hosts of its link for fs by LLMNR and NetBIOS for 3.07 s, and none answered"
    );
    // Somebody answers: the name is found, and the connection that follows has waited for it.
    let found = format!(
        "{rows}
         2.50 10.0.0.77:137 10.0.0.1:137 netbios-answer 1 A fs 10.0.0.77
         2.51 {SYN}
         2.52 {SYN_ACK}"
    );
    let report = of(&found, true);
    assert_eq!(titles_of(&report), "");
    let waited = seconds_of(&report, "10.0.0.77:443", "multicast-name");
    assert!((1.65..1.67).contains(&waited), "{waited}");
    let said = report.summary.concat();
    assert!(
        said.contains("after its first NetBIOS query for fs"),
        "{said}"
    );
    // Announcements and questions for services are nobody's wait.
    let services = rows
        .replace(" A fs", " PTR fs")
        .replace(" A FS", " PTR fs")
        .replace("1 PTR fs nx", "1 A fs nx");
    assert_eq!(titles_of(&of(&services, true)), "");
}

#[test]
fn quic_comes_before_the_syn() {
    let lookup = "0.00 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                  0.01 10.0.0.53:53 10.0.0.1:4000 answer 1 A a.example 10.0.0.77\n";
    let asked = "0.02 10.0.0.1:6000 10.0.0.77:443 quic 0
                 0.32 10.0.0.1:6000 10.0.0.77:443 quic 0
                 0.92 10.0.0.1:6000 10.0.0.77:443 quic 0\n";
    let silent = format!("{lookup}{asked}\n1.52 {SYN}\n1.53 {SYN_ACK}");
    let report = of(&silent, true);
    let waited = seconds_of(&report, "10.0.0.77:443", "quic");
    assert!((1.49..1.51).contains(&waited), "{waited}");
    assert_eq!(titles(&report, FindingId::Quic).len(), 1);
    let answered = format!("{lookup}{asked}\n0.95 10.0.0.77:443 10.0.0.1:6000 quic 0");
    let report = of(&answered, true);
    assert_eq!(
        titles(&report, FindingId::Quic),
        ["10.0.0.1 spoke QUIC with 10.0.0.77:443: such a connection has no SYN"]
    );
    // Raced with TCP: QUIC has cost nothing that was not spent anyway.
    let raced = format!("{lookup}{asked}\n0.0201 {SYN}\n0.03 {SYN_ACK}");
    let report = of(&raced, true);
    assert!(seconds_of(&report, "10.0.0.77:443", "quic") < 0.001);
}

#[test]
fn a_capture_at_the_server_shows_nothing_before_the_syn() {
    let rows = "0.0 10.0.0.1:5000 10.0.0.77:443 syn 1
                1.0 10.0.0.1:5000 10.0.0.77:443 syn 1
                1.00004 10.0.0.77:443 10.0.0.1:5000 synack 9 2\n";
    let near = of(
        &format!("{rows}1.03 10.0.0.1:5000 10.0.0.77:443 late-ack 0"),
        true,
    );
    let said = near.summary.concat();
    assert!(
        said.contains("The capture was taken on the side of the server 10.0.0.77"),
        "{said}"
    );
    let remedy = near.findings[0].remedy.as_deref().unwrap();
    assert!(
        remedy.starts_with("The SYNs arrive at 10.0.0.77"),
        "{remedy}"
    );
    let client = of(rows, true);
    assert!(!client.summary.concat().contains("side of the server"));
    let remedy = client.findings[0].remedy.as_deref().unwrap();
    assert!(remedy.starts_with("Capture on 10.0.0.77"), "{remedy}");
}

#[test]
fn first_data_are_figures_of_a_connection() {
    let rows = "0.00 10.0.0.1:5000 10.0.0.77:443 syn 1
                0.01 10.0.0.77:443 10.0.0.1:5000 synack 9 2
                0.02 10.0.0.1:5000 10.0.0.77:443 client-data 0
                7.02 10.0.0.1:5000 10.0.0.77:443 server-data 0";
    let report = of(rows, true);
    let connection = &report.connections[0];
    assert_eq!(
        (connection.client_data_s, connection.server_data_s),
        (Some(0.01), Some(7.01))
    );
    let none = of(&rows.lines().take(2).collect::<Vec<_>>().join("\n"), true);
    let connection = &none.connections[0];
    assert_eq!(
        (connection.client_data_s, connection.server_data_s),
        (None, None)
    );
}

#[test]
fn a_response_from_another_address_is_said_in_the_answer() {
    let rows = "0.0 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                0.1 10.0.0.54:53 10.0.0.1:4000 answer 1 A a.example 10.9.9.1
                5.0 10.0.0.1:4000 10.0.0.53:53 query 1 A a.example
                5.1 10.0.0.54:53 10.0.0.1:4000 answer 1 A a.example 10.9.9.1
                10.0 10.0.0.1:4001 10.0.0.55:53 query 1 A a.example
                10.1 10.0.0.55:53 10.0.0.1:4001 answer 1 A a.example 10.9.9.1
                10.2 10.0.0.1:5000 10.9.9.1:443 syn 1
                10.3 10.9.9.1:443 10.0.0.1:5000 synack 9 2";
    let report = of(rows, true);
    let said = first(&report);
    assert!(
        said.contains("10.0.0.53, whose responses came from another address (10.0.0.54)"),
        "{said}"
    );
    assert_eq!(
        titles(&report, FindingId::ResolverSilent),
        ["10.0.0.53 answered none of 2 queries; a response came from another address (10.0.0.54)"]
    );
    // Nothing came at all.
    let silent: String = rows
        .lines()
        .filter(|row| !row.contains("10.0.0.54:53"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(first(&of(&silent, true)).contains("10.0.0.53, which never answered"));
}

#[test]
fn what_a_capture_lacks_is_named_for_what_it_is() {
    // An answer, but not its question: there are DNS packets, and no query.
    let rows = "0.0 10.0.0.53:53 10.0.0.1:4000 answer 1 A a.example 10.9.9.1
                0.1 10.0.0.1:5000 10.9.9.1:443 syn 1
                0.11 10.9.9.1:443 10.0.0.1:5000 synack 9 2";
    assert_eq!(
        first(&of(rows, true)),
        "Nothing before the SYN of 10.0.0.1 to 10.9.9.1:443 is known: the capture holds no query of the client to port 53."
    );
    // One direction only.
    let rows = "0.0 10.0.0.53:53 10.0.0.1:4000 answer 1 A a.example 10.9.9.1
                0.2 10.9.9.1:443 10.0.0.1:5000 synack 9 2";
    assert_eq!(
        first(&of(rows, false)),
        "There is no DNS query and no connection attempt in these inputs, but 1 response to queries that they lack and 1 \
         SYN-ACK for SYNs that they lack."
    );
    // The end, before anything can be said about the server.
    let rows = "0.0 10.0.0.1:5000 10.9.9.1:443 syn 1
                0.05 10.9.9.2:443 10.0.0.1:5001 synack 9 2";
    let report = of(rows, false);
    assert_eq!(
        report.summary[1],
        "The capture ends 50.0 ms after the SYN of 10.0.0.1 to 10.9.9.1:443."
    );
}

#[test]
fn a_client_that_had_given_up_did_not_connect() {
    let rows = "0.0 10.0.0.1:5000 10.9.9.1:443 syn 1
                0.9 10.9.9.1:443 10.0.0.1:5000 synack 9 2
                0.9001 10.0.0.1:5000 10.9.9.1:443 rst 2";
    let report = of(rows, true);
    assert_eq!(
        first(&report),
        "10.9.9.1:443 answered the SYN of 10.0.0.1 after 900 ms, when the client had given it up: it reset the connection at \
         once."
    );
    assert_eq!(outcome(&report), "open");
    assert_eq!(ids(&report), [""; 0]);
}

#[test]
fn a_refusal_that_the_client_did_not_take_ends_with_the_last() {
    let rows = "0.0 10.0.0.1:5000 10.9.9.1:443 syn 1
                0.001 10.9.9.1:443 10.0.0.1:5000 rst-ack 0 2
                0.5 10.0.0.1:5000 10.9.9.1:443 syn 1
                0.501 10.9.9.1:443 10.0.0.1:5000 rst-ack 0 2
                1.0 10.0.0.1:5000 10.9.9.1:443 syn 1
                1.001 10.9.9.1:443 10.0.0.1:5000 rst-ack 0 2";
    let report = of(rows, true);
    assert_eq!(
        first(&report),
        "10.9.9.1:443 refused the connection of 10.0.0.1, at last 1.00 s after the first of 3 SYNs."
    );
    assert_eq!(report.findings[0].seconds, Some(1.001));
}

#[test]
fn an_error_costs_no_more_than_the_answers_that_had_it() {
    // Windows: the full name has no AAAA record, the one of the search list is refused, then A is asked for.
    let rows = "0.0 10.0.0.1:4000 10.0.0.53:53 query 1 AAAA a.example
                1.5 10.0.0.53:53 10.0.0.1:4000 answer 1 AAAA a.example nodata
                1.5 10.0.0.1:4001 10.0.0.53:53 query 2 AAAA a.example.corp
                1.6 10.0.0.53:53 10.0.0.1:4001 answer 2 AAAA a.example.corp refused
                1.6 10.0.0.1:4002 10.0.0.53:53 query 3 A a.example
                3.0 10.0.0.53:53 10.0.0.1:4002 answer 3 A a.example 10.9.9.1
                3.0 10.0.0.1:5000 10.9.9.1:443 syn 1
                3.1 10.9.9.1:443 10.0.0.1:5000 synack 9 2";
    let report = of(rows, true);
    let error = report
        .findings
        .iter()
        .find(|f| f.id == FindingId::ResolverError);
    assert_eq!(error.unwrap().seconds, Some(0.1));
}

#[test]
fn a_name_asked_for_at_another_time_is_no_part_of_a_connect() {
    let ptr = "0.0 10.0.0.1:4000 10.0.0.53:53 query 1 PTR 1.9.9.10.in-addr.arpa
               0.1 10.0.0.53:53 10.0.0.1:4000 answer 1 PTR 1.9.9.10.in-addr.arpa nodata
               0.2 10.0.0.1:4001 10.0.0.53:53 query 2 PTR 1.9.9.10.in-addr.arpa
               0.3 10.0.0.53:53 10.0.0.1:4001 answer 2 PTR 1.9.9.10.in-addr.arpa nodata\n";
    let connect = |at: &str, to: &str| {
        of(
            &format!("{ptr}{at} 10.0.0.1:5000 {to} syn 1\n{at}5 {to} 10.0.0.1:5000 synack 9 2"),
            true,
        )
    };
    let said = |report: &Report| titles(report, FindingId::ReverseLookup).len();
    assert_eq!(
        titles(&connect("0.4", "10.9.9.1:443"), FindingId::ReverseLookup),
        ["The client made 2 reverse lookups (PTR) of 10.9.9.1 before it connected to that address"]
    );
    assert_eq!(said(&connect("9.0", "10.9.9.1:443")), 0);
    // nslookup(1) asks for the name of the resolver first, whatever comes then.
    let own = ptr.replace("10.0.0.53:53", "10.9.9.1:53");
    let rows = format!(
        "{own}0.4 10.0.0.1:5000 10.9.9.1:443 syn 1\n0.45 10.9.9.1:443 10.0.0.1:5000 synack 9 2"
    );
    assert_eq!(said(&of(&rows, true)), 0);
}

#[test]
fn a_capture_without_a_word_for_the_report_has_its_date() {
    let facts = |first| CaptureFacts {
        path: "packets.pcap".into(),
        packets: 6,
        first,
        last: first,
        ..CaptureFacts::default()
    };
    let started = |first| {
        let gathered = Gathered {
            captures: vec![facts(first)],
            ..Gathered::default()
        };
        report(gathered, &Settings::default()).started
    };
    assert_eq!(
        started(Some(at("0"))).as_deref(),
        Some("2026-11-18T11:06:40.000000Z")
    );
    // Without one it is not known; it is not 1970.
    assert_eq!(started(None), None);
}
