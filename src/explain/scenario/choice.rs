//! What a recording does not tell, and what is done about it.

use crate::event::dns::RecordType;
use crate::flow::host;
use std::fmt;
use std::net::IpAddr;

/// Something that is decided for want of a record. Its text is as hostile as the case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// The client's own address is not known.
    ClientAddress(IpAddr),
    /// A packet filter of the client's host kept its packets.
    LocalFirewall(IpAddr),
    /// A name service at a path where none is made.
    ServicePath(Box<str>),
    /// What became of a connection attempt is not recorded.
    Outcome(IpAddr, u16),
    /// A question that a resolver was never asked.
    Question {
        /// The resolver.
        server: IpAddr,
        /// The name.
        name: Box<str>,
        /// The type.
        kind: Option<RecordType>,
        /// What it gets.
        reply: ChosenReply,
    },
    /// A query whose fate the case does not show.
    Unseen {
        /// The resolver.
        server: IpAddr,
        /// The name.
        name: Box<str>,
        /// What it gets.
        reply: ChosenReply,
    },
    /// A response of which the case holds no bytes: it is made again from what is known of it.
    Composed(Box<str>),
    /// Who is there.
    There(WhoIsThere),
    /// A TCP port of a known host that nobody connected to.
    UnknownPort(IpAddr, u16),
    /// What a server said once it was connected is not read from a recording.
    ServerTalk(IpAddr, u16),
    /// What a name service answered is not read from a recording.
    ServiceAnswer(Box<str>),
}

/// Whom the recording does not show, or not always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhoIsThere {
    /// A resolver of a changed resolv.conf that the case does not know.
    UnknownResolver(IpAddr),
    /// A host that could be reached at times.
    ReachedAtTimes(IpAddr),
    /// More hosts than are played.
    TooManyHosts(usize),
    /// A host that the case does not know.
    UnknownHost(IpAddr),
}

/// What an unrecorded question gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChosenReply {
    /// What another resolver, or this one over another transport, answered.
    AsElsewhere,
    /// There is no such name.
    NoSuchName,
    /// The name is known, this type is not.
    NoSuchType,
    /// SERVFAIL.
    Failure,
    /// An ICMP error.
    Refusal,
    /// Nothing.
    Silence,
}

impl fmt::Display for ChosenReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AsElsewhere => "the answer that was recorded elsewhere",
            Self::NoSuchName => "NXDOMAIN",
            Self::NoSuchType => "no record of this type",
            Self::Failure => "SERVFAIL",
            Self::Refusal => "an ICMP error",
            Self::Silence => "no answer",
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientAddress(ip) => {
                write!(f, "the client's own address is not recorded: it has {ip}")
            }
            Self::LocalFirewall(ip) => write!(
                f,
                "a packet filter of the client's host stopped what went to {}: no filter is set here",
                host(*ip)
            ),
            Self::ServicePath(path) => write!(f, "no name service is played at {path}"),
            Self::Outcome(ip, port) => write!(
                f,
                "what became of the connection to port {port} of {} is not recorded: it is accepted",
                host(*ip)
            ),
            Self::Question {
                server,
                name,
                kind,
                reply,
            } => {
                write!(f, "resolver {} was never asked for ", host(*server))?;
                if let Some(kind) = kind {
                    write!(f, "{kind} ")?;
                }
                write!(f, "{name}: it gives {reply}")
            }
            Self::Unseen {
                server,
                name,
                reply,
            } => write!(
                f,
                "what resolver {} did with {name} is not recorded: it gives {reply}",
                host(*server)
            ),
            Self::Composed(name) => write!(
                f,
                "the response for {name} is not recorded byte by byte: it is made from what is known of it"
            ),
            Self::There(who) => write!(f, "{who}"),
            Self::UnknownPort(ip, port) => write!(
                f,
                "the recording has no connection to port {port} of {}: it refuses",
                host(*ip)
            ),
            Self::ServerTalk(ip, port) => write!(
                f,
                "what {} said on port {port} is not reproduced: HTTP gets an empty answer, TLS is closed, all else gets nothing",
                host(*ip)
            ),
            Self::ServiceAnswer(path) => write!(
                f,
                "what the name service at {path} answered is not reproduced: it closes the connection"
            ),
        }
    }
}

impl fmt::Display for WhoIsThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownResolver(ip) => write!(
                f,
                "resolver {} is not in the recording: it answers at once what others answered",
                host(*ip)
            ),
            Self::ReachedAtTimes(ip) => write!(
                f,
                "{} could be reached at times in the recording: it always can here",
                host(*ip)
            ),
            Self::TooManyHosts(most) => write!(
                f,
                "the recording has more hosts than are played: {most} are here, the others are not"
            ),
            Self::UnknownHost(ip) => write!(
                f,
                "{} is not in the recording: no host has this address here",
                host(*ip)
            ),
        }
    }
}
