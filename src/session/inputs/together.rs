//! A capture and the trace beside it, read in order of time: what one shows may explain what the other does.
//!
//! The trace that presyn took has the capture's clock. That of an strace log is solved first, from the beginnings of both
//! files; where these do not show that they are of one run, where the files are small, or where all is to be listed, everything
//! is read into memory.

use super::classify::Found;
use super::{InputError, InputOptions, dns_ports, own};
use crate::case::jsonl;
use crate::clock::belonging::Belonging;
use crate::clock::{self, Solution};
use crate::event::{Event, EventKind};
use crate::eviction::{Eviction, EvictionSetup};
use crate::input::progress::Progress;
use crate::input::{CaptureFacts, TraceFacts};
use crate::intern::Interner;
use crate::merge;
use crate::pipeline::Gathered;
use crate::source::capture_file::{self, CaptureFileError, CaptureOptions};
use crate::source::strace_log::{self, StraceLogError};
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// So many events are handed over at once, and so many times of a reader that is ahead.
const BATCH: usize = 256;
const BATCHES: usize = 4;

/// The clock is solved from so many events of each file.
const SAMPLE: usize = 20_000;
/// Files that are together no larger fit into memory whatever they hold, unless they are packed.
const SMALL: u64 = 16 << 20;

/// A capture and a trace that can be read together.
pub(super) struct Pair {
    capture: (u16, PathBuf),
    trace: (u16, PathBuf),
    /// Of an strace log: its clock, and what that means for its times.
    log: Option<(TraceFacts, Solution)>,
}

/// What the reader of a trace returns.
enum Read {
    Own(Box<Result<jsonl::TraceFile, jsonl::JsonlError>>),
    Log(Result<TraceFacts, StraceLogError>),
}

impl Pair {
    /// Whether these inputs are such a pair; otherwise they are given back.
    pub fn of(mut found: Vec<Found>, options: &InputOptions) -> Result<Self, Vec<Found>> {
        let pair = match &found[..] {
            [Found::Capture(capture), Found::Own(trace)] => Some(Self {
                capture: (0, capture.clone()),
                trace: (1, trace.clone()),
                log: None,
            }),
            [Found::Capture(capture), Found::Trace(log)] => {
                Self::with_log((0, capture), (1, log), options)
            }
            [Found::Trace(log), Found::Capture(capture)] => {
                Self::with_log((1, capture), (0, log), options)
            }
            _ => None,
        };
        pair.ok_or_else(|| std::mem::take(&mut found))
    }

    fn with_log(capture: (u16, &Path), log: (u16, &Path), options: &InputOptions) -> Option<Self> {
        let log_of = |(facts, solution): (TraceFacts, Solution)| Self {
            capture: (capture.0, capture.1.to_owned()),
            trace: (log.0, log.1.to_owned()),
            log: Some((facts, solution)),
        };
        let bytes = |path: &Path| path.metadata().map_or(0, |facts| facts.len());
        let packed = [capture.1, log.1].iter().any(|path| is_packed(path));
        if bytes(capture.1) + bytes(log.1) <= SMALL && !packed || options.limits.list == usize::MAX
        {
            return None;
        }
        solve(capture, log, options).map(log_of)
    }

    /// What is known of the case before it is read.
    pub fn setup(&self, options: &InputOptions, setup: EvictionSetup) -> EvictionSetup {
        let resolution = { self.log.as_ref() }.map(|(facts, _)| clock::resolution(facts.clock));
        let uncertain = self.log.as_ref().map(|(_, solution)| solution.uncertainty);
        EvictionSetup {
            capture: Some(CaptureFacts {
                input: self.capture.0,
                filter: options.capture.filter.clone(),
                ..CaptureFacts::default()
            }),
            whole: self.log.is_none(),
            // As the pipeline has it.
            tolerance: resolution.unwrap_or_default()
                + uncertain.unwrap_or_default()
                + Span::millis(1),
            resolution,
            ..setup
        }
    }

    /// Reads both.
    pub fn read(
        self,
        options: &InputOptions,
        eviction: &mut Eviction,
        gathered: &mut Gathered,
    ) -> Result<(), InputError> {
        let progress = &options.capture.progress;
        let (to_packets, packets) = sync_channel(BATCHES);
        let (to_calls, calls) = sync_channel(BATCHES);
        let this = &self;
        let (facts, trace) = thread::scope(|scope| {
            let capture = scope.spawn(move || this.packets(options, to_packets));
            let trace = scope.spawn(move || this.calls(progress, to_calls));
            in_order(packets, calls, &mut |event| eviction.push(event));
            (capture.join(), trace.join())
        });
        // A reader that panicked ends this thread in the same way.
        let facts = facts.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let trace = trace.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        gathered.captures.push(facts?);
        match trace {
            Read::Own(trace) => own((*trace)?, eviction.first(), gathered),
            Read::Log(facts) => gathered.traces.push((facts?, Vec::new())),
        }
        gathered.solved = self.log.map(|(_, solution)| solution);
        if progress.is_stopped() {
            let remark = "reading was interrupted; the report is about what had been read by then";
            gathered.remarks.push(remark.to_owned());
        }
        Ok(())
    }

    fn packets(
        &self,
        options: &InputOptions,
        to: SyncSender<Vec<Event>>,
    ) -> Result<CaptureFacts, CaptureFileError> {
        let mut batches = Batches::new(to);
        let (input, path) = &self.capture;
        capture_file::read(path, *input, &options.capture, &mut |e| batches.push(e))
    }

    /// Reads the trace, in the capture's time.
    fn calls(&self, progress: &Progress, to: SyncSender<Vec<Event>>) -> Read {
        let mut batches = Batches::new(to);
        let (input, path) = &self.trace;
        match &self.log {
            None => {
                let sink = &mut |event| batches.push(event);
                Read::Own(Box::new(jsonl::read(path, *input, progress, sink)))
            }
            Some((_, solution)) => {
                let sink = &mut |mut event| {
                    merge::shift(std::slice::from_mut(&mut event), solution.offset);
                    batches.push(event);
                };
                Read::Log(strace_log::read(path, *input, progress, sink))
            }
        }
    }
}

fn is_packed(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| ["gz", "zst", "zstd"].contains(&e))
}

/// Solves the clock of a log from the beginnings of both files. `None` where the files are small, or cannot be read, or
/// their beginnings do not show that they are of one run.
fn solve(
    capture: (u16, &Path),
    log: (u16, &Path),
    options: &InputOptions,
) -> Option<(TraceFacts, Solution)> {
    let (mut calls, mut packets) = (Vec::new(), Vec::new());
    let (enough_calls, enough_packets) = (Progress::default(), Progress::default());
    let facts = strace_log::read(log.1, log.0, &enough_calls, &mut |event| {
        calls.push(event);
        if calls.len() >= SAMPLE {
            enough_calls.stop();
        }
    });
    let only = CaptureOptions {
        progress: enough_packets.clone(),
        ..options.capture.clone()
    };
    capture_file::read(capture.1, capture.0, &only, &mut |event| {
        merge::keep(&mut packets, event);
        if packets.len() >= SAMPLE {
            enough_packets.stop();
        }
    })
    .ok()?;
    let facts = facts.ok()?;
    if !enough_calls.is_stopped() && !enough_packets.is_stopped() || !facts.clock.has_times() {
        return None;
    }
    merge::order(&mut packets);
    let ports = dns_ports(options);
    let solution = clock::solve(facts.clock, &calls, &packets, &ports, options.clock);
    (solution.belonging == Belonging::Same).then_some((facts, solution))
}

/// Events on their way from a reader.
struct Batches {
    to: SyncSender<Vec<Event>>,
    batch: Vec<Event>,
    shared: Interner,
}

impl Batches {
    fn new(to: SyncSender<Vec<Event>>) -> Self {
        Self {
            to,
            batch: Vec::with_capacity(BATCH),
            shared: Interner::default(),
        }
    }

    fn push(&mut self, mut event: Event) {
        self.shared.event(&mut event);
        self.batch.push(event);
        if self.batch.len() >= BATCH {
            self.send();
        }
    }

    fn send(&mut self) {
        // Whoever takes them is gone only if this whole process ends.
        let _ = self.to.send(std::mem::take(&mut self.batch));
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            self.send();
        }
    }
}

/// Takes events from two readers in order of time.
fn in_order(
    packets: Receiver<Vec<Event>>,
    calls: Receiver<Vec<Event>>,
    sink: &mut dyn FnMut(Event),
) {
    let mut inputs = [Ahead::new(packets), Ahead::new(calls)];
    loop {
        let [packet, call] = inputs.each_mut().map(Ahead::next_at);
        let first = match (packet, call) {
            (None, None) => return,
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            // A call is reported when it returns: it comes before its packet nevertheless.
            (Some(packet), Some(call)) => usize::from(call <= packet),
        };
        if let Some(event) = inputs[first].waiting.pop_front() {
            sink(event);
        }
    }
}

/// What was read of an input and not taken yet.
struct Ahead {
    from: Receiver<Vec<Event>>,
    waiting: VecDeque<Event>,
}

impl Ahead {
    fn new(from: Receiver<Vec<Event>>) -> Self {
        Self {
            from,
            waiting: VecDeque::new(),
        }
    }

    /// When the next event was known: a call's, when it returned. `None` at the end of the input.
    fn next_at(&mut self) -> Option<Timestamp> {
        while self.waiting.is_empty() {
            self.waiting.extend(self.from.recv().ok()?);
        }
        let event = self.waiting.front()?;
        let exited = match &event.what {
            EventKind::Call(call) => call.exited,
            EventKind::Packet(_) | EventKind::Life(_) | EventKind::Stack(_) => None,
        };
        Some(exited.unwrap_or(event.at))
    }
}
