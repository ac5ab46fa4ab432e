//! What was waited for before a connect, second by second. glibc waits 5 s for the first of one or two resolvers and 5 s
//! (5 × 2 / 2) for the second, twice (resolv.conf(5), `res_send.c`), and goes on when an answer comes or the socket has an
//! error.

use crate::explain::rows::ledger;

/// Holds all accounts, slowest first, against what is expected: `SUBJECT SECONDS`, then `SECONDS KIND PARTY` in order.
fn entries(text: &str, expected: &[&str]) {
    assert_eq!(ledger(text), expected, "{text}");
}

/// The client's calls for one question to one resolver, which does not answer within `wait` seconds.
fn asked_in_vain(fd: u8, at: u8, resolver: &str, wait: u8) -> String {
    format!(
        "{at} call {fd} socket udp
         {at} call {fd} connect {resolver}:53
         {at} call {fd} send 7 A a.example
         {at} call {fd} wait {wait}\n"
    )
}

/// The same, answered a quarter of a second later.
fn answered(fd: u8, at: u8, resolver: &str) -> String {
    format!(
        "{at} call {fd} socket udp
         {at} call {fd} connect {resolver}:53
         {at} call {fd} send 7 A a.example
         {at} call {fd} wait 5 0.25
         {at}.25 call {fd} recv 7 A a.example 10.9.9.9\n"
    )
}

#[test]
fn a_resolver_that_never_answers_has_both_rounds() {
    // Nothing connects: the account is the lookup's own, until the client gives up.
    let twice = asked_in_vain(3, 0, "10.0.1.93", 5) + &asked_in_vain(3, 5, "10.0.1.93", 5);
    let expected = ["a.example 10", "10 resolver-silent 10.0.1.93:53"];
    entries(&(twice + "10 call 3 close"), &expected);
}

#[test]
fn each_of_two_resolvers_has_its_own_wait() {
    let rows = asked_in_vain(3, 0, "10.0.1.93", 5) + &answered(4, 5, "10.0.1.95");
    entries(
        &(rows + "5.5 call 5 connect 10.9.9.9:80"),
        &[
            "10.9.9.9:80 5.5",
            "5 resolver-silent 10.0.1.93:53",
            "0.25 resolver-answer 10.0.1.95:53",
            "0.25 running",
        ],
    );
}

#[test]
fn an_answer_after_the_client_went_on_is_still_silence() {
    // It came after 6 s; the client had asked the other one for a second by then, and read it when it came back.
    entries(
        "0 call 3 local 10.0.0.1:4000
         0 call 3 connect 10.0.1.93:53
         0 call 3 send 7 A a.example
         0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         0 call 3 wait 5
         5 call 4 local 10.0.0.1:4001
         5 call 4 connect 10.0.1.95:53
         5 call 4 send 7 A a.example
         5 packet 10.0.0.1:4001 10.0.1.95:53 query 7 A a.example
         5 call 4 wait 5
         6 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
         10 call 3 send 7 A a.example
         10 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         10 call 3 wait 5 0
         10 call 3 recv 7 A a.example 10.9.9.9
         10 call 5 connect 10.9.9.9:80
         10 packet 10.0.0.1:4002 10.9.9.9:80 syn 1",
        &[
            "10.9.9.9:80 10",
            "5 resolver-silent 10.0.1.93:53",
            "5 resolver-silent 10.0.1.95:53",
        ],
    );
}

#[test]
fn an_icmp_error_ends_the_wait_for_its_resolver() {
    // Packets alone: between the answer and the SYN nobody knows what the client did.
    entries(
        "0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         0.25 icmp 10.0.0.1:4000 10.0.1.93:53 7 A a.example
         0.25 packet 10.0.0.1:4001 10.0.1.95:53 query 7 A a.example
         0.5 packet 10.0.1.95:53 10.0.0.1:4001 answer 7 A a.example 10.9.9.9
         1 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
         1.5 packet 10.9.9.9:80 10.0.0.1:4002 synack 1",
        &[
            "10.9.9.9:80 1",
            "0.25 resolver-refused 10.0.1.93:53",
            "0.25 resolver-answer 10.0.1.95:53",
            "0.5 unexplained",
        ],
    );
}

#[test]
fn a_stub_on_this_host_is_waited_for_like_any_resolver() {
    // systemd-resolved asks upstream itself; to the client its 4 s are the stub's, and the upstream queries, of another
    // process, are not charged again.
    entries(
        "0 call 3 local 127.0.0.1:4000
         0 call 3 connect 127.0.0.53:53
         0 call 3 send 7 A a.example
         0 packet 127.0.0.1:4000 127.0.0.53:53 query 7 A a.example
         0 packet 10.0.0.1:5000 10.0.1.93:53 query 8 A a.example
         0 call 3 wait 5 4
         4 packet 10.0.1.93:53 10.0.0.1:5000 answer 8 A a.example 10.9.9.9
         4 packet 127.0.0.53:53 127.0.0.1:4000 answer 7 A a.example 10.9.9.9
         4 call 3 recv 7 A a.example 10.9.9.9
         4 call 5 connect 10.9.9.9:80
         4 packet 10.0.0.1:4002 10.9.9.9:80 syn 1",
        &["10.9.9.9:80 4", "4 resolver-answer 127.0.0.53:53"],
    );
}

#[test]
fn retransmitted_syns_come_after_the_account() {
    // RFC 6298: again after 1 s. The account ends with the first SYN; what follows is the server's.
    entries(
        "0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         0.25 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
         0.25 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
         1.25 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
         3.25 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
         3.5 packet 10.9.9.9:80 10.0.0.1:4002 synack 1",
        &["10.9.9.9:80 0.25", "0.25 resolver-answer 10.0.1.93:53"],
    );
}

#[test]
fn waits_for_other_sockets_are_named_where_nothing_else_was_waited_for() {
    // Kerberos (port 88) for 2 s, then the lookup; a Kerberos wait of another thread is not the connect's.
    let kerberos = "0 call 3 socket udp
                    0 call 3 connect 10.0.0.88:88
                    0 call 3 wait 2
                    0 call/101 8 socket udp
                    0 call/101 8 connect 10.0.0.89:88
                    0 call/101 8 wait 4\n";
    let connect = "2.25 call 5 socket tcp
                   2.25 call 5 connect 10.9.9.9:80";
    entries(
        &(kerberos.to_owned() + &answered(4, 2, "10.0.1.95") + connect),
        &[
            "10.9.9.9:80 2.25",
            "2 socket-wait 10.0.0.88:88",
            "0.25 resolver-answer 10.0.1.95:53",
        ],
    );
}

#[test]
fn a_program_that_computes_before_it_asks_was_running() {
    // No call of 3 s that waits, and 3 s of CPU time.
    let busy = "0 call 9 close\n".to_owned() + &answered(4, 3, "10.0.1.95");
    let rows = busy + "3.25 life 100 cpu 3\n 3.25 call 5 connect 10.9.9.9:80";
    let expected = [
        "10.9.9.9:80 3.25",
        "3 running",
        "0.25 resolver-answer 10.0.1.95:53",
    ];
    entries(&rows, &expected);
}

#[test]
fn a_program_with_io_uring_may_wait_without_a_call() {
    // io_uring_setup(2): what is handed to the kernel through the ring is no call, so nobody knows what the program did.
    let rows =
        answered(4, 0, "10.0.1.95") + "3.25 call 5 socket tcp\n 3.25 call 5 connect 10.9.9.9:80";
    let expected = |kind: &'static str| {
        [
            "10.9.9.9:80 3.25",
            "0.25 resolver-answer 10.0.1.95:53",
            kind,
        ]
    };
    entries(&rows, &expected("3 running"));
    entries(
        &("0 call 9 uring\n".to_owned() + &rows),
        &expected("3 unexplained"),
    );
    // Another process's ring.
    entries(
        &("0 call/7/7 9 uring\n".to_owned() + &rows),
        &expected("3 running"),
    );
}

#[test]
fn a_and_aaaa_asked_together_are_one_wait() {
    // Both unanswered: five seconds, not ten.
    let both = "0 call 3 connect 10.0.1.93:53
                0 call 3 send 7 A a.example
                0 call 3 send 8 AAAA a.example
                0 call 3 wait 5\n";
    entries(
        &(both.to_owned()
            + &answered(4, 5, "10.0.1.95")
            + "5.25 call 5 socket tcp
5.25 call 5 connect 10.9.9.9:80"),
        &[
            "10.9.9.9:80 5.25",
            "5 resolver-silent 10.0.1.93:53",
            "0.25 resolver-answer 10.0.1.95:53",
        ],
    );
    // Both answered, the second after half a second: the client waits for both.
    entries(
        "0 call 3 connect 10.0.1.93:53
         0 call 3 send 7 A a.example
         0 call 3 send 8 AAAA a.example
         0 call 3 wait 5 0.25
         0.25 call 3 recv 7 A a.example 10.9.9.9
         0.25 call 3 wait 4.75 0.25
         0.5 call 3 recv 8 AAAA a.example ::1
         0.5 call 5 connect 10.9.9.9:80",
        &["10.9.9.9:80 0.5", "0.5 resolver-answer 10.0.1.93:53"],
    );
}

#[test]
fn a_name_of_the_search_list_has_its_own_entry() {
    // `web` with `search corp.example`: the denied name was asked in vain, the next one counts.
    entries(
        "conf nameserver 10.0.1.93
         conf search corp.example example
         0 call 3 connect 10.0.1.93:53
         0 call 3 send 7 A web.corp.example
         0 call 3 wait 5 2
         2 call 3 recv 7 A web.corp.example nxdomain
         2 call 4 connect 10.0.1.93:53
         2 call 4 send 8 A web.example
         2 call 4 wait 5 1
         3 call 4 recv 8 A web.example 10.9.9.9
         3 call 5 connect 10.9.9.9:80",
        &[
            "10.9.9.9:80 3",
            "2 search-domains 10.0.1.93:53",
            "1 resolver-answer 10.0.1.93:53",
        ],
    );
}

#[test]
fn an_address_that_failed_is_a_wait_of_the_next_ones_account() {
    // Blocking connects to both addresses of a name, in their order; the first fails after 3 s (connect(2): no ARP reply).
    // The user waits for the second from the lookup on.
    entries(
        "0 call 3 socket udp
         0 call 3 connect 10.0.1.93:53
         0 call 3 send 7 A a.example
         0 call 3 wait 5 0.25
         0.25 call 3 recv 7 A a.example 10.9.9.9,10.9.9.8
         0.25 call 5 socket tcp
         0.25 call 5 connect 10.9.9.9:80 EHOSTUNREACH 3
         3.25 call 6 socket tcp
         3.25 call 6 connect 10.9.9.8:80",
        &[
            "10.9.9.9:80 3.25",
            "0.25 resolver-answer 10.0.1.93:53",
            "3 attempt-failed 10.9.9.9:80",
            "10.9.9.8:80 3.25",
            "0.25 resolver-answer 10.0.1.93:53",
            "3 attempt-failed 10.9.9.9:80",
        ],
    );
}

#[test]
fn attempts_whose_end_nobody_sees_are_named() {
    // Two connects that the client closed after 2 s each, before it tried the address a third time: an event loop's waits
    // (epoll_wait(2)) name no descriptor, so whether the attempts failed is not known; asleep it was not.
    let lookup = answered(3, 0, "10.0.1.93");
    let attempt = |from: &str, to: &str| {
        format!(
            "{from} call 5 socket tcp
             {from} call 5 connect 10.9.9.9:80 EINPROGRESS
             {to} call 5 close\n"
        )
    };
    let third = "4.25 call 5 socket tcp
                 4.25 call 5 connect 10.9.9.9:80";
    let rows = lookup + &attempt("0.25", "2.25") + &attempt("2.25", "4.25") + third;
    let of_third = [
        "10.9.9.9:80 4.25",
        "0.25 resolver-answer 10.0.1.93:53",
        "4 unexplained 10.9.9.9:80",
    ];
    assert_eq!(ledger(&rows)[..3], of_third, "{rows}");
    // Between attempts that failed at once a client that waits before it tries again is asleep.
    let refused = |at: &str| {
        format!(
            "{at} call 5 socket tcp
             {at} call 5 connect 10.9.9.9:80 ECONNREFUSED
             {at} call 5 close\n"
        )
    };
    let third = "2.25 call 5 socket tcp
                 2.25 call 5 connect 10.9.9.9:80";
    let rows = answered(3, 0, "10.0.1.93") + &refused("0.25") + &refused("1.25") + third;
    let of_third = [
        "10.9.9.9:80 2.25",
        "0.25 resolver-answer 10.0.1.93:53",
        "2 running",
    ];
    assert_eq!(ledger(&rows)[..3], of_third, "{rows}");
}

#[test]
fn a_name_service_is_charged_for_its_wait() {
    // nscd answers over its socket after 2 s (nscd(8)).
    entries(
        "0 call 3 socket unix
         0 call 3 connect /var/run/nscd/socket
         0 call 3 wait 5 2
         2 call 3 close
         2 call 5 connect 10.9.9.9:80",
        &["10.9.9.9:80 2", "2 name-service nscd"],
    );
}

#[test]
fn a_lookup_that_no_connect_followed_has_its_own_account() {
    // The connect came before it, so it cannot have waited for it.
    let rows = "0 call 5 connect 10.9.9.9:80\n".to_owned() + &asked_in_vain(3, 1, "10.0.1.93", 5);
    entries(
        &(rows + "6 call 3 close\n 7 life 100 exited"),
        &[
            "a.example 5",
            "5 resolver-silent 10.0.1.93:53",
            "10.9.9.9:80 0",
        ],
    );
}

#[test]
fn a_second_connect_from_the_same_answer_waits_for_nothing() {
    let rows = asked_in_vain(3, 0, "10.0.1.93", 5)
        + &answered(4, 5, "10.0.1.95")
        + "5.25 call 5 socket tcp
5.25 call 5 connect 10.9.9.9:80
           9 call 6 socket tcp
9 call 6 connect 10.9.9.9:80";
    entries(
        &rows,
        &[
            "10.9.9.9:80 5.25",
            "5 resolver-silent 10.0.1.93:53",
            "0.25 resolver-answer 10.0.1.95:53",
            "10.9.9.9:80 0",
        ],
    );
}

#[test]
fn what_another_host_waited_for_is_not_this_connects() {
    // Two hosts in one capture, each with a lookup; only one of them was left without an answer.
    entries(
        "0 packet 10.0.0.2:4000 10.0.1.93:53 query 7 A a.example
         3 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         3.25 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
         3.25 packet 10.0.0.1:4002 10.9.9.9:80 syn 1
         5 packet 10.0.0.2:4000 10.0.1.93:53 query 7 A a.example
         5.25 packet 10.0.1.93:53 10.0.0.2:4000 answer 7 A a.example 10.9.9.9
         5.25 packet 10.0.0.2:4002 10.9.9.9:80 syn 2",
        &[
            "10.9.9.9:80 5.25",
            "5 resolver-silent 10.0.1.93:53",
            "0.25 resolver-answer 10.0.1.93:53",
            "10.9.9.9:80 0.25",
            "0.25 resolver-answer 10.0.1.93:53",
        ],
    );
}
