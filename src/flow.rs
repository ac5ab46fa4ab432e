//! Addresses as the join compares them: IPv4-mapped IPv6 addresses are IPv4.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Port of unicast DNS (RFC 1035).
pub const DNS_PORT: u16 = 53;
/// Port of multicast DNS (RFC 6762).
pub const MDNS_PORT: u16 = 5353;
/// Port of LLMNR (RFC 4795).
pub const LLMNR_PORT: u16 = 5355;
/// UDP and TCP ports whose payload is in DNS format.
pub const NAME_SERVICE_PORTS: [u16; 3] = [DNS_PORT, MDNS_PORT, LLMNR_PORT];

/// One end of a flow: address and port, IPv4-mapped addresses written as IPv4.
///
/// An `AF_INET6` connect to `::ffff:a.b.c.d` sends IPv4 packets; call and packet meet only when both are
/// written the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "SocketAddr", into = "SocketAddr")]
pub struct Endpoint {
    /// The address, never IPv4-mapped.
    pub ip: IpAddr,
    /// The port.
    pub port: u16,
}

impl Endpoint {
    /// The endpoint with its address in canonical form.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self {
            ip: ip.to_canonical(),
            port,
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), address.port())
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.ip, endpoint.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::from(*self).fmt(f)
    }
}

/// The servers that a user chose: one address and port, or a port of any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address, never IPv4-mapped; `None`: any.
    pub ip: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Target {
    /// Whether an endpoint is among them.
    pub fn includes(self, end: Endpoint) -> bool {
        end.port == self.port && self.ip.is_none_or(|ip| ip == end.ip)
    }
}

impl From<Endpoint> for Target {
    fn from(end: Endpoint) -> Self {
        Self {
            ip: Some(end.ip),
            port: end.port,
        }
    }
}

/// The two transports that presyn follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// One direction of one flow: who sent, to whom, over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FiveTuple {
    /// UDP or TCP.
    pub transport: Transport,
    /// The sender.
    pub src: Endpoint,
    /// The receiver.
    pub dst: Endpoint,
}

impl FiveTuple {
    /// The other direction of the same flow.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            transport: self.transport,
            src: self.dst,
            dst: self.src,
        }
    }
}
