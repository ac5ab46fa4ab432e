//! What presyn knows of one stub resolver: its timetable, how its queries show themselves, and its names. Each stub
//! resolver's file ends with its own.

use super::{Ask, Edge, Patience, ResolverOptions, SimulatedLookup};
use crate::report::{Model, StubResolver};

/// All that sets one stub resolver apart from the others.
#[derive(Debug)]
pub struct Profile {
    /// Its timetable's name in reports.
    pub model: Model,
    /// Its name in sentences.
    pub spoken: &'static str,
    /// Its name in reports where a thread of this name asked: some programs call it by their own.
    pub client: fn(comm: Option<&str>) -> StubResolver,
    /// Whether `RES_OPTIONS` of the environment counts.
    pub reads_environment: bool,
    /// Whom it waits for at a time.
    pub waits_for: WaitsFor,
    /// Whether it goes on with the search list when nobody answers.
    pub searches_on: bool,
    /// Timeout and attempts with its defaults and caps.
    pub patience: fn(&ResolverOptions) -> Patience,
    /// What it does when the servers reply like this, and begins with the server `start`.
    pub simulate: fn(&ResolverOptions, &Ask, Edge, start: usize) -> SimulatedLookup,
    /// Whether it cannot behave so.
    pub excluded_by: fn(&Signs) -> bool,
    /// What speaks for it in its queries, in words. `fits`: so do its waits.
    pub signature: fn(&Signs, fits: bool) -> Option<String>,
}

/// Whom a stub resolver waits for at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// One server, whatever it is asked: the questions for a name share a socket and a wait.
    OneServer,
    /// One server for each question.
    EachQuestion,
    /// All servers: whoever answers first is heard, and `rotate` means nothing.
    AllServers,
}

/// What shows in the queries of a lookup.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// How many queries there are.
    pub queries: usize,
    /// How many resolvers were asked.
    pub resolvers: usize,
    /// The queries are of an untraced process.
    pub untraced: bool,
    /// resolv.conf names several resolvers.
    pub several_configured: bool,
    /// The configuration asks for EDNS.
    pub edns_configured: bool,
    /// One question to several resolvers at once, from one socket.
    pub at_once: bool,
    /// Questions of two types shared a socket.
    pub shared: bool,
    /// Two types left in one call.
    pub one_call: bool,
    /// The same question again to the same resolver from the same socket, after a wait.
    pub reused: bool,
    /// The same question again, after a wait or at another resolver: its id was the same.
    pub same_id: bool,
    /// It was another.
    pub new_id: bool,
    /// The same question again came from another socket.
    pub new_socket: bool,
    /// Every query had a socket of its own.
    pub own_sockets: bool,
    /// The trace shows the sockets but not the sends: they were writes.
    pub written: bool,
    /// Every socket was connected to its resolver; `None` without a trace.
    pub connected: Option<bool>,
    /// EDNS in all queries, or in none; `None` when mixed or not visible.
    pub edns: Option<bool>,
}
