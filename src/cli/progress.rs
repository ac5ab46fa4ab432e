//! A bar on the terminal while large files are read.

use crate::input::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::sys::signal::{SigSet, Signal};
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What a shell shows for a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

/// From here on a first Ctrl-C while files are read stops the reading; any other ends the program. To be called
/// before any other thread begins: they inherit the blocked signal.
///
/// # Errors
/// The signal cannot be blocked.
pub fn stop_at_interrupt(progress: &Progress) -> nix::Result<()> {
    let progress = progress.clone();
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    interrupt.thread_block()?;
    std::thread::spawn(move || {
        while interrupt.wait().is_ok() {
            if !progress.is_reading() || progress.stop() {
                std::process::exit(INTERRUPTED.into());
            }
        }
    });
    Ok(())
}

/// Whoever has the report within this needs no bar.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A bar that is shown once reading has taken a second, and is gone when this is dropped.
#[derive(Debug)]
pub struct Bar {
    shown: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Bar {
    /// Begins to count the second. Shows nothing where standard error is no terminal.
    pub fn begin(progress: &Progress) -> Self {
        let progress = progress.clone();
        let shown = io::stderr().is_terminal().then(|| {
            let (end, ended) = mpsc::channel();
            let ended_within =
                move |time| ended.recv_timeout(time) != Err(RecvTimeoutError::Timeout);
            (end, thread::spawn(move || show(&progress, &ended_within)))
        });
        Self { shown }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.shown.take() {
            drop(end);
            // A bar that could not be drawn is no reason to withhold the report.
            let _ = thread.join();
        }
    }
}

fn show(progress: &Progress, ended_within: &dyn Fn(Duration) -> bool) {
    if ended_within(AT_ONCE) {
        return;
    }
    let bar =
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_elapsed(AT_ONCE);
    let mut reading = None;
    loop {
        if reading != Some(progress.is_reading()) {
            reading = Some(progress.is_reading());
            bar.set_style(style(progress));
        }
        if progress.expected() > 0 {
            bar.set_length(progress.expected());
        }
        bar.set_position(progress.read());
        bar.tick();
        if ended_within(TICK) {
            return bar.finish_and_clear();
        }
    }
}

fn style(progress: &Progress) -> ProgressStyle {
    let template = if !progress.is_reading() {
        "presyn: read {bytes}; joining packets and calls"
    } else if progress.expected() > 0 {
        "presyn: {bar:20} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left"
    } else {
        "presyn: read {bytes}, {bytes_per_sec}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
