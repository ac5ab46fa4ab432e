//! Every negative claim asks what its inputs could have shown: where nothing is ever taken for absent, no report holds one.

#![allow(clippy::unwrap_used, reason = "tests")]

use presyn::coverage::Trust;
use presyn::pipeline::{self, Settings};
use presyn::report::{QueryState, Report};
use presyn::session::inputs::{self, InputOptions};
use std::fs;
use std::path::{Path, PathBuf};

/// Findings that say that something did not come, or that nothing is wrong.
const NEGATIVE: [&str; 5] = [
    "nothing-wrong",
    "resolver-silent",
    "resolver-lossy",
    "aaaa-silent",
    "syn-unanswered",
];

/// What sentences say then.
const WORDS: [&str; 5] = [
    "never answered",
    "Nothing delayed",
    "Nothing answered",
    "no SYN left this host",
    "never sent a SYN",
];

fn inputs() -> Vec<PathBuf> {
    let mut list: Vec<PathBuf> = Vec::new();
    for folder in ["captures", "../shared/cases", "../shared/field"] {
        let Ok(entries) = fs::read_dir(folder) else {
            eprintln!("SKIPPED: there is no {folder}");
            continue;
        };
        let paths = entries.map(|e| e.unwrap().path());
        let usable = |p: &PathBuf| {
            let kind = p.extension().unwrap_or_default();
            p.is_dir() || kind == "pcap" || kind == "log"
        };
        list.extend(paths.filter(usable));
    }
    list.sort();
    assert!(list.len() > 30, "{list:?}");
    list
}

fn report(path: &Path, trust: Trust) -> Option<Report> {
    let gathered = inputs::gather(&[path.to_owned()], &InputOptions::default()).ok()?;
    let settings = Settings {
        trust,
        ..Settings::default()
    };
    Some(pipeline::report(gathered, &settings))
}

/// The negative claims of a report.
fn claims(report: &Report) -> Vec<String> {
    let mut list = Vec::new();
    let queries = report.lookups.iter().flat_map(|l| &l.queries);
    list.extend(
        queries
            .filter(|q| q.state == QueryState::Unanswered)
            .map(|q| format!("a query to {} is unanswered", q.resolver)),
    );
    let ids = report.findings.iter().map(|f| f.id.name());
    list.extend(ids.filter(|id| NEGATIVE.contains(id)).map(str::to_owned));
    let said = report.summary.iter();
    let negative = said.filter(|s| WORDS.iter().any(|w| s.contains(w)));
    list.extend(negative.cloned());
    list
}

#[test]
fn without_any_trust_nothing_is_said_to_be_absent() {
    let mut wrong = Vec::new();
    let mut claimed = 0;
    for path in inputs() {
        let Some(wary) = report(&path, Trust::Nothing) else {
            continue;
        };
        for claim in claims(&wary) {
            wrong.push(format!("{}: {claim}", path.display()));
        }
        claimed += report(&path, Trust::Judged).map_or(0, |r| claims(&r).len());
    }
    assert!(claimed > 50, "with trust there are only {claimed} claims");
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

/// What a capture of the server's port alone lacks is not what the client did not send: whoever always trusts says that
/// nothing left for the resolver.
#[test]
fn with_blind_trust_a_filtered_capture_is_told_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let case = Path::new("captures/first-resolver-silent");
    let bytes = fs::read(case.join("packets.pcap")).unwrap();
    let mut kept = bytes[..24].to_vec();
    let mut rest = &bytes[24..];
    while let Some(length) = rest.get(8..).and_then(|b| b.first_chunk()) {
        let length = 16 + usize::try_from(u32::from_le_bytes(*length)).unwrap();
        let (record, after) = rest.split_at(length);
        // A record with port 80 in it, as TCP has it at either end.
        if record[16..].windows(2).any(|w| w == 80_u16.to_be_bytes()) {
            kept.extend(record);
        }
        rest = after;
    }
    fs::write(folder.path().join("web.pcap"), kept).unwrap();
    fs::copy(
        case.join("syscalls.strace"),
        folder.path().join("syscalls.strace"),
    )
    .unwrap();
    let undelivered = |trust| {
        let report = report(folder.path(), trust).unwrap();
        let sentence = report.summary.join(" ");
        assert!(sentence.contains("10.0.1.93"), "{sentence}");
        sentence.contains("no packet could be delivered")
    };
    assert!(!undelivered(Trust::Judged));
    assert!(undelivered(Trust::Everything));
}
