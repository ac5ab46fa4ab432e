//! What hostile DNS messages cost. Here and not beside the parser, because it needs a clock.

use presyn::decode::dns::parse;
use std::time::Instant;

#[test]
fn hostile_messages_cost_linear_time() {
    // Pointers to pointers, as many as fit, and records that claim everything.
    let mut chain = vec![0, 1, 0x80, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    chain.extend([0, 0, 1, 0, 1]);
    while chain.len() < 60_000 {
        let target = (chain.len() - 2).min(0x3fff) | 0xc000;
        chain.extend(u16::try_from(target).unwrap().to_be_bytes());
        chain.extend([0, 5, 0, 1, 0, 0, 0, 0, 0, 2]);
        chain.extend(u16::try_from(target).unwrap().to_be_bytes());
    }
    let start = Instant::now();
    for _ in 0..100 {
        assert!(parse(&chain).is_ok_and(|message| message.addresses.is_empty()));
    }
    // Measured: far below a millisecond each in a debug build; quadratic cost would be seconds.
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}
