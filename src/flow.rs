//! Addresses as the join compares them: IPv4-mapped IPv6 addresses are IPv4.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Port of unicast DNS (RFC 1035).
pub const DNS_PORT: u16 = 53;
/// Port of multicast DNS (RFC 6762).
pub const MDNS_PORT: u16 = 5353;
/// Port of LLMNR (RFC 4795).
pub const LLMNR_PORT: u16 = 5355;
/// Port of the `NetBIOS` name service (RFC 1002 section 4.2).
pub const NETBIOS_PORT: u16 = 137;
/// Port of HTTPS, over TCP and over QUIC (RFC 9114 section 3.1).
pub const HTTPS_PORT: u16 = 443;
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
        match unreadable(self.ip) {
            Some(text) => write!(f, "{text}:{}", self.port),
            None => SocketAddr::from(*self).fmt(f),
        }
    }
}

/// The block that stands in for addresses which somebody made unreadable: multicast of the scope that RFC 7346 reserves,
/// so that no host has such an address and no packet goes to one. The other 14 bytes hold the text itself.
const STAND_IN: [u8; 2] = [0xff, 0x0f];

/// How much of a text a stand-in holds.
const TEXT: usize = 14;

/// Of a longer text its beginning, then two bytes that tell it from others that begin alike.
const HEAD: usize = TEXT - 2;

/// Stands in for an address of which a log shows only what somebody put in its place (`10.x.x.1`, `<Private IP>`): the
/// same text is the same address, another text another one.
pub fn stand_in(text: &str) -> IpAddr {
    let printable = |b: u8| {
        if b.is_ascii_graphic() || b == b' ' {
            b
        } else {
            b'?'
        }
    };
    let mut bytes = [0_u8; 16];
    bytes[..2].copy_from_slice(&STAND_IN);
    let long = text.len() > TEXT;
    let shown = text.bytes().take(if long { HEAD } else { TEXT });
    for (to, from) in bytes[2..].iter_mut().zip(shown) {
        *to = printable(from);
    }
    if long {
        let sum = text
            .bytes()
            .fold(0_u16, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        let [high, low] = sum.to_be_bytes();
        // Never printable, so that a cut text shows.
        (bytes[14], bytes[15]) = (high | 0x80, low | 0x80);
    }
    Ipv6Addr::from(bytes).into()
}

/// The text that an address stands in for, marked where it was cut.
pub fn unreadable(ip: IpAddr) -> Option<String> {
    let IpAddr::V6(v6) = ip else { return None };
    let bytes = v6.octets();
    let text = bytes.strip_prefix(&STAND_IN)?;
    let mut shown: String = { text.iter() }
        .take_while(|b| b.is_ascii_graphic() || **b == b' ')
        .map(|b| char::from(*b))
        .collect();
    if text[HEAD..].iter().any(|b| *b >= 0x80) {
        shown.push('…');
    }
    (!shown.is_empty()).then_some(shown)
}

/// An address as reports show it.
pub fn host(ip: IpAddr) -> String {
    unreadable(ip).unwrap_or_else(|| ip.to_string())
}

/// The servers that a user chose: a port of one host, or of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The host.
    pub host: TargetHost,
    /// The port.
    pub port: u16,
}

/// A host that a user chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetHost {
    /// Any.
    Any,
    /// The one at this address, never IPv4-mapped.
    At(IpAddr),
    /// The one with this name, which the case resolves.
    Name(Box<str>),
}

impl Target {
    /// Whether an endpoint is among them; `addresses` are those of the host, where it is a name.
    pub fn includes(&self, end: Endpoint, addresses: &HashSet<IpAddr>) -> bool {
        end.port == self.port
            && match &self.host {
                TargetHost::Any => true,
                TargetHost::At(ip) => *ip == end.ip,
                TargetHost::Name(_) => addresses.contains(&end.ip),
            }
    }
}

impl From<Endpoint> for Target {
    fn from(end: Endpoint) -> Self {
        Self {
            host: TargetHost::At(end.ip),
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
