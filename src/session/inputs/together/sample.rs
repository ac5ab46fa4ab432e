//! The beginnings of inputs, from which the clocks of logs are solved.

use super::super::super::in_order::known;
use super::super::classify::Kind;
use super::super::{InputOptions, dns_ports};
use super::{CaptureInput, Together, TraceInput};
use crate::clock::belonging::Belonging;
use crate::clock::{self, Sibling};
use crate::event::Event;
use crate::input::progress::Progress;
use crate::input::{CaptureFacts, TraceFacts};
use crate::intern::Interner;
use crate::merge;
use crate::source::capture_file::CaptureOptions;
use crate::time::Timestamp;

/// The clock is solved from so many events of each file.
const SAMPLE: usize = 20_000;
/// So many events of inputs that were read whole are kept, of all inputs together.
const MOST_KEPT: usize = 2 * SAMPLE;

/// What is known of an input before its turn.
pub(super) struct Sample<F> {
    /// When its first event was known.
    pub(super) begins: Option<Timestamp>,
    /// All of it, where that is little.
    pub(super) whole: Option<Whole<F>>,
}

impl<F> Default for Sample<F> {
    fn default() -> Self {
        Self {
            begins: None,
            whole: None,
        }
    }
}

/// An input that was read to its end.
pub(super) struct Whole<F> {
    facts: F,
    events: Vec<Event>,
}

impl<F> Whole<F> {
    /// Gives its events and what it says of itself.
    pub(super) fn replayed(self, sink: &mut dyn FnMut(Event)) -> F {
        self.events.into_iter().for_each(sink);
        self.facts
    }
}

/// The beginning of an input.
struct Beginning<F> {
    facts: F,
    events: Vec<Event>,
    /// It is all that there is, or that is to be read.
    is_whole: bool,
}

impl<F: Clone> Beginning<F> {
    /// Reads a beginning, of which `add` keeps the events.
    fn read<E>(
        progress: &Progress,
        add: fn(&mut Vec<Event>, Event),
        read: impl FnOnce(&Progress, &mut dyn FnMut(Event)) -> Result<F, E>,
    ) -> Result<Self, E> {
        let part = progress.part();
        let (mut events, mut shared) = (Vec::new(), Interner::default());
        let facts = read(&part, &mut |mut event| {
            shared.event(&mut event);
            add(&mut events, event);
            if events.len() >= SAMPLE {
                part.stop();
            }
        })?;
        let is_whole = events.len() < SAMPLE;
        if !is_whole {
            part.is_read_again();
        }
        Ok(Self {
            facts,
            events,
            is_whole,
        })
    }

    /// What is remembered of it; `kept` counts the events that are, of all inputs.
    fn sample(&self, kept: &mut usize) -> Sample<F> {
        let fits = self.is_whole && *kept + self.events.len() <= MOST_KEPT;
        Sample {
            begins: self.events.first().map(known),
            whole: fits.then(|| {
                *kept += self.events.len();
                Whole {
                    facts: self.facts.clone(),
                    events: self.events.clone(),
                }
            }),
        }
    }
}

impl Together {
    /// Whether all of them were read to their end, and are in memory. Their clocks are then solved as those of small files.
    pub(super) fn is_whole(&self) -> bool {
        self.captures.iter().all(|c| c.sample.whole.is_some())
            && self.traces.iter().all(|t| t.sample.whole.is_some())
    }

    /// Solves the clocks of the logs from the beginnings of all. `None` where an input cannot be read, where logs have no
    /// times, and where the beginnings do not show that all are of one run.
    pub(super) fn solve(&mut self, options: &InputOptions) -> Option<()> {
        let mut kept = 0;
        let packets = self.first_packets(options, &mut kept)?;
        let is_one_clock = self.is_one_clock();
        let (ports, progress) = (dns_ports(options), &options.capture.progress);
        let (mut during, mut is_timed) = (Vec::new(), true);
        for log in self.traces.iter_mut().filter(|t| t.kind == Kind::Log) {
            let Beginning { facts, events, .. } = log.beginning(progress, &mut kept)?;
            is_timed &= facts.clock.has_times();
            let times = || events.iter().map(|e| e.at);
            during.push(times().min().zip(times().max()));
            if !is_one_clock {
                let given = options.clock;
                let solution = clock::solve(facts.clock, &events, &packets, &ports, given);
                log.solved = Some((facts, solution));
            }
        }
        let is_sure = is_timed && (self.captures.is_empty() || self.is_of_one_run(&during));
        // Of what the user has stopped, what was read by then is all there is.
        (is_sure || progress.is_stopped()).then_some(())
    }

    /// The first packets of all captures, in order. `None` where two of them have clocks of their own.
    fn first_packets(&mut self, options: &InputOptions, kept: &mut usize) -> Option<Vec<Event>> {
        let mut first: Option<Vec<Event>> = None;
        let mut all = Vec::new();
        for capture in &mut self.captures {
            let mut packets = capture.beginning(options, kept)?.events;
            match &first {
                None => first = Some(packets.clone()),
                Some(first) if merge::have_two_clocks(first, &packets) => return None,
                Some(_) => {}
            }
            all.append(&mut packets);
            merge::order(&mut all);
            merge::remove_copies(&mut all);
            all.truncate(SAMPLE);
        }
        Some(all)
    }

    /// Whether the logs, which went on at these times by their clocks, are of one run with the captures.
    fn is_of_one_run(&mut self, during: &[Option<(Timestamp, Timestamp)>]) -> bool {
        let solved = self.traces.iter_mut().filter_map(|t| t.solved.as_mut());
        let mut siblings: Vec<Sibling> = { solved.zip(during) }
            .filter_map(|((facts, solution), during)| {
                Some(Sibling {
                    clock: facts.clock,
                    during: (*during)?,
                    solution,
                })
            })
            .collect();
        clock::recognise_siblings(&mut siblings);
        let mut solved = self.traces.iter().filter_map(|t| t.solved.as_ref());
        solved.all(|(_, solution)| solution.belonging == Belonging::Same)
    }
}

impl CaptureInput {
    /// Its first packets, in order.
    fn beginning(
        &mut self,
        options: &InputOptions,
        kept: &mut usize,
    ) -> Option<Beginning<CaptureFacts>> {
        let read = Beginning::read(&options.capture.progress, merge::keep, |progress, sink| {
            let only = CaptureOptions {
                progress: progress.clone(),
                ..options.capture.clone()
            };
            self.place.capture(self.input, &only, sink)
        });
        let mut read = read.ok()?;
        self.sample = read.sample(kept);
        merge::order(&mut read.events);
        Some(read)
    }
}

impl TraceInput {
    /// What the beginning of a log says of the whole, and its first calls.
    fn beginning(
        &mut self,
        progress: &Progress,
        kept: &mut usize,
    ) -> Option<Beginning<TraceFacts>> {
        let read = Beginning::read(progress, Vec::push, |progress, sink| {
            self.place.log(self.input, progress, sink)
        });
        let read = read.ok()?;
        self.sample = read.sample(kept);
        Some(read)
    }
}
