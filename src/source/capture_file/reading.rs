//! What the formats have in common: frames go to the decoder, damage goes to the facts.

use super::buffer::ReadWindow;
use super::filter::Filter;
use crate::decode::packet::{Counters, DecodeOptions, Decoder, RawFrame};
use crate::event::{Event, EventKind, Location};
use crate::input::CaptureFacts;
use crate::input::drops::DropSpan;
use crate::input::selection::Selector;
use crate::time::{Span, Timestamp};
use std::io::Read;

/// How many warnings one file may give.
const MAX_WARNINGS: usize = 20;

/// Captures of several queues or hooks step back by microseconds: the order of the file is then that of the packets.
const STEP_BACK: Span = Span::millis(1);

/// Stamps of one capture that are further apart are not of one clock.
const ONE_CLOCK: Span = Span::seconds(366 * 86_400);

/// A file being read.
pub(crate) struct Reading<'a> {
    pub facts: CaptureFacts,
    pub decoder: Decoder,
    pub(super) filter: Option<Filter>,
    /// What the user wants of it.
    pub(super) selector: Selector,
    pub sink: &'a mut dyn FnMut(Event),
    more_warnings: u64,
    /// Packets whose stamps are far from the first one's.
    far: u64,
    /// Packets whose stamps have more than a second in their fractions.
    overfull: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        facts: CaptureFacts,
        decoder: Decoder,
        filter: Option<Filter>,
        sink: &'a mut dyn FnMut(Event),
    ) -> Self {
        Self {
            facts,
            decoder,
            filter,
            selector: Selector::default(),
            sink,
            more_warnings: 0,
            far: 0,
            overfull: 0,
        }
    }

    /// Frames that are being captured rather than read.
    pub fn live(facts: CaptureFacts, dns_ports: &[u16], sink: &'a mut dyn FnMut(Event)) -> Self {
        let decoder = Decoder::new(DecodeOptions {
            dns_ports: dns_ports.to_vec(),
            ..DecodeOptions::default()
        });
        Self::new(facts, decoder, None, sink)
    }

    /// Counts a stamp that cannot be right.
    pub fn check_fraction(&mut self, is_right: bool) {
        self.overfull += u64::from(!is_right);
    }

    /// Takes one frame.
    pub fn frame(&mut self, frame: RawFrame<'_>) {
        self.facts.packets += 1;
        if !self.selector.is_time(frame.at) {
            return;
        }
        let at = self.stamped(frame.at);
        let there = u32::try_from(frame.data.len()).unwrap_or(u32::MAX);
        if there < frame.original_length {
            self.facts.cut_packets += 1;
            self.facts.snaplen = self.facts.snaplen.max(Some(there));
        }
        if let Some(filter) = &mut self.filter
            && !filter.keeps(frame.link, frame.data)
        {
            return;
        }
        let place = Location {
            input: self.facts.input,
            number: self.facts.packets,
        };
        let (sink, selector) = (&mut *self.sink, &mut self.selector);
        self.decoder
            .decode(RawFrame { at, ..frame }, &mut |packet| {
                if !selector.keeps(&packet) {
                    return;
                }
                sink(Event {
                    at,
                    place,
                    what: EventKind::Packet(packet),
                });
            });
    }

    /// The time of the next frame: a small step back is none.
    fn stamped(&mut self, at: Timestamp) -> Timestamp {
        let first = *self.facts.first.get_or_insert(at);
        let last = self.facts.last.unwrap_or(at);
        let at = if last > at && last - at <= STEP_BACK {
            last
        } else {
            at
        };
        self.far += u64::from((at - first).abs() > ONE_CLOCK);
        self.facts.last = Some(at);
        at
    }

    /// Time of the last frame.
    pub fn last(&self) -> Timestamp {
        self.facts.last.unwrap_or_default()
    }

    /// How many packets the file says were dropped, and when the last of them were.
    pub fn dropped(&mut self, count: u64, last: Option<DropSpan>) {
        self.facts.dropped = Some(count);
        if let Some(last) = last {
            self.facts.drop_times.add(last);
        }
    }

    /// Whether a time can be the capture's beginning: no packet so far is earlier.
    pub fn is_before_all(&self, at: Timestamp) -> bool {
        self.facts.first.is_none_or(|first| at <= first)
    }

    /// Whether what has this time can have been written behind the packets so far.
    pub fn is_behind(&self, at: Timestamp) -> bool {
        self.facts.last.is_none_or(|last| at >= last - STEP_BACK)
    }

    /// Adds a warning about the whole file.
    pub fn warn(&mut self, problem: &str) {
        if self.facts.warnings.len() < MAX_WARNINGS {
            self.facts
                .warnings
                .push(format!("{}: {problem}", self.facts.path));
        } else {
            self.more_warnings += 1;
        }
    }

    /// Says that the packet after those read cannot be read.
    pub fn damage(&mut self, offset: u64, problem: &str) {
        self.facts.damaged = true;
        let number = self.facts.packets + 1;
        self.warn(&format!("packet {number} at byte {offset}: {problem}"));
    }

    /// Says that this frame cannot be read, and counts it, so that numbers stay Wireshark's.
    pub fn damaged_frame(&mut self, offset: u64, problem: &str) {
        self.damage(offset, problem);
        self.facts.packets += 1;
        self.facts.undecodable += 1;
    }

    /// Says that the file ended, or could not be read further, where it should not.
    pub(super) fn ended_early<R: Read>(&mut self, buffer: &ReadWindow<R>, problem: &str) {
        match buffer.failure() {
            Some(error) => self.damage(buffer.offset(), &format!("{problem} ({error})")),
            None => self.damage(buffer.offset(), problem),
        }
    }

    /// The facts, with everything that was counted on the way.
    pub fn finish(mut self) -> CaptureFacts {
        let counters = self.decoder.counters();
        self.facts.undecodable += counters.undecodable;
        self.facts.duplicates = counters.duplicates;
        self.facts.cut_messages = counters.cut_messages;
        self.facts.hidden_messages = counters.hidden_messages;
        self.warn_of_stamps();
        if let Some(snaplen) = self.facts.snaplen.filter(|_| counters.cut_messages > 0) {
            let cut = counted(
                counters.cut_messages,
                "DNS message was",
                "DNS messages were",
            );
            self.warn(&format!(
                "{cut} cut by the snapshot length ({snaplen} bytes): names may be missing or cut; record with \
                 'tcpdump -s 0'"
            ));
        }
        self.warn_of_unread(&counters);
        if counters.incomplete_datagrams > 0 {
            self.warn(&format!(
                "{} fragmented datagrams are not complete in the capture (a filter by port drops all \
                 fragments but the first)",
                counters.incomplete_datagrams
            ));
        }
        if counters.bounds > 0 {
            self.warn(&format!(
                "{} fragments, parts of TCP streams or nested packets were lost or too many",
                counters.bounds
            ));
        }
        if self.more_warnings > 0 {
            let more = format!("{}: {} more warnings", self.facts.path, self.more_warnings);
            self.facts.warnings.push(more);
        }
        self.facts
    }

    /// Warns of time stamps that cannot be right.
    fn warn_of_stamps(&mut self) {
        if self.far > 0 {
            let packets = counted(self.far, "packet is", "packets are");
            self.warn(&format!(
                "{packets} stamped more than a year from the first: their clock was set or damaged"
            ));
        }
        if self.overfull > 0 {
            let packets = counted(self.overfull, "packet has", "packets have");
            self.warn(&format!(
                "{packets} a fraction of a second or more in the time stamp, which cannot be: times beside them may be \
                 wrong by a second"
            ));
        }
    }

    /// Warns of packets that no layer reads: of other protocols, of link types that are not known, or that the filter
    /// cannot be used on.
    fn warn_of_unread(&mut self, counters: &Counters) {
        for (name, count) in &counters.unread {
            self.facts.unread.push(((*name).to_owned(), *count));
            self.warn(&format!("{count} packets not read: {name}"));
        }
        for (link, count) in &counters.unsupported {
            let name = link_name(*link);
            self.facts
                .unread
                .push((format!("link type {link}{name}"), *count));
            self.warn(&format!(
                "{count} packets not read: presyn does not know link type {link}{name}"
            ));
        }
        let refused: Vec<i32> = self.filter.iter().flat_map(Filter::refused).collect();
        for link in refused {
            let name = link_name(link);
            self.warn(&format!(
                "packets of link type {link}{name} not read: the filter cannot be used on them"
            ));
        }
    }
}

/// A number and its noun, with what it did.
fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// libpcap's name of a link type, in brackets.
fn link_name(link: i32) -> String {
    pcap::Linktype(link)
        .get_name()
        .map(|name| format!(" ({name})"))
        .unwrap_or_default()
}
