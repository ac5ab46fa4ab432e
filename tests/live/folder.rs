//! What a case folder keeps: also when there is no capture, no trace, or presyn is killed.

use crate::lab::{Lab, PRESYN, Ran, analyze, word};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CURL: [&str; 3] = ["curl", "-sS", "http://web.example.lab/"];

fn run(case: &str, options: &[&str]) -> Option<Ran> {
    let lab = Lab::up(case)?;
    let ran = lab.run_with(options, &[], &CURL);
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    ran.assert_reads_back();
    Some(ran)
}

#[test]
fn without_a_capture_the_calls_tell() {
    if let Some(ran) = run("servfail", &["--no-capture"]) {
        assert!(
            ran.report["inputs"]["captures"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        assert!(!ran.queries().is_empty());
    }
}

#[test]
fn without_a_trace_the_packets_tell() {
    if let Some(ran) = run("servfail", &["--no-trace"]) {
        assert!(
            ran.report["inputs"]["traces"]
                .as_array()
                .unwrap()
                .is_empty()
        );
        assert!(ran.queries().iter().all(|q| q["cause"].is_null()));
        assert!(!ran.queries().is_empty());
    }
}

#[test]
fn a_filter_of_the_user_is_obeyed() {
    if let Some(ran) = run("servfail", &["--filter", "not tcp"]) {
        let connections = ran.report["connections"].as_array().unwrap();
        assert_eq!(connections.len(), 1);
        assert_eq!(connections[0]["syns"], 0);
    }
}

/// The processes of the machine whose command line has this word in it.
fn processes_with(word: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.parse::<u32>().ok())
        else {
            continue;
        };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let zombie = std::fs::read_to_string(entry.path().join("stat"))
            .is_ok_and(|s| s.rsplit(')').next().is_some_and(|s| s.starts_with(" Z")));
        if line.contains(word) && !zombie {
            found.push(pid);
        }
    }
    found
}

#[test]
fn a_killed_presyn_leaves_a_case_and_no_child() {
    let Some(lab) = Lab::up("first-resolver-silent") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let case = folder.path().join("case");
    // A word that only these processes have in their command lines.
    let address = format!("http://web.example.lab/{}", std::process::id());
    let mut command = lab.sh(&[PRESYN, "run", "--save"]);
    command.arg(&case).args(["--", "curl", "-sS", &address]);
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    // The query was sent; its answer will not come for 5 s.
    let begin = Instant::now();
    let presyn = loop {
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "no query was stored"
        );
        std::thread::sleep(Duration::from_millis(50));
        let trace = std::fs::read_to_string(case.join("trace.jsonl")).unwrap_or_default();
        let exe = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).ok();
        let pids = processes_with(&address);
        let presyn = pids
            .iter()
            .find(|p| exe(p).is_some_and(|e| e == std::fs::canonicalize(PRESYN).unwrap()));
        if let (true, Some(presyn)) = (trace.contains("web.example.lab"), presyn) {
            // The capture is written a little later than the calls.
            std::thread::sleep(Duration::from_millis(700));
            break *presyn;
        }
    };
    assert!(processes_with(&address).len() > 1);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(presyn.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    child.wait().unwrap();
    let begin = Instant::now();
    while !processes_with(&address).is_empty() {
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "the client lives on"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let report: Value = serde_json::from_str(&analyze(&case)).unwrap();
    let warnings = report["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|w| word(w).contains("presyn was killed")),
        "{warnings:?}"
    );
    let row = &report["resolvers"][0];
    assert_eq!(
        (&row["address"], &row["queries"]),
        (&"10.0.1.93".into(), &2.into())
    );
}

#[test]
fn an_existing_folder_is_kept_unless_forced() {
    let folder = TempDir::new().unwrap();
    let run = |options: &[&str]| {
        let mut command = Command::new(PRESYN);
        command
            .args(["run", "--no-capture", "--save"])
            .arg(folder.path());
        command.args(options).args(["--", "true"]).output().unwrap()
    };
    let refused = run(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(125), "{said}");
    assert!(said.contains("--force"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let forced = run(&["--force"]);
    assert!(forced.status.success(), "{forced:?}");
    assert!(folder.path().join("trace.jsonl").exists());
}
