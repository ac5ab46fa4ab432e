use super::hold::{HELD, Hold};
use super::*;
use crate::event::{Call, FdNote, Outcome, Place as Where, SocketFamily, SocketKind, Task};
use std::sync::Arc;

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint::new([10, 0, 0, last].into(), port)
}

fn syn(src: Endpoint, dst: Endpoint, seq: u32) -> Key {
    let flow = FiveTuple {
        transport: Transport::Tcp,
        src,
        dst,
    };
    Key::Tcp {
        flow,
        syn: true,
        seq,
    }
}

fn query(src: Endpoint, dst: Endpoint, name: u64) -> Key {
    let flow = FiveTuple {
        transport: Transport::Udp,
        src,
        dst,
    };
    Key::Dns {
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
        what: What::Call(Box::new(Call {
            task: Task::default(),
            exited: None,
            outcome: Outcome::Returned(0),
            op,
        })),
    }
}

fn fd(local: Option<Endpoint>, style: SocketStyle) -> Fd {
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
    let fd = fd(local, SocketStyle::Stream);
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

#[test]
fn a_packet_waits_for_its_call() {
    let mut hold = Hold::default();
    let (own, other) = (end(1, 40_000), end(1, 40_001));
    for (n, from) in [(0_u8, other), (1, own), (2, other)] {
        let key = syn(from, end(9, 80), 7 + u32::from(n));
        assert!(!hold.frame(at(n.into()), None, 60, &[n; 4], &[key]));
    }
    let mut got = Vec::new();
    hold.release(at(1_900), &mut |held, bytes| {
        got.push((held.at, bytes.to_vec()));
    });
    assert!(got.is_empty(), "nothing is foreign yet, nothing explained");
    hold.rule().note(&connect(Some(own), end(9, 80), 0));
    hold.release(at(1_950), &mut |held, bytes| {
        got.push((held.at, bytes.to_vec()));
    });
    assert_eq!(got, [(at(1), vec![1; 4])]);
    hold.release(at(2) + HELD, &mut |_, _| {
        panic!("the others are not explained")
    });
    let omitted = hold.omitted();
    assert_eq!(omitted.foreign.0[&Kind::Syn].packets, 2);
    assert_eq!(omitted.foreign.0[&Kind::Syn].last, at(2));
    assert!(omitted.beyond.0.is_empty());
}

#[test]
fn what_explains_stays_too() {
    let mut rule = Retention::default();
    let own = end(1, 40_000);
    rule.note(&connect(Some(own), end(9, 80), 0));
    assert!(rule.explains(&syn(own, end(9, 80), 77), at(0)));
    // The same SYN behind address translation, and what answers it there.
    let outside = end(200, 1_024);
    assert!(rule.explains(&syn(outside, end(9, 80), 77), at(0)));
    assert!(rule.explains(&syn(end(9, 80), outside, 5), at(1)));
    assert!(!rule.explains(&syn(end(201, 1_024), end(9, 80), 78), at(0)));
    // A resolver's own query for a name that was asked for.
    let stub = fd(Some(end(1, 5_000)), SocketStyle::Datagram);
    rule.note(&call(
        Op::Connect {
            fd: stub,
            to: Address::Inet(end(53, 53)),
        },
        10,
    ));
    assert!(rule.explains(&query(end(1, 5_000), end(53, 53), 1), at(11)));
    assert!(rule.explains(&query(end(53, 9_999), end(99, 53), 1), at(12)));
    assert!(!rule.explains(&query(end(53, 9_999), end(99, 53), 2), at(12)));
    assert!(!rule.explains(&query(end(53, 9_999), end(99, 53), 1), at(70_000)));
    let quoted = |from| Key::Error {
        quoted: Some(FiveTuple {
            transport: Transport::Tcp,
            src: from,
            dst: end(9, 80),
        }),
        name: None,
    };
    assert!(rule.explains(&quoted(own), at(20)));
    assert!(!rule.explains(&quoted(end(1, 40_009)), at(20)));
}

#[test]
fn a_call_without_a_known_address_explains_its_destination() {
    let mut rule = Retention::default();
    let foreign = syn(end(1, 5), end(9, 80), 1);
    assert!(!rule.explains(&foreign, at(0)));
    // A connect that blocks: its port is not known before it returns.
    let fd = fd(None, SocketStyle::Stream);
    let to = Address::Inet(end(9, 80));
    rule.note_open(&Op::Connect { fd, to }, at(100));
    assert!(rule.explains(&foreign, at(0)));
    assert!(!rule.explains(&syn(end(1, 5), end(9, 81), 1), at(0)));
    let stay = (0..10_000).filter(|_| rule.explains(&foreign, at(200)));
    assert!(stay.count() < 10_000, "a storm on that place is bounded");
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
                let port = 1_024 + u16::try_from(n % 60_000).unwrap();
                let key = syn(end(1, port), end(9, 7_778), n);
                hold.frame(at(from), None, 60, &[0; 60], &[key]);
            }
        };
        storm(&mut hold, 2);
        hold.release(at(3_000), &mut |_, _| ());
        let key = syn(end(1, 50_505), end(8, 80), 1);
        hold.frame(at(3_001), None, 60, &[0; 60], &[key]);
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
    let mut rule = Retention::new(true);
    let key = syn(end(1, 5), end(9, 80), 1);
    let stay = (0..MAX_OTHERS + 10).filter(|_| rule.settle(&key, at(0)));
    assert_eq!(stay.count() as u64, MAX_OTHERS);
    assert_eq!(rule.omitted().beyond.packets(), 10);
}
