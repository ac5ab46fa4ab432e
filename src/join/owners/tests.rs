use crate::join::rows::Rows;

/// `SENT RESOLVER CAUSE` of each query, and `TO BEGAN …, CAUSE` of each connection, of processes that were watched.
fn causes(text: &str) -> Vec<String> {
    let rows = Rows::read(&format!("watched exact\n{text}"));
    let joined = rows.join();
    let task = |task: Option<&crate::event::Task>| {
        task.map_or(String::new(), |t| {
            let tid = t.tid.map_or(String::new(), |tid| format!("/{tid}"));
            format!(" {}{tid}", t.pid.unwrap())
        })
    };
    let queries = { rows.causes().into_iter() }
        .zip(&joined.queries)
        .map(|(line, q)| format!("{line}{}", task(q.task.as_ref())));
    let connections = joined.connections.iter().map(|c| {
        let whose = format!("{:?}", c.origin).to_lowercase();
        format!("{} {whose}{}", c.to, task(c.task.as_ref()))
    });
    queries.chain(connections).collect()
}

const QUERY: &str = "1 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A db.example\n";

#[test]
fn a_query_is_whose_its_socket_is() {
    let of = |owners: &str| causes(&format!("{QUERY}{owners}"));
    let owner = "owner 10.0.0.1:4000 10.0.1.93:53 udp";
    for (owners, whose) in [
        (format!("1 {owner} 4711 java 9"), "socket - 4711"),
        (format!("1 {owner} others"), "untraced"),
        (format!("1 {owner} gone"), "unattributed"),
        (format!("1 {owner} unreadable"), "unattributed"),
        (format!("1 {owner} not_looked_up"), "unattributed"),
        // No event, and one of another time or of the response.
        (String::new(), "unattributed"),
        (format!("1.1 {owner} 4711 java 9"), "unattributed"),
        (format!("0.9 {owner} 4711 java 9"), "unattributed"),
        (
            "1 owner 10.0.1.93:53 10.0.0.1:4000 udp 4711 java 9".into(),
            "unattributed",
        ),
        (
            "1 owner 10.0.0.1:4000 10.0.1.93:53 tcp 4711 java 9".into(),
            "unattributed",
        ),
        // The capture stepped back: the packet's time was raised.
        (format!("0.9995 {owner} 4711 java 9"), "socket - 4711"),
        // The second look found out what the first did not; a thread's wait comes later.
        (
            format!("1 {owner} gone\n1 {owner} 4711 java 9"),
            "socket - 4711",
        ),
        (
            format!("1 {owner} 4711 java 9\n1 {owner} 4711 pool 9 4720 recvfrom 1"),
            "socket - 4711/4720",
        ),
        (
            format!("1 {owner} 4711 java 9\n1.02 {owner} 4711 pool 9 4720 recvfrom 1"),
            "socket - 4711/4720",
        ),
        // What waits for this socket alone says more than a loop.
        (
            format!(
                "1 {owner} 4711 java 9\n1 {owner} 4711 loop 9 4712 epoll_wait 30\n1 {owner} 4711 pool 9 4720 poll 1"
            ),
            "socket - 4711/4720",
        ),
        // The wait for another socket of the same ends is not this one's.
        (
            format!("1 {owner} 4711 java 9\n1.02 {owner} 4711 pool 10 4720 recvfrom 1"),
            "socket - 4711",
        ),
        // Two sockets for one packet: nobody can say.
        (
            format!("1 {owner} 4711 java 9\n1 {owner} 4712 curl 10"),
            "unattributed",
        ),
        (
            format!("1 {owner} 4711 java 9\n1 {owner} ambiguous"),
            "unattributed",
        ),
        // Two processes have one socket: the first that was found.
        (
            format!("1 {owner} 4711 java 9\n1 {owner} 4712 java 9"),
            "socket - 4711",
        ),
    ] {
        let line = format!("1 10.0.1.93:53 {whose}");
        assert_eq!(of(&owners), [line], "{owners}");
    }
}

#[test]
fn two_processes_use_one_port_in_turn() {
    let text = "
        1 owner 10.0.0.1:4000 10.0.1.93:53 udp 4711 java 9
        1 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A db.example
        2 owner 10.0.0.1:4000 10.0.1.93:53 udp 4800 curl 10
        2 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A db.example
        3 packet 10.0.0.1:4000 10.0.1.93:53 query 7 A db.example";
    let expected = [
        "1 10.0.1.93:53 socket - 4711",
        "2 10.0.1.93:53 socket - 4800",
        "3 10.0.1.93:53 unattributed",
    ];
    assert_eq!(causes(text), expected);
    let rows = Rows::read(&format!("watched exact\n{text}"));
    assert_eq!(rows.lookups().len(), 3, "each is its own client's lookup");
    assert_eq!(rows.join().processes.len(), 2);
}

#[test]
fn the_syns_of_one_attempt_are_one_sockets() {
    let syns = "
        1 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
        2 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
        4 packet 10.0.0.1:5000 10.9.9.9:80 syn 7\n";
    let owner = "owner 10.0.0.1:5000 10.9.9.9:80 tcp";
    for (owners, whose) in [
        (format!("4 {owner} 4711 java 9"), "watched 4711"),
        (
            format!("1 {owner} gone\n4 {owner} 4711 java 9"),
            "watched 4711",
        ),
        (format!("2 {owner} others"), "untraced"),
        (
            format!("1 {owner} 4711 java 9\n4 {owner} others"),
            "watched 4711",
        ),
        (
            format!("1 {owner} 4711 java 9\n4 {owner} 4711 java 10"),
            "unattributed",
        ),
        (
            format!("1 {owner} 4711 java 9\n2 {owner} 4711 pool 9 4720 connect 1"),
            "watched 4711/4720",
        ),
        (String::new(), "unattributed"),
    ] {
        let line = format!("10.9.9.9:80 {whose}");
        assert_eq!(causes(&format!("{syns}{owners}")), [line], "{owners}");
    }
    // The same ends, another number: another attempt.
    let next = "70 packet 10.0.0.1:5000 10.9.9.9:80 syn 8\n1 owner 10.0.0.1:5000 10.9.9.9:80 tcp 4711 java 9";
    let expected = ["10.9.9.9:80 watched 4711", "10.9.9.9:80 unattributed"];
    assert_eq!(causes(&format!("{syns}{next}")), expected);
}

#[test]
fn an_owner_that_may_be_wrong_is_inferred() {
    let text = format!("{QUERY}1 owner 10.0.0.1:4000 10.0.1.93:53 udp 4711 java 9");
    let of = |kind: &str| Rows::read(&format!("watched {kind}\n{text}")).causes();
    assert_eq!(of("exact"), ["1 10.0.1.93:53 socket -"]);
    assert_eq!(of("inexact"), ["1 10.0.1.93:53 inferred -"]);
    let unwatched = Rows::read(&text).causes();
    assert_eq!(unwatched, ["1 10.0.1.93:53 unknown"], "nothing was watched");
}

#[test]
fn lookups_and_connects_are_joined_within_one_process() {
    let text = "
        1 owner 10.0.0.1:4000 10.0.1.1:53 udp 4711 java 9
        1 packet 10.0.0.1:4000 10.0.1.1:53 query 7 A db.example
        1.1 packet 10.0.1.1:53 10.0.0.1:4000 answer 7 A db.example 10.9.9.9
        1.2 owner 10.0.0.1:5000 10.9.9.9:80 tcp WHOSE
        1.2 packet 10.0.0.1:5000 10.9.9.9:80 syn 7
        1.3 packet 10.9.9.9:80 10.0.0.1:5000 synack 7";
    for (whose, has_lookup) in [
        ("4711 java 10", true),
        ("4800 curl 10", false),
        ("others", false),
        ("gone", false),
    ] {
        let rows = Rows::read(&format!("watched exact\n{}", text.replace("WHOSE", whose)));
        let joined = rows.join();
        let lookup = joined.connections.iter().next().unwrap().lookup;
        assert_eq!(lookup.is_some(), has_lookup, "{whose}");
    }
    // Nor does what nobody can say whose it is give an address to anybody.
    let text = text.replace("udp 4711 java 9", "udp gone");
    for whose in ["4711 java 10", "others", "gone"] {
        let rows = Rows::read(&format!("watched exact\n{}", text.replace("WHOSE", whose)));
        let joined = rows.join();
        assert!(
            joined.connections.iter().next().unwrap().lookup.is_none(),
            "{whose}"
        );
    }
}

#[test]
fn a_lookup_names_the_thread_where_one_of_its_queries_does() {
    let owner = "owner 10.0.0.1:4000 10.0.1.1:53 udp 4711 java 9";
    for (first, second) in [
        ("", " 4720 poll 1"),
        (" 4720 poll 1", ""),
        (" 4720 poll 1", " 4720 poll 1"),
    ] {
        let rows = Rows::read(&format!(
            "watched exact
            1 {owner}{first}
            1 packet 10.0.0.1:4000 10.0.1.1:53 query 7 A db.example
            1.001 {owner}{second}
            1.001 packet 10.0.0.1:4000 10.0.1.1:53 query 8 AAAA db.example"
        ));
        let joined = rows.join();
        let lookups: Vec<_> = joined.lookups.iter().collect();
        let [lookup] = &lookups[..] else {
            panic!("{} lookups", lookups.len())
        };
        let tids: Vec<_> = lookup.tasks.iter().map(|t| t.tid).collect();
        assert_eq!(tids, [Some(4720)], "{first}, {second}");
    }
}
