//! DNS messages, whole and cut.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::decode::dns;

fuzz_target!(|data: &[u8]| {
    let whole = dns::parse(data);
    dns::looks_like_dns(data);
    dns::glimpse(data, true);
    dns::glimpse(data, false);
    for question in whole.iter().filter_map(|m| m.question.as_ref()) {
        // A name is safe to print, whatever was sent.
        assert!(question.to_string().chars().all(|c| !c.is_control()));
        question.name.reverse_of();
        question.name.completed();
    }
});
