//! A whole log, through the pipeline to the text report.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::input::progress::Progress;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::source::strace_log;

fuzz_target!(|data: &[u8]| {
    let mut events = Vec::new();
    let Ok(facts) = strace_log::read_from("fuzz", data, 0, &Progress::default(), &mut |e| events.push(e)) else { return };
    let mut gathered = Gathered::default();
    gathered.traces.push((facts, events));
    let report = pipeline::report(gathered, &Settings::default());
    let mut shown = Vec::new();
    presyn::render::text::write(&report, presyn::render::text::Look::default(), &mut shown).unwrap();
    let shown = String::from_utf8(shown).unwrap();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
});
