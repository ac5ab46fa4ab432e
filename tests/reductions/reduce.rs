//! Parts of a recorded case, as people have them.

use super::truth::Truth;
use presyn::event::{EventKind, Packet};
use presyn::source::capture_file::{self, CaptureOptions};
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::path::PathBuf;

/// Numbers that are the same in every run (xorshift64*).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % bound
    }
}

/// Something that is taken from the files of a case, or added to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reduction {
    Nothing,
    /// What came after the server connect came up.
    AfterConnect,
    /// Another client of other resolvers is in the capture too.
    Foreign,
    /// No capture; the resolvers' addresses in the log are made unreadable, each in its own way.
    Redacted,
    /// No capture.
    LogOnly,
    /// No `-yy`.
    Bare,
    /// No log.
    CaptureOnly,
    /// Only packets of the client.
    Outbound,
    /// Only packets to the client.
    Inbound,
    NoDns,
    NoTcp,
    /// The first milliseconds are missing.
    Head(u32),
    /// The last milliseconds are missing.
    Tail(u32),
    /// No times in the log.
    Untimed,
    /// The log of one thread alone.
    OneThread,
    /// `grep connect`.
    Connects,
    /// One line of so many is missing.
    Lines(usize),
}

impl Reduction {
    /// One or two.
    pub fn some(random: &mut Random, source: &Source) -> Vec<Self> {
        let one = |random: &mut Random| {
            let part = |random: &mut Random| {
                u32::try_from(random.below(source.lasted_ms().max(1))).unwrap()
            };
            match random.below(17) {
                0 => Self::Nothing,
                1 => Self::AfterConnect,
                2 => Self::Foreign,
                3 => Self::Redacted,
                4 => Self::LogOnly,
                5 => Self::Bare,
                6 => Self::CaptureOnly,
                7 => Self::Outbound,
                8 => Self::Inbound,
                9 => Self::NoDns,
                10 => Self::NoTcp,
                11 => Self::Head(part(random)),
                12 => Self::Tail(part(random)),
                13 => Self::Untimed,
                14 => Self::OneThread,
                15 => Self::Connects,
                _ => Self::Lines(2 + random.below(20)),
            }
        };
        let first = one(random);
        match random.below(2) {
            0 => vec![first],
            _ => vec![first, one(random)],
        }
    }

    /// It takes nothing away that tells what cost the time.
    pub fn is_harmless(&self) -> bool {
        matches!(
            self,
            Self::Nothing
                | Self::AfterConnect
                | Self::Foreign
                | Self::Redacted
                | Self::LogOnly
                | Self::Bare
        )
    }
}

/// A resolver's name after [`Reduction::Redacted`].
pub fn redacted(address: &str) -> String {
    let last = address.rsplit('.').next().unwrap_or(address);
    if address.starts_with("10.0.1.") {
        format!("10.x.x.{last}")
    } else {
        address.to_owned()
    }
}

/// The address behind a name of [`Reduction::Redacted`].
pub fn unredacted(name: &str) -> String {
    name.replace("10.x.x.", "10.0.1.")
}

/// Whether an address is one of [`Reduction::Foreign`].
pub fn is_foreign(address: &str) -> bool {
    address.starts_with("10.0.77.") || address.starts_with("192.168.177.")
}

struct Frame {
    at: i64,
    bytes: Vec<u8>,
    ends: Option<(IpAddr, IpAddr)>,
    dns: bool,
    tcp: bool,
}

/// A recorded case, in parts.
pub struct Source {
    header: Vec<u8>,
    frames: Vec<Frame>,
    lines: Vec<String>,
    connected: i64,
}

/// Files of a reduced case, and the folder that holds them.
pub struct Files {
    pub paths: Vec<PathBuf>,
    _folder: tempfile::TempDir,
}

const CLIENTS: [&str; 2] = ["10.0.1.10", "192.168.110.50"];

impl Source {
    pub fn read(truth: &Truth) -> Self {
        let folder = PathBuf::from("captures").join(truth.case);
        let path = folder.join("packets.pcap");
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes[..4], [0xd4, 0xc3, 0xb2, 0xa1], "microseconds");
        let mut frames: Vec<Frame> = ranges(&bytes)
            .into_iter()
            .map(|range| Frame {
                at: time(&bytes[range.start..]),
                bytes: bytes[range].to_vec(),
                ends: None,
                dns: false,
                tcp: false,
            })
            .collect();
        let mut connected = None;
        let mut sink = |event: presyn::event::Event| {
            let frame = &mut frames[usize::try_from(event.place.number).unwrap() - 1];
            let EventKind::Packet(packet) = &event.what else {
                return;
            };
            frame.ends = packet.flow().map(|f| (f.src.ip, f.dst.ip));
            frame.dns = matches!(packet, Packet::Dns { .. });
            if let Packet::Tcp { flow, flags, .. } = packet {
                frame.tcp = true;
                if flags.syn && flags.ack && flow.src.port != 53 {
                    connected = Some(frame.at);
                }
            }
        };
        capture_file::read(&path, 0, &CaptureOptions::default(), &mut sink).unwrap();
        let log = fs::read_to_string(folder.join("syscalls.strace")).unwrap();
        Self {
            header: bytes[..24].to_vec(),
            connected: connected.unwrap_or(i64::MAX / 2),
            frames,
            lines: log.lines().map(str::to_owned).collect(),
        }
    }

    /// How long the case lasted, by its log.
    pub fn lasted_ms(&self) -> usize {
        let times = || self.lines.iter().filter_map(|l| line_time(l));
        let (Some(first), Some(last)) = (times().min(), times().max()) else {
            return 1;
        };
        usize::try_from((last - first) / 1_000).unwrap()
    }

    /// What is left of it, written to files.
    pub fn reduced(&self, reductions: &[Reduction], other: &Self, random: &mut Random) -> Files {
        let has = |wanted: Reduction| reductions.contains(&wanted);
        let folder = tempfile::tempdir().unwrap();
        let mut paths = Vec::new();
        let no_log = has(Reduction::CaptureOnly);
        let no_capture = has(Reduction::LogOnly) || has(Reduction::Redacted) && !no_log;
        if !no_capture || no_log {
            let mut frames: Vec<(i64, Vec<u8>)> = self
                .frames
                .iter()
                .filter(|f| reductions.iter().all(|r| self.keeps_frame(*r, f)))
                .map(|f| (f.at, f.bytes.clone()))
                .collect();
            if has(Reduction::Foreign) {
                // The capture does not go on for them.
                let times = |f: &(i64, Vec<u8>)| f.0;
                let (first, last) = (
                    frames.first().map_or(0, times),
                    frames.last().map_or(0, times),
                );
                let foreign = other.foreign(first, random);
                frames.extend(foreign.into_iter().filter(|(at, _)| *at <= last));
                frames.sort_by_key(|(at, _)| *at);
            }
            let mut bytes = self.header.clone();
            for (_, frame) in frames {
                bytes.extend(frame);
            }
            let path = folder.path().join("packets.pcap");
            fs::write(&path, bytes).unwrap();
            paths.push(path);
        }
        if !no_log {
            let mut text = String::new();
            let tid = self.lines[random.below(self.lines.len())].split(' ').next();
            for (n, line) in self.lines.iter().enumerate() {
                if reductions.iter().all(|r| self.keeps_line(*r, n, line, tid)) {
                    text.push_str(&changed(line, reductions));
                    text.push('\n');
                }
            }
            let path = folder.path().join("syscalls.strace");
            fs::write(&path, text).unwrap();
            paths.push(path);
        }
        Files {
            paths,
            _folder: folder,
        }
    }

    fn keeps_frame(&self, reduction: Reduction, frame: &Frame) -> bool {
        let client = |ip: &IpAddr| CLIENTS.contains(&ip.to_string().as_str());
        let (first, last) = (
            self.frames.first().map_or(0, |f| f.at),
            self.frames.last().map_or(0, |f| f.at),
        );
        match reduction {
            Reduction::AfterConnect => frame.at <= self.connected + 1_000,
            Reduction::Outbound => frame.ends.is_none_or(|(src, _)| client(&src)),
            Reduction::Inbound => frame.ends.is_none_or(|(_, dst)| client(&dst)),
            Reduction::NoDns => !frame.dns,
            Reduction::NoTcp => !frame.tcp,
            Reduction::Head(ms) => frame.at >= first + i64::from(ms) * 1_000,
            Reduction::Tail(ms) => frame.at <= last - i64::from(ms) * 1_000,
            _ => true,
        }
    }

    fn keeps_line(&self, reduction: Reduction, n: usize, line: &str, tid: Option<&str>) -> bool {
        let times = || self.lines.iter().filter_map(|l| line_time(l));
        let at = line_time(line);
        match reduction {
            Reduction::AfterConnect => at.is_none_or(|at| at <= self.connected + 50_000),
            Reduction::Head(ms) => {
                let first = times().min().unwrap_or(0);
                at.is_none_or(|at| at >= first + i64::from(ms) * 1_000)
            }
            Reduction::Tail(ms) => {
                let last = times().max().unwrap_or(0);
                at.is_none_or(|at| at <= last - i64::from(ms) * 1_000)
            }
            Reduction::OneThread => line.split(' ').next() == tid,
            Reduction::Connects => line.contains("connect"),
            Reduction::Lines(every) => !n.is_multiple_of(every),
            _ => true,
        }
    }

    /// The packets as those of another client of other resolvers and servers, at a time of this capture.
    fn foreign(&self, from: i64, random: &mut Random) -> Vec<(i64, Vec<u8>)> {
        let shift = from + i64::try_from(random.below(5_000_000)).unwrap()
            - self.frames.first().map_or(0, |f| f.at);
        let frames = self.frames.iter().map(|f| {
            let mut bytes = f.bytes.clone();
            for (old, new) in [
                ([10, 0, 1], [10, 0, 77]),
                ([192, 168, 110], [192, 168, 177]),
            ] {
                for at in 16..bytes.len() - 2 {
                    if bytes[at..at + 3] == old {
                        bytes[at..at + 3].copy_from_slice(&new);
                    }
                }
            }
            let at = f.at + shift;
            bytes[..4].copy_from_slice(&u32::try_from(at / 1_000_000).unwrap().to_le_bytes());
            bytes[4..8].copy_from_slice(&u32::try_from(at % 1_000_000).unwrap().to_le_bytes());
            (at, bytes)
        });
        frames.collect()
    }
}

/// The records of a classic capture.
fn ranges(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut list = Vec::new();
    let mut start = 24;
    while let Some(length) = bytes.get(start + 8..).and_then(|b| b.first_chunk()) {
        let end = start + 16 + usize::try_from(u32::from_le_bytes(*length)).unwrap();
        list.push(start..end);
        start = end;
    }
    list
}

/// Microseconds since the epoch.
fn time(record: &[u8]) -> i64 {
    let number = |at: usize| i64::from(u32::from_le_bytes(record[at..at + 4].try_into().unwrap()));
    number(0) * 1_000_000 + number(4)
}

/// A line's time in microseconds since the epoch.
fn line_time(line: &str) -> Option<i64> {
    let (seconds, micros) = line.split(' ').nth(1)?.split_once('.')?;
    Some(seconds.parse::<i64>().ok()? * 1_000_000 + micros.parse::<i64>().ok()?)
}

fn changed(line: &str, reductions: &[Reduction]) -> String {
    let mut line = line.to_owned();
    if reductions.contains(&Reduction::Bare) {
        while let Some(start) = line.find("<UDP").or_else(|| line.find("<TCP")) {
            let end = line[start..]
                .find("]>")
                .map_or(line.len(), |n| start + n + 2);
            line.replace_range(start..end, "");
        }
    }
    if reductions.contains(&Reduction::Redacted) {
        line = line.replace("10.0.1.", "10.x.x.");
    }
    if reductions.contains(&Reduction::Untimed) {
        let mut words = line.splitn(3, ' ');
        let (tid, _, rest) = (words.next(), words.next(), words.next());
        let (tid, mut rest) = (tid.unwrap_or(""), rest.unwrap_or(""));
        if let Some((before, after)) = rest.rsplit_once(" <")
            && after.ends_with('>')
            && after.starts_with(|c: char| c.is_ascii_digit())
        {
            rest = before;
        }
        line = format!("{tid} {rest}");
    }
    line
}
