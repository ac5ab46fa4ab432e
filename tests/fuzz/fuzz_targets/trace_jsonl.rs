//! A trace of presyn's own behind a good header, through the pipeline.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::case::jsonl;
use presyn::pipeline::{self, Gathered, Settings};
use std::io::Write;

fuzz_target!(|data: &[u8]| {
    let header = jsonl::Header {
        schema: jsonl::SCHEMA.into(),
        ..jsonl::Header::default()
    };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&jsonl::header_line(&header).unwrap()).unwrap();
    file.write_all(b"\n").unwrap();
    file.write_all(data).unwrap();
    let mut events = Vec::new();
    let Ok(trace) = jsonl::read(file.path(), 0, &mut |e| events.push(e)) else { return };
    let mut gathered = Gathered::default();
    gathered.traces.push((trace.facts, events));
    pipeline::report(gathered, &Settings::default());
});
