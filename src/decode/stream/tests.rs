use super::*;
use crate::flow::{Endpoint, Transport};
use std::net::{IpAddr, Ipv4Addr};

const FLOW: FiveTuple = FiveTuple {
    transport: Transport::Tcp,
    src: Endpoint {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 4000,
    },
    dst: Endpoint {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 53,
    },
};

/// A length-prefixed query for the root with this id.
fn message(id: u8) -> Vec<u8> {
    let mut bytes = vec![0, 17, 0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// The ids of the messages read out of segments (sequence number, bytes); negative: cut.
fn ids(segments: &[(u32, bool, &[u8], usize)]) -> Vec<i32> {
    let mut streams = Streams::default();
    let mut ids = Vec::new();
    for &(seq, syn, data, missing) in segments {
        let segment = Segment {
            seq,
            syn,
            last: false,
            data,
            missing,
        };
        streams.add(FLOW, segment, &mut |piece| {
            match piece {
                StreamMessage::Whole(bytes) => ids.push(i32::from(bytes[1])),
                StreamMessage::Cut(bytes) => ids.push(-i32::from(bytes[1])),
            }
            true
        });
    }
    ids
}

#[test]
fn messages_cross_segments_and_share_them() {
    let all = [message(1), message(2), message(3)].concat();
    for cut in 0..all.len() {
        let (a, b) = all.split_at(cut);
        let next = 101 + u32::try_from(cut).unwrap();
        assert_eq!(
            ids(&[(100, true, b"", 0), (101, false, a, 0), (next, false, b, 0)]),
            [1, 2, 3]
        );
        // Out of order, and everything twice.
        let twice = [
            (100, true, &b""[..], 0),
            (next, false, b, 0),
            (101, false, a, 0),
        ];
        assert_eq!(ids(&[twice, twice].concat()), [1, 2, 3], "{cut}");
    }
    let bytes: Vec<_> = (u32::MAX - 5..=u32::MAX)
        .chain(0..)
        .zip(all.chunks(1))
        .map(|(seq, byte)| (seq, false, byte, 0))
        .collect();
    assert_eq!(
        ids(&[&[(u32::MAX - 6, true, &b""[..], 0)], &bytes[..]].concat()),
        [1, 2, 3]
    );
}

#[test]
fn a_capture_may_begin_in_the_middle() {
    let (one, two) = (message(1), message(2));
    assert_eq!(
        ids(&[
            (7, false, b"tail of something", 0),
            (24, false, &one, 0),
            (43, false, &two, 0)
        ]),
        [1, 2]
    );
    assert_eq!(
        ids(&[(24, false, &one[..2], 0), (26, false, &one[2..], 0)]),
        [1]
    );
}

#[test]
fn a_hole_costs_only_what_was_in_it() {
    let messages: Vec<_> = (0..20).map(message).collect();
    let mut segments = vec![(0, true, &b""[..], 0)];
    for (seq, message) in (1..).step_by(19).zip(&messages) {
        if seq != 39 {
            segments.push((seq, false, message, 0));
        }
    }
    let expected: Vec<_> = (0..20).filter(|id| *id != 2).collect();
    assert_eq!(ids(&segments), expected);
}

#[test]
fn a_cut_segment_shows_its_beginning() {
    let (one, two) = (message(1), message(2));
    let cut = [
        (0, true, &b""[..], 0),
        (1, false, &one[..15], 4),
        (20, false, &two, 0),
    ];
    assert_eq!(ids(&cut), [-1, 2]);
}

#[test]
fn memory_is_bounded() {
    let mut streams = Streams::default();
    let part = [&[0xff, 0xff], &vec![0; 20_000][..]].concat();
    for port in 0..20_000 {
        let mut flow = FLOW;
        flow.src.port = port;
        let segment = Segment {
            seq: 0,
            syn: true,
            last: false,
            data: &part,
            missing: 0,
        };
        streams.add(flow, segment, &mut |_| true);
        assert!(streams.held <= MAX_HELD + part.len());
    }
    assert!(streams.directions.len() <= MAX_DIRECTIONS);
}
