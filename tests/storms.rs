//! Floods of packets cost what their number says, not its square: names, questions, answers and errors by the ten thousand.

#![allow(clippy::unwrap_used, reason = "tests")]

use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::json;
use presyn::source::capture_file::{self, CaptureOptions};
use std::time::{Duration, Instant};

/// `LINKTYPE_RAW`.
const RAW: u32 = 101;
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const RESOLVER: [u8; 4] = [10, 0, 0, 2];

fn capture(frames: impl Iterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, RAW] {
        file.extend(u32::to_le_bytes(word));
    }
    for (n, frame) in (0_u32..).zip(frames) {
        let length = u32::try_from(frame.len()).unwrap();
        for word in [
            1_700_000_000 + n / 100_000,
            n % 100_000 * 10,
            length,
            length,
        ] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(frame);
    }
    file
}

fn ipv4(src: [u8; 4], dst: [u8; 4], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

fn udp(src: u16, dst: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + data.len()).unwrap();
    let mut packet: Vec<u8> = [src, dst, length, 0]
        .iter()
        .flat_map(|w| w.to_be_bytes())
        .collect();
    packet.extend(data);
    packet
}

fn dns(id: u16, name: &str, response: bool) -> Vec<u8> {
    let flags = if response { 0x8180 } else { 0x0100 };
    let words = [id, flags, 1, 0, 0, 0];
    let mut message: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    message
}

fn query(from: [u8; 4], to: [u8; 4], id: u16, name: &str) -> Vec<u8> {
    ipv4(from, to, 17, &udp(5000, 53, &dns(id, name, false)))
}

fn host(n: u32) -> [u8; 4] {
    let [_, b, c, d] = n.to_be_bytes();
    [11, b, c, d]
}

/// The time from the file to its JSON, and how long that is.
fn timed(frames: &dyn Fn(u32) -> Vec<u8>, count: u32) -> (Duration, usize) {
    let file = capture((0..count).map(frames));
    let begun = Instant::now();
    let mut gathered = Gathered::default();
    let packets = &mut gathered.packets;
    let options = CaptureOptions::default();
    let facts = capture_file::read_from(&file[..], "storm", 0, &options, &mut |e| packets.push(e));
    gathered.captures.push(facts.unwrap());
    let report = pipeline::report(gathered, &Settings::default());
    let mut bytes = Vec::new();
    json::write(&report, &mut bytes).unwrap();
    (begun.elapsed(), bytes.len())
}

fn linear(what: &str, frames: &dyn Fn(u32) -> Vec<u8>) {
    // Below some ten thousand the accounts still grow with the storm; from there on they are bounded.
    let (small, large) = (20_000, 80_000);
    let (fast, _) = timed(frames, small);
    let (slow, bytes) = timed(frames, large);
    let ratio = slow.as_secs_f64() / fast.as_secs_f64();
    println!("{what}: {small} in {fast:?}, {large} in {slow:?}, {bytes} bytes of JSON");
    // Four times as many; their square would be 16. Accounts reach their bound between the two sizes.
    assert!(ratio < 10.0, "{what}: {fast:?}, then {slow:?}");
    assert!(bytes < 40 << 20, "{what}: {bytes} bytes of JSON");
}

#[test]
fn names_that_are_all_different() {
    linear("names", &|n| {
        query(CLIENT, RESOLVER, 7, &format!("n{n}.example"))
    });
}

#[test]
fn clients_that_are_all_different() {
    linear("clients", &|n| query(host(n), RESOLVER, 7, "a.example"));
}

#[test]
fn resolvers_that_are_all_different() {
    linear("resolvers", &|n| query(CLIENT, host(n), 7, "a.example"));
}

#[test]
fn answers_to_something_else() {
    linear("answers", &|n| match n % 2 {
        0 => query(CLIENT, RESOLVER, 7, "a.example"),
        _ => ipv4(
            RESOLVER,
            CLIENT,
            17,
            &udp(53, 5000, &dns(7, "b.example", true)),
        ),
    });
}

#[test]
fn errors_about_one_query() {
    let quoted = query(CLIENT, RESOLVER, 7, "a.example");
    linear("errors", &|n| {
        if n % 2 == 0 {
            return quoted.clone();
        }
        let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
        icmp.extend(&quoted);
        ipv4(RESOLVER, CLIENT, 1, &icmp)
    });
}

/// Each interface of a section says again and again how much it dropped: only the last of each counts, and telling so
/// costs no walk over all of them.
#[test]
fn statistics_of_interfaces_that_are_very_many() {
    const INTERFACES: u32 = 65_536;
    let mut file = Vec::new();
    let mut block = |kind: u32, words: &[u32]| {
        let length = 12 + 4 * u32::try_from(words.len()).unwrap();
        let all = [kind, length].into_iter().chain(words.iter().copied());
        file.extend(all.chain([length]).flat_map(u32::to_le_bytes));
    };
    block(0x0a0d_0d0a, &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]);
    for _ in 0..INTERFACES {
        block(1, &[RAW, 65_535]);
    }
    for round in 1..=20 {
        for interface in 0..INTERFACES {
            // isb_ifdrop, 8 bytes.
            block(5, &[interface, 0, 0, 8 << 16 | 5, round, 0]);
        }
    }
    let begun = Instant::now();
    let options = CaptureOptions::default();
    let facts = capture_file::read_from(&file[..], "storm", 0, &options, &mut |_| ()).unwrap();
    println!("statistics: {:?}", begun.elapsed());
    assert_eq!(facts.dropped, Some(20 * u64::from(INTERFACES)));
    // A walk for each of them would be 86 thousand million steps.
    assert!(begun.elapsed() < Duration::from_secs(20));
}
