//! Hostile text in every field of a report, one at a time, written in every format: no control reaches a terminal,
//! and no markup reaches a ticket.
//!
//! The fields are taken from the report's own JSON schema, so a new one is tried as soon as it exists.

#![allow(clippy::unwrap_used, reason = "tests")]

use presyn::explain::comparison;
use presyn::pipeline::{self, Settings};
use presyn::render::text::{self, Look};
use presyn::render::{json, jsonl, markdown};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use pulldown_cmark::{Event, Options, Parser, Tag};
use serde_json::{Map, Value, json as value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What names, comms, paths and hosts may hold to harm a reader.
const HOSTILE: &[&str] = &[
    "\u{1b}[31m\u{1b}]0;owned\u{7}",
    "\u{9b}31m\u{7f}\u{0}\u{8}",
    "safe\u{202e}\u{2066}gpj.exe\u{200b}\u{e0041}\u{feff}",
    "two\nlines\r\nand\u{2028}more\u{85}\t",
    "\n\n# heading\n\n- item\n\n    code\n",
    "```\n```sh\nrm -rf /\n```",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "<!-- --> <!DOCTYPE x> <?php ?> <![CDATA[x]]> </details>",
    "a|b || c \\| d\\",
    "` `` ``` ` a`b \\`",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) [a]: b [^1]",
    "**bold** __bold__ *it* _it_ ~~gone~~ ~sub~ ==mark== $x^2$ $$y$$",
    "https://evil.example/ www.evil.example http://e mailto:a@b.example ftp://x",
    "@everyone @org/team #123 org/repo#4 :100: fd00:100::1 &lt;b&gt; &#60; {{x}} {x}",
    "# h",
    "> quote",
    "> [!WARNING]",
    "- [x] done",
    "+ item",
    "1. item",
    "1) item",
    "---",
    "===",
    "    indented",
    "\u{a0}\u{3000}wide\u{a0}",
    "\\",
    "|",
    "`",
    " ",
    "",
    "'; rm -rf / #",
];

/// A report without anything hostile, to compare the structure with.
const BENIGN: &str = "plain";

/// The same test as the program's, written again on purpose.
fn harms_a_terminal(c: char) -> bool {
    let code = u32::from(c);
    c != '\n' && (code < 0x20 || (0x7f..0xa0).contains(&code))
        || matches!(code, 0x61c | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}

/// A report as JSON, every optional field that a case fills filled from some case.
fn cases() -> Vec<(String, Value)> {
    let mut folders: Vec<_> = fs::read_dir("captures")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    let report = |folder: &std::path::PathBuf| {
        let paths = std::slice::from_ref(folder);
        let gathered = inputs::gather(paths, &InputOptions::default()).unwrap();
        let report = pipeline::report(gathered, &Settings::default());
        let mut report = serde_json::to_value(report).unwrap();
        // No recorded case has stacks.
        let caller = value!([{"words": "asked by f", "stack": "S1", "hint": "look"}]);
        for list in ["lookups", "findings"] {
            for one in report[list].as_array_mut().unwrap() {
                one["callers"] = caller.clone();
            }
        }
        let frame = value!({"function": "f", "offset": 1, "file": "lib.so", "address": 1});
        report["stacks"] = value!([{"id": "S1", "frames": [frame], "cut": "limit"}]);
        // Nor several clients.
        let client = value!({"address": "10.0.1.10", "lookups": 1, "connects": 1, "slowest_s": 5.0, "lost": 1});
        report["clients"] = value!([client]);
        // Nor what ran.
        report["run"] = value!({"host": "db3", "command": ["curl", "http://x/"]});
        (folder.display().to_string(), report)
    };
    let mut all: Vec<(String, Value)> = folders.iter().map(report).collect();
    // Nor watched processes.
    let mut watched: Value = serde_json::from_str(include_str!("watched/report.json")).unwrap();
    let task = value!({"pid": 11, "tid": 12, "comm": "java"});
    let client = value!({"address": "10.0.1.10", "task": task, "lookups": 1, "connects": 1, "slowest_s": 5.0, "lost": 1});
    watched["clients"] = value!([client]);
    all.push(("watched".into(), watched));
    all
}

/// Where a string may stand, by path; `[]` is any element, `*` any key.
fn strings(schema: &Value, root: &Value, at: &str, found: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").unwrap();
        return strings(&root["$defs"][name], root, at, found);
    }
    let choices = schema["anyOf"].as_array();
    // An enumeration, open for values of later versions: reading a report refuses what is not in it.
    if choices.is_some_and(|all| all.iter().any(|c| !c["oneOf"].is_null())) {
        return;
    }
    for choice in choices.into_iter().flatten() {
        strings(choice, root, at, found);
    }
    let is = |what: &str| match &schema["type"] {
        Value::String(one) => one == what,
        Value::Array(many) => many.iter().any(|t| t == what),
        _ => false,
    };
    if is("string") {
        found.insert(at.to_owned());
    }
    if is("array") {
        strings(&schema["items"], root, &format!("{at}[]"), found);
    }
    if is("object") {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            strings(property, root, &format!("{at}.{key}"), found);
        }
        if schema["additionalProperties"].is_object() {
            found.insert(format!("{at}.*"));
        }
    }
}

/// Puts a text at the first place of this path, making what is absent; whether there was a place.
fn put(at: &mut Value, path: &str, text: &str) -> bool {
    if path.is_empty() {
        *at = text.into();
        return true;
    }
    if let Some(rest) = path.strip_prefix("[]") {
        let Some(list) = at.as_array_mut() else {
            return false;
        };
        if list.is_empty() && rest.is_empty() {
            list.push(Value::Null);
        }
        return list.first_mut().is_some_and(|one| put(one, rest, text));
    }
    let path = path.strip_prefix('.').unwrap();
    let (key, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
    let Some(object) = at.as_object_mut() else {
        return false;
    };
    if key == "*" {
        *object = Map::from_iter([(text.to_owned(), value!(1))]);
        return true;
    }
    put(object.entry(key).or_insert(Value::Null), rest, text)
}

/// For each path a case that has it.
fn fields(cases: &[(String, Value)]) -> BTreeMap<String, &Value> {
    let schema = serde_json::to_value(schemars::schema_for!(Report)).unwrap();
    let mut paths = BTreeSet::new();
    strings(&schema, &schema, "", &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    let find = |path: &String| {
        let mut has = cases.iter().map(|(_, report)| report);
        let case = has.find(|report| put(&mut (*report).clone(), path, BENIGN));
        case.unwrap_or_else(|| panic!("no case has {path}"))
    };
    paths.iter().map(|p| (p.clone(), find(p))).collect()
}

fn with(report: &Value, path: &str, text: &str) -> Report {
    let mut report = report.clone();
    assert!(put(&mut report, path, text));
    serde_json::from_value(report).unwrap()
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Every format of a report, by name.
fn formats(report: &Report, case: &str) -> [(&'static str, String); 8] {
    let brief = Look::default();
    let full = Look {
        full: true,
        verify: true,
        ..brief
    };
    let compared = comparison::compare(report, report);
    [
        ("text", written(|o| text::write(report, brief, o))),
        ("full text", written(|o| text::write(report, full, o))),
        ("json", written(|o| json::write(report, o))),
        ("jsonl", written(|o| jsonl::write(case, report, o))),
        ("markdown", written(|o| markdown::write(report, o))),
        (
            "diff text",
            written(|o| text::comparison::write(&compared, brief, o)),
        ),
        ("diff json", written(|o| json::write(&compared, o))),
        (
            "diff markdown",
            written(|o| markdown::comparison::write(&compared, o)),
        ),
    ]
}

/// The structure of a Markdown document; panics where text has become markup.
fn structure(text: &str, what: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut fenced = false;
    for event in Parser::new_ext(text, Options::all() - Options::ENABLE_SMART_PUNCTUATION) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                fenced = true;
                blocks.push(format!("{kind:?}"));
            }
            Event::End(pulldown_cmark::TagEnd::CodeBlock) => fenced = false,
            Event::Start(
                tag @ (Tag::Paragraph
                | Tag::Heading { .. }
                | Tag::List(_)
                | Tag::Item
                | Tag::Table(_)
                | Tag::TableHead
                | Tag::TableRow
                | Tag::TableCell),
            ) => blocks.push(format!("{tag:?}")),
            Event::TaskListMarker(done) => blocks.push(format!("task {done}")),
            Event::Text(text) if !fenced => {
                let markup =
                    text.contains(['@', '|', '`', '*', '_', '#', '~', '$', '\\', '{', '&', '<']);
                let link = text.contains("://") || text.to_lowercase().contains("www.");
                assert!(!markup && !link, "{what}: {text:?}");
            }
            Event::Start(Tag::Strong) | Event::End(_) | Event::Code(_) | Event::Text(_) => {}
            other => panic!("{what}: {other:?} in\n{text}"),
        }
    }
    blocks
}

#[test]
fn no_field_harms_a_reader_in_any_format() {
    let cases = cases();
    for (path, case) in fields(&cases) {
        let benign = formats(&with(case, &path, BENIGN), BENIGN);
        for hostile in HOSTILE {
            let report = with(case, &path, hostile);
            for ((format, out), (_, usual)) in formats(&report, hostile).iter().zip(&benign) {
                let what = format!("{path} = {hostile:?} as {format}");
                let harm = out.chars().find(|c| harms_a_terminal(*c));
                assert_eq!(harm, None, "{what}:\n{out}");
                match *format {
                    "json" => {
                        let back: Value = serde_json::from_str(out).unwrap();
                        assert_eq!(back, serde_json::to_value(&report).unwrap(), "{what}");
                    }
                    "jsonl" => {
                        assert_eq!(out.lines().count(), usual.lines().count(), "{what}");
                        for line in out.lines() {
                            let line: Value = serde_json::from_str(line).unwrap();
                            assert_eq!(line["input"], *hostile, "{what}");
                        }
                    }
                    _ if !format.ends_with("markdown") => {}
                    _ if !hostile.trim().is_empty() => {
                        assert_eq!(
                            structure(out, &what),
                            structure(usual, &what),
                            "{what}:\n{out}"
                        );
                    }
                    _ => drop(structure(out, &what)),
                }
            }
        }
    }
}
