//! Go's own resolver, without cgo (`net/dnsclient_unix.go`, `net/dnsconfig_unix.go`).

use super::profile::{Profile, WaitsFor};
use super::{Ask, Patience, ResolverOptions, SimulatedLookup, in_turn, side_by_side};
use crate::report::{Model, StubResolver};
use crate::time::Span;

/// Timeout and attempts: at least 1 each, no caps.
pub fn patience(options: &ResolverOptions) -> Patience {
    // Nobody waits for a day; the arithmetic below must not overflow.
    Patience::within(options, (1, 86_400), 1_000)
}

/// A and AAAA apart but side by side (in turn with `single-request`): for each, `attempts` rounds over the
/// servers, every query on a new socket with the whole timeout (`tryOneName`, `exchange`). An error, an ICMP
/// refusal or SERVFAIL leads to the next server at once; a late answer is lost with its socket. Measured:
/// 5 s each, 30.1 s with three silent servers.
pub fn simulate(options: &ResolverOptions, ask: &Ask, start: usize) -> SimulatedLookup {
    let patience = patience(options);
    let one = |question| {
        let rounds = (0..patience.attempts).flat_map(|_| 0..options.servers);
        let servers = rounds.map(|turn| (turn + start) % options.servers);
        in_turn(ask, question, servers, |_| Span::seconds(patience.timeout))
    };
    let single = options.single_request || options.single_request_reopen;
    side_by_side(one, ask.questions, single)
}

/// Go.
pub const PROFILE: Profile = Profile {
    model: Model::Go,
    spoken: "Go",
    client: |_| StubResolver::Go,
    reads_environment: false,
    waits_for: WaitsFor::EachQuestion,
    searches_on: true,
    patience,
    simulate: |options, ask, _, start| simulate(options, ask, start),
    excluded_by: |signs| {
        signs.at_once
            || signs.shared
            || signs.same_id
            || signs.reused
            || !signs.own_sockets
            || signs.connected == Some(false)
            || signs.edns == Some(false) && !signs.written
    },
    signature: |signs, _| {
        // A forwarder asks like this too.
        if signs.untraced || !signs.own_sockets || signs.queries < 2 {
            return None;
        }
        let how = match (signs.written, signs.edns) {
            (true, _) => " and was sent with write",
            (_, Some(true)) => " and EDNS",
            _ => return None,
        };
        Some(format!("each query had a socket and an id of its own{how}"))
    },
};
