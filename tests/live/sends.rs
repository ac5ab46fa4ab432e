//! Queries whose sends no call need show: who sent each of them is known all the same, and where it is not, nothing is said.

use crate::lab::{Lab, Ran, word};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Runs `asks.py` in the network of a case. Queries of unknown causes would be another process's.
fn asks(case: &str, way: &str) -> Option<Ran> {
    let lab = Lab::up(case)?;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/asks.py");
    let client = ["/usr/bin/python3", "-I", "-S", program, way];
    let ran = lab.run_with(&[], &[], &client);
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    ran.assert_causes();
    ran.assert_reads_back();
    lab.assert_counts(&ran.report);
    Some(ran)
}

/// Causes of queries by their question, in order of time.
fn causes(ran: &Ran) -> Vec<(String, String)> {
    let mut queries = ran.queries();
    let sent = |q: &Value| q["sent_s"].as_f64().unwrap();
    queries.sort_by(|a, b| sent(a).total_cmp(&sent(b)));
    let of = |q: &&Value| {
        let question = word(&q["question"]).trim_start_matches("A ").to_owned();
        let name = question.split('.').next().unwrap().to_owned();
        (name, word(&q["cause"]["how"]).to_owned())
    };
    queries.iter().map(of).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    { list.iter() }
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
        .collect()
}

fn finding<'r>(ran: &'r Ran, id: &str) -> Option<&'r Value> {
    let findings = ran.report["findings"].as_array().unwrap();
    findings.iter().find(|f| f["id"] == id)
}

/// The process and thread that asked for a name, where they are known.
fn asker(ran: &Ran, name: &str) -> (Option<u64>, Option<u64>) {
    let lookups = ran.report["lookups"].as_array().unwrap();
    let of = |l: &&Value| word(&l["name"]).starts_with(name);
    let lookup = lookups
        .iter()
        .find(of)
        .unwrap_or_else(|| panic!("{}", ran.json));
    let tasks = lookup["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 1, "{lookup:#}");
    (tasks[0]["pid"].as_u64(), tasks[0]["tid"].as_u64())
}

/// A number that the client printed after a word.
fn printed(ran: &Ran, word: &str) -> u64 {
    let said = String::from_utf8_lossy(&ran.output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix(word));
    line.and_then(|n| n.trim().parse().ok()).unwrap()
}

#[test]
fn a_socket_is_used_again_after_other_work() {
    let lab = Lab::up("nothing-wrong");
    let Some(lab) = lab else { return };
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/asks.py");
    let ran = lab.run_with(
        &[],
        &[],
        &["/usr/bin/python3", "-I", "-S", program, "evdns"],
    );
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    ran.assert_causes();
    ran.assert_reads_back();
    let expected = [
        ("n1", "call"),
        ("n2", "socket"),
        ("n3", "socket"),
        ("n4", "call"),
    ];
    assert_eq!(causes(&ran), pairs(&expected));
    // One thread, and no other process that may have the socket: it is that thread's.
    for name in ["n1", "n2", "n3", "n4"] {
        let (pid, tid) = asker(&ran, name);
        assert!(pid.is_some() && pid == tid, "{name}: {pid:?} {tid:?}");
    }
    // The query to the absent name server was a call, and never left; the others were answered.
    let states: Vec<&str> = ran.queries().iter().map(|q| word(&q["state"])).collect();
    assert_eq!(
        states.iter().filter(|s| **s == "answered").count(),
        3,
        "{states:?}"
    );
    assert_eq!(
        states.iter().filter(|s| **s == "never-sent").count(),
        1,
        "{states:?}"
    );
    assert!(finding(&ran, "resolver-unreachable").is_some());
}

/// While a socket to a resolver is open whose sends are not seen, nobody may say that there was nothing.
#[test]
fn an_open_socket_hides_what_left_no_packet() {
    for (way, nothing_wrong) in [("closed", true), ("left_open", false)] {
        let Some(ran) = asks("nothing-wrong", way) else {
            return;
        };
        assert_eq!(causes(&ran), pairs(&[("web", "call")]));
        assert_eq!(
            finding(&ran, "nothing-wrong").is_some(),
            nothing_wrong,
            "{way}: {}",
            ran.json
        );
    }
}

#[test]
fn unconnected_sockets_send_by_sendmsg() {
    if let Some(ran) = asks("nothing-wrong", "unconnected") {
        assert_eq!(causes(&ran), pairs(&[("n1", "call"), ("n2", "socket")]));
    }
}

#[test]
fn a_socket_is_used_for_something_else_first() {
    if let Some(ran) = asks("nothing-wrong", "elsewhere_first") {
        assert_eq!(causes(&ran), pairs(&[("n1", "socket")]));
    }
}

/// The thread that asked is the one that waits, not the one that made the socket.
#[test]
fn another_thread_asks() {
    if let Some(ran) = asks("slow-resolver", "threads") {
        assert_eq!(causes(&ran), pairs(&[("n1", "socket"), ("n2", "socket")]));
        let thread = printed(&ran, "tid ");
        assert_eq!(asker(&ran, "n1").1, Some(thread));
        assert_eq!(asker(&ran, "n2").1, Some(thread));
    }
    // Who has its answer at once was not seen to wait: then it is not known who it was.
    if let Some(ran) = asks("nothing-wrong", "threads") {
        assert_eq!(causes(&ran), pairs(&[("n1", "socket"), ("n2", "socket")]));
        let thread = printed(&ran, "tid ");
        for name in ["n1", "n2"] {
            let (pid, tid) = asker(&ran, name);
            assert!(
                pid.is_some() && tid.is_none_or(|tid| tid == thread),
                "{tid:?}"
            );
        }
    }
}

#[test]
fn a_daemon_asks_on_the_socket_of_a_process_that_has_ended() {
    if let Some(ran) = asks("nothing-wrong", "daemon") {
        assert_eq!(causes(&ran), pairs(&[("n1", "call"), ("n2", "socket")]));
    }
}

/// Whose query it was may not be known, when its socket was there for a moment only. It is not dropped, and nobody says that
/// it was another process's.
#[test]
fn a_query_of_a_socket_that_vanished_is_nobodys() {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/asks.py");
    let client = ["/usr/bin/python3", "-I", "-S", program, "vanishing"];
    let ran = lab.run_with(&[], &[], &client);
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    ran.assert_reads_back();
    lab.assert_counts(&ran.report);
    assert_eq!(ran.queries().len(), 1, "{}", ran.json);
    let how = word(&ran.queries()[0]["cause"]["how"]).to_owned();
    let origin = word(&ran.report["resolvers"][0]["origin"]).to_owned();
    // Looked at in the moment, it is known.
    assert!(
        matches!((&*how, &*origin), ("", "unknown") | ("socket", "traced")),
        "{how} {origin}"
    );
    let left_out = &ran.report["inputs"]["captures"][0]["left_out"];
    let queries = left_out.as_array().into_iter().flatten();
    assert_eq!(queries.filter(|row| row["kind"] == "query").count(), 0);
}

#[test]
fn a_child_asks_on_its_parents_socket() {
    if let Some(ran) = asks("nothing-wrong", "fork") {
        assert_eq!(causes(&ran), pairs(&[("n1", "call"), ("n2", "call")]));
        let child = printed(&ran, "child ");
        assert_eq!(asker(&ran, "n1").0, Some(child));
        assert!(asker(&ran, "n2").0.is_some_and(|pid| pid != child));
    }
}

#[test]
fn queries_over_tcp_come_in_pieces() {
    if let Some(ran) = asks("nothing-wrong", "tcp") {
        assert_eq!(causes(&ran), pairs(&[("n1", "call"), ("n2", "call")]));
    }
    if let Some(ran) = asks("nothing-wrong", "fast_open") {
        assert_eq!(causes(&ran), pairs(&[("n1", "call")]));
    }
}

/// Go's scheduler moves a lookup from thread to thread between its connect and its write.
#[test]
fn go_asks_under_load() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("lookups");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/lookups.go");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(source);
    go.env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .current_dir(folder.path());
    if !go.output().is_ok_and(|built| built.status.success()) {
        let said = "SKIPPED: no Go compiler here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let ran = lab.run_with(&[], &[], &[program.to_str().unwrap(), "150"]);
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    ran.assert_causes();
    ran.assert_reads_back();
    lab.assert_counts(&ran.report);
    // A and AAAA of each.
    assert!(ran.queries().len() >= 300, "{}", ran.queries().len());
}
