//! Which findings a case has, and which it must not have. `tests/findings.rs` holds their words; here are their conditions.

use crate::explain::rows::findings;
use crate::report::FindingId;

/// Holds the findings, dearest first, against what is expected: `ID` and whom each is about.
fn found(text: &str, expected: &[&str]) {
    assert_eq!(findings(text), expected, "{text}");
}

/// Something of another host at the end: the capture went on.
const LATER: &str = "99 packet 10.0.1.9:53 10.0.0.9:4009 answer 9 A z.example";

/// The same at the beginning: the capture was under way.
const EARLIER: &str = "0 packet 10.0.1.9:53 10.0.0.9:4008 answer 9 A y.example\n";

/// A question of a capture alone, asked at each of these times, and the answer to the last if there is one.
fn packets(times: &[u8], resolver: &str, what: &str, answer: Option<&str>) -> String {
    let query = |at: &u8| format!("{at} packet 10.0.0.1:4000 {resolver}:53 query {what}\n");
    let queries = times.iter().map(query);
    let answer = times.last().zip(answer).map(|(at, answer)| {
        format!("{at}.1 packet {resolver}:53 10.0.0.1:4000 answer {what} {answer}\n")
    });
    queries.chain(answer).collect()
}

#[test]
fn silence_needs_a_question_that_was_repeated() {
    // RFC 1035 section 4.2.1: a client without an answer asks again.
    let twice = packets(&[0, 5], "10.0.1.93", "7 A a.example", None);
    found(&(twice + LATER), &["resolver-silent 10.0.1.93"]);
    // One query that nothing followed: its answer may be what the capture lacks.
    let once = packets(&[0], "10.0.1.93", "7 A a.example", None);
    found(&(once.clone() + LATER), &[]);
    // Answered at once: no fault, but what was before the first packet of a capture nobody knows.
    let answered = packets(&[0], "10.0.1.93", "7 A a.example", Some("10.9.9.9"));
    found(&(answered + LATER), &[]);
    // A capture that began longer before than any stub resolver waits would have shown it.
    let answered = packets(&[20], "10.0.1.93", "7 A a.example", Some("10.9.9.9"));
    found(&(answered + EARLIER + LATER), &["nothing-wrong"]);
}

#[test]
fn inputs_that_end_before_an_answer_is_due_accuse_nobody() {
    let twice = packets(&[0, 5], "10.0.1.93", "7 A a.example", None);
    let calls = "0 call 3 socket udp
                 0 call 3 local 10.0.0.1:4000
                 0 call 3 connect 10.0.1.93:53
                 0 call 3 send 7 A a.example
                 0 call 3 wait 5
                 5 call 3 send 7 A a.example
                 5 call 3 wait 5
                 10 call 3 close\n";
    found(
        &(calls.to_owned() + &twice + LATER),
        &["resolver-silent 10.0.1.93", "never-connected a.example"],
    );
    // The trace ends 0.1 s after the question: no stub resolver gives up so soon.
    found(
        "0 call 3 socket udp
         0 call 3 connect 10.0.1.93:53
         0 call 3 send 7 A a.example
         0.1 call 3 wait 5 0",
        &[],
    );
}

#[test]
fn a_capture_that_lost_packets_is_no_witness_of_silence() {
    // The answers may be among those that the kernel dropped (pcap_stats(3PCAP)).
    let twice = packets(&[0, 5], "10.0.1.93", "7 A a.example", None);
    found(&(twice + LATER + "\ndropped 3"), &["capture-incomplete"]);
    let syns = "0 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
                1 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
                3 packet 10.0.0.1:4002 10.9.9.9:80 syn 1\n";
    found(
        &(syns.to_owned() + LATER + "\ndropped 3"),
        &["capture-incomplete"],
    );
}

#[test]
fn drops_at_a_known_time_excuse_nobody_at_another() {
    let twice = packets(&[0, 5], "10.0.1.93", "7 A a.example", None) + LATER;
    let silent = ["resolver-silent 10.0.1.93", "capture-incomplete"];
    found(&(twice.clone() + "\ndropped 3 30 31"), &silent);
    // The answers to both queries may be among these.
    found(
        &(twice.clone() + "\ndropped 3 4 6"),
        &["capture-incomplete"],
    );
    // Some have a time, others have none.
    found(
        &(twice + "\ndropped 3 30 31\ndropped 1"),
        &["capture-incomplete"],
    );
}

#[test]
fn one_lost_query_among_answered_ones_is_loss() {
    let lost = packets(&[0, 5], "10.0.1.93", "7 A a.example", Some("10.9.9.9"));
    found(&(lost + LATER), &["resolver-lossy 10.0.1.93"]);
}

#[test]
fn a_type_that_is_never_answered_is_no_loss() {
    let a = packets(&[0], "10.0.1.93", "7 A a.example", Some("10.9.9.9"));
    let aaaa = packets(&[0, 5, 10], "10.0.1.93", "8 AAAA a.example", None);
    found(&(a + &aaaa + LATER), &["aaaa-silent 10.0.1.93"]);
    // One lost query: nobody drops A and lets AAAA pass.
    let lost = packets(&[0], "10.0.1.93", "7 A a.example", None);
    let other = packets(&[0], "10.0.1.93", "8 AAAA a.example", Some("noerror"));
    let next = packets(&[5], "10.0.1.95", "9 A a.example", Some("10.9.9.9"));
    found(
        &(lost + &other + &next + LATER),
        &["resolver-lossy 10.0.1.93"],
    );
    // RFC 4074: no records of the type is an answer.
    let a = packets(&[0], "10.0.1.93", "7 A a.example", Some("10.9.9.9"));
    let empty = packets(&[0], "10.0.1.93", "8 AAAA a.example", Some("noerror"));
    found(&(a + &empty + LATER), &[]);
}

#[test]
fn an_icmp_error_is_a_refusal_and_no_silence() {
    // RFC 1122 section 4.1.3.3: port unreachable is passed to the application.
    found(
        &("0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
           0.1 icmp 10.0.0.1:4000 10.0.1.93:53 7 A a.example
           0.1 packet 10.0.0.1:4001 10.0.1.95:53 query 7 A a.example
           0.2 packet 10.0.1.95:53 10.0.0.1:4001 answer 7 A a.example 10.9.9.9\n"
            .to_owned()
            + LATER),
        &["resolver-refused 10.0.1.93"],
    );
}

#[test]
fn an_answer_after_the_next_resolver_was_asked_is_late() {
    let late = packets(&[0], "10.0.1.93", "7 A a.example", None)
        + &packets(&[5], "10.0.1.95", "7 A a.example", Some("10.9.9.9"))
        + "7 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9\n";
    found(&(late + LATER), &["answer-late 10.0.1.93"]);
    // After 2 s, and nobody else was asked meanwhile: slow, not late.
    let slow = packets(&[0], "10.0.1.93", "7 A a.example", None)
        + "2 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9\n";
    found(&(slow + LATER), &["resolver-slow 10.0.1.93"]);
}

#[test]
fn servfail_is_an_error_and_nxdomain_is_an_answer() {
    // RFC 1035 section 4.1.1; RFC 2308: NXDOMAIN says that there is no such name.
    let error = packets(&[0], "10.0.1.93", "7 A a.example", Some("servfail"));
    let next = packets(&[1], "10.0.1.95", "7 A a.example", Some("10.9.9.9"));
    found(&(error + &next + LATER), &["resolver-error 10.0.1.93"]);
    let denied = packets(&[0], "10.0.1.93", "7 A a.example", Some("nxdomain"));
    found(&(denied + LATER), &["name-not-found a.example"]);
}

#[test]
fn a_truncated_answer_is_said_and_its_other_type_is_not_lost() {
    // RFC 7766: the client turns to TCP, and need not read the other answer.
    let cut = packets(&[0], "10.0.1.93", "7 A a.example", Some("tc"))
        + &packets(&[0], "10.0.1.93", "8 AAAA a.example", None);
    found(&(cut + LATER), &["truncated-to-tcp 10.0.1.93"]);
}

#[test]
fn unanswered_syns_are_the_servers_and_one_alone_is_nobodys() {
    // RFC 6298 section 2: sent again after 1 s, 3 s, 7 s.
    found(
        &("0 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
           1 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
           3 packet 10.0.0.1:4002 10.9.9.9:80 syn 1\n"
            .to_owned()
            + LATER),
        &["syn-unanswered 10.9.9.9", "never-connected 10.9.9.9"],
    );
    // Answered at once.
    found(
        &("0 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
           0.1 packet 10.9.9.9:80 10.0.0.1:4002 synack 1\n"
            .to_owned()
            + LATER),
        &[],
    );
    // The capture ends before the SYN would be sent again.
    found("0 packet 10.0.0.1:4002 10.9.9.9:80 syn 1", &[]);
}

#[test]
fn a_reset_is_a_refusal() {
    found(
        &("0 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
           0.1 packet 10.9.9.9:80 10.0.0.1:4002 rst 1\n"
            .to_owned()
            + LATER),
        &["connect-refused 10.9.9.9", "never-connected 10.9.9.9"],
    );
}

#[test]
fn a_stub_is_not_accused_of_its_upstreams_silence() {
    // The stub asked 10.0.1.93 about the same name at the same time, twice, and had no answer.
    let stub = packets(&[0, 5], "127.0.0.53", "7 A a.example", None);
    let upstream = "0 packet 10.0.0.1:5000 10.0.1.93:53 query 8 A a.example
                    5 packet 10.0.0.1:5000 10.0.1.93:53 query 8 A a.example\n";
    let calls = "0 call 3 socket udp
                 0 call 3 local 10.0.0.1:4000
                 0 call 3 connect 127.0.0.53:53
                 0 call 3 send 7 A a.example
                 0 call 3 wait 5
                 5 call 3 send 7 A a.example
                 5 call 3 wait 5
                 10 call 3 close\n";
    found(
        &(calls.to_owned() + &stub + upstream + LATER),
        &[
            "stub-upstream-silent 127.0.0.53 10.0.1.93",
            "never-connected a.example",
        ],
    );
    // Another name: nothing ties it to the stub's silence.
    found(
        &(calls.to_owned() + &stub + &upstream.replace("a.example", "b.example") + LATER),
        &["resolver-silent 127.0.0.53", "never-connected a.example"],
    );
}

#[test]
fn a_stub_that_lost_a_query_upstream_is_not_lossy() {
    // The stub's first query upstream was lost, and its second answered.
    let rows = "0 call 3 socket udp
                0 call 3 local 127.0.0.1:4000
                0 call 3 connect 127.0.0.53:53
                0 call 3 send 7 A a.example
                0 packet 127.0.0.1:4000 127.0.0.53:53 query 7 A a.example
                0 packet 10.0.0.1:5000 10.0.1.93:53 query 8 A a.example
                0 call 3 wait 5
                5 call 3 send 7 A a.example
                5 packet 127.0.0.1:4000 127.0.0.53:53 query 7 A a.example
                5 packet 10.0.0.1:5001 10.0.1.95:53 query 9 A a.example
                5.1 packet 10.0.1.95:53 10.0.0.1:5001 answer 9 A a.example 10.9.9.9
                5.1 packet 127.0.0.53:53 127.0.0.1:4000 answer 7 A a.example 10.9.9.9
                5 call 3 wait 5 0.1
                5.1 call 3 recv 7 A a.example 10.9.9.9
                5.1 call 3 close\n"
        .to_owned()
        + LATER;
    let expected = ["stub-upstream-silent 127.0.0.53 10.0.1.93"];
    found(&rows, &expected);
    // Another name upstream.
    let other = rows.replace("8 A a.example", "8 A b.example");
    found(&other, &["resolver-lossy 127.0.0.53"]);
}

#[test]
fn an_answer_in_the_capture_that_the_client_asks_for_again_did_not_reach_it() {
    // The same id from the same port after 5 s: a copy of a question that had been answered (RFC 5452 section 9.2).
    let first = packets(&[0], "10.0.1.93", "7 A a.example", Some("10.9.9.9"));
    let again = packets(&[5], "10.0.1.93", "7 A a.example", Some("10.9.9.9"));
    found(
        &(first.clone() + &again + LATER),
        &["answer-not-received 10.0.1.93"],
    );
    // A new id: a new lookup, as its program asks every five seconds.
    let next = packets(&[5], "10.0.1.93", "8 A a.example", Some("10.9.9.9"));
    found(&(first + &next + LATER), &[]);
}

#[test]
fn another_processes_silence_is_not_this_clients() {
    let other = packets(&[0, 5], "10.0.1.93", "7 A a.example", None);
    let own = "0 call 3 socket udp
               0 call 3 local 10.0.0.1:4001
               0 call 3 connect 10.0.1.95:53
               0 call 3 send 8 A b.example
               0 packet 10.0.0.1:4001 10.0.1.95:53 query 8 A b.example
               0 call 3 wait 5 0.1
               0.1 packet 10.0.1.95:53 10.0.0.1:4001 answer 8 A b.example 10.9.9.9
               0.1 call 3 recv 8 A b.example 10.9.9.9
               0.1 call 5 socket tcp
               0.1 call 5 connect 10.9.9.9:80
               0.1 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
               0.2 packet 10.9.9.9:80 10.0.0.1:4002 synack 1\n";
    found(&(own.to_owned() + &other + LATER), &["nothing-wrong"]);
}

#[test]
fn an_address_that_failed_before_another_worked_is_a_fallback() {
    let lookup = packets(
        &[0],
        "10.0.1.93",
        "7 A a.example",
        Some("10.9.9.9,10.9.9.8"),
    );
    let attempts = "1 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
                    2 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
                    4 packet 10.0.0.1:4003 10.9.9.8:80 syn 2
                    4.1 packet 10.9.9.8:80 10.0.0.1:4003 synack 2\n";
    found(
        &(lookup + attempts + LATER),
        &[
            "address-fallback 10.9.9.9 10.9.9.8",
            "syn-unanswered 10.9.9.9",
        ],
    );
}

#[test]
fn names_of_the_search_list_are_said_only_where_they_are_searched() {
    let asked = "conf nameserver 10.0.1.93
                 conf search corp.example example
                 0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A web.corp.example\n";
    let denied = "0.1 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A web.corp.example nxdomain
                  0.1 packet 10.0.0.1:4000 10.0.1.93:53 query 8 A web.example
                  0.2 packet 10.0.1.93:53 10.0.0.1:4000 answer 8 A web.example 10.9.9.9\n";
    found(
        &(asked.to_owned() + denied + LATER),
        &["search-domains web"],
    );
    // The first name exists.
    let exists = "0.1 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A web.corp.example 10.9.9.9\n";
    found(&(asked.to_owned() + exists + LATER), &[]);
}

#[test]
fn io_uring_is_said_and_its_connects_are_listed() {
    // A SYN of this host that no call caused (io_uring_setup(2)).
    found(
        &("0 call 9 uring
           0 call 5 socket tcp
           0 call 5 local 10.0.0.1:4002
           0 call 5 connect 10.9.9.9:80
           0 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
           0.1 packet 10.9.9.9:80 10.0.0.1:4002 synack 1
           1 packet 10.0.0.1:4003 10.9.9.8:80 syn 2
           1.1 packet 10.9.9.8:80 10.0.0.1:4003 synack 2\n"
            .to_owned()
            + LATER),
        &["io-uring 10.9.9.8"],
    );
}

#[test]
fn that_no_syn_lacks_a_call_is_not_said_of_what_was_forgotten() {
    let quiet = "0 call 9 uring
                 0 call 5 socket tcp
                 0 call 5 local 10.0.0.1:4002
                 0 call 5 connect 10.9.9.9:80
                 0 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
                 0.1 packet 10.9.9.9:80 10.0.0.1:4002 synack 1
                 20 call 5 close\n";
    let detail = |text: &str| {
        let findings = crate::explain::rows::report(text).findings;
        let uring = findings.into_iter().find(|f| f.id == FindingId::IoUring);
        uring.unwrap().detail
    };
    let said = detail(quiet);
    assert!(
        said.starts_with("No SYN to a server lacks a call"),
        "{said}"
    );
    let said = detail(&format!("forgotten 1 5 66\n{quiet}"));
    assert!(
        said.starts_with("Whether SYNs lack a call cannot be seen"),
        "{said}"
    );
}

#[test]
fn an_address_that_no_blocklist_has_is_not_missing() {
    // RFC 5782 section 2.1: the reversed address below the list's domain.
    let asked = |name: &str| {
        let what = format!("7 A {name}");
        packets(&[20], "10.0.1.93", &what, Some("nxdomain")) + EARLIER + LATER
    };
    found(&asked("77.113.0.203.list.example"), &[]);
    found(
        &asked("77.113.0.host.list.example"),
        &["name-not-found 77.113.0.host.list.example"],
    );
}
