use crate::join::rows::Rows;
use crate::time::Span;

/// Holds all lookups, as `NAME BEGAN-ENDED OUTCOME QUERIES`, against what is expected.
fn lookups(text: &str, expected: &[&str]) {
    assert_eq!(Rows::read(text).lookups(), expected, "{text}");
}

/// A question of a capture alone, and its answer if there is one.
fn asked(at: f64, port: u16, resolver: &str, what: &str, answer: Option<&str>) -> String {
    let answer = answer.map_or(String::new(), |answer| {
        let at = at + 0.01;
        format!("{at:.3} packet {resolver}:53 10.0.0.1:{port} answer {what} {answer}\n")
    });
    format!("{at} packet 10.0.0.1:{port} {resolver}:53 query {what}\n{answer}")
}

/// Something at the end, long after: the capture went on.
const LATER: &str = "99 packet 10.0.1.9:53 10.0.0.9:4009 answer 9 A z.example";

#[test]
fn rounds_over_all_resolvers_are_one_lookup() {
    let rounds = [
        asked(0.0, 4000, "10.0.1.93", "7 A a.example", None),
        asked(5.0, 4001, "10.0.1.95", "7 A a.example", None),
        asked(8.0, 4000, "10.0.1.93", "7 A a.example", None),
        asked(13.0, 4001, "10.0.1.95", "7 A a.example", Some("10.9.9.9")),
        LATER.into(),
    ];
    lookups(&rounds.concat(), &["a.example 0-13.01 answered 4"]);
    // Without the last answer the client waits as long as for a first one.
    let unanswered = [&rounds[..3], &[LATER.into()]].concat();
    lookups(&unanswered.concat(), &["a.example 0-13 failed 3"]);
}

#[test]
fn an_answer_ends_a_lookup_and_the_next_question_is_another() {
    let rows = [
        asked(0.0, 4000, "10.0.1.93", "7 A a.example", Some("10.9.9.9")),
        asked(0.2, 4002, "10.0.1.93", "8 A a.example", Some("10.9.9.9")),
        asked(60.0, 4003, "10.0.1.93", "9 A a.example", Some("nxdomain")),
    ];
    let expected = [
        "a.example 0-0.01 answered 1",
        "a.example 0.2-0.21 answered 1",
        "a.example 60-60.01 negative 1",
    ];
    lookups(&rows.concat(), &expected);
    // An error is no such answer: the client goes to the next resolver, with the same question.
    let rows = [
        asked(0.0, 4000, "10.0.1.93", "7 A a.example", Some("servfail")),
        asked(0.02, 4001, "10.0.1.95", "7 A a.example", Some("10.9.9.9")),
    ];
    lookups(&rows.concat(), &["a.example 0-0.03 answered 2"]);
}

#[test]
fn names_of_a_search_list_are_one_lookup_of_the_name_without_it() {
    let rows = [
        asked(
            0.0,
            4000,
            "10.0.1.93",
            "7 A db.corp.example",
            Some("nxdomain"),
        ),
        asked(0.02, 4000, "10.0.1.93", "8 A db.example", Some("10.9.9.9")),
    ];
    lookups(&rows.concat(), &["db 0-0.03 answered 2"]);
    // Not denied, so not the next of a list.
    let rows = [
        asked(
            0.0,
            4000,
            "10.0.1.93",
            "7 A db.corp.example",
            Some("10.9.9.8"),
        ),
        asked(0.02, 4000, "10.0.1.93", "8 A db.example", Some("10.9.9.9")),
    ];
    let expected = [
        "db.corp.example 0-0.01 answered 1",
        "db.example 0.02-0.03 answered 1",
    ];
    lookups(&rows.concat(), &expected);
}

#[test]
fn hosts_processes_and_threads_have_lookups_of_their_own() {
    let other_host = asked(0.1, 4000, "10.0.1.93", "7 A a.example", None);
    let rows = [
        asked(0.0, 4000, "10.0.1.93", "7 A a.example", None),
        other_host.replace("10.0.0.1:", "10.0.0.2:"),
        LATER.into(),
    ];
    let expected = ["a.example 0-0 open 1", "a.example 0.1-0.1 open 1"];
    lookups(&rows.concat(), &expected);
    let threads = |who: &str| {
        format!(
            "0.0 call/100/100 3 connect 10.0.1.93:53
             0.1 call/100/100 3 send 7 A a.example
             0.2 call/{who} 4 connect 10.0.1.93:53
             0.3 call/{who} 4 send 8 A a.example
             9.0 call/100/100 5 close"
        )
    };
    let two = Rows::read(&threads("100/101")).lookups();
    assert_eq!(two.len(), 2, "another thread asks at once: {two:?}");
    let two = Rows::read(&threads("200/200")).lookups();
    assert_eq!(two.len(), 2, "another process: {two:?}");
}

#[test]
fn the_clients_own_wait_says_when_it_gave_up() {
    // A timeout of its own, of two seconds.
    let call = "0.000 call 3 connect 10.0.1.93:53
                0.001 call 3 send 7 A a.example
                0.002 call 3 wait 2.0\n";
    lookups(
        &format!("{call} 2.5 call 3 close"),
        &["a.example 0.001-2.002 failed 1"],
    );
    // Without a wait its next act does, and no later than that.
    lookups(
        "0.000 call 3 connect 10.0.1.93:53
         0.001 call 3 send 7 A a.example
         3.000 call 3 close
         9.000 call 4 close",
        &["a.example 0.001-3 failed 1"],
    );
}

#[test]
fn a_connect_belongs_to_the_last_lookup_that_gave_its_address() {
    let rows = Rows::read(
        "0.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
         0.010 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
         1.000 packet 10.0.0.1:4001 10.0.1.93:53 query 8 A b.example
         1.010 packet 10.0.1.93:53 10.0.0.1:4001 answer 8 A b.example 10.9.9.9
         1.020 packet 10.0.0.1:5000 10.9.9.9:80 syn 1
         1.030 packet 10.0.0.1:5001 10.9.9.8:80 syn 1
         2.000 packet 10.0.0.1:4002 10.0.1.93:53 query 9 A c.example
         2.010 packet 10.0.1.93:53 10.0.0.1:4002 answer 9 A c.example 10.9.9.8",
    );
    let joined = rows.join();
    let of = |c: usize| {
        let lookup = joined.connections.as_slice()[c].lookup?;
        Some(joined.lookups[lookup].name.to_string())
    };
    assert_eq!((of(0), of(1)), (Some("b.example".into()), None));
}

/// The name of the lookup that each connection belongs to.
fn tied(text: &str, expected: &[Option<&str>]) {
    let joined = Rows::read(text).join();
    let names = joined.connections.iter().map(|c| {
        let lookup = c.lookup?;
        Some(joined.lookups[lookup].name.to_string())
    });
    let names: Vec<Option<String>> = names.collect();
    let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
    assert_eq!(names, expected, "{text}");
}

#[test]
fn a_connection_belongs_to_a_lookup_of_its_own_host() {
    let lookup = "0.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
                  0.010 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9\n";
    let syn = |from: &str| format!("{lookup} 0.020 packet {from} 10.9.9.9:80 syn 1");
    tied(&syn("10.0.0.1:5000"), &[Some("a.example")]);
    // One address that asks and one that connects may be one host with two interfaces; several are several hosts.
    tied(&syn("10.0.0.2:5000"), &[Some("a.example")]);
    let three = format!(
        "{} \n 0.030 packet 10.0.0.3:5000 10.9.9.9:80 syn 1",
        syn("10.0.0.2:5000")
    );
    tied(&three, &[None, None]);
    // The host's address of the other family, unless that asks as well.
    let six = |answer: &str| {
        format!(
            "0.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 AAAA a.example
             0.010 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 AAAA a.example fd00::9
             0.020 packet [fd00::1]:5000 [fd00::9]:80 syn 1
             {answer}"
        )
    };
    tied(&six(""), &[Some("a.example")]);
    let asks = "0.015 packet [fd00::1]:4000 [fd00::53]:53 query 9 A b.example";
    tied(&six(asks), &[None]);
    // A stub on the host itself.
    let stub = lookup
        .replace("10.0.0.1:", "127.0.0.1:")
        .replace("10.0.1.93", "127.0.0.53");
    tied(
        &format!("{stub} 0.020 packet 10.0.0.1:5000 10.9.9.9:80 syn 1"),
        &[Some("a.example")],
    );
}

#[test]
fn another_programs_syn_ends_no_lookup() {
    let rows = "0.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
                0.001 packet 10.0.0.1:4001 10.0.1.93:53 query 8 A b.example
                0.020 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
                0.021 packet 10.0.0.1:5000 10.9.9.9:80 syn 1
                0.060 packet 10.0.1.93:53 10.0.0.1:4001 answer 8 A b.example 10.9.9.8";
    let joined = Rows::read(rows).join();
    assert!(
        joined
            .queries
            .iter()
            .all(|q| q.answer().is_some_and(|a| !a.late))
    );
    // Only a connect to what the lookup itself gave shows that it waits no more.
    let rows = "0.000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
                0.001 packet 10.0.0.1:4000 10.0.1.93:53 query 8 AAAA a.example
                0.020 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
                0.040 packet 10.0.0.1:5000 10.9.9.9:80 syn 1
                9.000 packet 10.0.1.9:53 10.0.0.9:4009 answer 9 A z.example";
    lookups(rows, &["a.example 0-0.04 answered 2"]);
}

#[test]
fn the_loser_of_a_race_is_not_late() {
    let rows = "0.0000 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
                0.0001 packet 10.0.0.1:4001 10.0.1.95:53 query 7 A a.example
                0.0100 packet 10.0.1.95:53 10.0.0.1:4001 answer 7 A a.example 10.9.9.9
                0.0190 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9";
    let late = |text: &str| -> Vec<bool> {
        let joined = Rows::read(text).join();
        joined
            .queries
            .iter()
            .map(|q| q.answer().is_some_and(|a| a.late))
            .collect()
    };
    assert_eq!(late(rows), [false, false]);
    // The next resolver after five seconds: the first one's answer came too late.
    let turned = rows
        .replace("0.0001", "5.0000")
        .replace("0.0100", "5.0100")
        .replace("0.0190", "6.0");
    assert_eq!(late(&turned), [true, false]);
    // Unless the client still takes it.
    let taken = "0.0 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
                 1.0 packet 10.0.0.1:4001 10.0.1.95:53 query 8 A a.example
                 1.3 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9
                 1.4 packet 10.0.0.1:5000 10.9.9.9:80 syn 1";
    assert_eq!(late(taken), [false, false]);
}

#[test]
fn a_name_asked_long_after_its_last_query_is_looked_up_again() {
    let twice = |gap: f64| {
        let rows = [
            asked(0.0, 4000, "10.0.1.93", "7 A a.example", None),
            asked(gap, 4000, "10.0.1.93", "7 A a.example", Some("10.9.9.9")),
            LATER.into(),
        ];
        Rows::read(&rows.concat()).lookups().len()
    };
    assert_eq!((twice(14.0), twice(17.0)), (1, 2));
}

/// A thread that asks the silent first resolver for `name` at `at`, the second one 5 s later, and connects.
fn thread(tid: u32, id: u16, at: f64, name: &str) -> String {
    let fd = tid - 90;
    let port = 4000 + tid;
    let again = at + 5.0;
    format!(
        "{at:.3} call/100/{tid} {fd} connect 10.0.1.93:53
         {at:.3} call/100/{tid} {fd} local 10.0.0.1:{port}
         {at:.3} call/100/{tid} {fd} send {id} A {name}
         {at:.3} call/100/{tid} {fd} wait 5.0
         {again:.3} call/100/{tid} 2{fd} connect 10.0.1.95:53
         {again:.3} call/100/{tid} 2{fd} local 10.0.0.1:1{port}
         {again:.3} call/100/{tid} 2{fd} send {id} A {name}
         {:.3} call/100/{tid} 2{fd} recv {id} A {name} 10.9.9.9
         {:.3} call/100/{tid} 3{fd} socket tcp
         {:.3} call/100/{tid} 3{fd} connect 10.9.9.9:80\n",
        again + 0.01,
        again + 0.02,
        again + 0.02,
    )
}

/// Rows of several threads in order of time.
fn in_order(threads: impl Iterator<Item = String>) -> Rows {
    let text: String = threads.collect();
    let mut rows: Vec<&str> = text.lines().map(str::trim).collect();
    let at = |row: &str| row.split(' ').next().unwrap().parse::<f64>().unwrap();
    rows.sort_by(|a, b| at(a).total_cmp(&at(b)));
    Rows::read(&rows.join("\n"))
}

#[test]
fn threads_that_look_up_one_name_keep_their_own_retries_and_connects() {
    let rows = in_order(
        [
            thread(101, 7, 0.0, "a.example"),
            thread(102, 8, 0.2, "a.example"),
        ]
        .into_iter(),
    );
    let expected = [
        "a.example 0-5.01 answered 2",
        "a.example 0.2-5.21 answered 2",
    ];
    assert_eq!(rows.lookups(), expected);
    // As many as a service has, at once.
    let rows = in_order((0..200).map(|n| thread(101 + u32::from(n), n, 0.0, "a.example")));
    let joined = rows.join();
    assert_eq!(joined.lookups.len(), 200);
    for c in &joined.connections {
        let lookup = &joined.lookups[c.lookup.unwrap()];
        assert_eq!(lookup.tasks, [c.task.clone().unwrap()], "{lookup:?}");
        assert_eq!(lookup.queries.len(), 2);
    }
    assert_eq!(joined.connections.len(), 200);
}

#[test]
fn lookups_of_a_pool_thread_are_several() {
    let rows = in_order((0..3).map(|n| thread(101, n, f64::from(n) * 5.1, "a.example")));
    let expected = [
        "a.example 0-5.01 answered 2",
        "a.example 5.1-10.11 answered 2",
        "a.example 10.2-15.21 answered 2",
    ];
    assert_eq!(rows.lookups(), expected);
}

#[test]
fn lookups_of_one_name_at_once_are_told_apart_by_their_ids_and_sockets() {
    let lookup = |n: u16| {
        let at = f64::from(n) / 128.0;
        let a = format!("{} A a.example", 2 * n);
        let aaaa = format!("{} AAAA a.example", 2 * n + 1);
        let later = at + 5.0;
        [
            asked(at, 4000 + n, "10.0.1.93", &a, None),
            asked(at, 4000 + n, "10.0.1.93", &aaaa, None),
            asked(later, 5000 + n, "10.0.1.95", &a, Some("10.9.9.9")),
            asked(later, 5000 + n, "10.0.1.95", &aaaa, Some("nodata")),
            format!(
                "{:.3} packet 10.0.0.1:{} 10.9.9.9:80 syn 1\n",
                later + 0.2,
                6000 + n
            ),
        ]
        .concat()
    };
    let rows = in_order((0..50).map(lookup));
    let joined = rows.join();
    let sizes: Vec<usize> = joined.lookups.iter().map(|l| l.queries.len()).collect();
    assert_eq!(sizes, [4; 50]);
    // Each connect has a lookup of its own.
    let mut used: Vec<_> = joined.connections.iter().filter_map(|c| c.lookup).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), 50);
}

/// A query and its answer (`TIME WHAT RESULT`), as a capture on the client's side shows them.
fn exchanged(at: f64, port: u16, resolver: &str, what: &str, answer: (f64, &str)) -> String {
    let (after, result) = answer;
    format!(
        "{at} packet 10.0.0.1:{port} {resolver}:53 query {what}\n\
         {:.4} packet {resolver}:53 10.0.0.1:{port} answer {what} {result}\n",
        at + after
    )
}

/// How many queries of a case are `not received`.
fn lost(text: &str) -> usize {
    let queries = Rows::read(text).queries();
    queries
        .iter()
        .filter(|q| q.contains("not received"))
        .count()
}

const SOON: (f64, &str) = (0.01, "10.9.9.9");

#[test]
fn a_message_sent_again_after_its_answer_was_not_received() {
    // To the next resolver (glibc, c-ares), and from the same socket to the same one (glibc with one, musl).
    let next = [
        exchanged(0.0, 4000, "10.0.1.93", "7 A a.example", SOON),
        exchanged(5.0, 4001, "10.0.1.95", "7 A a.example", SOON),
        LATER.into(),
    ]
    .concat();
    let rows = Rows::read(&next);
    assert_eq!(
        rows.queries()[..2],
        [
            "A a.example 0-5 10.0.1.93:53 not received at 0.01",
            "A a.example 5-5.01 10.0.1.95:53 answered at 5.01",
        ]
    );
    assert_eq!(rows.lookups()[0], "a.example 0-5.01 answered 2");
    let both = |second: (f64, &str)| {
        [
            exchanged(0.0, 4000, "10.0.1.93", "7 A a.example", SOON),
            exchanged(0.0, 4000, "10.0.1.93", "8 AAAA a.example", second),
            exchanged(5.0, 4000, "10.0.1.93", "7 A a.example", SOON),
            exchanged(5.0, 4000, "10.0.1.93", "8 AAAA a.example", SOON),
        ]
        .concat()
    };
    assert_eq!(lost(&both((0.02, ""))), 2);
    // An error for one type, or an answer to it that came with the second round, makes glibc ask for both again.
    assert_eq!(lost(&both((0.02, "servfail"))), 0);
    assert_eq!(lost(&both((5.2, ""))), 0);
}

#[test]
fn a_message_sent_again_for_another_reason_is_no_loss() {
    let first = exchanged(0.0, 4000, "10.0.1.93", "7 A a.example", SOON);
    let after = |rows: &str| lost(&format!("{first}{rows}{LATER}"));
    let again = |at: f64, port, resolver, what| exchanged(at, port, resolver, what, SOON);
    // Another lookup has another id; a monitor with one id for all opens another socket.
    assert_eq!(after(&again(5.0, 4001, "10.0.1.95", "9 A a.example")), 0);
    assert_eq!(after(&again(5.0, 4001, "10.0.1.93", "7 A a.example")), 0);
    // One id for all names.
    let constant = again(5.0, 4001, "10.0.1.95", "7 A a.example");
    let other = again(2.0, 4002, "10.0.1.93", "7 A b.example");
    assert_eq!(after(&format!("{other}{constant}")), 0);
    // AAAA appears in the second round only: its first query may be what the capture lacks.
    let aaaa = again(5.0, 4001, "10.0.1.95", "8 AAAA a.example");
    assert_eq!(after(&format!("{constant}{aaaa}")), 0);
    // At once after the answer, or long after it: no timer.
    assert_eq!(after(&again(0.2, 4001, "10.0.1.95", "7 A a.example")), 0);
    assert_eq!(after(&again(40.0, 4001, "10.0.1.95", "7 A a.example")), 0);
    // The client used it.
    let used = "0.02 packet 10.0.0.1:5000 10.9.9.9:80 syn 1\n";
    assert_eq!(after(&format!("{used}{constant}")), 0);
    // A resolver with a negative answer, or one that sends the client on.
    for result in ["nxdomain", "servfail", "tc"] {
        let first = exchanged(0.0, 4000, "10.0.1.93", "7 A a.example", (0.01, result));
        assert_eq!(lost(&format!("{first}{constant}{LATER}")), 0, "{result}");
    }
    // An answer that came when the client had turned away lies in its socket until it turns back.
    let late = [
        exchanged(0.0, 4000, "10.0.1.93", "7 A a.example", (8.0, "10.9.9.9")),
        asked(5.0, 4001, "10.0.1.95", "7 A a.example", None),
        asked(10.0, 4000, "10.0.1.93", "7 A a.example", None),
        LATER.into(),
    ];
    assert_eq!(lost(&late.concat()), 0);
    // musl's race: the loser's answer, and the winner's.
    let race = [
        exchanged(0.0, 4000, "10.0.1.93", "7 A a.example", SOON),
        exchanged(
            0.001,
            4000,
            "10.0.1.95",
            "7 A a.example",
            (0.02, "10.9.9.9"),
        ),
        LATER.into(),
    ];
    assert_eq!(lost(&race.concat()), 0);
}

#[test]
fn an_answer_that_a_wait_slept_through_was_not_received() {
    let case = |timeout: f64, received: &str| {
        format!(
            "0 call 3 socket udp\n0.001 call 3 connect 10.0.1.93:53\n0.0015 call 3 local 10.0.0.1:4000\n\
             0.002 call 3 send 7 A a.example\n0.0021 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example\n\
             0.003 call 3 wait {timeout}\n\
             0.1 packet 10.0.1.93:53 10.0.0.1:4000 answer 7 A a.example 10.9.9.9\n{received}\
             9 call 3 close\n{LATER}"
        )
    };
    let row = |text: &str| Rows::read(text).queries()[0].clone();
    let slept = row(&case(5.0, ""));
    assert_eq!(
        slept,
        "A a.example 0.0021-5.003 10.0.1.93:53 not received at 0.1"
    );
    // The answer was there before the wait began, and nothing had read it.
    let quick = case(5.0, "").replace("0.1 packet", "0.0025 packet");
    assert!(
        row(&quick).contains("not received at 0.0025"),
        "{}",
        row(&quick)
    );
    let read = quick.replace(
        "0.003 call",
        "0.0028 call 3 recv 7 A a.example 10.9.9.9\n0.003 call",
    );
    assert!(!row(&read).contains("not received"));
    // A wait that had ended before is a late answer, whatever the client reads later.
    assert!(!row(&case(0.05, "")).contains("not received"));
    // Without an end of its own the log shows no wait.
    let silent = case(5.0, "").replace("0.003 call 3 wait 5", "");
    assert!(!row(&silent).contains("not received"));
}

#[test]
fn the_same_question_of_another_host_ends_no_wait() {
    // Two hosts chose the same id. The traced one waits until its own timeout.
    let other = |host: &str| {
        format!(
            "0.000 call 3 socket udp
             0.001 call 3 connect 10.0.1.93:53
             0.002 call 3 send 7 A a.example
             0.003 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A a.example
             0.300 packet {host}:4001 10.0.1.93:53 query 7 A a.example
             0.004 call 3 wait 5
             5.010 call 3 close
             {LATER}"
        )
    };
    let waited = |host: &str| {
        let joined = Rows::read(&other(host)).join();
        joined.queries.iter().next().unwrap().waited()
    };
    assert!(waited("10.0.0.9") >= Span::seconds(5));
    // What the trace lacks of the same host: it asked again.
    assert!(waited("10.0.0.1") < Span::seconds(1));
}
