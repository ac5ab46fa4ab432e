//! Cases that nobody recorded: what a mailed file may say.

use super::{forbidden, say};
use etherparse::PacketBuilder;
use nix::sys::resource::{Resource, getrlimit};
use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A lookup of `a.example`: its query, and its response with an address and so many bytes of text.
fn lookup(client: &str, resolver: &str, text: usize) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend(b"\x01a\x07example\0\0\x01\0\x01");
    let mut response = query.clone();
    let mut records: u16 = 1;
    response[2..4].copy_from_slice(&[0x81, 0x80]);
    response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 9, 9, 9]);
    for _ in 0..text / 250 {
        response.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 251, 250]);
        response.extend([b'x'; 250]);
        records += 1;
    }
    response[6..8].copy_from_slice(&records.to_be_bytes());
    // pcap(5): microseconds, Ethernet.
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1] {
        file.extend(word.to_le_bytes());
    }
    for (at, from, to, message) in [
        (0_u32, (client, 4_000), (resolver, 53), query),
        (50_000, (resolver, 53), (client, 4_000), response),
    ] {
        let packet = datagram(from, to, &message);
        let length = u32::try_from(packet.len()).unwrap();
        for word in [1_795_338_751, at, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

fn datagram(from: (&str, u16), to: (&str, u16), message: &[u8]) -> Vec<u8> {
    let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ip = match (from.0.parse().unwrap(), to.0.parse().unwrap()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), 64),
        other => panic!("{other:?}"),
    };
    let udp = ip.udp(from.1, to.1);
    let mut bytes = Vec::new();
    udp.write(&mut bytes, message).unwrap();
    bytes
}

fn said_of(case: &Path, command: &[&str]) -> String {
    let done = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .arg("reproduce")
        .arg(case)
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!(
        "{:?}\n{}{}",
        done.status.code(),
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

#[test]
fn lookups_of_strange_addresses_and_sizes_are_played() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    for (what, client, resolver, text) in [
        ("a client that is a group", "224.0.0.1", "10.0.0.53", 0),
        (
            "a client that is everybody",
            "255.255.255.255",
            "10.0.0.53",
            0,
        ),
        ("one address for both", "10.0.0.53", "10.0.0.53", 0),
        ("a resolver of one link", "fe80::5", "fe80::1", 0),
        (
            "a response longer than most links take",
            "10.0.0.5",
            "10.0.0.53",
            60_000,
        ),
    ] {
        let case = folder.path().join("case.pcap");
        fs::write(&case, lookup(client, resolver, text)).unwrap();
        let said = said_of(&case, &["getent", "hosts", "a.example"]);
        assert!(said.contains("10.9.9.9"), "{what}: {said}");
        assert!(said.contains("Reproduced: as before"), "{what}: {said}");
    }
}

/// A name service at two paths that are one place, as `/var/run` is a link to `/run`.
#[test]
fn a_service_by_two_names_is_played_once() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("calls.log");
    let mut log = String::new();
    for (second, path) in [(1, "/run/nscd/socket"), (3, "/run//nscd/socket")] {
        for call in [
            "000000 socket(AF_UNIX, SOCK_STREAM, 0) = 3 <0.000010>",
            &format!(
                "001000 connect(3, {{sa_family=AF_UNIX, sun_path=\"{path}\"}}, 110) = 0 <0.000020>"
            ),
            "001500 sendto(3, \"\\2\\0\\0\\0\\16\\0\\0\\0\\n\\0\\0\\0a.example\\0\", 22, 0, NULL, 0) = 22 <0.000010>",
            "002000 poll([{fd=3, events=POLLIN}], 1, 500) = 0 (Timeout) <0.500000>",
            "600000 close(3) = 0 <0.000010>",
        ] {
            writeln!(log, "100 179533875{second}.{call}").unwrap();
        }
    }
    fs::write(&case, log + "100 1795338755.000000 +++ exited with 0 +++\n").unwrap();
    let there = "test -S /run/nscd/socket && echo there";
    let said = said_of(&case, &["sh", "-c", there]);
    assert!(said.contains("\nthere\n"), "{said}");
}

/// Each resolver has a socket for TCP, and the usual limit is 1024 descriptors.
#[test]
fn many_resolvers_are_played() {
    if let Some(why) = forbidden() {
        return say(&format!("SKIPPED: {why}\n"));
    }
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if most < 2_048 {
        return say("SKIPPED: this user may have few descriptors\n");
    }
    let folder = tempfile::tempdir().unwrap();
    let case = folder.path().join("case.pcap");
    let mut capture = lookup("10.0.0.5", "10.0.0.53", 0);
    for n in 0..800_u16 {
        let resolver = format!("10.7.{}.{}", n / 250, n % 250 + 1);
        capture.extend(&lookup("10.0.0.5", &resolver, 0)[24..]);
    }
    fs::write(&case, capture).unwrap();
    let presyn = env!("CARGO_BIN_EXE_presyn");
    let done = Command::new("sh")
        .args([
            "-c",
            "ulimit -Sn 512; exec \"$@\"",
            "sh",
            presyn,
            "reproduce",
        ])
        .arg(&case)
        .args(["--", "sh", "-c", "ulimit -Sn; getent hosts a.example"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout);
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("10.9.9.9"), "{said}{errors}");
    assert!(
        said.starts_with("512\n"),
        "the command keeps its limit: {said}"
    );
}
