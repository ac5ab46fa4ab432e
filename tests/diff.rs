//! `presyn diff`: what two runs of one client have in common is found whatever changed between them.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

use assert_cmd::Command;
use presyn::explain::comparison::{Change, Comparison, compare};
use presyn::pipeline::{self, Settings};
use presyn::report::{FindingId, Report};
use presyn::session::inputs::{self, InputOptions};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

fn report(case: &str) -> Report {
    let folder = PathBuf::from("captures").join(case);
    let gathered = inputs::gather(&[folder], &InputOptions::default()).unwrap();
    pipeline::report(gathered, &Settings::default())
}

fn of(before: &str, after: &str) -> Comparison {
    compare(&report(before), &report(after))
}

/// The report with a change of its JSON.
fn changed(report: &Report, change: impl Fn(String) -> String) -> Report {
    serde_json::from_str(&change(serde_json::to_string(report).unwrap())).unwrap()
}

fn changes(found: &Comparison) -> Vec<(Change, FindingId)> {
    found.findings.iter().map(|f| (f.change, f.id)).collect()
}

#[test]
fn a_case_is_the_same_as_itself() {
    for entry in fs::read_dir("captures").unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let case = path.file_name().unwrap().to_str().unwrap();
        let found = of(case, case);
        assert!(!found.worse, "{case}");
        assert!(found.configuration.is_empty(), "{case}");
        assert!(
            found.delays.iter().all(|d| d.change == Change::Same),
            "{case}: {found:?}"
        );
        assert!(
            found.findings.iter().all(|f| f.change == Change::Same),
            "{case}: {found:?}"
        );
        assert!(
            found.resolvers.iter().all(|r| r.change == Change::Same),
            "{case}: {found:?}"
        );
    }
}

#[test]
fn parts_add_up_to_the_slowest() {
    for (before, after) in [
        ("zookeeper-three-silent", "reverse-lookup"),
        ("ipv6", "two-addresses-fallback"),
        ("syn-blackholed", "nothing-wrong"),
    ] {
        for delay in of(before, after).delays {
            for (side, times) in [(0, &delay.before), (1, &delay.after)] {
                let parts = delay
                    .parts
                    .iter()
                    .map(|p| [p.before_s, p.after_s][side].unwrap());
                let whole = times.as_ref().map_or(0.0, |t| t.slowest_s.unwrap());
                assert!(
                    (parts.sum::<f64>() - whole).abs() < 1e-5,
                    "{before} {after}: {delay:?}"
                );
            }
        }
    }
}

#[test]
fn a_mended_resolver_is_gained_resolver_by_resolver() {
    let found = of("first-resolver-silent", "nothing-wrong");
    let delay = &found.delays[0];
    assert_eq!(
        (delay.change, delay.what()),
        (Change::Better, "web.example.lab:80".into())
    );
    assert!((delay.gained_s.unwrap() - 5.0).abs() < 0.1, "{delay:?}");
    let silent = found
        .resolvers
        .iter()
        .find(|r| r.address == "10.0.1.93")
        .unwrap();
    assert!((silent.gained_s.unwrap() - 5.0).abs() < 0.1, "{silent:?}");
    assert_eq!(silent.before.as_ref().unwrap().unanswered, Some(2));
    assert_eq!(silent.after.as_ref().unwrap().unanswered, Some(0));
    assert!(changes(&found).contains(&(Change::Gone, FindingId::ResolverSilent)));
    assert!(!found.worse, "nothing-wrong is new and no harm");
    let back = of("nothing-wrong", "first-resolver-silent");
    assert_eq!(back.delays[0].change, Change::Worse);
    assert!(back.worse);
}

#[test]
fn ports_process_ids_dates_and_paths_play_no_part() {
    let before = report("overlapping-threads");
    let after = changed(&before, |json| {
        let mut value: Value = serde_json::from_str(&json).unwrap();
        value["started"] = "2031-01-01T00:00:00Z".into();
        for c in value["connections"].as_array_mut().unwrap() {
            c["from"] = "10.9.9.9:1".into();
            c["task"] = serde_json::json!({"pid": 7, "tid": 8, "comm": "other"});
        }
        let json = value.to_string();
        // Another order of threads gives other ids, and cases lie in other folders.
        let json = json.replace("\"C1\"", "\"C9\"").replace("\"C3\"", "\"C1\"");
        json.replace("captures/overlapping-threads", "/elsewhere")
            .replace("\"C9\"", "\"C3\"")
    });
    let found = compare(&before, &after);
    assert_eq!(found.delays.len(), 3, "{found:?}");
    assert!(
        found.delays.iter().all(|d| d.change == Change::Same),
        "{found:?}"
    );
    assert!(
        found.findings.iter().all(|f| f.change == Change::Same),
        "{found:?}"
    );
}

#[test]
fn a_server_with_a_new_address_keeps_its_name() {
    let before = report("first-resolver-silent");
    let after = changed(&before, |json| json.replace("192.168.110.231", "192.0.2.7"));
    let found = compare(&before, &after);
    assert_eq!(found.delays.len(), 1, "{found:?}");
    assert_eq!(found.delays[0].change, Change::Same);
}

#[test]
fn a_lookup_that_went_away_leaves_the_address() {
    // The name is in /etc/hosts now.
    let found = of("first-resolver-silent", "hosts-file");
    assert_eq!(found.delays.len(), 1, "{found:?}");
    assert_eq!(
        found.delays[0].what(),
        "192.168.110.231:80 (before: web.example.lab:80)"
    );
    assert_eq!(found.delays[0].change, Change::Better);
    // Three names before, one address after.
    let found = of("overlapping-threads", "hosts-file");
    assert_eq!(found.delays.len(), 1, "{found:?}");
    assert_eq!(found.delays[0].before.as_ref().unwrap().times, 3);
}

#[test]
fn a_lookup_that_failed_meets_its_server() {
    let found = of("stub-upstream-dead", "nothing-wrong");
    assert_eq!(found.delays.len(), 1, "{found:?}");
    assert_eq!(
        found.delays[0].what(),
        "web.example.lab:80 (before: web.example.lab)"
    );
    assert_eq!(found.delays[0].change, Change::Better);
}

#[test]
fn what_is_in_one_only_is_gone_or_new_and_gains_nothing() {
    let found = of("zookeeper-three-silent", "two-addresses-fallback");
    assert!(
        found.delays.iter().all(|d| d.gained_s.is_none()),
        "{found:?}"
    );
    assert_eq!(found.delays[0].change, Change::Gone);
    assert_eq!(found.delays[1].change, Change::New);
    assert_eq!(found.summary[0], "No server and no name is in both.");
}

/// Findings are matched by their parties, not by the words of their titles.
#[test]
fn a_reworded_report_compares_the_same() {
    let before = report("zookeeper-three-silent");
    let mut after = before.clone();
    for finding in &mut after.findings {
        finding.title = "Reworded.".into();
        finding.detail.clear();
    }
    let found = compare(&before, &after);
    assert!(!found.worse, "{found:?}");
    let same = |f: &presyn::explain::comparison::ComparedFinding| f.change == Change::Same;
    assert!(found.findings.iter().all(same), "{found:?}");
    // The same words about another resolver are another finding.
    for finding in &mut after.findings {
        for party in &mut finding.parties {
            party.address = Some("192.0.2.9".into());
        }
    }
    let found = compare(&before, &after);
    assert!(found.worse && !found.findings.iter().any(same), "{found:?}");
}

/// A figure that one report does not know is no gain and no loss.
#[test]
fn unknown_seconds_compare_as_unknown() {
    let before = report("first-resolver-silent");
    let mut after = before.clone();
    for delay in &mut after.delays {
        delay.since_start_s = None;
        delay.entries.iter_mut().for_each(|e| e.seconds = None);
    }
    for row in &mut after.resolvers {
        (row.waited_s, row.answered) = (None, None);
    }
    for (before, after) in [(&before, &after), (&after, &before)] {
        let found = compare(before, after);
        assert!(!found.worse, "{found:?}");
        assert_eq!(found.delays[0].change, Change::Unknown, "{found:?}");
        assert_eq!(found.delays[0].gained_s, None, "{found:?}");
        for row in found.resolvers.iter().filter(|r| !r.untraced) {
            assert_eq!(
                (row.change, row.gained_s),
                (Change::Unknown, None),
                "{row:?}"
            );
        }
    }
}

#[test]
fn one_resolver_mended_of_three_is_the_same_finding_at_less_cost() {
    let before = report("zookeeper-three-silent");
    let after = changed(&before, |json| {
        let mut value: Value = serde_json::from_str(&json).unwrap();
        for finding in value["findings"].as_array_mut().unwrap() {
            let parties = finding["parties"].as_array_mut().unwrap();
            parties.retain(|p| p["address"] != "10.0.1.93");
        }
        value
            .to_string()
            .replace("\"seconds\":56.064259", "\"seconds\":36.0")
    });
    let found = compare(&before, &after);
    let silent = found
        .findings
        .iter()
        .find(|f| f.id == FindingId::ResolverSilent)
        .unwrap();
    assert_eq!(silent.change, Change::Better, "{silent:?}");
}

/// Reports of ten thousand names that have none in common: compared pair by pair they took minutes.
#[test]
fn many_names_are_matched_in_linear_time() {
    let many = |prefix: &str| {
        let mut report = report("name-not-found");
        let (delay, lookup) = (report.delays[0].clone(), report.lookups[0].clone());
        (report.delays, report.lookups) = (Vec::new(), Vec::new());
        for n in 0..10_000 {
            let (mut delay, mut lookup) = (delay.clone(), lookup.clone());
            lookup.id = format!("L{n}");
            lookup.name = Some(format!("{prefix}{n}.example"));
            delay.lookup = Some(lookup.id.clone());
            report.delays.push(delay);
            report.lookups.push(lookup);
        }
        report
    };
    let (before, after) = (many("before"), many("after"));
    let begin = std::time::Instant::now();
    let apart = compare(&before, &after);
    let same = compare(&before, &before);
    let took = begin.elapsed();
    assert!(took.as_secs() < 20, "{took:?}");
    let gained = |c: &Comparison| c.delays.iter().filter(|w| w.gained_s.is_some()).count();
    assert_eq!((gained(&apart), gained(&same)), (0, 10_000));
    assert_eq!(apart.delays.len(), 20_000);
}

fn diff(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_presyn"));
    command
        .arg("diff")
        .args(args)
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

#[test]
fn exit_statuses_are_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (good, bad) = ("captures/nothing-wrong", "captures/first-resolver-silent");
    let cut = fs::read("captures/first-resolver-silent/packets.pcap").unwrap();
    fs::write(at("cut.pcap"), &cut[..1500]).unwrap();
    fs::write(at("other.json"), r#"{"schema":"presyn.report/99"}"#).unwrap();
    fs::write(
        at("broken.json"),
        r#"{"schema":"presyn.report/2","summary":3}"#,
    )
    .unwrap();
    // Of a later presyn: a value that this one does not know, and a long one that would obey a terminal.
    let saved = serde_json::to_string(&report("first-resolver-silent")).unwrap();
    let hostile = format!("\\u001b[2J{}", "x".repeat(100_000));
    for (name, id) in [
        ("later.json", "resolver-haunted"),
        ("hostile.json", &hostile),
    ] {
        fs::write(
            at(name),
            saved.replace("\"resolver-silent\"", &format!("\"{id}\"")),
        )
        .unwrap();
    }
    fs::write(at("half.json"), r#"{"schema":"presyn.report/2","#).unwrap();
    let (later, hostile) = (at("later.json"), at("hostile.json"));
    let (cut, other, broken, half) = (
        at("cut.pcap"),
        at("other.json"),
        at("broken.json"),
        at("half.json"),
    );
    for (args, status, word) in [
        (&[good, bad][..], 0, ""),
        (&[good, bad, "--fail-on", "worse"], 1, ""),
        (&[bad, good, "--fail-on", "worse"], 0, ""),
        (&[good, &cut, "--fail-on", "worse"], 3, ""),
        (&[good, "no/such/case"], 2, "no/such/case"),
        (&[good, &other], 2, "presyn.report/99"),
        (&[good, &broken], 2, "broken.json"),
        (&[good, &half], 2, "half.json"),
        (&[good, &later], 2, "resolver-haunted"),
        (
            &[good, &later],
            2,
            concat!("presyn ", env!("CARGO_PKG_VERSION")),
        ),
        (&[good, &hostile], 2, "hostile.json"),
        (&[good, "Cargo.toml"], 2, "Cargo.toml"),
        (&[good], 2, "--help"),
        (&[good, bad, "--fail-on", "delay>3"], 2, "worse"),
    ] {
        let output = diff(args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
        assert!(
            said.len() < 1_000 && !said.contains('\u{1b}'),
            "{args:?}: {said}"
        );
        assert_eq!(said.is_empty(), status != 2, "{args:?}: {said}");
        assert_eq!(output.stdout.is_empty(), status == 2, "{args:?}");
    }
}

#[test]
fn a_saved_report_does_as_well_as_its_case() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("before.json");
    let mut analyze = Command::new(env!("CARGO_BIN_EXE_presyn"));
    let output = analyze
        .args(["analyze", "--format", "json", "captures/ipv6"])
        .output()
        .unwrap();
    fs::write(&saved, output.stdout).unwrap();
    let saved = saved.to_str().unwrap();
    for format in ["text", "json", "markdown"] {
        let from_case = diff(&[
            "captures/ipv6",
            "captures/two-addresses-fallback",
            "--format",
            format,
        ]);
        let from_saved = diff(&[saved, "captures/two-addresses-fallback", "--format", format]);
        assert_eq!(from_case.status.code(), Some(0));
        assert_eq!(from_case.stdout, from_saved.stdout, "{format}");
    }
}

#[test]
fn text_fits_80_columns() {
    for after in [
        "ipv6",
        "nscd-in-front",
        "lossy-resolver",
        "zookeeper-three-silent",
        "hosts-file",
    ] {
        for before in ["ipv6", "overlapping-threads", "search-domains-connect"] {
            let output = diff(&[&format!("captures/{before}"), &format!("captures/{after}")]);
            for line in String::from_utf8(output.stdout).unwrap().lines() {
                let wide = unicode_width::UnicodeWidthStr::width(line);
                assert!(
                    wide <= 80 && line == line.trim_end(),
                    "{before} {after}: {wide} columns: {line}"
                );
            }
        }
    }
}
