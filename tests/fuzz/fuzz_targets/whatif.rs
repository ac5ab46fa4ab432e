//! What would have been: words of options, resolv.conf and the lines of a trace, each part behind an empty line.
#![no_main]
mod common;
use libfuzzer_sys::fuzz_target;
use presyn::input::progress::Progress;
use presyn::case::jsonl;
use presyn::decode::resolv_conf::ResolvConf;
use presyn::explain::assemble::Limits;
use presyn::explain::whatif::{Change, answer::answer};
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::{json, text};

fuzz_target!(|data: &[u8]| {
    let input = String::from_utf8_lossy(data);
    let mut parts = input.splitn(3, "\n\n");
    let (Some(options), Some(conf), Some(lines)) = (parts.next(), parts.next(), parts.next()) else { return };
    let mut trace = jsonl::header_line(&jsonl::Header {
        schema: jsonl::SCHEMA.into(),
        ..jsonl::Header::default()
    })
    .unwrap();
    trace.push(b'\n');
    trace.extend_from_slice(lines.as_bytes());
    let mut events = Vec::new();
    let Ok(trace) = jsonl::read_from(&trace[..], "fuzz", 0, &Progress::default(), &mut |e| events.push(e)) else { return };
    let words: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    let parsed = ResolvConf::parse(conf);
    let changes = [
        None,
        Some(Change {
            options: words.clone(),
            ..Change::default()
        }),
        Some(Change {
            without: parsed.nameservers.iter().take(1).map(|(a, _)| *a).collect(),
            no_reverse: words.len() % 2 == 1,
            ..Change::default()
        }),
        Some(Change {
            conf: Some(("new".into(), parsed)),
            options: words,
            ..Change::default()
        }),
    ];
    for change in changes {
        let mut gathered = Gathered {
            resolv_conf: Some(("resolv.conf".into(), conf.to_owned())),
            one_clock: true,
            ..Gathered::default()
        };
        gathered.traces.push((trace.facts.clone(), events.clone()));
        let answers = pipeline::with_case(gathered, &Settings::default(), |case, _| answer(case, Limits::BOUNDED, change));
        let Ok(answers) = answers else { continue };
        let mut out = Vec::new();
        text::whatif::write(&answers, text::Look::default(), &mut out).unwrap();
        common::harmless(std::mem::take(&mut out));
        json::write(&answers, &mut out).unwrap();
        serde_json::from_slice::<serde_json::Value>(&out).unwrap();
    }
});
