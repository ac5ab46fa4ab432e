//! IPv4 and IPv6 headers, extension headers and fragment headers.

use crate::decode::fragment::{Fragment, Key};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};
use std::net::IpAddr;

/// IP protocol numbers (IANA registry "Protocol Numbers").
pub(super) mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const IPV4: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const AUTHENTICATION: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// How many extension headers a packet may have; RFC 8200 names six kinds.
const MAX_EXTENSIONS: usize = 8;

/// An IP packet without its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct IpPacket<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// What the payload is.
    pub protocol: u8,
    /// The payload as far as it was captured, without what the link layer padded.
    pub payload: &'a [u8],
    /// Bytes of payload that were sent but not captured.
    pub missing: usize,
    /// The payload is a part of a datagram's.
    pub fragment: Option<Fragment<'a>>,
}

/// Reads the header of an IP packet; `None` when it is broken.
pub(super) fn read(data: &[u8]) -> Option<IpPacket<'_>> {
    match data.first()? >> 4 {
        4 => read_v4(data),
        6 => read_v6(data),
        _ => None,
    }
}

fn read_v4(data: &[u8]) -> Option<IpPacket<'_>> {
    let header = Ipv4HeaderSlice::from_slice(data).ok()?;
    let length = header.slice().len();
    let total = match usize::from(header.total_len()) {
        // Segmentation offload leaves 0 in packets longer than 64 kB.
        0 => data.len(),
        total => total,
    };
    let payload_length = total.checked_sub(length)?;
    let captured = &data[length..];
    let payload = &captured[..payload_length.min(captured.len())];
    let mut packet = IpPacket {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol: header.protocol().0,
        payload,
        missing: payload_length - payload.len(),
        fragment: None,
    };
    if header.is_fragmenting_payload() {
        packet.fragment = Some(Fragment {
            key: packet.key(header.identification().into()),
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
            data: payload,
        });
    } else if packet.protocol == protocol::AUTHENTICATION {
        packet.skip_extensions()?;
    }
    Some(packet)
}

fn read_v6(data: &[u8]) -> Option<IpPacket<'_>> {
    let header = Ipv6HeaderSlice::from_slice(data).ok()?;
    let captured = &data[header.slice().len()..];
    let length = match usize::from(header.payload_length()) {
        // A jumbogram (RFC 2675), or segmentation offload.
        0 => captured.len(),
        length => length,
    };
    let payload = &captured[..length.min(captured.len())];
    let mut packet = IpPacket {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol: header.next_header().0,
        payload,
        missing: length - payload.len(),
        fragment: None,
    };
    packet.skip_extensions()?;
    Some(packet)
}

impl<'a> IpPacket<'a> {
    fn key(&self, id: u32) -> Key {
        Key {
            src: self.src,
            dst: self.dst,
            id,
            protocol: self.protocol,
        }
    }

    /// Removes extension headers (RFC 8200 section 4) up to a fragment header that means it.
    fn skip_extensions(&mut self) -> Option<()> {
        for _ in 0..MAX_EXTENSIONS {
            let data: &'a [u8] = self.payload;
            let length = match self.protocol {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION_OPTIONS
                | protocol::MOBILITY
                | protocol::HIP
                | protocol::SHIM6 => (usize::from(*data.get(1)?) + 1) * 8,
                // In units of 4 bytes, less 2 (RFC 4302 section 2.2).
                protocol::AUTHENTICATION => (usize::from(*data.get(1)?) + 2) * 4,
                protocol::FRAGMENT => 8,
                _ => return Some(()),
            };
            let (header, rest) = data.split_at_checked(length)?;
            let fragmented = self.protocol == protocol::FRAGMENT;
            self.protocol = header[0];
            self.payload = rest;
            if fragmented {
                let position = u16::from_be_bytes([header[2], header[3]]);
                let (offset, more) = (usize::from(position & 0xfff8), position & 1 != 0);
                let id = u32::from_be_bytes(*header[4..].first_chunk()?);
                // "Atomic" fragments are whole (RFC 6946).
                if offset > 0 || more {
                    let key = Key {
                        // Fragments of one datagram may disagree here: the header after the
                        // first decides (RFC 8200 section 4.5).
                        protocol: protocol::FRAGMENT,
                        ..self.key(id)
                    };
                    self.fragment = Some(Fragment {
                        key,
                        offset,
                        more,
                        data: rest,
                    });
                    return Some(());
                }
            }
        }
        None
    }

    /// The packet with the payload of its whole datagram.
    pub fn whole(&self, payload: &'a [u8]) -> Option<Self> {
        let mut packet = Self {
            payload,
            missing: 0,
            fragment: None,
            ..*self
        };
        packet.skip_extensions()?;
        Some(packet)
    }
}

/// The packet without what the link layer padded: padding differs between interfaces.
pub(super) fn without_padding(data: &[u8]) -> &[u8] {
    let length = match data {
        [0x45..=0x4f, _, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
        [0x60..=0x6f, _, _, _, high, low, ..] => {
            40 + usize::from(u16::from_be_bytes([*high, *low]))
        }
        _ => 0,
    };
    match length {
        0 | 40 => data,
        length => &data[..length.min(data.len())],
    }
}

/// Whether nothing in this IP packet can matter, told from its first bytes: an unfragmented TCP segment
/// without SYN, FIN and RST, or a UDP datagram that does not begin like DNS, on ports that nobody asked for.
///
/// Nearly all packets of a busy host end here.
pub(super) fn is_dull(data: &[u8], wanted: impl Fn(u16) -> bool) -> bool {
    let (protocol, at) = match data {
        [
            first @ 0x45..=0x4f,
            _,
            _,
            _,
            _,
            _,
            fragment,
            low,
            _,
            protocol,
            ..,
        ] if fragment.trailing_zeros() >= 6 && *low == 0 => {
            (*protocol, usize::from(first & 0x0f) * 4)
        }
        [0x60..=0x6f, _, _, _, _, _, protocol, ..] => (*protocol, 40),
        _ => return false,
    };
    let Some(&[s0, s1, d0, d1]) = data.get(at..).and_then(<[u8]>::first_chunk) else {
        return false;
    };
    let ports = || wanted(u16::from_be_bytes([s0, s1])) || wanted(u16::from_be_bytes([d0, d1]));
    match protocol {
        // FIN, SYN and RST are the lowest three bits.
        protocol::TCP => {
            data.get(at + 13)
                .is_some_and(|flags| flags.trailing_zeros() >= 3)
                && !ports()
        }
        // The header has 8 bytes, and a candidate exactly one question.
        protocol::UDP => {
            data.get(at + 12..at + 14)
                .is_none_or(|count| count != [0, 1])
                && !ports()
        }
        _ => false,
    }
}
