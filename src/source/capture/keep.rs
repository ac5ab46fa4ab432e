//! How much of a frame is stored: DNS whole, of everything else the headers only. What people send is
//! nobody's business.

/// UDP and TCP ports whose payload is DNS: unicast (RFC 1035), multicast (RFC 6762), LLMNR (RFC 4795).
const DNS: [u16; 3] = [53, 5353, 5355];

/// Kept of a frame whose link type is unknown: its headers, whatever they are.
const UNKNOWN_LINK: usize = 64;

/// An ICMP error quotes a packet, which cannot quote another.
const QUOTES: u8 = 1;

fn word(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2)
        .map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// How many of the captured bytes are kept. `ports` are DNS ports beside the well-known ones.
pub fn kept_length(link: i32, data: &[u8], ports: &[u16]) -> usize {
    let kept = network(link, data).map(|(at, protocol)| match protocol {
        // IPv4, IPv6 (IEEE 802 numbers). ARP is whole.
        0x0800 | 0x86dd => at + packet(&data[at..], ports, QUOTES),
        0x0806 => data.len(),
        _ => at,
    });
    // A header that is cut short is all there is.
    kept.unwrap_or(UNKNOWN_LINK).min(data.len())
}

/// Where the network header begins, and its `EtherType`.
fn network(link: i32, data: &[u8]) -> Option<(usize, u16)> {
    let found = match link {
        // LINKTYPE_ETHERNET, with any VLAN tags (IEEE 802.1Q, 802.1ad).
        1 => {
            let mut at = 12;
            while matches!(word(data, at)?, 0x8100 | 0x88a8) {
                at += 4;
            }
            (at + 2, word(data, at)?)
        }
        // LINKTYPE_RAW (and DLT_RAW on Linux): the version is in the first four bits.
        12 | 101 => match data.first()? >> 4 {
            4 => (0, 0x0800),
            6 => (0, 0x86dd),
            _ => return None,
        },
        // LINKTYPE_LINUX_SLL and LINKTYPE_LINUX_SLL2.
        113 => (16, word(data, 14)?),
        super::SLL2 => (20, word(data, 0)?),
        _ => return None,
    };
    (found.0 <= data.len()).then_some(found)
}

/// How much of an IP packet is kept.
fn packet(data: &[u8], ports: &[u16], quotes: u8) -> usize {
    match data.first().map(|b| b >> 4) {
        Some(4) => {
            let header = usize::from(data[0] & 15) * 4;
            let later_fragment = word(data, 6).is_none_or(|f| f & 0x1fff != 0);
            match data.get(9) {
                Some(protocol) if !later_fragment => {
                    header + transport(*protocol, data.get(header..), ports, quotes)
                }
                _ => header,
            }
        }
        Some(6) => version_6(data, ports, quotes),
        _ => data.len().min(UNKNOWN_LINK),
    }
}

fn version_6(data: &[u8], ports: &[u16], quotes: u8) -> usize {
    let mut at = 40;
    let Some(mut next) = data.get(6).copied() else {
        return at;
    };
    // Extension headers (RFC 8200 section 4); each is at least 8 bytes, so this ends.
    loop {
        let extension = data.get(at..).unwrap_or_default();
        let (Some(following), Some(length)) = (extension.first(), extension.get(1)) else {
            return at;
        };
        let length = match next {
            0 | 43 | 60 => (usize::from(*length) + 1) * 8,
            51 => (usize::from(*length) + 2) * 4,
            44 if word(extension, 2).is_none_or(|f| f & 0xfff8 != 0) => return at + 8,
            44 => 8,
            _ => return at + transport(next, Some(extension), ports, quotes),
        };
        (at, next) = (at + length, *following);
    }
}

/// How much of what IP carries is kept.
fn transport(protocol: u8, data: Option<&[u8]>, ports: &[u16], quotes: u8) -> usize {
    let data = data.unwrap_or_default();
    let is_dns = || {
        let known = |port| DNS.contains(&port) || ports.contains(&port);
        [0, 2]
            .into_iter()
            .filter_map(|at| word(data, at))
            .any(known)
    };
    match protocol {
        6 | 17 if is_dns() => data.len(),
        6 => data.get(12).map_or(20, |b| usize::from(b >> 4) * 4).max(20),
        17 => 8,
        // Errors quote the offending packet after 8 bytes (RFC 792, RFC 4443).
        1 => match data.first() {
            Some(3 | 11 | 12) => quote(data, ports, quotes),
            _ => 8,
        },
        58 => match data.first() {
            Some(1..=4) => quote(data, ports, quotes),
            Some(135 | 136) => data.len(),
            _ => 8,
        },
        _ => 0,
    }
}

fn quote(data: &[u8], ports: &[u16], quotes: u8) -> usize {
    match (quotes.checked_sub(1), data.get(8..)) {
        (Some(left), Some(quoted)) if !quoted.is_empty() => 8 + packet(quoted, ports, left),
        _ => 8,
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
            assert_eq!(kept_length(101, &packet, &[1053]), kept, "{packet:?}");
            let sll2 = [
                &[packet[0] >> 4].map(|v| if v == 4 { 8 } else { 0x86 })[..],
                &[if packet[0] >> 4 == 4 { 0 } else { 0xdd }],
                &[0; 18],
                &packet,
            ]
            .concat();
            assert_eq!(kept_length(super::super::SLL2, &sll2, &[1053]), 20 + kept);
        }
    }

    #[test]
    fn later_fragments_keep_no_payload() {
        let mut packet = ip4(17, &udp(53));
        packet[7] = 9;
        assert_eq!(kept_length(101, &packet, &[]), 20);
        let fragment = [vec![17, 0, 0, 8, 0, 0, 0, 0], udp(53)].concat();
        assert_eq!(kept_length(101, &ip6(44, &fragment), &[]), 48);
    }

    #[test]
    fn vlan_tags_and_short_frames() {
        let head = [&[0; 12][..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 8, 0]].concat();
        let frame = [head, ip4(17, &udp(80))].concat();
        assert_eq!(kept_length(1, &frame, &[]), 22 + 28);
        for link in [1, 12, 101, 113, 276, 9999] {
            for length in 0..frame.len() {
                assert!(kept_length(link, &frame[..length], &[]) <= length);
            }
        }
    }
}
