//! What a file is, by its first bytes: a capture, a compressed one, or what else.

use crate::decode::foreign::{Foreign, foreign};
use crate::source::compression;

/// How many first bytes are looked at.
pub(super) const HEAD: usize = 4096;

/// The shortest file that is a capture: the header of an empty pcap file. pcapng needs 28 bytes.
pub(super) const SHORTEST: usize = 24;

/// The file formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CaptureFormat {
    /// pcap, as a header says.
    Classic(Classic),
    /// pcapng.
    Pcapng,
}

/// The variants of the classic format, told by its magic number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classic {
    /// Numbers are big-endian.
    pub big_endian: bool,
    /// The fraction of a second is in nanoseconds, not microseconds.
    pub nanoseconds: bool,
    /// Length of the header of each record. Kuznetsov's patched libpcap (`a1b2cd34`) wrote 24 bytes
    /// instead of 16.
    pub record_header: usize,
}

/// The format of an uncompressed file with these first bytes.
pub(super) fn format(head: &[u8]) -> Option<CaptureFormat> {
    let magic = *head.first_chunk::<4>()?;
    let classic = |big_endian, number| {
        let (nanoseconds, record_header) = match number {
            0xa1b2_c3d4 => (false, 16),
            0xa1b2_3c4d => (true, 16),
            0xa1b2_cd34 => (false, 24),
            _ => return None,
        };
        Some(CaptureFormat::Classic(Classic {
            big_endian,
            nanoseconds,
            record_header,
        }))
    };
    if magic == [0x0a, 0x0d, 0x0d, 0x0a] {
        let order = head.get(8..12)?;
        return matches!(order, [0x1a, 0x2b, 0x3c, 0x4d] | [0x4d, 0x3c, 0x2b, 0x1a])
            .then_some(CaptureFormat::Pcapng);
    }
    classic(true, u32::from_be_bytes(magic)).or_else(|| classic(false, u32::from_le_bytes(magic)))
}

/// Whether a file with these first bytes is a capture, compressed or not.
pub fn sniff(first_bytes: &[u8]) -> bool {
    format(&compression::unpacked_head(first_bytes, SHORTEST)).is_some()
}

/// What a file that is no capture seems to be, and what can be done about it.
pub(super) fn describe(head: &[u8]) -> (&'static str, &'static str) {
    const RECORD: &str = "record packets with 'tcpdump -w FILE' and give that file";
    if let Some(Foreign { seems, remedy }) = foreign(head) {
        return (seems, remedy);
    }
    match head {
        [] => ("is empty", RECORD),
        _ if head.len() < SHORTEST && format(head).is_some() => (
            "is a capture cut inside its first header",
            "record or copy it again",
        ),
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => ("is a damaged pcapng capture", "record or copy it again"),
        _ if head
            .iter()
            .all(|byte| matches!(byte, 9 | 10 | 13 | 0x20..=0x7e | 0x80..)) =>
        {
            (
                "is text",
                "a capture is binary: the output of 'tcpdump -w', not what tcpdump prints",
            )
        }
        _ => ("is of an unknown format", RECORD),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn captures_are_told_by_their_first_bytes() {
        let pcap = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
        assert!(sniff(&pcap));
        assert!(sniff(&[0xa1, 0xb2, 0x3c, 0x4d]));
        assert!(sniff(b"\x0a\x0d\x0d\x0a\0\0\0\x1c\x1a\x2b\x3c\x4d"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&pcap).unwrap();
        assert!(sniff(&gzip.finish().unwrap()));
        assert!(sniff(&zstd::encode_all(&pcap[..], 1).unwrap()));
        assert!(!sniff(b""));
        assert!(!sniff(b"1234 connect(3, ...) = 0"));
        assert!(!sniff(&zstd::encode_all(&b"text"[..], 1).unwrap()));
    }
}
