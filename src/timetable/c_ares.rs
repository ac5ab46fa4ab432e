//! c-ares (`src/lib/ares_process.c`: `ares_calc_query_timeout`, `src/lib/ares_metrics.c`; 1.34), as node calls it.

use super::profile::{Profile, WaitsFor};
use super::{Ask, Edge, Patience, ResolverOptions, SimulatedLookup, in_turn, side_by_side};
use crate::report::{Model, StubResolver};
use crate::time::Span;

/// `DEFAULT_TIMEOUT` of `ares_private.h`, seconds.
const TIMEOUT: i64 = 2;
/// `DEFAULT_TRIES` of `ares_private.h`.
const TRIES: usize = 3;
/// `dns.resolve`'s of node, whatever resolv.conf says (`tries`, `lib/internal/dns/utils.js`).
const NODE_TRIES: usize = 4;
/// node looks for timeouts once a second (`ChannelWrap::StartTimer` in `src/cares_wrap.cc`), so a wait may last
/// that much longer. Measured 3, 2, 2, 4, 3, 4, 6, 5, 8, 9, 11, 15 s.
const TICK: Span = Span::seconds(1);

/// Timeout and rounds. The rounds are a range: c-ares' own default and node's.
pub fn patience(options: &ResolverOptions, edge: Edge) -> Patience {
    let tries = options.attempts.unwrap_or(TRIES).clamp(1, 1_000);
    Patience {
        timeout: options.timeout.unwrap_or(TIMEOUT).clamp(1, 86_400),
        attempts: match edge {
            Edge::Least => tries.min(NODE_TRIES),
            Edge::Most => tries.max(NODE_TRIES),
        },
    }
}

/// How long c-ares waits for a server in a round (from 0): the timeout, doubled in every round; from the second
/// round on jitter takes off up to half of it, but never below the timeout. A channel that has lived long enough
/// to know its servers waits five times their average latency instead, at least 250 ms; nobody outside can know.
pub fn wait(timeout: i64, round: usize, edge: Edge) -> Span {
    let timeout = Span::seconds(timeout);
    let shift = u32::try_from(round.min(16)).unwrap_or(16);
    let nominal = Span(timeout.0.saturating_mul(1 << shift));
    match edge {
        Edge::Least if round == 0 => timeout,
        Edge::Least => Span(nominal.0 / 2).max(timeout),
        Edge::Most => nominal + TICK,
    }
}

/// A and AAAA apart but side by side; servers in turn (a server that failed goes to the end of the list, so a
/// round over all comes to the same), a new socket each time, so late answers are lost.
pub fn simulate(options: &ResolverOptions, ask: &Ask, edge: Edge, start: usize) -> SimulatedLookup {
    let patience = patience(options, edge);
    let servers = options.servers;
    let one = |question| {
        let tries = (0..patience.attempts.saturating_mul(servers)).map(|t| (t + start) % servers);
        in_turn(ask, question, tries, |number| {
            wait(patience.timeout, number / servers, edge)
        })
    };
    side_by_side(one, ask.questions, false)
}

/// c-ares.
pub const PROFILE: Profile = Profile {
    model: Model::CAres,
    spoken: "c-ares",
    client: |_| StubResolver::CAres,
    // `ares_init_by_environment`.
    reads_environment: true,
    waits_for: WaitsFor::EachQuestion,
    searches_on: false,
    patience: |options| patience(options, Edge::Least),
    simulate,
    excluded_by: |signs| {
        signs.at_once || signs.one_call || signs.reused || signs.new_id || signs.written
    },
    signature: |signs, fits| {
        (fits && signs.same_id && signs.new_socket)
            .then(|| "each try had a new socket and the same id".into())
    },
};
