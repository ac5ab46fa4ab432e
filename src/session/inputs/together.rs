//! Traces and the captures beside them, read in order of time: what one shows may explain what another does.
//!
//! The trace that presyn took has the capture's clock, and strace logs beside it are taken to have it. That of other logs is
//! solved first, from the beginnings of all files; without a capture their times are taken as they are. An input is opened
//! when its turn comes, so that files which follow each other (`tcpdump -C`) cost no more than one. An input of which the
//! beginning is all is not read again. Everything is read into memory where
//!
//! - the files are small, or all is to be listed;
//! - the beginnings do not show that each log and the captures are of one run, or show that captures have two clocks;
//! - a log beside another input has no times;
//! - there are more inputs than can be open at once.

mod place;
mod sample;
mod turns;

use super::classify::{Found, Kind};
use super::{InputError, InputFacts, InputOptions, take_facts};
use crate::clock::{self, Solution};
use crate::eviction::{Eviction, EvictionSetup};
use crate::explain::assemble::Limits;
use crate::input::{CaptureFacts, TraceFacts};
use crate::merge;
use crate::pipeline::Gathered;
use crate::time::{Span, Timestamp};
use place::Place;
use sample::Sample;
use std::thread;
use turns::{Batches, Turn, in_order};

/// So many inputs may be open at once: each has a file descriptor, of which a process often has 1,024, a thread, and 200 KiB
/// of buffers.
const MOST_INPUTS: usize = 512;

/// Files that are together no larger fit into memory whatever they hold, unless they are packed.
const SMALL: u64 = 16 << 20;

/// Traces, and the captures beside them where there are any, that can be read together.
pub(super) struct Together {
    captures: Vec<CaptureInput>,
    traces: Vec<TraceInput>,
}

/// One of the captures.
struct CaptureInput {
    input: u16,
    place: Place,
    sample: Sample<CaptureFacts>,
}

/// One of the traces.
struct TraceInput {
    input: u16,
    place: Place,
    kind: Kind,
    sample: Sample<TraceFacts>,
    /// What the clock of an strace log, of which no trace of presyn's is beside it, means for its times.
    solved: Option<(TraceFacts, Solution)>,
}

impl Together {
    /// Whether these inputs can be read so; otherwise they are given back.
    pub fn of(found: Vec<Found>, options: &InputOptions) -> Result<Self, Vec<Found>> {
        let kinds: Option<Vec<Kind>> = found.iter().map(Found::kind).collect();
        let count = |kind: Kind| kinds.iter().flatten().filter(|k| **k == kind).count();
        let (captures, own) = (count(Kind::Capture), count(Kind::Own));
        let Some(kinds) = kinds
            .as_ref()
            .filter(|kinds| captures < kinds.len() && (2..=MOST_INPUTS).contains(&kinds.len()))
        else {
            return Err(found);
        };
        let mut this = Self {
            captures: Vec::new(),
            traces: Vec::new(),
        };
        for ((found, kind), input) in found.into_iter().zip(kinds).zip(0..) {
            let place = Place::of(found);
            match kind {
                Kind::Capture => this.captures.push(CaptureInput {
                    input,
                    place,
                    sample: Sample::default(),
                }),
                Kind::Log | Kind::Own => this.traces.push(TraceInput {
                    input,
                    place,
                    kind: *kind,
                    sample: Sample::default(),
                    solved: None,
                }),
            }
        }
        let together = match (own, captures, kinds.len()) {
            (1, 1, 2) => true,
            _ => this.is_large(options) && (this.solve(options).is_some() || this.is_whole()),
        };
        if together {
            if this.is_whole() {
                this.traces.iter_mut().for_each(|trace| trace.solved = None);
            }
            Ok(this)
        } else {
            Err(this.into_found())
        }
    }

    /// The inputs as they were named.
    fn into_found(self) -> Vec<Found> {
        let captures = self.captures.into_iter();
        let captures = captures.map(|c| (c.input, c.place.into_found(Kind::Capture)));
        let traces = self.traces.into_iter();
        let traces = traces.map(|trace| (trace.input, trace.place.into_found(trace.kind)));
        let mut all: Vec<(u16, Found)> = captures.chain(traces).collect();
        all.sort_by_key(|(input, _)| *input);
        all.into_iter().map(|(_, found)| found).collect()
    }

    /// Whether they may not fit into memory, and need not be listed whole.
    fn is_large(&self, options: &InputOptions) -> bool {
        let places = || {
            let traces = self.traces.iter().map(|trace| &trace.place);
            traces.chain(self.captures.iter().map(|capture| &capture.place))
        };
        let packed = places().any(Place::is_packed);
        let bytes: u64 = places().map(Place::size).sum();
        (bytes > SMALL || packed) && options.limits.list != usize::MAX
    }

    /// Whether one of the traces is presyn's own: then all have the clock of the captures.
    fn is_one_clock(&self) -> bool {
        self.traces.iter().any(|trace| trace.kind == Kind::Own)
    }

    /// What is known of the case before it is read.
    pub fn setup(&self, options: &InputOptions, setup: EvictionSetup) -> EvictionSetup {
        if self.is_whole() {
            let limits = Limits::ALL;
            return EvictionSetup { limits, ..setup };
        }
        let logs = || self.traces.iter().filter_map(|trace| trace.solved.as_ref());
        let resolution = |facts: &TraceFacts| clock::resolution(facts.clock);
        let off = logs().map(|(facts, solution)| resolution(facts) + solution.uncertainty);
        // As the pipeline has it.
        let tolerance =
            { self.captures.first() }.map(|_| off.max().unwrap_or_default() + Span::millis(1));
        // Where processes were watched there are no calls.
        let tolerance = tolerance.filter(|_| setup.watched.is_none());
        EvictionSetup {
            capture: self.captures.first().map(|capture| CaptureFacts {
                input: capture.input,
                filter: options.capture.filter.clone(),
                ..CaptureFacts::default()
            }),
            whole: self.is_one_clock(),
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
        let logs = self.traces.iter();
        let solved = logs.filter_map(|trace| Some((trace.input, trace.solved.as_ref()?.1.clone())));
        gathered.solved = solved.collect();
        // A call is reported when it returns, and comes before its packet nevertheless: traces go first.
        let traces = self.traces.into_iter().map(JointInput::Trace);
        let jobs = traces.chain(self.captures.into_iter().map(JointInput::Capture));
        let turns = jobs.map(|job| Turn {
            begins: job.begins(),
            read: move |batches| job.read(options, batches),
        });
        let facts = thread::scope(|scope| {
            in_order(scope, turns.collect(), &mut |event| eviction.push(event))
        });
        let facts: Result<Vec<InputFacts>, InputError> = facts.into_iter().collect();
        take_facts(facts?, eviction.first(), gathered);
        if options.capture.progress.is_stopped() {
            let remark = "reading was interrupted; the report is about what had been read by then";
            gathered.remarks.push(remark.to_owned());
        }
        Ok(())
    }
}

/// One of the inputs.
enum JointInput {
    Capture(CaptureInput),
    Trace(TraceInput),
}

impl JointInput {
    /// When its first event was known, in the captures' time, as far as that is known before it is read.
    fn begins(&self) -> Option<Timestamp> {
        match self {
            Self::Capture(capture) => capture.sample.begins,
            Self::Trace(trace) => trace.sample.begins.map(|at| at + trace.offset()),
        }
    }

    /// Reads all of it, in the captures' time.
    fn read(self, options: &InputOptions, mut batches: Batches) -> Result<InputFacts, InputError> {
        let offset = match &self {
            Self::Capture(_) => Span::ZERO,
            Self::Trace(trace) => trace.offset(),
        };
        let mut sink = |mut event| {
            merge::shift(std::slice::from_mut(&mut event), offset);
            batches.push(event);
        };
        let progress = &options.capture.progress;
        Ok(match self {
            Self::Capture(CaptureInput {
                input,
                place,
                sample,
            }) => InputFacts::Capture(match sample.whole {
                Some(whole) => whole.replayed(&mut sink),
                None => place.capture(input, &options.capture, &mut sink)?,
            }),
            Self::Trace(TraceInput {
                input,
                place,
                kind: Kind::Own,
                ..
            }) => InputFacts::Own(Box::new(place.own(input, progress, &mut sink)?)),
            Self::Trace(TraceInput {
                input,
                place,
                sample,
                ..
            }) => InputFacts::Log(match sample.whole {
                Some(whole) => whole.replayed(&mut sink),
                None => place.log(input, progress, &mut sink)?,
            }),
        })
    }
}

impl TraceInput {
    /// What is added to its times.
    fn offset(&self) -> Span {
        { self.solved.as_ref() }.map_or(Span::ZERO, |(_, solution)| solution.offset)
    }
}
