//! The classic pcap format (<https://www.ietf.org/archive/id/draft-gharris-opsawg-pcap-00.html>).

use super::buffer::ReadWindow;
use super::format::Classic;
use super::reading::Reading;
use crate::decode::packet::RawFrame;
use crate::time::{SECOND, Timestamp};
use std::io::Read;

/// Length of the file header.
const FILE_HEADER: usize = 24;

/// The longest packet that libpcap writes for nearly all link types (`MAXIMUM_SNAPLEN`, pcap-int.h).
const MAX_PACKET: usize = 262_144;

/// The longest packet believed even if the file's header announces more.
const MAX_ANNOUNCED: usize = 16 << 20;

/// What the file's header says of its records.
struct FileHeader {
    /// The longest packet that is believed.
    longest: usize,
    link: i32,
    /// Minor version of the format.
    minor: u16,
}

/// What stands before a packet.
struct RecordHeader {
    at: Timestamp,
    /// Whether the fraction of the time is less than a second.
    sound: bool,
    captured: u32,
    original_length: u32,
}

/// Reads all records. What stops it is said to `reading`.
pub(super) fn read<R: Read>(
    buffer: &mut ReadWindow<R>,
    format: Classic,
    reading: &mut Reading<'_>,
) {
    let header = buffer.peek(FILE_HEADER);
    if header.len() < FILE_HEADER {
        return reading.ended_early(buffer, "the file ends inside its header");
    }
    let file = FileHeader::read(format, header);
    buffer.consume(FILE_HEADER);
    loop {
        if buffer.is_at_end() {
            return;
        }
        let header = buffer.peek(format.record_header);
        if header.len() < format.record_header {
            return reading.ended_early(buffer, "the file ends inside a packet's header");
        }
        let record = RecordHeader::read(format, &file, header);
        let length = usize::try_from(record.captured).unwrap_or(usize::MAX);
        if length > file.longest {
            let captured = record.captured;
            let problem = format!("implausible packet length {captured}; stopped reading here");
            return reading.damage(buffer.offset(), &problem);
        }
        let bytes = buffer.peek(format.record_header + length);
        let Some(data) = bytes
            .get(format.record_header..)
            .filter(|data| data.len() == length)
        else {
            return reading.ended_early(buffer, "the file ends inside a packet");
        };
        reading.check_fraction(record.sound);
        reading.frame(RawFrame {
            at: record.at,
            link: file.link,
            interface: None,
            data,
            original_length: record.original_length,
        });
        buffer.consume(format.record_header + length);
    }
}

/// Four bytes of a header as a number; zero where it ends before.
fn number(format: Classic, header: &[u8], at: usize) -> u32 {
    let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
    let bytes = bytes.copied().unwrap_or_default();
    if format.big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

impl FileHeader {
    fn read(format: Classic, header: &[u8]) -> Self {
        let announced = usize::try_from(number(format, header, 16)).unwrap_or(MAX_ANNOUNCED);
        let minor = header.get(4..8).map_or(4, |version| {
            let low = if format.big_endian {
                [version[2], version[3]]
            } else {
                [version[3], version[2]]
            };
            u16::from_be_bytes(low)
        });
        Self {
            longest: announced.clamp(MAX_PACKET, MAX_ANNOUNCED),
            // The upper bits tell about the frame check sequence.
            link: (number(format, header, 20) & 0x03ff_ffff).cast_signed(),
            minor,
        }
    }
}

impl RecordHeader {
    fn read(format: Classic, file: &FileHeader, header: &[u8]) -> Self {
        let number = |at| number(format, header, at);
        let (mut captured, mut original_length) = (number(8), number(12));
        // Up to version 2.2 the two lengths stood the other way round; writers of 2.3 did not agree (libpcap,
        // sf-pcap.c).
        if file.minor < 3 || file.minor == 3 && captured > original_length {
            std::mem::swap(&mut captured, &mut original_length);
        }
        let unit = if format.nanoseconds { 1 } else { 1000 };
        let fraction = i64::from(number(4)) * unit;
        Self {
            at: Timestamp::new(i64::from(number(0)), fraction % SECOND),
            // A fraction of a second or more is some writer's mistake: it had carried the second and not taken it off.
            sound: fraction < SECOND,
            captured,
            original_length,
        }
    }
}
