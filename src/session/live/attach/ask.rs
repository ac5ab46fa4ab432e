//! What the analysis process asks the watching process: whose packet something was, and who waits for it.
//!
//! The watching process has rights and parses nothing that came from the network; so the other one, which has none, reads
//! the packets' ends and passes them on, in records of one length with nothing in them to parse.

use crate::flow::{Endpoint, FiveTuple, Transport};
use crate::source::watcher::Look;
use crate::time::Timestamp;
use std::net::{IpAddr, Ipv6Addr};

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Whose socket a packet left by.
    Whose(Look),
    /// Who waits for a socket that was found before, for a packet that left then.
    Waits {
        /// The kernel's name for it.
        cookie: u64,
        /// The packet.
        look: Look,
    },
    /// What was waited for has been seen: the watch may end.
    Enough,
}

/// The length of a question. A pipe takes so many bytes whole or not at all (`PIPE_BUF`, pipe(7)).
pub const LENGTH: usize = 64;

/// One asked question.
pub type Record = [u8; LENGTH];

const WHOSE: u8 = 1;
const WAITS: u8 = 2;
const ENOUGH: u8 = 3;

impl Ask {
    /// As it goes through the pipe: kind, transport, both ends (address, port), time, cookie.
    pub fn encode(&self) -> Record {
        let mut record = [0; LENGTH];
        let (kind, look, cookie) = match self {
            Self::Whose(look) => (WHOSE, Some(look), 0),
            Self::Waits { cookie, look } => (WAITS, Some(look), *cookie),
            Self::Enough => (ENOUGH, None, 0),
        };
        record[0] = kind;
        if let Some(Look { flow, at }) = look {
            record[1] = u8::from(flow.transport == Transport::Tcp);
            record[2..20].copy_from_slice(&end(flow.src));
            record[20..38].copy_from_slice(&end(flow.dst));
            record[40..48].copy_from_slice(&at.0.to_le_bytes());
            record[48..56].copy_from_slice(&cookie.to_le_bytes());
        }
        record
    }

    /// As it came out of the pipe; `None`: no presyn sends this.
    pub fn decode(record: &Record) -> Option<Self> {
        let transport = match record[1] {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            _ => return None,
        };
        let number = |at: usize| record[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let look = Look {
            flow: FiveTuple {
                transport,
                src: endpoint(&record[2..20])?,
                dst: endpoint(&record[20..38])?,
            },
            at: Timestamp(number(40)?.cast_signed()),
        };
        match record[0] {
            WHOSE => Some(Self::Whose(look)),
            WAITS => Some(Self::Waits {
                cookie: number(48)?,
                look,
            }),
            ENOUGH => Some(Self::Enough),
            _ => None,
        }
    }
}

fn end(end: Endpoint) -> [u8; 18] {
    let ip = match end.ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&ip.octets());
    bytes[16..].copy_from_slice(&end.port.to_le_bytes());
    bytes
}

fn endpoint(bytes: &[u8]) -> Option<Endpoint> {
    let (ip, port) = bytes.split_first_chunk::<16>()?;
    let port = u16::from_le_bytes(port.try_into().ok()?);
    Some(Endpoint::new(Ipv6Addr::from(*ip).into(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn questions_come_out_as_they_went_in_and_nothing_else_does() {
        let end = |text: &str| Endpoint::from(text.parse::<SocketAddr>().unwrap());
        let look = |transport, src: &str, dst: &str| Look {
            flow: FiveTuple {
                transport,
                src: end(src),
                dst: end(dst),
            },
            at: Timestamp(-7),
        };
        let asks = [
            Ask::Whose(look(Transport::Udp, "10.0.0.1:4711", "10.0.0.2:53")),
            Ask::Waits {
                cookie: u64::MAX - 1,
                look: look(Transport::Tcp, "[fe80::1]:1", "[2001:db8::2]:65535"),
            },
            Ask::Enough,
        ];
        for ask in asks {
            assert_eq!(Ask::decode(&ask.encode()), Some(ask));
        }
        assert_eq!(Ask::decode(&[0; LENGTH]), None);
        assert_eq!(Ask::decode(&[9; LENGTH]), None);
    }
}
