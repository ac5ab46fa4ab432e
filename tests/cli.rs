//! The command line: exit statuses, standard input, options, what goes to a terminal and what does not.

#![allow(
    clippy::unwrap_used,
    clippy::format_push_string,
    clippy::single_match_else,
    clippy::nonminimal_bool,
    reason = "tests"
)]

use assert_cmd::Command;
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

const CASE: &str = "captures/first-resolver-silent";
const CAPTURE: &str = "captures/first-resolver-silent/packets.pcap";
const TRACE: &str = "captures/first-resolver-silent/syscalls.strace";
/// The first frame of [`CAPTURE`] that a cut at this byte damages is number 17.
const CUT: usize = 1500;

fn presyn(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_presyn"));
    command
        .args(args)
        .env_remove("NO_COLOR")
        .timeout(Duration::from_secs(60));
    command
}

fn analyze(args: &[&str]) -> Output {
    presyn(&[&["analyze"], args].concat()).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(args: &[&str]) -> Value {
    let output = analyze(&[args, &["--format", "json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The one line of a refusal, which is no report.
fn refused(args: &[&str]) -> String {
    let output = analyze(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {}", err(&output));
    assert_eq!(out(&output), "", "{args:?}");
    let said = err(&output);
    assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    assert!(said.starts_with("presyn: "), "{args:?}: {said}");
    said
}

fn cut_capture(folder: &Path) -> PathBuf {
    let path = folder.join("cut.pcap");
    fs::write(&path, &fs::read(CAPTURE).unwrap()[..CUT]).unwrap();
    path
}

fn cases() -> Vec<String> {
    let mut list: Vec<String> = fs::read_dir("captures")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .map(|p| p.to_str().unwrap().to_owned())
        .collect();
    list.sort();
    assert!(list.len() >= 30);
    list
}

#[test]
fn a_case_is_reported_with_status_0_and_nothing_on_stderr() {
    let output = analyze(&[CASE]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(err(&output), "");
    assert!(out(&output).contains("10.0.1.93"));
}

#[test]
fn unusable_input_is_status_2_with_one_clear_line() {
    let missing = refused(&["no/such/file.pcap"]);
    assert!(missing.contains("no/such/file.pcap"), "{missing}");
    assert_eq!(
        missing.matches("No such file").count(),
        1,
        "the reason once: {missing}"
    );
    assert!(refused(&["Cargo.toml"]).contains("Cargo.toml"));
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    assert!(refused(&[empty]).contains("no packet capture and no strace log"));
    for name in ["a.pcap", "b.pcap"] {
        fs::copy(CAPTURE, folder.path().join(name)).unwrap();
    }
    let several = refused(&[empty]);
    assert!(several.contains("a.pcap, b.pcap"), "{several}");
    let zeros = folder.path().join("zeros.pcap");
    fs::write(&zeros, [0; 400]).unwrap();
    refused(&[zeros.to_str().unwrap()]);
    let nothing = folder.path().join("nothing");
    fs::write(&nothing, "").unwrap();
    refused(&[nothing.to_str().unwrap()]);
    // One bad file among good ones is refused too, by its name.
    assert!(refused(&[CAPTURE, "Cargo.toml"]).contains("Cargo.toml"));
}

#[test]
fn bad_usage_is_status_2() {
    for args in [
        &["--no-such-option", CASE][..],
        &[],
        &["--format", "yaml", CASE],
        &["--pid", "x", CASE],
    ] {
        let output = analyze(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(out(&output), "", "{args:?}");
        assert!(err(&output).contains("--help"), "{}", err(&output));
    }
    for (args, word) in [
        (&["--tz", "Mars/Olympus", CASE][..], "Mars/Olympus"),
        (&["--target", "nowhere", CASE], "nowhere"),
        (&["--clock-offset", "nan", CASE], "--clock-offset"),
        (&["--fail-on", "no-such-finding", CASE], "no-such-finding"),
        (&["--fail-on", "delay>soon", CASE], "delay>soon"),
        (&["--filter", "no such filter", CAPTURE], "no such filter"),
        (&["--resolv-conf", "no/such/conf", CAPTURE], "no/such/conf"),
    ] {
        let said = refused(args);
        assert!(said.contains(word), "{args:?}: {said}");
    }
}

#[test]
fn damaged_input_is_reported_with_status_3_and_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let cut = cut_capture(folder.path());
    let cut = cut.to_str().unwrap();
    let output = analyze(&[cut, TRACE, "--format", "json"]);
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings = report["warnings"].as_array().unwrap();
    assert!(
        warnings
            .iter()
            .any(|w| w.as_str().unwrap().contains(cut) && w.as_str().unwrap().contains("packet 17")),
        "{warnings:?}"
    );
    assert_eq!(report["resolvers"][0]["address"], "10.0.1.93");
    let output = analyze(&[cut, TRACE]);
    assert_eq!(output.status.code(), Some(3));
    let text = out(&output);
    assert!(
        text.contains("10.0.1.93") && text.contains("packet 17"),
        "{text}"
    );
}

#[test]
fn fail_on_a_finding_is_status_1() {
    let report = json(&[CASE]);
    let ids: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["id"].as_str().unwrap())
        .collect();
    assert!(ids.contains(&"resolver-silent"), "{ids:?}");
    let output = analyze(&["--fail-on", "resolver-silent", CASE]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(out(&output).contains("10.0.1.93"), "the report is printed");
    let output = analyze(&["--fail-on", "resolver-silent", "captures/nothing-wrong"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn fail_on_a_delay_is_status_1() {
    for (condition, status) in [("delay>3", 1), ("delay> 5.0", 1), ("delay>5.5", 0)] {
        let output = analyze(&["--fail-on", condition, CASE]);
        assert_eq!(output.status.code(), Some(status), "{condition}");
        assert!(out(&output).contains("10.0.1.93"), "the report is printed");
    }
    // One of several conditions is enough.
    let output = analyze(&["--fail-on", "delay>9", "--fail-on", "delay>3", CASE]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn fail_on_unanswered_queries_is_status_1() {
    // Both queries to the first resolver stayed unanswered.
    for (condition, status) in [
        ("unanswered>1", 1),
        ("unanswered>2", 0),
        ("unanswered > 0", 1),
    ] {
        let output = analyze(&["--fail-on", condition, CASE]);
        assert_eq!(output.status.code(), Some(status), "{condition}");
        assert!(out(&output).contains("10.0.1.93"), "the report is printed");
    }
    let said = refused(&["--fail-on", "unanswered>few", CASE]);
    assert!(said.contains("'few' is not a number of queries"), "{said}");
    let said = refused(&["--fail-on", "answers>3", CASE]);
    assert!(said.contains("unanswered>N"), "{said}");
}

#[test]
fn several_folders_are_a_case_each() {
    let good = "captures/nothing-wrong";
    let output = analyze(&["--format", "jsonl", CASE, good]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let lines: Vec<Value> = out(&output)
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let of = |input: &str, kind: &str| {
        let one = |l: &&Value| l["input"] == input && l["kind"] == kind;
        lines.iter().filter(one).count()
    };
    for input in [CASE, good] {
        for kind in ["case", "query", "connection", "delay", "finding"] {
            assert!(of(input, kind) >= 1, "{input}: no {kind}");
        }
    }
    // The lines of a case say what its report says, field by field.
    let report = json(&[CASE]);
    for (kind, list) in [
        ("connection", "connections"),
        ("delay", "delays"),
        ("finding", "findings"),
    ] {
        assert_eq!(of(CASE, kind), report[list].as_array().unwrap().len());
        let line = lines
            .iter()
            .find(|l| l["input"] == CASE && l["kind"] == kind)
            .unwrap();
        for (field, value) in report[list][0].as_object().unwrap() {
            assert_eq!(&line[field], value, "{kind} {field}");
        }
    }
    let text = out(&analyze(&[CASE, good]));
    assert!(
        text.contains(&format!("==== {CASE}\n")) && text.contains(&format!("==== {good}\n")),
        "{text}"
    );
    let markdown = out(&analyze(&["--format", "markdown", CASE, good]));
    assert!(markdown.contains(&format!("# `{good}`\n")), "{markdown}");
    assert!(refused(&["--format", "json", CASE, good]).contains("jsonl"));
    assert!(refused(&[CASE, good, CAPTURE]).contains(CAPTURE));
    // Files are one case together, in any format; so is a folder with what it lacks.
    let both = out(&analyze(&["--format", "jsonl", CAPTURE, TRACE]));
    assert_eq!(both.matches("\"kind\":\"case\"").count(), 1, "{both}");
    assert!(
        both.contains(&format!("\"input\":\"{CAPTURE} {TRACE}\"")),
        "{both}"
    );
}

#[test]
fn a_bad_case_does_not_take_the_others_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().to_str().unwrap();
    let output = analyze(&["--format", "jsonl", "--fail-on", "delay>3", empty, CASE]);
    assert_eq!(output.status.code(), Some(2));
    let said = err(&output);
    assert!(said.lines().count() == 1 && said.contains(empty), "{said}");
    assert!(
        out(&output).contains("\"kind\":\"finding\""),
        "{}",
        out(&output)
    );
    let output = analyze(&[
        "--format",
        "jsonl",
        "--fail-on",
        "delay>3",
        CASE,
        "captures/nothing-wrong",
    ]);
    assert_eq!(output.status.code(), Some(1), "one case is enough");
}

#[test]
fn schemas_describe_what_is_written() {
    let schema = |of: &str| -> Value {
        let output = presyn(&["schema", of]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let report = schema("report");
    assert_eq!(report["title"], "Report");
    let lines = schema("lines");
    let kinds: Vec<&Value> = lines["oneOf"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), 7, "{lines}");
    let found = presyn(&["diff", CASE, "captures/ipv6", "--format", "json"])
        .output()
        .unwrap();
    let found: Value = serde_json::from_slice(&found.stdout).unwrap();
    let diff = schema("diff");
    conforms(&found, &diff, &diff, "diff").unwrap();
}

#[test]
fn manual_pages_and_completions_come_from_the_binary() {
    let page = out(&presyn(&["man"]).output().unwrap());
    for word in [
        ".TH presyn 1",
        "EXIT STATUS",
        "EXAMPLES",
        "presyn\\-analyze(1)",
    ] {
        assert!(page.contains(word), "{word} in {page}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("man1");
    let output = presyn(&["man", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(
        (output.status.code(), out(&output)),
        (Some(0), String::new())
    );
    for command in [
        "",
        "-analyze",
        "-run",
        "-diff",
        "-check",
        "-explain",
        "-schema",
        "-man",
        "-completions",
    ] {
        let page = fs::read_to_string(path.join(format!("presyn{command}.1"))).unwrap();
        assert!(page.contains("EXAMPLES"), "{command}: {page}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = out(&presyn(&["completions", shell]).output().unwrap());
        for word in ["presyn", "analyze", "completions", "fail-on"] {
            assert!(text.contains(word), "{shell}: no {word}");
        }
    }
}

#[test]
fn status_2_goes_before_3_and_3_before_1() {
    let folder = tempfile::tempdir().unwrap();
    let cut = cut_capture(folder.path());
    let cut = cut.to_str().unwrap();
    let output = analyze(&["--fail-on", "delay>3", cut, TRACE]);
    assert_eq!(output.status.code(), Some(3));
    let output = analyze(&["--fail-on", "delay>3", cut, "no/such/file"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn standard_input_is_a_capture_or_a_log() {
    let capture = presyn(&["analyze", "--format", "json", "-"])
        .write_stdin(fs::read(CAPTURE).unwrap())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&capture.stdout).unwrap();
    assert_eq!(capture.status.code(), Some(0));
    assert_eq!(report["inputs"]["captures"][0]["path"], "-");
    assert_eq!(report["resolvers"][0]["queries"], 2);

    let log = presyn(&["analyze", "--format", "json", "-", CAPTURE])
        .write_stdin(fs::read(TRACE).unwrap())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&log.stdout).unwrap();
    assert_eq!(log.status.code(), Some(0));
    assert_eq!(report["inputs"]["traces"][0]["path"], "-");
    assert_eq!(report["inputs"]["captures"][0]["path"], CAPTURE);
    assert_eq!(report["resolvers"][0]["origin"], "traced");
    assert_eq!(report["connections"][0]["cause"]["how"], "call");

    let nothing = presyn(&["analyze", "-"]).write_stdin("").output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
    assert_eq!(err(&nothing).lines().count(), 1, "{}", err(&nothing));
}

/// Whether a value has what the schema requires and nothing of another type: enough of JSON Schema for
/// the schema that presyn prints.
fn conforms(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.strip_prefix("#/$defs/").unwrap();
        return conforms(value, &root["$defs"][name], root, at);
    }
    if let Some(only) = schema.get("const") {
        let is = value == only;
        return is.then_some(()).ok_or_else(|| format!("{at}: not {only}"));
    }
    let choices = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    if let Some(choices) = choices {
        return choices
            .iter()
            .map(|c| conforms(value, c, root, at))
            .find(Result::is_ok)
            .unwrap_or_else(|| Err(format!("{at}: fits no choice")));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(list) => list.iter().map(|t| t.as_str().unwrap()).collect(),
        _ => return Err(format!("{at}: the schema has no type: {schema}")),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() || n.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if !types.contains(&is) && !(is == "integer" && types.contains(&"number")) {
        return Err(format!("{at}: {is} where {types:?} is due"));
    }
    if let Some(object) = value.as_object() {
        for key in schema["required"].as_array().into_iter().flatten() {
            let key = key.as_str().unwrap();
            if !object.contains_key(key) {
                return Err(format!("{at}: lacks {key}"));
            }
        }
        for (key, value) in object {
            let property = &schema["properties"][key];
            let property = if property.is_null() {
                &schema["additionalProperties"]
            } else {
                property
            };
            if property.is_null() {
                return Err(format!("{at}: {key} is not in the schema"));
            }
            conforms(value, property, root, &format!("{at}.{key}"))?;
        }
    }
    for (i, value) in value.as_array().into_iter().flatten().enumerate() {
        conforms(value, &schema["items"], root, &format!("{at}[{i}]"))?;
    }
    Ok(())
}

#[test]
fn json_of_every_case_fits_the_printed_schema() {
    let output = presyn(&["schema"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["$id"], "urn:presyn:report:2");
    // Enumerations list what this version writes and are open for more.
    let kinds = &schema["$defs"]["EntryKind"];
    assert_eq!(
        kinds["anyOf"][1],
        serde_json::json!({"type": "string"}),
        "{kinds:#}"
    );
    assert!(kinds.to_string().contains("resolver-silent"), "{kinds:#}");
    let required = schema["required"].as_array().unwrap();
    for key in [
        "schema",
        "resolvers",
        "lookups",
        "connections",
        "delays",
        "findings",
        "warnings",
    ] {
        assert!(required.contains(&key.into()), "{key} is required");
    }
    for case in cases() {
        let report = json(&[&case]);
        assert_eq!(report["schema"], "presyn.report/2");
        if let Err(problem) = conforms(&report, &schema, &schema, "report") {
            panic!("{case}: {problem}");
        }
    }
    let mut broken = json(&[CASE]);
    broken["resolvers"][0]["queries"] = "two".into();
    assert!(conforms(&broken, &schema, &schema, "report").is_err());
    broken["resolvers"][0]
        .as_object_mut()
        .unwrap()
        .remove("queries");
    assert!(conforms(&broken, &schema, &schema, "report").is_err());
}

#[test]
fn pid_keeps_one_process() {
    let traced = |args: &[&str]| {
        json(args)["resolvers"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| r["origin"] == "traced")
            .count()
    };
    assert_eq!(traced(&[CASE]), 2);
    assert_eq!(traced(&["--pid", "11797", CASE]), 2, "the resolving thread");
    assert_eq!(traced(&["-p", "1", CASE]), 0, "a pid that is not there");
    assert_eq!(traced(&["-p", "1", "-p", "11797", CASE]), 2);
}

#[test]
fn target_keeps_one_server() {
    let subjects = |target: &str| {
        let report = json(&["--target", target, "captures/two-addresses-fallback"]);
        let list = report["delays"].as_array().unwrap().clone();
        list.iter()
            .map(|d| {
                let id = &d["connection"];
                let all = report["connections"].as_array().unwrap();
                let one = all.iter().find(|c| c["id"] == *id).unwrap();
                one["to"].as_str().unwrap().to_owned()
            })
            .collect::<Vec<_>>()
    };
    let all = json(&["captures/two-addresses-fallback"]);
    assert!(all["delays"].as_array().unwrap().len() > 1);
    let one = subjects("192.168.110.231:80");
    assert!(
        !one.is_empty() && one.iter().all(|t| t == "192.168.110.231:80"),
        "{one:?}"
    );
    // An address like any other; nothing listens there.
    assert_eq!(subjects("0.0.0.0:80"), Vec::<String>::new());
    let port = subjects(":80");
    assert!(port.len() > one.len(), "{port:?}");
    assert!(subjects(":81").is_empty());
}

/// The log of [`CASE`] without dates, as `strace -tt` prints it in a zone so many seconds east.
fn time_of_day(folder: &Path, east: u64) -> PathBuf {
    let mut log = String::new();
    for line in fs::read_to_string(TRACE).unwrap().lines() {
        let mut parts = line.splitn(3, ' ');
        let (tid, at, rest) = (parts.next(), parts.next(), parts.next());
        let (seconds, fraction) = at.unwrap().split_once('.').unwrap();
        let local = (seconds.parse::<u64>().unwrap() + east) % 86_400;
        let (h, m, s) = (local / 3600, local / 60 % 60, local % 60);
        log += &format!(
            "{} {h:02}:{m:02}:{s:02}.{fraction} {}\n",
            tid.unwrap(),
            rest.unwrap()
        );
    }
    let path = folder.join("local.strace");
    fs::write(&path, log).unwrap();
    path
}

#[test]
fn the_clock_is_solved_or_given() {
    let folder = tempfile::tempdir().unwrap();
    let local = time_of_day(folder.path(), 8 * 3600);
    let local = local.to_str().unwrap();
    let whole = json(&[CASE]);
    let near = |report: &Value, what: &str| {
        let delay = report["delays"][0]["since_start_s"].as_f64().unwrap();
        let other = whole["delays"][0]["since_start_s"].as_f64().unwrap();
        assert!((delay - other).abs() < 0.02, "{what}: {delay} for {other}");
        assert_eq!(report["connections"][0]["cause"]["how"], "call", "{what}");
        let started = |r: &Value| r["started"].as_str().unwrap()[..19].to_owned();
        assert_eq!(started(report), started(&whole), "{what}");
    };
    let solved = json(&[CAPTURE, local]);
    near(&solved, "solved");
    let method = solved["inputs"]["clock"]["method"].as_str().unwrap();
    assert!(method.contains("UTC+08:00"), "{method}");
    near(&json(&["--tz", "+08:00", CAPTURE, local]), "--tz +08:00");
    near(
        &json(&["--tz", "Asia/Shanghai", CAPTURE, local]),
        "--tz by name",
    );
    let offset = solved["inputs"]["clock"]["offset_s"].as_f64().unwrap();
    let given = json(&["--clock-offset", &offset.to_string(), CAPTURE, local]);
    near(&given, "--clock-offset");
    assert!(
        given["inputs"]["clock"]["method"]
            .as_str()
            .unwrap()
            .contains("--clock-offset")
    );
    // A wrong offset is believed, because the user said so: nothing is joined by time any more.
    let wrong = json(&["--clock-offset", "-3600", CASE]);
    assert_eq!(wrong["inputs"]["clock"]["offset_s"], -3600.0);
}

/// A capture of one query to 10.0.1.93 port 5300 and its answer, Ethernet and IPv4 made by hand.
fn other_port(folder: &Path) -> PathBuf {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    let question = b"\x03web\x07example\x03lab\0\0\x01\0\x01";
    for response in [false, true] {
        let mut dns = vec![0x12, 0x34, if response { 0x81 } else { 0x01 }, 0x00];
        dns.extend([0, 1, 0, 0, 0, 0, 0, 0]);
        dns.extend(question);
        let (mut ends, mut ports) = ([[10, 0, 1, 10], [10, 0, 1, 93]], [40_000_u16, 5300]);
        if response {
            ends.reverse();
            ports.reverse();
        }
        let udp = u16::try_from(8 + dns.len()).unwrap();
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
        frame.extend((udp + 20).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(ends.concat());
        frame.extend(ports[0].to_be_bytes());
        frame.extend(ports[1].to_be_bytes());
        frame.extend(udp.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(dns);
        let length = u32::try_from(frame.len()).unwrap();
        for word in [1_700_000_000 + u32::from(response), 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    let path = folder.join("5300.pcap");
    fs::write(&path, file).unwrap();
    path
}

#[test]
fn dns_port_names_another_port() {
    let folder = tempfile::tempdir().unwrap();
    let capture = other_port(folder.path());
    let capture = capture.to_str().unwrap();
    let without = json(&[capture]);
    assert!(
        without["resolvers"].as_array().unwrap().is_empty(),
        "{without}"
    );
    let with = json(&["--dns-port", "5300", capture]);
    let row = &with["resolvers"][0];
    assert_eq!(
        (&row["address"], &row["port"]),
        (&"10.0.1.93".into(), &5300.into())
    );
    assert_eq!((&row["queries"], &row["answered"]), (&1.into(), &1.into()));
    // 53 stays one.
    let both = json(&["--dns-port", "5300", CASE]);
    assert_eq!(both["resolvers"], json(&[CASE])["resolvers"]);
}

#[test]
fn a_filter_hides_and_is_not_taken_for_silence() {
    let report = json(&["--filter", "not host 10.0.1.93", CASE]);
    let row = report["resolvers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["address"] == "10.0.1.93");
    if let Some(row) = row {
        assert_eq!(
            row["never_sent"], 0,
            "what a filter hides was not \"never sent\": {row}"
        );
    }
    let whole = json(&[CASE]);
    let packets = |r: &Value| r["inputs"]["captures"][0]["packets"].as_u64().unwrap();
    assert!(packets(&report) <= packets(&whole));
    let text = out(&analyze(&["--filter", "not host 10.0.1.93", CASE]));
    assert!(text.contains("filter"), "the report says so: {text}");
}

#[test]
fn a_closed_pipe_is_success_and_silent() {
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["analyze", "--format", "json", "captures/lossy-resolver"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!((child.wait().unwrap().code(), &*said), (Some(0), ""));
}

#[test]
fn no_escape_sequence_leaves_for_anything_but_a_terminal() {
    for args in [
        &[CASE][..],
        &["--color", "auto", CASE],
        &["--color", "never", CASE],
    ] {
        assert!(!out(&analyze(args)).contains('\x1b'), "{args:?}");
    }
    let forced = analyze(&["--color", "always", CASE]);
    assert!(out(&forced).contains('\x1b'));
    // Without its colours it is the same report.
    let mut plain = String::new();
    let colored = out(&forced);
    let mut rest = &*colored;
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    assert_eq!(plain + rest, out(&analyze(&[CASE])));
}

/// What presyn writes to a terminal that script(1) makes.
fn on_a_terminal(no_color: Option<&str>) -> Option<String> {
    let mut command = std::process::Command::new("script");
    command
        .args([
            "-qec",
            &format!("{} analyze {CASE}", env!("CARGO_BIN_EXE_presyn")),
        ])
        .arg("/dev/null")
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    if let Some(value) = no_color {
        command.env("NO_COLOR", value);
    }
    match command.output() {
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Err(_) => {
            let said =
                "SKIPPED: script(1) is not here, so there is no terminal to try colours on\n";
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            None
        }
    }
}

#[test]
fn no_color_is_honoured_on_a_terminal() {
    let (Some(colored), Some(plain), Some(empty)) = (
        on_a_terminal(None),
        on_a_terminal(Some("1")),
        on_a_terminal(Some("")),
    ) else {
        return;
    };
    assert!(colored.contains("\x1b["), "{colored}");
    assert!(
        plain.contains("10.0.1.93") && !plain.contains("\x1b["),
        "{plain}"
    );
    assert!(empty.contains("\x1b["), "an empty NO_COLOR means nothing");
}

#[test]
fn text_of_every_case_fits_80_columns() {
    for case in cases() {
        let output = analyze(&[&case]);
        assert_eq!(output.status.code(), Some(0), "{case}: {}", err(&output));
        for line in out(&output).lines() {
            assert!(
                line.width() <= 80,
                "{case}: {} columns: {line}",
                line.width()
            );
            assert_eq!(line, line.trim_end(), "{case}: blanks at the end: {line:?}");
        }
    }
}

#[test]
fn hostile_bytes_in_a_file_name_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a\x1b[31m\u{202e}.pcap");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&fs::read(CAPTURE).unwrap()).unwrap();
    let path = path.to_str().unwrap();
    let missing = refused(&[&format!("{path}.gone")]);
    let mut texts = vec![missing];
    for format in ["text", "json", "markdown", "jsonl"] {
        let output = analyze(&[path, "--format", format]);
        assert_eq!(output.status.code(), Some(0));
        texts.push(out(&output));
        let output = presyn(&["diff", path, path]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        texts.push(out(&output));
    }
    for text in texts {
        assert!(!text.contains(['\x1b', '\u{202e}']), "{text}");
    }
}

#[test]
fn a_client_a_name_and_a_time_choose_packets() {
    const CAPTURE: &str = "captures/first-resolver-silent/packets.pcap";
    let first = |options: &[&str]| {
        let output = analyze(&[options, &[CAPTURE]].concat());
        // Behind the date, where one is known.
        let text = out(&output);
        let mut lines = text.lines().filter(|line| !line.ends_with(" UTC"));
        lines.next().unwrap_or_default().to_owned()
    };
    let nothing = "There is no DNS query";
    assert!(first(&["--client", "10.0.1.10"]).starts_with("10.0.1.10 looked up web.example.lab"));
    assert!(first(&["--client", "10.0.1.11"]).starts_with(nothing));
    let named = first(&["--name", "web.example.lab"]);
    assert!(
        named.contains(" sent its SYN to 192.168.110.231:80 5.01 s"),
        "{named}"
    );
    assert!(first(&["--name", "other.example.lab"]).starts_with(nothing));
    let cut = first(&["--until", "1"]);
    assert!(cut.contains("lookup of web.example.lab"), "{cut}");
    assert!(first(&["--since", "2100-01-01T00:00:00Z"]).starts_with(nothing));
    let output = analyze(&["--since", "yesterday", CAPTURE]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("'yesterday' is neither seconds nor a time"));
}

/// Traces only: it needs no right.
fn run(args: &[&str]) -> Output {
    presyn(&[&["run", "--no-capture"], args].concat())
        .output()
        .unwrap()
}

#[test]
fn a_command_needs_no_dashes_and_has_its_options_for_itself() {
    // -q and -i are options of presyn too.
    let script = "echo \"$*\"; exit 7";
    for before in [&["-q"][..], &["-q", "--"]] {
        let command = ["sh", "-c", script, "sh", "-q", "-i", "lo", "--", "--help"];
        let output = run(&[before, &command].concat());
        assert_eq!(output.status.code(), Some(7), "{}", err(&output));
        assert_eq!(out(&output), "-q -i lo -- --help\n", "{before:?}");
    }
    let output = run(&["-i", "lo", "-q", "--", "true"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

#[test]
fn usage_errors_of_run_are_125_and_run_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let mark = mark.to_str().unwrap();
    for (args, word) in [
        (&["--no-such-option"][..], "--no-such-option"),
        (&["--snaplen", "1"], "snaplen"),
        (&["--target", "nowhere"], "give HOST:PORT"),
        (
            &["--fail-on", "resolver-silant"],
            "did you mean resolver-silent?",
        ),
        (&["--fail-on", "delay"], "--fail-on 'delay>3'"),
        (&["--format", "json"], "--report FILE"),
        (&["--report", "/no/such/folder/x"], "/no/such/folder/x"),
        (&["--resolv-conf", "no/such/conf"], "no/such/conf"),
        (&["--pid", "1"], "cannot be used with"),
    ] {
        let output = run(&[args, &["touch", mark]].concat());
        assert_eq!(output.status.code(), Some(125), "{args:?}");
        assert!(err(&output).contains(word), "{args:?}: {}", err(&output));
        assert!(!Path::new(mark).exists(), "{args:?}: the command ran");
    }
    let output = presyn(&["run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    // The habit of strace: it is attach. (No process has that number: pid_max is at most 2^22, proc(5).)
    for args in [
        &["run", "-p", "4194305"][..],
        &["run", "--pid", "4194305"],
        &["attach", "4194305"],
    ] {
        let output = presyn(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = err(&output);
        assert!(said.contains("there is no process 4194305"), "{said}");
    }
}

#[test]
fn run_prints_what_holds_and_ends_as_its_command() {
    // A name server where none listens: refused at once, and one lookup without an answer.
    let ask = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_STREAM)\n\
               try: s.connect(('127.0.0.1', 1))\nexcept OSError: raise SystemExit(3)";
    let conditions = ["--fail-on", "connect-refused", "--fail-on", "delay>3600"];
    let command = ["python3", "-c", ask];
    let output = run(&[&["-q"][..], &conditions, &command].concat());
    assert_eq!(output.status.code(), Some(3), "{}", err(&output));
    assert_eq!(err(&output), "presyn: --fail-on connect-refused holds\n");
    let output = run(&[&conditions[..], &command].concat());
    assert_eq!(output.status.code(), Some(3));
    let said = err(&output);
    assert!(
        said.contains("127.0.0.1:1") && said.contains("--fail-on connect-refused holds"),
        "{said}"
    );
}

#[test]
fn a_resolv_conf_among_the_files_is_the_clients() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let config = |args: &[&str]| json(args)["resolver_config"].clone();
    let quoted = file(
        "mail.txt",
        "Hello,\n> nameserver 10.0.1.93\n> nameserver 10.0.1.95\n",
    );
    let copied = file("resolv.conf", "nameserver 10.0.1.95\n");
    for (path, first, number) in [(&quoted, "10.0.1.93", 2), (&copied, "10.0.1.95", 1)] {
        let among = config(&[CAPTURE, path, TRACE]);
        assert_eq!(among["path"], **path, "{among}");
        assert_eq!(among, config(&[CAPTURE, TRACE, "--resolv-conf", path]));
        assert!(among.to_string().contains(first), "{among}");
        let text = out(&analyze(&["--all", "--verify", CAPTURE, TRACE, path]));
        let line = format!("(resolv.conf line {number})");
        assert_eq!(text.contains(&line), first == "10.0.1.93", "{text}");
    }
    // In addition to a folder, and to a question.
    assert_eq!(config(&[CASE, &copied])["path"], *copied);
    let asked = presyn(&["whatif", CAPTURE, TRACE, &quoted, "--without", "10.0.1.93"]);
    let asked = { asked }.output().unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", err(&asked));
    // Standard input is read as it comes.
    let piped = presyn(&["analyze", CAPTURE, "-", "--format", "json"])
        .write_stdin("nameserver 10.0.1.95\n")
        .output()
        .unwrap();
    let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(piped["resolver_config"]["path"], "-");
    for (args, words) in [
        (
            &[&*quoted, &copied, CAPTURE][..],
            "both look like a resolv.conf",
        ),
        (&[&*quoted], "the packet capture or the strace log"),
    ] {
        assert!(refused(args).contains(words), "{}", refused(args));
    }
}

#[test]
fn a_resolv_conf_without_a_nameserver_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    for text in ["", "# gone\noptions timeout:1\n", "nameserver ns.example\n"] {
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        for args in [&[CAPTURE, path][..], &[CAPTURE, "--resolv-conf", path]] {
            let warnings = json(args)["warnings"].to_string();
            assert!(
                warnings.contains("no nameserver line"),
                "{text}: {warnings}"
            );
        }
        let asked = presyn(&["whatif", CASE, "--resolv-conf", path]).output();
        assert!(err(&asked.unwrap()).contains("no nameserver line"));
    }
    assert!(
        !json(&[CASE])["warnings"]
            .to_string()
            .contains("no nameserver line")
    );
}

#[test]
fn a_folder_of_cases_names_them() {
    for folder in ["captures", "captures/"] {
        let said = refused(&[folder]);
        assert!(said.contains("name them: captures/*/"), "{said}");
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let said = refused(&[folder.path().to_str().unwrap()]);
    assert!(!said.contains("*/"), "{said}");
}

/// tcpdump without `-U` has written nothing while it runs: a report without that capture must not pass for one with it.
#[test]
fn a_capture_of_a_folder_that_is_not_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(TRACE, folder.path().join("syscalls.strace")).unwrap();
    for (bytes, why) in [("", "it is empty"), ("text", "it is no packet capture")] {
        fs::write(folder.path().join("packets.pcap"), bytes).unwrap();
        let warnings = json(&[folder.path().to_str().unwrap()])["warnings"].to_string();
        assert!(warnings.contains("packets.pcap was not read"), "{warnings}");
        assert!(warnings.contains(why), "{warnings}");
    }
}

#[test]
fn a_target_may_be_a_name_that_the_case_knows() {
    let delays = |args: &[&str]| json(args)["delays"].clone();
    let by_address = delays(&["--target", "192.168.110.231:80", CASE]);
    assert_eq!(by_address.as_array().unwrap().len(), 1);
    for name in ["web.example.lab:80", "WEB.Example.lab.:80"] {
        assert_eq!(delays(&["--target", name, CASE]), by_address, "{name}");
    }
    assert_eq!(
        delays(&["--target", "web.example.lab:81", CASE]),
        Value::Array(vec![])
    );
    // From the hosts file, where no lookup is.
    let hosts = "captures/hosts-file";
    let all = delays(&[hosts]);
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    assert_eq!(delays(&["--target", "web.example.lab:80", hosts]), all);
    let other = json(&["--target", "wob.example.lab:80", CASE]);
    assert_eq!(other["delays"], Value::Array(vec![]));
    let warnings = other["warnings"].to_string();
    assert!(
        warnings.contains("--target wob.example.lab")
            && warnings.contains("address: web.example.lab"),
        "{warnings}"
    );
}

#[test]
fn a_pid_that_is_not_in_the_trace_is_a_warning() {
    let warned = |args: &[&str]| json(args)["warnings"].to_string().contains("--pid 1:");
    assert!(warned(&["--pid", "1", CASE]));
    assert!(!warned(&["--pid", "11797", CASE]));
    assert!(!warned(&["--pid", "1", "--pid", "11797", CASE]));
}

#[test]
fn a_misspelt_finding_is_answered_with_the_nearest() {
    for (word, meant) in [
        ("resolver-silant", "did you mean resolver-silent?"),
        ("something", "presyn explain lists them"),
    ] {
        let output = presyn(&["explain", word]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(meant), "{}", err(&output));
    }
}

#[test]
fn completions_know_findings_conditions_users_and_interfaces() {
    let script = out(&presyn(&["completions", "bash"]).output().unwrap());
    let complete = |words: &str| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             $(complete -p presyn | sed 's/.*-F \\([^ ]*\\).*/\\1/') presyn \
             \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        let output = std::process::Command::new("bash")
            .args(["--norc", "-c", &ask])
            .output()
            .unwrap();
        out(&output).trim_end().to_owned()
    };
    for (words, values) in [
        ("presyn explain resolver-s", "resolver-silent resolver-slow"),
        ("presyn analyze --fail-on resolver-si", "resolver-silent"),
        ("presyn run --fail-on una", "unanswered"),
        ("presyn run -u roo", "root"),
        ("presyn run --user roo", "root"),
        ("presyn run -i l", "lo"),
        ("presyn run --interface an", "any"),
    ] {
        assert_eq!(complete(words), values, "{words}");
    }
    for (shell, words) in [
        (
            "zsh",
            &[":IFACE:_net_interfaces", ":USER:_users", "resolver-silent"][..],
        ),
        (
            "fish",
            &[
                "-l interface -x",
                "__fish_complete_users",
                "resolver-silent",
            ],
        ),
    ] {
        let script = out(&presyn(&["completions", shell]).output().unwrap());
        for word in words {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
}

#[test]
fn help_of_run_stands_under_headings_and_says_whose_resolv_conf() {
    let help = |command: &str| out(&presyn(&[command, "--help"]).output().unwrap());
    let run = help("run");
    for heading in [
        "Command:",
        "Capture:",
        "Trace:",
        "Case:",
        "Report:",
        "Exit status:",
    ] {
        assert!(run.lines().any(|line| line == heading), "{heading}: {run}");
    }
    for (command, words) in [
        ("run", "The command sees this file as its /etc/resolv.conf"),
        ("analyze", "The client's resolv.conf at the time of the run"),
        ("whatif", "the change to try"),
    ] {
        let help = help(command);
        assert!(help.contains(words), "{command}: {help}");
    }
}
