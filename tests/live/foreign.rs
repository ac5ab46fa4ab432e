//! What a live run keeps of other processes' packets, and of those that no call explains.

use crate::lab::{Lab, Ran, word};
use crate::storm::compiled;
use std::process::Stdio;
use tempfile::TempDir;

/// Nobody listens there.
const STORM_PORT: &str = "9";
/// Two packets each: three times what is held.
const FOREIGN: u64 = 450_000;
/// Bytes: the frames that are held are 50 MB, the rest is the program. All of the storm took more than 200 MB.
const PEAK: u64 = 110 << 20;

/// Packets of this kind that were left out for this reason.
fn left_out(ran: &Ran, why: &str, kind: &str) -> u64 {
    let rows = &ran.report["inputs"]["captures"][0]["left_out"];
    let rows = rows.as_array().into_iter().flatten();
    rows.filter(|row| row["why"] == why && row["kind"] == kind)
        .map(|row| row["packets"].as_u64().unwrap())
        .sum()
}

#[test]
fn a_storm_of_others_takes_no_memory_and_hides_nothing() {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let Some(storm) = compiled("storm", &folder) else {
        return;
    };
    let mut storm = lab
        .sh(&[&storm, STORM_PORT, "2", &FOREIGN.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The peaks of presyn's processes, which the client is not to be among.
    let script = "sleep 1; curl -sS http://web.example.lab/ >/dev/null || exit 9; sleep 3; \
         for p in $(pgrep -x presyn); do grep VmHWM /proc/$p/status; done";
    let ran = lab.run_with(&[], &[], &["sh", "-c", script]);
    storm.wait().unwrap();
    assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
    let said = String::from_utf8_lossy(&ran.output.stdout).into_owned();
    let peaks: Vec<u64> = said
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1)?.parse().ok())
        .map(|kib: u64| kib << 10)
        .collect();
    assert!(peaks.len() >= 2, "{said}");
    assert!(peaks.iter().all(|peak| *peak < PEAK), "{said}");
    ran.assert_reads_back();
    let syns = left_out(&ran, "other-process", "syn");
    assert!(syns > FOREIGN / 10, "the storm went on: {syns}");
    assert_eq!(left_out(&ran, "no-room", "syn"), 0);
    // The command's own: its query and its connection, and nothing of the storm is its.
    assert_eq!(ran.report["lookups"].as_array().unwrap().len(), 1);
    let connections = ran.report["connections"].as_array().unwrap();
    let own: Vec<_> = connections
        .iter()
        .filter(|c| !c["cause"].is_null())
        .collect();
    assert_eq!(own.len(), 1, "{connections:#?}");
    assert_eq!(
        (word(&own[0]["outcome"]), &own[0]["syns"]),
        ("connected", &1.into())
    );
    // A stranger's connection from the very port that the command used later may stay, as a stranger's.
    let port = |c: &serde_json::Value| word(&c["from"]).rsplit(':').next().map(str::to_owned);
    for other in connections.iter().filter(|c| c["cause"].is_null()) {
        assert_eq!(port(other), port(own[0]), "{other:#}");
    }
}

/// Only the packets show them, and they stay: without a storm all, within one up to a bound.
#[test]
fn what_no_call_shows_stays() {
    for with_storm in [false, true] {
        let Some(lab) = Lab::up("nothing-wrong") else {
            return;
        };
        let folder = TempDir::new().unwrap();
        let (Some(program), Some(storm)) = (compiled("uring", &folder), compiled("storm", &folder))
        else {
            return;
        };
        let mut storm = with_storm.then(|| {
            let mut storm = lab.sh(&[&storm, STORM_PORT, "1", "60000"]);
            storm.stdout(Stdio::null()).spawn().unwrap()
        });
        let ran = lab.run_with(&[], &[], &[&program, "10.0.1.93", "192.168.110.231", "80"]);
        if let Some(storm) = &mut storm {
            storm.wait().unwrap();
        }
        if ran.status() == Some(77) {
            let said = "SKIPPED: no io_uring here\n";
            // Not eprintln: the test harness swallows what passing tests print.
            std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
            return;
        }
        assert_eq!(ran.status(), Some(0), "{}", ran.stderr());
        ran.assert_reads_back();
        let queries = ran.queries();
        let asked: Vec<_> = ["A a.example.lab", "A b.example.lab"]
            .map(|question| queries.iter().find(|q| q["question"] == question))
            .into();
        assert!(asked.iter().all(Option::is_some), "{queries:#?}");
        let how = |n: usize| word(&asked[n].unwrap()["cause"]["how"]).to_owned();
        assert!(!how(0).is_empty() && how(1).is_empty(), "{queries:#?}");
        let connections = ran.report["connections"].as_array().unwrap();
        let by_ring = connections.iter().find(|c| c["to"] == "192.168.110.231:80");
        let by_ring = by_ring.unwrap_or_else(|| panic!("{connections:#?}"));
        assert!(by_ring["cause"].is_null(), "{by_ring:#}");
        assert_eq!(word(&by_ring["outcome"]), "connected");
        let beyond = left_out(&ran, "no-room", "syn");
        assert_eq!(beyond > 0, with_storm);
        assert_eq!(left_out(&ran, "other-process", "syn"), 0);
        // Then nobody may say that there are no others.
        let findings = ran.report["findings"].as_array().unwrap();
        let detail = |id: &str| {
            let found = findings.iter().find(|f| f["id"] == id);
            found.map(|f| word(&f["detail"]).to_owned())
        };
        let uring = detail("io-uring").unwrap();
        assert_eq!(uring.contains("For lack of space"), with_storm, "{uring}");
        assert_eq!(uring.contains("192.168.110.231:80"), !with_storm, "{uring}");
        assert_eq!(detail("capture-incomplete").is_some(), with_storm);
    }
}

/// Another process's lookup is in the report and in the case with `--others`, and otherwise in neither.
#[test]
fn others_lookups_are_theirs() {
    let Some(lab) = Lab::up("nothing-wrong") else {
        return;
    };
    for others in [false, true] {
        let mut stranger = lab.sh(&["sh", "-c", "sleep 1; getent ahosts other.example.lab"]);
        let mut stranger = stranger.stdout(Stdio::null()).spawn().unwrap();
        let options: &[&str] = if others { &["--others"] } else { &[] };
        let script = "curl -sS http://web.example.lab/ && sleep 3";
        let ran = lab.run_with(options, &[], &["sh", "-c", script]);
        stranger.wait().unwrap();
        ran.assert_reads_back();
        let named = |name: &str| {
            ran.queries()
                .iter()
                .any(|q| word(&q["question"]).ends_with(name))
        };
        assert!(named("web.example.lab"));
        assert_eq!(named("other.example.lab"), others, "{}", ran.json);
        let packets = std::fs::read(ran.case.join("packets.pcap")).unwrap();
        let stored = packets.windows(5).any(|bytes| bytes == b"other");
        assert_eq!(stored, others);
        assert_eq!(left_out(&ran, "other-process", "query") > 0, !others);
    }
}
