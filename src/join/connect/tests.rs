use crate::join::rows::Rows;

/// Holds all connection attempts, as `TO BEGAN ENDING SYNS CAUSE`, against what is expected.
fn connections(text: &str, expected: &[&str]) {
    assert_eq!(Rows::read(text).connections(), expected, "{text}");
}

#[test]
fn a_blocking_connect_ends_with_its_answer() {
    // The SYN-ACK is the end, not the return of the call, which the scheduler may delay.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 0.030
         1.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7",
        &["10.9.9.9:80 1.001 connected at 1.03, 1 SYN 0 again, inferred 2"],
    );
    // A RST that acknowledges the SYN refuses it (RFC 9293 section 3.10.7.3).
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 ECONNREFUSED 0.030
         1.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.030 packet 10.9.9.9:80 10.0.0.1:5000 rst 7",
        &["10.9.9.9:80 1.001 refused at 1.03, 1 SYN 0 again, inferred 2"],
    );
    // A log alone: the return is all there is.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 0.030
         2.000 call 4 socket tcp
         2.001 call 4 connect 10.9.9.9:81 ECONNREFUSED 0.030",
        &[
            "10.9.9.9:80 1.001 connected at 1.031, 0 SYN 0 again, call 2",
            "10.9.9.9:81 2.001 refused at 2.031, 0 SYN 0 again, call 4",
        ],
    );
}

#[test]
fn a_connect_that_nobody_answers_times_out_after_its_retransmissions() {
    // tcp_syn_retries = 3: 1, 2, 4 s, and 8 s more before ETIMEDOUT (tcp(7)).
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 ETIMEDOUT 15.001
         1.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         4.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         8.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7",
        &["10.9.9.9:80 1.001 timed out at 16.002, 4 SYN 3 again, inferred 2"],
    );
    // Answered on the third try.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 3.030
         1.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         4.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         4.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7",
        &["10.9.9.9:80 1.001 connected at 4.03, 3 SYN 2 again, inferred 2"],
    );
}

#[test]
fn a_connect_in_the_background_ends_with_what_later_calls_show() {
    let begun = "1.000 call 3 socket tcp
                 1.001 call 3 connect 10.9.9.9:80 EINPROGRESS
                 1.002 call 3 wait 0.030 ready\n";
    // SO_ERROR says how it ended (connect(2), EINPROGRESS).
    connections(
        &format!("{begun} 1.033 call 3 so_error"),
        &["10.9.9.9:80 1.001 connected at 1.033, 0 SYN 0 again, call 2"],
    );
    connections(
        &format!("{begun} 1.033 call 3 so_error ECONNREFUSED"),
        &["10.9.9.9:80 1.001 refused at 1.033, 0 SYN 0 again, call 2"],
    );
    connections(
        &format!("{begun} 1.033 call 3 so_error EHOSTUNREACH"),
        &["10.9.9.9:80 1.001 unreachable at 1.033, 0 SYN 0 again, call 2"],
    );
    // So does a second connect: EISCONN that it had come up before, nobody saw when.
    connections(
        &format!("{begun} 1.033 call 3 connect 10.9.9.9:80 EISCONN"),
        &["10.9.9.9:80 1.001 connected, 0 SYN 0 again, call 2"],
    );
    // Closed after a wait that timed out: given up.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 EINPROGRESS
         1.002 call 3 wait 2.000
         3.003 call 3 close",
        &["10.9.9.9:80 1.001 timed out at 3.003, 0 SYN 0 again, call 2"],
    );
    // The SYN-ACK came long before the program looked.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 EINPROGRESS
         1.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7
         5.000 call 3 so_error",
        &["10.9.9.9:80 1.001 connected at 1.03, 1 SYN 0 again, inferred 2"],
    );
}

#[test]
fn nothing_is_concluded_from_a_connect_of_which_nothing_more_is_seen() {
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 EINPROGRESS
         5.000 call 4 close",
        &["10.9.9.9:80 1.001 open, 0 SYN 0 again, call 2"],
    );
    // Interrupted, it goes on as well (connect(2), EINTR).
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 EINTR
         5.000 call 4 close",
        &["10.9.9.9:80 1.001 open, 0 SYN 0 again, call 2"],
    );
    // Closed without a wait or an answer: it may have been connected and used by calls that no input shows.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 EINPROGRESS
         5.000 call 3 close",
        &["10.9.9.9:80 1.001 open at 5, 0 SYN 0 again, call 2"],
    );
}

#[test]
fn sockets_to_one_server_have_their_own_syns() {
    let calls = "1.000 call/100/100 3 socket tcp
                 1.000 call/100/101 4 socket tcp\n";
    let packets = "1.003 packet 10.0.0.1:5001 10.9.9.9:80 syn 8
                   1.004 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
                   1.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7
                   1.040 packet 10.9.9.9:80 10.0.0.1:5001 rst 8";
    // Two threads at once, the later call's SYN first: ports decide where the trace shows them.
    connections(
        &format!(
            "{calls}
             1.001 call/100/100 3 connect 10.9.9.9:80 EINPROGRESS
             1.001 call/100/100 3 local 10.0.0.1:5000
             1.002 call/100/101 4 connect 10.9.9.9:80 EINPROGRESS
             1.002 call/100/101 4 local 10.0.0.1:5001
             {packets}"
        ),
        &[
            "10.9.9.9:80 1.001 connected at 1.03, 1 SYN 0 again, call 3",
            "10.9.9.9:80 1.002 refused at 1.04, 1 SYN 0 again, call 5",
        ],
    );
    // Elsewhere nothing says which is whose: each has one, in their order, and says that this is a conclusion.
    connections(
        &format!(
            "{calls}
             1.001 call/100/100 3 connect 10.9.9.9:80 EINPROGRESS
             1.002 call/100/101 4 connect 10.9.9.9:80 EINPROGRESS
             {packets}"
        ),
        &[
            "10.9.9.9:80 1.001 refused at 1.04, 1 SYN 0 again, inferred 3",
            "10.9.9.9:80 1.002 connected at 1.03, 1 SYN 0 again, inferred 4",
        ],
    );
}

#[test]
fn a_descriptor_that_is_used_again_is_another_attempt() {
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 ECONNREFUSED 0.001
         1.0015 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.0018 packet 10.9.9.9:80 10.0.0.1:5000 rst 7
         1.003 call 3 close
         1.004 call 3 socket tcp
         1.005 call 3 connect 10.9.9.9:80 0.020
         1.006 packet 10.0.0.1:5001 10.9.9.9:80 syn 9
         1.025 packet 10.9.9.9:80 10.0.0.1:5001 synack 9",
        &[
            "10.9.9.9:80 1.001 refused at 1.0018, 1 SYN 0 again, inferred 2",
            "10.9.9.9:80 1.005 connected at 1.025, 1 SYN 0 again, inferred 7",
        ],
    );
    // Calls on the number after the close are about the second socket only.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 EINPROGRESS
         1.002 call 3 wait 0.500
         1.503 call 3 close
         1.504 call 3 socket tcp
         1.505 call 3 connect 10.9.9.9:81 EINPROGRESS
         1.520 call 3 so_error",
        &[
            "10.9.9.9:80 1.001 timed out at 1.503, 0 SYN 0 again, call 2",
            "10.9.9.9:81 1.505 connected at 1.52, 0 SYN 0 again, call 6",
        ],
    );
}

#[test]
fn a_forked_process_has_the_sockets_of_its_parent() {
    let begun = "1.000 call/100/100 3 socket tcp
                 1.001 call/100/100 3 connect 10.9.9.9:80 EINPROGRESS
                 1.002 life 200 forked 100\n";
    // The child asks how the parent's connect ended.
    connections(
        &format!("{begun} 1.030 call/200/200 3 so_error"),
        &["10.9.9.9:80 1.001 connected at 1.03, 0 SYN 0 again, call 2"],
    );
    // The socket stays open in the child when the parent closes it (fork(2), close(2)).
    connections(
        &format!(
            "{begun} 1.003 call/100/100 3 close
             1.030 call/200/200 3 so_error"
        ),
        &["10.9.9.9:80 1.001 connected at 1.03, 0 SYN 0 again, call 2"],
    );
    // A connect of the child's own is another socket's, also from the same number.
    connections(
        &format!(
            "{begun} 1.003 call/100/100 3 close
             1.030 call/200/200 3 connect 10.9.9.9:80 0.010"
        ),
        &[
            "10.9.9.9:80 1.001 open at 1.003, 0 SYN 0 again, call 2",
            "10.9.9.9:80 1.03 connected at 1.04, 0 SYN 0 again, call 5",
        ],
    );
    // It stays open in the parent when the child closes it.
    connections(
        &format!(
            "{begun} 1.003 call/200/200 3 close
             1.030 call/100/100 3 so_error ECONNREFUSED"
        ),
        &["10.9.9.9:80 1.001 refused at 1.03, 0 SYN 0 again, call 2"],
    );
}

#[test]
fn a_syn_without_a_call_is_another_process_or_unknown() {
    let packets = "1.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
                   1.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7";
    connections(
        packets,
        &["10.9.9.9:80 1.002 connected at 1.03, 1 SYN 0 again, unknown"],
    );
    connections(
        &format!("{packets}\n 1.000 call 3 socket tcp"),
        &["10.9.9.9:80 1.002 connected at 1.03, 1 SYN 0 again, untraced"],
    );
    // A SYN that left before the call is not the call's. The call's own may yet leave when the inputs end.
    connections(
        "0.500 call 3 socket tcp
         1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.000 call 3 connect 10.9.9.9:80 EINPROGRESS",
        &[
            "10.9.9.9:80 1 open, 1 SYN 0 again, untraced",
            "10.9.9.9:80 2 open, 0 SYN 0 again, call 3",
        ],
    );
    // Nor one that left five seconds after: a neighbour search gives up after three (arp(7)).
    connections(
        "0.500 call 3 socket tcp
         2.000 call 3 connect 10.9.9.9:80 EINPROGRESS
         7.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7",
        &[
            "10.9.9.9:80 2 no SYN left, 0 SYN 0 again, call 2",
            "10.9.9.9:80 7 open, 1 SYN 0 again, untraced",
        ],
    );
}

#[test]
fn a_call_without_a_syn_sent_none_only_where_the_capture_would_show_it() {
    let call = "1.000 call 3 socket tcp
                1.001 call 3 connect 10.9.9.9:80 EHOSTUNREACH 3.060";
    // No neighbour answered: the SYN waited in the kernel and was dropped.
    connections(
        &format!(
            "{call}
             0.900 packet 10.0.0.1:4000 10.8.8.8:80 syn 7
             0.910 packet 10.8.8.8:80 10.0.0.1:4000 synack 7"
        ),
        &[
            "10.8.8.8:80 0.9 connected at 0.91, 1 SYN 0 again, untraced",
            "10.9.9.9:80 1.001 no SYN left at 4.061, 0 SYN 0 again, call 4",
        ],
    );
    // Without a capture the error is all that is known.
    connections(
        call,
        &["10.9.9.9:80 1.001 unreachable at 4.061, 0 SYN 0 again, call 2"],
    );
    // A capture by another program that began later shows nothing.
    let later = format!(
        "{call}
         9.000 packet 10.0.0.1:5000 10.8.8.8:80 syn 7
         9.010 packet 10.8.8.8:80 10.0.0.1:5000 synack 7"
    );
    assert_eq!(
        Rows::read_foreign(&later).connections(),
        [
            "10.9.9.9:80 1.001 unreachable at 4.061, 0 SYN 0 again, call 2",
            "10.8.8.8:80 9 connected at 9.01, 1 SYN 0 again, untraced",
        ]
    );
}

#[test]
fn a_syn_is_sent_again_only_after_its_timeout() {
    // Captured on two interfaces: one SYN, twice.
    connections(
        "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.00001 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7",
        &["10.9.9.9:80 1 connected at 2.03, 3 SYN 1 again, unknown"],
    );
    // The first SYN is not in the capture: the second is the call's all the same.
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 1.030
         2.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7",
        &["10.9.9.9:80 1.001 connected at 2.03, 1 SYN 0 again, inferred 2"],
    );
    // Another initial sequence number is another attempt, also from the same port.
    connections(
        "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.010 packet 10.9.9.9:80 10.0.0.1:5000 rst 7
         2.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 90
         2.010 packet 10.9.9.9:80 10.0.0.1:5000 synack 90",
        &[
            "10.9.9.9:80 1 refused at 1.01, 1 SYN 0 again, unknown",
            "10.9.9.9:80 2 connected at 2.01, 1 SYN 0 again, unknown",
        ],
    );
}

#[test]
fn a_client_that_goes_on_is_connected_and_one_that_asks_again_is_not() {
    // The SYN-ACK is not in the capture: the client acknowledges it.
    connections(
        "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.030 packet 10.0.0.1:5000 10.9.9.9:80 ack 7",
        &["10.9.9.9:80 1 connected at 1.03, 1 SYN 0 again, unknown"],
    );
    // The client sends its SYN again after a SYN-ACK: it did not get that, so only the second try counts.
    connections(
        "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7
         2.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.030 packet 10.9.9.9:80 10.0.0.1:5000 synack 7
         2.031 packet 10.0.0.1:5000 10.9.9.9:80 ack 7",
        &["10.9.9.9:80 1 connected at 2.031, 2 SYN 1 again, unknown"],
    );
    // A SYN-ACK and a RST that acknowledge another SYN end nothing (RFC 9293 section 3.10.7.3).
    connections(
        "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.010 packet 10.9.9.9:80 10.0.0.1:5000 synack 6
         1.015 packet 10.9.9.9:80 10.0.0.1:5000 rst 6",
        &["10.9.9.9:80 1 open, 1 SYN 0 again, unknown"],
    );
    connections(
        "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.010 packet 10.9.9.9:80 10.0.0.1:5000 rst 6
         1.020 packet 10.9.9.9:80 10.0.0.1:5000 synack 7",
        &["10.9.9.9:80 1 connected at 1.02, 1 SYN 0 again, unknown"],
    );
}

#[test]
fn a_client_that_resets_a_syn_ack_at_once_was_not_connected() {
    let attempt = |then: &str| {
        format!(
            "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
             1.900 packet 10.9.9.9:80 10.0.0.1:5000 synack 7
             {then}"
        )
    };
    connections(
        &attempt("1.9001 packet 10.0.0.1:5000 10.9.9.9:80 reset 7"),
        &["10.9.9.9:80 1 open, 1 SYN 0 again, unknown"],
    );
    // Later, or with an acknowledgement, it ends a connection.
    for then in [
        "1.9500 packet 10.0.0.1:5000 10.9.9.9:80 reset 7",
        "1.9001 packet 10.0.0.1:5000 10.9.9.9:80 ack 7",
    ] {
        connections(
            &attempt(then),
            &["10.9.9.9:80 1 connected at 1.9, 1 SYN 0 again, unknown"],
        );
    }
}

#[test]
fn a_client_that_asks_again_in_spite_of_a_refusal_is_refused_at_last() {
    connections(
        "1.000 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.001 packet 10.9.9.9:80 10.0.0.1:5000 rst 7
         1.500 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         1.501 packet 10.9.9.9:80 10.0.0.1:5000 rst 7",
        &["10.9.9.9:80 1 refused at 1.501, 2 SYN 1 again, unknown"],
    );
}

#[test]
fn a_process_that_exits_gave_up_its_unanswered_connects() {
    connections(
        "1.000 call 3 socket tcp
         1.001 call 3 connect 10.9.9.9:80 EINPROGRESS
         1.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         2.002 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
         3.000 life 100 exited",
        &["10.9.9.9:80 1.001 timed out at 3, 2 SYN 1 again, inferred 2"],
    );
}

#[test]
fn nothing_is_concluded_of_what_may_be_a_part_of_a_forgotten_attempt() {
    // The SYN of one that left at 1 s was evicted, and is forgotten at 5 s; another SYN of it may come until 66 s.
    let evicted = "forgotten 1 5 66\n";
    let others = "0 call 4 socket tcp
                  4.9 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
                  5.1 packet 10.0.0.1:5001 10.9.9.9:80 syn 8
                  66.1 packet 10.0.0.1:5002 10.9.9.9:80 syn 9
                  70 life 100 exited\n";
    connections(
        &format!("{evicted} {others}"),
        &[
            "10.9.9.9:80 4.9 timed out at 6, 1 SYN 0 again, untraced",
            "10.9.9.9:80 5.1 timed out at 6.2, 1 SYN 0 again, notattributable",
            "10.9.9.9:80 66.1 open, 1 SYN 0 again, untraced",
        ],
    );
    // A call that was blocked meanwhile may have sent it; one that was shorter than any was remembered would have it.
    let calls = "0 call 3 socket tcp
                 0.9 call 3 connect 10.8.8.8:80 ETIMEDOUT 31
                 40 call 3 close
                 40 call 3 socket tcp
                 40.1 call 3 connect 10.8.8.8:80 EHOSTUNREACH 3
                 50 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
                 70 life 100 exited\n";
    let without = Rows::read(calls).connections();
    assert!(without[0].contains("no SYN left"), "{without:#?}");
    let with = Rows::read(&format!("{evicted} {calls}")).connections();
    assert!(with[0].contains("timed out at 31.9, 0 SYN"), "{with:#?}");
    assert!(with[1].contains("no SYN left"), "{with:#?}");
}
