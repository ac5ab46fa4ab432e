//! Every recorded case through the library, against golden reports and against what the resolvers say.
//!
//! Two kinds of golden files, so that a reworded sentence changes a few files and a changed figure is not lost
//! among words:
//!
//! - `tests/golden/json/CASE.json`, every case: the contract, without the fields that are English
//!   ([`presyn::report::ENGLISH`]) and with sorted keys. `tests/golden/jsonl/CASE.jsonl`, a few cases: the same.
//! - `tests/golden/text/CASE.txt`, `tests/golden/full/CASE.txt` and `tests/golden/markdown/CASE.md`, a few cases: exactly
//!   what `presyn analyze captures/CASE` prints, alone, with `--full` and with `--format markdown`, run at the project's
//!   root.
//!
//! After an intended change, rewrite them with one command and read the difference before committing it:
//!
//! ```sh
//! UPDATE_GOLDEN=1 cargo test --test golden && git diff tests/golden
//! ```
//!
//! The last test does not use the goldens: `asked.json` is what the scripted resolvers themselves
//! read and answered.

#![allow(clippy::unwrap_used, reason = "tests")]

use presyn::pipeline::{self, Settings};
use presyn::render::{json, jsonl, markdown, text};
use presyn::report::{ENGLISH, QueryState, Report};
use presyn::session::inputs::{self, InputOptions};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Cases whose texts and Markdown have goldens: long and short, with and without capture, IPv6, several delays, no
/// connect, a service in front.
const WORDS: [&str; 8] = [
    "first-reported",
    "ipv6",
    "name-not-found",
    "nscd-in-front",
    "overlapping-threads",
    "resolver-absent",
    "search-domains",
    "zookeeper-three-silent",
];

/// Cases whose lines have goldens: all kinds of lines, few of each.
const LINES: [&str; 3] = ["name-not-found", "reverse-lookup", "two-addresses-fallback"];

/// The names of the recorded cases. Tests run at the project's root, so the paths stay relative.
fn cases() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("captures")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 30, "cases are missing: {names:?}");
    names
}

fn report(case: &str) -> Report {
    let folder = PathBuf::from("captures").join(case);
    let gathered = inputs::gather(&[folder], &InputOptions::default()).unwrap();
    pipeline::report(gathered, &Settings::default())
}

/// The first line that differs, for a message that can be read.
fn difference(old: &str, new: &str) -> String {
    let (mut old, mut new) = (old.lines(), new.lines());
    for line in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (a, b) => {
                return format!(
                    "line {line}:\n  golden {}\n  now    {}",
                    a.unwrap_or("(ends)"),
                    b.unwrap_or("(ends)")
                );
            }
        }
    }
    "line ends differ".into()
}

/// The JSON without the fields that are English.
fn contract(mut value: Value) -> Value {
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !ENGLISH.contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The golden files of a case: folder, name, and what they hold now.
fn goldens(case: &str, report: &Report) -> Vec<(PathBuf, String)> {
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    };
    let file = |kind: &str, ending: &str| {
        Path::new("tests/golden")
            .join(kind)
            .join(format!("{case}.{ending}"))
    };
    let structured = contract(serde_json::to_value(report).unwrap());
    let structured = written(&|out| json::write(&structured, out).unwrap());
    let mut list = vec![(file("json", "json"), structured)];
    if WORDS.contains(&case) {
        let brief = text::Look::default();
        let plain = written(&|out| text::write(report, brief, out).unwrap());
        list.push((file("text", "txt"), plain));
        let full = text::Look {
            full: true,
            ..brief
        };
        let whole = written(&|out| text::write(report, full, out).unwrap());
        list.push((file("full", "txt"), whole));
        let marked = written(&|out| markdown::write(report, out).unwrap());
        list.push((file("markdown", "md"), marked));
    }
    if LINES.contains(&case) {
        let input = format!("captures/{case}");
        let lines = written(&|out| jsonl::write(&input, report, out).unwrap());
        let lines = written(&|out| {
            for line in lines.lines() {
                let line = contract(serde_json::from_str(line).unwrap());
                json::line(&line, out).unwrap();
            }
        });
        list.push((file("jsonl", "jsonl"), lines));
    }
    list
}

#[test]
fn reports_are_as_the_goldens() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some_and(|v| !v.is_empty() && v != "0");
    let mut wrong = Vec::new();
    let mut expected = BTreeSet::new();
    for case in cases() {
        for (path, now) in goldens(&case, &report(&case)) {
            if update {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, now).unwrap();
            } else {
                match fs::read_to_string(&path) {
                    Ok(old) if old == now => {}
                    Ok(old) => {
                        wrong.push(format!("{}: {}", path.display(), difference(&old, &now)));
                    }
                    Err(error) => wrong.push(format!("{}: {error}", path.display())),
                }
            }
            expected.insert(path);
        }
    }
    // A golden of a case that is gone tests nothing.
    for folder in fs::read_dir("tests/golden").unwrap() {
        for entry in fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = entry.unwrap().path();
            if expected.contains(&path) {
                continue;
            }
            if update {
                fs::remove_file(&path).unwrap();
            } else {
                wrong.push(format!("{}: no such case", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} golden files differ; if that is meant: UPDATE_GOLDEN=1 cargo test --test golden\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A reworded sentence must change no golden of the contract: every field that holds one is in the list.
#[test]
fn no_sentence_is_in_the_contract() {
    for case in cases() {
        let value = contract(serde_json::to_value(report(&case)).unwrap());
        let mut sentences = Vec::new();
        collect_sentences(&value, &mut sentences);
        assert!(sentences.is_empty(), "{case}: {sentences:#?}");
    }
}

fn collect_sentences(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) if is_sentence(text) => found.push(text.clone()),
        Value::Array(list) => list.iter().for_each(|v| collect_sentences(v, found)),
        Value::Object(fields) => fields.values().for_each(|v| collect_sentences(v, found)),
        _ => {}
    }
}

/// Strings of four words and more; paths and questions have fewer. The one that has more is strace's options.
fn is_sentence(text: &str) -> bool {
    let words = || text.split_whitespace();
    words().count() > 3 && !words().all(|word| word.starts_with('-'))
}

/// Queries and answers of one resolver over one transport.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    queries: u64,
    answered: u64,
}

/// Names of a lookup's questions by type, as often as asked.
type Questions = BTreeMap<String, BTreeMap<String, u64>>;

/// What the scripted resolvers wrote down: `ADDRESS/TRANSPORT` to counts and questions.
fn asked(case: &str) -> Option<(BTreeMap<String, Counts>, Questions)> {
    let path = Path::new("captures").join(case).join("asked.json");
    let value: Value = serde_json::from_slice(&fs::read(path).ok()?).unwrap();
    let (mut counts, mut questions) = (BTreeMap::new(), Questions::new());
    for (resolver, asked) in value.as_object().unwrap() {
        counts.insert(
            resolver.clone(),
            Counts {
                queries: asked["queries"].as_u64().unwrap(),
                answered: asked["answered"].as_u64().unwrap(),
            },
        );
        for (question, times) in asked["questions"].as_object().unwrap() {
            questions
                .entry(resolver.clone())
                .or_default()
                .insert(question.clone(), times.as_u64().unwrap());
        }
    }
    Some((counts, questions))
}

/// Resolvers of a case that kept no book, and why; what the report must say of them instead.
enum Bookless {
    /// Nobody listens: each query was refused, none answered.
    Refusing,
    /// Not on the link: no query left the host.
    Absent,
    /// dnsmasq, a real resolver: what it answered is checked through its upstreams' books.
    Stub,
}

fn bookless(case: &str, resolver: &str) -> Option<Bookless> {
    match (case, resolver) {
        ("resolver-refusing", "10.0.1.93/udp") => Some(Bookless::Refusing),
        ("resolver-absent", "10.0.1.93/udp") => Some(Bookless::Absent),
        ("stub-upstream-dead" | "stub-upstream-silent-first", "127.0.0.53/udp") => {
            Some(Bookless::Stub)
        }
        ("nat-stub", "127.0.0.11/udp") => Some(Bookless::Stub),
        _ => None,
    }
}

#[test]
fn counts_are_what_the_resolvers_say_they_read_and_answered() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for case in cases() {
        let Some((books, questions)) = asked(&case) else {
            assert_eq!(case, "first-reported", "{case} has no asked.json");
            continue;
        };
        let report = report(&case);
        let mut rows: BTreeMap<String, Counts> = BTreeMap::new();
        for row in &report.resolvers {
            assert_eq!(
                row.port, 53,
                "{case}: the lab's resolvers listen on port 53"
            );
            let key = format!("{}/{}", row.address, row.transport);
            match bookless(&case, &key) {
                Some(Bookless::Refusing) => {
                    if row.queries == Some(0)
                        || row.refused != row.queries
                        || row.answered != Some(0)
                    {
                        wrong.push(format!("{case}: {key} refuses everything, report: {row:?}"));
                    }
                    continue;
                }
                Some(Bookless::Absent) => {
                    if row.queries != Some(0) || row.never_sent == Some(0) {
                        wrong.push(format!("{case}: {key} is absent, report: {row:?}"));
                    }
                    continue;
                }
                Some(Bookless::Stub) => {
                    if row.queries == Some(0) {
                        wrong.push(format!("{case}: the stub was asked, report: {row:?}"));
                    }
                    continue;
                }
                None => {}
            }
            let counts = rows.entry(key).or_default();
            counts.queries += row.queries.unwrap();
            counts.answered += row.answered.unwrap();
        }
        // A resolver whose TCP port drops every SYN reads nothing: no row, or one without messages.
        rows.retain(|resolver, counts| {
            *counts != Counts::default() || books.contains_key(resolver)
        });
        compared += books.len();
        if rows != books {
            wrong.push(format!("{case}: report {rows:?}\n  resolvers {books:?}"));
        }
        let said = questions_of(&case, &report);
        if said != questions {
            wrong.push(format!(
                "{case}: report {said:?}\n  resolvers {questions:?}"
            ));
        }
    }
    assert!(compared > 40, "only {compared} books were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The questions in the report's lookups, as `asked.json` counts them.
fn questions_of(case: &str, report: &Report) -> Questions {
    let mut said = Questions::new();
    for query in report.lookups.iter().flat_map(|l| &l.queries) {
        let address = query.resolver.rsplit_once(':').unwrap().0;
        let address = address.trim_start_matches('[').trim_end_matches(']');
        let key = format!("{address}/{}", query.transport);
        if query.state == QueryState::NeverSent || bookless(case, &key).is_some() {
            continue;
        }
        *said
            .entry(key)
            .or_default()
            .entry(query.question.clone().unwrap())
            .or_default() += 1;
    }
    said
}
