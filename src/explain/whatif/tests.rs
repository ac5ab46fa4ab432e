//! What a change would make of a delay, computed by hand from the timetables of resolv.conf(5): glibc waits `timeout` (5 s)
//! for the first resolver and `timeout` × 2ⁿ / resolvers for the n-th after it, a second at least, in whole seconds, and
//! makes `attempts` (2) rounds over all of them.

use super::Change;
use crate::decode::resolv_conf::ResolvConf;
use crate::explain::rows::predicted;

/// One resolver that a lookup asked in turn: how long it was waited for, and whether it answered then.
type AskedRow = (&'static str, f64, bool);

/// A lookup of one address, from sockets that stay open and with one id in all rounds, as glibc makes it; then a connect,
/// where it was answered.
fn glibc(conf: &str, asked: &[AskedRow]) -> String {
    let mut rows: Vec<String> = conf.lines().map(|l| format!("conf {l}")).collect();
    let mut seen: Vec<&str> = Vec::new();
    let mut at = 0.0;
    for &(resolver, wait, is_answered) in asked {
        let known = seen.iter().position(|r| *r == resolver);
        let fd = 3 + known.unwrap_or(seen.len());
        if known.is_none() {
            seen.push(resolver);
            rows.push(format!("{at} call {fd} socket udp"));
            rows.push(format!("{at} call {fd} connect {resolver}:53"));
        }
        rows.push(format!("{at} call {fd} send 7 A a.example"));
        if is_answered {
            rows.push(format!("{at} call {fd} wait 5 {wait}"));
            at += wait;
            rows.push(format!("{at} call {fd} recv 7 A a.example 10.9.9.9"));
            rows.push(format!("{at} call 9 socket tcp"));
            rows.push(format!("{at} call 9 connect 10.9.9.9:80"));
        } else {
            rows.push(format!("{at} call {fd} wait {wait}"));
            at += wait;
        }
    }
    rows.push(format!("{at} call 3 close\n{at} life 100 exited"));
    rows.join("\n")
}

const FIRST: &str = "10.0.1.93";
const SECOND: &str = "10.0.1.95";
const THIRD: &str = "10.0.1.97";

fn without(resolvers: &[&str]) -> Change {
    Change {
        without: resolvers.iter().map(|r| r.parse().unwrap()).collect(),
        ..Change::default()
    }
}

fn options(words: &str) -> Change {
    Change {
        options: words.split(' ').map(str::to_owned).collect(),
        ..Change::default()
    }
}

/// Holds what a change would make of the delay, at least and at most, against what is expected.
fn becomes(text: &str, change: Change, expected: (f64, f64)) {
    let words = change.words();
    let (least, most) = predicted(text, change);
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    assert!(
        near(least, expected.0) && near(most, expected.1),
        "{words}: {least} to {most}, not {expected:?}\n{text}"
    );
}

#[test]
fn two_resolvers_the_first_silent() {
    let conf = format!("nameserver {FIRST}\nnameserver {SECOND}");
    let case = glibc(&conf, &[(FIRST, 5.0, false), (SECOND, 0.25, true)]);
    becomes(&case, without(&[FIRST]), (0.25, 0.25));
    becomes(&case, options("timeout:1"), (1.25, 1.25));
    // The second resolver is in the first round: one attempt is enough.
    becomes(&case, options("attempts:1"), (5.25, 5.25));
    // `rotate` begins with either.
    becomes(&case, options("rotate"), (0.25, 5.25));
    // Without the one that answered, two rounds of 5 s over the other, and no answer.
    becomes(&case, without(&[SECOND]), (10.0, 10.0));
}

#[test]
fn one_resolver_that_never_answers() {
    let conf = format!("nameserver {FIRST}");
    let case = glibc(&conf, &[(FIRST, 5.0, false), (FIRST, 5.0, false)]);
    becomes(&case, options("attempts:1"), (5.0, 5.0));
    becomes(&case, options("timeout:1"), (2.0, 2.0));
    becomes(&case, options("timeout:3 attempts:3"), (9.0, 9.0));
    // `RES_MAXRETRANS` is 30 s, `RES_MAXRETRY` 5 (resolv.conf(5)): larger values are silently capped.
    becomes(&case, options("timeout:60 attempts:1"), (30.0, 30.0));
    becomes(&case, options("timeout:1 attempts:9"), (5.0, 5.0));
}

#[test]
fn three_resolvers_two_silent() {
    let conf = format!("nameserver {FIRST}\nnameserver {SECOND}\nnameserver {THIRD}");
    let waits = [
        (FIRST, 5.0, false),
        // 5 × 2 / 3 = 3.
        (SECOND, 3.0, false),
        (THIRD, 0.25, true),
    ];
    let case = glibc(&conf, &waits);
    // The second becomes the first: 5 s.
    becomes(&case, without(&[FIRST]), (5.25, 5.25));
    // The first stays, and the third becomes the second.
    becomes(&case, without(&[SECOND]), (5.25, 5.25));
    becomes(&case, without(&[FIRST, SECOND]), (0.25, 0.25));
    // 1 s, then 1 × 2 / 3, which is a second at least.
    becomes(&case, options("timeout:1"), (2.25, 2.25));
    // 2 s, then 2 × 2 / 3 = 1.
    becomes(&case, options("timeout:2"), (3.25, 3.25));
    // From the first 8.25, from the second 3 + 0.25, from the third 0.25: each keeps its own wait.
    becomes(&case, options("rotate"), (0.25, 8.25));
}

#[test]
fn another_file_is_read_as_a_whole() {
    let conf = format!("nameserver {FIRST}\nnameserver {SECOND}");
    let case = glibc(&conf, &[(FIRST, 5.0, false), (SECOND, 0.25, true)]);
    let file = |text: &str| Change {
        conf: Some(("new.conf".into(), ResolvConf::parse(text))),
        ..Change::default()
    };
    // The good one first: the silent one is never asked.
    let swapped = format!("nameserver {SECOND}\nnameserver {FIRST}");
    becomes(&case, file(&swapped), (0.25, 0.25));
    let shorter = format!("{conf}\noptions timeout:2");
    becomes(&case, file(&shorter), (2.25, 2.25));
}

#[test]
fn an_option_of_the_case_is_replaced_by_the_one_that_is_tried() {
    // The case has timeout:2; of two such options the last one counts (`res_setoptions`). One wait of 2 s may be c-ares', too,
    // which node looks after once a second: it waits up to a second longer (`ares_process.c`, `cares_wrap.cc`).
    let conf = format!("nameserver {FIRST}\nnameserver {SECOND}\noptions timeout:2");
    let case = glibc(&conf, &[(FIRST, 2.0, false), (SECOND, 0.25, true)]);
    becomes(&case, options("timeout:1"), (1.25, 2.25));
    becomes(&case, options("timeout:4"), (4.25, 5.25));
}

#[test]
fn both_types_are_one_wait_and_a_silent_one_is_asked_three_times() {
    // A is answered, AAAA never: together, then one at a time, then on new sockets, 5 s each, and the lookup ends with
    // what it has (`res_send.c`).
    let ask = |at: u8, fd: u8| {
        format!(
            "{at} call {fd} send 7 A a.example
             {at} call {fd} send 8 AAAA a.example
             {at} call {fd} wait 5 0
             {at} call {fd} recv 7 A a.example 10.9.9.9
             {at} call {fd} wait 5\n"
        )
    };
    let one_by_one = |at: u8, fd: u8| {
        format!(
            "{at} call {fd} send 7 A a.example
             {at} call {fd} wait 5 0
             {at} call {fd} recv 7 A a.example 10.9.9.9
             {at} call {fd} send 8 AAAA a.example
             {at} call {fd} wait 5\n"
        )
    };
    let case = format!(
        "conf nameserver {FIRST}
         0 call 3 socket udp
         0 call 3 connect {FIRST}:53
         {}{}10 call 3 close
         10 call 4 socket udp
         10 call 4 connect {FIRST}:53
         {}15 call 9 socket tcp
         15 call 9 connect 10.9.9.9:80",
        ask(0, 3),
        one_by_one(5, 3),
        one_by_one(10, 4)
    );
    becomes(&case, options("timeout:1"), (3.0, 3.0));
    // Asked one at a time from the beginning: 5 s less.
    becomes(&case, options("single-request"), (10.0, 10.0));
    becomes(&case, options("single-request-reopen"), (5.0, 5.0));
}

#[test]
fn the_name_of_the_target_need_not_be_looked_up() {
    // A reverse lookup of the address that is connected to anyway; nobody answers it.
    let case = format!(
        "conf nameserver {FIRST}
         0 call 3 socket udp
         0 call 3 connect {FIRST}:53
         0 call 3 send 7 PTR 9.9.9.10.in-addr.arpa
         0 call 3 wait 5
         5 call 3 send 7 PTR 9.9.9.10.in-addr.arpa
         5 call 3 wait 5
         10 call 3 close
         10 call 9 socket tcp
         10 call 9 connect 10.9.9.9:80"
    );
    let no_reverse = Change {
        no_reverse: true,
        ..Change::default()
    };
    becomes(&case, no_reverse, (0.0, 0.0));
    becomes(&case, options("timeout:1"), (2.0, 2.0));
}

#[test]
fn musl_asks_all_at_once_and_gives_up_after_its_timeout() {
    // `res_msend.c`: every question to every resolver from one socket, again after timeout / attempts = 2.5 s; `timeout` is
    // that of the whole lookup.
    let send = |at: &str| {
        format!(
            "{at} call 3 send 7 A a.example {FIRST}:53
             {at} call 3 send 7 A a.example {SECOND}:53
             {at} call 3 wait 2.5\n"
        )
    };
    let case = format!(
        "conf nameserver {FIRST}
         conf nameserver {SECOND}
         0 call 3 socket udp
         {}{}5 call 3 close
         5 life 100 exited",
        send("0"),
        send("2.5")
    );
    becomes(&case, options("timeout:1"), (1.0, 1.0));
    // Fewer rounds, the same end; one resolver less, too.
    becomes(&case, options("attempts:1"), (5.0, 5.0));
    becomes(&case, without(&[FIRST]), (5.0, 5.0));
}

#[test]
fn what_is_no_lookup_stays() {
    // A second of waiting for something else, then the same case: only the lookup's part changes.
    let conf = format!("nameserver {FIRST}\nnameserver {SECOND}");
    let case = "0 call 8 socket udp
                0 call 8 connect 10.0.0.88:88
                0 call 8 wait 1\n";
    let later = |text: &str| {
        let moved = text.lines().map(|line| match line.split_once(' ') {
            Some((at, rest)) if at != "conf" => {
                format!("{} {rest}\n", at.parse::<f64>().unwrap() + 1.0)
            }
            _ => format!("{line}\n"),
        });
        moved.collect::<String>()
    };
    let lookup = glibc(&conf, &[(FIRST, 5.0, false), (SECOND, 0.25, true)]);
    becomes(
        &(case.to_owned() + &later(&lookup)),
        without(&[FIRST]),
        (1.25, 1.25),
    );
}
