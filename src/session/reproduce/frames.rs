//! Ethernet frames between the client and the played network: what one asks for, and those that are sent.

use crate::event::IcmpKind;
use crate::flow::Endpoint;
use etherparse::icmpv4::DestUnreachableHeader;
use etherparse::icmpv6::{DestUnreachableCode, NeighborAdvertisementHeader};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, Icmpv4Type, Icmpv6Type, LaxNetSlice, LaxSlicedPacket,
    PacketBuilder, PacketBuilderStep, TransportSlice, ether_type,
};
use std::net::IpAddr;

/// A hardware address.
pub type Hardware = [u8; 6];

/// Locally administered addresses (IEEE 802): the client's, and everybody else's.
pub const CLIENT: Hardware = [0x02, 0, 0, 0, 0, 0x01];
/// All played hosts have one: the client sees them behind one router, as it were.
pub const FAR: Hardware = [0x02, 0, 0, 0, 0, 0x02];

/// Hop limit of packets that are sent.
const HOPS: u8 = 64;
/// Of neighbour discovery: it shows that no router passed them on (RFC 4861 section 4.3).
const NEVER_FORWARDED: u8 = 255;
/// Length of the Ethernet header.
const ETHERNET: usize = 14;
/// Offset of the checksum in a TCP header (RFC 9293 section 3.1).
const TCP_CHECKSUM: usize = 16;
/// So much of a packet is quoted in an ICMP error at most (RFC 1812 section 4.3.2.3: 576 bytes in all).
const QUOTED: usize = 528;
/// Option "target link-layer address", one unit of 8 bytes (RFC 4861 section 4.6.1).
const TARGET_HARDWARE: [u8; 2] = [2, 1];

/// What a frame is.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Who has this address? (ARP, or a neighbour solicitation.)
    WhoHas {
        /// The address.
        asked: IpAddr,
        /// Who wants to know.
        by: IpAddr,
    },
    /// A UDP datagram.
    Udp {
        /// From whom.
        from: Endpoint,
        /// To whom.
        to: Endpoint,
        /// What it carries.
        payload: &'a [u8],
    },
    /// A TCP segment.
    Tcp {
        /// From whom.
        from: Endpoint,
        /// To whom.
        to: Endpoint,
        /// It begins a connection.
        syn: bool,
        /// Sequence number.
        seq: u32,
    },
    /// Something else.
    Other,
}

impl<'a> Frame<'a> {
    /// Reads it.
    pub fn read(bytes: &'a [u8]) -> Self {
        let Ok(sliced) = LaxSlicedPacket::from_ethernet(bytes) else {
            return Self::Other;
        };
        let (src, dst) = match &sliced.net {
            Some(LaxNetSlice::Arp(arp)) => {
                let request = arp.operation() == ArpOperation::REQUEST
                    && arp.proto_addr_type() == ether_type::IPV4;
                return match (
                    v4(arp.target_protocol_addr()),
                    v4(arp.sender_protocol_addr()),
                ) {
                    (Some(asked), Some(by)) if request => Self::WhoHas { asked, by },
                    _ => Self::Other,
                };
            }
            Some(LaxNetSlice::Ipv4(ip)) => (
                IpAddr::from(ip.header().source()),
                IpAddr::from(ip.header().destination()),
            ),
            Some(LaxNetSlice::Ipv6(ip)) => (
                IpAddr::from(ip.header().source()),
                IpAddr::from(ip.header().destination()),
            ),
            None => return Self::Other,
        };
        match &sliced.transport {
            Some(TransportSlice::Udp(udp)) => Self::Udp {
                from: Endpoint::new(src, udp.source_port()),
                to: Endpoint::new(dst, udp.destination_port()),
                payload: udp.payload(),
            },
            Some(TransportSlice::Tcp(tcp)) => Self::Tcp {
                from: Endpoint::new(src, tcp.source_port()),
                to: Endpoint::new(dst, tcp.destination_port()),
                syn: tcp.syn() && !tcp.ack(),
                seq: tcp.sequence_number(),
            },
            Some(TransportSlice::Icmpv6(icmp)) => {
                // Neighbour solicitation (RFC 4861 section 4.3): the target stands behind 4 reserved bytes.
                let solicitation = icmp.type_u8() == 135 && icmp.code_u8() == 0;
                match icmp.slice().get(8..24).map(<[u8; 16]>::try_from) {
                    Some(Ok(target)) if solicitation && !src.is_unspecified() => Self::WhoHas {
                        asked: IpAddr::from(target),
                        by: src,
                    },
                    _ => Self::Other,
                }
            }
            _ => Self::Other,
        }
    }
}

fn v4(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The answer to "who has this address?", from whoever has it to whoever asked.
pub fn here_it_is(asked: IpAddr, by: IpAddr, hardware: Hardware, to: Hardware) -> Option<Vec<u8>> {
    let ethernet = PacketBuilder::ethernet2(hardware, to);
    match (asked, by) {
        (IpAddr::V4(asked), IpAddr::V4(by)) => {
            let arp = ArpEthIpv4Packet {
                operation: ArpOperation::REPLY,
                sender_mac: hardware,
                sender_ipv4: asked.octets(),
                target_mac: to,
                target_ipv4: by.octets(),
            };
            let builder = ethernet.arp(arp.into());
            let mut bytes = Vec::with_capacity(builder.size());
            builder.write(&mut bytes).ok()?;
            Some(bytes)
        }
        (IpAddr::V6(asked), IpAddr::V6(by)) => {
            let header = NeighborAdvertisementHeader {
                router: false,
                solicited: true,
                r#override: true,
            };
            let mut body = asked.octets().to_vec();
            body.extend(TARGET_HARDWARE);
            body.extend(hardware);
            let builder = ethernet
                .ipv6(asked.octets(), by.octets(), NEVER_FORWARDED)
                .icmpv6(Icmpv6Type::NeighborAdvertisement(header));
            let mut bytes = Vec::with_capacity(builder.size(body.len()));
            builder.write(&mut bytes, &body).ok()?;
            Some(bytes)
        }
        _ => None,
    }
}

/// A UDP datagram to the client. A spoiled one has a wrong checksum: it is on the wire, and the client's host drops it.
pub fn udp(from: Endpoint, to: Endpoint, payload: &[u8], spoiled: bool) -> Option<Vec<u8>> {
    let builder = ip(from.ip, to.ip)?.udp(from.port, to.port);
    let mut bytes = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut bytes, payload).ok()?;
    if spoiled {
        let checksum = bytes.len() - payload.len() - 2;
        let high = bytes.get_mut(checksum)?;
        // Not to zero, which stands for "no checksum" (RFC 768).
        *high = high.wrapping_add(1) | 1;
    }
    Some(bytes)
}

/// An ICMP error about a packet of the client's, which is what follows the Ethernet header of `about`.
pub fn error(kind: IcmpKind, from: IpAddr, to: IpAddr, about: &[u8]) -> Option<Vec<u8>> {
    let packet = about.get(ETHERNET..)?;
    let quoted = &packet[..packet.len().min(QUOTED)];
    match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => {
            let header = match kind {
                IcmpKind::PortUnreachable => DestUnreachableHeader::Port,
                IcmpKind::NetUnreachable => DestUnreachableHeader::Network,
                IcmpKind::Prohibited => DestUnreachableHeader::FilterProhibited,
                _ => DestUnreachableHeader::Host,
            };
            let builder = ip(from, to)?.icmpv4(Icmpv4Type::DestinationUnreachable(header));
            let mut bytes = Vec::with_capacity(builder.size(quoted.len()));
            builder.write(&mut bytes, quoted).ok()?;
            Some(bytes)
        }
        (IpAddr::V6(_), IpAddr::V6(_)) => {
            let code = match kind {
                IcmpKind::PortUnreachable => DestUnreachableCode::Port,
                IcmpKind::NetUnreachable => DestUnreachableCode::NoRoute,
                IcmpKind::Prohibited => DestUnreachableCode::Prohibited,
                _ => DestUnreachableCode::Address,
            };
            let builder = ip(from, to)?.icmpv6(Icmpv6Type::DestinationUnreachable(code));
            let mut bytes = Vec::with_capacity(builder.size(quoted.len()));
            builder.write(&mut bytes, quoted).ok()?;
            Some(bytes)
        }
        _ => None,
    }
}

/// The checksum of a TCP segment, made whole: one that has not crossed a wire has the half that a network card would
/// complete (`CHECKSUM_PARTIAL`, include/linux/skbuff.h).
pub fn complete_checksum(frame: &mut [u8]) {
    if let Some((place, checksum)) = tcp_checksum(frame)
        && let Some(place) = frame.get_mut(place..place + 2)
    {
        place.copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Where the checksum of a TCP segment stands in a frame, and what it must be.
fn tcp_checksum(frame: &[u8]) -> Option<(usize, u16)> {
    let sliced = LaxSlicedPacket::from_ethernet(frame).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        return None;
    };
    let header = tcp.to_header();
    let checksum = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let (src, dst) = (ip.header().source(), ip.header().destination());
            header.calc_checksum_ipv4_raw(src, dst, tcp.payload())
        }
        LaxNetSlice::Ipv6(ip) => {
            let (src, dst) = (ip.header().source(), ip.header().destination());
            header.calc_checksum_ipv6_raw(src, dst, tcp.payload())
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let within = tcp.slice().as_ptr().addr() - frame.as_ptr().addr();
    Some((within + TCP_CHECKSUM, checksum.ok()?))
}

/// A segment that refuses a connection (RFC 9293 section 3.10.7.1), whose SYN had this number.
pub fn reset(from: Endpoint, to: Endpoint, seq: u32) -> Option<Vec<u8>> {
    let builder = ip(from.ip, to.ip)?.tcp(from.port, to.port, 0, 0);
    let builder = builder.rst().ack(seq.wrapping_add(1));
    let mut bytes = Vec::with_capacity(builder.size(0));
    builder.write(&mut bytes, &[]).ok()?;
    Some(bytes)
}

fn ip(from: IpAddr, to: IpAddr) -> Option<PacketBuilderStep<etherparse::IpHeaders>> {
    let ethernet = PacketBuilder::ethernet2(FAR, CLIENT);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Some(ethernet.ipv4(from.octets(), to.octets(), HOPS)),
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(ethernet.ipv6(from.octets(), to.octets(), HOPS)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: (&str, &str) = ("192.0.2.1", "192.0.2.2");
    const V6: (&str, &str) = ("2001:db8::1", "2001:db8::2");

    fn end(ip: &str, port: u16) -> Endpoint {
        Endpoint::new(ip.parse().unwrap(), port)
    }

    #[test]
    fn who_has_is_read_and_answered() {
        let ask = PacketBuilder::ethernet2(CLIENT, [0xff; 6]).arp(
            ArpEthIpv4Packet {
                operation: ArpOperation::REQUEST,
                sender_mac: CLIENT,
                sender_ipv4: [192, 0, 2, 1],
                target_mac: [0; 6],
                target_ipv4: [192, 0, 2, 2],
            }
            .into(),
        );
        let mut bytes = Vec::new();
        ask.write(&mut bytes).unwrap();
        let (asked, by) = (V4.1.parse().unwrap(), V4.0.parse().unwrap());
        assert_eq!(Frame::read(&bytes), Frame::WhoHas { asked, by });
        for cut in 0..bytes.len() {
            let _ = Frame::read(&bytes[..cut]);
        }
        let answer = here_it_is(asked, by, FAR, CLIENT).unwrap();
        let arp = LaxSlicedPacket::from_ethernet(&answer).unwrap().net;
        let Some(LaxNetSlice::Arp(arp)) = arp else {
            panic!("no ARP");
        };
        assert_eq!(arp.operation(), ArpOperation::REPLY);
        assert_eq!(arp.sender_hw_addr(), FAR);
        assert_eq!(Frame::read(&answer), Frame::Other, "a reply asks nothing");
    }

    #[test]
    fn datagrams_have_checksums_that_hold_unless_they_are_to_be_lost() {
        for (a, b) in [V4, V6] {
            let whole = udp(end(a, 53), end(b, 4000), b"answer", false).unwrap();
            let Frame::Udp { from, to, payload } = Frame::read(&whole) else {
                panic!("no datagram");
            };
            assert_eq!(
                (from, to, payload),
                (end(a, 53), end(b, 4000), &b"answer"[..])
            );
            let spoiled = udp(end(a, 53), end(b, 4000), b"answer", true).unwrap();
            let at = whole.len() - 8;
            assert_ne!(whole[at..at + 2], spoiled[at..at + 2], "the checksum");
            assert_ne!(spoiled[at..at + 2], [0, 0]);
            assert_eq!(whole[at + 2..], spoiled[at + 2..], "and nothing else");
        }
        assert_eq!(udp(end(V4.0, 53), end(V6.1, 4000), b"", false), None);
    }

    #[test]
    fn errors_quote_the_packet_that_they_are_about() {
        for (a, b) in [V4, V6] {
            let about = udp(end(a, 4000), end(b, 53), &[7; 2000], false).unwrap();
            let error = error(
                IcmpKind::PortUnreachable,
                end(b, 0).ip,
                end(a, 0).ip,
                &about,
            );
            let error = error.unwrap();
            assert!(error.len() < 700, "bounded");
            let quoted = memchr::memmem::find(&error, &about[14..60]);
            assert!(quoted.is_some_and(|at| at > 20), "{quoted:?}");
        }
    }

    #[test]
    fn a_half_checksum_is_completed() {
        for (a, b) in [V4, V6] {
            let whole = reset(end(a, 80), end(b, 4000), 6).unwrap();
            let Frame::Tcp { from, to, syn, .. } = Frame::read(&whole) else {
                panic!("no segment");
            };
            assert_eq!((from, to, syn), (end(a, 80), end(b, 4000), false));
            let mut half = whole.clone();
            let at = half.len() - 4;
            half[at..at + 2].copy_from_slice(&[0x12, 0x34]);
            complete_checksum(&mut half);
            assert_eq!(half, whole);
        }
        let mut nothing = vec![0; 30];
        complete_checksum(&mut nothing);
        assert_eq!(nothing, vec![0; 30]);
    }
}
