use crate::join::rows::Rows;

/// Holds what became of all queries, as `QUESTION SENT-UNTIL RESOLVER STATE`, against what is expected.
fn queries(text: &str, expected: &[&str]) {
    assert_eq!(Rows::read(text).queries(), expected, "{text}");
}

#[test]
fn a_response_answers_the_latest_identical_query_that_is_open() {
    // Asked again after 5 s: the late answer is the second one's only if the first has one already.
    queries(
        "0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         5 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         5.1 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
         5.2 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9",
        &[
            "A a.example 0-5 10.0.1.93:53 late at 5.2",
            "A a.example 5-5.1 10.0.1.93:53 answered at 5.1",
        ],
    );
    // A and AAAA under one id and from one socket are told apart by their questions.
    queries(
        "0.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         0.001 packet 10.0.0.1:4000 10.0.1.93:53 query 7 AAAA a.example
         0.010 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
         9.000 packet 10.0.1.93:53 10.0.0.1:4009 answer 9 A b.example 10.9.9.9",
        &[
            "A a.example 0-0.01 10.0.1.93:53 answered at 0.01",
            "AAAA a.example 0.001-0.001 10.0.1.93:53 open",
        ],
    );
}

#[test]
fn a_response_of_another_socket_server_id_or_question_answers_nothing() {
    for wrong in [
        "10.0.1.93:53 10.0.0.1:4001 answer 7 A a.example 10.9.9.9",
        "10.0.1.95:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9",
        "10.0.1.93:53 10.0.0.1:4000 answer 8 A a.example 10.9.9.9",
        "10.0.1.93:53 10.0.0.1:4000 answer 7 A b.example 10.9.9.9",
    ] {
        let rows = Rows::read(&format!(
            "0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
             0.1 packet {wrong}
             9 packet 10.0.1.93:53 10.0.0.9:4009 answer 9 A c.example"
        ));
        // Nor was it asked again: that it was left without an answer is not shown.
        let expected = ["A a.example 0-0 10.0.1.93:53 open"];
        assert_eq!(rows.queries(), expected, "{wrong}");
        assert_eq!(rows.join().unsolicited.responses, 2, "{wrong}");
    }
}

#[test]
fn an_icmp_error_ends_the_query_that_it_quotes_and_an_answer_proves_it_wrong() {
    queries(
        "0.0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         0.1 icmp 10.0.0.1:4000 10.0.1.93:53 7 A a.example
         0.2 packet 10.0.0.1:4001 10.0.1.95:53 query 8 A b.example
         0.3 icmp 10.0.0.1:4001 10.0.1.95:53 9 A b.example
         9.0 packet 10.0.1.93:53 10.0.0.9:4009 answer 9 A c.example",
        &[
            "A a.example 0-0.1 10.0.1.93:53 refused at 0.1",
            "A b.example 0.2-0.2 10.0.1.95:53 open",
        ],
    );
    queries(
        "0.0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         0.1 icmp 10.0.0.1:4000 10.0.1.93:53 7 A a.example
         0.2 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9",
        &["A a.example 0-0.2 10.0.1.93:53 answered at 0.2"],
    );
}

#[test]
fn a_log_alone_shows_answers_by_what_calls_received() {
    queries(
        "0.000 call 3 connect 10.0.1.93:53
         0.001 call 3 send 7 A a.example
         0.002 call 3 wait 5.0
         5.003 call 4 connect 10.0.1.95:53
         5.004 call 4 send 7 A a.example
         5.020 call 4 recv 7 A a.example 10.9.9.9
         5.030 call 5 close",
        &[
            "A a.example 0.001-5.004 10.0.1.93:53 unanswered",
            "A a.example 5.004-5.02 10.0.1.95:53 answered at 5.02",
        ],
    );
}

#[test]
fn nothing_is_concluded_of_what_may_belong_to_a_forgotten_query() {
    // A query was sent at 1 s, and is forgotten since 5 s.
    let evicted = "forgotten 1 5\n";
    let packets = "4 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
                   6 packet 10.0.1.93:53 10.0.0.1:4001 answer 8 A b.example 10.9.9.9
                   7 icmp/local 10.0.0.1:4000 10.0.1.93:53 9 A c.example\n";
    let read = |text: &str| {
        let joined = Rows::read(text).join();
        let unsolicited = joined.unsolicited;
        (
            unsolicited.responses,
            unsolicited.not_attributable,
            joined.queries.len(),
        )
    };
    // The error shows a query that never left, unless the query may have been another one's.
    assert_eq!(read(packets), (2, 0, 1));
    assert_eq!(read(&format!("{evicted}{packets}")), (1, 1, 0));
}
