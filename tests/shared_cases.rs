//! The cases beside the project, judged by the script that is beside them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod shared;

use std::process::Command;

/// Lets the script judge the binary under test; its last line must say `N of N agree`.
fn judged(what: &str) {
    let Some(shared) = shared::folder() else {
        return;
    };
    if Command::new("python3").arg("--version").output().is_err() {
        let said = "SKIPPED: python3 is not here\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    }
    let output = Command::new("python3")
        .arg(shared.join("tools/check.py"))
        .args([what.as_ref(), shared.join("cases").as_os_str()])
        .env("PRESYN", env!("CARGO_BIN_EXE_presyn"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaints}");
    let verdict = said.lines().last().unwrap_or_default();
    let agree = verdict
        .strip_prefix(&format!("{what}: "))
        .and_then(|v| v.strip_suffix(" agree"))
        .and_then(|v| v.split_once(" of "))
        .unwrap_or_else(|| panic!("no verdict in: {said}{complaints}"));
    assert_eq!(agree.0, agree.1, "{said}");
    assert_ne!(agree.1, "0", "no case was judged: {said}");
}

#[test]
fn counts_agree() {
    judged("counts");
}

#[test]
fn ledgers_agree() {
    judged("ledger");
}
