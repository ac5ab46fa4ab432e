//! Writes `packets.pcap`: a classic pcap file with nanoseconds
//! (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>).

use super::CapturedFrame;
use crate::append::{Appender, Loss};
use crate::time::SECOND;
use crate::time::Timestamp;
use std::fs::File;

/// Magic number of the nanosecond variant, in the writer's byte order.
const MAGIC: u32 = 0xa1b2_3c4d;
const VERSION: [u16; 2] = [2, 4];
/// The largest frame that tcpdump expects.
const SNAPLEN: u32 = 262_144;

/// A capture file that grows frame by frame; [`flush`](Self::flush) when a batch is over. Once the disk is full, frames
/// are counted.
#[derive(Debug)]
pub struct PcapWriter {
    to: Appender,
}

impl PcapWriter {
    /// Begins a file. All frames must have this link type.
    pub fn new(file: File, link: i32) -> Self {
        let mut to = Appender::new(file, 0);
        to.push(Timestamp::default(), |out| {
            out.extend(MAGIC.to_ne_bytes());
            out.extend(VERSION.map(u16::to_ne_bytes).concat());
            // Time zone and accuracy: always 0.
            out.extend([0; 8]);
            out.extend(SNAPLEN.to_ne_bytes());
            out.extend(link.to_ne_bytes());
            Ok(())
        });
        to.flush();
        Self { to }
    }

    /// Adds a frame, trimmed to what is to be stored.
    pub fn write(&mut self, frame: &CapturedFrame<'_>) {
        let seconds = u32::try_from(frame.at.0.div_euclid(SECOND)).unwrap_or(0);
        let nanos = u32::try_from(frame.at.0.rem_euclid(SECOND)).unwrap_or(0);
        let length = u32::try_from(frame.data.len()).unwrap_or(SNAPLEN);
        let header = [seconds, nanos, length, frame.original_length];
        self.to.push(frame.at, |out| {
            out.extend(header.map(u32::to_ne_bytes).concat());
            out.extend(frame.data);
            Ok(())
        });
    }

    /// Everything written so far is in the file.
    pub fn flush(&mut self) {
        self.to.flush();
    }

    /// What the file lacks.
    pub fn loss(&self) -> Option<&Loss> {
        self.to.loss()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libpcap_reads_it_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = PcapWriter::new(file.reopen().unwrap(), 101);
        let mut data = vec![0u8; 40];
        (data[0], data[9], data[32]) = (0x45, 6, 5 << 4);
        let frame = CapturedFrame {
            at: Timestamp(1_700_000_000_123_456_789),
            link: 101,
            interface: None,
            data: &data,
            original_length: 1500,
        };
        writer.write(&frame);
        writer.flush();
        let mut read =
            pcap::Capture::from_file_with_precision(file.path(), pcap::Precision::Nano).unwrap();
        assert_eq!(
            read.get_datalink().0,
            12,
            "DLT_RAW is LINKTYPE_RAW on Linux"
        );
        let packet = read.next_packet().unwrap();
        assert_eq!((packet.header.caplen, packet.header.len), (40, 1500));
        assert_eq!(packet.header.ts.tv_usec, 123_456_789);
        assert!(read.next_packet().is_err());
    }
}
