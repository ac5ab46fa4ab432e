//! Two reports of one run: which fields may differ, and which may not.

use serde_json::Value;

/// What the syntax of strace logs cannot carry, or names otherwise:
/// - `path`, `style`, `calls` of the trace (births are calls there), evidence (`trace.jsonl:7` is another line than
///   `syscalls.strace:7`), the capture's `dropped` (told by the trace's last line);
/// - `started` and all that is counted from it: the log begins with the first call, some 10 ms later, so the first entry of
///   each ledger is shorter;
/// - `cpu_seconds`: strace does not ask for CPU clocks;
/// - `cut`: strace does not say where it lost a stack;
/// - how the clock was found, and microseconds of what lasted (`-T`);
/// - `run`: host and command;
/// - `options`: those of `RES_OPTIONS`, which only trace.jsonl holds, stand in resolv.conf beside the log.
const OTHERWISE: [&str; 19] = [
    "path",
    "style",
    "calls",
    "call",
    "packet",
    "answer",
    "packets",
    "dropped",
    "started",
    "began",
    "method",
    "uncertainty_s",
    "offset_s",
    "summary",
    "cpu_seconds",
    "cut",
    "options",
    "writer",
    "run",
];

/// Times may differ by this: the start of the case, and rounding.
const SECONDS: f64 = 0.3;

/// Fails at the first field that may not differ.
pub fn assert_same(one: &Value, other: &Value) {
    let mut differences = Vec::new();
    compare(one, other, "", &mut differences);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn compare(one: &Value, other: &Value, at: &str, out: &mut Vec<String>) {
    let key = at.rsplit('.').next().unwrap_or(at);
    let key = key.split('[').next().unwrap_or(key);
    if OTHERWISE.contains(&key) {
        return;
    }
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            for name in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let none = Value::Null;
                let (x, y) = (a.get(name).unwrap_or(&none), b.get(name).unwrap_or(&none));
                compare(x, y, &format!("{at}.{name}"), out);
            }
        }
        // A strace log does not say that sends were left out of it: its report names the thread that connected, and takes
        // what it does not show for the program's own time.
        (Value::Null, Value::Number(_) | Value::String(_)) if matches!(key, "tid" | "comm") => {}
        (Value::String(a), Value::String(b)) if a == "unexplained" && b == "running" => {}
        (Value::Array(a), Value::Array(b))
            if key == "asked_by" && a.len() == b.len() && a.iter().any(|t| t["tid"].is_null()) => {}
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                compare(x, y, &format!("{at}[{i}]"), out);
            }
        }
        (Value::Number(a), Value::Number(b)) if key.ends_with("_s") || key.contains("seconds") => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            if (a - b).abs() > SECONDS {
                out.push(format!("{at}: {a} {b}"));
            }
        }
        // Words with times in them: the figures are compared elsewhere.
        (Value::String(_), Value::String(_))
            if matches!(key, "title" | "detail" | "note" | "told" | "client_why") => {}
        _ if one == other => {}
        _ => out.push(format!("{at}: {one} {other}")),
    }
}

/// The first line in which two texts differ.
pub fn first_difference(one: &str, other: &str) -> String {
    let mut lines = one.lines().zip(other.lines()).enumerate();
    lines
        .find(|(_, (a, b))| a != b)
        .map_or("one is longer".into(), |(i, (a, b))| {
            format!("line {}: live {a} saved {b}", i + 1)
        })
}

#[test]
fn differences_are_found() {
    let report = serde_json::json!({"a": [{"sent_s": 1.0, "path": "x"}], "b": 1});
    let near = serde_json::json!({"a": [{"sent_s": 1.01, "path": "y"}], "b": 1});
    assert_same(&report, &near);
    for (pointer, value) in [("/b", 2.into()), ("/a/0/sent_s", serde_json::json!(2.0))] {
        let mut other = report.clone();
        *other.pointer_mut(pointer).unwrap() = value;
        let mut differences = Vec::new();
        compare(&report, &other, "", &mut differences);
        assert_eq!(differences.len(), 1, "{pointer}");
    }
}
