use super::*;
use crate::event::{EventKind, Location, Packet, TcpFlags};
use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::input::drops::DropSpan;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];

fn at(seconds: i64) -> Timestamp {
    Timestamp::default() + Span::seconds(seconds)
}

fn segment(seconds: i64, from: [u8; 4], (syn, ack): (bool, bool), seq: u32) -> Event {
    let end = |ip: [u8; 4]| Endpoint::new(ip.into(), if ip == CLIENT { 4000 } else { 80 });
    let to = if from == CLIENT { SERVER } else { CLIENT };
    let flags = TcpFlags {
        syn,
        ack,
        ..TcpFlags::default()
    };
    Event {
        at: at(seconds),
        place: Location::default(),
        what: EventKind::Packet(Packet::Tcp {
            flow: FiveTuple {
                transport: Transport::Tcp,
                src: end(from),
                dst: end(to),
            },
            flags,
            seq,
            ack: 0,
        }),
    }
}

fn facts() -> CaptureFacts {
    CaptureFacts {
        first: Some(at(0)),
        last: Some(at(100)),
        ..CaptureFacts::default()
    }
}

fn coverage(facts: CaptureFacts, events: &[Event]) -> Coverage {
    Coverage::of(&[facts], &[], events, (false, &[53]))
}

fn answer() -> Wanted {
    Wanted {
        kind: ClaimKind::SynAnswer,
        from: Some(SERVER.into()),
        to: Some(CLIENT.into()),
        netns: None,
    }
}

#[test]
fn silence_counts_where_the_capture_would_have_shown_an_answer() {
    let seen = coverage(facts(), &[segment(1, CLIENT, (true, false), 7)]);
    let absence = seen.would_show(answer(), at(1), at(5));
    assert_eq!(absence.map(|a| a.witness()), Ok(Witness::Capture(0)));
    let query = Wanted {
        kind: ClaimKind::Query,
        ..answer()
    };
    assert_eq!(seen.would_show(query, at(1), at(5)), Err(Blind::NoDns));
    assert_eq!(
        seen.would_show(answer(), at(200), at(205)),
        Err(Blind::OtherTime)
    );
}

#[test]
fn what_is_unattributed_may_be_the_clients() {
    let events = [segment(20, CLIENT, (true, false), 7)];
    let mut times = DropTimes::default();
    times.add(DropSpan {
        packets: 3,
        from: at(30),
        until: at(31),
    });
    let seen = coverage(facts(), &events).unattributed(times);
    let syn = Wanted {
        kind: ClaimKind::Syn,
        from: Some(CLIENT.into()),
        to: None,
        netns: None,
    };
    let story = AccountFacts {
        unexplained: Span::ZERO,
        whole: true,
        goes_on: true,
    };
    for (from, until, hides) in [
        (20, 29, false),
        (20, 30, true),
        (31, 40, true),
        (32, 40, false),
    ] {
        let shown = seen.would_show(syn, at(from), at(until));
        assert_eq!(
            shown == Err(Blind::Unattributed(3)),
            hides,
            "{from} to {until}"
        );
        // An answer is known by its query.
        assert!(seen.would_show(answer(), at(from), at(until)).is_ok());
    }
    // What was asked a minute before may be what the client waited for.
    let all = |from, until| seen.shows_everything(story, at(from), at(until));
    assert_eq!(all(10, 90), Err(Blind::Unattributed(3)));
    assert_eq!(all(91, 95), Err(Blind::Unattributed(3)));
    assert_ne!(all(92, 95), Err(Blind::Unattributed(3)));
    assert_ne!(all(10, 29), Err(Blind::Unattributed(3)));
}

#[test]
fn a_capture_of_one_direction_is_deaf() {
    let events = [
        segment(1, CLIENT, (true, false), 7),
        segment(2, CLIENT, (false, true), 8),
    ];
    let deaf = Err(Blind::OneDirection(CLIENT.into()));
    let seen = coverage(facts(), &events);
    assert_eq!(seen.would_show(answer(), at(1), at(5)), deaf);
    // A SYN-ACK in it: the other direction is there.
    let mut both = events.to_vec();
    both.insert(1, segment(1, SERVER, (true, true), 9));
    let seen = coverage(facts(), &both);
    assert!(seen.would_show(answer(), at(1), at(5)).is_ok());
}

#[test]
fn drops_filters_cuts_and_loopback_are_reasons() {
    let events = [segment(1, CLIENT, (true, false), 7)];
    let ask = |facts: CaptureFacts, wanted: Wanted| {
        let until = if facts.damaged { at(101) } else { at(99) };
        coverage(facts, &events).would_show(wanted, at(1), until)
    };
    let dropped = CaptureFacts {
        dropped: Some(3),
        ..facts()
    };
    assert_eq!(ask(dropped, answer()), Err(Blind::Dropped(3)));
    let filter = CaptureFacts {
        filter: Some("tcp".into()),
        ..facts()
    };
    assert_eq!(ask(filter, answer()), Err(Blind::Filter("tcp".into())));
    let damaged = CaptureFacts {
        damaged: true,
        ..facts()
    };
    assert_eq!(ask(damaged, answer()), Err(Blind::CutOff));
    let local = Wanted {
        from: Some([127, 0, 0, 53].into()),
        ..answer()
    };
    assert_eq!(ask(facts(), local), Err(Blind::Loopback));
}

/// A drop makes absence unknown where the counters grew, and nowhere else; one without a time makes it unknown everywhere.
#[test]
fn packets_dropped_at_a_known_time_prove_nothing_then() {
    let asked = |dropped: u64, own: bool| {
        let mut facts = CaptureFacts {
            dropped: Some(dropped),
            ..facts()
        };
        for (from, until) in [(20, 21), (60, 62)] {
            facts.drop_times.add(DropSpan {
                packets: 3,
                from: at(from),
                until: at(until),
            });
        }
        let events = [segment(1, CLIENT, (true, false), 7)];
        let coverage = Coverage::of(&[facts], &[], &events, (own, &[53]));
        [(2, 19), (19, 20), (21, 30), (22, 59), (10, 90), (63, 90)].map(|(from, until)| {
            match coverage.would_show(answer(), at(from), at(until)) {
                Ok(_) => "absent".to_owned(),
                Err(blind) => blind.to_string(),
            }
        })
    };
    let three = "3 packets were dropped at that time";
    let six = "6 packets were dropped at that time";
    for own in [false, true] {
        assert_eq!(
            asked(6, own),
            ["absent", three, three, "absent", six, "absent"]
        );
        let whole = "2 packets were dropped while capturing";
        assert_eq!(asked(8, own), [whole; 6]);
    }
}

#[test]
fn a_client_that_gave_up_vouches_for_its_wait() {
    let nothing = Coverage::default();
    let patience = |millis, gave_up| WaitEvidence {
        waited: Span::millis(millis),
        gave_up,
    };
    assert!(nothing.waited_in_vain(patience(5000, Some(true))).is_ok());
    let heard = nothing.waited_in_vain(patience(5000, Some(false)));
    assert_eq!(heard, Err(Blind::NoWaits));
    let unknown = nothing.waited_in_vain(patience(5000, None));
    assert_eq!(unknown, Err(Blind::NoWaits));
    let short = nothing.waited_in_vain(patience(10, Some(true)));
    assert_eq!(short, Err(Blind::TooShort));
    let wary = nothing.trusted(Trust::Nothing);
    assert_eq!(
        wary.waited_in_vain(patience(5000, Some(true))),
        Err(Blind::Untrusted)
    );
}

/// What a live run had no room for may be the client's, at the time when it came.
#[test]
fn packets_without_room_prove_nothing_while_they_came() {
    use crate::input::{DroppedKind as Dropped, LeftOutPackets};
    let seen = |omitted: LeftOutPackets| {
        let mut facts = facts();
        facts.omit(&omitted);
        let events = [segment(1, CLIENT, (true, false), 7)];
        let coverage = Coverage::of(&[facts], &[], &events, (true, &[53]));
        [(10, 15), (15, 25), (25, 30), (35, 40)]
            .map(|(from, until)| coverage.would_show(answer(), at(from), at(until)).is_ok())
    };
    let mut omitted = LeftOutPackets::default();
    omitted.foreign.add(Dropped::Syn, at(20));
    omitted.foreign.add(Dropped::Syn, at(30));
    assert_eq!(seen(omitted.clone()), [true; 4], "another process's");
    let mut beyond = omitted.clone();
    beyond.beyond.add(Dropped::Syn, at(20));
    assert_eq!(seen(beyond), [true, false, true, true]);
    omitted.hurried = 1;
    assert_eq!(seen(omitted), [true, false, false, true]);
}

/// What the tracer says of a socket, second by second.
fn look(seconds: i64, pid: u32, state: crate::event::FollowState) -> Event {
    use crate::event::{Fd, FdNote, Lifecycle, LifecycleChange, SocketLook, Task};
    let note = FdNote {
        identity: Some(77),
        ..FdNote::default()
    };
    let fd = Fd {
        number: 3,
        note: Some(note.into()),
    };
    let task = Task {
        pid: Some(pid),
        tid: Some(pid),
        comm: None,
    };
    let change = LifecycleChange::Socket(Box::new(SocketLook { fd, state }));
    Event {
        at: at(seconds),
        place: Location::default(),
        what: EventKind::Life(Box::new(Lifecycle { task, change })),
    }
}

#[test]
fn sends_that_were_not_reported_prove_nothing() {
    use crate::event::FollowState::{Gone, Unfollowed, Vanished};
    let events = [
        look(10, 7, Unfollowed),
        look(20, 7, Gone),
        look(30, 8, Vanished),
    ];
    let seen = |followed_sends_only: bool| {
        let mut trace = crate::case::jsonl::facts("trace.jsonl", 1);
        trace.sees.followed_sends_only = followed_sends_only;
        Coverage::of(&[facts()], &[trace], &events, (true, &[53]))
    };
    let coverage = seen(true);
    let hidden = Err(Blind::UnfollowedSends(1));
    let ask = |pid, from, until| coverage.shows_sends(pid, at(from), at(until));
    assert_eq!(ask(Some(7), 1, 9), Ok(()));
    assert_eq!(ask(Some(7), 1, 11), hidden);
    assert_eq!(ask(Some(7), 15, 16), hidden);
    assert_eq!(ask(Some(7), 21, 25), Ok(()));
    assert_eq!(ask(Some(8), 15, 16), Ok(()), "another process's");
    assert_eq!(ask(None, 15, 16), hidden);
    let story = AccountFacts {
        unexplained: Span::ZERO,
        whole: true,
        goes_on: true,
    };
    let nothing_wrong =
        |c: &Coverage, until| c.shows_everything(story, at(1), at(until)).map(|_| ());
    assert_eq!(nothing_wrong(&coverage, 9), Ok(()));
    assert_eq!(nothing_wrong(&coverage, 12), hidden);
    assert_eq!(coverage.shows_unsent(), hidden);
    // Just before a socket vanished, a query may have been its own.
    let owner = |millis| coverage.shows_owner(at(30) - Span::millis(millis));
    assert_eq!(
        [owner(300), owner(100), owner(-1)],
        [Ok(()), hidden, Ok(())]
    );
    // An older trace has all sends that may be queries.
    let older = seen(false);
    assert_eq!(older.shows_sends(None, at(15), at(16)), Ok(()));
    assert_eq!(older.shows_unsent(), Ok(()));
    assert_eq!(nothing_wrong(&older, 12), Ok(()));
    let everything = coverage.trusted(Trust::Everything);
    assert_eq!(everything.shows_sends(None, at(15), at(16)), Ok(()));
}
