//! The classic pcap format (<https://www.ietf.org/archive/id/draft-gharris-opsawg-pcap-00.html>).

use super::buffer::ReadWindow;
use super::format::Classic;
use super::reading::Reading;
use crate::time::{SECOND, Timestamp};
use std::io::Read;

/// Length of the file header.
const FILE_HEADER: usize = 24;

/// The longest packet that libpcap writes for nearly all link types (`MAXIMUM_SNAPLEN`, pcap-int.h).
const MAX_PACKET: usize = 262_144;

/// The longest packet believed even if the file's header announces more.
const MAX_ANNOUNCED: usize = 16 << 20;

/// Reads all records. What stops it is said to `reading`.
pub(super) fn read<R: Read>(
    buffer: &mut ReadWindow<R>,
    format: Classic,
    reading: &mut Reading<'_>,
) {
    let number = |bytes: &[u8], at: usize| -> u32 {
        let bytes = bytes
            .get(at..)
            .and_then(<[u8]>::first_chunk)
            .copied()
            .unwrap_or_default();
        if format.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    let header = buffer.peek(FILE_HEADER);
    if header.len() < FILE_HEADER {
        return reading.ended_early(buffer, "the file ends inside its header");
    }
    let announced = usize::try_from(number(header, 16)).unwrap_or(MAX_ANNOUNCED);
    let longest = announced.clamp(MAX_PACKET, MAX_ANNOUNCED);
    // The upper bits tell about the frame check sequence.
    let link = (number(header, 20) & 0x03ff_ffff).cast_signed();
    // Up to version 2.2 the two lengths stood the other way round; writers of 2.3 did not agree (libpcap, sf-pcap.c).
    let minor = header.get(4..8).map_or(4, |version| {
        let low = if format.big_endian {
            [version[2], version[3]]
        } else {
            [version[3], version[2]]
        };
        u16::from_be_bytes(low)
    });
    buffer.consume(FILE_HEADER);
    loop {
        if buffer.is_at_end() {
            return;
        }
        let header = buffer.peek(format.record_header);
        if header.len() < format.record_header {
            return reading.ended_early(buffer, "the file ends inside a packet's header");
        }
        let seconds = i64::from(number(header, 0));
        let fraction = i64::from(number(header, 4));
        let (mut captured, mut original_length) = (number(header, 8), number(header, 12));
        if minor < 3 || minor == 3 && captured > original_length {
            std::mem::swap(&mut captured, &mut original_length);
        }
        let length = usize::try_from(captured).unwrap_or(usize::MAX);
        if length > longest {
            let problem = format!("implausible packet length {captured}; stopped reading here");
            return reading.damage(buffer.offset(), &problem);
        }
        let record = buffer.peek(format.record_header + length);
        let Some(data) = record
            .get(format.record_header..)
            .filter(|data| data.len() == length)
        else {
            return reading.ended_early(buffer, "the file ends inside a packet");
        };
        let unit = if format.nanoseconds { 1 } else { 1000 };
        // A fraction of a second or more is some writer's mistake: it had carried the second and not taken it off.
        reading.check_fraction(fraction * unit < SECOND);
        let nanos = fraction * unit % SECOND;
        let at = Timestamp::new(seconds, nanos);
        reading.frame(at, link, None, data, original_length);
        buffer.consume(format.record_header + length);
    }
}
