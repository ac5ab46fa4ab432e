//! A capture and the trace beside it, read in order of time: what one shows may explain what the other does.

use super::{InputError, InputOptions, own};
use crate::case::jsonl;
use crate::event::{Event, What};
use crate::eviction::Eviction;
use crate::intern::Interner;
use crate::pipeline::Gathered;
use crate::source::capture_file;
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// So many events are handed over at once, and so many times of a reader that is ahead.
const BATCH: usize = 256;
const BATCHES: usize = 4;

/// Reads a capture and presyn's own trace of the same run.
pub fn read(
    capture: &Path,
    trace: &Path,
    options: &InputOptions,
    eviction: &mut Eviction,
    gathered: &mut Gathered,
) -> Result<(), InputError> {
    let progress = &options.capture.progress;
    let (to_packets, packets) = sync_channel(BATCHES);
    let (to_calls, calls) = sync_channel(BATCHES);
    let (facts, trace) = thread::scope(|scope| {
        let capture = scope.spawn(|| {
            let mut batches = Batches::new(to_packets);
            capture_file::read(capture, 0, &options.capture, &mut |e| batches.push(e))
        });
        let trace = scope.spawn(|| {
            let mut batches = Batches::new(to_calls);
            jsonl::read(trace, 1, progress, &mut |e| batches.push(e))
        });
        in_order(packets, calls, &mut |event| eviction.push(event));
        (capture.join(), trace.join())
    });
    // A reader that panicked ends this thread in the same way.
    let facts = facts.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let trace = trace.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    gathered.captures.push(facts?);
    own(trace?, eviction.first(), gathered);
    if progress.is_stopped() {
        let remark = "reading was interrupted; the report is about what had been read by then";
        gathered.remarks.push(remark.to_owned());
    }
    Ok(())
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
            What::Call(call) => call.exited,
            What::Packet(_) | What::Life(_) | What::Stack(_) => None,
        };
        Some(exited.unwrap_or(event.at))
    }
}
