//! A trace of presyn's own behind a good header, through the pipeline to every format.
#![no_main]
mod common;
use libfuzzer_sys::fuzz_target;
use presyn::input::progress::Progress;
use presyn::case::jsonl;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::text::{self, Look};
use presyn::render::{json, markdown};

fuzz_target!(|data: &[u8]| {
    let mut trace = jsonl::header_line(&jsonl::Header {
        schema: jsonl::SCHEMA.into(),
        ..jsonl::Header::default()
    })
    .unwrap();
    trace.push(b'\n');
    trace.extend_from_slice(data);
    let mut events = Vec::new();
    let Ok(trace) = jsonl::read_from(&trace[..], "fuzz", 0, &Progress::default(), &mut |e| events.push(e)) else { return };
    let mut gathered = Gathered::default();
    gathered.traces.push((trace.facts, events));
    let report = pipeline::report(gathered, &Settings::default());
    let mut out = Vec::new();
    text::write(&report, Look::default(), &mut out).unwrap();
    common::harmless(std::mem::take(&mut out));
    markdown::write(&report, &mut out).unwrap();
    common::harmless(std::mem::take(&mut out));
    json::write(&report, &mut out).unwrap();
    serde_json::from_slice::<presyn::report::Report>(&out).unwrap();
});
