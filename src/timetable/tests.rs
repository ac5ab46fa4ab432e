//! Each model against what was measured of the real stub resolver.

use super::*;
use crate::time::SECOND;

fn options(servers: usize) -> ResolverOptions {
    ResolverOptions {
        servers,
        ..ResolverOptions::default()
    }
}

/// A course where each server always does the same with every question.
fn run(
    stub: Stub,
    options: &ResolverOptions,
    questions: usize,
    replies: &[ServerReply],
) -> SimulatedLookup {
    let reply = |asked: ServedQuery| replies.get(asked.server).copied();
    let ask = Ask {
        questions,
        reply: &reply,
    };
    stub.simulate(options, &ask, Edge::Least, 0)
}

fn waits(simulate: &SimulatedLookup) -> Vec<f64> {
    let list = simulate.sent.iter().filter(|s| s.question == 0);
    list.map(|s| (s.until - s.at).as_seconds()).collect()
}

const GOOD: ServerReply = ServerReply::Answer(Span::millis(1));
const SILENT: ServerReply = ServerReply::Silent;

#[test]
fn glibc_with_one_two_and_three_servers() {
    let waits = |n| waits(&run(Stub::Glibc, &options(n), 2, &[SILENT; 3]));
    assert_eq!(waits(1), [5.0, 5.0]);
    assert_eq!(waits(2), [5.0, 5.0, 5.0, 5.0]);
    assert_eq!(waits(3), [5.0, 3.0, 6.0, 5.0, 3.0, 6.0]);
    let three = run(Stub::Glibc, &options(3), 2, &[SILENT; 3]);
    assert_eq!((three.took, three.sent.len()), (Span::seconds(28), 12));
    assert_eq!(three.ending, LookupResult::Failed);
}

#[test]
fn glibc_caps_and_floors() {
    let wait = |timeout, server| {
        let options = ResolverOptions {
            timeout: Some(timeout),
            attempts: Some(99),
            ..options(3)
        };
        let patience = glibc::patience(&options);
        assert_eq!(patience.attempts, 5);
        glibc::wait(patience, server, 3).0 / SECOND
    };
    assert_eq!([wait(1, 0), wait(1, 1), wait(1, 2)], [1, 1, 1]);
    assert_eq!([wait(99, 0), wait(99, 1), wait(99, 2)], [30, 20, 40]);
    assert_eq!(wait(0, 0), 1);
}

#[test]
fn two_silent_then_good() {
    let replies = [SILENT, SILENT, GOOD];
    let took = |stub| run(stub, &options(3), 2, &replies).took.as_seconds();
    assert!((took(Stub::Glibc) - 8.001).abs() < 1e-9);
    assert!((took(Stub::Go) - 10.001).abs() < 1e-9);
    assert!((took(Stub::Musl) - 0.001).abs() < 1e-9);
    assert!((took(Stub::CAres) - 4.001).abs() < 1e-9);
}

#[test]
fn all_silent() {
    let run = |stub| run(stub, &options(3), 2, &[SILENT; 3]);
    assert_eq!(run(Stub::Go).took, Span::seconds(30));
    assert_eq!(run(Stub::Go).sent.len(), 12);
    let musl = run(Stub::Musl);
    assert_eq!((musl.took, musl.sent.len()), (Span::seconds(5), 12));
    assert_eq!(waits(&musl), [2.5; 6]);
}

#[test]
fn c_ares_is_a_range_that_holds_what_was_measured() {
    // node, three silent servers.
    let measured = [3, 2, 2, 4, 3, 4, 6, 5, 8, 9, 11, 15];
    let slack = Span::millis(100);
    for (number, seconds) in measured.into_iter().enumerate() {
        let wait = |edge| c_ares::wait(2, number / 3, edge);
        let seen = Span::seconds(seconds);
        assert!(
            seen >= wait(Edge::Least) - slack && seen <= wait(Edge::Most) + slack,
            "{number}: {seconds} s"
        );
    }
    let reply = |_: ServedQuery| Some(SILENT);
    let ask = Ask {
        questions: 1,
        reply: &reply,
    };
    let took = |edge| Stub::CAres.simulate(&options(3), &ask, edge, 0).took;
    assert!(took(Edge::Least) < Span::seconds(72) && took(Edge::Most) > Span::seconds(72));
}

#[test]
fn glibc_asks_one_question_at_a_time_when_only_one_is_answered() {
    let reply = |asked: ServedQuery| Some([GOOD, SILENT][asked.question]);
    let ask = Ask {
        questions: 2,
        reply: &reply,
    };
    let run = |options: &ResolverOptions| Stub::Glibc.simulate(options, &ask, Edge::Least, 0);
    let simulate = run(&options(1));
    assert_eq!(
        (simulate.took, simulate.ending),
        (Span::seconds(15), LookupResult::Answered)
    );
    assert_eq!(simulate.sent.len(), 6);
    let single = ResolverOptions {
        single_request: true,
        ..options(1)
    };
    assert_eq!(run(&single).took, Span::seconds(10));
    let reopen = ResolverOptions {
        single_request_reopen: true,
        ..options(1)
    };
    assert_eq!(run(&reopen).took, Span::seconds(5));
}

#[test]
fn glibc_reads_a_late_answer_in_the_next_round() {
    let late = ServerReply::Answer(Span::seconds(8));
    let simulate = run(Stub::Glibc, &options(2), 2, &[late, SILENT]);
    assert_eq!(
        (simulate.took, simulate.ending),
        (Span::seconds(10), LookupResult::Answered)
    );
    // Go closes the socket: lost.
    assert_eq!(
        run(Stub::Go, &options(2), 2, &[late, SILENT]).ending,
        LookupResult::Failed
    );
}

#[test]
fn errors_lead_to_the_next_server_at_once() {
    for bad in [
        ServerReply::Error(Span::ZERO),
        ServerReply::Failure(Span::ZERO),
    ] {
        for stub in Stub::ALL {
            let simulate = run(stub, &options(2), 2, &[bad, GOOD]);
            assert_eq!(simulate.ending, LookupResult::Answered, "{stub:?} {bad:?}");
            assert_eq!(simulate.took, Span::millis(1), "{stub:?} {bad:?}");
        }
    }
}

#[test]
fn a_denial_is_an_answer() {
    let denied = ServerReply::Denied(Span::millis(2));
    for stub in Stub::ALL {
        let simulate = run(stub, &options(2), 2, &[denied, SILENT]);
        assert_eq!(
            (simulate.took, simulate.ending),
            (Span::millis(2), LookupResult::Denied)
        );
    }
}

#[test]
fn rotate_starts_elsewhere_and_each_server_keeps_its_wait() {
    let reply = |_: ServedQuery| Some(SILENT);
    let ask = Ask {
        questions: 1,
        reply: &reply,
    };
    let simulate = Stub::Glibc.simulate(&options(3), &ask, Edge::Least, 1);
    assert_eq!(waits(&simulate), [3.0, 6.0, 5.0, 3.0, 6.0, 5.0]);
}

#[test]
fn what_nobody_knows_is_told() {
    let simulate = run(Stub::Glibc, &options(2), 2, &[SILENT]);
    assert_eq!(simulate.guessed.into_iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn no_servers_end_at_once() {
    for stub in Stub::ALL {
        let simulate = run(stub, &options(0), 2, &[]);
        assert_eq!(simulate.ending, LookupResult::Failed);
        assert!(simulate.sent.is_empty());
    }
}

/// What a lookup with A and AAAA to two silent servers shows of each, as measured.
fn typical(stub: Stub) -> Signs {
    let signs = Signs {
        queries: 8,
        resolvers: 2,
        several_configured: true,
        connected: Some(true),
        edns: Some(false),
        ..Signs::default()
    };
    match stub {
        Stub::Glibc => Signs {
            shared: true,
            one_call: true,
            reused: true,
            same_id: true,
            ..signs
        },
        Stub::Musl => Signs {
            at_once: true,
            shared: true,
            reused: true,
            same_id: true,
            connected: Some(false),
            ..signs
        },
        Stub::Go => Signs {
            new_id: true,
            new_socket: true,
            own_sockets: true,
            written: true,
            edns: Some(true),
            ..signs
        },
        Stub::CAres => Signs {
            same_id: true,
            new_socket: true,
            own_sockets: true,
            ..signs
        },
    }
}

#[test]
fn a_typical_lookup_excludes_all_others_and_shows_whose_it_is() {
    for asker in Stub::ALL {
        let signs = typical(asker);
        for stub in Stub::ALL {
            let profile = stub.profile();
            // glibc with its options could ask like c-ares: then the waits decide.
            let like = (asker, stub) == (Stub::CAres, Stub::Glibc);
            assert_eq!(
                (profile.excluded_by)(&signs),
                stub != asker && !like,
                "{stub:?} by what {asker:?} asked"
            );
        }
        assert!((asker.profile().signature)(&signs, true).is_some());
    }
    let go_without_a_trace = Signs {
        written: false,
        connected: None,
        ..typical(Stub::Go)
    };
    let go = Stub::Go.profile();
    assert!((go.signature)(&go_without_a_trace, false).is_some());
    let forwarder = Signs {
        untraced: true,
        ..go_without_a_trace
    };
    assert_eq!((go.signature)(&forwarder, false), None);
    assert_eq!(
        (Stub::CAres.profile().signature)(&typical(Stub::CAres), false),
        None
    );
}

#[test]
fn a_jvm_calls_glibc_by_its_own_name() {
    let client = Stub::Glibc.profile().client;
    assert_eq!(client(Some("java")), crate::report::StubResolver::Java);
    assert_eq!(client(None), crate::report::StubResolver::Glibc);
}
