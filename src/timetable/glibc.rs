//! glibc's stub resolver (`resolv/res_send.c`: `__res_context_send`, `send_dg`; resolv.conf(5)).

use super::profile::{Profile, WaitsFor};
use super::{Ask, LookupResult, ModelRun, Patience, ResolverOptions, ServerReply, SimulatedLookup};
use crate::report::{Model, StubResolver};
use crate::time::Span;

/// `RES_MAXRETRANS` and `RES_MAXRETRY` of `<resolv.h>`: larger values are capped.
const MAX_TIMEOUT: i64 = 30;
/// See [`MAX_TIMEOUT`].
const MAX_ATTEMPTS: usize = 5;

/// Timeout and attempts with glibc's defaults and caps.
pub fn patience(options: &ResolverOptions) -> Patience {
    Patience::within(options, (1, MAX_TIMEOUT), MAX_ATTEMPTS)
}

/// How long glibc waits for the server with index `server` of `servers` over UDP: the timeout shifted left
/// by the index, divided by the number of servers from the second one on, at least a second; the same in
/// every round (`send_dg`; measured 5, 3, 6, 5, 3, 6 s with three servers).
pub fn wait(patience: Patience, server: usize, servers: usize) -> Span {
    let shift = u32::try_from(server.min(16)).unwrap_or(16);
    let mut seconds = patience.timeout.saturating_mul(1 << shift);
    if server > 0 {
        seconds /= i64::try_from(servers.max(1)).unwrap_or(1);
    }
    Span::seconds(seconds.max(1))
}

/// A reply that is under way: its server, question, when it arrives, and what it is.
type Coming = (usize, usize, Span, ServerReply);

/// What a visit to one server came to.
enum Visit {
    /// The lookup is over.
    Over(LookupResult),
    /// Nothing usable: the next server.
    Next,
    /// One of two questions was answered: the same server again, one question at a time.
    Again,
}

/// Rounds over all servers. A and AAAA share one wait. The sockets stay open, so that an answer that comes late
/// is read when its server is visited again. When only one of the two questions is answered, the same server is
/// asked again one question at a time, then once more on new sockets; only then the other is given up
/// (measured: 5 + 5 + 5 s). `start` is the server that `rotate` begins with; each keeps its own wait.
pub fn simulate(options: &ResolverOptions, ask: &Ask, start: usize) -> SimulatedLookup {
    let patience = patience(options);
    let mut run = ModelRun::new(ask);
    let mut coming: Vec<Coming> = Vec::new();
    let mut single = options.single_request || options.single_request_reopen;
    let mut reopened = options.single_request_reopen;
    for _ in 0..patience.attempts {
        for turn in 0..options.servers {
            let server = (turn + start) % options.servers;
            let wait = wait(patience, server, options.servers);
            loop {
                match visit(&mut run, &mut coming, server, wait, single) {
                    Visit::Over(ending) => return run.end(ending),
                    Visit::Next => break,
                    Visit::Again if !single => single = true,
                    Visit::Again if !reopened => {
                        reopened = true;
                        coming.clear();
                    }
                    Visit::Again => return run.end(LookupResult::Answered),
                }
            }
        }
    }
    run.end(LookupResult::Failed)
}

fn visit(
    run: &mut ModelRun,
    coming: &mut Vec<Coming>,
    server: usize,
    wait: Span,
    single: bool,
) -> Visit {
    let deadline = run.now + wait;
    let begun = run.now;
    let mut got: Vec<ServerReply> = Vec::new();
    let (mut last, mut open) = (run.now, false);
    for question in 0..run.ask.questions {
        if single {
            // The second question leaves when the first is answered.
            run.now = last;
        }
        let reply = run.send(server, question);
        if let Some(after) = after(reply) {
            coming.push((server, question, run.now + after, reply));
        }
        let mine = |c: &&Coming| c.0 == server && c.1 == question;
        let first = coming.iter().filter(mine).min_by_key(|c| c.2).copied();
        if let Some((.., at, reply)) = first.filter(|c| c.2 <= deadline) {
            let at = at.max(run.now);
            coming.retain(|c| !(c.0 == server && c.1 == question));
            run.waited(server, question, at);
            if matches!(reply, ServerReply::Error(_)) {
                // The socket's error ends the visit, and all sockets are closed.
                run.now = at;
                coming.clear();
                return Visit::Next;
            }
            last = last.max(at);
            got.push(reply);
        } else {
            open = true;
            run.waited(server, question, deadline);
            if single {
                break;
            }
        }
        if !single {
            run.now = begun;
        }
    }
    run.now = if open { deadline } else { last };
    let tcp = got.iter().find_map(|r| match r {
        ServerReply::Truncated(_, tcp) => Some(*tcp),
        _ => None,
    });
    if let Some(tcp) = tcp {
        run.now = last + tcp;
        return Visit::Over(LookupResult::Answered);
    }
    let best = got.iter().filter_map(|reply| match reply {
        ServerReply::Answer(_) => Some(LookupResult::Answered),
        ServerReply::Denied(_) => Some(LookupResult::Denied),
        _ => None,
    });
    match best.max() {
        // Failures alone send it to the next server.
        None => Visit::Next,
        Some(_) if open => Visit::Again,
        Some(ending) => Visit::Over(ending),
    }
}

fn after(reply: ServerReply) -> Option<Span> {
    match reply {
        ServerReply::Silent => None,
        ServerReply::Answer(after)
        | ServerReply::Denied(after)
        | ServerReply::Failure(after)
        | ServerReply::Error(after)
        | ServerReply::Truncated(after, _) => Some(after),
    }
}

/// glibc, which a JVM calls too.
pub const PROFILE: Profile = Profile {
    model: Model::Glibc,
    spoken: "glibc",
    client: |comm| {
        if comm.is_some_and(|comm| comm.contains("java")) {
            StubResolver::Java
        } else {
            StubResolver::Glibc
        }
    },
    // `resolv/res_init.c`.
    reads_environment: true,
    waits_for: WaitsFor::OneServer,
    searches_on: false,
    patience,
    simulate: |options, ask, _, start| simulate(options, ask, start),
    excluded_by: |signs| {
        signs.at_once
            || signs.new_id
            || signs.written
            || signs.connected == Some(false)
            || signs.edns == Some(true) && !signs.edns_configured
    },
    signature: |signs, fits| {
        if signs.one_call {
            return Some("A and AAAA left in one sendmmsg call".into());
        }
        // Others do so too, with waits of their own.
        (fits && signs.reused && signs.same_id)
            .then(|| "the second round reused sockets and ids".into())
    },
};
