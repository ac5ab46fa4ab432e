//! How much of a frame is worth storing: DNS whole, of everything else the headers only. What people send stays theirs.

use super::ip::{self, protocol};
use super::link::{self, Layer};
use crate::flow::NAME_SERVICE_PORTS;
use etherparse::{Icmpv4Slice, Icmpv6Slice, TcpHeaderSlice};

/// Stored of a frame whose link type or IP header cannot be read: its headers, whatever they are.
const UNKNOWN: usize = 64;

/// Stored of a frame that carries neither IP nor ARP: the longest link header among those that are captured live
/// (`LINUX_SLL2`).
const LINK_HEADER: usize = 20;

/// Stored of UDP, and of an ICMP message before what it quotes (RFC 768, RFC 792, RFC 4443).
const SHORT_HEADER: usize = 8;

/// An ICMP error quotes a packet, which cannot quote another.
const QUOTES: u8 = 1;

/// How many of the captured bytes are stored. `ports` are DNS ports beside the well-known ones.
pub fn trimmed_length(link: i32, data: &[u8], ports: &[u16]) -> usize {
    let Some(opened) = link::open(link, data) else {
        return data.len().min(UNKNOWN);
    };
    let length = match link::settle(opened.layer) {
        Layer::Ip(packet) => begins_at(packet, data) + stored_of_ip(packet, ports, QUOTES),
        Layer::Arp(_) => data.len(),
        Layer::Broken => UNKNOWN,
        _ => LINK_HEADER,
    };
    length.min(data.len())
}

/// Where a part of some bytes begins in them.
fn begins_at(part: &[u8], whole: &[u8]) -> usize {
    part.as_ptr().addr().saturating_sub(whole.as_ptr().addr())
}

fn stored_of_ip(data: &[u8], ports: &[u16], quotes: u8) -> usize {
    let Some(packet) = ip::read(data) else {
        return UNKNOWN.min(data.len());
    };
    let headers = begins_at(packet.payload, data);
    let payload = packet.payload;
    // A later part of a datagram does not say what it belongs to.
    if packet.fragment.is_some_and(|part| part.offset.value() > 0) {
        return headers;
    }
    headers
        + match packet.protocol {
            protocol::TCP | protocol::UDP if is_dns(payload, ports) => payload.len(),
            protocol::TCP => tcp_header(payload),
            protocol::UDP => SHORT_HEADER,
            protocol::ICMP => match Icmpv4Slice::from_slice(payload) {
                Ok(icmp) if matches!(icmp.type_u8(), 3 | 11 | 12) => {
                    stored_of_quote(payload, ports, quotes)
                }
                _ => SHORT_HEADER,
            },
            protocol::ICMPV6 => match Icmpv6Slice::from_slice(payload) {
                Ok(icmp) if matches!(icmp.type_u8(), 1..=4) => {
                    stored_of_quote(payload, ports, quotes)
                }
                // Neighbour discovery (RFC 4861).
                Ok(icmp) if matches!(icmp.type_u8(), 135 | 136) => payload.len(),
                _ => SHORT_HEADER,
            },
            _ => 0,
        }
}

fn is_dns(transport: &[u8], ports: &[u16]) -> bool {
    let known = |port| NAME_SERVICE_PORTS.contains(&port) || ports.contains(&port);
    [0, 2]
        .into_iter()
        .filter_map(|at| link::word(transport, at))
        .any(known)
}

fn tcp_header(segment: &[u8]) -> usize {
    TcpHeaderSlice::from_slice(segment).map_or(20, |header| header.slice().len())
}

fn stored_of_quote(message: &[u8], ports: &[u16], quotes: u8) -> usize {
    match (quotes.checked_sub(1), message.get(SHORT_HEADER..)) {
        (Some(left), Some(quoted)) if !quoted.is_empty() => {
            SHORT_HEADER + stored_of_ip(quoted, ports, left)
        }
        _ => SHORT_HEADER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        packet[0] = 0x45;
        packet[9] = protocol;
        packet.extend(payload);
        packet
    }

    fn ip6(next: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6]) = (0x60, next);
        packet.extend(payload);
        packet
    }

    fn udp(port: u16) -> Vec<u8> {
        let mut datagram = vec![0; 8 + 100];
        datagram[2..4].copy_from_slice(&port.to_be_bytes());
        datagram
    }

    fn tcp(port: u16) -> Vec<u8> {
        let mut segment = vec![0; 32 + 100];
        segment[..2].copy_from_slice(&port.to_be_bytes());
        segment[12] = 8 << 4;
        segment
    }

    #[test]
    fn dns_is_whole_and_the_rest_is_headers() {
        let icmp = |quoted: Vec<u8>| [vec![3, 3, 0, 0, 0, 0, 0, 0], quoted].concat();
        for (packet, kept) in [
            (ip4(17, &udp(53)), 128),
            (ip4(17, &udp(5353)), 128),
            (ip4(17, &udp(1053)), 128),
            (ip4(17, &udp(443)), 28),
            (ip4(6, &tcp(53)), 20 + 132),
            (ip4(6, &tcp(443)), 20 + 32),
            (ip4(1, &icmp(ip4(17, &udp(53)))), 28 + 128),
            (ip4(1, &icmp(ip4(6, &tcp(80)))), 28 + 20 + 32),
            (ip4(1, &[8; 60]), 28),
            (ip4(47, &[1; 60]), 20),
            (ip6(17, &udp(53)), 40 + 108),
            (
                ip6(60, &[vec![6, 0, 0, 0, 0, 0, 0, 0], tcp(80)].concat()),
                48 + 32,
            ),
            (ip6(58, &[135; 32]), 72),
        ] {
            assert_eq!(trimmed_length(101, &packet, &[1053]), kept, "{packet:?}");
            let sll2 = [
                &[packet[0] >> 4].map(|v| if v == 4 { 8 } else { 0x86 })[..],
                &[if packet[0] >> 4 == 4 { 0 } else { 0xdd }],
                &[0; 18],
                &packet,
            ]
            .concat();
            assert_eq!(trimmed_length(276, &sll2, &[1053]), 20 + kept);
        }
    }

    #[test]
    fn later_fragments_keep_no_payload() {
        let mut packet = ip4(17, &udp(53));
        packet[7] = 9;
        assert_eq!(trimmed_length(101, &packet, &[]), 20);
        let fragment = [vec![17, 0, 0, 8, 0, 0, 0, 0], udp(53)].concat();
        assert_eq!(trimmed_length(101, &ip6(44, &fragment), &[]), 48);
    }

    #[test]
    fn vlan_tags_and_short_frames() {
        let head = [&[0; 12][..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0]].concat();
        let frame = [head, ip4(17, &udp(80))].concat();
        assert_eq!(trimmed_length(1, &frame, &[]), 22 + 28);
        for link in [1, 12, 101, 113, 276, 9999] {
            for length in 0..frame.len() {
                assert!(trimmed_length(link, &frame[..length], &[]) <= length);
            }
        }
    }
}
