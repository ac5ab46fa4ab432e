//! Frames of every link type, several in a row so that fragments and streams meet: one byte chooses the link type, two
//! bytes give each frame's length.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::decode::packet::{DecodeOptions, Decoder, RawFrame};
use presyn::time::Timestamp;

const LINKS: [i32; 22] = [
    0, 1, 9, 12, 14, 50, 51, 101, 104, 105, 108, 113, 127, 149, 228, 229, 239, 258, 276, 147, -1, 65_535,
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else { return };
    let mut decoder = Decoder::new(DecodeOptions::default());
    let mut at = 0;
    while let Some((length, bytes)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(bytes.len());
        let (frame, after) = bytes.split_at(length);
        rest = after;
        at += 1000;
        let frame = RawFrame {
            at: Timestamp(at),
            link: LINKS[usize::from(*choice) % LINKS.len()],
            interface: Some(1),
            data: frame,
            original_length: u32::from(*choice) + 60,
        };
        decoder.decode(frame, &mut |_| {});
    }
    decoder.counters();
});
