use crate::join::rows::Rows;

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
    let expected = ["a.example 0-5 failed 1", "a.example 0.1-5.1 failed 1"];
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
