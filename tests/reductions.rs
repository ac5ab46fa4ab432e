//! The promise of the product, from both sides: whatever part of a recorded incident is left, no claim contradicts what
//! is known to have happened (*safe*); and what takes nothing away from the answer leaves the answer (*useful*).
//!
//! What happened is known from the resolvers' own books (`asked.json`) and from what the incident was scripted to be (the
//! table below), never from a report. `PRESYN_REDUCTIONS` sets how many random reductions are tried.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(
    clippy::too_many_lines,
    reason = "tests: a case and all that must hold of it stand in one function"
)]

#[path = "reductions/reduce.rs"]
mod reduce;
#[path = "reductions/truth.rs"]
mod truth;

use presyn::pipeline::{self, Settings};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use reduce::{Random, Reduction, Source};
use truth::{TRUTHS, Truth};

/// Half of a second is less than any wait that a stub resolver makes.
const UNCERTAIN: f64 = 0.5;

fn report(files: &reduce::Files) -> Option<Report> {
    let gathered = inputs::gather(&files.paths, &InputOptions::default()).ok()?;
    Some(pipeline::report(gathered, &Settings::default()))
}

/// What a report says that is not so.
fn contradictions(truth: &Truth, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    wrong.extend(resolvers(truth, report));
    wrong.extend(servers(truth, report));
    wrong.extend(delays(truth, report));
    wrong.extend(findings(truth, report));
    wrong.extend(sentences(truth, report));
    wrong
}

fn resolvers(truth: &Truth, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in report.resolvers.iter().filter(|r| r.port == 53) {
        let address = row.address.clone();
        let Some((asked, answered)) = truth.book(&address, row.transport) else {
            continue;
        };
        let lost = row.unanswered.unwrap_or(0);
        if answered == asked && lost > 0 {
            wrong.push(format!("{address}: {lost} unanswered, all were answered"));
        }
        if answered == 0 && row.answered.unwrap_or(0) > 0 {
            wrong.push(format!("{address}: answered, but answers nothing"));
        }
        if row.never_sent.unwrap_or(0) > 0 {
            wrong.push(format!("{address}: never sent, but it was asked"));
        }
    }
    wrong
}

fn servers(truth: &Truth, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    for connection in &report.connections {
        let to = connection.to.clone();
        let outcome = serde_json::to_value(connection.outcome).unwrap();
        let outcome = outcome.as_str().unwrap_or("unknown").to_owned();
        let known = truth.servers.iter().find(|(server, _)| *server == to);
        let Some((_, became)) = known else { continue };
        if outcome != *became && outcome != "open" && outcome != "unknown" {
            wrong.push(format!("{to}: {outcome}, but it was {became}"));
        }
    }
    wrong
}

fn delays(truth: &Truth, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    let foreign = |delay: &&presyn::report::Delay| {
        let to = report.connections.iter();
        let to = to.filter(|c| Some(&c.id) == delay.connection.as_ref());
        let parties = delay.entries.iter().filter_map(|e| e.party.clone());
        let mut hosts = to.map(|c| c.to.clone()).chain(parties);
        hosts.any(|host| reduce::is_foreign(&host))
    };
    for delay in report.delays.iter().filter(|d| !foreign(d)) {
        if let Some(seconds) = delay.since_first_query_s
            && seconds > truth.delay + UNCERTAIN
        {
            wrong.push(format!("a delay of {seconds} s for {} s", truth.delay));
        }
        for entry in &delay.entries {
            let Some(party) = &entry.party else { continue };
            let party = party.clone();
            let party = party.strip_suffix(":53").unwrap_or(&party);
            let most = truth.waited_for(&reduce::unredacted(party));
            if let Some(seconds) = entry.seconds
                && seconds > most + UNCERTAIN
            {
                wrong.push(format!("{seconds} s charged to {party} for {most} s"));
            }
        }
    }
    wrong
}

fn findings(truth: &Truth, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    for finding in &report.findings {
        let id = serde_json::to_value(finding.id).unwrap();
        let id = id.as_str().unwrap_or("");
        let parties: Vec<String> = finding
            .parties
            .iter()
            .map(|p| serde_json::to_string(p).unwrap())
            .collect();
        let about = |name: &str| parties.iter().any(|p| p.contains(&format!("{name}\"")));
        if id == "nothing-wrong" && truth.delay >= 1.0 {
            wrong.push(format!("nothing is wrong, but {} s were lost", truth.delay));
        }
        for (address, (asked, answered)) in truth.books() {
            let accused = matches!(id, "resolver-silent" | "resolver-unreachable");
            let lossy = id == "resolver-lossy" && answered == asked;
            if about(&address) && (accused && answered > 0 && !truth.is_late(&address) || lossy) {
                wrong.push(format!("{id} accuses {address}, which answered"));
            }
        }
        for (server, became) in truth.servers {
            let accuses = matches!(
                id,
                "syn-unanswered" | "never-connected" | "host-unreachable" | "connect-refused"
            );
            if about(server) && accuses && *became == "connected" {
                wrong.push(format!("{id} accuses {server}, which connected"));
            }
        }
    }
    wrong
}

fn sentences(truth: &Truth, report: &Report) -> Vec<String> {
    let mut wrong = Vec::new();
    for sentence in &report.summary {
        let mut connected = truth
            .servers
            .iter()
            .filter(|(_, became)| *became == "connected");
        let about = connected.any(|(server, _)| sentence.contains(server));
        if truth.delay >= 1.0 && about && sentence.starts_with("Nothing delayed") {
            wrong.push(sentence.clone());
        }
        let denied = ["never answered", "no packet could be delivered"];
        for (address, (_, answered)) in truth.books() {
            let named = sentence.contains(&address);
            // Of several that are named only one need be the silent one.
            let alone = truth.books().filter(|(a, _)| sentence.contains(a)).count() == 1;
            if named && alone && answered > 0 && denied.iter().any(|d| sentence.contains(d)) {
                wrong.push(sentence.clone());
            }
        }
    }
    wrong
}

/// Whether a report still names what cost the time, and how much.
fn answers(truth: &Truth, report: &Report, reductions: &[Reduction]) -> bool {
    let hidden = reductions.contains(&Reduction::Redacted);
    truth.waits.iter().all(|(party, seconds)| {
        let party = if hidden {
            reduce::redacted(party)
        } else {
            (*party).to_owned()
        };
        report.delays.iter().any(|delay| {
            let own = |entry: &&presyn::report::Entry| {
                let named = entry.party.as_ref().map(ToString::to_string);
                let named = named.unwrap_or_default();
                named.strip_suffix(":53").unwrap_or(&named) == party
            };
            let charged: f64 = delay
                .entries
                .iter()
                .filter(own)
                .filter_map(|e| e.seconds)
                .sum();
            (charged - seconds).abs() <= UNCERTAIN.max(*seconds * 0.03)
        })
    })
}

/// Copies the files of a contradiction into the folder that `PRESYN_KEEP` names, to look at.
fn keep(files: &reduce::Files, number: usize) {
    let Some(folder) = std::env::var_os("PRESYN_KEEP") else {
        return;
    };
    let folder = std::path::Path::new(&folder).join(number.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    for path in &files.paths {
        std::fs::copy(path, folder.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn what_is_left_of_an_incident_is_never_told_wrong() {
    let wanted = std::env::var("PRESYN_REDUCTIONS").ok();
    let wanted: usize = wanted.map_or(1_000, |n| n.parse().unwrap());
    let mut random = Random(0x5eed_1234_5678_9abc);
    let mut wrong: Vec<String> = Vec::new();
    let (mut tried, mut unusable, mut harmless, mut lost) = (0_usize, 0_usize, 0_usize, 0_usize);
    let sources: Vec<(&Truth, Source)> = TRUTHS.iter().map(|t| (t, Source::read(t))).collect();
    while tried < wanted {
        let chosen = random.below(sources.len());
        let (truth, source) = &sources[chosen];
        // The same case again would have the same ports and ids.
        let another = 1 + random.below(sources.len() - 1);
        let other = &sources[(chosen + another) % sources.len()].1;
        let reductions = Reduction::some(&mut random, source);
        let files = source.reduced(&reductions, other, &mut random);
        tried += 1;
        let Some(report) = report(&files) else {
            unusable += 1;
            continue;
        };
        let contradictions = contradictions(truth, &report);
        if !contradictions.is_empty() && wrong.len() < 40 {
            keep(&files, wrong.len());
            wrong.push(format!(
                "{} {reductions:?}: {}",
                truth.case,
                contradictions.join("; ")
            ));
        } else if !contradictions.is_empty() {
            wrong.push(String::new());
        }
        if reductions.iter().all(Reduction::is_harmless) {
            harmless += 1;
            if !answers(truth, &report, &reductions) {
                lost += 1;
                eprintln!(
                    "useless: {} {reductions:?}: {:?}",
                    truth.case, report.summary
                );
            }
        }
    }
    eprintln!(
        "{tried} reductions: {} told wrong, {unusable} unusable; of {harmless} harmless ones {lost} lost the answer",
        wrong.len()
    );
    assert!(
        wrong.is_empty(),
        "{} told wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(
        harmless * 20 >= tried,
        "{harmless} of {tried} were harmless"
    );
    assert!(
        lost * 100 <= harmless,
        "{lost} of {harmless} lost the answer"
    );
    assert!(
        unusable * 5 <= tried,
        "{unusable} of {tried} gave no report"
    );
}
