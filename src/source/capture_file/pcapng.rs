//! pcapng (<https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>).
//!
//! Own, as the classic format is: pcap-parser's reader wants room for every block, also for one that is only passed
//! over, whatever length it claims, and leaves sections, interfaces and statistics to its caller, which is most of this.

use super::buffer::ReadWindow;
use super::reading::Reading;
use crate::decode::packet::RawFrame;
use crate::input::drops::DropSpan;
use crate::time::{SECOND, Timestamp};
use std::collections::BTreeMap;
use std::io::Read;

/// Block types.
mod block {
    pub const SECTION: u32 = 0x0a0d_0d0a;
    pub const INTERFACE: u32 = 1;
    pub const OBSOLETE_PACKET: u32 = 2;
    pub const SIMPLE_PACKET: u32 = 3;
    pub const STATISTICS: u32 = 5;
    pub const ENHANCED_PACKET: u32 = 6;

    /// Whether blocks of this type, of any section, are looked into.
    pub fn is_read(kind: u32) -> bool {
        matches!(
            kind,
            INTERFACE | OBSOLETE_PACKET | SIMPLE_PACKET | STATISTICS | ENHANCED_PACKET
        )
    }
}

/// Option codes of the blocks that use them.
mod option {
    pub const IF_TSRESOL: u16 = 9;
    pub const IF_TSOFFSET: u16 = 14;
    pub const ISB_STARTTIME: u16 = 2;
    pub const ISB_IFDROP: u16 = 5;
    pub const ISB_OSDROP: u16 = 7;
}

/// The longest block that is looked into; longer ones are skipped unless they should hold a packet.
const MAX_BLOCK: usize = 16 << 20;

/// How many interfaces one section may describe.
const MAX_INTERFACES: usize = 65_536;

/// An interface as its description block says.
struct Interface {
    link: i32,
    snaplen: u32,
    resolution: Resolution,
    /// Seconds to add to all times.
    offset: i64,
}

/// What an interface's statistics say.
#[derive(Clone, Copy, Default)]
struct Statistics {
    /// Packets dropped since the capture began.
    dropped: u64,
    /// When the capture began, where they say so.
    began: Option<Timestamp>,
    /// When they were read; `None` where the time cannot be.
    read: Option<Timestamp>,
}

/// Units of time.
enum Resolution {
    /// This many nanoseconds each (1 s to 1 ns).
    Nanos(i64),
    /// This many in a second (finer than 1 ns, or a power of two).
    PerSecond(u128),
}

/// One section: its byte order and interfaces.
#[derive(Default)]
struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// What each of them dropped, by its last statistics.
    drops: BTreeMap<usize, Statistics>,
    /// How many interfaces the sections before it had.
    earlier: usize,
}

/// Reads all blocks. What stops it is said to `reading`.
pub(super) fn read<R: Read>(buffer: &mut ReadWindow<R>, reading: &mut Reading<'_>) {
    let mut section = Section::default();
    let mut dropped: u64 = 0;
    loop {
        if buffer.is_at_end() {
            return;
        }
        let Some(header) = buffer.peek(12).first_chunk::<12>().copied() else {
            return reading.ended_early(buffer, "the file ends inside a block's header");
        };
        if header[..4] == block::SECTION.to_be_bytes() {
            let Some(next) = section.next(&header) else {
                return reading.damage(buffer.offset(), "a section without a byte order");
            };
            section = next;
        }
        let kind = section.long(&header, 0);
        let length = section.long(&header, 4);
        if length < 12 || length % 4 != 0 {
            let problem = format!("implausible block length {length}; stopped reading here");
            return reading.damage(buffer.offset(), &problem);
        }
        if !block::is_read(kind) {
            if !buffer.skip(u64::from(length)) {
                return reading.ended_early(buffer, "the file ends inside a block");
            }
            continue;
        }
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > MAX_BLOCK {
            let problem = format!("block length {length} is too long; stopped reading here");
            return reading.damage(buffer.offset(), &problem);
        }
        let offset = buffer.offset();
        let bytes = buffer.peek(size);
        if bytes.len() < size {
            return reading.ended_early(buffer, "the file ends inside a block");
        }
        if section.long(bytes, size - 4) != length {
            return reading.damage(offset, "a block's two lengths differ; stopped reading here");
        }
        let body = &bytes[8..size - 4];
        match kind {
            block::INTERFACE => section.describe(body),
            block::STATISTICS => {
                if let Some((before, now)) = section.statistics(body, reading) {
                    dropped = dropped.saturating_sub(before.dropped);
                    dropped = dropped.saturating_add(now.dropped);
                    reading.dropped(dropped, now.drops_since(&before));
                }
            }
            _ => match section.packet(kind, body, reading.last()) {
                Ok(frame) => reading.frame(frame),
                Err(problem) => reading.damaged_frame(offset, problem),
            },
        }
        buffer.consume(size);
    }
}

impl Section {
    /// The section that begins with this header, after this one; `None` without a byte order.
    fn next(&self, header: &[u8; 12]) -> Option<Self> {
        let big_endian = match header[8..] {
            [0x1a, 0x2b, 0x3c, 0x4d] => true,
            [0x4d, 0x3c, 0x2b, 0x1a] => false,
            _ => return None,
        };
        Some(Self {
            big_endian,
            interfaces: Vec::new(),
            drops: BTreeMap::new(),
            earlier: self.earlier + self.interfaces.len(),
        })
    }

    fn short(&self, bytes: &[u8], at: usize) -> u16 {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
        let bytes = bytes.copied().unwrap_or_default();
        if self.big_endian {
            u16::from_be_bytes(bytes)
        } else {
            u16::from_le_bytes(bytes)
        }
    }

    fn long(&self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes.get(at..).and_then(<[u8]>::first_chunk);
        let bytes = bytes.copied().unwrap_or_default();
        if self.big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    }

    /// Eight bytes as one number.
    fn number(&self, bytes: &[u8]) -> Option<u64> {
        let bytes = *bytes.first_chunk()?;
        Some(if self.big_endian {
            u64::from_be_bytes(bytes)
        } else {
            u64::from_le_bytes(bytes)
        })
    }

    /// The options of a block: code and value.
    fn options<'b>(&self, mut bytes: &'b [u8]) -> impl Iterator<Item = (u16, &'b [u8])> {
        std::iter::from_fn(move || {
            let code = self.short(bytes, 0);
            let length = usize::from(self.short(bytes, 2));
            let value = bytes.get(4..4 + length)?;
            bytes = bytes
                .get(4 + length.next_multiple_of(4)..)
                .unwrap_or_default();
            // 0 is the end of options.
            (code != 0).then_some((code, value))
        })
    }

    fn describe(&mut self, body: &[u8]) {
        if self.interfaces.len() >= MAX_INTERFACES {
            return;
        }
        let mut interface = Interface {
            link: self.short(body, 0).into(),
            snaplen: self.long(body, 4),
            // Microseconds where nothing else is said.
            resolution: Resolution::Nanos(1000),
            offset: 0,
        };
        for (code, value) in self.options(body.get(8..).unwrap_or_default()) {
            match (code, value) {
                (option::IF_TSRESOL, &[resolution]) => interface.resolution = resolve(resolution),
                (option::IF_TSOFFSET, value) => {
                    interface.offset = self.number(value).unwrap_or(0).cast_signed();
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
    }

    /// Statistics are totals since the capture began: the last of each interface counts. Returns what the interface had
    /// dropped by its last statistics, and by these.
    fn statistics(
        &mut self,
        body: &[u8],
        reading: &Reading<'_>,
    ) -> Option<(Statistics, Statistics)> {
        let id = usize::try_from(self.long(body, 0)).unwrap_or(usize::MAX);
        let interface = self.interfaces.get(id)?;
        let time = |bytes: &[u8]| interface.time(self.units(bytes, 0));
        let (mut dropped, mut began) = (None, None);
        for (code, value) in self.options(body.get(12..).unwrap_or_default()) {
            match code {
                option::ISB_IFDROP | option::ISB_OSDROP => {
                    let count = self.number(value).unwrap_or(0);
                    dropped = Some(count.saturating_add(dropped.unwrap_or(0)));
                }
                option::ISB_STARTTIME => began = Some(time(value)),
                _ => {}
            }
        }
        let read = body.get(4..12).map(time);
        let now = Statistics {
            dropped: dropped?,
            began: began.filter(|began| reading.is_before_all(*began)),
            read: read.filter(|read| reading.is_behind(*read)),
        };
        let before = self.drops.insert(id, now).unwrap_or_default();
        Some((before, now))
    }

    /// A time as two halves.
    fn units(&self, bytes: &[u8], at: usize) -> u64 {
        u64::from(self.long(bytes, at)) << 32 | u64::from(self.long(bytes, at + 4))
    }

    /// The frame in a block with a packet; `last` is the time of the frame before it.
    fn packet<'b>(
        &self,
        kind: u32,
        body: &'b [u8],
        last: Timestamp,
    ) -> Result<RawFrame<'b>, &'static str> {
        let (id, header) = match kind {
            block::ENHANCED_PACKET => (self.long(body, 0), 20),
            block::OBSOLETE_PACKET => (self.short(body, 0).into(), 20),
            _ => (0, 4),
        };
        let id = usize::try_from(id).unwrap_or(usize::MAX);
        let interface = self.interfaces.get(id).ok_or(if id < MAX_INTERFACES {
            "a packet of an interface that no block describes"
        } else {
            "a packet of an interface beyond the first 65536, the most that are read"
        })?;
        let data = body
            .get(header..)
            .ok_or("a packet block without a packet")?;
        let (at, captured, original_length) = if kind == block::SIMPLE_PACKET {
            // It has no time: the last known is the best there is.
            let original = self.long(body, 0);
            let snaplen = match interface.snaplen {
                0 => u32::MAX,
                snaplen => snaplen,
            };
            let there = u32::try_from(data.len()).unwrap_or(u32::MAX);
            (last, original.min(snaplen).min(there), original)
        } else {
            (
                interface.time(self.units(body, 4)),
                self.long(body, 12),
                self.long(body, 16),
            )
        };
        let data = usize::try_from(captured)
            .ok()
            .and_then(|captured| data.get(..captured))
            .ok_or("a packet longer than its block")?;
        Ok(RawFrame {
            at,
            link: interface.link,
            interface: u32::try_from(self.earlier + id).ok(),
            data,
            original_length,
        })
    }
}

/// The `if_tsresol` byte: a negative power of 10, or of 2 if the first bit says so.
fn resolve(byte: u8) -> Resolution {
    let power = u32::from(byte & 0x7f);
    match byte {
        0..=9 => Resolution::Nanos(10_i64.pow(9 - power)),
        // Beyond 10^-38 or 2^-127 no 64-bit count leaves 0.
        10..=0x7f => Resolution::PerSecond(10_u128.checked_pow(power).unwrap_or(u128::MAX)),
        _ => Resolution::PerSecond(1 << power),
    }
}

impl Statistics {
    /// When the interface dropped what these statistics count and those before do not; `None` where it is not known.
    fn drops_since(&self, before: &Self) -> Option<DropSpan> {
        let until = self.read?;
        let packets = self.dropped.saturating_sub(before.dropped);
        // Without the time of statistics before, or of the beginning, it may have been at any time until now.
        let from = before.read.or(self.began).filter(|from| *from <= until);
        (packets > 0).then(|| DropSpan {
            packets,
            from: from.unwrap_or(Timestamp(i64::MIN)),
            until,
        })
    }
}

impl Interface {
    fn time(&self, units: u64) -> Timestamp {
        let nanos = match self.resolution {
            Resolution::Nanos(each) => i128::from(units) * i128::from(each),
            Resolution::PerSecond(parts) => {
                let whole = u128::from(units) * u128::from(SECOND.unsigned_abs());
                i128::try_from(whole / parts).unwrap_or(i128::MAX)
            }
        };
        let nanos = nanos.saturating_add(i128::from(self.offset) * i128::from(SECOND));
        Timestamp(i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX }))
    }
}
