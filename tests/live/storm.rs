//! A storm of connects: every call is seen, no packet is lost unnoticed, and memory stays bounded while each attempt is
//! counted once.

use crate::lab::{Lab, PRESYN};
use crate::same::first_difference;
use presyn::explain::assemble::Limits;
use presyn::pipeline::{self, Settings};
use presyn::session::inputs::{self, InputOptions};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Nobody listens there.
const PORT: &str = "9";

/// A program of this folder; `None`, said loudly, without a compiler.
pub fn compiled(name: &str, folder: &TempDir) -> Option<String> {
    let program = folder.path().join(name);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live");
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-pthread", "-o"]).arg(&program);
    cc.arg(sources.join(name).with_extension("c"));
    if !cc.status().is_ok_and(|s| s.success()) {
        let said = "SKIPPED: no C compiler here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return None;
    }
    Some(program.to_str().unwrap().to_owned())
}

fn storm(threads: &str, connects: usize) {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let Some(program) = compiled("storm", &folder) else {
        return;
    };
    let client = [&program, PORT, threads, &connects.to_string()];
    let ran = lab.run_with(&[], &[], &client);
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    ran.assert_reads_back();
    let trace = std::fs::read_to_string(ran.case.join("trace.jsonl")).unwrap();
    let calls = trace.lines().filter(|l| l.contains("\"connect\"")).count();
    assert_eq!(calls, connects, "every call is seen");
    let capture = &ran.report["inputs"]["captures"][0];
    let packets = capture["packets"].as_u64().unwrap();
    let dropped = capture["dropped"].as_u64().unwrap();
    // A SYN and a RST each.
    assert!(packets + dropped >= 2 * connects as u64, "{capture}");
    let connections = ran.report["connections"].as_array().unwrap();
    let syns: u64 = connections
        .iter()
        .map(|c| c["syns"].as_u64().unwrap())
        .sum();
    assert!(
        syns + dropped >= connects as u64,
        "{syns} SYNs, {dropped} dropped"
    );
    let unknown = |c: &&serde_json::Value| c["syns"] != 0 && c["cause"]["how"] != "call";
    assert_eq!(connections.iter().filter(unknown).count(), 0);
    eprintln!("{connects} connects: {packets} packets, {dropped} dropped");
}

#[test]
fn a_small_storm() {
    storm("8", 4_000);
}

#[test]
#[ignore = "takes minutes in a debug build"]
fn a_storm() {
    storm("8", 200_000);
}

/// So much the analysis process may need at most.
const MEMORY_KIB: u64 = 64 << 10;

/// Runs a storm, and stops the analysis process in the midst of it: its peak in KiB is printed last.
const STOPPED: &str = r#"
for child in $(cat /proc/$PPID/task/*/children); do
    [ "$(cat /proc/$child/comm)" = presyn ] && analysis=$child
done
"$0" 9 8 "$1" & storm=$!
if [ "$2" != 0 ]; then
    sleep 0.4; kill -STOP $analysis; sleep "$2"; kill -CONT $analysis
fi
wait $storm
sleep 0.5
while [ "$(awk '/^State/ {print $2}' /proc/$analysis/status)" = R ]; do sleep 0.2; done
awk '/^VmHWM/ {print $2}' /proc/$analysis/status
"#;

fn total(report: &Value, list: &str) -> u64 {
    let listed = report[list].as_array().unwrap().len() as u64;
    listed + report["omitted"][list].as_u64().unwrap()
}

/// A list without the numbers that its elements have in their report, and without accounts.
fn unnumbered(report: &Value, list: &str) -> Vec<Value> {
    let mut elements = report[list].as_array().unwrap().clone();
    for element in &mut elements {
        let fields = element.as_object_mut().unwrap();
        // Of what lies within the accounts of a thousand delays only so much is retained.
        for field in ["id", "lookup", "connection", "entries"] {
            fields.remove(field);
        }
    }
    elements
}

/// The report of a storm is that of all its events, whatever the analysis was doing meanwhile, and that of the saved case.
fn bounded_storm(connects: u64, stopped: &str) {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let Some(program) = compiled("storm", &folder) else {
        return;
    };
    let (case, report) = (folder.path().join("case"), folder.path().join("report"));
    let mut command = lab.sh(&[PRESYN, "run", "--format", "json", "--report"]);
    command.arg(&report).arg("--save").arg(&case).arg("--");
    command.args([
        "sh",
        "-c",
        STOPPED,
        &program,
        &connects.to_string(),
        stopped,
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let peak: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .unwrap();
    let live = std::fs::read_to_string(&report).unwrap();
    let mut analyze = Command::new(PRESYN);
    let output = analyze
        .args(["analyze", "--format", "json"])
        .arg(&case)
        .output()
        .unwrap();
    let read = String::from_utf8(output.stdout).unwrap();
    assert!(live == read, "{}", first_difference(&live, &read));
    let some = serde_json::from_str::<Value>(&live).unwrap();
    // All events are retained, and the lists are as long.
    let options = InputOptions {
        limits: Limits::ALL,
        ..InputOptions::default()
    };
    let gathered = inputs::gather(std::slice::from_ref(&case), &options).unwrap();
    let whole = pipeline::report(gathered, &Settings::default());
    let whole = serde_json::to_value(whole).unwrap();
    let warnings = some["warnings"].as_array().unwrap();
    let warns = |word: &str| warnings.iter().any(|w| w.as_str().unwrap().contains(word));
    assert!(warns("counted but not retained"), "{warnings:?}");
    let trace = std::fs::read_to_string(case.join("trace.jsonl")).unwrap();
    let called = trace
        .lines()
        .filter(|l| l.contains("\"connect\"") && l.contains("127.0.0.1:9"));
    let called = called.count() as u64;
    if !trace
        .lines()
        .any(|l| l.starts_with("{\"gap\"") && !l.contains("\"events\":0"))
    {
        assert_eq!(called, connects, "every call is seen");
        assert_eq!(
            total(&some, "connections"),
            connects,
            "each is counted once"
        );
    }
    for list in ["connections", "delays", "lookups"] {
        assert_eq!(total(&some, list), total(&whole, list), "{list}");
    }
    // What the capture dropped is known at the end only: until then a silence is believed that it does not show.
    let dropped = some["inputs"]["captures"][0]["dropped"].as_u64().unwrap();
    let lists = ["connections", "delays"]
        .into_iter()
        .filter(|_| dropped == 0);
    for list in lists {
        let (some, whole) = (unnumbered(&some, list), unnumbered(&whole, list));
        assert_eq!(some.len(), whole.len(), "{list}");
        let differ = some.iter().zip(&whole).find(|(some, whole)| some != whole);
        assert_eq!(differ, None, "{list}");
    }
    let titles = |report: &Value| {
        let findings = report["findings"].as_array().unwrap().iter();
        findings.map(|f| f["title"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(titles(&some), titles(&whole));
    eprintln!("{called} connects, stopped for {stopped} s: {dropped} packets dropped, {peak} KiB");
    if !cfg!(debug_assertions) {
        assert!(peak < MEMORY_KIB, "{peak} KiB");
    }
}

#[test]
fn a_storm_is_counted_in_bounded_memory() {
    bounded_storm(40_000, "0");
}

#[test]
fn a_storm_is_counted_although_the_analysis_is_far_behind() {
    bounded_storm(40_000, "1.5");
}
