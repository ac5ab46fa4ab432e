//! Files of one run are joined, files of two are not: every log of the recorded cases beside its own capture and beside
//! those of others.

#![allow(clippy::unwrap_used, reason = "tests")]

use assert_cmd::Command;
use presyn::pipeline::{self, Different, Settings};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use std::fs;
use std::path::{Path, PathBuf};

/// Recorded cases with a capture and a log.
fn cases() -> Vec<PathBuf> {
    let folders = fs::read_dir("captures").unwrap();
    let folders = folders.map(|f| f.unwrap().path());
    let whole = |f: &PathBuf| f.join("packets.pcap").exists() && f.join("syscalls.strace").exists();
    let mut list: Vec<PathBuf> = folders.filter(whole).collect();
    list.sort();
    list
}

/// What is left of a log: all of it, none of strace's `-yy`, no times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Left {
    All,
    Bare,
    Untimed,
}

fn log(case: &Path, left: Left) -> String {
    let text = fs::read_to_string(case.join("syscalls.strace")).unwrap();
    text.lines()
        .map(|line| reduced(line, left) + "\n")
        .collect()
}

fn reduced(line: &str, left: Left) -> String {
    match left {
        Left::All => line.to_owned(),
        Left::Bare => {
            // `3<UDP:[10.0.0.1:5->10.0.0.2:53]>` becomes `3`; a name in brackets cannot hold `]>`.
            let mut rest = line;
            let mut out = String::new();
            while let Some(start) = rest.find("<UDP").or_else(|| rest.find("<TCP")) {
                let end = rest[start..]
                    .find("]>")
                    .map_or(rest.len(), |n| start + n + 2);
                out.push_str(&rest[..start]);
                rest = &rest[end..];
            }
            out + rest
        }
        Left::Untimed => {
            let mut words = line.splitn(3, ' ');
            let (tid, _, rest) = (words.next(), words.next(), words.next());
            let rest = rest.unwrap_or("");
            let rest = rest.rsplit_once(" <").map_or(rest, |(before, after)| {
                if after.ends_with('>') && after.starts_with(|c: char| c.is_ascii_digit()) {
                    before
                } else {
                    rest
                }
            });
            format!("{} {rest}", tid.unwrap_or(""))
        }
    }
}

fn join(capture: &Path, log: &str) -> Result<Report, Different> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.strace");
    fs::write(&path, log).unwrap();
    let paths = [capture.join("packets.pcap"), path];
    let gathered = inputs::gather(&paths, &InputOptions::default()).unwrap();
    pipeline::checked_report(gathered, &Settings::default())
}

fn assumes(report: &Report) -> bool {
    report.summary.iter().any(|s| s.starts_with("Assuming"))
}

#[test]
fn files_of_one_run_are_joined_whatever_is_left_of_the_log() {
    for case in cases() {
        for left in [Left::All, Left::Bare, Left::Untimed] {
            let report = join(&case, &log(&case, left));
            let report = report.unwrap_or_else(|e| panic!("{} {left:?}: {e}", case.display()));
            assert!(!assumes(&report), "{} {left:?}", case.display());
        }
    }
}

#[test]
fn files_of_two_runs_are_refused_or_the_assumption_is_said() {
    let cases = cases();
    let (mut refused, mut assumed) = (0, 0);
    for (n, case) in cases.iter().enumerate() {
        for step in [1, 2, 5, 7, 11] {
            let other = &cases[(n + step) % cases.len()];
            for left in [Left::All, Left::Bare, Left::Untimed] {
                let place = || format!("{} {left:?} beside {}", case.display(), other.display());
                match join(other, &log(case, left)) {
                    Err(different) => {
                        assert!(different.to_string().contains("--force-join"));
                        refused += 1;
                    }
                    Ok(report) => {
                        assert!(assumes(&report), "{}: {:?}", place(), report.summary);
                        assumed += 1;
                    }
                }
            }
        }
    }
    // Where only the order is left, or nothing but the server's address, nobody can tell.
    assert!(
        refused > 4 * assumed,
        "{refused} refused, {assumed} assumed"
    );
}

#[test]
fn the_command_names_both_files_and_the_way_out() {
    let paths = [
        "captures/slow-resolver/packets.pcap",
        "captures/first-resolver-silent/syscalls.strace",
    ];
    let mut presyn = Command::cargo_bin("presyn").unwrap();
    let refused = presyn.arg("analyze").args(paths).assert().code(2);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    for words in [paths[0], paths[1], "not of one run", "--force-join"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let mut presyn = Command::cargo_bin("presyn").unwrap();
    let forced = presyn.arg("analyze").arg("--force-join").args(paths);
    let forced = forced.assert().success();
    let said = String::from_utf8(forced.get_output().stdout.clone()).unwrap();
    assert!(
        said.lines()
            .nth(1)
            .is_some_and(|answer| answer.starts_with("Assuming these files are of one run")),
        "{said}"
    );
}
