//! What is said of the inputs: why what they lack proves nothing, and how their clocks were laid on each other.

use crate::clock::ClockMethod;
use crate::clock::belonging::Mismatch;
use crate::coverage::Blind;
use crate::decode::resolv_conf::ResolvConf;
use crate::time::{SECOND, Span};
use std::fmt;

impl fmt::Display for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapture => f.write_str("there is no capture"),
            Self::NoDns => f.write_str("the capture holds no query of the client to port 53"),
            Self::NoSyns => f.write_str("the capture holds no SYNs"),
            Self::OneDirection(to) => write!(f, "the capture lacks packets to {to}"),
            Self::Filter(filter) => write!(f, "the filter '{filter}' may have hidden it"),
            Self::Dropped(n) => write!(f, "{n} packets were dropped while capturing"),
            Self::DroppedThen(1) => f.write_str("a packet was dropped at that time"),
            Self::DroppedThen(n) => write!(f, "{n} packets were dropped at that time"),
            Self::NotKept(n) => write!(f, "{n} packets were captured but not retained"),
            Self::Forgotten(n) => write!(
                f,
                "{n} connection attempts in progress were dropped from memory"
            ),
            Self::ForgottenQueries => f.write_str("unanswered queries were dropped from memory"),
            Self::Unattributed(1) => f.write_str(
                "a query or connection attempt of that time could not be attributed to a process",
            ),
            Self::Unattributed(n) => write!(
                f,
                "{n} queries and connection attempts of that time could not be attributed to a process"
            ),
            Self::OtherTime => f.write_str("the capture does not cover that time"),
            Self::CutOff => f.write_str("the capture is cut off before that time"),
            Self::OtherNamespace => f.write_str("the socket is in another network namespace"),
            Self::ProvenWrong => f.write_str("calls received what the capture lacks"),
            Self::TwoRuns => f.write_str("capture and trace may be of two runs"),
            Self::Loopback => f.write_str("the capture holds no packets of the loopback interface"),
            Self::Unread(kind, n) => write!(f, "{n} packets ({kind}) could not be read"),
            Self::NoWaits => f.write_str("the trace does not show how long the client waited"),
            Self::TooShort => f.write_str("the client did not wait long enough"),
            Self::NotRepeated => f.write_str("the client did not ask again"),
            Self::Unexplained(span) => write!(
                f,
                "what passed in {:.1} s of that is not in the inputs (strace -f follows all threads)",
                span.as_seconds()
            ),
            Self::Before => f.write_str("the inputs may have begun after it had waited already"),
            Self::After => f.write_str("the trace may end before what the client did next"),
            Self::NoTimes => f.write_str("the trace has no times (strace -ttt would give them)"),
            Self::UnreadCalls(n) => write!(f, "{n} lines with a connect could not be read"),
            Self::UnreadableAddresses(n) => write!(f, "{n} addresses cannot be read"),
            Self::UnfollowedSends(1) => f.write_str(
                "sends on a socket that led to a resolver were not traced then (strace -f -e trace=network,write traces all)",
            ),
            Self::UnfollowedSends(n) => write!(
                f,
                "sends on {n} sockets that led to resolvers were not traced then (strace -f -e trace=network,write traces all)"
            ),
            Self::Untrusted => f.write_str("absences are not trusted"),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Times(apart) => write!(
                f,
                "their times do not overlap: they are {:.1} s apart",
                apart.as_seconds()
            ),
            Self::Ports(host) => write!(
                f,
                "both show traffic with {host}, but no local port of the calls occurs in the packets"
            ),
            Self::Ids(resolver) => write!(
                f,
                "both show queries to {resolver}, but no query id of the calls occurs in the packets"
            ),
        }
    }
}

impl fmt::Display for ClockMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneClock(votes) => {
                return write!(f, "one clock: {votes} calls and their packets agree");
            }
            Self::Solved { votes, zone } => {
                write!(f, "solved from {votes} calls and their packets")?;
                return zone.map_or(Ok(()), |east| {
                    write!(f, "; the log is in {}", UtcOffset(east))
                });
            }
            Self::PacketTimes(packets) => {
                return write!(
                    f,
                    "the trace has no times: its calls take those of {packets} packets that they sent or received"
                );
            }
            Self::Given => "as given with --clock-offset",
            Self::AssumedOne => {
                "assumed to be one clock: no call of the trace has a packet in the capture"
            }
            Self::OwnClock => "the trace's own clock",
            Self::OwnClockUndated => "the trace's own clock, which has no date",
            Self::GivenZone => "zone as given with --tz",
            Self::UtcTaken => "local time taken as UTC (no --tz)",
            Self::FirstTimes => {
                "guessed from the first times of both inputs: no call of the trace has a packet in the capture"
            }
            Self::BegunTogether => "guessed: both inputs are taken to begin together",
            Self::NoTimes => "the trace has no times",
            Self::NoTimesNoPacket => {
                "the trace has no times, and no call of it has a packet in the capture"
            }
        })
    }
}

/// A time zone, as far as it is east of UTC.
struct UtcOffset(Span);

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.0 / (60 * SECOND);
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.abs();
        write!(f, "UTC{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

/// A resolv.conf that names no resolver: perhaps the wrong file, and what it makes of a client is worth a word.
pub fn no_nameserver(conf: Option<&(String, String)>) -> Option<String> {
    let (path, text) = conf?;
    let known = ResolvConf::parse(text).nameservers;
    known.is_empty().then(|| {
        format!("{path}: no nameserver line with an address (glibc then asks the resolver of this host, 127.0.0.1)")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_solved_zone_is_named() {
        let words = |quarters: i64| {
            let zone = Some(Span(quarters * 900 * SECOND));
            ClockMethod::Solved { votes: 2, zone }.to_string()
        };
        assert!(words(32).ends_with("; the log is in UTC+08:00"));
        assert!(words(-14).ends_with("; the log is in UTC-03:30"));
        let method = ClockMethod::Solved {
            votes: 2,
            zone: None,
        };
        assert_eq!(method.to_string(), "solved from 2 calls and their packets");
    }
}
