//! Reports for the targets that read them: those of recorded cases, edited as the input says.
#![allow(dead_code, reason = "each target uses a part of it")]

use presyn::pipeline::{self, Settings};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Cases that fill most fields of a report.
const CASES: [&str; 8] = [
    "zookeeper-three-silent",
    "late-and-denied",
    "two-addresses-fallback",
    "nscd-slow",
    "stub-upstream-dead",
    "tcp-dns-dead",
    "syn-blackholed",
    "nothing-wrong",
];

fn bases() -> &'static [Value] {
    static BASES: OnceLock<Vec<Value>> = OnceLock::new();
    BASES.get_or_init(|| {
        let captures = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../captures"));
        let report = |case: &&str| {
            let gathered = inputs::gather(&[captures.join(case)], &InputOptions::default()).unwrap();
            serde_json::to_value(pipeline::report(gathered, &Settings::default())).unwrap()
        };
        CASES.iter().map(report).collect()
    })
}

/// Numbers at the ends of their ranges, and of other kinds.
const NUMBERS: [f64; 8] = [0.0, -1.0, 1e18, -1e18, 1.7e308, 5e-324, 0.5, 1e-9];

/// A report: the input itself where it is JSON, else a base (first byte) with edits, each of which is a place (two bytes),
/// a kind, a length, and as many bytes.
pub fn report(data: &[u8]) -> Option<Report> {
    if data.first() == Some(&b'{') {
        return serde_json::from_slice(data).ok();
    }
    let (base, mut edits) = data.split_first()?;
    let bases = bases();
    let mut value = bases[usize::from(*base) % bases.len()].clone();
    while let Some(([high, low, kind, length], rest)) = edits.split_first_chunk::<4>() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        edits = rest;
        let nodes = count(&value);
        let place = usize::from(u16::from_be_bytes([*high, *low])) % nodes;
        let text = || String::from_utf8_lossy(bytes).into_owned();
        let number = NUMBERS[usize::from(*kind >> 3) % NUMBERS.len()];
        let copied = bytes.first().map(|b| node(&mut value, &mut (usize::from(*b) * 7 % nodes)).cloned());
        let Some(node) = node(&mut value, &mut { place }) else {
            continue;
        };
        match kind & 7 {
            0 | 1 => *node = Value::String(text()),
            2 => *node = serde_json::Number::from_f64(number).map_or(Value::Null, Value::Number),
            // Values are as close to what was there as can be, or few reports would be read.
            3 => match node {
                Value::Number(n) if n.is_u64() => *node = Value::from(u64::MAX >> (*length % 64)),
                Value::Number(_) => *node = Value::from(number),
                Value::String(s) => s.push_str(&text()),
                Value::Array(list) => list.clear(),
                Value::Bool(b) => *b = !*b,
                _ => {}
            },
            4 => match node {
                Value::Array(list) if list.len() < 200 => list.extend_from_within(..),
                Value::Array(list) => list.reverse(),
                Value::Object(map) => drop(map.remove(&text())),
                _ => {}
            },
            5 => *node = Value::Null,
            _ => {
                if let Some(Some(copied)) = copied
                    && count(&copied) < 2000
                {
                    *node = copied;
                }
            }
        }
        if count(&value) > 20_000 {
            break;
        }
    }
    serde_json::from_value(value).ok()
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn count(value: &Value) -> usize {
    1 + children(value).into_iter().map(count).sum::<usize>()
}

fn node<'a>(value: &'a mut Value, place: &mut usize) -> Option<&'a mut Value> {
    if *place == 0 {
        return Some(value);
    }
    *place -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|v| node(v, place)),
        Value::Object(map) => map.values_mut().find_map(|v| node(v, place)),
        _ => None,
    }
}

/// Text for people holds nothing that a terminal obeys.
pub fn harmless(text: Vec<u8>) {
    let text = String::from_utf8(text).unwrap();
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
}
