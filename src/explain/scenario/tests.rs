//! What is read out of a case, and what its resolvers then do: by hand from the rows.

use super::choice::{Choice, WhoIsThere};
use super::message;
use super::responder::{Act, Reply, Responder, Unknown};
use super::{Presence, Scenario, ScenarioError, SynEnd, SynReply, is_service_path};
use crate::decode::dns;
use crate::event::dns::{Name, Rcode, RecordType};
use crate::explain::rows::scenario;
use crate::flow::Transport;
use crate::time::Span;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    message::query(0x4242, &Name(name.into()), kind).unwrap()
}

/// What a resolver does, in words: `silent`, `error SECONDS`, or `SECONDS RCODE ADDRESSES`.
fn said(act: &Act) -> String {
    match &act.reply {
        Reply::Nothing => "silent".into(),
        Reply::Error(after) => format!("error {}", after.as_seconds()),
        Reply::Message { after, bytes, lost } => {
            let message = dns::parse(bytes).unwrap();
            assert_eq!((message.id, message.response), (0x4242, true));
            let addresses: Vec<String> =
                message.addresses.iter().map(ToString::to_string).collect();
            let lost = if *lost { " lost" } else { "" };
            let words = format!(
                "{} {} {}{lost}",
                after.as_seconds(),
                message.rcode,
                addresses.join(",")
            );
            words.trim_end().into()
        }
    }
}

/// Two resolvers: the first silent; the second answers, says NXDOMAIN, fails, loses a first copy.
const TWO: &str = "
0 packet 10.0.0.1:4000 10.0.1.93:53 query 1 A a.example
5 packet 10.0.0.1:4001 10.0.1.95:53 query 1 A a.example
5.2 packet 10.0.1.95:53 10.0.0.1:4001 answer 1 A a.example 10.9.9.9
6 packet 10.0.0.1:4002 10.0.1.95:53 query 2 A b.example
6.1 packet 10.0.1.95:53 10.0.0.1:4002 answer 2 A b.example nxdomain
7 packet 10.0.0.1:4003 10.0.1.95:53 query 3 A c.example
12 packet 10.0.0.1:4003 10.0.1.95:53 query 3 A c.example
12.5 packet 10.0.1.95:53 10.0.0.1:4003 answer 3 A c.example 10.9.9.8
13 packet 10.0.0.1:5000 10.9.9.9:80 syn 1
40 packet 10.0.0.1:5001 10.9.9.8:80 syn 2
40.3 packet 10.9.9.8:80 10.0.0.1:5001 rst 2
";

fn two() -> Responder {
    let scenario = Arc::new(scenario(TWO).unwrap());
    Responder::new(scenario, Unknown::AsUsual, BTreeSet::new())
}

#[test]
fn a_resolver_does_what_it_did() {
    let mut responder = two();
    for (server, name, kind, expected) in [
        ("10.0.1.93", "a.example", RecordType::A, "silent"),
        (
            "10.0.1.95",
            "a.example",
            RecordType::A,
            "0.2 NOERROR 10.9.9.9",
        ),
        ("10.0.1.95", "b.example", RecordType::A, "0.1 NXDOMAIN"),
        // The n-th time it does what it did the n-th time, and after that the last.
        ("10.0.1.95", "C.Example", RecordType::A, "silent"),
        (
            "10.0.1.95",
            "c.example",
            RecordType::A,
            "0.5 NOERROR 10.9.9.8",
        ),
        (
            "10.0.1.95",
            "c.example",
            RecordType::A,
            "0.5 NOERROR 10.9.9.8",
        ),
        // It was never asked for this: what it usually does, with what is known.
        ("10.0.1.95", "a.example", RecordType::AAAA, "0.2 NOERROR"),
        ("10.0.1.95", "z.example", RecordType::A, "0.2 NXDOMAIN"),
        ("10.0.1.93", "z.example", RecordType::A, "silent"),
    ] {
        let act = responder.act(ip(server), Transport::Udp, &query(name, kind));
        assert_eq!(said(&act), expected, "{server} {kind} {name}");
    }
    let choices = responder.take_choices();
    assert!(
        choices
            .iter()
            .any(|c| matches!(c, Choice::Question { name, .. } if &**name == "z.example")),
        "{choices:?}"
    );
    assert!(responder.take_choices().is_empty(), "told once");
}

#[test]
fn what_is_no_query_gets_nothing() {
    let mut responder = two();
    for bytes in [&[][..], &[0; 12], &[0xff; 40], b"GET / HTTP/1.1\r\n\r\n"] {
        let act = responder.act(ip("10.0.1.95"), Transport::Udp, bytes);
        assert_eq!(act.reply, Reply::Nothing);
    }
    let mut response = query("a.example", RecordType::A);
    response[2] |= 0x80;
    let act = responder.act(ip("10.0.1.95"), Transport::Udp, &response);
    assert_eq!(act.reply, Reply::Nothing, "a response is no query");
}

#[test]
fn what_the_user_wants_of_unknown_questions() {
    let scenario = Arc::new(scenario(TWO).unwrap());
    for (unknown, expected) in [
        (Unknown::AsUsual, "0.2 NXDOMAIN"),
        (Unknown::NoSuchName, "0 NXDOMAIN"),
        (Unknown::Silent, "silent"),
        (Unknown::Refuse, "error 0"),
    ] {
        let mut responder = Responder::new(Arc::clone(&scenario), unknown, BTreeSet::new());
        let other = query("z.example", RecordType::A);
        let act = responder.act(ip("10.0.1.95"), Transport::Udp, &other);
        assert_eq!(said(&act), expected, "{unknown:?}");
        let known = query("a.example", RecordType::A);
        let act = responder.act(ip("10.0.1.95"), Transport::Udp, &known);
        assert_eq!(said(&act), "0.2 NOERROR 10.9.9.9", "{unknown:?}");
    }
}

#[test]
fn a_mended_resolver_answers_at_once_what_others_did() {
    let scenario = Arc::new(scenario(TWO).unwrap());
    let mended = BTreeSet::from([ip("10.0.1.93")]);
    let mut responder = Responder::new(scenario, Unknown::AsUsual, mended);
    let act = responder.act(
        ip("10.0.1.93"),
        Transport::Udp,
        &query("a.example", RecordType::A),
    );
    assert_eq!(said(&act), "0 NOERROR 10.9.9.9");
}

#[test]
fn servers_get_what_their_attempts_got() {
    let scenario = scenario(TWO).unwrap();
    let reply = |host: &str| scenario.hosts[&ip(host)].ports[&80][0];
    assert_eq!(
        reply("10.9.9.9"),
        SynReply {
            lost: 0,
            end: SynEnd::Silent
        }
    );
    let refused = SynReply {
        lost: 0,
        end: SynEnd::Refused(Span::millis(300)),
    };
    assert_eq!(reply("10.9.9.8"), refused);
    assert_eq!(scenario.client, BTreeSet::from([ip("10.0.0.1")]));
}

#[test]
fn an_attempt_whose_first_syns_were_lost() {
    let scenario = scenario(
        "0 packet 10.0.0.1:5000 10.9.9.9:80 syn 1
1 packet 10.0.0.1:5000 10.9.9.9:80 syn 1
3 packet 10.0.0.1:5000 10.9.9.9:80 syn 1
3.1 packet 10.9.9.9:80 10.0.0.1:5000 synack 1
3.1001 packet 10.0.0.1:5000 10.9.9.9:80 ack 1",
    )
    .unwrap();
    let reply = scenario.hosts[&ip("10.9.9.9")].ports[&80][0];
    let SynEnd::Accepted(after) = reply.end else {
        panic!("{reply:?}");
    };
    assert_eq!((reply.lost, after), (2, Span::millis(100)));
}

#[test]
fn hosts_that_are_not_there() {
    let scenario = scenario(
        "0 call 3 socket udp
0 call 3 connect 10.0.1.93:53 EHOSTUNREACH
0.1 call 4 socket udp
0.1 call 4 connect 10.0.1.95:53 ENETUNREACH
1 call 5 socket tcp
1 call 5 connect 10.9.9.9:80 EHOSTUNREACH 3
4 life 100 exited",
    )
    .unwrap();
    let presence = |host: &str| scenario.hosts[&ip(host)].presence;
    assert_eq!(presence("10.9.9.9"), Presence::Absent);
    assert_eq!(presence("10.0.1.95"), Presence::NoRoute);
}

#[test]
fn cases_that_cannot_be_played() {
    let nothing = scenario("0 call 3 socket tcp\n1 life 100 exited");
    assert_eq!(nothing.err(), Some(ScenarioError::Empty));
    let two = scenario(
        "0 packet 10.0.0.1:4000 10.0.1.93:53 query 1 A a.example
1 packet 10.0.0.2:4000 10.0.1.93:53 query 1 A a.example",
    );
    assert!(
        matches!(two.err(), Some(ScenarioError::SeveralClients(list)) if list == "10.0.0.1, 10.0.0.2")
    );
    // One host that looks up from one address and connects from another.
    let one = scenario(
        "0 packet 10.0.0.1:4000 10.0.1.93:53 query 1 A a.example
1 packet 10.0.0.2:4000 10.9.9.9:80 syn 1",
    );
    assert!(one.is_ok());
}

#[test]
fn only_paths_of_name_services_are_made() {
    for (path, may) in [
        ("/run/nscd/socket", true),
        ("/var/run/nscd/socket", true),
        ("/var/lib/sss/pipes/nss", true),
        ("/run/../etc/passwd", false),
        ("/etc/nscd/socket", false),
        ("/run/a b/nscd/socket", false),
        ("/run/\u{1b}[31m/nscd/socket", false),
        ("run/nscd/socket", false),
    ] {
        assert_eq!(is_service_path(path), may, "{path:?}");
    }
    assert!(!is_service_path(&format!("/run/{}", "a".repeat(200))));
}

#[test]
fn names_as_they_are_sent() {
    let wire = |name: &str| {
        message::query(1, &Name(name.into()), RecordType::A).map(|q| q[12..q.len() - 4].to_vec())
    };
    assert_eq!(wire("a.example").unwrap(), b"\x01a\x07example\0");
    assert_eq!(wire(".").unwrap(), b"\0");
    assert_eq!(wire("a\\.b.c").unwrap(), b"\x03a.b\x01c\0");
    assert_eq!(wire("\\255x").unwrap(), b"\x02\xffx\0");
    for bad in ["", "a..b", "\\25", &"a".repeat(64), &"a.".repeat(200)] {
        assert_eq!(wire(bad), None, "{bad}");
    }
    // What is written is read again.
    let back = dns::parse(&query("a\\.b.c", RecordType::AAAA)).unwrap();
    let question = back.question.unwrap();
    assert_eq!(
        (&*question.name.0, question.kind),
        ("a\\.b.c", Some(RecordType::AAAA))
    );
}

#[test]
fn a_recorded_response_answers_another_query_for_the_same() {
    let recorded = message::response(
        &query("a.example", RecordType::A),
        Rcode::NOERROR,
        false,
        &[ip("10.9.9.9")],
    )
    .unwrap();
    let mut again = message::query(7, &Name("A.eXample".into()), RecordType::A).unwrap();
    let answer = message::readdressed(&again, &recorded).unwrap();
    let read = dns::parse(&answer).unwrap();
    assert_eq!((read.id, read.complete), (7, true));
    assert_eq!(
        &*read.question.unwrap().name.0,
        "A.eXample",
        "spelled as it was asked"
    );
    let last = again.len() - 3;
    again[last] = 28;
    assert_eq!(
        message::readdressed(&again, &recorded),
        None,
        "another type"
    );
    assert_eq!(message::readdressed(&again[..10], &recorded), None);
    assert_eq!(message::readdressed(&again, &recorded[..14]), None);
}

/// A stub on loopback asks its own resolver what it is asked.
#[test]
fn a_stub_asks_its_upstream_again() {
    let scenario: Scenario = scenario(
        "0 packet 127.0.0.1:4000 127.0.0.53:53 query 1 A a.example
0.01 packet 10.0.0.1:4001 10.0.1.93:53 query 9 A a.example
2 packet 10.0.0.1:4001 10.0.1.93:53 query 9 A a.example
5 packet 127.0.0.1:4000 127.0.0.53:53 query 1 A a.example
5.01 packet 10.0.0.1:4002 10.0.1.93:53 query 8 A a.example",
    )
    .unwrap();
    let mut responder = Responder::new(Arc::new(scenario), Unknown::AsUsual, BTreeSet::new());
    let mut legs = || {
        let query = query("a.example", RecordType::A);
        let act = responder.act(ip("127.0.0.53"), Transport::Udp, &query);
        act.legs
            .iter()
            .map(|l| l.after.as_seconds())
            .collect::<Vec<_>>()
    };
    assert_eq!(legs(), [0.01, 2.0]);
    assert_eq!(legs(), [0.01]);
    assert_eq!(legs(), [0.01], "as the last time");
}

#[test]
fn the_client_has_addresses_that_one_host_can_have() {
    for bad in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"] {
        let scenario = scenario(&format!(
            "0 packet {bad}:4000 10.0.1.93:53 query 1 A a.example
0.1 packet 10.0.1.93:53 {bad}:4000 answer 1 A a.example 10.9.9.9"
        ))
        .unwrap();
        let chosen = ip("192.0.2.10");
        assert_eq!(scenario.client, BTreeSet::from([chosen]), "{bad}");
        assert!(
            scenario.choices.contains(&Choice::ClientAddress(chosen)),
            "{bad}"
        );
    }
}

#[test]
fn a_resolver_at_the_clients_own_address_is_its_own_host() {
    let scenario = scenario(
        "0 packet 10.0.0.1:4000 10.0.0.1:53 query 1 A a.example
0.1 packet 10.0.0.1:53 10.0.0.1:4000 answer 1 A a.example 10.9.9.9",
    )
    .unwrap();
    let local: Vec<IpAddr> = scenario.local().map(|(ip, _)| ip).collect();
    assert_eq!(
        (local, scenario.remote().count()),
        (vec![ip("10.0.0.1")], 0)
    );
}

#[test]
fn who_ever_said_something_is_there() {
    let scenario = scenario(
        "0 packet 10.0.0.1:4000 10.0.1.93:53 query 1 A a.example
0.1 packet 10.0.1.93:53 10.0.0.1:4000 answer 1 A a.example 10.9.9.9
1 call 5 socket udp
1 call 5 connect 10.0.1.93:53 ENETUNREACH
2 call 6 socket tcp
2 call 6 connect 10.9.9.8:80 EHOSTUNREACH
4 life 100 exited",
    )
    .unwrap();
    assert_eq!(scenario.hosts[&ip("10.0.1.93")].presence, Presence::OnLink);
    assert!(
        scenario
            .choices
            .contains(&Choice::There(WhoIsThere::ReachedAtTimes(ip("10.0.1.93"))))
    );
    assert_eq!(scenario.hosts[&ip("10.9.9.8")].presence, Presence::Absent);
}

/// What `--fix` names is there, and serves over UDP and TCP.
#[test]
fn a_mended_resolver_is_there() {
    let mut scenario = scenario(
        "0 call 3 socket udp
0 call 3 connect 10.0.1.93:53 EHOSTUNREACH
1 packet 10.0.0.1:5000 10.0.1.93:53 syn 1
4 life 100 exited",
    )
    .unwrap();
    assert_eq!(scenario.hosts[&ip("10.0.1.93")].presence, Presence::Absent);
    scenario.mend(ip("10.0.1.93"));
    let host = &scenario.hosts[&ip("10.0.1.93")];
    assert_eq!((host.presence, host.error), (Presence::OnLink, None));
    assert!(host.resolver_ports.contains(&53) && !host.ports.contains_key(&53));
}

/// As what-if takes it: it answers at once what others did.
#[test]
fn a_resolver_of_a_changed_resolv_conf_answers_at_once() {
    let mut scenario = scenario(TWO).unwrap();
    let (known, unknown, v6) = (ip("10.0.1.93"), ip("10.7.7.7"), ip("2001:db8::53"));
    for resolver in [known, unknown] {
        scenario.play_resolver(resolver, true);
    }
    scenario.play_resolver(v6, false);
    assert!(!scenario.hosts.contains_key(&v6), "the client has no IPv6");
    scenario.play_resolver(v6, true);
    assert!(scenario.client.iter().any(IpAddr::is_ipv6));
    for (resolver, said) in [(known, false), (unknown, true), (v6, true)] {
        let choice = Choice::There(WhoIsThere::UnknownResolver(resolver));
        assert_eq!(scenario.choices.contains(&choice), said, "{resolver}");
    }
    let mut responder = Responder::new(Arc::new(scenario), Unknown::AsUsual, BTreeSet::new());
    for (resolver, expected) in [
        (known, "silent"),
        (unknown, "0 NOERROR 10.9.9.9"),
        (v6, "0 NOERROR 10.9.9.9"),
    ] {
        let act = responder.act(resolver, Transport::Udp, &query("a.example", RecordType::A));
        assert_eq!(said(&act), expected, "{resolver}");
    }
}
