//! Fragments of datagrams and segments of streams with sound headers around them, so that what is fuzzed is the putting
//! together: five bytes for each (kind, identity, place twice, length), then its data.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::decode::packet::{DecodeOptions, Decoder, RawFrame};
use presyn::time::{Span, Timestamp};

/// `DLT_RAW` as libpcap's files number it.
const RAW: i32 = 101;

const IPV6: u8 = 1;
const SEGMENT: u8 = 2;
/// More fragments follow; for a segment: SYN.
const MORE: u8 = 4;
const FIN: u8 = 8;
const CUT: u8 = 16;
/// A header of the transport before the data; else the data are all there is.
const HEADED: u8 = 32;
const LATER: u8 = 64;
const TCP_INSIDE: u8 = 128;

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(DecodeOptions::default());
    let mut rest = data;
    let mut at = Timestamp(0);
    while let Some(([kind, who, high, low, length], bytes)) = rest.split_first_chunk::<5>() {
        let (kind, who) = (*kind, *who);
        let has = |bit| kind & bit != 0;
        let (own, after) = bytes.split_at(usize::from(*length).min(bytes.len()));
        rest = after;
        let place = u16::from_be_bytes([*high, *low]);
        let transport = if has(SEGMENT | TCP_INSIDE) { 6 } else { 17 };
        let mut payload = Vec::new();
        if has(SEGMENT | HEADED) {
            payload.extend_from_slice(&[4, who & 3, 0, 53]);
            if transport == 6 {
                let flags = 16 | (u8::from(has(MORE)) * 2) | u8::from(has(FIN));
                payload.extend_from_slice(&[0, 0, *high, *low, 0, 0, 0, 0, 5 << 4, flags, 1, 0, 0, 0, 0, 0]);
            } else {
                // The length says more than one fragment holds.
                payload.extend_from_slice(&[0, *low, 0, 0]);
            }
        }
        payload.extend_from_slice(own);
        let missing = u16::from(has(CUT)) * 40;
        let mut frame = Vec::new();
        let size = payload.len() as u16 + missing;
        if has(IPV6) {
            let extension = if has(SEGMENT) { 0 } else { 8 };
            frame.extend_from_slice(&[0x60, 0, 0, 0]);
            frame.extend_from_slice(&(size + extension).to_be_bytes());
            frame.extend_from_slice(&[if has(SEGMENT) { transport } else { 44 }, 64]);
            frame.extend_from_slice(&[0xfd; 31]);
            frame.push(who & 1);
            if !has(SEGMENT) {
                let position = (place << 3 | u16::from(has(MORE))).to_be_bytes();
                frame.extend_from_slice(&[transport, 0, position[0], position[1], 0, 0, 0, who]);
            }
        } else {
            let position = if has(SEGMENT) { 0 } else { place & 0x1fff | u16::from(has(MORE)) << 13 };
            frame.extend_from_slice(&[0x45, 0]);
            frame.extend_from_slice(&(size + 20).to_be_bytes());
            frame.extend_from_slice(&[0, who]);
            frame.extend_from_slice(&position.to_be_bytes());
            frame.extend_from_slice(&[64, transport, 0, 0, 10, 0, 0, 1, 10, 0, 0, who & 1]);
        }
        frame.extend_from_slice(&payload);
        at = at + if has(LATER) { Span::seconds(31) } else { Span::millis(3) };
        let frame = RawFrame {
            at,
            link: RAW,
            interface: Some(1),
            data: &frame,
            original_length: frame.len() as u32 + u32::from(missing),
        };
        decoder.decode(frame, &mut |_| {});
    }
    decoder.counters();
});
