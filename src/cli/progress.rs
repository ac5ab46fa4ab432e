//! A bar on the terminal while large files are read.

use crate::source::headway;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Whoever has the report within this needs no bar.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A bar that is shown once reading has taken a second, and is gone when this is dropped.
#[derive(Debug)]
pub struct Progress {
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins to count the second. Shows nothing where standard error is no terminal.
    pub fn begin() -> Self {
        let shown = io::stderr().is_terminal().then(|| {
            let (end, ended) = mpsc::channel();
            let ended_within =
                move |time| ended.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
            (end, thread::spawn(move || show(&ended_within)))
        });
        Self { shown }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.shown.take() {
            drop(end);
            // A bar that could not be drawn is no reason to withhold the report.
            let _ = thread.join();
        }
    }
}

fn show(ended_within: &dyn Fn(Duration) -> bool) {
    if ended_within(AT_ONCE) {
        return;
    }
    let bar =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_elapsed(AT_ONCE);
    let mut reading = None;
    loop {
        if reading != Some(headway::is_reading()) {
            reading = Some(headway::is_reading());
            bar.set_style(style());
        }
        if headway::expected() > 0 {
            bar.set_length(headway::expected());
        }
        bar.set_position(headway::read());
        bar.tick();
        if ended_within(TICK) {
            return bar.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let template = if !headway::is_reading() {
        "presyn: read {bytes}; joining packets and calls"
    } else if headway::expected() > 0 {
        "presyn: {bar:20} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
    } else {
        "presyn: read {bytes}, {bytes_per_sec}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
