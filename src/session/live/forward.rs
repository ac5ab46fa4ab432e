//! The way from the tracing process to the analysis process: a bounded queue, and the thread that fills it with
//! captured frames and empties it into the pipe.
//!
//! The tracer never waits here: what finds the queue full is dropped and counted ([`RecordGap`]), for a traced program must not
//! stand still because a report is slow.

use super::header;
use super::message::{self, Captured, UnreturnedCalls};
use super::watched::WatchedCapture;
use crate::case::jsonl::{Footer, RecordGap};
use crate::event::Event;
use crate::source::capture::{CapturedFrame, Pace};
use crate::time::{Span, Timestamp};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// So many events may wait for the forwarding thread: more than it leaves behind in any storm, some 50 MB.
const EVENTS: usize = 1 << 17;
/// So many bytes of records may wait for the pipe: seconds of the worst storm.
const LIMIT: usize = 32 << 20;
/// So many frames are read before the pipe has its turn.
const FRAMES: u64 = 4_096;
/// What the kernel captured so long ago it has handed over: its timer is set to 4 ms, and may be late on a busy machine.
const HANDED_OVER: Span = Span::millis(100);
/// How often it is said how far the capture was read.
const SAID_AGAIN: Span = Span::millis(50);
/// How long nothing is forwarded at most, in milliseconds, while nothing rings.
const PAUSE: i32 = 10;

/// What the tracer puts in.
#[derive(Debug)]
pub struct Outbox {
    shared: Mutex<Shared>,
    bell: EventFd,
}

/// What waits. It is encoded in the forwarding thread: in the tracer's, a task would stand still meanwhile.
#[derive(Debug)]
enum Item {
    Event(Event),
    Waiting(UnreturnedCalls),
    Encoded(Vec<u8>),
}

#[derive(Debug, Default)]
struct Shared {
    items: Vec<Item>,
    gap: RecordGap,
    /// How many events went in, for their line numbers.
    events: u64,
    /// The last record, once the tracer has ended.
    end: Option<Footer>,
    ending: bool,
    /// Packets of later are not of the recording: what was recorded goes on without it.
    until: Option<Timestamp>,
    settled: bool,
    broken: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> nix::Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            shared: Mutex::default(),
            bell: EventFd::from_value_and_flags(0, flags)?,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic elsewhere leaves whole records behind.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event in, or counts it as missing. It gets its place: line `events + 2` of the trace, for the header is
    /// line 1.
    pub fn event(&self, mut event: Event, input: u16) {
        let mut shared = self.lock();
        if shared.broken {
            return;
        }
        let (at, number) = (event.at, shared.events + 2);
        (event.place.input, event.place.number) = (input, number);
        if shared.items.len() < EVENTS {
            shared.items.push(Item::Event(event));
            shared.events += 1;
        } else {
            shared.gap.count(at, 1, 0);
        }
    }

    /// Puts in what is waited for, unless more important things wait.
    pub fn waiting(&self, waiting: UnreturnedCalls) {
        let mut shared = self.lock();
        if !shared.broken && shared.items.len() < EVENTS / 2 {
            shared.items.push(Item::Waiting(waiting));
        }
    }

    /// Puts in what must not be lost, and wakes the thread.
    pub fn control(&self, write: impl FnOnce(&mut Vec<u8>) -> bool) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        let mut shared = self.lock();
        if !shared.broken {
            shared.items.push(Item::Encoded(bytes));
        }
        drop(shared);
        self.ring();
    }

    /// The tracer has ended; without a footer, by an error.
    fn end(&self, footer: Option<Footer>, until: Option<Timestamp>) {
        let mut shared = self.lock();
        (shared.end, shared.until) = (footer, until);
        shared.ending = true;
        drop(shared);
        self.ring();
    }

    /// Whether the reader is gone.
    pub fn is_broken(&self) -> bool {
        self.lock().broken
    }

    /// Whether the thread has nothing more to send: its reader has it all, or is gone.
    pub fn is_settled(&self) -> bool {
        let shared = self.lock();
        shared.broken || shared.settled
    }

    fn ring(&self) {
        // It fails only when 2^64 rings were not heard.
        let _ = self.bell.write(1);
    }
}

/// The forwarding thread.
#[derive(Debug)]
pub struct Forwarding {
    outbox: Arc<Outbox>,
    thread: JoinHandle<()>,
}

impl Forwarding {
    /// Starts to forward into `pipe`, a descriptor that does not block.
    pub fn start(
        outbox: Arc<Outbox>,
        capture: Option<WatchedCapture>,
        pipe: File,
    ) -> io::Result<Self> {
        let its = outbox.clone();
        let forward = move || {
            leave_the_tracers_cpu();
            Forwarder::new(&its, pipe).run(capture);
        };
        let thread = std::thread::Builder::new().spawn(forward)?;
        Ok(Self { outbox, thread })
    }

    /// Lets the capture drain, forwards what waits and then the last record, and closes the capture, all of it in the
    /// thread: it ends when the reader has everything or is gone.
    pub fn finish(self, footer: Option<Footer>) -> JoinHandle<()> {
        self.outbox.end(footer, None);
        self.thread
    }

    /// The same where what was recorded goes on: packets of after `until` are left out, and not waited for.
    pub fn finish_at(self, until: Timestamp, footer: Footer) -> JoinHandle<()> {
        self.outbox.end(Some(footer), Some(until));
        self.thread
    }
}

/// Tracer and tracee are fastest on one CPU, and are put there by users (taskset(1)) too; whatever else presyn does had
/// better not compete with them. What a cpuset forbids stays forbidden.
pub fn leave_the_tracers_cpu() {
    let mut all = nix::sched::CpuSet::new();
    for cpu in 0..nix::sched::CpuSet::count() {
        let _ = all.set(cpu);
    }
    let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &all);
}

/// What the thread works with.
struct Forwarder<'a> {
    outbox: &'a Outbox,
    pipe: File,
    /// Records on their way, and how many bytes of them are through.
    bytes: Vec<u8>,
    sent: usize,
    /// A list to use again.
    emptied: Vec<Item>,
    gap: RecordGap,
    /// The end of the recording, where packets come after it.
    until: Option<Timestamp>,
    /// Such a packet has come: all earlier ones have.
    is_past: bool,
    broken: bool,
}

impl<'a> Forwarder<'a> {
    fn new(outbox: &'a Outbox, pipe: File) -> Self {
        Self {
            outbox,
            pipe,
            bytes: Vec::new(),
            sent: 0,
            emptied: Vec::new(),
            gap: RecordGap::default(),
            until: None,
            is_past: false,
            broken: false,
        }
    }

    fn run(mut self, mut capture: Option<WatchedCapture>) {
        let mut pace = Pace::default();
        let mut closing: Vec<WatchedCapture> = Vec::new();
        // What waits already, the record of the run's beginning first of all, goes before any frame: frames before it would
        // be in the report and not in the case, whose file begins with it.
        let mut ending = self.take_events();
        let mut read_before = Timestamp::default();
        while !self.broken {
            let mut got = 0;
            let began = header::now();
            if let Some(watched) = &mut capture {
                match watched.live.read(FRAMES, &mut |frame| self.frame(&frame)) {
                    Ok(count) => got = count,
                    Err(error) => {
                        self.captured(watched, Some(error.to_string()));
                        closing.extend(capture.take());
                    }
                }
            }
            if let Some(span) = capture.as_mut().and_then(WatchedCapture::tick) {
                message::dropped(&mut self.bytes, &span);
            }
            ending = self.take_events() || ending;
            if capture.is_some() && got < FRAMES && (began - read_before).abs() >= SAID_AGAIN {
                read_before = began;
                message::captured_before(&mut self.bytes, began - HANDED_OVER);
            }
            self.send();
            let wait = pace.next(got > 0, ending);
            if ending && (capture.is_none() || wait.is_none() || self.is_past) {
                break;
            }
            if got < FRAMES {
                self.wait(capture.as_ref(), wait.map_or(PAUSE, |wait| wait.min(PAUSE)));
            }
        }
        if let Some(mut watched) = capture.take() {
            self.captured(&mut watched, None);
            closing.push(watched);
        }
        self.finish();
        self.outbox.lock().settled = true;
        // Closing a capture may take some 20 ms: the reader need not wait for it.
        drop(closing);
    }

    fn frame(&mut self, frame: &CapturedFrame<'_>) {
        self.is_past |= self.until.is_some_and(|until| frame.at > until);
        if self.is_past {
            return;
        }
        if self.bytes.len() - self.sent >= LIMIT || !message::frame(&mut self.bytes, frame) {
            self.gap.count(frame.at, 0, 1);
        }
    }

    fn captured(&mut self, capture: &mut WatchedCapture, error: Option<String>) {
        if let Some(span) = capture.read_statistics() {
            message::dropped(&mut self.bytes, &span);
        }
        let dropped = error.is_none().then_some(capture.dropped());
        message::captured(&mut self.bytes, &Captured { dropped, error });
    }

    /// Takes what the tracer has put in, if there is room. Returns whether the tracer has ended.
    fn take_events(&mut self) -> bool {
        if self.bytes.len() - self.sent >= LIMIT {
            return false;
        }
        let mut shared = self.outbox.lock();
        let mut items = std::mem::replace(&mut shared.items, std::mem::take(&mut self.emptied));
        let mut lost = std::mem::take(&mut shared.gap);
        let ending = shared.ending;
        self.until = shared.until;
        drop(shared);
        for item in items.drain(..) {
            match item {
                Item::Event(event) => {
                    if !message::event(&mut self.bytes, &event) {
                        lost.count(event.at, 1, 0);
                    }
                }
                // A crowd of waits that is too long for a record is not worth one.
                Item::Waiting(waiting) => drop(message::waiting(&mut self.bytes, &waiting)),
                Item::Encoded(bytes) => self.bytes.extend(bytes),
            }
        }
        self.emptied = items;
        for lost in [lost, std::mem::take(&mut self.gap)] {
            if !lost.is_empty() {
                message::gap(&mut self.bytes, &lost);
            }
        }
        ending
    }

    /// Sends what the pipe takes now.
    fn send(&mut self) {
        if !message::write_some(&self.bytes, &mut self.sent, &mut self.pipe) {
            return self.give_up();
        }
        if self.sent == self.bytes.len() {
            self.sent = 0;
            if self.bytes.capacity() > LIMIT / 8 {
                self.bytes = Vec::new();
            } else {
                self.bytes.clear();
            }
        } else if self.sent > LIMIT / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Until there is something to do.
    fn wait(&mut self, capture: Option<&WatchedCapture>, milliseconds: i32) {
        let pending = self.sent < self.bytes.len();
        let pipe = if pending {
            PollFlags::POLLOUT
        } else {
            PollFlags::empty()
        };
        let mut fds = vec![
            PollFd::new(self.pipe.as_fd(), pipe),
            PollFd::new(self.outbox.bell.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(capture) = capture {
            fds.push(PollFd::new(capture.live.as_fd(), PollFlags::POLLIN));
        }
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::ZERO);
        // Interrupted or not: everything is tried next.
        let _ = poll(&mut fds, timeout);
        let gone = fds[0]
            .revents()
            .is_some_and(|r| r.contains(PollFlags::POLLERR));
        let rang = fds[1].any().unwrap_or(false);
        if rang {
            let _ = self.outbox.bell.read();
        }
        if gone {
            self.give_up();
        }
    }

    /// The reader is gone.
    fn give_up(&mut self) {
        self.broken = true;
        (self.bytes, self.sent) = (Vec::new(), 0);
        let mut shared = self.outbox.lock();
        shared.broken = true;
        shared.items = Vec::new();
    }

    /// Sends everything that is left, and the last record. How long the reader may take for it is for the main thread
    /// to say.
    fn finish(&mut self) {
        loop {
            self.send();
            if self.broken || self.take_events() {
                break;
            }
            self.wait(None, PAUSE);
        }
        if let Some(footer) = self.outbox.lock().end.take() {
            message::end(&mut self.bytes, &footer);
        }
        while !self.broken && self.sent < self.bytes.len() {
            self.send();
            self.wait(None, PAUSE);
        }
    }
}
