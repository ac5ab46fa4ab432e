//! Segments of a few TCP directions: five bytes of header each (direction and flags, sequence number, length).
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::decode::stream::{Segment, Streams};
use presyn::flow::{Endpoint, FiveTuple, Transport};

fuzz_target!(|data: &[u8]| {
    let mut streams = Streams::default();
    let mut rest = data;
    while let Some(([kind, high, low, missing, length], bytes)) = rest.split_first_chunk::<5>() {
        let (data, after) = bytes.split_at(usize::from(*length).min(bytes.len()));
        rest = after;
        let end = |port: u8| Endpoint::new([10, 0, 0, 1].into(), u16::from(port));
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: end(kind & 3),
            dst: end(53),
        };
        let segment = Segment {
            seq: u32::from(u16::from_be_bytes([*high, *low])).wrapping_sub(300),
            syn: kind & 4 != 0,
            last: kind & 8 != 0,
            data,
            missing: usize::from(*missing) * usize::from(kind & 16 != 0),
        };
        streams.add(flow, segment, &mut |_| kind & 32 == 0);
    }
    streams.given_up();
});
