//! Passwords in a command's arguments and environment: not in the case, the report or the lines of -v, unless asked for.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

const SECRET: &str = "S3CR3T";

/// Everything that a run stored and printed.
fn everything(options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("case");
    let report = folder.path().join("report.json");
    let script = format!("true --password {SECRET} 'http://me:{SECRET}@127.0.0.1/'");
    let output = Command::new("timeout")
        .args(["30", env!("CARGO_BIN_EXE_presyn")])
        .args(["run", "--no-capture", "-v", "--format", "json"])
        .args(options)
        .arg("--save")
        .arg(&case)
        .arg("--report")
        .arg(&report)
        .args(["--", "sh", "-c", &script, &format!("--token={SECRET}")])
        .env("JAVA_TOOL_OPTIONS", format!("-Dstore={SECRET}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut all = String::from_utf8_lossy(&output.stderr).into_owned();
    let files = std::fs::read_dir(&case).unwrap().map(|e| e.unwrap().path());
    for file in files.chain([report]) {
        all.push_str(&String::from_utf8_lossy(&std::fs::read(file).unwrap()));
    }
    assert!(all.contains("presyn.trace/"), "{all}");
    all
}

#[test]
fn secrets_are_stored_only_when_asked_for() {
    let masked = everything(&[]);
    assert!(!masked.contains(SECRET), "{masked}");
    // Three words of the command and one of the environment in the case, the command again in the report.
    assert_eq!(masked.matches("<masked>").count(), 7, "{masked}");
    let whole = everything(&["--keep-arguments"]);
    assert_eq!(whole.matches(SECRET).count(), 7, "{whole}");
}
