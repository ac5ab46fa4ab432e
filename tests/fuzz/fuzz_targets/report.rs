//! A saved report, hostile or not, in every format.
#![no_main]
mod common;
use libfuzzer_sys::fuzz_target;
use presyn::render::text::{self, Look};
use presyn::render::{json, jsonl, markdown};

fuzz_target!(|data: &[u8]| {
    let Some(report) = common::report(data) else { return };
    let look = Look {
        verify: true,
        ..Look::default()
    };
    let mut out = Vec::new();
    text::write(&report, look, &mut out).unwrap();
    common::harmless(std::mem::take(&mut out));
    markdown::write(&report, &mut out).unwrap();
    common::harmless(std::mem::take(&mut out));
    jsonl::write("case", &report, &mut out).unwrap();
    for line in out.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).unwrap();
    }
    out.clear();
    json::write(&report, &mut out).unwrap();
    serde_json::from_slice::<presyn::report::Report>(&out).unwrap();
});
