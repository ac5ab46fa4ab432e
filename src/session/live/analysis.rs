//! What the analysis process does: it decodes packets, stores everything, says what is waited for, and makes the
//! report. It works with what came through its stream and the descriptors that it was given, and can reach nothing else
//! ([`super::confine`]).

use super::super::in_order::InOrder;
use super::attach::ask::Ask;
use super::attach::asking::Asker;
use super::attach::long_waits::LongWaits;
use super::message::{Begin, Captured, Record, Records, UnreturnedCalls};
use super::process::{CaseFiles, REPORTED};
use super::waits::WaitProgress;
use super::{Listener, named};
use crate::case::jsonl::{self, Footer, Missing, RecordGap};
use crate::case::writer::EventWriter;
use crate::case::{PACKETS, TRACE};
use crate::decode::packet::{self, RawFrame, trimmed_length};
use crate::decode::resolv_conf::ResolvConf;
use crate::event::{Event, EventKind, Location};
use crate::eviction::{Eviction, EvictionSetup};
use crate::input::drops::{DropSpan, DropTimes};
use crate::input::{CaptureFacts, TraceFacts};
use crate::intern::Interner;
use crate::pipeline::retention::Retention;
use crate::pipeline::retention::classify::Classifier;
use crate::pipeline::retention::hold::{HELD, Held, Hold};
use crate::pipeline::{Gathered, Settings};
use crate::source::capture::{CapturedFrame, pcap_writer::PcapWriter};
use crate::source::capture_file::Reading;
use crate::time::{Span, Timestamp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What both processes know about the run before it begins.
#[derive(Clone, Debug)]
pub struct Job {
    /// The case folder, where one is written.
    pub folder: Option<PathBuf>,
    /// Packets are captured.
    pub capture: bool,
    /// What is seen beside packets.
    pub sight: Sight,
    /// Packets of all processes are kept.
    pub others: bool,
    /// Ports that carry DNS.
    pub dns_ports: Vec<u16>,
    /// What the report is to be about, and how much it will hold.
    pub settings: Settings,
}

/// What a run sees beside packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing.
    Packets,
    /// The calls of traced processes.
    Calls,
    /// The sockets of watched processes.
    Sockets {
        /// The watch ends when one of them has waited for so long.
        until_delay: Option<Span>,
    },
}

impl Job {
    fn traces(&self) -> bool {
        self.sight == Sight::Calls
    }

    /// Whether processes are watched.
    pub fn watches(&self) -> bool {
        matches!(self.sight, Sight::Sockets { .. })
    }
}

/// [`HELD`] for poll(2).
const HELD_MILLIS: u16 = 2_000;
const _: () = assert!(HELD.0 == Span::millis(HELD_MILLIS as i64).0);

/// How long the capture may be behind the tracer: two of its timeouts, and the forwarder's pause.
const CAPTURE_BEHIND: Duration = Duration::from_millis(40);

/// Works through the stream to its end. Returns the exit status.
pub fn run(
    mut stream: File,
    files: Option<CaseFiles>,
    asks: Option<File>,
    job: &Job,
    listener: &mut dyn Listener,
) -> u8 {
    let packets = RefCell::new(Vec::new());
    let mut push = |event| packets.borrow_mut().push(event);
    let facts = CaptureFacts {
        path: named(job.folder.as_deref(), PACKETS),
        ..CaptureFacts::default()
    };
    let mut recorder = Recorder::new(job, listener, &packets, files);
    recorder.watch = asks.map(WatchedRun::new);
    recorder.kept.capture = Some(Reading::live(facts, &job.dns_ports, &mut push));
    let mut records = Records::default();
    loop {
        match records.next() {
            Ok(Some(message)) => {
                if let Record::End(footer) = message {
                    return recorder.end(&footer);
                }
                recorder.take(message);
                continue;
            }
            Ok(None) => {}
            Err(damage) => {
                recorder.trouble(&format!("the stream of events cannot be read on: {damage}"));
                return recorder.broke_off();
            }
        }
        recorder.wait(&stream);
        match records.fill(&mut stream) {
            Ok(true) => {}
            // The tracing process was killed, or could not start.
            Ok(false) | Err(_) => return recorder.broke_off(),
        }
    }
}

/// What the analysis process knows of a watch.
struct WatchedRun {
    asker: Asker,
    waits: LongWaits,
    /// It was said that what was waited for has been seen.
    enough: bool,
}

impl WatchedRun {
    fn new(asks: File) -> Self {
        Self {
            asker: Asker::new(asks),
            waits: LongWaits::default(),
            enough: false,
        }
    }
}

struct Recorder<'a> {
    job: &'a Job,
    listener: &'a mut dyn Listener,
    /// What waits until it is known whose it is.
    hold: Hold,
    classifier: Classifier,
    kept: RetainedFrames<'a>,
    /// What time it was when the latest record was made.
    now: Timestamp,
    /// Frames from before this have come.
    captured_before: Timestamp,
    /// How many packets kernel and interface dropped, and when: also what did not get here.
    dropped: Option<u64>,
    drop_times: DropTimes,
    /// Where frames are stored.
    stored: Option<File>,
    /// Packets and traced events that wait for each other.
    order: InOrder,
    /// What the report will be made of; nothing once it is made.
    retained: Option<Eviction>,
    shared: Interner,
    trace: TraceFacts,
    logs: Option<(File, File)>,
    writer: Option<EventWriter>,
    /// Why the capture ended before the command did.
    capture_ended: Option<String>,
    /// What the saved case lacks.
    lacks: Vec<String>,
    progress: WaitProgress,
    /// Of a watch.
    watch: Option<WatchedRun>,
    begin: Option<Box<Begin>>,
    resolv_conf: Option<String>,
    hosts: Option<String>,
    /// What is missing from the stream: the first parts, how many there are, and the packets in all of them.
    gaps: Vec<RecordGap>,
    gap_count: u64,
    packets_missing: u64,
    /// When the report is made that the command's end asks for.
    due: Option<Instant>,
    reported: bool,
    failed: bool,
}

/// Frames that stay: decoded for the report, and in the case.
struct RetainedFrames<'a> {
    link: i32,
    /// Packets just decoded, and what decodes them.
    packets: &'a RefCell<Vec<Event>>,
    capture: Option<Reading<'a>>,
    pcap: Option<PcapWriter>,
    unflushed: bool,
}

impl RetainedFrames<'_> {
    /// Takes one, trimmed to what is stored, so that the case reads back the same.
    fn frame(&mut self, held: &Held, data: &[u8]) {
        let frame = CapturedFrame {
            at: held.at,
            link: self.link,
            interface: held.interface,
            data,
            original_length: held.original_length,
        };
        if let Some(capture) = &mut self.capture {
            capture.frame(RawFrame {
                at: frame.at,
                link: frame.link,
                interface: frame.interface,
                data: frame.data,
                original_length: frame.original_length,
            });
        }
        if let Some(pcap) = &mut self.pcap {
            self.unflushed = true;
            pcap.write(&frame);
        }
    }

    fn flush(&mut self) {
        if std::mem::take(&mut self.unflushed)
            && let Some(pcap) = &mut self.pcap
        {
            pcap.flush();
        }
    }
}

impl<'a> Recorder<'a> {
    fn new(
        job: &'a Job,
        listener: &'a mut dyn Listener,
        packets: &'a RefCell<Vec<Event>>,
        files: Option<CaseFiles>,
    ) -> Self {
        let (stored, logs) = files.map_or((None, None), |f| (f.packets, Some(f.logs)));
        let path = named(job.folder.as_deref(), TRACE);
        Self {
            job,
            listener,
            hold: Hold::new(Retention::new(job.others || job.sight == Sight::Packets)),
            classifier: Classifier::new(&job.dns_ports),
            kept: RetainedFrames {
                link: 0,
                packets,
                capture: None,
                pcap: None,
                unflushed: false,
            },
            now: Timestamp::default(),
            captured_before: if job.capture {
                Timestamp::default()
            } else {
                Timestamp(i64::MAX)
            },
            dropped: None,
            drop_times: DropTimes::default(),
            stored,
            order: InOrder::new(job.capture, job.sight != Sight::Packets),
            retained: None,
            shared: Interner::default(),
            trace: jsonl::facts(&path, u16::from(job.capture)),
            logs,
            writer: None,
            capture_ended: None,
            lacks: Vec::new(),
            progress: WaitProgress::default(),
            watch: None,
            begin: None,
            resolv_conf: None,
            hosts: None,
            gaps: Vec::new(),
            gap_count: 0,
            packets_missing: 0,
            due: None,
            reported: false,
            failed: false,
        }
    }

    fn take(&mut self, message: Record<'_>) {
        match message {
            Record::Begin(begin) => self.begin(begin),
            Record::HostFile(name, text) => {
                let text = String::from_utf8_lossy(text).into_owned();
                match name {
                    "resolv.conf" => self.resolv_conf = Some(text),
                    "hosts" => self.hosts = Some(text),
                    _ => {}
                }
            }
            Record::Frame(frame) => self.frame(&frame),
            Record::Event(event) => self.event(*event),
            Record::Waiting(UnreturnedCalls { now, all, open }) => {
                self.now = now;
                for (_, since, op) in &open {
                    self.hold.rule().note_open(op, *since, now);
                }
                if all {
                    self.hold.reported_until(now);
                }
                self.order.traced_before(now);
                self.release();
                let open = open.iter().map(|(task, since, op)| (task, *since, op));
                for line in self.progress.tick(now, open) {
                    self.listener.line(&line);
                }
            }
            Record::Gap(gap) => self.gap(gap),
            Record::CapturedBefore(at) => {
                self.captured_before = self.captured_before.max(at);
                self.release();
                self.tick_watch();
            }
            Record::StillOpen(still) => {
                if let Some(watch) = &mut self.watch {
                    watch.waits.seen(&still);
                }
            }
            Record::Dropped(span) => self.drop_times.add(span),
            Record::Captured(Captured { dropped, error }) => {
                self.captured_before = Timestamp(i64::MAX);
                self.dropped = dropped;
                if let (Some(capture), Some(error)) = (&mut self.kept.capture, error) {
                    capture.facts.damaged = true;
                    capture.facts.warnings.push(error.clone());
                    self.capture_ended = Some(error);
                }
            }
            Record::Report => self.due = Some(Instant::now() + CAPTURE_BEHIND),
            Record::End(_) => {}
        }
    }

    fn begin(&mut self, begin: Box<Begin>) {
        jsonl::note_header(&mut self.trace, &begin.header);
        if let Some(logs) = self.logs.take() {
            match EventWriter::begin(logs, &begin.header, self.trace.path.clone()) {
                Ok(writer) => self.writer = Some(writer),
                Err(error) => self.trouble(&error.to_string()),
            }
        }
        if let (Some(link), Some(file)) = (begin.link, self.stored.take()) {
            self.kept.pcap = Some(PcapWriter::new(file, link));
        }
        self.begin = Some(begin);
        self.retained = Some(Eviction::new(self.setup()));
    }

    /// What is known of the run before its first event, as it is when the case is read.
    fn setup(&self) -> EvictionSetup {
        let settings = &self.job.settings;
        EvictionSetup {
            dns_ports: settings.dns_ports.clone(),
            resolv_conf: self.resolv_conf.as_deref().map(ResolvConf::parse),
            limits: settings.limits,
            target: settings.target.clone(),
            pids: settings.pids.clone(),
            watched: { self.begin.as_ref() }.and_then(|begin| begin.header.watched()),
            capture: self.job.capture.then(CaptureFacts::default),
            whole: true,
            // As the pipeline has it.
            tolerance: if self.job.capture && !self.is_watch() {
                Span::millis(1)
            } else {
                Span::ZERO
            },
            resolution: None,
        }
    }

    /// Whether processes are watched, and none of their calls is traced.
    fn is_watch(&self) -> bool {
        let header = self.begin.as_ref().map(|begin| &begin.header);
        header.is_some_and(|header| header.watched().is_some())
    }

    fn frame(&mut self, frame: &CapturedFrame<'_>) {
        let length = trimmed_length(frame.link, frame.data, &self.job.dns_ports);
        let data = &frame.data[..length];
        (self.now, self.captured_before) = (frame.at, frame.at);
        self.kept.link = frame.link;
        let keys = self.classifier.keys(packet::RawFrame {
            at: frame.at,
            link: frame.link,
            interface: frame.interface,
            data,
            original_length: frame.original_length,
        });
        if let Some(watch) = &mut self.watch {
            watch.asker.frame(frame, keys);
        }
        let (interface, length) = (frame.interface, frame.original_length);
        self.hold.frame(frame.at, interface, length, (data, keys));
        self.release();
    }

    /// Of a watch: says who waits, asks who does, and lets go what no answer is due for.
    fn tick_watch(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let now = self.captured_before;
        let WatchedRun { asker, waits, .. } = watch;
        asker.send();
        // Without an answer nobody is said to wait.
        let lines = waits.tick(now, &mut |ask| {
            asker.ask(&ask);
        });
        if let Sight::Sockets {
            until_delay: Some(enough),
        } = self.job.sight
            && waits.has_seen(enough, now)
            && !watch.enough
        {
            watch.enough = watch.asker.ask(&Ask::Enough);
        }
        if std::mem::take(&mut watch.asker.not_asked) > 0 {
            self.hold.rule().calls_are_missing();
        }
        let first = watch.asker.first_open().unwrap_or(now).min(now);
        self.order.traced_before(first);
        self.hold.reported_until(first);
        for line in lines {
            self.listener.line(&line);
        }
        self.release();
    }

    /// Keeps or drops what can be decided now, and hands on what is in order.
    fn release(&mut self) {
        if let Some(at) = self.order.crowded() {
            self.hold.hurry_until(at);
        }
        let kept = &mut self.kept;
        self.hold
            .release(self.now, &mut |held, data| kept.frame(held, data));
        self.take_packets();
        self.order
            .captured_before(self.captured_before, self.hold.first());
        while let Some(event) = self.order.next() {
            self.retain(event);
        }
    }

    /// Keeps or drops everything: no call will be reported any more.
    fn release_all(&mut self) {
        let kept = &mut self.kept;
        self.hold.finish(&mut |held, data| kept.frame(held, data));
        kept.flush();
        self.take_packets();
    }

    fn take_packets(&mut self) {
        for mut packet in self.kept.packets.borrow_mut().drain(..) {
            self.shared.event(&mut packet);
            self.order.packet(packet);
        }
    }

    fn retain(&mut self, event: Event) {
        if let Some(watch) = &mut self.watch {
            watch.waits.event(&event);
        }
        if let Some(retained) = &mut self.retained {
            retained.push(event);
        }
    }

    fn event(&mut self, mut event: Event) {
        // What is missing has a line of its own in the trace.
        event.place.number += self.gap_count;
        self.shared.event(&mut event);
        jsonl::note_event(&mut self.trace, &event);
        if let Some(writer) = &self.writer {
            writer.event(&event);
        }
        if let Some(line) = self.progress.event(&event) {
            self.listener.line(&line);
        }
        self.listener.event(&event);
        if let Some(watch) = &mut self.watch {
            watch.asker.answered(&event);
        }
        self.hold.rule().note(&event);
        self.order.call(event);
        self.release();
    }

    fn gap(&mut self, gap: RecordGap) {
        self.gap_count += 1;
        if gap.packets > 0 {
            self.packets_missing += gap.packets;
            self.drop_times.add(DropSpan {
                packets: gap.packets,
                from: gap.from,
                until: gap.until,
            });
        }
        if self.gaps.len() < jsonl::MAX_WARNINGS {
            self.gaps.push(gap);
        }
        if let Some(watch) = self.watch.as_mut().filter(|_| gap.events > 0) {
            watch.asker.lost(gap.until);
        }
        if gap.events > 0 {
            self.hold.rule().calls_are_missing();
        }
        jsonl::note_gap(&mut self.trace, &gap);
        if let Some(writer) = &self.writer {
            writer.gap(gap);
        }
    }

    /// Until there is more to read. What is stored so far is in the files before.
    fn wait(&mut self, stream: &File) {
        let readable = |timeout: PollTimeout| {
            let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, timeout) == Ok(1)
        };
        if readable(PollTimeout::ZERO) && self.due.is_none() {
            return;
        }
        self.kept.flush();
        while let Some(due) = self.due {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.due = None;
                self.report_now();
            } else if readable(PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
                return;
            }
        }
        if !self.hold.is_empty() && !readable(HELD_MILLIS.into()) {
            self.release_all();
        }
    }

    /// The command has ended, others run on.
    fn report_now(&mut self) {
        let mut captures = Vec::new();
        let mut packets = Vec::new();
        if let Some(capture) = self.kept.capture.as_ref().filter(|_| self.job.capture) {
            let mut facts = capture.facts.clone();
            facts.omit(&self.hold.omitted());
            facts.drop_times.clone_from(&self.drop_times);
            // What was dropped since the statistics were read is not known yet.
            facts.dropped = Some(self.drop_times.packets()).filter(|n| *n > 0);
            // What still waits is shown as far as it is known, and waits on.
            let mut decoder = capture.decoder.clone();
            let link = self.kept.link;
            self.hold.look(&mut |held, data| {
                facts.packets += 1;
                facts.last = facts.last.max(Some(held.at));
                let place = Location {
                    input: facts.input,
                    number: facts.packets,
                };
                let frame = packet::RawFrame {
                    at: held.at,
                    link,
                    interface: held.interface,
                    data,
                    original_length: held.original_length,
                };
                decoder.decode(frame, &mut |packet| {
                    packets.push(Event {
                        at: held.at,
                        place,
                        what: EventKind::Packet(packet),
                    });
                });
            });
            captures.push(facts);
        }
        for packet in packets {
            self.order.packet(packet);
        }
        self.report(captures);
    }

    /// Makes the report. What comes later is only stored.
    fn report(&mut self, captures: Vec<CaptureFacts>) {
        while let Some(event) = self.order.last() {
            self.retain(event);
        }
        let mut gathered = self.gathered(captures);
        if let Some(retained) = self.retained.take() {
            gathered.retain(retained.finish());
        }
        self.reported = true;
        self.failed |= !self.listener.report(gathered);
    }

    fn gathered(&self, captures: Vec<CaptureFacts>) -> Gathered {
        let trace = self.job.traces().then(|| self.trace.clone());
        let conf = self.resolv_conf.clone();
        let header = self.begin.as_ref().map(|begin| &begin.header);
        // Those of a trace are its own.
        let own = { self.trace.warnings.iter() }.filter(|_| !self.job.traces());
        Gathered {
            captures,
            traces: trace.map(|facts| (facts, Vec::new())).into_iter().collect(),
            resolv_conf: conf.map(|text| (named(self.job.folder.as_deref(), "resolv.conf"), text)),
            resolver_options: header.map_or_else(Vec::new, jsonl::Header::resolver_options),
            hosts: self.hosts.clone(),
            watched: header.and_then(jsonl::Header::watched),
            run: header.map(jsonl::Header::run),
            started: header.map(|header| header.started),
            one_clock: true,
            remarks: own.chain(&self.lacks).cloned().collect(),
            ..Gathered::default()
        }
    }

    /// The tracing process is gone, or cannot be understood: what came so far is stored, and nothing is reported.
    fn broke_off(mut self) -> u8 {
        self.release_all();
        if let Some(writer) = self.writer.take() {
            let missing = writer.end(None);
            self.incomplete(&missing);
        }
        u8::from(self.failed) * REPORTED
    }

    fn end(mut self, footer: &Footer) -> u8 {
        self.release_all();
        let omitted = self.hold.omitted();
        jsonl::note_remarks(&mut self.trace, footer);
        let packets_lost = self.kept.pcap.take().and_then(|mut pcap| {
            pcap.flush();
            pcap.loss().map(|loss| Missing::new(PACKETS, loss))
        });
        let dropped = match self.dropped {
            Some(dropped) => Some(dropped + self.packets_missing),
            // The capture broke off: what was dropped until then.
            None => Some(self.drop_times.packets()).filter(|n| *n > 0),
        };
        let capture = self.kept.capture.take().filter(|_| self.job.capture);
        let captures: Vec<CaptureFacts> = capture
            .map(|reading| {
                let mut facts = reading.finish();
                facts.dropped = dropped;
                facts.drop_times = std::mem::take(&mut self.drop_times);
                facts.omit(&omitted);
                facts
            })
            .into_iter()
            .collect();
        if let Some(writer) = self.writer.take() {
            let footer = Footer {
                dropped: captures.first().and_then(|c| c.dropped),
                drop_times: captures
                    .first()
                    .map(|c| c.drop_times.clone())
                    .unwrap_or_default(),
                capture_ended: self.capture_ended.take(),
                missing: packets_lost.into_iter().collect(),
                omitted,
                ..footer.clone()
            };
            let missing = writer.end(Some(&footer));
            self.incomplete(&missing);
        }
        if !self.reported {
            self.report(captures);
        }
        u8::from(self.failed) * REPORTED
    }

    /// Says what the saved case lacks, here and in the report.
    fn incomplete(&mut self, missing: &[Missing]) {
        let started = self.begin.as_ref().map(|begin| begin.header.started);
        for missing in missing {
            let words = missing.words(started.unwrap_or_default());
            let line = format!("the saved case is incomplete: {words}");
            self.trouble(&line);
            self.lacks.push(line);
        }
    }

    fn trouble(&mut self, line: &str) {
        self.failed = true;
        self.listener.trouble(line);
    }
}

#[cfg(test)]
mod tests;
