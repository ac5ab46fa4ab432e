//! Go's own resolver, without cgo (`net/dnsclient_unix.go`, `net/dnsconfig_unix.go`).

use super::{Ask, Course, Patience, Told, in_turn, side_by_side};
use crate::time::Span;

/// Timeout and attempts: at least 1 each, no caps.
pub fn patience(told: &Told) -> Patience {
    // Nobody waits for a day; the arithmetic below must not overflow.
    Patience::within(told, (1, 86_400), 1_000)
}

/// A and AAAA apart but side by side (in turn with `single-request`): for each, `attempts` rounds over the
/// servers, every query on a new socket with the whole timeout (`tryOneName`, `exchange`). An error, an ICMP
/// refusal or SERVFAIL leads to the next server at once; a late answer is lost with its socket. Measured:
/// 5 s each, 30.1 s with three silent servers.
pub fn course(told: &Told, ask: &Ask, start: usize) -> Course {
    let patience = patience(told);
    let one = |question| {
        let rounds = (0..patience.attempts).flat_map(|_| 0..told.servers);
        let servers = rounds.map(|turn| (turn + start) % told.servers);
        in_turn(ask, question, servers, |_| Span::seconds(patience.timeout))
    };
    let single = told.single_request || told.single_request_reopen;
    side_by_side(one, ask.questions, single)
}
