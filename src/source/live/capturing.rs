//! The thread that captures, decodes and stores packets while the tracer traces.

use crate::decode::packet::trimmed_length;
use crate::event::Event;
use crate::input::CaptureFacts;
use crate::source::capture::{Batch, CaptureError, Counts, Live, pcap_writer::PcapWriter};
use crate::source::capture_file::Reading;
use std::fs::File;
use std::io::BufWriter;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Packets seen so far, shared between the capturing thread and the one that traces.
pub type Shared = Arc<Mutex<Vec<Event>>>;

/// The capturing thread.
pub struct Capturing {
    pub stop: Arc<AtomicBool>,
    pub events: Shared,
    pub path: String,
    pub thread: JoinHandle<(Result<Counts, CaptureError>, CaptureFacts)>,
}

/// Starts to capture. Frames are stored in `file` (of this link type), where one is given.
pub fn start(live: Live, file: Option<(File, i32)>, path: String, ports: Vec<u16>) -> Capturing {
    let stop = Arc::new(AtomicBool::new(false));
    let events: Shared = Shared::default();
    let (its_stop, its_events, its_path) = (stop.clone(), events.clone(), path.clone());
    let thread = std::thread::spawn(move || {
        leave_the_tracers_cpu();
        let mut batch: Vec<Event> = Vec::new();
        let sink = std::cell::RefCell::new(&mut batch);
        let mut push = |event| sink.borrow_mut().push(event);
        let facts = CaptureFacts {
            path: its_path,
            ..CaptureFacts::default()
        };
        let mut reading = Reading::live(facts, &ports, &mut push);
        let mut writer =
            file.and_then(|(file, link)| PcapWriter::new(BufWriter::new(file), link, &ports).ok());
        let counts = live.run(&its_stop, &mut |piece| match piece {
            Batch::Frame(frame) => {
                // What is decoded is what is stored, so that the case reads back the same.
                let kept = trimmed_length(frame.link, frame.data, &ports);
                reading.frame(
                    frame.at,
                    frame.link,
                    frame.interface,
                    &frame.data[..kept],
                    frame.original_length,
                );
                if let Some(writer) = &mut writer
                    && let Err(error) = writer.write(&frame)
                {
                    reading.warn(&format!("a packet could not be stored: {error}"));
                }
            }
            Batch::End => {
                if let Some(writer) = &mut writer {
                    let _ = writer.flush();
                }
                lock(&its_events).append(&mut sink.borrow_mut());
            }
        });
        let mut facts = reading.finish();
        lock(&its_events).append(&mut sink.borrow_mut());
        if let Ok(counts) = &counts {
            facts.dropped = Some(dropped(counts));
        }
        (counts, facts)
    });
    Capturing {
        stop,
        events,
        path,
        thread,
    }
}

/// Tracer and tracee are fastest on one CPU, and are put there by users (taskset(1)) too; the capture had better
/// not compete with them. What a cpuset forbids stays forbidden.
fn leave_the_tracers_cpu() {
    let mut all = nix::sched::CpuSet::new();
    for cpu in 0..nix::sched::CpuSet::count() {
        let _ = all.set(cpu);
    }
    let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &all);
}

fn dropped(counts: &Counts) -> u64 {
    u64::from(counts.kernel_dropped) + u64::from(counts.interface_dropped)
}

/// The packets so far.
pub fn lock(events: &Shared) -> MutexGuard<'_, Vec<Event>> {
    // A panic elsewhere leaves whole events behind.
    events.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the capture, once the link is quiet.
pub fn finish(capturing: Capturing) -> (CaptureFacts, Vec<Event>) {
    capturing.stop.store(true, Ordering::Release);
    let path = capturing.path;
    let (counts, mut facts) = capturing.thread.join().unwrap_or_else(|_| {
        let facts = CaptureFacts {
            path,
            damaged: true,
            ..CaptureFacts::default()
        };
        (Ok(Counts::default()), facts)
    });
    if let Err(error) = counts {
        facts.damaged = true;
        facts.warnings.push(error.to_string());
    }
    let events = std::mem::take(&mut *lock(&capturing.events));
    (facts, events)
}

/// What a capture that still runs can say about itself.
pub fn seen(events: &[Event]) -> CaptureFacts {
    CaptureFacts {
        packets: events.last().map_or(0, |e| e.place.number),
        first: events.first().map(|e| e.at),
        last: events.last().map(|e| e.at),
        ..CaptureFacts::default()
    }
}
