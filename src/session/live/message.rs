//! What the tracing process sends to the analysis process: records of a tag, a length and a payload.
//!
//! The reader believes nothing: every length has a bound, and a record that does not decode ends the reading.

use crate::case::jsonl::{Footer, Header, RecordGap};
use crate::event::{Event, Op, Task};
use crate::input::drops::DropSpan;
use crate::source::capture::CapturedFrame;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use thiserror::Error;

/// A record's head: the tag, then the payload's length (little-endian).
const HEAD: usize = 5;
/// A frame's head: time, link type, whether and which interface, length on the wire.
const FRAME_HEAD: usize = 8 + 4 + 1 + 4 + 4;
/// How much is read at once.
const CHUNK: usize = 1 << 18;

/// The kinds of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Tag {
    Begin = b'B',
    HostFile = b'H',
    Frame = b'F',
    Event = b'E',
    Waiting = b'W',
    Gap = b'G',
    CapturedBefore = b'U',
    Dropped = b'D',
    Captured = b'C',
    StillOpen = b'S',
    Report = b'R',
    End = b'Z',
}

impl Tag {
    const ALL: [Self; 12] = [
        Self::Begin,
        Self::HostFile,
        Self::Frame,
        Self::Event,
        Self::Waiting,
        Self::Gap,
        Self::CapturedBefore,
        Self::Dropped,
        Self::Captured,
        Self::StillOpen,
        Self::Report,
        Self::End,
    ];

    /// The longest payload. Longer ones are not sent, and not believed.
    fn longest(self) -> usize {
        match self {
            // libpcap's largest snap length.
            Self::Frame => FRAME_HEAD + (1 << 18),
            // A line of trace.jsonl.
            Self::Event => 4 << 20,
            // `bounded::LONGEST`, and the name.
            Self::HostFile => (8 << 20) + 64,
            Self::Begin | Self::Waiting | Self::End => 16 << 20,
            Self::Gap
            | Self::CapturedBefore
            | Self::Dropped
            | Self::Captured
            | Self::StillOpen
            | Self::Report => 1 << 16,
        }
    }
}

/// The first record.
#[derive(Debug, Serialize, Deserialize)]
pub struct Begin {
    /// The header of the trace.
    pub header: Header,
    /// The link type of the capture, where there is one.
    pub link: Option<i32>,
}

/// Calls that have not returned.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnreturnedCalls {
    /// When they were looked at.
    pub now: Timestamp,
    /// They are all that there are: every call that began before either was reported or is here.
    pub all: bool,
    /// Who waits, since when, for what.
    pub open: Vec<(Task, Timestamp, Op)>,
}

/// How the capture ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Captured {
    /// Packets that kernel and interface dropped, where they say.
    pub dropped: Option<u64>,
    /// Why it broke off.
    pub error: Option<String>,
}

/// Whether a watched process still has a socket that it waited for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct StillOpen {
    /// The kernel's name for the socket.
    pub cookie: u64,
    /// It has.
    pub open: bool,
    /// A thread waits for it, where that can be seen.
    pub waited_for: Option<bool>,
    /// When that was seen.
    pub at: Timestamp,
}

/// A record.
#[derive(Debug)]
pub enum Record<'a> {
    /// The first.
    Begin(Box<Begin>),
    /// A configuration file as the command sees it: its name and its bytes.
    HostFile(&'a str, &'a [u8]),
    /// A captured frame.
    Frame(CapturedFrame<'a>),
    /// A traced event: its line in the trace, and what that says.
    Event(Box<Event>),
    /// What is waited for.
    Waiting(UnreturnedCalls),
    /// What was not sent because too much was waiting to be sent.
    Gap(RecordGap),
    /// Frames from before this have all been sent, or counted as missing.
    CapturedBefore(Timestamp),
    /// Packets were dropped while capturing.
    Dropped(DropSpan),
    /// The capture has ended.
    Captured(Captured),
    /// A watched process has a socket still, or not any more.
    StillOpen(StillOpen),
    /// The command has ended and others run on: time for the report.
    Report,
    /// Everything has ended.
    End(Box<Footer>),
}

/// Why the records cannot be read on.
#[derive(Debug, Error)]
pub enum Damage {
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A record that no presyn of this version sends.
    #[error("an unknown or overlong record ({tag:#04x}, {length} bytes)")]
    Head {
        /// Its tag.
        tag: u8,
        /// Its length.
        length: usize,
    },
    /// A payload that does not decode.
    #[error("a record that does not decode: {0}")]
    Payload(#[from] serde_json::Error),
    /// A payload that is too short.
    #[error("a record that is cut short")]
    Short,
}

/// Appends a record whose payload `write` makes; false, and nothing is appended, when it fails or is too long.
fn append(
    to: &mut Vec<u8>,
    tag: Tag,
    write: impl FnOnce(&mut Vec<u8>) -> serde_json::Result<()>,
) -> bool {
    let begin = to.len();
    to.push(tag as u8);
    to.extend([0; 4]);
    let written = write(to);
    let length = to.len() - begin - HEAD;
    match (written, u32::try_from(length)) {
        (Ok(()), Ok(short)) if length <= tag.longest() => {
            to[begin + 1..begin + HEAD].copy_from_slice(&short.to_le_bytes());
            true
        }
        _ => {
            to.truncate(begin);
            false
        }
    }
}

/// Appends the first record.
pub fn begin(to: &mut Vec<u8>, begin: &Begin) -> bool {
    append(to, Tag::Begin, |to| serde_json::to_writer(to, begin))
}

/// Appends a configuration file.
pub fn host_file(to: &mut Vec<u8>, name: &str, text: &str) -> bool {
    append(to, Tag::HostFile, |to| {
        to.extend(name.as_bytes());
        to.push(0);
        to.extend(text.as_bytes());
        Ok(())
    })
}

/// Appends a frame.
pub fn frame(to: &mut Vec<u8>, frame: &CapturedFrame<'_>) -> bool {
    append(to, Tag::Frame, |to| {
        to.extend(frame.at.0.to_le_bytes());
        to.extend(frame.link.to_le_bytes());
        to.push(u8::from(frame.interface.is_some()));
        to.extend(frame.interface.unwrap_or(0).to_le_bytes());
        to.extend(frame.original_length.to_le_bytes());
        to.extend(frame.data);
        Ok(())
    })
}

/// Appends an event.
pub fn event(to: &mut Vec<u8>, event: &Event) -> bool {
    append(to, Tag::Event, |to| serde_json::to_writer(to, event))
}

/// Appends what is waited for.
pub fn waiting(to: &mut Vec<u8>, waiting: &UnreturnedCalls) -> bool {
    append(to, Tag::Waiting, |to| serde_json::to_writer(to, waiting))
}

/// Appends a gap.
pub fn gap(to: &mut Vec<u8>, gap: &RecordGap) -> bool {
    append(to, Tag::Gap, |to| serde_json::to_writer(to, gap))
}

/// Appends how far the capture was read.
pub fn captured_before(to: &mut Vec<u8>, at: Timestamp) -> bool {
    append(to, Tag::CapturedBefore, |to| {
        to.extend(at.0.to_le_bytes());
        Ok(())
    })
}

/// Appends the time of drops.
pub fn dropped(to: &mut Vec<u8>, span: &DropSpan) -> bool {
    append(to, Tag::Dropped, |to| serde_json::to_writer(to, span))
}

/// Appends the capture's end.
pub fn captured(to: &mut Vec<u8>, captured: &Captured) -> bool {
    append(to, Tag::Captured, |to| serde_json::to_writer(to, captured))
}

/// Appends whether a socket is still open.
pub fn still_open(to: &mut Vec<u8>, still: &StillOpen) -> bool {
    append(to, Tag::StillOpen, |to| serde_json::to_writer(to, still))
}

/// Appends the wish for a report.
pub fn report(to: &mut Vec<u8>) -> bool {
    append(to, Tag::Report, |_| Ok(()))
}

/// Appends the last record.
pub fn end(to: &mut Vec<u8>, footer: &Footer) -> bool {
    append(to, Tag::End, |to| serde_json::to_writer(to, footer))
}

/// Records as they come out of a stream.
#[derive(Debug, Default)]
pub struct Records {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl Records {
    /// Reads more, once. Returns false at the stream's end.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<bool> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + CHUNK, 0);
        let got = loop {
            match from.read(&mut self.bytes[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.bytes
            .truncate(before + got.as_ref().map_or(0, |got| *got));
        got.map(|got| got > 0)
    }

    /// The next record that is here whole.
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Damage> {
        let rest = &self.bytes[self.taken..];
        let Some((head, after)) = rest.split_at_checked(HEAD) else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let tag = Tag::ALL.into_iter().find(|tag| *tag as u8 == head[0]);
        let Some(tag) = tag.filter(|tag| length <= tag.longest()) else {
            let tag = head[0];
            return Err(Damage::Head { tag, length });
        };
        let Some(payload) = after.get(..length) else {
            return Ok(None);
        };
        self.taken += HEAD + length;
        decode(tag, payload).map(Some)
    }
}

fn decode(tag: Tag, payload: &[u8]) -> Result<Record<'_>, Damage> {
    Ok(match tag {
        Tag::Begin => Record::Begin(serde_json::from_slice(payload)?),
        Tag::HostFile => {
            let end = payload.iter().position(|b| *b == 0).ok_or(Damage::Short)?;
            let name = std::str::from_utf8(&payload[..end]).map_err(|_| Damage::Short)?;
            Record::HostFile(name, &payload[end + 1..])
        }
        Tag::Frame => Record::Frame(decode_frame(payload).ok_or(Damage::Short)?),
        Tag::Event => Record::Event(serde_json::from_slice(payload)?),
        Tag::Waiting => Record::Waiting(serde_json::from_slice(payload)?),
        Tag::Gap => Record::Gap(serde_json::from_slice(payload)?),
        Tag::CapturedBefore => {
            let (at, _) = payload.split_first_chunk().ok_or(Damage::Short)?;
            Record::CapturedBefore(Timestamp(i64::from_le_bytes(*at)))
        }
        Tag::Dropped => Record::Dropped(serde_json::from_slice(payload)?),
        Tag::Captured => Record::Captured(serde_json::from_slice(payload)?),
        Tag::StillOpen => Record::StillOpen(serde_json::from_slice(payload)?),
        Tag::Report => Record::Report,
        Tag::End => Record::End(serde_json::from_slice(payload)?),
    })
}

fn decode_frame(payload: &[u8]) -> Option<CapturedFrame<'_>> {
    let (at, rest) = payload.split_first_chunk()?;
    let (link, rest) = rest.split_first_chunk()?;
    let (is_known, rest) = rest.split_first()?;
    let (interface, rest) = rest.split_first_chunk()?;
    let (original_length, data) = rest.split_first_chunk()?;
    Some(CapturedFrame {
        at: Timestamp(i64::from_le_bytes(*at)),
        link: i32::from_le_bytes(*link),
        interface: (*is_known != 0).then(|| u32::from_le_bytes(*interface)),
        data,
        original_length: u32::from_le_bytes(*original_length),
    })
}

/// Writes as much as a descriptor that does not block takes. Returns false once its reader is gone.
pub fn write_some(bytes: &[u8], sent: &mut usize, to: &mut impl Write) -> bool {
    while *sent < bytes.len() {
        match to.write(&bytes[*sent..]) {
            Ok(0) => return false,
            Ok(count) => *sent += count,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => return true,
                _ => return false,
            },
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, Lifecycle, LifecycleChange, Location};

    fn all(bytes: &[u8]) -> (Vec<String>, Option<Damage>) {
        let mut records = Records::default();
        let mut from = bytes;
        let mut seen = Vec::new();
        loop {
            match records.next() {
                Ok(Some(message)) => {
                    seen.push(format!("{message:?}"));
                    continue;
                }
                Ok(None) => {}
                Err(damage) => return (seen, Some(damage)),
            }
            if !records.fill(&mut from).unwrap() {
                return (seen, None);
            }
        }
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let frame_in = CapturedFrame {
            at: Timestamp(-5),
            link: 276,
            interface: Some(3),
            data: &[7; 300],
            original_length: 1_500,
        };
        let event_in = Event {
            at: Timestamp(9),
            place: Location {
                input: 1,
                number: 2,
            },
            what: EventKind::Life(Box::new(Lifecycle {
                task: Task::default(),
                change: LifecycleChange::Exited(3),
            })),
        };
        let mut bytes = Vec::new();
        assert!(host_file(&mut bytes, "hosts", "127.0.0.1 a\0b\n"));
        assert!(frame(&mut bytes, &frame_in));
        assert!(event(&mut bytes, &event_in));
        assert!(captured_before(&mut bytes, Timestamp(8)));
        assert!(report(&mut bytes));
        assert!(end(&mut bytes, &Footer::default()));
        let (seen, damage) = all(&bytes);
        assert!(damage.is_none());
        assert_eq!(seen.len(), 6, "{seen:?}");
        assert_eq!(seen[1], format!("{:?}", Record::Frame(frame_in)));
        assert_eq!(seen[2], format!("{:?}", Record::Event(Box::new(event_in))));
        // Cut anywhere: what is whole comes out, and nothing else.
        for length in 0..bytes.len() {
            let (part, damage) = all(&bytes[..length]);
            assert!(damage.is_none() && part.len() < 6);
            assert_eq!(part[..], seen[..part.len()]);
        }
    }

    #[test]
    fn nothing_is_believed() {
        let whole = |tag: u8, payload: &[u8]| {
            let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
            [&[tag], &length[..], payload].concat()
        };
        for bytes in [
            vec![b'E', 0xff, 0xff, 0xff, 0xff],
            vec![b'?', 0, 0, 0, 0],
            whole(b'E', b"{}"),
            whole(b'F', &[0; 20]),
            whole(b'U', &[0; 7]),
            whole(b'H', b"no name"),
        ] {
            assert!(all(&bytes).1.is_some(), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let mut bytes = vec![1];
        let text = "x".repeat(9 << 20);
        assert!(!host_file(&mut bytes, "hosts", &text));
        assert_eq!(bytes, [1]);
    }
}
