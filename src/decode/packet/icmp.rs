//! ICMP and `ICMPv6` errors with what they quote, and who looks for which neighbour.

use super::ip::{self, protocol};
use super::link::word;
use crate::decode::dns;
use crate::event::{IcmpKind, Packet, Quote};
use crate::flow::{Endpoint, FiveTuple, Transport};
use etherparse::{ArpPacketSlice, Icmpv4Slice, Icmpv6Slice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The error that an ICMP message reports (RFC 792, RFC 1812); `None` for everything else.
pub(super) fn error_v4(
    from: IpAddr,
    to: IpAddr,
    data: &[u8],
    is_dns_port: &dyn Fn(u16) -> bool,
) -> Option<Packet> {
    let icmp = Icmpv4Slice::from_slice(data).ok()?;
    let kind = match (icmp.type_u8(), icmp.code_u8()) {
        (3, 0) => IcmpKind::NetUnreachable,
        (3, 1) => IcmpKind::HostUnreachable,
        (3, 3) => IcmpKind::PortUnreachable,
        (3, 4) => IcmpKind::TooBig,
        (3, 9 | 10 | 13) => IcmpKind::Prohibited,
        (3, code) => IcmpKind::Other(code),
        (11, _) => IcmpKind::TimeExceeded,
        _ => return None,
    };
    Some(Packet::Icmp {
        from,
        to,
        kind,
        quote: quote(icmp.payload(), is_dns_port).map(Box::new),
    })
}

/// What an `ICMPv6` message reports (RFC 4443) or asks of neighbours (RFC 4861); `None` for everything else.
pub(super) fn message_v6(
    from: IpAddr,
    to: IpAddr,
    data: &[u8],
    is_dns_port: &dyn Fn(u16) -> bool,
) -> Option<Packet> {
    let icmp = Icmpv6Slice::from_slice(data).ok()?;
    let kind = match (icmp.type_u8(), icmp.code_u8()) {
        // 0: no route; 6: reject route.
        (1, 0 | 6) => IcmpKind::NetUnreachable,
        // 1: prohibited; 5: source address failed policy.
        (1, 1 | 5) => IcmpKind::Prohibited,
        (1, 3) => IcmpKind::HostUnreachable,
        (1, 4) => IcmpKind::PortUnreachable,
        (1, code) => IcmpKind::Other(code),
        (2, _) => IcmpKind::TooBig,
        (3, _) => IcmpKind::TimeExceeded,
        (kind @ (135 | 136), 0) => {
            let target: [u8; 16] = *icmp.payload().first_chunk()?;
            return Some(Packet::Neighbour {
                about: Ipv6Addr::from(target).into(),
                reply: kind == 136,
                from: Some(from).filter(|from| kind == 135 && !from.is_unspecified()),
            });
        }
        _ => return None,
    };
    Some(Packet::Icmp {
        from,
        to,
        kind,
        quote: quote(icmp.payload(), is_dns_port).map(Box::new),
    })
}

/// What the beginning of the quoted packet tells. It was sent some other time, perhaps elsewhere.
fn quote(data: &[u8], is_dns_port: &dyn Fn(u16) -> bool) -> Option<Quote> {
    let mut packet = ip::read(data)?;
    // A tunnel's far end complains about the packet that carried the client's (6in4, IP in IP).
    if packet.fragment.is_none() && matches!(packet.protocol, protocol::IPV4 | protocol::IPV6) {
        packet = ip::read(packet.payload)?;
    }
    if packet.fragment.is_some_and(|part| part.offset.value() > 0) {
        return None;
    }
    let transport = match packet.protocol {
        protocol::TCP => Transport::Tcp,
        protocol::UDP => Transport::Udp,
        _ => return None,
    };
    let bytes = packet.payload;
    let (src, dst) = (word(bytes, 0)?, word(bytes, 2)?);
    let mut quote = Quote {
        flow: FiveTuple {
            transport,
            src: Endpoint::new(packet.src, src),
            dst: Endpoint::new(packet.dst, dst),
        },
        seq: None,
        dns_id: None,
        question: None,
    };
    match transport {
        Transport::Tcp => {
            quote.seq = bytes
                .get(4..)
                .and_then(<[u8]>::first_chunk)
                .map(|seq| u32::from_be_bytes(*seq));
        }
        Transport::Udp if is_dns_port(src) || is_dns_port(dst) => {
            let payload = bytes.get(8..).unwrap_or_default();
            quote.dns_id = word(payload, 0);
            quote.question = dns::glimpse(payload, true).and_then(|message| message.question);
        }
        Transport::Udp => {}
    }
    Some(quote)
}

/// An ARP request or reply for IPv4 (RFC 826). Who announces itself unasked has answered.
pub(super) fn arp(data: &[u8]) -> Option<Packet> {
    let arp = ArpPacketSlice::from_slice(data).ok()?;
    let sender = <[u8; 4]>::try_from(arp.sender_protocol_addr()).ok()?;
    let target = <[u8; 4]>::try_from(arp.target_protocol_addr()).ok()?;
    let reply = match arp.operation().0 {
        1 => sender == target,
        2 => true,
        _ => return None,
    };
    Some(Packet::Neighbour {
        about: Ipv4Addr::from(if reply { sender } else { target }).into(),
        reply,
        from: Some(IpAddr::from(sender)).filter(|from| !reply && !from.is_unspecified()),
    })
}
