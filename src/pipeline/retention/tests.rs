use super::hold::{HELD, Hold, MOST as MOST_HELD};
use super::*;
use crate::event::{
    Call, CallOutcome, FdNote, Location as Where, OpenSocket, SocketFamily, SocketKind, Task,
    Unattributed,
};
use std::sync::Arc;

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint::new([10, 0, 0, last].into(), port)
}

fn syn(src: Endpoint, dst: Endpoint, seq: u32) -> PacketKey {
    let flow = FiveTuple {
        transport: Transport::Tcp,
        src,
        dst,
    };
    PacketKey::Tcp {
        flow,
        syn: true,
        seq,
    }
}

fn query(src: Endpoint, dst: Endpoint, name: u64) -> PacketKey {
    let flow = FiveTuple {
        transport: Transport::Udp,
        src,
        dst,
    };
    PacketKey::Dns {
        flow,
        response: false,
        name: Some(name),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp(0) + Span::millis(millis)
}

fn call(op: Op, millis: i64) -> Event {
    Event {
        at: at(millis),
        place: Where::default(),
        what: EventKind::Call(Box::new(Call {
            task: Task::default(),
            exited: None,
            outcome: CallOutcome::Returned(0),
            op,
        })),
    }
}

fn fd(local: Option<Endpoint>, style: SocketType) -> Fd {
    let note = FdNote {
        socket: Some(SocketKind {
            family: SocketFamily::Inet,
            style,
        }),
        local,
        ..FdNote::default()
    };
    Fd {
        number: 3,
        note: Some(Arc::new(note)),
    }
}

fn connect(local: Option<Endpoint>, to: Endpoint, millis: i64) -> Event {
    let fd = fd(local, SocketType::Stream);
    call(
        Op::Connect {
            fd,
            to: Address::Inet(to),
        },
        millis,
    )
}

/// What a hold delivers of these frames in the end: their times.
fn kept(hold: &mut Hold) -> Vec<Timestamp> {
    let mut list = Vec::new();
    hold.finish(&mut |held, _| list.push(held.at));
    list
}

fn explains(rule: &mut Retention, key: &PacketKey, millis: i64) -> bool {
    rule.explain(&[*key], at(millis))
}

#[test]
fn a_packet_waits_for_its_call() {
    let mut hold = Hold::default();
    let (own, other) = (end(1, 40_000), end(1, 40_001));
    for (n, from) in [(0_u8, other), (1, own), (2, other), (3, own)] {
        let key = syn(from, end(9, 80), 7 + u32::from(n));
        hold.frame(at(n.into()), None, 60, (&[n; 4], &[key]));
    }
    hold.release(at(1_900), &mut |_, _| panic!("nothing is decided"));
    hold.rule().note(&connect(Some(own), end(9, 80), 0));
    let mut shown = Vec::new();
    hold.look(&mut |held, bytes| shown.push((held.at, bytes.to_vec())));
    assert_eq!(shown, [(at(1), vec![1; 4]), (at(3), vec![3; 4])]);
    let mut got = Vec::new();
    let mut release = |hold: &mut Hold, now| {
        hold.release(now, &mut |held, bytes| {
            got.push((held.at, bytes.to_vec()));
        });
        got.len()
    };
    // The first may yet be explained, and what stays leaves in order.
    assert_eq!(release(&mut hold, at(1_950)), 0);
    assert_eq!(release(&mut hold, at(0) + HELD), 1);
    assert_eq!(release(&mut hold, at(2) + HELD), 2);
    assert_eq!(got, [(at(1), vec![1; 4]), (at(3), vec![3; 4])]);
    let omitted = hold.omitted();
    assert_eq!(omitted.foreign.0[&DroppedKind::Syn].packets, 2);
    assert_eq!(omitted.foreign.0[&DroppedKind::Syn].last, at(2));
    assert!(omitted.shows_own() && hold.is_empty());
}

#[test]
fn a_storm_is_held_for_less_time_and_that_is_counted() {
    let mut hold = Hold::default();
    let key = syn(end(1, 40_001), end(9, 80), 7);
    for _ in 0..MOST_HELD + 10 {
        hold.frame(at(0), None, 60, (&[0; 40], &[key]));
        hold.release(at(1), &mut |_, _| panic!("nothing is explained"));
    }
    let omitted = hold.omitted();
    assert_eq!((omitted.hurried, omitted.foreign.packets()), (10, 10));
    assert!(!omitted.shows_own());
    // Unless the trace has told of all calls since.
    hold.reported_until(at(500));
    hold.frame(at(600), None, 60, (&[0; 40], &[key]));
    hold.release(at(600), &mut |_, _| panic!("nothing is explained"));
    let omitted = hold.omitted();
    assert_eq!((omitted.hurried, omitted.foreign.packets()), (10, 11));
}

#[test]
fn what_too_much_waits_for_is_held_no_longer() {
    let mut hold = Hold::default();
    let own = end(1, 40_000);
    for (n, from) in [(1, end(1, 40_001)), (2, own), (3, own)] {
        let key = syn(from, end(9, 80), 7 + n);
        hold.frame(at(n.into()), None, 60, (&[0; 4], &[key]));
    }
    hold.rule().note(&connect(Some(own), end(9, 80), 0));
    hold.reported_until(at(500));
    assert_eq!(hold.first(), Some(at(1)));
    hold.hurry_until(at(1));
    let mut got = Vec::new();
    hold.release(at(4), &mut |held, _| got.push(held.at));
    assert_eq!(got, [at(2), at(3)]);
    let omitted = hold.omitted();
    assert_eq!((omitted.hurried, omitted.foreign.packets()), (0, 1));
}

#[test]
fn a_frame_stays_for_any_of_its_messages() {
    let mut hold = Hold::default();
    let from = end(1, 5_000);
    let sent = query(from, end(53, 53), 1);
    hold.rule().named(1, at(0));
    let keys = [query(end(53, 9_999), end(99, 53), 2), sent];
    hold.frame(at(1), None, 60, (&[1], &keys));
    hold.frame(at(2), None, 60, (&[1], &keys[..1]));
    assert_eq!(kept(&mut hold), [at(1)]);
}

#[test]
fn what_explains_stays_too() {
    let mut rule = Retention::default();
    let own = end(1, 40_000);
    rule.note(&connect(Some(own), end(9, 80), 0));
    // Its SYN behind address translation, and what answers it there.
    assert!(explains(&mut rule, &syn(own, end(7, 80), 77), 0));
    let outside = end(200, 1_024);
    assert!(explains(&mut rule, &syn(outside, end(9, 80), 77), 0));
    assert!(explains(&mut rule, &syn(end(9, 80), outside, 5), 1));
    assert!(!explains(
        &mut rule,
        &syn(end(201, 1_024), end(9, 80), 78),
        0
    ));
    // The same where the destination is translated behind the first of several interfaces.
    assert!(explains(&mut rule, &syn(own, end(9, 80), 79), 2));
    assert!(explains(&mut rule, &syn(own, end(6, 8_080), 79), 2));
    assert!(explains(&mut rule, &syn(end(6, 8_080), own, 5), 3));
    assert!(!explains(&mut rule, &syn(end(5, 8_080), own, 6), 3));
    // A resolver's own query for a name that was asked for.
    let stub = fd(Some(end(1, 5_000)), SocketType::Datagram);
    rule.note(&call(
        Op::Connect {
            fd: stub,
            to: Address::Inet(end(53, 53)),
        },
        10,
    ));
    assert!(explains(
        &mut rule,
        &query(end(1, 5_000), end(53, 53), 1),
        11
    ));
    let upstream = |name| query(end(53, 9_999), end(99, 53), name);
    assert!(explains(&mut rule, &upstream(1), 12));
    assert!(!explains(&mut rule, &upstream(2), 12));
    assert!(!explains(&mut rule, &upstream(1), 70_000));
    let quoted = |from| PacketKey::Error {
        quoted: Some(FiveTuple {
            transport: Transport::Tcp,
            src: from,
            dst: end(9, 80),
        }),
        name: None,
    };
    assert!(explains(&mut rule, &quoted(own), 20));
    assert!(!explains(&mut rule, &quoted(end(1, 40_009)), 20));
}

/// The port of a socket that a connect called into being was another's before.
#[test]
fn a_connect_explains_nothing_before_it() {
    let (own, to) = (end(1, 40_000), end(9, 80));
    let mut event = connect(Some(own), to, 500);
    if let EventKind::Call(call) = &mut event.what {
        call.exited = Some(at(700));
    }
    for bound in [false, true] {
        let mut rule = Retention::default();
        if bound {
            let (local, fd) = (Address::Inet(own), fd(None, SocketType::Stream));
            rule.note(&call(Op::Bind { fd, local }, 300));
        }
        rule.note(&event);
        assert_eq!(explains(&mut rule, &syn(own, to, 1), 400), bound);
        assert!(explains(&mut rule, &syn(own, to, 1), 500));
    }
}

/// Another process may connect from the same port to another server, at the same time even.
#[test]
fn both_ends_tell_where_no_translation_stands_between() {
    let mut rule = Retention::default();
    let own = end(1, 40_000);
    rule.note(&connect(Some(own), end(9, 80), 0));
    let foreign = syn(own, end(8, 80), 3);
    assert!(explains(&mut rule, &foreign, 0), "it may be translated");
    assert!(explains(&mut rule, &syn(own, end(9, 80), 4), 1));
    // Not its sequence number either, which would make it a copy.
    assert!(!explains(&mut rule, &syn(own, end(8, 80), 5), 2));
    assert!(!explains(&mut rule, &syn(end(8, 80), own, 6), 2));
    rule.note(&connect(Some(own), end(8, 80), 3));
    assert!(explains(&mut rule, &foreign, 3));
    assert!(explains(&mut rule, &syn(own, end(9, 80), 4), 4), "still");
}

#[test]
fn a_call_without_a_known_address_explains_its_destination() {
    let mut rule = Retention::default();
    let foreign = syn(end(1, 5), end(9, 80), 1);
    assert!(!explains(&mut rule, &foreign, 0));
    // A connect that blocks: its port is not known before it returns.
    let fd = fd(None, SocketType::Stream);
    let to = Address::Inet(end(9, 80));
    rule.note_open(&Op::Connect { fd, to }, at(0), at(100));
    assert!(explains(&mut rule, &foreign, 0));
    assert!(!explains(&mut rule, &syn(end(1, 5), end(9, 81), 1), 0));
    let stay = (0..10_000).filter(|_| rule.keeps(&[foreign], at(200)));
    assert!(stay.count() < 10_000, "a storm on that place is bounded");
    // Its own SYN may be among the rest.
    assert!(rule.omitted().foreign.0.is_empty());
    assert!(rule.omitted().beyond.packets() > 5_000);
}

#[test]
fn what_strangers_send_too_is_bounded() {
    let asked = query(end(4, 5), end(53, 53), 1);
    let neighbour = PacketKey::Neighbour(end(4, 0).ip);
    let storms: [(&str, &dyn Fn(u32) -> PacketKey); 3] = [
        ("a name that was asked for", &|_| asked),
        ("any query while a name service is waited for", &|n| {
            query(end(4, 5), end(53, 53), 9 + u64::from(n))
        }),
        ("one neighbour", &|_| neighbour),
    ];
    for (what, key) in storms {
        let mut rule = Retention::default();
        rule.named(1, at(0));
        rule.service_until = Some(at(0) + SERVICE_WAIT);
        let stay = (0..200_000).filter(|n| rule.keeps(&[key(*n)], at(1)));
        let stay = stay.count();
        assert!((1..60_000).contains(&stay), "{what}: {stay}");
        let omitted = rule.omitted();
        assert_eq!(omitted.beyond.packets() + stay as u64, 200_000, "{what}");
    }
}

/// Every lookup of the C library tries nscd first, which is hardly anywhere.
#[test]
fn a_name_service_that_is_not_there_asks_nobody() {
    for (outcome, asks) in [
        (CallOutcome::Failed("ENOENT".into()), false),
        (CallOutcome::Returned(0), true),
    ] {
        let mut event = call(
            Op::Connect {
                fd: Fd::bare(3),
                to: Address::Unix("/var/run/nscd/socket".into()),
            },
            1,
        );
        if let EventKind::Call(call) = &mut event.what {
            call.outcome = outcome;
        }
        let mut rule = Retention::default();
        rule.note(&event);
        let upstream = query(end(4, 5), end(53, 53), 1);
        assert_eq!(explains(&mut rule, &upstream, 10), asks);
    }
}

/// A command that connects without end from port to port.
#[test]
fn the_tables_are_bounded_and_say_when_they_are_full() {
    let mut rule = Retention::default();
    let most = u32::try_from(MAX_KNOWN).unwrap();
    for n in 0..most + 10 {
        let own = Endpoint::new(
            std::net::Ipv4Addr::from(n >> 8 | 10 << 24).into(),
            1_024 + (n & 255) as u16,
        );
        rule.note(&connect(Some(own), end(9, 80), 0));
    }
    assert!(rule.sockets.len() <= MAX_KNOWN && rule.connected.len() <= MAX_KNOWN);
    assert!(!rule.keeps(&[syn(end(77, 5), end(9, 80), 1)], at(0)));
    assert_eq!(rule.omitted().beyond.packets(), 1, "it may be own");
    // What is old makes room.
    rule.note(&connect(Some(end(77, 5)), end(9, 80), 100_000));
    assert!(rule.keeps(&[syn(end(77, 5), end(9, 80), 1)], at(100_001)));
}

#[test]
fn calls_are_missing_for_several_reasons() {
    let outside = |outcome| {
        let mut event = call(
            Op::Other {
                name: "clone".into(),
            },
            1,
        );
        if let EventKind::Call(call) = &mut event.what {
            call.outcome = outcome;
        }
        event
    };
    let mut rule = Retention::default();
    rule.note(&outside(CallOutcome::Failed("EPERM".into())));
    assert!(!rule.calls_missing);
    rule.note(&outside(CallOutcome::Returned(7)));
    assert!(rule.calls_missing);
    let mut rule = Retention::default();
    rule.note(&call(Op::IoUring, 1));
    assert!(rule.calls_missing);
    // A query from an address that nothing was seen of, its answer, and an error about it; nothing else of a stranger.
    let (asked, at) = (query(end(3, 5), end(53, 53), 1), at(9));
    assert!(rule.keeps(&[asked], at));
    let PacketKey::Dns { flow, .. } = asked else {
        panic!("a query");
    };
    let answer = PacketKey::Dns {
        flow: flow.reversed(),
        response: true,
        name: Some(1),
    };
    let about = |quoted| PacketKey::Error { quoted, name: None };
    assert!(rule.keeps(&[answer], at) && rule.keeps(&[about(Some(flow))], at));
    let stray = FiveTuple {
        src: end(3, 6),
        ..flow
    };
    assert!(!rule.keeps(&[about(Some(stray))], at) && !rule.keeps(&[PacketKey::Other], at));
}

#[test]
fn a_storm_does_not_hide_an_io_uring_connect() {
    for io_uring in [false, true] {
        let mut hold = Hold::default();
        hold.rule()
            .note(&connect(Some(end(1, 40_000)), end(53, 53), 0));
        if io_uring {
            hold.rule().note(&call(Op::IoUring, 1));
        }
        let storm = |hold: &mut Hold, from: i64| {
            for n in 0..100_000_u32 {
                let port = 1_024 + u16::try_from(n % 30_000).unwrap();
                let key = syn(end(1, port), end(9, 7_778), n);
                hold.frame(at(from), None, 60, (&[0; 60], &[key]));
            }
        };
        storm(&mut hold, 2);
        hold.release(at(3_000), &mut |_, _| ());
        // From another address than that of the traced lookup.
        let key = syn(end(2, 50_505), end(8, 80), 1);
        hold.frame(at(3_001), None, 60, (&[0; 60], &[key]));
        storm(&mut hold, 3_002);
        let of_it = kept(&mut hold).iter().filter(|t| **t == at(3_001)).count();
        assert_eq!(of_it, usize::from(io_uring));
        let omitted = hold.omitted();
        let (foreign, beyond) = (omitted.foreign.packets(), omitted.beyond.packets());
        assert_eq!(foreign == 0, io_uring, "{omitted:?}");
        assert!(foreign + beyond > 190_000, "{omitted:?}");
    }
}

#[test]
fn everything_has_a_bound_too() {
    let mut hold = Hold::new(Retention::new(true));
    let key = syn(end(1, 5), end(9, 80), 1);
    let mut stay = 0;
    for _ in 0..MAX_OTHERS + 10 {
        hold.frame(at(0), None, 60, (&[], &[key]));
        hold.release(at(0), &mut |_, _| stay += 1);
    }
    assert_eq!(stay, MAX_OTHERS, "at once");
    hold.release(at(0) + HELD, &mut |_, _| panic!("no more"));
    assert_eq!(hold.omitted().beyond.packets(), 10);
}

/// What is kept of a frame does not depend on others: a copy, a part of a datagram and a part of a stream have a key.
#[test]
fn frames_are_classified_one_by_one() {
    let mut classifier = classify::Classifier::new(&[]);
    let ip = |protocol: u8, fragment: [u8; 2], payload: &[u8]| {
        let length = u8::try_from(20 + payload.len()).unwrap();
        let mut packet = vec![0x45, 0, 0, length, 0, 1];
        packet.extend(fragment);
        packet.extend([64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 9]);
        packet.extend(payload);
        packet
    };
    let mut keys = |data: &[u8]| {
        let frame = crate::decode::packet::RawFrame {
            at: at(0),
            link: 101,
            interface: None,
            data,
            original_length: u32::try_from(data.len()).unwrap(),
        };
        classifier.keys(frame).to_vec()
    };
    let flow = |transport, port| FiveTuple {
        transport,
        src: end(1, 0x1234),
        dst: end(9, port),
    };
    let mut segment = vec![0x12, 0x34, 0, 80, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 2];
    segment.extend([0; 6]);
    let first = keys(&ip(6, [0, 0], &segment));
    assert_eq!(first, [syn(end(1, 0x1234), end(9, 80), 7)]);
    assert_eq!(keys(&ip(6, [0, 0], &segment)), first, "a copy");
    // The middle of DNS over TCP.
    (segment[3], segment[13]) = (53, 0x10);
    segment.extend([1, 0, 3]);
    let part = PacketKey::Part(flow(Transport::Tcp, 53));
    assert_eq!(keys(&ip(6, [0, 0], &segment)), [part]);
    let (from, to) = (end(1, 0).ip, end(9, 0).ip);
    let fragment = PacketKey::Fragment(from, to);
    assert_eq!(
        keys(&ip(17, [0x20, 0], &[0x12, 0x34, 0, 53, 0, 9, 0, 0])),
        [fragment]
    );
    assert_eq!(keys(&ip(17, [0, 9], &[1, 2, 3])), [fragment]);
    assert_eq!(keys(&ip(50, [0, 0], &[1, 2, 3])), [PacketKey::Other]);
    assert_eq!(keys(&[]), [PacketKey::Other]);
}

#[test]
fn packets_of_a_socket_stay_that_a_look_found_to_be_watched() {
    let (client, resolver) = (end(1, 4_000), end(53, 53));
    let flow = FiveTuple {
        transport: Transport::Udp,
        src: client,
        dst: resolver,
    };
    let found = Whose::Watched(OpenSocket {
        task: Task::default(),
        fd: 3,
        cookie: 1,
        peer: None,
        wait: None,
    });
    for (whose, stays) in [
        (found, true),
        (Whose::Unattributed(Unattributed::Gone), true),
        (Whose::Others, false),
    ] {
        let mut rule = Retention::new(false);
        let owner = Owner {
            flow,
            whose,
            netns: None,
        };
        rule.note(&Event {
            at: at(1_000),
            place: Where::default(),
            what: EventKind::Owner(Box::new(owner)),
        });
        let keys = [query(client, resolver, 7)];
        assert_eq!(rule.keeps(&keys, at(1_000)), stays);
        let answer = PacketKey::Dns {
            flow: flow.reversed(),
            response: true,
            name: Some(7),
        };
        assert_eq!(rule.keeps(&[answer], at(1_020)), stays);
        // What its stub asks for the same name explains it; another port does not.
        let upstream = query(end(1, 5_000), end(54, 53), 7);
        assert_eq!(rule.keeps(&[upstream], at(1_010)), stays);
        let stranger = query(end(1, 5_001), end(55, 53), 8);
        assert!(!rule.keeps(&[stranger], at(1_010)));
    }
}

fn look(local: Option<Endpoint>, state: FollowState, millis: i64) -> Event {
    let look = crate::event::SocketLook {
        fd: fd(local, SocketType::Datagram),
        state,
    };
    Event {
        at: at(millis),
        place: Where::default(),
        what: EventKind::Life(Box::new(crate::event::Lifecycle {
            task: Task::default(),
            change: LifecycleChange::Socket(Box::new(look)),
        })),
    }
}

/// A socket whose sends no call shows is known by its port, once presyn has looked.
#[test]
fn a_socket_that_was_looked_at_is_the_commands() {
    let mut rule = Retention::new(false);
    let own = query(end(1, 40_000), end(9, 53), 1);
    assert!(!explains(&mut rule, &own, 50));
    let any = Endpoint::new([0, 0, 0, 0].into(), 40_000);
    rule.note(&look(Some(any), FollowState::Bound, 100));
    assert!(explains(&mut rule, &own, 50));
    assert!(!explains(
        &mut rule,
        &query(end(1, 40_001), end(9, 53), 2),
        50
    ));
}

/// One that vanished without a port may have sent what nobody explains, shortly before; SYNs it sends none.
#[test]
fn what_a_vanished_socket_may_have_sent_stays() {
    let mut rule = Retention::new(false);
    rule.note(&look(None, FollowState::Gone, 500));
    let stray = |port| query(end(1, port), end(9, 53), port.into());
    assert!(!rule.keeps(&[stray(1)], at(450)));
    rule.note(&look(None, FollowState::Vanished, 1_000));
    assert!(rule.keeps(&[stray(2)], at(900)));
    assert!(!rule.keeps(&[stray(3)], at(700)));
    assert!(!rule.keeps(&[stray(4)], at(1_100)));
    assert!(!rule.keeps(&[syn(end(1, 5), end(9, 80), 5)], at(900)));
    assert_eq!(rule.omitted().foreign.packets(), 4);
}
