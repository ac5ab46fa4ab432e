//! A storm of connects: every call is seen, and no packet is lost unnoticed.

use crate::lab::Lab;
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
