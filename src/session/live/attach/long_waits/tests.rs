//! A client of two silent resolvers, and what looks like it and is not.

use super::*;
use crate::event::dns;
use crate::event::{Location, Owner, ThreadWait, Unattributed};
use std::net::SocketAddr;

fn at(millis: i64) -> Timestamp {
    Timestamp(Span::seconds(1_000_000).0 + Span::millis(millis).0)
}

fn end(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().unwrap().into()
}

fn flow(port: u16, resolver: &str) -> FiveTuple {
    FiveTuple {
        transport: Transport::Udp,
        src: Endpoint::new([10, 0, 0, 1].into(), port),
        dst: end(resolver),
    }
}

fn event(millis: i64, what: EventKind) -> Event {
    Event {
        at: at(millis),
        place: Location::default(),
        what,
    }
}

fn owner(cookie: u64, flow: FiveTuple, wait: Option<u32>) -> EventKind {
    let whose = Whose::Watched(OpenSocket {
        task: Task {
            pid: Some(40),
            tid: wait.map(|_| 41),
            comm: Some("api-server".into()),
        },
        fd: 5,
        cookie,
        peer: Some(flow.dst),
        wait: wait.map(|among| ThreadWait {
            call: "poll".into(),
            among,
        }),
    });
    let netns = None;
    EventKind::Owner(Box::new(Owner { flow, whose, netns }))
}

fn message(flow: FiveTuple, response: bool) -> EventKind {
    let flags = if response { 0x81 } else { 0x01 };
    let query = [
        b"\0\x05",
        &[flags, 0][..],
        b"\0\x01\0\0\0\0\0\0\x02db\x07example\0\0\x01\0\x01",
    ];
    let message = crate::decode::dns::glimpse(&query.concat(), false).unwrap();
    EventKind::Packet(Packet::Dns {
        flow: if response { flow.reversed() } else { flow },
        service: Service::Unicast,
        message: Box::<dns::Message>::new(message),
    })
}

/// Waits, and who is asked about which socket.
#[derive(Default)]
struct Run {
    waits: LongWaits,
    said: Vec<String>,
    asked: Vec<u64>,
}

impl Run {
    fn query(&mut self, millis: i64, cookie: u64, flow: FiveTuple) {
        self.waits.event(&event(millis, owner(cookie, flow, None)));
        self.waits.event(&event(millis, message(flow, false)));
    }

    fn waits(&mut self, millis: i64, cookie: u64, flow: FiveTuple, among: u32) {
        let seen = event(millis, owner(cookie, flow, Some(among)));
        self.waits.event(&seen);
        self.still(millis, cookie, true, Some(true));
    }

    fn still(&mut self, millis: i64, cookie: u64, open: bool, waited_for: Option<bool>) {
        self.waits.seen(&StillOpen {
            cookie,
            open,
            waited_for,
            at: at(millis),
        });
    }

    fn tick(&mut self, millis: i64) {
        let asked = &mut self.asked;
        let lines = self.waits.tick(at(millis), &mut |ask| {
            if let Ask::Waits { cookie, .. } = ask {
                asked.push(cookie);
            }
        });
        self.said.extend(lines);
    }
}

#[test]
fn one_wait_goes_on_over_two_resolvers_and_ends_with_the_socket() {
    let (first, second) = (flow(1000, "10.0.1.93:53"), flow(1001, "10.0.1.95:53"));
    let mut run = Run::default();
    run.query(0, 7, first);
    run.tick(10);
    assert_eq!(run.asked, [0; 0], "an answer may come soon");
    run.tick(20);
    assert_eq!(run.asked, [7]);
    run.waits(25, 7, first, 1);
    run.tick(1_000);
    assert_eq!(run.said, [""; 0], "seen too long ago");
    run.still(1_010, 7, true, Some(true));
    run.tick(1_050);
    run.still(4_900, 7, true, Some(true));
    // glibc retains the first socket, and polls the second.
    run.query(5_000, 8, second);
    run.still(5_030, 7, true, Some(false));
    run.waits(5_030, 8, second, 1);
    run.tick(5_040);
    run.still(5_090, 7, true, Some(false));
    run.still(5_100, 8, true, Some(true));
    run.tick(5_150);
    run.still(9_900, 8, true, Some(true));
    run.tick(10_040);
    run.still(10_050, 8, false, Some(false));
    run.tick(20_000);
    assert_eq!(
        run.said,
        [
            "api-server tid 41 has waited 1.1 s for resolver 10.0.1.93, A db.example",
            "api-server tid 41 has waited 5.0 s for resolver 10.0.1.93, A db.example",
            "api-server tid 41 has waited 10.0 s for resolvers 10.0.1.93, 10.0.1.95, A db.example",
        ]
    );
    assert!(run.waits.has_seen(Span::millis(10_050), at(20_000)));
    assert!(!run.waits.has_seen(Span::millis(10_051), at(20_000)));
}

/// The next query is seen later than the end of the one before: sockets are looked at now, packets come in order.
#[test]
fn a_wait_goes_on_with_a_query_that_is_seen_later() {
    let (first, second) = (flow(1000, "10.0.1.93:53"), flow(1001, "10.0.1.95:53"));
    let mut run = Run::default();
    run.query(0, 7, first);
    run.waits(4_900, 7, first, 1);
    run.still(5_010, 7, false, Some(false));
    assert!(
        !run.waits.has_seen(Span::seconds(4), at(5_020)),
        "it may go on"
    );
    run.query(5_000, 8, second);
    run.waits(10_000, 8, second, 1);
    run.tick(10_010);
    let line =
        "api-server tid 41 has waited 10.0 s for resolvers 10.0.1.93, 10.0.1.95, A db.example";
    assert_eq!(run.said, [line]);
    run.still(10_200, 8, false, Some(false));
    assert!(!run.waits.has_seen(Span::seconds(4), at(10_300)));
    run.tick(12_000);
    assert!(run.waits.has_seen(Span::seconds(4), at(12_000)));
}

#[test]
fn a_lookup_that_was_answered_in_between_begins_a_new_wait() {
    let (first, second) = (flow(1000, "10.0.1.93:53"), flow(1001, "10.0.1.93:53"));
    for how in ["by an unattributed query", "and connected", "not at all"] {
        let mut run = Run::default();
        run.query(0, 7, first);
        run.waits(25, 7, first, 1);
        run.still(2_000, 7, true, Some(true));
        let other = flow(1002, "10.0.1.95:53");
        match how {
            "by an unattributed query" => run.waits.event(&event(2_010, message(other, true))),
            "and connected" => {
                let tcp = FiveTuple {
                    transport: Transport::Tcp,
                    ..other
                };
                let whose = Whose::Unattributed(Unattributed::Gone);
                let (flow, netns) = (tcp, None);
                let what = EventKind::Owner(Box::new(Owner { flow, whose, netns }));
                run.waits.event(&event(2_010, what));
            }
            _ => {}
        }
        run.query(2_300, 8, second);
        run.still(2_400, 7, false, Some(false));
        run.waits(5_200, 8, second, 1);
        run.tick(5_250);
        let waited = if how == "not at all" { "5.2" } else { "3.0" };
        let line =
            format!("api-server tid 41 has waited {waited} s for resolver 10.0.1.93, A db.example");
        assert_eq!(run.said, [line], "{how}");
    }
}

#[test]
fn a_loop_watches_and_an_answer_ends_the_wait() {
    let first = flow(1000, "10.0.1.93:53");
    let mut run = Run::default();
    run.query(0, 7, first);
    run.waits(1_000, 7, first, 12);
    run.tick(1_000);
    // At work between two calls.
    run.still(1_500, 7, true, Some(false));
    run.still(1_900, 7, true, Some(false));
    run.waits.event(&event(2_000, message(first, true)));
    run.tick(5_100);
    assert_eq!(
        run.said,
        [
            "1.0 s: resolver 10.0.1.93 has not answered A db.example (api-server (pid 40); its thread 41 watches the socket \
             among 12)"
        ]
    );
    assert!(run.waits.has_seen(Span::seconds(2), at(5_100)));
    assert!(!run.waits.has_seen(Span::millis(2_001), at(5_100)));
}
