//! A whole capture file of any format, through the pipeline to JSON.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::pipeline::{self, Gathered, Settings};
use presyn::source::capture_file::{CaptureOptions, read_from};

fuzz_target!(|data: &[u8]| {
    let mut gathered = Gathered::default();
    let packets = &mut gathered.packets;
    let options = CaptureOptions::default();
    let Ok(facts) = read_from(data, "fuzz", 0, &options, &mut |e| packets.push(e)) else { return };
    gathered.captures.push(facts);
    let report = pipeline::report(gathered, &Settings::default());
    presyn::render::json::write(&report, &mut Vec::new()).unwrap();
});
