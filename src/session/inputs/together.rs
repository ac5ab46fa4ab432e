//! A capture and the trace beside it, read in order of time: what one shows may explain what the other does.
//!
//! The trace that presyn took has the capture's clock. That of an strace log is solved first, from the beginnings of both
//! files; where these do not show that they are of one run, where the files are small, or where all is to be listed, everything
//! is read into memory.

use super::super::in_order::{call_goes_first, next_known};
use super::classify::{Found, Kind};
use super::spool::Spooled;
use super::{InputError, InputOptions, dns_ports, own};
use crate::case::jsonl;
use crate::clock::belonging::Belonging;
use crate::clock::{self, Solution};
use crate::event::Event;
use crate::eviction::{Eviction, EvictionSetup};
use crate::input::progress::Progress;
use crate::input::{CaptureFacts, TraceFacts};
use crate::intern::Interner;
use crate::merge;
use crate::pipeline::Gathered;
use crate::source::capture_file::{self, CaptureFileError, CaptureOptions};
use crate::source::compression;
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
    capture: (u16, Place),
    trace: (u16, Place),
    /// Of an strace log: its clock, and what that means for its times.
    log: Option<(TraceFacts, Solution)>,
}

/// Where an input is read, perhaps twice.
enum Place {
    File(PathBuf),
    Pipe(Spooled),
}

impl Place {
    fn of(found: Found) -> Self {
        match found {
            Found::Spooled(spooled) => Self::Pipe(spooled),
            Found::Capture(path) | Found::Trace(path) | Found::Own(path) => Self::File(path),
            // Neither is of a kind that is read together.
            Found::Stream(stream) => Self::File(PathBuf::from(stream.name)),
            Found::ResolverFile(path, _) => Self::File(PathBuf::from(path)),
        }
    }

    fn into_found(self, kind: Kind) -> Found {
        match (self, kind) {
            (Self::Pipe(spooled), _) => Found::Spooled(spooled),
            (Self::File(path), Kind::Capture) => Found::Capture(path),
            (Self::File(path), Kind::Log) => Found::Trace(path),
            (Self::File(path), Kind::Own) => Found::Own(path),
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::File(path) => path.metadata().map_or(0, |facts| facts.len()),
            Self::Pipe(spooled) => spooled.size().unwrap_or(0),
        }
    }

    /// Whether its size says little about what it holds.
    fn is_packed(&self) -> bool {
        match self {
            Self::File(path) => is_packed(path),
            Self::Pipe(spooled) => compression::sniff(&spooled.head).is_some(),
        }
    }

    fn capture(
        &self,
        input: u16,
        options: &CaptureOptions,
        sink: &mut dyn FnMut(Event),
    ) -> Result<CaptureFacts, CaptureFileError> {
        match self {
            Self::File(path) => capture_file::read(path, input, options, sink),
            Self::Pipe(s) => capture_file::read_from(s.reader(), &s.name, input, options, sink),
        }
    }

    fn log(
        &self,
        input: u16,
        progress: &Progress,
        sink: &mut dyn FnMut(Event),
    ) -> Result<TraceFacts, StraceLogError> {
        match self {
            Self::File(path) => strace_log::read(path, input, progress, sink),
            Self::Pipe(s) => strace_log::read_from(&s.name, s.reader(), input, progress, sink),
        }
    }

    fn own(
        &self,
        input: u16,
        progress: &Progress,
        sink: &mut dyn FnMut(Event),
    ) -> Result<jsonl::TraceFile, jsonl::JsonlError> {
        match self {
            Self::File(path) => jsonl::read(path, input, progress, sink),
            Self::Pipe(s) => jsonl::read_from(s.reader(), &s.name, input, progress, sink),
        }
    }
}

/// What the reader of a trace returns.
enum Read {
    Own(Box<Result<jsonl::TraceFile, jsonl::JsonlError>>),
    Log(Result<TraceFacts, StraceLogError>),
}

impl Pair {
    /// Whether these inputs are such a pair; otherwise they are given back.
    pub fn of(found: Vec<Found>, options: &InputOptions) -> Result<Self, Vec<Found>> {
        let kinds: Vec<_> = found.iter().map(Found::kind).collect();
        let (at, own) = match kinds[..] {
            [Some(Kind::Capture), Some(trace @ (Kind::Log | Kind::Own))] => (0, trace == Kind::Own),
            [Some(trace @ (Kind::Log | Kind::Own)), Some(Kind::Capture)] => (1, trace == Kind::Own),
            _ => return Err(found),
        };
        let Ok([one, two]) = <[Found; 2]>::try_from(found) else {
            return Err(Vec::new());
        };
        let (capture, trace) = if at == 0 { (one, two) } else { (two, one) };
        let mut pair = Self {
            capture: (at, Place::of(capture)),
            trace: (1 - at, Place::of(trace)),
            log: None,
        };
        if own {
            return Ok(pair);
        }
        pair.log = pair
            .is_large(options)
            .then(|| pair.solve(options))
            .flatten();
        if pair.log.is_some() {
            return Ok(pair);
        }
        let (capture, trace) = (
            pair.capture.1.into_found(Kind::Capture),
            pair.trace.1.into_found(Kind::Log),
        );
        Err(if at == 0 {
            vec![capture, trace]
        } else {
            vec![trace, capture]
        })
    }

    /// Whether it may not fit into memory, and need not be listed whole.
    fn is_large(&self, options: &InputOptions) -> bool {
        let places = [&self.capture.1, &self.trace.1];
        let packed = places.iter().any(|place| place.is_packed());
        let bytes: u64 = places.iter().map(|place| place.size()).sum();
        (bytes > SMALL || packed) && options.limits.list != usize::MAX
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
        let (input, place) = &self.capture;
        place.capture(*input, &options.capture, &mut |e| batches.push(e))
    }

    /// Reads the trace, in the capture's time.
    fn calls(&self, progress: &Progress, to: SyncSender<Vec<Event>>) -> Read {
        let mut batches = Batches::new(to);
        let (input, place) = &self.trace;
        match &self.log {
            None => {
                let sink = &mut |event| batches.push(event);
                Read::Own(Box::new(place.own(*input, progress, sink)))
            }
            Some((_, solution)) => {
                let sink = &mut |mut event| {
                    merge::shift(std::slice::from_mut(&mut event), solution.offset);
                    batches.push(event);
                };
                Read::Log(place.log(*input, progress, sink))
            }
        }
    }

    /// Solves the clock of the log from the beginnings of both. `None` where they cannot be read, or their beginnings do not
    /// show that they are of one run.
    fn solve(&self, options: &InputOptions) -> Option<(TraceFacts, Solution)> {
        let (mut calls, mut packets) = (Vec::new(), Vec::new());
        let (enough_calls, enough_packets) = (Progress::default(), Progress::default());
        let (log_input, log) = &self.trace;
        let facts = log.log(*log_input, &enough_calls, &mut |event| {
            calls.push(event);
            if calls.len() >= SAMPLE {
                enough_calls.stop();
            }
        });
        let only = CaptureOptions {
            progress: enough_packets.clone(),
            ..options.capture.clone()
        };
        let (capture_input, capture) = &self.capture;
        let read = capture.capture(*capture_input, &only, &mut |event| {
            merge::keep(&mut packets, event);
            if packets.len() >= SAMPLE {
                enough_packets.stop();
            }
        });
        read.ok()?;
        let facts = facts.ok()?;
        if !enough_calls.is_stopped() && !enough_packets.is_stopped() || !facts.clock.has_times() {
            return None;
        }
        merge::order(&mut packets);
        let ports = dns_ports(options);
        let solution = clock::solve(facts.clock, &calls, &packets, &ports, options.clock);
        (solution.belonging == Belonging::Same).then_some((facts, solution))
    }
}

fn is_packed(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| ["gz", "zst", "zstd"].contains(&e))
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
        let [packet, call] = inputs.each_mut().map(Ahead::next_known);
        let first = match (packet, call) {
            (None, None) => return,
            (Some(_), None) => 0,
            (None, Some(_)) => 1,
            (Some(packet), Some(call)) => usize::from(call_goes_first(call, packet)),
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

    /// When the next event was known. `None` at the end of the input.
    fn next_known(&mut self) -> Option<Timestamp> {
        loop {
            let known = next_known(&self.waiting);
            if known.is_some() {
                return known;
            }
            match self.from.recv() {
                Ok(more) => self.waiting.extend(more),
                Err(_) => return self.waiting.front().map(|event| event.at),
            }
        }
    }
}
