//! IPv4 and IPv6 headers, extension headers and fragment headers, by etherparse's lax slices.
//!
//! Own here: the exact length that a capture cut away, and what a packet's first bytes rule out.

use super::quic;
use crate::decode::fragment::{DatagramKey, Fragment};
use etherparse::{
    IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, Ipv6FragmentHeaderSlice, LaxIpSlice,
    LaxIpv4Slice, LaxIpv6Slice, ip_number,
};
use std::net::IpAddr;

/// IP protocol numbers (IANA registry "Protocol Numbers").
pub(super) mod protocol {
    use etherparse::ip_number as ip;
    pub const ICMP: u8 = ip::ICMP.0;
    pub const IPV4: u8 = ip::IPV4.0;
    pub const TCP: u8 = ip::TCP.0;
    pub const UDP: u8 = ip::UDP.0;
    pub const IPV6: u8 = ip::IPV6.0;
    pub const ESP: u8 = ip::ENCAP_SEC.0;
    pub const L2TP: u8 = ip::LAYER2_TUNNELING_PROTOCOL.0;
    pub const GRE: u8 = ip::GRE.0;
    pub const ICMPV6: u8 = ip::IPV6_ICMP.0;
}

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

/// Reads the headers of an IP packet; `None` when they are broken.
pub(super) fn read(data: &[u8]) -> Option<IpPacket<'_>> {
    let (slice, error) = LaxIpSlice::from_slice(data).ok()?;
    match &slice {
        LaxIpSlice::Ipv4(ip) => read_v4(data, ip, error.is_some()),
        LaxIpSlice::Ipv6(ip) => read_v6(data, ip, error.is_some()),
    }
}

fn read_v4<'a>(data: &'a [u8], ip: &LaxIpv4Slice<'a>, broken: bool) -> Option<IpPacket<'a>> {
    let header = ip.header();
    let length = header.slice().len();
    let total = match usize::from(header.total_len()) {
        // Segmentation offload leaves 0 in packets longer than 64 kB.
        0 => data.len(),
        total => total,
    };
    // etherparse takes a length that is too short for "not set"; no kernel accepts such a packet.
    let whole = total.checked_sub(length)?;
    let there = whole.min(data.len() - length);
    let mut packet = IpPacket {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol: ip.payload().ip_number.0,
        payload: ip.payload().payload,
        missing: whole - there,
        fragment: None,
    };
    if header.is_fragmenting_payload() {
        // Extension headers of a part are those of the whole, or no headers at all.
        packet.protocol = header.protocol().0;
        packet.payload = &data[length..length + there];
        packet.fragment = Some(Fragment {
            key: packet.key(header.identification().into()),
            offset: header.fragments_offset(),
            more: header.more_fragments(),
            data: packet.payload,
        });
    } else if broken {
        return None;
    }
    Some(packet)
}

fn read_v6<'a>(data: &'a [u8], ip: &LaxIpv6Slice<'a>, broken: bool) -> Option<IpPacket<'a>> {
    let header = ip.header();
    let captured = &data[header.slice().len()..];
    let whole = match usize::from(header.payload_length()) {
        // A jumbogram (RFC 2675), or segmentation offload.
        0 => captured.len(),
        length => length,
    };
    let captured = &captured[..whole.min(captured.len())];
    let mut packet = IpPacket {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        protocol: ip.payload().ip_number.0,
        payload: ip.payload().payload,
        missing: whole - captured.len(),
        fragment: None,
    };
    if let Some((part, at)) = fragment_header(ip) {
        // What follows in a later part is data, whatever it looks like.
        packet.protocol = part.next_header().0;
        packet.payload = captured.get(at..)?;
        let key = DatagramKey {
            // Fragments of one datagram may disagree here: the header after the first decides
            // (RFC 8200 section 4.5).
            protocol: ip_number::IPV6_FRAG.0,
            ..packet.key(part.identification())
        };
        packet.fragment = Some(Fragment {
            key,
            offset: part.fragment_offset(),
            more: part.more_fragments(),
            data: packet.payload,
        });
    } else if broken {
        return None;
    }
    Some(packet)
}

/// The header that makes a packet a part of a datagram, and where its data begin behind the IPv6 header. "Atomic"
/// fragments are whole (RFC 6946).
fn fragment_header<'a>(ip: &LaxIpv6Slice<'a>) -> Option<(Ipv6FragmentHeaderSlice<'a>, usize)> {
    if !ip.extensions().is_fragmenting_payload() {
        return None;
    }
    let mut at = 0;
    for extension in ip.extensions().clone() {
        use Ipv6ExtensionSlice as Extension;
        at += match extension {
            Extension::HopByHop(e) | Extension::Routing(e) | Extension::DestinationOptions(e) => {
                e.slice().len()
            }
            Extension::Authentication(e) => e.slice().len(),
            Extension::Fragment(e) => {
                let after = at + e.slice().len();
                if e.is_fragmenting_payload() {
                    return Some((e, after));
                }
                e.slice().len()
            }
        };
    }
    None
}

impl<'a> IpPacket<'a> {
    fn key(&self, id: u32) -> DatagramKey {
        DatagramKey {
            src: self.src,
            dst: self.dst,
            id,
            protocol: self.protocol,
        }
    }

    /// The packet with the payload of its whole datagram; `None` when its extension headers are broken.
    pub fn whole(&self, payload: &'a [u8]) -> Option<Self> {
        // IPv4 knows the authentication header alone, which is the same one.
        let (_, protocol, payload, error) =
            Ipv6ExtensionsSlice::from_slice_lax(IpNumber(self.protocol), payload);
        error.is_none().then_some(Self {
            protocol: protocol.0,
            payload,
            missing: 0,
            fragment: None,
            ..*self
        })
    }
}

/// The length of the packet by its header; `None` where that does not say.
fn length(data: &[u8]) -> Option<usize> {
    let (before, length) = match data {
        [0x45..=0x4f, _, high, low, ..] => (0, [*high, *low]),
        [0x60..=0x6f, _, _, _, high, low, ..] => (40, [*high, *low]),
        _ => return None,
    };
    match u16::from_be_bytes(length) {
        // Segmentation offload, or a jumbogram.
        0 => None,
        length => Some(before + usize::from(length)),
    }
}

/// The packet without what the link layer padded: padding differs between interfaces.
pub(super) fn without_padding(data: &[u8]) -> &[u8] {
    length(data).map_or(data, |length| &data[..length.min(data.len())])
}

/// A TCP segment without SYN, FIN and RST, by its first bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainSegment {
    pub source: u16,
    pub destination: u16,
    /// It carries data, or its lengths do not say that it carries none.
    pub data: bool,
}

/// Whether a TCP segment, whose header begins at `at`, carries data, by the lengths in its headers; where they cannot be,
/// for offload left 0 there, it may.
pub(super) fn may_have_data(data: &[u8], at: usize) -> bool {
    let whole = length(data);
    let header = data.get(at + 12).map(|offset| usize::from(offset >> 4) * 4);
    match (whole, header) {
        (Some(whole), Some(header)) => whole != at + header,
        _ => true,
    }
}

/// Whether nothing in this IP packet can matter, told from its first bytes: an unfragmented TCP segment
/// without SYN, FIN and RST, or a UDP datagram that does not begin like DNS, on ports that nobody asked for.
///
/// Nearly all packets of a busy host end here.
pub(super) fn is_dull(
    data: &[u8],
    wanted: impl Fn(u16) -> bool,
    concerns: impl Fn(PlainSegment) -> bool,
) -> bool {
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
    let (source, destination) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let ports = || wanted(source) || wanted(destination);
    match protocol {
        // FIN, SYN and RST are the lowest three bits.
        protocol::TCP => {
            data.get(at + 13)
                .is_some_and(|flags| flags.trailing_zeros() >= 3)
                && !concerns(PlainSegment {
                    source,
                    destination,
                    data: may_have_data(data, at),
                })
                && !ports()
        }
        // The header has 8 bytes, and a candidate exactly one question.
        protocol::UDP => {
            data.get(at + 12..at + 14)
                .is_none_or(|count| count != [0, 1])
                && !quic::may_be_initial(source, destination, data.get(at + 8..))
                && !ports()
        }
        _ => false,
    }
}
