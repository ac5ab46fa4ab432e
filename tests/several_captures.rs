//! Several captures of one case: the same one twice, and one that was rotated.

#![allow(clippy::unwrap_used, reason = "tests")]

use presyn::pipeline::{self, Settings};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use std::fs;
use std::path::{Path, PathBuf};

const CAPTURE: &str = "captures/first-resolver-silent/packets.pcap";

fn report(paths: &[PathBuf]) -> Report {
    let gathered = inputs::gather(paths, &InputOptions::default()).unwrap();
    pipeline::report(gathered, &Settings::default())
}

/// All that does not name a file.
fn told(report: &Report) -> impl PartialEq + std::fmt::Debug + use<> {
    let resolvers = serde_json::to_value(&report.resolvers).unwrap();
    let findings: Vec<_> = report.findings.iter().map(|f| f.title.clone()).collect();
    let delays: Vec<_> = report
        .delays
        .iter()
        .map(|d| d.since_start_s.unwrap().to_string())
        .collect();
    let counts = [report.lookups.len(), report.connections.len()];
    (report.summary.clone(), resolvers, findings, delays, counts)
}

#[test]
fn the_same_traffic_captured_twice_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.pcap");
    fs::copy(CAPTURE, &copy).unwrap();
    let once = report(&[CAPTURE.into()]);
    let twice = report(&[CAPTURE.into(), copy]);
    assert_eq!(told(&once), told(&twice));
    assert_eq!(once.duplicates_removed, 0);
    assert!(
        twice.duplicates_removed >= 8,
        "{}",
        twice.duplicates_removed
    );
    let places = twice.resolvers.len() + twice.findings.len();
    assert!(places > 0);
    let cited = twice.findings.iter().flat_map(|f| &f.packets);
    assert!(cited.clone().count() > 0);
    assert!(
        cited.into_iter().all(|p| !p.contains("copy.pcap")),
        "what stays is of the file named first"
    );
}

/// Byte positions of the frames of a classic little-endian capture.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut list = vec![24];
    while let Some(length) = bytes
        .get(list[list.len() - 1] + 8..)
        .and_then(|b| b.first_chunk())
    {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap();
        list.push(list[list.len() - 1] + 16 + length);
    }
    list
}

#[test]
fn a_rotated_capture_is_one() {
    let bytes = fs::read(CAPTURE).unwrap();
    let frames = frames(&bytes);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, part: &[u8]| {
        let path: PathBuf = Path::new(folder.path()).join(name);
        fs::write(&path, [&bytes[..24], part].concat()).unwrap();
        path
    };
    let whole = report(&[CAPTURE.into()]);
    for cut in [1, frames.len() / 3, frames.len() / 2] {
        let middle = frames[cut];
        let first = write("cap.pcap", &bytes[24..middle]);
        let second = write("cap.pcap1", &bytes[middle..]);
        for files in [[first.clone(), second.clone()], [second, first]] {
            assert_eq!(
                told(&whole),
                told(&report(&files)),
                "cut before frame {cut}"
            );
        }
    }
}

/// The capture with every time moved.
fn moved(seconds: u32) -> Vec<u8> {
    let bytes = fs::read(CAPTURE).unwrap();
    let frames = frames(&bytes);
    let mut out = bytes[..24].to_vec();
    for pair in frames.windows(2) {
        let mut record = bytes[pair[0]..pair[1]].to_vec();
        let old = u32::from_le_bytes(record[..4].try_into().unwrap());
        record[..4].copy_from_slice(&(old + seconds).to_le_bytes());
        out.extend(record);
    }
    out
}

#[test]
fn two_clocks_make_no_retransmission() {
    let folder = tempfile::tempdir().unwrap();
    let once = report(&[CAPTURE.into()]);
    for seconds in [3, 7_200] {
        let other = folder.path().join(format!("{seconds}.pcap"));
        fs::write(&other, moved(seconds)).unwrap();
        let both = report(&[CAPTURE.into(), other]);
        assert_eq!(told(&once), told(&both), "{seconds} s apart");
        assert!(both.duplicates_removed >= 8);
        let told = both.warnings.iter().any(|w| w.contains("s later"));
        assert!(told, "{:?}", both.warnings);
    }
}
