//! strace logs as people paste them: without times, cut, redacted, of sockets that were opened before. Each small log is
//! made here, and beside it stands what may be said about it.

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use presyn::input::progress::Progress;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::text;
use presyn::report::{
    ConnectionOutcome, Delay, EntryKind, FindingId, LookupOutcome, Report, Resolver,
};
use presyn::session::inputs::{self, InputOptions};
use presyn::source::strace_log;
use std::fs;
use std::path::{Path, PathBuf};

const QUERY: &str = r#""\21\21\1\0\0\1\0\0\0\0\0\0\4host\4test\0\0\1\0\1", 27"#;
const ANSWER: &str = r#""\21\21\201\200\0\1\0\1\0\0\0\0\4host\4test\0\0\1\0\1\300\f\0\1\0\1\0\0\1,\0\4\306\0063d\5", 2048"#;

/// The report about a log.
fn report(log: &str) -> Report {
    let mut calls = Vec::new();
    let read = strace_log::read_from("log", log.as_bytes(), 0, &Progress::default(), &mut |e| {
        calls.push(e);
    });
    let gathered = Gathered {
        traces: vec![(read.unwrap(), calls)],
        ..Gathered::default()
    };
    pipeline::report(gathered, &Settings::default())
}

/// The text of a report, on one line.
fn words(report: &Report) -> String {
    let mut out = Vec::new();
    let full = text::Look {
        full: true,
        ..text::Look::default()
    };
    text::write(report, full, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn connect(fd: u32, address: &str, port: u16) -> String {
    format!(
        "connect({fd}, {{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{address}\")}}, 16)"
    )
}

fn datagram(fd: u32) -> String {
    format!("socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = {fd}")
}

fn asked(fd: u32, resolver: &str) -> Vec<String> {
    vec![
        datagram(fd),
        format!("{} = 0", connect(fd, resolver, 53)),
        format!("sendto({fd}, {QUERY}, MSG_NOSIGNAL, NULL, 0) = 27"),
    ]
}

fn answered(fd: u32, resolver: &str) -> Vec<String> {
    vec![
        format!("poll([{{fd={fd}, events=POLLIN}}], 1, 5000) = 1 ([{{fd={fd}, revents=POLLIN}}])"),
        format!(
            "recvfrom({fd}, {ANSWER}, 0, {{sa_family=AF_INET, sin_port=htons(53), \
             sin_addr=inet_addr(\"{resolver}\")}}, [28->16]) = 43"
        ),
        format!("close({fd}) = 0"),
    ]
}

fn in_vain(fd: u32, milliseconds: u32) -> String {
    format!("poll([{{fd={fd}, events=POLLIN}}], 1, {milliseconds}) = 0 (Timeout)")
}

fn connected(address: &str) -> Vec<String> {
    vec![
        "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3".into(),
        format!("{} = 0", connect(3, address, 80)),
    ]
}

fn log(parts: &[Vec<String>]) -> String {
    parts.concat().join("\n") + "\n"
}

/// The same log with a time before each line, `gap` seconds after a wait that timed out.
fn timed(log: &str) -> String {
    let mut micros = 36_000_000_000_u64;
    let mut lines = String::new();
    for line in log.lines() {
        let seconds = micros / 1_000_000;
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        lines += &format!("{h:02}:{m:02}:{s:02}.{:06} {line}\n", micros % 1_000_000);
        let waited = line
            .strip_suffix(") = 0 (Timeout)")
            .and_then(|l| l.rsplit(' ').next()?.parse::<u64>().ok());
        micros += waited.map_or(100, |ms| ms * 1000 + 200);
    }
    lines
}

fn resolver<'a>(report: &'a Report, address: &str) -> &'a Resolver {
    report
        .resolvers
        .iter()
        .find(|r| r.address == address)
        .unwrap()
}

fn has(report: &Report, id: FindingId) -> bool {
    report.findings.iter().any(|f| f.id == id)
}

fn near(value: Option<f64>, wanted: f64) -> bool {
    value.is_some_and(|v| (v - wanted).abs() < 0.05)
}

fn two_tries() -> String {
    log(&[
        asked(3, "192.0.2.53"),
        vec![in_vain(3, 3000)],
        asked(4, "192.0.2.54"),
        answered(4, "192.0.2.54"),
        vec!["close(3) = 0".into()],
        connected("198.51.100.5"),
    ])
}

#[test]
fn a_log_without_times_has_only_the_durations_that_its_calls_show() {
    let report = report(&two_tries());
    let delay: &Delay = &report.delays[0];
    assert!(delay.at_least);
    assert!(near(delay.since_first_query_s, 3.0), "{delay:?}");
    assert!(near(resolver(&report, "192.0.2.53").waited_s, 3.0));
    assert_eq!(resolver(&report, "192.0.2.54").waited_s, None);
    assert_eq!(resolver(&report, "192.0.2.54").rtt_s.median, None);
    let lookup = &report.lookups[0];
    assert_eq!((lookup.began_s, &lookup.began), (None, &None));
    assert!(lookup.queries.iter().all(|q| q.sent_s.is_none()));
    assert_eq!(report.connections[0].called_s, None);
    assert_eq!(report.connections[0].connect_seconds, None);
    let words = words(&report);
    assert!(words.contains("at least 3.00 s"), "{words}");
    assert!(words.contains("-ttt -T"), "{words}");
    assert!(
        !words.contains(" 0 µs") && !words.contains(" 0 s"),
        "{words}"
    );
}

#[test]
fn durations_of_calls_count_without_times_of_lines() {
    let mut lines: Vec<String> = two_tries().lines().map(str::to_owned).collect();
    for line in &mut lines {
        let took = if line.contains("Timeout") {
            3.002
        } else {
            0.25
        };
        *line += &format!(" <{took:.6}>");
    }
    let report = report(&(lines.join("\n") + "\n"));
    assert!(near(report.connections[0].connect_seconds, 0.25));
    assert!(resolver(&report, "192.0.2.53").waited_s > Some(3.0));
}

#[test]
fn without_any_duration_nothing_is_known_to_have_taken_time() {
    let text = log(&[
        asked(3, "192.0.2.53"),
        answered(3, "192.0.2.53"),
        connected("198.51.100.5"),
    ]);
    let report = report(&text);
    assert!(!has(&report, FindingId::NothingWrong));
    assert_eq!(report.delays[0].since_start_s, None);
    assert!(
        report.summary[0].contains("not known"),
        "{:?}",
        report.summary
    );
    assert_eq!(report.best_change.map(|b| b.told), None);
}

#[test]
fn a_connect_whose_end_no_line_shows_took_an_unknown_time() {
    let report = report(&timed(&two_tries()));
    assert_eq!(report.connections[0].connect_seconds, None);
    assert!(!words(&report).contains(" 0 µs"));
    assert!(near(report.delays[0].since_first_query_s, 3.0));
}

/// A log of threads: one waits while another works.
#[test]
fn waits_of_threads_overlap_in_a_log_without_times() {
    let wait = |tid: u32, rest: &str| format!("[pid {tid}] {rest}");
    let mut lines = Vec::new();
    for (tid, fd, resolver) in [(7, 3, "192.0.2.53"), (8, 4, "192.0.2.54")] {
        lines.extend(asked(fd, resolver).iter().map(|l| wait(tid, l)));
        lines.push(wait(
            tid,
            &format!("poll([{{fd={fd}, events=POLLIN}}], 1, 5000 <unfinished ...>"),
        ));
    }
    for tid in [7, 8] {
        lines.push(wait(tid, "<... poll resumed>) = 0 (Timeout)"));
    }
    lines.push(wait(7, "close(3) = 0"));
    lines.push(wait(8, "close(4) = 0"));
    let report = report(&(lines.join("\n") + "\n"));
    for address in ["192.0.2.53", "192.0.2.54"] {
        assert!(
            near(resolver(&report, address).waited_s, 5.0),
            "{report:#?}"
        );
    }
}

/// Recorded cases with the times and durations taken out of their logs: the packets have the times.
#[test]
fn beside_a_capture_calls_take_the_times_of_their_packets() {
    for case in [
        "first-resolver-silent",
        "overlapping-threads",
        "zookeeper-three-silent",
        "lossy-resolver",
        "two-addresses-fallback",
    ] {
        let whole = read(&[&Path::new("captures").join(case)]);
        let folder = without_times(case);
        let bare = read(&[&folder]);
        let figures = |r: &Report| -> Vec<(String, [Option<u64>; 4], i64)> {
            let rows = r.resolvers.iter();
            rows.map(|x| {
                let waited = (x.waited_s.unwrap_or(0.0) * 10.0).round() as i64;
                let counts = [x.queries, x.answered, x.unanswered, x.never_sent];
                (x.address.clone(), counts, waited)
            })
            .collect()
        };
        assert_eq!(figures(&bare), figures(&whole), "{case}");
        let delay = |r: &Report| r.delays[0].since_first_query_s.unwrap();
        let (a, b) = (delay(&bare), delay(&whole));
        assert!((a - b).abs() < 0.05, "{case}: {a} for {b}");
        assert!(!has(&bare, FindingId::NothingWrong));
    }
}

fn read(paths: &[&Path]) -> Report {
    let paths: Vec<PathBuf> = paths.iter().map(|p| (*p).to_owned()).collect();
    let gathered = inputs::gather(&paths, &InputOptions::default()).unwrap();
    pipeline::report(gathered, &Settings::default())
}

/// A copy of a case whose log has no times.
fn without_times(case: &str) -> PathBuf {
    let from = Path::new("captures").join(case);
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("untimed-{case}"));
    fs::create_dir_all(&to).unwrap();
    for name in ["packets.pcap", "resolv.conf"] {
        let _ = fs::remove_file(to.join(name));
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let log = fs::read_to_string(from.join("syscalls.strace")).unwrap();
    let bare = log.lines().map(|line| {
        let mut words = line.split_whitespace();
        let (tid, at) = (words.next().unwrap(), words.next().unwrap());
        assert!(at.contains('.'), "{line}");
        let rest = &line[line.find(at).unwrap() + at.len()..];
        let rest = rest.trim_start();
        let rest = match rest.rfind(" <") {
            Some(n) if rest.ends_with('>') && rest[n + 2..].starts_with(char::is_numeric) => {
                &rest[..n]
            }
            _ => rest,
        };
        format!("{tid} {rest}\n")
    });
    fs::write(to.join("syscalls.strace"), bare.collect::<String>()).unwrap();
    to
}

fn outcome(report: &Report) -> Option<LookupOutcome> {
    report.lookups[0].outcome
}

#[test]
fn a_lookup_that_the_log_cuts_is_open() {
    let parts = [
        asked(3, "192.0.2.53"),
        vec![in_vain(3, 3000)],
        asked(4, "192.0.2.54"),
    ];
    for lines in 1..=parts.len() {
        let report = report(&timed(&log(&parts[..lines])));
        assert_eq!(outcome(&report), Some(LookupOutcome::Open), "{lines}");
        let words = words(&report);
        assert!(
            !words.contains("gave up") && !words.contains("failed"),
            "{words}"
        );
        assert!(!has(&report, FindingId::NeverConnected));
        assert!(!has(&report, FindingId::NothingWrong));
    }
}

#[test]
fn a_lookup_whose_client_went_on_has_failed() {
    let parts = [
        asked(3, "192.0.2.53"),
        vec![
            in_vain(3, 3000),
            "close(3) = 0".into(),
            "+++ exited with 6 +++".into(),
        ],
    ];
    let report = report(&timed(&log(&parts)));
    assert_eq!(outcome(&report), Some(LookupOutcome::Failed));
    assert!(words(&report).contains("gave up"));
}

#[test]
fn a_signal_that_ended_the_client_is_named() {
    let parts = [
        asked(3, "192.0.2.53"),
        vec![
            "poll([{fd=3, events=POLLIN}], 1, 5000) = ? ERESTART_RESTARTBLOCK (Interrupted by signal)"
                .into(),
        ],
    ];
    let mut text = timed(&log(&parts));
    text +=
        "10:00:02.500000 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=9, si_uid=0} ---\n";
    text += "10:00:02.500100 +++ killed by SIGTERM +++\n";
    let report = report(&text);
    assert_eq!(outcome(&report), Some(LookupOutcome::Open));
    assert_eq!(resolver(&report, "192.0.2.53").unanswered, Some(0));
    let words = words(&report);
    assert!(words.contains("ended by SIGTERM after 2.50 s"), "{words}");
    assert!(
        !words.contains("gave up") && !words.contains("never answered"),
        "{words}"
    );
}

#[test]
fn a_wait_belongs_to_the_descriptor_in_it() {
    let other = vec![
        "socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) = 9".into(),
        datagram(3),
        format!("{} = 0", connect(3, "192.0.2.53", 53)),
        "poll([{fd=3, events=POLLIN}], 1, 5000) = 1 ([{fd=3, revents=POLLIN}])".into(),
        in_vain(9, 1000),
        in_vain(9, 1000),
    ];
    let report = report(&timed(&log(&[other])));
    let row = resolver(&report, "192.0.2.53");
    assert_eq!((row.unanswered, row.open), (Some(0), Some(1)));
    assert!(row.waited_s < Some(0.1), "{row:?}");
    assert!(!has(&report, FindingId::ResolverSilent));
    assert!(!words(&report).contains("silent"));
}

#[test]
fn a_socket_that_could_be_written_to_has_not_been_answered() {
    let parts = [
        vec![
            datagram(3),
            format!("{} = 0", connect(3, "192.0.2.53", 53)),
            "poll([{fd=3, events=POLLOUT}], 1, 5000) = 1 ([{fd=3, revents=POLLOUT}])".into(),
        ],
        vec![in_vain(3, 5000), "close(3) = 0".into()],
    ];
    let report = report(&timed(&log(&parts)));
    assert_eq!(resolver(&report, "192.0.2.53").unanswered, Some(1));
}

#[test]
fn a_change_never_makes_a_cut_lookup_shorter_than_its_first_wait() {
    let part = |id: &str, kind: &str| {
        let payload = format!(r"\21{id}\1\0\0\1\0\0\0\0\0\0\4host\4test\0\0{kind}\0\1");
        format!(
            "{{msg_hdr={{msg_name=NULL, msg_namelen=0, msg_iov=[{{iov_base=\"{payload}\", iov_len=27}}], \
             msg_iovlen=1, msg_controllen=0, msg_flags=0}}, msg_len=27}}"
        )
    };
    let lines = vec![
        datagram(3),
        format!("{} = 0", connect(3, "192.0.2.53", 53)),
        format!(
            "sendmmsg(3, [{}, {}], 2, MSG_NOSIGNAL) = 2",
            part(r"\21", r"\1"),
            part(r"\22", r"\34")
        ),
        in_vain(3, 5000),
    ];
    let report = report(&timed(&log(&[lines])));
    let best = report.best_change.unwrap();
    assert!((1.0..=2.1).contains(&best.least_s), "{best:?}");
}

#[test]
fn a_socket_of_before_the_log_is_known_by_who_answers_on_it() {
    let parts = [
        vec![format!("sendto(3, {QUERY}, MSG_NOSIGNAL, NULL, 0) = 27")],
        answered(3, "192.0.2.54"),
        connected("198.51.100.5"),
    ];
    let report = report(&timed(&log(&parts)));
    let row = resolver(&report, "192.0.2.54");
    assert_eq!((row.queries, row.answered), (Some(1), Some(1)));
    assert_eq!(report.lookups[0].name.as_deref(), Some("host.test"));
}

#[test]
fn a_response_to_another_question_is_no_silence() {
    let other = ANSWER.replace(r"\4host", r"\4mail");
    let second = QUERY
        .replacen(r"\21\21", r"\21\22", 1)
        .replace(r"\0\0\1\0\1", r"\0\0\34\0\1");
    let from = "{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"192.0.2.54\")}";
    let mut lines = asked(3, "192.0.2.54");
    lines.push("poll([{fd=3, events=POLLIN}], 1, 5000) = 1 ([{fd=3, revents=POLLIN}])".into());
    lines.push(format!("recvfrom(3, {ANSWER}, 0, {from}, [28->16]) = 43"));
    lines.push(format!("sendto(3, {second}, MSG_NOSIGNAL, NULL, 0) = 27"));
    let wrong = other.replacen(r"\21\21", r"\21\22", 1);
    lines.push(format!("recvfrom(3, {wrong}, 0, {from}, [28->16]) = 43"));
    lines.push(in_vain(3, 4998));
    lines.push("close(3) = 0".into());
    let report = report(&timed(&log(&[lines])));
    assert!(!has(&report, FindingId::ResolverSilent));
    let words = words(&report);
    assert!(words.contains("another question (A mail.test)"), "{words}");
}

#[test]
fn a_connect_under_way_accuses_nobody() {
    let lines = vec![
        format!(
            "{} = -1 EINPROGRESS (Operation now in progress)",
            connect(6, "198.51.100.7", 443)
        ),
        format!(
            "{} = -1 ENETUNREACH (Network is unreachable)",
            connect(8, "198.51.100.9", 443)
        ),
    ];
    let report = report(&timed(&log(&[lines])));
    assert!(!has(&report, FindingId::AddressFallback));
    let open = report
        .connections
        .iter()
        .find(|c| c.to.starts_with("198.51.100.7"))
        .unwrap();
    assert_eq!(open.outcome, Some(ConnectionOutcome::Open));
}

#[test]
fn a_wait_in_vain_for_a_connect_is_a_finding_with_and_without_a_close() {
    for end in [None, Some("close(4) = 0")] {
        let mut lines = vec![
            "socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 4".into(),
            format!(
                "{} = -1 EINPROGRESS (Operation now in progress)",
                connect(4, "198.51.100.7", 80)
            ),
            "poll([{fd=4, events=POLLOUT}], 1, 20000) = 0 (Timeout)".into(),
        ];
        lines.extend(end.map(str::to_owned));
        let report = report(&timed(&log(&[lines])));
        let found = report
            .findings
            .iter()
            .find(|f| f.id == FindingId::SynUnanswered);
        assert!(
            near(found.and_then(|f| f.seconds), 20.0),
            "{end:?}: {:#?}",
            report.findings
        );
        assert!(report.summary[0].contains("198.51.100.7"));
    }
}

#[test]
fn seconds_of_an_untraced_thread_are_not_explained() {
    let mut text = timed(&log(&[vec![datagram(3)]]));
    for (n, line) in log(&[connected("198.51.100.5")]).lines().enumerate() {
        text += &format!("10:00:12.50000{n} {line}\n");
    }
    let report = report(&text);
    assert!(!has(&report, FindingId::NothingWrong));
    let words = words(&report);
    assert!(
        words.contains("12.5 s of that the log does not explain"),
        "{words}"
    );
    assert!(
        words.contains("strace -f") && !words.contains("starting up"),
        "{words}"
    );
}

#[test]
fn a_name_that_was_cut_is_marked() {
    let query = r#""\21\21\1\0\0\1\0\0\0\0\0\0\4host\7interna"..., 40"#;
    let mut lines = asked(3, "192.0.2.53");
    lines.pop();
    lines.push(format!("sendto(3, {query}, MSG_NOSIGNAL, NULL, 0) = 40"));
    lines.extend([in_vain(3, 5000), "close(3) = 0".into()]);
    let report = report(&timed(&log(&[lines])));
    assert_eq!(report.lookups[0].name.as_deref(), Some("host.interna…"));
    let words = words(&report);
    for (at, _) in words.match_indices("host.interna") {
        assert!(words[at..].starts_with("host.interna…"), "{words}");
    }
}

#[test]
fn dns_that_cannot_leave_is_a_failed_lookup_of_a_named_resolver() {
    let no_route = |fd| {
        let to = connect(fd, "192.0.2.53", 53);
        vec![
            datagram(fd),
            format!("{to} = -1 ENETUNREACH (Network is unreachable)"),
            format!("close({fd}) = 0"),
        ]
    };
    let mut filtered = asked(3, "192.0.2.53");
    filtered.pop();
    filtered.push(format!(
        "sendto(3, {QUERY}, MSG_NOSIGNAL, NULL, 0) = -1 EPERM (Operation not permitted)"
    ));
    filtered.push("close(3) = 0".into());
    for (lines, error) in [(no_route(3), "ENETUNREACH"), (filtered, "EPERM")] {
        let report = report(&timed(&log(&[lines])));
        assert_eq!(outcome(&report), Some(LookupOutcome::Failed), "{error}");
        assert!(has(&report, FindingId::ResolverUnreachable));
        assert!(report.summary[0].contains(error), "{:?}", report.summary);
        let remedies: Vec<_> = report
            .findings
            .iter()
            .filter_map(|f| f.remedy.as_deref())
            .collect();
        let firewall = remedies.iter().any(|r| r.contains("nft list ruleset"));
        assert_eq!(firewall, error == "EPERM", "{remedies:?}");
        assert!(!words(&report).contains("went out"));
        assert_eq!(resolver(&report, "192.0.2.53").never_sent, Some(1));
    }
    // Only the first resolver cannot be reached.
    let parts = [
        no_route(3),
        asked(4, "192.0.2.54"),
        answered(4, "192.0.2.54"),
        connected("198.51.100.5"),
    ];
    let report = report(&timed(&log(&parts)));
    assert!(
        has(&report, FindingId::ResolverUnreachable),
        "{:#?}",
        report.findings
    );
    assert_eq!(resolver(&report, "192.0.2.54").answered, Some(1));
}

#[test]
fn a_clock_of_whole_seconds_shows_nothing_shorter() {
    let lines = [
        asked(3, "192.0.2.53"),
        answered(3, "192.0.2.53"),
        connected("198.51.100.5"),
    ];
    let text: String = log(&lines)
        .lines()
        .map(|l| format!("10:00:00 {l}\n"))
        .collect();
    let report = report(&text);
    assert_eq!(resolver(&report, "192.0.2.53").rtt_s.max, None);
    assert_eq!(report.delays[0].since_start_s, None);
    let words = words(&report);
    assert!(
        words.contains("less than 1.00 s") && !words.contains(" 0 µs"),
        "{words}"
    );
}

/// A shell waits, then starts the client.
#[test]
fn a_program_starts_when_it_is_executed() {
    let mut text = String::from(concat!(
        "50 10:00:00.000000 execve(\"/bin/sh\", [\"sh\"], 0x7 /* 9 vars */) = 0\n",
        "50 10:00:00.000100 clone(child_stack=NULL, flags=SIGCHLD) = 51\n",
        "51 10:00:04.000000 execve(\"/usr/bin/client\", [\"client\"], 0x7 /* 9 vars */) = 0\n",
    ));
    for (n, line) in log(&[connected("198.51.100.5")]).lines().enumerate() {
        text += &format!("51 10:00:04.10000{n} {line}\n");
    }
    let report = report(&text);
    assert!(
        near(report.delays[0].since_start_s, 0.1),
        "{:?}",
        report.delays
    );
}

#[test]
fn an_address_that_was_made_unreadable_is_an_endpoint_by_its_words() {
    for (first, second, shown) in [
        ("10.x.x.1", "10.x.x.2", "10.x.x.1"),
        (
            "<resolver-number-one>",
            "<resolver-number-two>",
            "<resolver-nu…",
        ),
    ] {
        let text = timed(&two_tries())
            .replace("192.0.2.53", first)
            .replace("192.0.2.54", second);
        let report = report(&text);
        assert_eq!(report.resolvers.len(), 2);
        assert!(has(&report, FindingId::ResolverSilent));
        assert!(near(report.resolvers[0].waited_s, 3.0));
        assert_eq!(report.resolvers[0].address, shown);
        assert_eq!(report.resolvers[1].answered, Some(1));
        let words = words(&report);
        assert!(
            words.contains(&format!("waiting for resolver {shown}")),
            "{words}"
        );
        assert!(!words.contains("ff0f"), "{words}");
        assert!(!has(&report, FindingId::NothingWrong));
    }
}

#[test]
fn a_name_service_that_was_asked_is_a_lookup() {
    let asked = r#"{\"method\":\"io.systemd.Resolve.ResolveHostname\",\"parameters\":{\"name\":\"host.test\",\"flags\":0}}\0"#;
    for (reply, wanted) in [
        (
            r#"{\"parameters\":{\"addresses\":[],\"name\":\"host.test\"}}\0"#,
            LookupOutcome::Answered,
        ),
        (
            r#"{\"error\":\"io.systemd.Resolve.NoSuchResourceRecord\"}\0"#,
            LookupOutcome::Negative,
        ),
        (
            r#"{\"error\":\"io.systemd.Resolve.QueryTimedOut\"}\0"#,
            LookupOutcome::Failed,
        ),
    ] {
        let socket = "/run/systemd/resolve/io.systemd.Resolve";
        let mut text = timed(&log(&[vec![
            "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0) = 3".into(),
            format!("connect(3, {{sa_family=AF_UNIX, sun_path=\"{socket}\"}}, 42) = 0"),
            format!("sendto(3, \"{asked}\", 96, MSG_DONTWAIT|MSG_NOSIGNAL, NULL, 0) = 96"),
        ]]));
        text += &format!(
            "10:00:07.000000 recvfrom(3, \"{reply}\", 131080, MSG_DONTWAIT, NULL, NULL) = 61\n"
        );
        text += "10:00:07.000100 close(3) = 0\n";
        let report = report(&text);
        assert_eq!(report.lookups[0].name.as_deref(), Some("host.test"));
        assert_eq!(outcome(&report), Some(wanted));
        assert!(near(report.delays[0].since_start_s, 7.0));
        assert!(has(&report, FindingId::NameServiceWait));
        assert!(
            report.summary[0].contains("systemd-resolved"),
            "{:?}",
            report.summary
        );
    }
}

/// A client that waits two seconds over a socket of its own, by one call or another, before it connects.
fn waits_elsewhere(open: &[&str], wait: &str) -> Report {
    let mut text = String::from("10:00:00.000000 execve(\"/bin/x\", [\"x\"], 0x0) = 0\n");
    for (n, line) in open.iter().enumerate() {
        text += &format!("10:00:00.01000{n} {line} <0.000010>\n");
    }
    text +=
        &format!("10:00:00.020000 {wait} <2.000000>\n10:00:02.020100 close(3) = 0 <0.000010>\n");
    for (n, line) in log(&[connected("198.51.100.5")]).lines().enumerate() {
        text += &format!("10:00:02.03000{n} {line} <0.000010>\n");
    }
    report(&text)
}

#[test]
fn waits_for_other_sockets_are_named_by_their_far_end() {
    let kerberos = connect(3, "192.0.2.88", 88) + " = 0";
    let socket = datagram(3);
    let udp = [&*socket, &kerberos, "sendto(3, \"krb\", 3, 0, NULL, 0) = 3"];
    let bus = [
        "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3",
        "connect(3, {sa_family=AF_UNIX, sun_path=\"/run/dbus/system_bus_socket\"}, 30) = 0",
        "sendto(3, \"call\", 4, 0, NULL, 0) = 4",
    ];
    for (open, wait, party, said) in [
        (
            udp,
            "poll([{fd=3, events=POLLIN}], 1, 2000) = 0 (Timeout)",
            "192.0.2.88:88",
            "192.0.2.88:88 (Kerberos)",
        ),
        (
            bus,
            "poll([{fd=3, events=POLLIN}], 1, 25000) = 1 ([{fd=3, revents=POLLIN}])",
            "the D-Bus system bus",
            "for the D-Bus system bus",
        ),
        (
            bus,
            "recvmsg(3, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base=\"x\", iov_len=24}], msg_iovlen=1}, 0) = 1",
            "the D-Bus system bus",
            "for the D-Bus system bus",
        ),
    ] {
        let report = waits_elsewhere(&open, wait);
        assert!(!has(&report, FindingId::NothingWrong), "{wait}");
        let entries = &report.delays[0].entries;
        let found = entries.iter().find(|e| e.kind.name() == "socket-wait");
        let found = found.unwrap_or_else(|| panic!("{wait}: {entries:?}"));
        assert_eq!(found.party.as_deref(), Some(party));
        assert!(near(found.seconds, 2.0), "{found:?}");
        assert!(report.summary[0].contains(said), "{:?}", report.summary);
    }
    // A wait for several descriptors is nobody's, and a connect under way is that connection's.
    for wait in [
        "poll([{fd=3, events=POLLIN}, {fd=7, events=POLLIN}], 2, 2000) = 0 (Timeout)",
        "poll([{fd=7, events=POLLIN}], 1, 2000) = 0 (Timeout)",
    ] {
        let report = waits_elsewhere(&udp, wait);
        let mut entries = report.delays[0].entries.iter();
        assert!(!entries.any(|e| e.kind.name() == "socket-wait"), "{wait}");
    }
}

#[test]
fn each_question_over_a_socket_that_is_kept_has_its_own_wait() {
    let ask = |name: &str| {
        format!(
            r#"sendto(3, "{{\"method\":\"io.systemd.Resolve.ResolveHostname\",\"parameters\":{{\"name\":\"{name}\",\"flags\":0}}}}\0", 96, 0, NULL, 0) = 96"#
        )
    };
    let answer =
        r#"recvfrom(3, "{\"parameters\":{\"addresses\":[]}}\0", 131080, 0, NULL, NULL) = 61"#;
    let lines = [
        "10:00:00.000000 socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3".into(),
        "10:00:00.000100 connect(3, {sa_family=AF_UNIX, sun_path=\"/run/systemd/resolve/io.systemd.Resolve\"}, 42) = 0".into(),
        format!("10:00:00.000200 {}", ask("one.test")),
        format!("10:00:01.000200 {answer}"),
        format!("10:00:30.000000 {}", ask("two.test")),
        format!("10:00:32.000000 {answer}"),
        "10:01:00.000000 close(3) = 0".into(),
    ];
    let report = report(&(lines.join("\n") + "\n"));
    let seen: Vec<_> = report
        .lookups
        .iter()
        .map(|l| (l.name.as_deref().unwrap_or(""), l.seconds))
        .collect();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].0 == "one.test" && near(seen[0].1, 1.0), "{seen:?}");
    assert!(seen[1].0 == "two.test" && near(seen[1].1, 2.0), "{seen:?}");
}

#[test]
fn a_server_that_looks_up_its_client_attempts_no_connection() {
    let query =
        r#""\21\21\1\0\0\1\0\0\0\0\0\0\0017\0010\00251\003198\7in-addr\4arpa\0\0\f\0\1", 41"#;
    let mut lines = vec![
        "accept(9, {sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr(\"198.51.0.7\")}, [16]) = 5".into(),
    ];
    lines.extend(asked(3, "192.0.2.53"));
    lines.pop();
    lines.push(format!("sendto(3, {query}, MSG_NOSIGNAL, NULL, 0) = 41"));
    lines.extend([
        in_vain(3, 5000),
        "close(3) = 0".into(),
        "write(5, \"hello\", 5) = 5".into(),
    ]);
    let report = report(&timed(&log(&[lines.clone()])));
    assert!(
        has(&report, FindingId::ServerReverseLookup),
        "{:#?}",
        report.findings
    );
    assert!(!has(&report, FindingId::NeverConnected));
    // The same on a socket for both families.
    let mapped = timed(&log(&[lines])).replace(
        "{sa_family=AF_INET, sin_port=htons(40000), sin_addr=inet_addr(\"198.51.0.7\")}, [16]",
        "{sa_family=AF_INET6, sin6_port=htons(40000), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::ffff:198.51.0.7\", \
         &sin6_addr), sin6_scope_id=0}, [28]",
    );
    assert!(mapped.contains("::ffff"));
    let mapped = self::report(&mapped);
    assert!(has(&mapped, FindingId::ServerReverseLookup));
    assert!(!has(&mapped, FindingId::NeverConnected));
    // Another client's name is no business of this connection.
    let other = timed(&two_tries()).replace("192.0.2.53", "192.0.2.55");
    assert!(!has(&self::report(&other), FindingId::ServerReverseLookup));
}

/// Whether a client went on after a lookup, a log that was cut does not show.
#[test]
fn a_log_that_was_cut_says_nothing_about_what_came_next() {
    // It opened the socket of its next try.
    let mut lines = asked(3, "192.0.2.53");
    lines.push(in_vain(3, 5000));
    lines.push(datagram(4));
    let cut = report(&timed(&log(&[lines])));
    assert!(
        cut.summary[0].contains("still had no answer when the trace ended"),
        "{:?}",
        cut.summary
    );
    assert!(!has(&cut, FindingId::NeverConnected));
    // It was answered, and the connect may have come next.
    let lines = [asked(3, "192.0.2.53"), answered(3, "192.0.2.53")];
    let begun = "10:00:00.000000 execve(\"/bin/client\", [\"client\"], 0x7ffd /* 9 vars */) = 0\n";
    let answered = format!("{begun}{}", timed(&log(&lines)));
    assert!(!has(&report(&answered), FindingId::NothingWrong));
    let ended = format!("{answered}10:00:20.000000 +++ exited with 0 +++\n");
    assert!(
        has(&report(&ended), FindingId::NothingWrong),
        "{}",
        words(&report(&ended))
    );
}

/// An address that was made unreadable is one wherever it stands.
#[test]
fn unconnected_sends_to_unreadable_addresses_are_queries() {
    let to = |host: &str| {
        format!("{{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"{host}\")}}, 16")
    };
    let mut lines = vec![datagram(3)];
    for host in ["10.x.x.1", "10.x.x.2"] {
        lines.push(format!(
            "sendto(3, {QUERY}, MSG_NOSIGNAL, {}) = 27",
            to(host)
        ));
    }
    lines.push(in_vain(3, 2500));
    let report = report(&timed(&log(&[lines, connected("198.51.100.5")])));
    assert!(
        report.summary[0].contains("10.x.x.1 and 10.x.x.2, which never answered"),
        "{:?}",
        report.summary
    );
    assert_eq!(
        report.delays[0]
            .entries
            .iter()
            .filter(|e| near(e.seconds, 2.5))
            .count(),
        1
    );
}

/// A client keeps its socket to a service for long; the service is asked for users, too.
#[test]
fn a_socket_that_is_kept_open_is_no_wait() {
    let open = |path: &str| {
        vec![
            "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3".into(),
            format!("connect(3, {{sa_family=AF_UNIX, sun_path=\"{path}\"}}, 42) = 0"),
        ]
    };
    let later = "10:01:08.000000 close(3) = 0\n";
    let mut lines = open("/var/lib/sss/pipes/nss");
    lines
        .push(r#"sendto(3, "\24\0\0\0\21\0\0\0\0\0\0\0\0\0\0\0root", 20, 0, NULL, 0) = 20"#.into());
    lines.push(r#"recvfrom(3, "\24\0\0\0\21\0\0\0", 64, 0, NULL, NULL) = 8"#.into());
    let text = timed(&log(&[lines])) + later;
    assert!(report(&text).delays.is_empty());
    // The same with a name, which was answered at once.
    let mut lines = open("/run/avahi-daemon/socket");
    lines.push(r#"write(3, "RESOLVE-HOSTNAME-IPV4 host.local\n", 33) = 33"#.into());
    lines.push(r#"read(3, "+ 2 0 host.local 192.0.2.9\n", 4096) = 27"#.into());
    let report = report(&(timed(&log(&[lines])) + later));
    assert_eq!(report.lookups[0].name.as_deref(), Some("host.local"));
    assert_eq!(outcome(&report), Some(LookupOutcome::Answered));
    assert!(
        report.delays[0].since_start_s < Some(0.1),
        "{:?}",
        report.delays
    );
}

/// What a client asks sssd may be about users: no lookup, but the wait is there.
#[test]
fn a_wait_for_a_name_service_is_told_without_a_lookup() {
    let log = |wait: &str| {
        format!(
            "0.0 socket(AF_UNIX, SOCK_STREAM, 0) = 3\n\
             0.1 connect(3, {{sa_family=AF_UNIX, sun_path=\"/var/lib/sss/pipes/nss\"}}, 110) = 0 <0.000020>\n\
             0.2 sendto(3, \"\\24\\0\\0\\0\\1\\0\\0\\0\", 8, MSG_NOSIGNAL, NULL, 0) = 8 <0.000020>\n\
             0.3 poll([{{fd=3, events=POLLIN}}], 1, 300000) = 1 ([{{fd=3, revents=POLLIN}}]) <{wait}>\n\
             9.0 read(3, \"\\24\\0\\0\\0\\1\\0\\0\\0\", 8) = 8 <0.000020>\n\
             9.1 close(3) = 0 <0.000020>\n"
        )
    };
    let said = report(&log("8.600000")).summary.concat();
    assert!(said.contains("for the name service sssd"), "{said}");
    let bus = log("8.600000").replace("/var/lib/sss/pipes/nss", "/run/some.socket");
    let said = report(&bus).summary.concat();
    assert!(
        said.ends_with("no connection attempt in these inputs."),
        "{said}"
    );
}

/// Of a run that is in no file, evidence is cited by the time that the calls were made.
#[test]
fn evidence_that_is_in_no_file_is_cited_by_time() {
    let log = format!(
        "1795000000.100000 {}\n\
         1795000000.200000 {} = 0\n\
         1795000000.300000 sendto(3, {QUERY}, MSG_NOSIGNAL, NULL, 0) = 27\n\
         1795000000.400000 poll([{{fd=3, events=POLLIN}}], 1, 5000) = 0 (Timeout) <5.000000>\n\
         1795000005.500000 {}\n\
         1795000005.600000 {} = 0\n",
        datagram(3),
        connect(3, "192.0.2.1", 53),
        datagram(4),
        connect(4, "192.0.2.2", 53)
    );
    let cited = |stored| {
        let mut calls = Vec::new();
        let read =
            strace_log::read_from("log", log.as_bytes(), 0, &Progress::default(), &mut |e| {
                calls.push(e);
            });
        let gathered = Gathered {
            traces: vec![(read.unwrap(), calls)],
            ..Gathered::default()
        };
        let settings = Settings {
            stored,
            ..Settings::default()
        };
        let report = pipeline::report(gathered, &settings);
        let silent = report
            .findings
            .iter()
            .find(|f| f.id == FindingId::ResolverSilent);
        silent.unwrap().calls[0].clone()
    };
    assert_eq!(cited(true), "log:3");
    assert_eq!(cited(false), "2026-11-18T11:06:40.300000Z");
}

#[test]
fn a_stamp_in_front_is_of_the_side_that_the_waits_show() {
    let strace = timed(&two_tries());
    let dressed = |stamp: fn(&str) -> String| -> String {
        let lines = strace.lines().map(|line| {
            let (time, call) = line.split_once(' ').unwrap();
            format!("{} {call}\n", stamp(time))
        });
        lines.collect()
    };
    // Lines of another thread between them change nothing.
    let both = strace.lines().map(|line| {
        let (time, call) = line.split_once(' ').unwrap();
        format!("[2026-07-01 {time}] [pid 8] {call}\n[2026-07-01 {time}] [pid 9] {call}\n")
    });
    let threads = report(&both.collect::<String>());
    assert!(
        near(threads.delays[0].since_start_s, 3.0),
        "{:?}",
        threads.summary
    );
    assert!(near(resolver(&threads, "192.0.2.53").waited_s, 3.0));
    let stamps: [fn(&str) -> String; 3] = [
        |time| format!("[2026-07-01 {time}]"),
        |time| format!("<14>1 2026-07-01T{time}Z host app 99 - -"),
        |time| format!("web-1 | {}", time.replace('.', ",")),
    ];
    for stamp in stamps {
        let log = dressed(stamp);
        let report = report(&log);
        let silent = resolver(&report, "192.0.2.53");
        assert!(near(silent.waited_s, 3.0), "{log}");
        assert_eq!(resolver(&report, "192.0.2.54").late, Some(0), "{log}");
        assert!(near(report.delays[0].since_start_s, 3.0), "{log}");
    }
}

#[test]
fn time_that_a_log_shows_a_program_asleep_is_not_unexplained() {
    let asleep = |call: &str| {
        let lines = [
            "1795000000.000000 execve(\"/srv/app\", [\"app\"], 0x7ffc) = 0 <0.000400>".to_owned(),
            format!("1795000000.010000 {call} <8.000000>"),
            format!(
                "1795000008.020000 {} = 0 <0.010000>",
                connect(3, "198.51.100.5", 80)
            ),
        ];
        report(&(lines.join("\n") + "\n")).delays[0].entries.clone()
    };
    let sleep = asleep("clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=8, tv_nsec=0}, 0x7ffd) = 0");
    assert!(
        sleep.iter().all(|e| e.kind == EntryKind::Running),
        "{sleep:?}"
    );
    // A lock shows that it waited for another thread, whose calls the log lacks.
    let lock = asleep("futex(0x7f01, FUTEX_WAIT_PRIVATE, 1, NULL) = 0");
    assert!(
        lock.iter().any(|e| e.kind == EntryKind::Unexplained),
        "{lock:?}"
    );
}

#[test]
fn a_lookup_lasts_from_its_first_query() {
    let mut lines = vec![
        "accept4(20, {sa_family=AF_INET, sin_port=htons(51000), sin_addr=inet_addr(\"198.51.100.5\")}, [128 => 16], 0) = 45"
            .to_owned(),
    ];
    lines.extend(asked(46, "192.0.2.53"));
    lines.push(in_vain(46, 3000));
    lines.push("close(46) = 0".into());
    let log = timed(&(lines.join("\n") + "\n"));
    // The server had waited for its client for half a second.
    let log = log.replacen("10:00:00.000000", "09:59:59.500000", 1);
    let said = &report(&log).summary[0];
    assert!(said.contains("gave up after 3.00 s; nearly all"), "{said}");
}

#[test]
fn a_refusal_is_the_first_sentence() {
    let log = format!(
        "10:00:00.000000 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3 <0.000020>\n\
         10:00:00.001000 {} = -1 ECONNREFUSED (Connection refused) <0.000400>\n",
        connect(3, "198.51.100.5", 5432)
    );
    assert_eq!(
        report(&log).summary[0],
        "The server 198.51.100.5:5432 refused the connection."
    );
}

#[test]
fn io_uring_may_hide_what_the_calls_do_not_show() {
    let log = "10:00:00.000000 io_uring_setup(64, {flags=0, sq_entries=64, cq_entries=128}) = 3 <0.000100>\n\
               10:00:00.010000 io_uring_enter(3, 2, 1, IORING_ENTER_GETEVENTS, NULL, 8) = 2 <5.004000>\n";
    let said = &report(log).summary[0];
    assert!(
        said.contains("the program uses io_uring, which may hide them"),
        "{said}"
    );
}

/// The rules of the table are no signals.
#[test]
fn the_table_of_strace_c_is_refused() {
    let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                 ------ ----------- ----------- --------- --------- ----------------\n\
                 \x2099.10    5.012000     1670666         3         1 poll\n\
                 ------ ----------- ----------- --------- --------- ----------------\n\
                 100.00    5.012400                    7         2 total\n";
    let read = strace_log::read_from(
        "log",
        table.as_bytes(),
        0,
        &Progress::default(),
        &mut |_| (),
    );
    let error = read.unwrap_err().to_string();
    assert!(error.contains("strace -c"), "{error}");
}

#[test]
fn an_attempt_that_the_account_holds_is_no_other_connection() {
    let attempt = |at: f64, address: &str, ready: bool| {
        let (lasted, result) = if ready {
            (0.01, "1 ([{fd=60, revents=POLLOUT}])")
        } else {
            (4.002, "0 (Timeout)")
        };
        let socket = "socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_TCP) = 60 <0.000020>";
        let called = connect(60, address, 2181);
        format!(
            "{:.6} {socket}\n{:.6} {called} = -1 EINPROGRESS (Operation now in progress) <0.000040>\n\
             {:.6} poll([{{fd=60, events=POLLOUT}}], 1, 4000) = {result} <{lasted:.6}>\n\
             {:.6} getsockopt(60, SOL_SOCKET, SO_ERROR, [0], [4]) = 0 <0.000010>\n\
             {:.6} close(60) = 0 <0.000010>\n",
            at,
            at + 0.001,
            at + 0.002,
            at + 0.002 + lasted,
            at + 0.003 + lasted,
        )
    };
    let start = 1_795_000_000.0;
    let first = attempt(start, "198.51.100.6", false).replace("getsockopt", "fcntl");
    let log = first + &attempt(start + 4.1, "198.51.100.5", true);
    let report = report(&log);
    let said = words(&report);
    assert!(said.contains("waiting for 198.51.100.6:2181"), "{said}");
    assert!(!said.contains("Other connections and lookups"), "{said}");
    assert!(!said.contains("0 SYNs"), "{said}");
    // The findings of the same seconds are one.
    let same = report
        .findings
        .iter()
        .filter(|f| f.same_seconds_as.is_some());
    assert_eq!(same.count(), 1, "{said}");
}

#[test]
fn a_lookup_that_was_refused_when_the_log_ends_says_so() {
    let mut lines = asked(7, "127.0.0.1");
    lines.push(
        "recvfrom(7, 0xc000, 512, 0, NULL, NULL) = -1 ECONNREFUSED (Connection refused)".into(),
    );
    let log = timed(&(lines.join("\n") + "\n"));
    let said = &report(&log).summary[0];
    assert!(
        said.contains("had been refused by 127.0.0.1 and was still open"),
        "{said}"
    );
}

#[test]
fn an_address_without_a_name_is_no_spelling_error() {
    let query =
        r#""\21\21\1\0\0\1\0\0\0\0\0\0\0015\003100\00251\003198\7in-addr\4arpa\0\0\f\0\1", 43"#;
    let answer = query
        .replacen(r"\1\0\0\1", r"\201\203\0\1", 1)
        .replace(", 43", ", 2048");
    let sent = asked(3, "192.0.2.53")
        .iter()
        .map(|line| line.replace(QUERY, query).replace("= 27", "= 43"))
        .collect();
    let got = answered(3, "192.0.2.53")
        .iter()
        .map(|line| line.replace(ANSWER, &answer))
        .collect();
    let report = report(&timed(&log(&[sent, got])));
    let finding = report
        .findings
        .iter()
        .find(|f| f.id == FindingId::NameNotFound);
    let remedy = finding.unwrap().remedy.as_deref().unwrap();
    assert!(remedy.contains("PTR record"), "{remedy}");
}

#[test]
fn a_first_line_without_its_time_is_of_the_first_time() {
    let whole = timed(&two_tries());
    // A paste that begins behind the first time; a mark that Windows puts before UTF-8.
    let cut = whole.split_once(' ').unwrap().1.to_owned();
    for log in [cut, format!("\u{feff}{}", whole.replace('\n', "\r\n"))] {
        let report = report(&log);
        assert!(
            near(report.delays[0].since_start_s, 3.0),
            "{:?}",
            report.summary
        );
    }
}

/// Every beginning of a log is a log that was cut there: it shows neither that nothing followed nor that the client gave up.
#[test]
fn a_log_that_is_cut_anywhere_claims_no_end() {
    for case in [
        "two-addresses-fallback",
        "musl-client",
        "first-resolver-silent",
    ] {
        let whole = fs::read_to_string(format!("captures/{case}/syscalls.strace")).unwrap();
        let ends: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at).collect();
        for (n, end) in ends.iter().enumerate().skip(3) {
            // Behind the line, and in the middle of the next one.
            let next = ends
                .get(n + 1)
                .map_or(*end, |next| end + (next - end) * 2 / 3);
            for cut in [*end + 1, next] {
                let report = report(&whole[..cut]);
                let said = report.summary.concat();
                assert!(!said.contains("gave up"), "{case}, line {n}: {said}");
                // The last of these programs' calls is their connect.
                let connected = !report.connections.is_empty();
                assert!(
                    connected || !said.contains("no connection followed"),
                    "{case}, line {n}: {said}"
                );
                assert!(
                    connected || !has(&report, FindingId::NothingWrong),
                    "{case}, line {n}: {said}"
                );
            }
        }
    }
}
