//! What the analysis process does: it decodes packets, stores everything, says what is waited for, and makes the
//! report. It works with what came through its stream and the descriptors that it was given, and can reach nothing else
//! ([`super::confine`]).

use super::message::{Begin, Captured, Record, Records, UnreturnedCalls};
use super::process::{CaseFiles, REPORTED};
use super::waits::WaitProgress;
use super::{Listener, named};
use crate::case::jsonl::{self, Footer, Missing, RecordGap};
use crate::case::writer::EventWriter;
use crate::case::{PACKETS, TRACE};
use crate::decode::packet::{self, RawFrame, trimmed_length};
use crate::event::{Event, EventKind, Location};
use crate::explain::stack::Stacks;
use crate::input::{CaptureFacts, TraceFacts};
use crate::intern::Interner;
use crate::pipeline::Gathered;
use crate::pipeline::retention::Retention;
use crate::pipeline::retention::classify::Classifier;
use crate::pipeline::retention::hold::{HELD, Held, Hold};
use crate::source::capture::{CapturedFrame, pcap_writer::PcapWriter};
use crate::source::capture_file::Reading;
use crate::time::{Span, Timestamp};
use crate::totals::EvictedTotals;
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
    /// Calls are traced.
    pub trace: bool,
    /// Packets of all processes are kept.
    pub others: bool,
    /// Ports that carry DNS.
    pub dns_ports: Vec<u16>,
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

struct Recorder<'a> {
    job: &'a Job,
    listener: &'a mut dyn Listener,
    /// What waits until it is known whose it is.
    hold: Hold,
    classifier: Classifier,
    kept: RetainedFrames<'a>,
    /// What time it was when the latest record was made.
    now: Timestamp,
    dropped: Option<u64>,
    /// Where frames are stored.
    stored: Option<File>,
    /// Traced events so far.
    events: Vec<Event>,
    shared: Interner,
    trace: TraceFacts,
    logs: Option<(File, File)>,
    writer: Option<EventWriter>,
    /// Why the capture ended before the command did.
    capture_ended: Option<String>,
    /// What the saved case lacks.
    lacks: Vec<String>,
    progress: WaitProgress,
    begin: Option<Box<Begin>>,
    resolv_conf: Option<String>,
    hosts: Option<String>,
    gaps: Vec<RecordGap>,
    /// When the report is made that the command's end asks for.
    due: Option<Instant>,
    reported: bool,
    failed: bool,
}

/// Frames that stay: in memory for the report, and in the case.
struct RetainedFrames<'a> {
    link: i32,
    /// Packets so far, and what decodes them.
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
            hold: Hold::new(Retention::new(job.others || !job.trace)),
            classifier: Classifier::new(&job.dns_ports),
            kept: RetainedFrames {
                link: 0,
                packets,
                capture: None,
                pcap: None,
                unflushed: false,
            },
            now: Timestamp::default(),
            dropped: None,
            stored,
            events: Vec::new(),
            shared: Interner::default(),
            trace: jsonl::facts(&path, u16::from(job.capture)),
            logs,
            writer: None,
            capture_ended: None,
            lacks: Vec::new(),
            progress: WaitProgress::default(),
            begin: None,
            resolv_conf: None,
            hosts: None,
            gaps: Vec::new(),
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
                self.release();
                let open = open.iter().map(|(task, since, op)| (task, *since, op));
                for line in self.progress.tick(now, open) {
                    self.listener.line(&line);
                }
            }
            Record::Gap(gap) => self.gap(gap),
            Record::Captured(Captured { dropped, error }) => {
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
    }

    fn frame(&mut self, frame: &CapturedFrame<'_>) {
        let length = trimmed_length(frame.link, frame.data, &self.job.dns_ports);
        let data = &frame.data[..length];
        self.now = frame.at;
        self.kept.link = frame.link;
        let keys = self.classifier.keys(packet::RawFrame {
            at: frame.at,
            link: frame.link,
            interface: frame.interface,
            data,
            original_length: frame.original_length,
        });
        let (interface, length) = (frame.interface, frame.original_length);
        self.hold.frame(frame.at, interface, length, (data, keys));
        self.release();
    }

    /// Keeps or drops what can be decided now.
    fn release(&mut self) {
        let kept = &mut self.kept;
        self.hold
            .release(self.now, &mut |held, data| kept.frame(held, data));
    }

    /// Keeps or drops everything: no call will be reported any more.
    fn release_all(&mut self) {
        let kept = &mut self.kept;
        self.hold.finish(&mut |held, data| kept.frame(held, data));
        kept.flush();
    }

    fn event(&mut self, mut event: Event) {
        self.shared.event(&mut event);
        jsonl::note_event(&mut self.trace, &event);
        if let Some(writer) = &self.writer {
            writer.event(&event);
        }
        if let Some(line) = self.progress.event(&event) {
            self.listener.line(&line);
        }
        self.listener.event(&event);
        self.hold.rule().note(&event);
        self.release();
        self.events.push(event);
    }

    fn gap(&mut self, gap: RecordGap) {
        self.gaps.push(gap);
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
        let mut packets = self.kept.packets.borrow().clone();
        if let Some(capture) = self.kept.capture.as_ref().filter(|_| self.job.capture) {
            let mut facts = capture.facts.clone();
            facts.omit(&self.hold.omitted());
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
        let gathered = self.gathered(captures, packets, self.events.clone());
        self.reported = true;
        self.failed |= !self.listener.report(gathered);
    }

    fn gathered(
        &self,
        captures: Vec<CaptureFacts>,
        packets: Vec<Event>,
        events: Vec<Event>,
    ) -> Gathered {
        let trace = self.job.trace.then(|| self.trace.clone());
        let conf = self.resolv_conf.clone();
        let header = self.begin.as_ref().map(|begin| &begin.header);
        let lost = if self.job.trace { &[][..] } else { &self.gaps };
        Gathered {
            captures,
            packets,
            solved: None,
            stacks: Stacks::default(),
            totals: EvictedTotals::default(),
            traces: trace.map(|facts| (facts, events)).into_iter().collect(),
            resolv_conf: conf.map(|text| (named(self.job.folder.as_deref(), "resolv.conf"), text)),
            resolver_options: header.map_or_else(Vec::new, jsonl::Header::resolver_options),
            hosts: self.hosts.clone(),
            run: header.map(jsonl::Header::run),
            started: header.map(|header| header.started),
            one_clock: true,
            remarks: lost
                .iter()
                .map(RecordGap::warning)
                .chain(self.lacks.clone())
                .collect(),
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
        let lost: u64 = self.gaps.iter().map(|gap| gap.packets).sum();
        let dropped = self.dropped.map(|dropped| dropped + lost);
        let capture = self.kept.capture.take().filter(|_| self.job.capture);
        let captures: Vec<CaptureFacts> = capture
            .map(|reading| {
                let mut facts = reading.finish();
                facts.dropped = dropped;
                facts.omit(&omitted);
                facts
            })
            .into_iter()
            .collect();
        if let Some(writer) = self.writer.take() {
            let footer = Footer {
                dropped: captures.first().and_then(|c| c.dropped),
                capture_ended: self.capture_ended.take(),
                missing: packets_lost.into_iter().collect(),
                omitted,
                ..footer.clone()
            };
            let missing = writer.end(Some(&footer));
            self.incomplete(&missing);
        }
        if !self.reported {
            let packets = std::mem::take(&mut *self.kept.packets.borrow_mut());
            let events = std::mem::take(&mut self.events);
            let gathered = self.gathered(captures, packets, events);
            self.failed |= !self.listener.report(gathered);
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
