//! Packets, reduced to what the join needs.

use super::dns;
use crate::flow::FiveTuple;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One packet that matters before a SYN. Everything else is counted and forgotten in `decode`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packet {
    /// A DNS message. Over TCP, one event per length-prefixed message, at the packet that completed it.
    Dns {
        /// Who sent it to whom.
        flow: FiveTuple,
        /// Which service it belongs to by its ports.
        service: Service,
        /// What it says.
        message: Box<dns::Message>,
    },
    /// A TCP segment with SYN, FIN or RST, or another one that shows how a handshake went (`decode::handshake`).
    Tcp {
        /// Who sent it to whom.
        flow: FiveTuple,
        /// Its flags.
        flags: TcpFlags,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number; 0 without ACK.
        ack: u32,
    },
    /// An ICMP or `ICMPv6` error. What it quotes was *not* captured here and counts as nothing.
    Icmp {
        /// Who complains.
        from: IpAddr,
        /// To whom.
        to: IpAddr,
        /// About what.
        kind: IcmpKind,
        /// The offending packet's beginning, as quoted.
        quote: Option<Box<Quote>>,
    },
    /// An ARP request or reply, or an IPv6 neighbour solicitation or advertisement.
    Neighbour {
        /// The address that is looked for, or the one that answers.
        about: IpAddr,
        /// Whether this is the answer.
        reply: bool,
        /// Of a request: who asks. A host that only makes sure that its own new address is free has none yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<IpAddr>,
    },
    /// A segment after a handshake that says something about its connection (`decode::opening`).
    Opening {
        /// The connection, from its client to its server.
        flow: FiveTuple,
        /// What the segment shows.
        step: OpeningStep,
    },
    /// A QUIC Initial packet (RFC 9000 section 17.2.2): a client that begins a connection, or a server's first answer to it.
    QuicInitial {
        /// Who sent it to whom.
        flow: FiveTuple,
    },
}

/// What a segment after a handshake shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OpeningStep {
    /// The client's ACK crossed a network that the SYN-ACK had not crossed: the capture was taken at the server.
    LateAck,
    /// The client's first data.
    ClientData,
    /// The server's first data.
    ServerData,
}

/// Which name service a UDP or TCP message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Port 53 on one side (or a port given with `--dns-port`).
    Unicast,
    /// Port 5353 on one side (RFC 6762).
    Mdns,
    /// Port 5355 on one side (RFC 4795).
    Llmnr,
    /// UDP port 137 on one side (RFC 1002); the name as it is typed, without the encoding of `NetBIOS`.
    #[serde(rename = "netbios")]
    NetBios,
    /// Other UDP ports, but the payload is a plausible DNS message: half of an exchange through NAT perhaps.
    /// Counts only where something else proves it.
    Candidate,
}

/// TCP flags that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpFlags {
    /// SYN.
    pub syn: bool,
    /// ACK.
    pub ack: bool,
    /// RST.
    pub rst: bool,
    /// FIN.
    pub fin: bool,
}

/// What an ICMP error says (RFC 792, RFC 4443), as far as the difference matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IcmpKind {
    /// Port unreachable: no program listens.
    PortUnreachable,
    /// Host unreachable, also "address unreachable" in `ICMPv6`: no neighbour answered.
    HostUnreachable,
    /// Network unreachable, also "no route" in `ICMPv6`.
    NetUnreachable,
    /// Administratively prohibited: a firewall that says so.
    Prohibited,
    /// Fragmentation needed / packet too big: no refusal.
    TooBig,
    /// Time exceeded in transit.
    TimeExceeded,
    /// Any other unreachable code.
    Other(u8),
}

/// The packet that an ICMP error quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Its flow, in the direction it was sent.
    pub flow: FiveTuple,
    /// TCP sequence number, where quoted.
    pub seq: Option<u32>,
    /// DNS id, where port 53 is on one side and the payload was quoted.
    pub dns_id: Option<u16>,
    /// DNS question, likewise.
    pub question: Option<dns::Question>,
}

impl Packet {
    /// The flow of the packet, in the direction it was sent.
    pub fn flow(&self) -> Option<FiveTuple> {
        match self {
            Self::Dns { flow, .. }
            | Self::Tcp { flow, .. }
            | Self::Opening { flow, .. }
            | Self::QuicInitial { flow } => Some(*flow),
            Self::Icmp { .. } | Self::Neighbour { .. } => None,
        }
    }
}
