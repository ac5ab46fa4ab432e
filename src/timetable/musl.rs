//! musl's stub resolver (`src/network/res_msend.c`).

use super::profile::{Profile, WaitsFor};
use super::{Ask, LookupResult, ModelRun, Patience, ResolverOptions, ServerReply, SimulatedLookup};
use crate::report::{Model, StubResolver};
use crate::time::{SECOND, Span};

/// `timeout` and `attempts` are capped at these.
const MAX_TIMEOUT: i64 = 30;
/// See [`MAX_TIMEOUT`].
const MAX_ATTEMPTS: usize = 10;

/// Timeout and attempts with musl's defaults and caps. The timeout is that of the whole lookup.
pub fn patience(options: &ResolverOptions) -> Patience {
    Patience::within(options, (0, MAX_TIMEOUT), MAX_ATTEMPTS)
}

/// How long after a sending it sends again what is not answered: `timeout / attempts`, in milliseconds.
pub fn interval(patience: Patience) -> Span {
    let attempts = i64::try_from(patience.attempts.max(1)).unwrap_or(1);
    Span::millis(patience.timeout * 1000 / attempts)
}

/// All servers at once, all questions at once, from one socket; what is not answered is sent again after the
/// interval; the first answer to a question counts, whoever gives it. Errors of servers and of the network are
/// passed over. Every question must be answered, else the lookup fails at the timeout.
pub fn simulate(options: &ResolverOptions, ask: &Ask) -> SimulatedLookup {
    let patience = patience(options);
    let (interval, limit) = (interval(patience), Span(patience.timeout * SECOND));
    let mut run = ModelRun::new(ask);
    // Per question the first usable reply on its way.
    let mut best: Vec<Option<(Span, LookupResult)>> = vec![None; ask.questions];
    while run.now < limit && interval > Span::ZERO {
        for (question, best) in best.iter_mut().enumerate() {
            if best.is_some_and(|(at, _)| at <= run.now) {
                continue;
            }
            for server in 0..options.servers {
                let usable = match run.send(server, question) {
                    ServerReply::Answer(after) => Some((after, LookupResult::Answered)),
                    ServerReply::Denied(after) => Some((after, LookupResult::Denied)),
                    // Since 1.2.4 it asks again over TCP.
                    ServerReply::Truncated(after, tcp) => {
                        Some((after + tcp, LookupResult::Answered))
                    }
                    ServerReply::Failure(_) | ServerReply::Error(_) | ServerReply::Silent => None,
                };
                let reply = usable.map(|(after, ending)| (run.now + after, ending));
                if let Some(reply) = reply
                    && best.is_none_or(|b| reply.0 < b.0)
                {
                    *best = Some(reply);
                }
            }
        }
        let sent = run.now;
        let next = (sent + interval).min(limit);
        let answered = |at: Option<(Span, LookupResult)>| at.map(|b| b.0).filter(|at| *at <= next);
        for message in run.sent.iter_mut().filter(|m| m.at == sent) {
            message.until = answered(best[message.question]).unwrap_or(next).max(sent);
        }
        let over: Option<Vec<Span>> = best.iter().map(|b| answered(*b)).collect();
        if let Some(over) = over {
            run.now = over.into_iter().max().unwrap_or(sent).max(sent);
            let ending = best.iter().flatten().map(|b| b.1).max();
            return run.end(ending.unwrap_or(LookupResult::Failed));
        }
        run.now = next;
    }
    run.end(LookupResult::Failed)
}

/// musl.
pub const PROFILE: Profile = Profile {
    model: Model::Musl,
    spoken: "musl",
    client: |_| StubResolver::Musl,
    reads_environment: false,
    waits_for: WaitsFor::AllServers,
    searches_on: false,
    patience,
    simulate: |options, ask, _, _| simulate(options, ask),
    excluded_by: |signs| {
        // It asks all of several servers at once, and again from the same socket.
        (signs.new_socket || signs.several_configured) && !signs.at_once
            || signs.new_id
            || signs.written
            || signs.connected == Some(true)
            || signs.edns == Some(true)
    },
    signature: |signs, _| {
        if signs.at_once {
            let resolvers = signs.resolvers;
            return Some(format!("one socket asked {resolvers} resolvers at once"));
        }
        (signs.connected == Some(false) && signs.reused)
            .then(|| "it asked again from one unconnected socket".into())
    },
};
