//! One line of a log, after a good one that gives it a style to look like.
#![no_main]
use libfuzzer_sys::fuzz_target;
use presyn::decode::strace::Reader;

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::new(0);
    let mut sink = |_| {};
    reader.line(1, b"7 1700000000.000001 close(3) = 0 <0.000009>", &mut sink);
    reader.line(2, data, &mut sink);
    reader.finish("fuzz", &mut sink);
});
