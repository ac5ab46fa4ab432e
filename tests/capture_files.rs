//! Capture formats, whole and damaged, from bytes made here.

use presyn::event::{Event, EventKind, Packet};
use presyn::input::CaptureFacts;
use presyn::source::capture_file::{CaptureFileError, CaptureOptions, read, read_from};
use presyn::time::Timestamp;
use proptest::prelude::*;
use std::io::Write;
use std::path::Path;

/// An IPv4 packet with a SYN to this port.
fn syn(port: u8) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    bytes.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend([
        0x0f, 0xa0, 0, port, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 4, 0, 0, 0, 0, 0,
    ]);
    bytes
}

/// A pcap file of raw IP with one SYN per second, to ports from 1; the fraction is 5.
fn pcap(magic: u32, big_endian: bool, packets: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut put = |number: u32| {
        let bytes = if big_endian {
            number.to_be_bytes()
        } else {
            number.to_le_bytes()
        };
        file.extend(bytes);
    };
    let version = if big_endian { 0x0002_0004 } else { 0x0004_0002 };
    [magic, version, 0, 0, 65_535, 101]
        .into_iter()
        .for_each(&mut put);
    for port in 1..=packets {
        [u32::from(port), 5, 40, 40].into_iter().for_each(&mut put);
        for word in syn(port).chunks(4) {
            let word: [u8; 4] = word.try_into().unwrap_or_default();
            let word = if big_endian {
                u32::from_be_bytes(word)
            } else {
                u32::from_le_bytes(word)
            };
            put(word);
        }
    }
    file
}

/// A little-endian pcapng block.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = u32::try_from(body.len() + 12)
        .unwrap_or_default()
        .to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &body, &length].concat()
}

fn section() -> Vec<u8> {
    let body = [
        &0x1a2b_3c4d_u32.to_le_bytes()[..],
        &[1, 0, 0, 0],
        &[0xff; 8],
    ]
    .concat();
    block(0x0a0d_0d0a, &body)
}

/// An enhanced packet block with a raw IP packet at this time.
fn packet(interface: u32, time: u64, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or_default();
    let (high, low) = (time >> 32, time & 0xffff_ffff);
    let mut body = interface.to_le_bytes().to_vec();
    for word in [high, low, length.into(), length.into()] {
        body.extend(u32::try_from(word).unwrap_or_default().to_le_bytes());
    }
    body.extend(data);
    block(6, &body)
}

/// Reads bytes as a file called `test`.
fn read_bytes(
    bytes: &[u8],
    options: &CaptureOptions,
) -> Result<(CaptureFacts, Vec<Event>), CaptureFileError> {
    let mut events = Vec::new();
    let facts = read_from(bytes, "test", 3, options, &mut |event| events.push(event))?;
    Ok((facts, events))
}

/// Destination ports of TCP events with their packet numbers.
fn ports(events: &[Event]) -> Vec<(u64, u16)> {
    let port = |event: &Event| match &event.what {
        EventKind::Packet(Packet::Tcp { flow, .. }) => Some((event.place.number, flow.dst.port)),
        _ => None,
    };
    events.iter().filter_map(port).collect()
}

#[test]
fn classic_files_of_every_kind_are_read() {
    let kinds = [
        (0xa1b2_c3d4, false, 5000),
        (0xa1b2_c3d4, true, 5000),
        (0xa1b2_3c4d, false, 5),
    ];
    for (magic, big_endian, fraction) in kinds {
        let plain = pcap(magic, big_endian, 3);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for bytes in [plain, gzip, zstd] {
            let (facts, events) = read_bytes(&bytes, &CaptureOptions::default()).unwrap();
            assert_eq!(ports(&events), [(1, 1), (2, 2), (3, 3)]);
            assert_eq!(events[1].at, Timestamp::new(2, fraction));
            assert_eq!(events[1].place.input, 3);
            assert_eq!(
                (facts.packets, facts.first),
                (3, Some(Timestamp::new(1, fraction)))
            );
            assert!(facts.warnings.is_empty() && !facts.damaged);
        }
    }
}

#[test]
fn everything_before_the_damage_is_used_and_the_place_is_named() {
    let whole = pcap(0xa1b2_c3d4, false, 3);
    for length in 24 + 2 * 56 + 1..whole.len() {
        let (facts, events) = read_bytes(&whole[..length], &CaptureOptions::default()).unwrap();
        assert_eq!(ports(&events), [(1, 1), (2, 2)]);
        assert!(facts.damaged);
        assert!(
            facts.warnings[0].starts_with("test: packet 3 at byte 136: "),
            "{facts:?}"
        );
    }
    let mut absurd = whole.clone();
    absurd[24 + 56 + 8..][..4].fill(0xff);
    let (facts, events) = read_bytes(&absurd, &CaptureOptions::default()).unwrap();
    assert_eq!((events.len(), facts.damaged), (1, true));
    let zstd = zstd::encode_all(&whole[..], 1).unwrap();
    let cut = read_bytes(&zstd[..zstd.len() - 3], &CaptureOptions::default());
    assert!(cut.is_err() || cut.is_ok_and(|(facts, _)| facts.damaged));
}

#[test]
fn pcapng_interfaces_times_and_drops_are_read() {
    let interface = |options: &[u8]| block(1, &[&[101, 0, 0, 0, 0, 0, 0, 0], options].concat());
    let mut drops = vec![0; 12];
    drops.extend([5, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let file = [
        section(),
        interface(&[]),
        // Nanoseconds, and ten seconds to add.
        interface(&[
            9, 0, 1, 0, 9, 0, 0, 0, 14, 0, 8, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]),
        packet(0, 12_000_000, &syn(1)),
        // The same packet on the other interface, 1 µs later.
        packet(1, 2_000_001_000, &syn(1)),
        packet(1, 3_000_000_000, &syn(2)),
        block(0xbad, b"custom"),
        packet(9, 0, &syn(3)),
        block(5, &drops),
        section(),
        interface(&[]),
        block(3, &[&40_u32.to_le_bytes()[..], &syn(4)].concat()),
    ]
    .concat();
    let (facts, events) = read_bytes(&file, &CaptureOptions::default()).unwrap();
    assert_eq!(ports(&events), [(1, 1), (3, 2), (5, 4)]);
    assert_eq!(events[0].at, Timestamp::new(12, 0));
    assert_eq!(events[1].at, Timestamp::new(13, 0));
    assert_eq!(
        (facts.packets, facts.duplicates, facts.dropped),
        (5, 1, Some(7))
    );
    assert!(
        facts.warnings[0].contains("packet 4 at byte"),
        "{:?}",
        facts.warnings
    );
}

/// Statistics say when they were read: what grew between two of them was dropped between them.
#[test]
fn pcapng_statistics_give_drops_a_time() {
    let second = |n: u32| n * 1_000_000;
    let packets = |from: u8, until: u8| -> Vec<u8> {
        (from..=until)
            .flat_map(|n| packet(0, second(n.into()).into(), &syn(n)))
            .collect()
    };
    let statistics = |read: u32, options: &[u8]| {
        let head = [0, 0, read].map(u32::to_le_bytes).concat();
        block(5, &[&head[..], options].concat())
    };
    let dropped =
        |read: u32, count: u8| statistics(second(read), &[5, 0, 8, 0, count, 0, 0, 0, 0, 0, 0, 0]);
    let began = |at: u32| {
        let head = [2, 0, 8, 0, 0, 0, 0, 0];
        [&head[..], &second(at).to_le_bytes()].concat()
    };
    let interface = block(1, &[101, 0, 0, 0, 0, 0, 0, 0]);
    let times = |parts: &[Vec<u8>]| {
        let file = [&[section(), interface.clone()], parts].concat().concat();
        let (facts, _) = read_bytes(&file, &CaptureOptions::default()).unwrap();
        let second = |at: Timestamp| (at.0 != i64::MIN).then_some(at.0 / 1_000_000_000);
        let spans = facts.drop_times.iter();
        let spans: Vec<_> = spans
            .map(|s| (s.packets, second(s.from), second(s.until)))
            .collect();
        (facts.untimed_drops(), spans)
    };
    let (a, b, c) = (packets(1, 9), packets(11, 19), packets(21, 29));
    let grown = [
        a.clone(),
        dropped(10, 0),
        b.clone(),
        dropped(20, 7),
        c,
        dropped(30, 7),
    ];
    assert_eq!(times(&grown), (0, vec![(7, Some(10), Some(20))]));
    // One block at the end, as dumpcap writes it: at any time before.
    assert_eq!(
        times(&[a.clone(), dropped(10, 7)]),
        (0, vec![(7, None, Some(10))])
    );
    let mut options = began(1);
    options.extend([5, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        times(&[a.clone(), statistics(second(10), &options)]),
        (0, vec![(7, Some(1), Some(10))])
    );
    // A time before the packets that stand before it cannot be.
    assert_eq!(times(&[a, dropped(10, 0), b, dropped(5, 7)]), (7, vec![]));
}

#[test]
fn a_filter_hides_packets_and_a_bad_one_is_refused() {
    let bytes = pcap(0xa1b2_c3d4, false, 3);
    let options = |filter: &str| CaptureOptions {
        filter: Some(filter.to_owned()),
        ..CaptureOptions::default()
    };
    let (facts, events) = read_bytes(&bytes, &options("tcp dst port 2")).unwrap();
    assert_eq!((ports(&events), facts.packets), (vec![(2, 2)], 3));
    let error = read_bytes(&bytes, &options("tcp prot 2")).unwrap_err();
    assert!(matches!(error, CaptureFileError::Filter { .. }), "{error}");
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let seems = |bytes: &[u8]| {
        read_bytes(bytes, &CaptureOptions::default())
            .unwrap_err()
            .to_string()
    };
    assert!(seems(b"").starts_with("test is empty, not a packet capture"));
    assert!(seems(b"17:01:02 connect(3, {sa_family=AF_INET}) = 0\n").contains("is text"));
    assert!(seems(b"BZh91AY").contains("bzip2"));
    assert!(seems(&pcap(0xa1b2_c3d4, false, 0)[..8]).contains("cut inside"));
    let missing = read(
        Path::new("no such file"),
        0,
        &CaptureOptions::default(),
        &mut |_| {},
    );
    assert!(
        missing
            .unwrap_err()
            .to_string()
            .starts_with("no such file cannot be read")
    );
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        ng: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = if ng {
            let interface = block(1, &[101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 9, 0, 0, 0]);
            [section(), interface, packet(0, 1, &syn(1)), block(5, &[0; 24])].concat()
        } else {
            pcap(0xa1b2_c3d4, true, 2)
        };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = read_bytes(&bytes, &CaptureOptions::default());
    }
}
