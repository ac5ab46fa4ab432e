//! Two reports compared, in every format: the input's halves, split at its first zero byte.
#![no_main]
mod common;
use libfuzzer_sys::fuzz_target;
use presyn::explain::comparison;
use presyn::render::{json, markdown, text};

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    let (before, after) = (&data[..at], data.get(at + 1..).unwrap_or(b"\x01"));
    let (Some(before), Some(after)) = (common::report(before), common::report(after)) else { return };
    let compared = comparison::compare(&before, &after);
    let mut out = Vec::new();
    text::comparison::write(&compared, text::Look::default(), &mut out).unwrap();
    // Colours are presyn's own.
    let out = String::from_utf8(out).unwrap().replace('\u{1b}', "").into_bytes();
    common::harmless(out);
    let mut out = Vec::new();
    markdown::comparison::write(&compared, &mut out).unwrap();
    common::harmless(std::mem::take(&mut out));
    json::write(&compared, &mut out).unwrap();
    serde_json::from_slice::<serde_json::Value>(&out).unwrap();
});
