//! Sentences that must name the right one.

use crate::explain::rows::{answer, ledger, notes, titles};

#[test]
fn a_stub_that_waited_for_its_upstream_is_not_said_to_be_silent() {
    // The stub's first question upstream is lost, and the second answered: to the client it is the stub that answered late.
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
                5 call 3 wait 5 0.25
                5.25 packet 10.0.1.95:53 10.0.0.1:5001 answer 9 A a.example 10.9.9.9
                5.25 packet 127.0.0.53:53 127.0.0.1:4000 answer 7 A a.example 10.9.9.9
                5.25 call 3 recv 7 A a.example 10.9.9.9
                5.25 call 5 socket tcp
                5.25 call 5 local 10.0.0.1:4002
                5.25 call 5 connect 10.9.9.9:80
                5.25 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
                5.25 packet 10.9.9.9:80 10.0.0.1:4002 synack 1
                9 packet 10.0.1.9:53 10.0.0.9:4009 answer 9 A z.example";
    let said = answer(rows);
    assert_eq!(
        said[..2],
        [
            "5.25 s passed before the client sent its SYN to 10.9.9.9:80; 5.00 s of it waiting for the local stub 127.0.0.53.",
            "The stub 127.0.0.53 was itself waiting for its upstream 10.0.1.93, which did not answer 1 query.",
        ]
    );
    // Where its upstream was asked about another name, nobody else is to be named.
    let said = answer(&rows.replace("8 A a.example", "8 A b.example"));
    assert!(
        said[0].ends_with("waiting for resolver 127.0.0.53, which did not answer some queries."),
        "{said:?}"
    );
}

#[test]
fn where_no_syn_left_nobody_declined_it() {
    // The kernel found no neighbour (arp(7)): connect fails after 3 s, and the capture shows that no SYN left.
    let attempt = "0 call 5 socket tcp
                   0 call 5 connect 10.9.9.9:80 EHOSTUNREACH 3
                   3 call 6 socket tcp
                   3 call 6 local 10.0.0.1:4002
                   3 call 6 connect 10.9.9.8:80
                   3 packet 10.0.0.1:4002 10.9.9.8:80 syn 1
                   3 packet 10.9.9.8:80 10.0.0.1:4002 synack 1
                   9 packet 10.0.1.9:53 10.0.0.9:4009 answer 9 A z.example";
    assert_eq!(notes(attempt), ["no SYN left this host"]);
    // Packets of the attempt show the opposite.
    let sent = "\n0 packet 10.0.0.1:4001 10.9.9.9:80 syn 2
                1 packet 10.0.0.1:4001 10.9.9.9:80 syn 2";
    assert_eq!(notes(&(attempt.to_owned() + sent)), [""; 0]);
}

#[test]
fn dns_over_tcp_that_sent_no_syn_is_not_declined_either() {
    let truncated = "0 call 3 socket udp
                     0 call 3 local 10.0.0.1:4000
                     0 call 3 connect 10.0.1.93:53
                     0 call 3 send 7 A a.example
                     0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
                     0 call 3 wait 5 0
                     0 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example tc
                     0 call 3 recv 7 A a.example tc
                     0 call 4 socket tcp
                     0 call 4 connect 10.0.1.93:53 EPERM 1
                     1 call 4 close
                     1 packet 10.0.0.8:4000 10.0.1.8:80 syn 1
                     1 packet 10.0.1.8:80 10.0.0.8:4000 synack 1
                     9 packet 10.0.1.9:53 10.0.0.9:4009 answer 9 A z.example";
    let said = titles(truncated);
    let expected =
        "No SYN to TCP port 53 of 10.0.1.93 left this host: the connect failed after 1.00 s";
    assert!(said.iter().any(|title| title == expected), "{said:#?}");
}

#[test]
fn attempts_before_the_one_that_worked_are_named() {
    // Three addresses of one lookup in an event loop, whose waits name no descriptor (epoll_wait(2)): the first two were
    // closed after 4 s each, and how they ended no call shows.
    let rows = "0 call 3 socket udp
                0 call 3 connect 10.0.1.93:53
                0 call 3 send 7 A a.example
                0 call 3 wait 5 0.25
                0.25 call 3 recv 7 A a.example 10.9.9.9,10.9.9.8,10.9.9.7
                0.25 call 5 socket tcp
                0.25 call 5 connect 10.9.9.9:80 EINPROGRESS
                4.25 call 5 close
                4.25 call 5 socket tcp
                4.25 call 5 connect 10.9.9.8:80 EINPROGRESS
                8.25 call 5 close
                8.25 call 5 socket tcp
                8.25 call 5 connect 10.9.9.7:80";
    assert_eq!(
        ledger(rows)[..4],
        [
            "10.9.9.7:80 8.25",
            "0.25 resolver-answer 10.0.1.93:53",
            "4 unexplained 10.9.9.9:80",
            "4 unexplained 10.9.9.8:80",
        ]
    );
    let expected = "For 8.00 s it had called connect to 10.9.9.9:80 and 10.9.9.8:80; the log does not show whether that succeeded.";
    assert!(answer(rows).iter().any(|said| said == expected));
    let note = "connect was called, and the log does not show whether it succeeded";
    assert_eq!(notes(rows), [note, note]);
}
