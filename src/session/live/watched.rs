//! A capture whose statistics are read every second, so that drops have a time.

use super::header::now;
use crate::input::drops::{DropCounter, DropSpan};
use crate::source::capture::{CaptureError, CaptureSettings, Live};
use std::time::{Duration, Instant};

/// How often the statistics are read: a drop makes absence unknown for so long.
const EVERY: Duration = Duration::from_secs(1);

/// An open capture, and what it dropped.
pub struct WatchedCapture {
    /// The capture.
    pub live: Live,
    counter: DropCounter,
    due: Instant,
}

impl WatchedCapture {
    /// Opens it.
    pub fn open(settings: &CaptureSettings) -> Result<Self, CaptureError> {
        let counter = DropCounter::start(now());
        Ok(Self {
            live: Live::open(settings)?,
            counter,
            due: Instant::now() + EVERY,
        })
    }

    /// Reads the statistics once a second. Returns the time in which packets were dropped.
    pub fn tick(&mut self) -> Option<DropSpan> {
        if Instant::now() < self.due {
            return None;
        }
        self.read_statistics()
    }

    /// Reads the statistics. Returns the time in which packets were dropped.
    pub fn read_statistics(&mut self) -> Option<DropSpan> {
        let began = now();
        let counts = self.live.counts();
        self.due = Instant::now() + EVERY;
        let dropped = u64::from(counts.kernel_dropped) + u64::from(counts.interface_dropped);
        self.counter.note(dropped, (began, now()))
    }

    /// How many packets were dropped by the last reading.
    pub fn dropped(&self) -> u64 {
        self.counter.total()
    }
}
