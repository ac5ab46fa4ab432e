//! Readers in threads of their own, of which events are taken in order of time.

use super::super::super::in_order::next_known;
use crate::event::Event;
use crate::intern::Interner;
use crate::time::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// So many events are read ahead of their turn, of all inputs together: as many batches of each, of so many events at least.
const AHEAD: usize = 8_192;
const BATCHES: usize = 4;
const LEAST_BATCH: usize = 16;

/// Events on their way from a reader.
pub(super) struct Batches {
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

    pub(super) fn push(&mut self, mut event: Event) {
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

/// An input that is read when its turn comes.
pub(super) struct Turn<R> {
    /// When its first event was known, as far as that is known before it is opened.
    pub(super) begins: Option<Timestamp>,
    /// Reads it to its end.
    pub(super) read: R,
}

/// Reads all inputs and takes their events in order of time; at the same time those of the first one go first. Returns what
/// each reader returned.
pub(super) fn in_order<'scope, T, R>(
    scope: &'scope Scope<'scope, '_>,
    turns: Vec<Turn<R>>,
    sink: &mut dyn FnMut(Event),
) -> Vec<T>
where
    T: Send + 'scope,
    R: FnOnce(Batches) -> T + Send + 'scope,
{
    let size = (AHEAD / (BATCHES * turns.len().max(1))).max(LEAST_BATCH);
    let mut inputs: Vec<_> = { turns.into_iter() }
        .map(|turn| Ahead::new(turn, size))
        .collect();
    for input in inputs.iter_mut().filter(|input| input.begins.is_none()) {
        input.open(scope);
    }
    let known = inputs.iter_mut().zip(0..);
    let known = known.filter_map(|(input, n)| Some(Reverse((input.next_known()?, n))));
    let mut next: BinaryHeap<Reverse<(Timestamp, usize)>> = known.collect();
    while let Some(Reverse((_, first))) = next.pop() {
        let input = &mut inputs[first];
        if input.unread.is_some() {
            input.open(scope);
        } else if let Some(event) = input.waiting.pop_front() {
            sink(event);
        }
        next.extend(input.next_known().map(|known| Reverse((known, first))));
    }
    let threads = inputs.into_iter().filter_map(|input| input.thread);
    threads.map(joined).collect()
}

/// What a thread returned; one that panicked ends this thread in the same way.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    { thread.join() }.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// An input, and what was read of it and not taken yet.
struct Ahead<'scope, T, R> {
    begins: Option<Timestamp>,
    /// Its reader, until it is opened.
    unread: Option<(R, Batches)>,
    thread: Option<ScopedJoinHandle<'scope, T>>,
    from: Receiver<Vec<Event>>,
    waiting: VecDeque<Event>,
}

impl<'scope, T, R> Ahead<'scope, T, R>
where
    T: Send + 'scope,
    R: FnOnce(Batches) -> T + Send + 'scope,
{
    fn new(turn: Turn<R>, size: usize) -> Self {
        let (to, from) = sync_channel(BATCHES);
        Self {
            begins: turn.begins,
            unread: Some((turn.read, Batches::new(to, size))),
            thread: None,
            from,
            waiting: VecDeque::new(),
        }
    }

    fn open(&mut self, scope: &'scope Scope<'scope, '_>) {
        if let Some((read, batches)) = self.unread.take() {
            self.thread = Some(scope.spawn(move || read(batches)));
        }
    }

    /// When the next event was known. `None` at the end of the input.
    fn next_known(&mut self) -> Option<Timestamp> {
        if self.unread.is_some() {
            return self.begins;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, IcmpKind, Location, Packet};
    use std::sync::Mutex;
    use std::thread;

    fn packet(at: i64) -> Event {
        let (kind, from) = (IcmpKind::TooBig, [0; 4].into());
        let what = EventKind::Packet(Packet::Icmp {
            from,
            to: from,
            kind,
            quote: None,
        });
        Event {
            at: Timestamp(at),
            place: Location::default(),
            what,
        }
    }

    #[test]
    fn an_input_is_opened_when_its_turn_comes() {
        // Which input is opened, and which event is taken.
        let seen = Mutex::new(Vec::new());
        let note = |what: String| seen.lock().unwrap().push(what);
        let turn = |name: &'static str, begins: Option<i64>, times: &'static [i64]| {
            let note = &note;
            let read = move |mut batches: Batches| {
                note(format!("opens {name}"));
                for at in times {
                    batches.push(packet(*at));
                }
                name
            };
            Turn {
                begins: begins.map(Timestamp),
                read,
            }
        };
        let turns = vec![
            turn("second", Some(50), &[50, 70]),
            turn("first", None, &[10, 20, 30]),
            turn("empty", None, &[]),
            turn("beside", Some(20), &[20, 60]),
        ];
        let returned = thread::scope(|scope| {
            in_order(scope, turns, &mut |event| note(event.at.0.to_string()))
        });
        assert_eq!(returned, ["second", "first", "empty", "beside"]);
        let seen = seen.into_inner().unwrap();
        let times: Vec<&String> = seen.iter().filter(|s| !s.contains(' ')).collect();
        assert_eq!(times, ["10", "20", "20", "30", "50", "60", "70"]);
        let at = |what: &str| seen.iter().position(|s| s == what);
        assert!(at("10") < at("opens beside") && at("opens beside") < at("30"));
        assert!(at("30") < at("opens second") && at("opens second") < at("60"));
    }
}
