//! Captures of other people, counted event by event against what tshark says about them.

#![allow(clippy::unwrap_used)] // tests

mod shared;

use presyn::event::{EventKind, Packet};
use presyn::source::capture_file::{CaptureFileError, CaptureOptions, read, read_from};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the shared corpus is.
fn corpus() -> Option<PathBuf> {
    Some(shared::folder()?.join("corpus/pcap"))
}

/// Captures where presyn's count is meant to differ from tshark's, and why.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "td-arcnet-rfc1051-arp-icmp-http.pcap",
        "ARCNET is not supported, and presyn says so",
    ),
    (
        "td-dsa.pcap",
        "tshark cannot read it; presyn counts its packets as unsupported",
    ),
    (
        "td-dns-badlabel.pcap",
        "garbage on port 53 (opcode 15): counted as undecodable, no message invented",
    ),
    (
        "td-rtp-seg-fault-1.pcapng",
        "garbage on port 53 (unreadable question): likewise",
    ),
];

type Servers = BTreeMap<String, (u64, u64)>;

/// What the facts file says: servers with queries and responses, and SYNs.
fn expected(facts: &Value) -> Option<(Servers, u64)> {
    let mut servers = Servers::new();
    for (server, counts) in facts["dns_servers"].as_object()? {
        let messages = (counts["queries"].as_u64()?, counts["responses"].as_u64()?);
        servers.insert(server.clone(), messages);
    }
    Some((servers, facts["tcp_syns"].as_u64()?))
}

/// The same from presyn's events.
fn counted(path: &Path) -> Result<(Servers, u64, u64), CaptureFileError> {
    let mut servers = Servers::new();
    let mut syns = 0;
    let facts = read(
        path,
        0,
        &CaptureOptions::default(),
        &mut |event| match event.what {
            EventKind::Packet(Packet::Dns { flow, message, .. }) => {
                if flow.src.port != 53 && flow.dst.port != 53 {
                    return;
                }
                let server = if message.response { flow.src } else { flow.dst };
                let server = format!("{} {server}", flow.transport);
                let counts = servers.entry(server).or_default();
                if message.response {
                    counts.1 += 1;
                } else {
                    counts.0 += 1;
                }
            }
            EventKind::Packet(Packet::Tcp { flags, .. }) => {
                syns += u64::from(flags.syn && !flags.ack && !flags.rst);
            }
            _ => {}
        },
    )?;
    Ok((servers, syns, facts.packets))
}

#[test]
fn foreign_captures_are_counted_as_tshark_counts_them() {
    let Some(corpus) = corpus() else { return };
    let mut total = 0;
    let mut wrong = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".facts.json"))
        .collect();
    paths.sort();
    for facts_path in paths {
        let name = facts_path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let name = name.trim_end_matches(".facts.json");
        let facts: Value = serde_json::from_slice(&std::fs::read(&facts_path).unwrap()).unwrap();
        let (servers, syns) = expected(&facts).unwrap();
        let packets = facts["packets"].as_u64().unwrap();
        total += 1;
        let found = counted(&facts_path.with_file_name(name));
        let same = match &found {
            Ok(found) => *found == (servers.clone(), syns, packets),
            Err(_) => facts["tshark"]["exit"] != 0 && packets == 0,
        };
        let known = DIFFERENT.iter().any(|(known, _)| *known == name);
        if same == known {
            wrong.push(format!(
                "{name}: {found:?}, not {:?}",
                (servers, syns, packets)
            ));
        }
    }
    assert!(total > 100, "only {total} captures in the corpus");
    assert!(
        wrong.is_empty(),
        "{} of {total} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn foreign_captures_with_damage_never_panic() {
    let Some(corpus) = corpus() else { return };
    let mut read_any = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            continue;
        }
        let whole = std::fs::read(&path).unwrap();
        for round in 1..=20_usize {
            let mut bytes = whole.clone();
            bytes.truncate(whole.len() * round / 18);
            // Every 61st byte or so, beginning somewhere else each time, behind the file header.
            for at in (24 + round..bytes.len()).step_by(53 + round) {
                bytes[at] ^= 1 << (at % 8);
            }
            let result = read_from(
                &bytes[..],
                "damaged",
                0,
                &CaptureOptions::default(),
                &mut |_| {},
            );
            read_any += u32::from(result.is_ok());
        }
    }
    assert!(
        read_any > 1000,
        "only {read_any} damaged captures were read at all"
    );
}
