//! Whole strace logs: those beside the project and lines in every style.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

mod shared;

use presyn::decode::strace::Reader;
use presyn::event::{Address, Call, CallOutcome, Event, EventKind, Op};
use presyn::input::TraceFacts;
use presyn::input::progress::Progress;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::text::{self, Look};
use presyn::report::ConnectionOutcome;
use presyn::source::strace_log;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn read(path: &Path) -> (TraceFacts, Vec<Event>) {
    let mut events = Vec::new();
    let begun = Instant::now();
    let facts = strace_log::read(path, 3, &Progress::default(), &mut |event| {
        events.push(event);
    })
    .unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{}",
        path.display()
    );
    (facts, events)
}

fn calls(events: &[Event]) -> impl Iterator<Item = (&Event, &Call)> {
    events.iter().filter_map(|event| match &event.what {
        EventKind::Call(call) => Some((event, &**call)),
        _ => None,
    })
}

/// Address and result of every connect to an Internet address, in the order of lines.
fn connects(events: &[Event]) -> Vec<(u64, i32, String, String)> {
    let mut found: Vec<_> = calls(events)
        .filter_map(|(event, call)| match &call.op {
            Op::Connect {
                fd,
                to: Address::Inet(to),
            } => Some((
                event.place.number,
                fd.number,
                to.to_string(),
                match &call.outcome {
                    CallOutcome::Returned(value) => value.to_string(),
                    CallOutcome::Failed(name) => name.to_string(),
                    CallOutcome::Unknown => "?".to_owned(),
                },
            )),
            _ => None,
        })
        .collect();
    found.sort();
    found
}

fn dns(events: &[Event]) -> Vec<String> {
    calls(events)
        .flat_map(|(_, call)| match &call.op {
            Op::Send { messages, .. } => messages.clone(),
            _ => Vec::new(),
        })
        .flat_map(|message| message.dns)
        .filter_map(|message| Some(message.question?.to_string()))
        .collect()
}

#[test]
fn every_connect_of_the_recorded_styles() {
    let Some(shared) = shared::folder() else {
        return;
    };
    for (style, want_style, want) in [
        (
            "getent-nof-t/out-main.txt",
            "-t",
            &["10.0.1.93:53", "10.0.1.95:53", "10.0.1.92:53"][..],
        ),
        (
            "getent-r-T/strace.log",
            "-r -T",
            &["10.0.1.93:53", "10.0.1.95:53", "10.0.1.92:53"],
        ),
        ("zk-f-Y-ns-o/strace.log", "-f -ttt -T -y -Y", &[]),
        ("zk-f-t-econnect-o/strace.log", "-f -t", &[]),
        ("zk-f-tt-stderr/out-main.txt", "-f -tt -T", &[]),
        ("zk-f-ttt-o/strace.log", "-f -ttt", &[]),
    ] {
        let (facts, events) = read(&shared.join("strace-styles").join(style));
        let zookeeper = [
            "10.0.1.93:53",
            "10.0.1.95:53",
            "10.0.1.92:53",
            "10.0.1.93:53",
            "10.0.1.95:53",
            "10.0.1.92:53",
            "192.168.110.231:8998",
        ];
        let want = if want.is_empty() {
            &zookeeper[..]
        } else {
            want
        };
        let found = connects(&events);
        let addresses: Vec<&str> = found.iter().map(|c| c.2.as_str()).collect();
        assert_eq!(addresses, want, "{style}");
        assert_eq!(facts.style, want_style, "{style}");
        assert!(!facts.damaged, "{style}: {:?}", facts.warnings);
        assert_eq!(facts.warnings, Vec::<String>::new(), "{style}");
    }
}

/// Every line of the case logs that has `connect(` is a call of strace's: grep is the oracle.
#[test]
fn every_connect_of_the_cases() {
    let Some(shared) = shared::folder() else {
        return;
    };
    let mut logs = 0;
    for case in shared.join("cases").read_dir().unwrap() {
        for name in ["strace.log", "strace-seed.log"] {
            let path = case.as_ref().unwrap().path().join(name);
            let text = std::fs::read_to_string(&path).unwrap();
            let want = text
                .lines()
                .filter(|l| l.contains(" connect(") && l.contains("AF_INET"))
                .count();
            let (facts, events) = read(&path);
            assert_eq!(connects(&events).len(), want, "{}", path.display());
            assert_eq!(facts.skipped_lines, 0, "{}", path.display());
            let sends = text
                .lines()
                .filter(|l| {
                    (l.contains(" sendto(") || l.contains(" sendmmsg("))
                        && l.contains(r"\1\0\0\1\0\0\0\0\0\0")
                })
                .count();
            assert!(
                dns(&events).len() >= sends,
                "{}: {} of {sends}",
                path.display(),
                dns(&events).len()
            );
            logs += 1;
        }
    }
    assert!(logs >= 16, "{logs}");
}

#[test]
fn every_connect_of_foreign_logs() {
    let Some(shared) = shared::folder() else {
        return;
    };
    let mut logs = 0;
    for entry in shared.join("corpus/strace").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let facts_path = PathBuf::from(format!("{}.facts.json", path.display()));
        if !facts_path.exists() {
            continue;
        }
        logs += 1;
        let truth: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&facts_path).unwrap()).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("notstrace") {
            let error = strace_log::read(&path, 0, &Progress::default(), &mut |_| ())
                .unwrap_err()
                .to_string();
            assert!(error.contains(name) && error.contains("ltrace"), "{error}");
            continue;
        }
        let (_, events) = read(&path);
        let found: Vec<_> = connects(&events)
            .into_iter()
            .map(|(_, fd, to, result)| (fd, to, result))
            .collect();
        let want: Vec<_> = truth["connect_inet_list"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| {
                let ip: std::net::IpAddr = c["ip"].as_str().unwrap().parse().unwrap();
                let port = u16::try_from(c["port"].as_u64().unwrap()).unwrap();
                let end = presyn::flow::Endpoint::new(ip, port);
                let fd = i32::try_from(c["fd"].as_i64().unwrap()).unwrap();
                (
                    fd,
                    end.to_string(),
                    c["result"].as_str().unwrap().to_owned(),
                )
            })
            .collect();
        assert_eq!(found, want, "{name}");
        if let Some(peers) = truth["dns_peers"].as_object() {
            let sent: u64 = peers
                .values()
                .map(|p| p["messages_sent"].as_u64().unwrap())
                .sum();
            assert_eq!(dns(&events).len() as u64, sent, "{name}");
        }
        let unix = calls(&events).filter(|(_, c)| {
            matches!(
                &c.op,
                Op::Connect {
                    to: Address::Unix(_),
                    ..
                }
            )
        });
        let families = &truth["connect_by_family"];
        let want_unix: u64 = ["AF_UNIX", "AF_LOCAL", "AF_FILE"]
            .iter()
            .filter_map(|f| families[f].as_u64())
            .sum();
        assert_eq!(unix.count() as u64, want_unix, "{name}");
    }
    assert!(logs >= 5, "{logs}");
}

fn read_text(text: &str) -> (TraceFacts, Vec<Event>) {
    let mut events = Vec::new();
    let mut reader = Reader::new(0);
    for (index, line) in text.lines().enumerate() {
        reader.line(index as u64 + 1, line.as_bytes(), &mut |e| events.push(e));
    }
    let facts = reader.finish("log", &mut |e| events.push(e));
    (facts, events)
}

fn only_call(text: &str) -> (Event, Call) {
    let (_, events) = read_text(text);
    let mut found: Vec<_> = calls(&events)
        .map(|(e, c)| (e.clone(), c.clone()))
        .collect();
    assert_eq!(found.len(), 1, "{text}\n{found:?}");
    found.remove(0)
}

const CONNECT: &str = r#"connect(7, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.1.93")}, 16) = 0"#;

#[test]
fn split_calls_are_put_together() {
    let (event, call) = only_call(
        "5 10:00:01 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}, 16 <unfinished ...>\n\
         6 10:00:02 close(3</a>) = 0\n\
         5 10:00:04 <... connect resumed>) = -1 ETIMEDOUT (Connection timed out)",
    );
    assert_eq!((event.place.number, call.task.tid), (1, Some(5)));
    assert_eq!(
        call.exited.unwrap() - event.at,
        presyn::time::Span::seconds(3)
    );
    assert_eq!(call.outcome, CallOutcome::Failed("ETIMEDOUT".into()));
}

#[test]
fn the_old_style_of_resuming_and_a_first_task_without_a_number() {
    let (_, call) = only_call(
        "connect(3, {sin_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"192.0.2.1\")}}, 16 <unfinished ...>\n\
         [pid 99] <... connect resumed> ) = 0",
    );
    assert_eq!(
        (call.task.tid, call.outcome),
        (Some(99), CallOutcome::Returned(0))
    );
}

#[test]
fn unfinished_at_the_end_is_unknown() {
    let (_, call) = only_call(CONNECT.split_once(") = 0").map(|c| c.0).unwrap());
    assert_eq!(call.outcome, CallOutcome::Unknown);
    let (_, call) = only_call(&format!(
        "5 {} <unfinished ...>\n5 +++ killed by SIGKILL +++",
        CONNECT.trim_end_matches(") = 0")
    ));
    assert_eq!(call.outcome, CallOutcome::Unknown);
}

#[test]
fn dressed_lines_are_found() {
    for text in [
        format!("{CONNECT}\r"),
        format!("\u{1b}[32m{CONNECT}\u{1b}[0m"),
        format!("> {CONNECT}"),
        format!("{CONNECT} <0.000020>   # the culprit"),
        format!("{CONNECT}\nConnecting to{CONNECT}").replacen(&format!("{CONNECT}\n"), "socket(AF_INET, SOCK_DGRAM, 0) = -1 EPERM (x)\n", 1).replacen("socket(AF_INET, SOCK_DGRAM, 0) = -1 EPERM (x)\n", "brk(NULL) = 0x1\n", 1),
        format!("\0\0\0{CONNECT}"),
        "> connect(7, {sa_family=AF_INET, sin_port=htons(53),\n> sin_addr=inet_addr(\"10.0.1.93\")}, 16) = 0".to_owned(),
        "connect(7, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.1.93\")}, 16hello (world\n) = 0".to_owned(),
    ] {
        let (_, call) = only_call(&text);
        assert!(matches!(&call.op, Op::Connect { fd, to: Address::Inet(to) } if fd.number == 7 && to.port == 53), "{text}: {call:?}");
        assert_eq!(call.outcome, CallOutcome::Returned(0), "{text}");
    }
}

#[test]
fn payloads_that_look_like_calls_are_payloads() {
    let inner = CONNECT.replace('"', "\\\"");
    let (facts, events) = read_text(&format!(
        "5 write(1, \"5 {inner}\\n\", 90) = 90\n5 sendto(3, \"{inner}\", 90, 0, NULL, 0) = 90"
    ));
    assert!(connects(&events).is_empty(), "{events:?}");
    assert_eq!(facts.calls, 2);
}

#[test]
fn only_lines_that_matter_become_events() {
    let (facts, events) = read_text(
        "5 1795337549.000000 read(3</etc/hosts>, \"\", 4096) = 0 <0.000009>\n\
         5 1795337549.100000 read(3</etc/hosts>, \"\", 4096) = 0 <0.002000>\n\
         5 1795337549.200000 futex(0x7f, FUTEX_WAIT, 1, NULL) = 0 <1.000000>\n\
         5 1795337549.300000 close(4) = 0 <0.000009>\n\
         5 1795337549.400000 mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, -1, 0) = 0x7f00 <0.000009>",
    );
    let names: Vec<_> = calls(&events).map(|(_, c)| format!("{:?}", c.op)).collect();
    assert_eq!(
        names,
        ["Other { name: \"read\" }", "Other { name: \"futex\" }"]
    );
    assert_eq!(facts.calls, 5);
    assert!(facts.sees.closes && !facts.sees.sends);
}

#[test]
fn processes_are_known_where_the_log_says_so() {
    let (_, events) = read_text(&format!(
        "5 execve(\"/bin/a\", [\"a\"], 0x7ffe /* 3 vars */) = 0\n\
         5 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 6\n\
         5 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 7\n\
         6 {CONNECT}\n7 {CONNECT}\n8 {CONNECT}"
    ));
    let tasks: Vec<_> = calls(&events)
        .filter(|(_, c)| matches!(c.op, Op::Connect { .. }))
        .map(|(_, c)| (c.task.tid.unwrap(), c.task.pid))
        .collect();
    assert_eq!(tasks, [(6, Some(5)), (7, Some(7)), (8, None)]);
}

/// `strace -f -ttt -T -k getent hosts 10.9.8.7`, shortened; the caller has a name that a terminal would obey.
const STACKS: &str = r#"77 1795357215.152337 socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC|SOCK_NONBLOCK, IPPROTO_IP) = 3 <0.000010>
 > /usr/lib/libc.so.6(socket+0x7) [0x10b2a7]
77 1795357215.152340 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.255.255.53")}, 16) = 0 <0.000010>
 > /usr/lib/libc.so.6(__connect+0x10) [0x10a7c0]
 > /usr/lib/libc.so.6(gethostbyaddr+0xc4) [0x1185e4]
 > /usr/bin/getent(ask_ESC[31mnow+0x12) [0x47a2]
77 1795357215.152636 sendto(3, "\250c\1\0\0\1\0\0\0\0\0\0\0017\0018\0019\00210\7in-addr\4arpa\0\0\f\0\1", 39, MSG_NOSIGNAL, NULL, 0 <unfinished ...>
78 1795357215.152640 getpid() = 78 <0.000001>
 > /usr/lib/libc.so.6(getpid+0x1) [0x1]
77 1795357215.152650 <... sendto resumed>) = 39 <0.000014>
 > /usr/lib/libc.so.6(send+0x19) [0x10ab59]
 > /usr/lib/libc.so.6(__res_context_send+0x1fb) [0x12f5cb]
 > /usr/lib/libc.so.6(gethostbyaddr+0xc4) [0x1185e4]
 > /usr/bin/getent(ask_ESC[31mnow+0x12) [0x47a2]
77 1795357215.152700 poll([{fd=3, events=POLLIN}], 1, 5000) = 0 (Timeout) <5.005000>
77 1795357220.158000 +++ exited with 2 +++
"#;

#[test]
fn the_stacks_of_a_log_tell_who_asked() {
    let (facts, events) = read_text(&STACKS.replace("ESC", "\u{1b}"));
    assert_eq!(facts.style, "-f -ttt -T -k");
    let gathered = Gathered {
        traces: vec![(facts, events)],
        ..Gathered::default()
    };
    let report = pipeline::report(gathered, &Settings::default());
    let words = "asked by gethostbyaddr ← ask_\u{1b}[31mnow (getent)";
    let lookup = &report.lookups[0];
    assert_eq!(lookup.callers[0].words, words);
    let cause = lookup.queries[0].cause.as_ref().unwrap();
    let stack = report
        .stacks
        .iter()
        .find(|s| Some(&s.id) == cause.stack.as_ref());
    assert_eq!(stack.unwrap().frames[0].function.as_deref(), Some("send"));
    let silent = report
        .findings
        .iter()
        .find(|f| f.id.name() == "resolver-silent");
    assert_eq!(silent.unwrap().callers[0].words, words);
    let (mut shown, look) = (
        Vec::new(),
        Look {
            full: true,
            ..Look::default()
        },
    );
    text::write(&report, look, &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(
        shown.contains("Asked by gethostbyaddr ← ask_\\u{1b}[31mnow (getent)."),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}'));
}

/// A log alone shows no SYN, but how long a connect took, and which one never came back.
#[test]
fn a_log_alone_tells_of_slow_connects() {
    let told = |rest: &str| {
        let (facts, events) = read_text(&format!(
            "100 1700000000.000001 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3 <0.00001>\n\
             100 1700000000.000101 connect(3, {{sa_family=AF_INET, sin_port=htons(80), \
             sin_addr=inet_addr(\"10.0.0.1\")}}, 16{rest}\n\
             100 1700000033.300000 +++ exited with 0 +++\n"
        ));
        let gathered = Gathered {
            traces: vec![(facts, events)],
            ..Gathered::default()
        };
        let report = pipeline::report(gathered, &Settings::default());
        let connection = report.connections[0].clone();
        let slow = report
            .findings
            .into_iter()
            .find(|f| f.id.name() == "syn-unanswered");
        (report.summary.join(" "), slow, connection)
    };
    let (summary, slow, connection) = told(") = 0 <3.1>");
    assert!(summary.contains("The connect took 3.10 s."), "{summary}");
    assert_eq!(connection.connect_seconds, Some(3.1));
    assert_eq!(
        slow.unwrap().title,
        "10.0.0.1:80 accepted a connection only after 3.10 s"
    );
    let (summary, slow, _) = told(" <unfinished ...>");
    assert!(
        summary.contains("had not completed when the inputs ended, 33.3 s later"),
        "{summary}"
    );
    assert_eq!(
        slow.unwrap().title,
        "10.0.0.1:80 did not accept a connection for 33.3 s"
    );
    let waits = ") = -1 EINPROGRESS (Operation now in progress) <0.0001>\n\
                 100 1700000000.001 poll([{fd=3, events=POLLOUT}], 1, 10000) = 0 (Timeout) <10.01>";
    let (summary, slow, connection) = told(waits);
    // Its end is the giving up, and the time is the attempt's, not that before the call.
    assert!(
        summary.starts_with("33.3 s passed before the connect of the client to 10.0.0.1:80 ended;")
            && summary.contains("timed out after 33.3 s"),
        "{summary}"
    );
    assert_eq!(
        (slow.is_some(), connection.outcome),
        (true, Some(ConnectionOutcome::TimedOut))
    );
    let gave_up = format!("{waits}\n100 1700000010.3 close(3) = 0 <0.00001>");
    assert_eq!(told(&gave_up).2.outcome, Some(ConnectionOutcome::TimedOut));
    let interrupted = ") = ? ERESTARTSYS (To be restarted if SA_RESTART is set) <12.0>";
    assert!(told(interrupted).1.is_some());
    // Quick, or nobody knows.
    let (summary, slow, _) = told(") = 0 <0.031>");
    assert!(
        summary.contains("The connect took 31.0 ms.") && slow.is_none(),
        "{summary}"
    );
    let (summary, slow, connection) =
        told(") = -1 EINPROGRESS (Operation now in progress) <0.0001>");
    assert!(
        slow.is_none() && connection.connect_seconds.is_none(),
        "{summary}"
    );
}

#[test]
fn sets_of_files_are_one_trace() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("log.12"),
        format!("1795337549.5 {CONNECT}\n"),
    )
    .unwrap();
    std::fs::write(
        folder.path().join("log.9"),
        format!("1795337549.1 {CONNECT}\n"),
    )
    .unwrap();
    let (facts, events) = read(&folder.path().join("log"));
    let tids: Vec<_> = calls(&events).map(|(_, c)| c.task.tid).collect();
    assert_eq!(tids, [Some(9), Some(12)]);
    assert_eq!(facts.calls, 2);
}

#[test]
fn packed_logs_and_files_that_are_none() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("a.gz");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(CONNECT.as_bytes()).unwrap();
    std::fs::write(&plain, gz.finish().unwrap()).unwrap();
    assert_eq!(connects(&read(&plain).1).len(), 1);
    std::fs::write(&plain, zstd::encode_all(CONNECT.as_bytes(), 1).unwrap()).unwrap();
    assert_eq!(connects(&read(&plain).1).len(), 1);
    for (bytes, looks) in [
        (&b""[..], "empty"),
        (b"\x7fELF\0\0\0", "binary"),
        (
            b"% time     seconds  usecs/call     calls    errors syscall\n",
            "strace -c",
        ),
        (b"dear sir,\n\nconnect(2) is a call.\n", "no line"),
        (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", "capture"),
    ] {
        std::fs::write(&plain, bytes).unwrap();
        let error = strace_log::read(&plain, 0, &Progress::default(), &mut |_| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(looks) && error.contains("a.gz") && !error.contains('\n'),
            "{error}"
        );
    }
}

#[test]
fn a_long_line_costs_its_length_and_no_more() {
    let mut text = String::from("5 sendmmsg(3, [");
    for _ in 0..200_000 {
        text.push_str(
            "{msg_hdr={msg_name=NULL, msg_iov=[{iov_base=\"(((\", iov_len=3}]}, msg_len=3}, ",
        );
    }
    text.push_str("], 9, 0) = 9\n");
    text.push_str(&"[{(<\"".repeat(200_000));
    let begun = Instant::now();
    read_text(&text);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
}

/// Calls that mean something, without their prefix.
const LINES: &[&str] = &[
    CONNECT,
    r#"connect(29, {sa_family=AF_INET6, sin6_port=htons(8998), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::ffff:192.0.2.1", &sin6_addr), sin6_scope_id=0}, 28) = -1 EINPROGRESS (Operation now in progress)"#,
    r#"sendto(29, "\22\64\1\0\0\1\0\0\0\0\0\0\3www\7exampl"..., 33, MSG_NOSIGNAL, NULL, 0) = 33"#,
    r"poll([{fd=29, events=POLLIN}], 1, 5000) = 0 (Timeout)",
    "socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, IPPROTO_IP) = 29<UDP:[123]>",
];

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut reader = Reader::new(0);
        for (n, line) in lines.iter().enumerate() {
            reader.line(n as u64, line, &mut |_| ());
        }
        reader.finish("x", &mut |_| ());
    }

    #[test]
    fn damaged_lines_are_read_without_panic(
        which in prop::collection::vec((0..LINES.len(), 0usize..200, any::<u8>(), 0usize..200, 0usize..6), 1..12),
    ) {
        let mut reader = Reader::new(0);
        for (n, (line, at, byte, cut, prefix)) in which.into_iter().enumerate() {
            let mut text = format!("{}{}", ["", "5 ", "[pid 5] ", "5<a> 10:00:00 ", "  0.01 ", "5 1795337549.5 <... connect resumed>"][prefix], LINES[line]).into_bytes();
            if let Some(b) = text.get_mut(at) { *b = byte; }
            text.truncate(text.len().saturating_sub(cut / 2));
            reader.line(n as u64, &text, &mut |_| ());
        }
        reader.finish("x", &mut |_| ());
    }

    #[test]
    fn a_call_is_the_same_in_every_style(
        line in 0..LINES.len(), tid in 1_u32..4_000_000, comm in "[a-z>\\] ]{1,15}", micros in 0_u32..1_000_000, style in 0_usize..12, lasted in 0_u32..999,
    ) {
        let time = format!("12:34:56.{micros:06}");
        let body = LINES[line];
        let (prefix, has_tid) = match style {
            0 => (String::new(), false),
            1 => (format!("{tid:<5} "), true),
            2 => (format!("{tid:<5} 12:34:56 "), true),
            3 => (format!("[pid {tid:5}] {time} "), true),
            4 => (format!("{tid}<{comm}> {time} "), true),
            5 => (format!("[pid {tid}<{comm}>] "), true),
            6 => (format!("1795337549.{micros:06} "), false),
            7 => (format!("{tid} 1795337549.{micros:06} (+     0.000071) "), true),
            8 => ("     0.000071 ".to_owned(), false),
            9 => (format!("{tid} 2026-11-22T{time} "), true),
            10 => (format!("{time} [  42] [00007f1c2d3e4f50] "), false),
            _ => (format!("{tid}      0.000071 "), true),
        };
        let plain = only_call(body).1;
        let (_, found) = only_call(&format!("{prefix}{body} <0.{lasted:06}>"));
        prop_assert_eq!(&found.op, &plain.op);
        prop_assert_eq!(&found.outcome, &plain.outcome);
        prop_assert_eq!(found.task.tid, has_tid.then_some(tid));
        prop_assert!(found.exited.is_some());
    }
}
