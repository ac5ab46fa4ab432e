//! Traces and the capture beside them, read in order of time: what one shows may explain what another does.
//!
//! The trace that presyn took has the capture's clock. That of an strace log is solved first, from the beginnings of both
//! files; without a capture its times are taken as they are. Everything is read into memory where
//!
//! - the files are small, or all is to be listed;
//! - the beginnings do not show that each log and the capture are of one run;
//! - a log beside another input has no times, or there are several captures beside a trace, traces of presyn's beside logs, or
//!   more inputs than can be open at once.

use super::super::in_order::next_known;
use super::classify::{Found, Kind};
use super::spool::Spooled;
use super::{InputError, InputOptions, dns_ports, own};
use crate::case::jsonl;
use crate::clock::belonging::Belonging;
use crate::clock::{self, Sibling, Solution};
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
use std::thread::{self, ScopedJoinHandle};

/// So many events are read ahead of their turn, of all inputs together: as many batches of each, of so many events at least.
const AHEAD: usize = 2_048;
const BATCHES: usize = 4;
const LEAST_BATCH: usize = 8;
/// So many inputs are open at once: each has a thread and a buffer.
const MOST_INPUTS: usize = 64;

/// The clock is solved from so many events of each file.
const SAMPLE: usize = 20_000;
/// Files that are together no larger fit into memory whatever they hold, unless they are packed.
const SMALL: u64 = 16 << 20;

/// Traces, and the capture beside them where there is one, that can be read together.
pub(super) struct Together {
    capture: Option<(u16, Place)>,
    traces: Vec<Trace>,
}

/// One of the traces.
struct Trace {
    input: u16,
    place: Place,
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

impl Together {
    /// Whether these inputs can be read so; otherwise they are given back.
    pub fn of(found: Vec<Found>, options: &InputOptions) -> Result<Self, Vec<Found>> {
        let kinds: Vec<_> = found.iter().map(Found::kind).collect();
        let count = |kind: Kind| kinds.iter().filter(|k| **k == Some(kind)).count();
        let (captures, logs, own) = (count(Kind::Capture), count(Kind::Log), count(Kind::Own));
        let known = captures + logs + own == found.len();
        let one_kind = (logs == 0) != (own == 0);
        if !known || !one_kind || captures > 1 || !(2..=MOST_INPUTS).contains(&found.len()) {
            return Err(found);
        }
        let mut this = Self {
            capture: None,
            traces: Vec::new(),
        };
        for (found, input) in found.into_iter().zip(0..) {
            if found.is_capture() {
                this.capture = Some((input, Place::of(found)));
            } else {
                this.traces.push(Trace {
                    input,
                    place: Place::of(found),
                    log: None,
                });
            }
        }
        let together = match (own, captures) {
            (1, 1) => true,
            _ if !this.is_large(options) => false,
            (0, _) => this.solve(options).is_some(),
            _ => true,
        };
        if together {
            return Ok(this);
        }
        let kind = if own > 0 { Kind::Own } else { Kind::Log };
        Err(this.into_found(kind))
    }

    /// The inputs as they were named.
    fn into_found(self, kind: Kind) -> Vec<Found> {
        let capture = self.capture.into_iter();
        let capture = capture.map(|(input, place)| (input, place.into_found(Kind::Capture)));
        let traces = self.traces.into_iter();
        let traces = traces.map(|trace| (trace.input, trace.place.into_found(kind)));
        let mut all: Vec<(u16, Found)> = capture.chain(traces).collect();
        all.sort_by_key(|(input, _)| *input);
        all.into_iter().map(|(_, found)| found).collect()
    }

    /// Whether they may not fit into memory, and need not be listed whole.
    fn is_large(&self, options: &InputOptions) -> bool {
        let traces = self.traces.iter().map(|trace| &trace.place);
        let places = || {
            traces
                .clone()
                .chain(self.capture.iter().map(|(_, place)| place))
        };
        let packed = places().any(Place::is_packed);
        let bytes: u64 = places().map(Place::size).sum();
        (bytes > SMALL || packed) && options.limits.list != usize::MAX
    }

    /// What is known of the case before it is read.
    pub fn setup(&self, options: &InputOptions, setup: EvictionSetup) -> EvictionSetup {
        let logs = || self.traces.iter().filter_map(|trace| trace.log.as_ref());
        let resolution = |facts: &TraceFacts| clock::resolution(facts.clock);
        let off = logs().map(|(facts, solution)| resolution(facts) + solution.uncertainty);
        // As the pipeline has it.
        let tolerance =
            { self.capture.as_ref() }.map(|_| off.max().unwrap_or_default() + Span::millis(1));
        EvictionSetup {
            capture: self.capture.as_ref().map(|(input, _)| CaptureFacts {
                input: *input,
                filter: options.capture.filter.clone(),
                ..CaptureFacts::default()
            }),
            whole: logs().next().is_none(),
            tolerance: tolerance.unwrap_or_default(),
            resolution: logs().map(|(facts, _)| resolution(facts)).max(),
            ..setup
        }
    }

    /// Reads all.
    pub fn read(
        self,
        options: &InputOptions,
        eviction: &mut Eviction,
        gathered: &mut Gathered,
    ) -> Result<(), InputError> {
        let progress = &options.capture.progress;
        let inputs = self.traces.len() + usize::from(self.capture.is_some());
        let batch = (AHEAD / (BATCHES * inputs)).max(LEAST_BATCH);
        let (facts, traces) = thread::scope(|scope| {
            let mut receivers = Vec::new();
            let mut batches = || {
                let (to, from) = sync_channel(BATCHES);
                receivers.push(from);
                Batches::new(to, batch)
            };
            let traces = self.traces.iter().map(|trace| {
                let batches = batches();
                scope.spawn(move || trace.read(progress, batches))
            });
            let traces: Vec<_> = traces.collect();
            // After the traces: a call is reported when it returns, and comes before its packet nevertheless.
            let capture = self.capture.as_ref().map(|(input, place)| {
                let mut batches = batches();
                let sink = move |event| batches.push(event);
                scope.spawn(move || place.capture(*input, &options.capture, &mut { sink }))
            });
            in_order(receivers, &mut |event| eviction.push(event));
            let traces: Vec<_> = traces.into_iter().map(joined).collect();
            (capture.map(joined), traces)
        });
        gathered.captures.extend(facts.transpose()?);
        for trace in traces {
            match trace {
                Read::Own(trace) => own((*trace)?, eviction.first(), gathered),
                Read::Log(facts) => gathered.traces.push((facts?, Vec::new())),
            }
        }
        let logs = self.traces.into_iter();
        let solved = logs.filter_map(|trace| Some((trace.input, trace.log?.1)));
        gathered.solved = solved.collect();
        if progress.is_stopped() {
            let remark = "reading was interrupted; the report is about what had been read by then";
            gathered.remarks.push(remark.to_owned());
        }
        Ok(())
    }

    /// Solves the clocks of the logs from the beginnings of all. `None` where they cannot be read, where they are all there
    /// is, or where they do not show that all are of one run.
    fn solve(&mut self, options: &InputOptions) -> Option<()> {
        let packets = match &self.capture {
            Some((input, capture)) => Some(first_packets(*input, capture, options)?),
            None => None,
        };
        let ports = dns_ports(options);
        let mut read = packets.as_ref().map_or(0, Vec::len);
        let mut spans = Vec::new();
        for trace in &mut self.traces {
            let (facts, calls) = trace.first_calls()?;
            if !facts.clock.has_times() {
                return None;
            }
            read += calls.len();
            let packets = packets.as_deref().unwrap_or(&[]);
            let solution = clock::solve(facts.clock, &calls, packets, &ports, options.clock);
            let times = || calls.iter().map(|e| e.at);
            spans.push((times().min()?, times().max()?));
            trace.log = Some((facts, solution));
        }
        if read < SAMPLE {
            return None;
        }
        if packets.is_none() {
            return Some(());
        }
        let logs = self.traces.iter_mut().filter_map(|t| t.log.as_mut());
        let mut siblings: Vec<Sibling> = { logs.zip(spans) }
            .map(|((facts, solution), during)| Sibling {
                clock: facts.clock,
                during,
                solution,
            })
            .collect();
        clock::recognise_siblings(&mut siblings);
        let belongs = |log: &Sibling| log.solution.belonging == Belonging::Same;
        siblings.iter().all(belongs).then_some(())
    }
}

/// What a thread returned; one that panicked ends this thread in the same way.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    { thread.join() }.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The first packets of a capture, in order.
fn first_packets(input: u16, capture: &Place, options: &InputOptions) -> Option<Vec<Event>> {
    let mut packets = Vec::new();
    let enough = Progress::default();
    let only = CaptureOptions {
        progress: enough.clone(),
        ..options.capture.clone()
    };
    let read = capture.capture(input, &only, &mut |event| {
        merge::keep(&mut packets, event);
        if packets.len() >= SAMPLE {
            enough.stop();
        }
    });
    read.ok()?;
    merge::order(&mut packets);
    Some(packets)
}

impl Trace {
    /// Reads all of it, in the capture's time.
    fn read(&self, progress: &Progress, mut batches: Batches) -> Read {
        match &self.log {
            None => {
                let sink = &mut |event| batches.push(event);
                Read::Own(Box::new(self.place.own(self.input, progress, sink)))
            }
            Some((_, solution)) => {
                let sink = &mut |mut event| {
                    merge::shift(std::slice::from_mut(&mut event), solution.offset);
                    batches.push(event);
                };
                Read::Log(self.place.log(self.input, progress, sink))
            }
        }
    }

    /// What the beginning of a log says of the whole, and its first calls.
    fn first_calls(&self) -> Option<(TraceFacts, Vec<Event>)> {
        let mut calls = Vec::new();
        let enough = Progress::default();
        let facts = self.place.log(self.input, &enough, &mut |event| {
            calls.push(event);
            if calls.len() >= SAMPLE {
                enough.stop();
            }
        });
        Some((facts.ok()?, calls))
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
    size: usize,
    shared: Interner,
}

impl Batches {
    fn new(to: SyncSender<Vec<Event>>, size: usize) -> Self {
        Self {
            to,
            batch: Vec::with_capacity(size),
            size,
            shared: Interner::default(),
        }
    }

    fn push(&mut self, mut event: Event) {
        self.shared.event(&mut event);
        self.batch.push(event);
        if self.batch.len() >= self.size {
            self.send();
        }
    }

    fn send(&mut self) {
        let next = Vec::with_capacity(self.size);
        // Whoever takes them is gone only if this whole process ends.
        let _ = self.to.send(std::mem::replace(&mut self.batch, next));
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        if !self.batch.is_empty() {
            self.send();
        }
    }
}

/// Takes events from several readers in order of time; at the same time that of the first one goes first.
fn in_order(inputs: Vec<Receiver<Vec<Event>>>, sink: &mut dyn FnMut(Event)) {
    let mut inputs: Vec<Ahead> = inputs.into_iter().map(Ahead::new).collect();
    loop {
        let next = inputs.iter_mut().enumerate();
        let next = next.filter_map(|(n, input)| Some((input.next_known()?, n)));
        let Some((_, first)) = next.min() else {
            return;
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
