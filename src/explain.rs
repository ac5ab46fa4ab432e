//! What it means: the account before each server connect, the findings, and the report made of them.
//!
//! Pure. [`ledger`] cuts time into entries that each have one owner, [`finding`] draws conclusions,
//! [`assemble`] writes both into the report's plain types, [`verdict`] says the first sentence.

pub mod assemble;
pub mod cite;
pub mod client;
pub mod clients;
pub mod comparison;
pub mod evicted;
pub mod finding;
pub mod ledger;
mod left_out;
pub mod listed;
mod lost;
pub mod resolver;
#[cfg(test)]
pub(crate) mod rows;
pub mod scenario;
pub mod schedule;
pub mod stack;
pub mod unattributed;
pub mod undelayed;
pub mod verdict;
pub mod whatif;
pub mod words;

use crate::decode::hosts::HostsFile;
use crate::decode::resolv_conf::ResolvConf;
use crate::event::dns::Name;
use crate::event::{Address, EventKind, LifecycleChange, Op, SocketType};
use crate::flow::Target;
use crate::join::lookup::Lookup;
use crate::join::{ClientId, Evidence, Joined};
use crate::report::TraceWriter;
use crate::time::{Span, Timestamp};
use crate::totals::EvictedTotals;
use std::net::IpAddr;

/// Everything an explanation may look at.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The inputs.
    pub evidence: Evidence<'a>,
    /// What the join made of them.
    pub joined: &'a Joined,
    /// Who made the calls, where the trace says.
    pub stacks: &'a stack::Stacks,
    /// The zero of all times: the command's start, else the first event of the trace, else of the capture.
    pub started: Timestamp,
    /// Whether times have a real date.
    pub dated: bool,
    /// resolv.conf, where it is known, and where it was read.
    pub config: Option<(&'a str, &'a ResolvConf)>,
    /// Words of `RES_OPTIONS` in the client's environment; empty where nobody knows.
    pub environment: &'a [String],
    /// The client's `/etc/hosts`, where it is known.
    pub hosts: Option<&'a HostsFile>,
    /// What was evicted while reading.
    pub totals: &'a EvictedTotals,
    /// Only this server's connections get an account.
    pub target: Option<&'a Target>,
    /// The events are in files, whose lines and packets can be named.
    pub stored: bool,
}

/// Whether a connect is of a datagram socket: nothing leaves the host, getaddrinfo asks so for the address it would use.
fn is_of_datagrams(op: &Op) -> bool {
    let Op::Connect { fd, .. } = op else {
        return false;
    };
    let socket = fd.note.as_ref().and_then(|note| note.socket);
    socket.is_some_and(|socket| socket.style == SocketType::Datagram)
}

/// Whether a call connects to a resolver.
fn to_resolver(op: &Op) -> bool {
    match op {
        Op::Connect { to, .. } => match to {
            Address::Inet(end) => end.port == 53,
            Address::Unreadable { port, .. } => *port == Some(53),
            _ => false,
        },
        _ => false,
    }
}

impl Case<'_> {
    /// Whether the inputs show what a client did after a lookup. presyn's own traces end with their client; a log that was
    /// cut shows neither the end of a program nor a call that does something else.
    pub fn goes_on_after(&self, lookup: &Lookup) -> bool {
        self.evidence.coverage.shows_end(self.is_followed(lookup))
    }

    /// Whether a client may have asked between two moments without a call or a packet that shows it.
    fn hides_sends(&self, client: ClientId, from: Timestamp, until: Timestamp) -> bool {
        let ClientId::Process(process) = client else {
            return false;
        };
        let pid = self.joined.processes.get(process).and_then(|p| p.pid);
        pid.is_some()
            && self
                .evidence
                .coverage
                .shows_sends(pid, from, until)
                .is_err()
    }

    fn is_followed(&self, lookup: &Lookup) -> bool {
        let logs = self.evidence.traces.iter();
        if logs.clone().all(|t| t.writer == TraceWriter::Presyn) {
            return true;
        }
        // A capture beside it shows the SYN of a connect.
        if self.evidence.has_capture() && self.evidence.end() - lookup.ended >= Span::seconds(1) {
            return true;
        }
        let events = self.evidence.events;
        let start = events.partition_point(|e| e.at < lookup.ended);
        events[start..].iter().any(|e| match &e.what {
            EventKind::Call(call) => {
                !matches!(
                    call.op,
                    Op::Socket { .. }
                        | Op::Close { .. }
                        | Op::Wait { .. }
                        | Op::Receive { .. }
                        | Op::Send { .. }
                        // getaddrinfo asks the kernel for addresses (netlink) and sorts those it got.
                        | Op::Bind { .. }
                        | Op::LocalName { .. }
                ) && !to_resolver(&call.op)
                    && !is_of_datagrams(&call.op)
            }
            EventKind::Life(life) => matches!(
                life.change,
                LifecycleChange::Exited(_) | LifecycleChange::Killed(_)
            ),
            EventKind::Packet(_) | EventKind::Stack(_) | EventKind::Owner(_) => false,
        })
    }

    /// The addresses that lookups of the case, and the client's hosts file, gave for a name: as it was typed, or with a
    /// domain of the search list. Names are compared without regard to case (RFC 4343).
    pub fn addresses_of(&self, name: &str) -> impl Iterator<Item = IpAddr> {
        let name = name.trim_end_matches('.');
        let is = move |known: &Name| known.0.trim_end_matches('.').eq_ignore_ascii_case(name);
        let lookups = self.joined.lookups.iter();
        let answers = lookups
            .filter(move |l| is(&l.name) || l.searched.iter().any(is))
            .flat_map(|l| l.addresses.iter().copied());
        let files = { self.hosts.into_iter() }.flat_map(move |hosts| hosts.addresses(name));
        answers.chain(files)
    }

    /// Whether the client's hosts file has the name of a lookup.
    pub fn in_hosts(&self, lookup: &Lookup) -> bool {
        self.hosts.is_some_and(|hosts| hosts.has(&lookup.name.0))
    }

    /// A span of time in words, as far as it is known: beside a trace without times it is a lower bound, or unknown.
    pub fn took(&self, span: Span) -> String {
        match self.evidence.known(span) {
            Some(known) if self.evidence.only_lower_bounds() => {
                format!("at least {}", words::took(known))
            }
            Some(known) => words::took(known),
            None if self.evidence.is_timed() => {
                format!("less than {}", words::took(self.evidence.resolution()))
            }
            None => "an unknown time".into(),
        }
    }
}
