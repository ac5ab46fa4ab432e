use super::*;
use crate::event::IcmpKind;
use crate::time::Span;
use etherparse::{IpFragOffset, Ipv4Header, PacketBuilder, ip_number};
use proptest::prelude::*;

const ETHERNET: LinkType = 1;
const RAW: LinkType = 101;
const SLL2: LinkType = 276;
const CLIENT: [u8; 4] = [192, 0, 2, 1];
const SERVER: [u8; 4] = [192, 0, 2, 53];

/// A query for the root's A record with this id.
fn question(id: u8) -> Vec<u8> {
    vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]
}

/// An IPv4 packet with a query from port 4000 to this port.
fn query(id: u8, port: u16) -> Vec<u8> {
    let builder = PacketBuilder::ipv4(CLIENT, SERVER, 64).udp(4000, port);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &question(id)).unwrap();
    bytes
}

fn syn() -> Vec<u8> {
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64)
        .tcp(4000, 443, 77, 1000)
        .syn();
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).unwrap();
    bytes
}

fn sll2(interface: u32, ip: &[u8]) -> Vec<u8> {
    let kind = if ip[0] >> 4 == 4 {
        [8, 0]
    } else {
        [0x86, 0xdd]
    };
    let mut frame = [&kind[..], &[0, 0], &interface.to_be_bytes()].concat();
    frame.resize(20, 0);
    frame.extend_from_slice(ip);
    frame
}

fn ethernet(kind: u16, rest: &[u8]) -> Vec<u8> {
    [&[2; 12], &kind.to_be_bytes()[..], rest].concat()
}

fn frame(link: LinkType, data: &[u8], micros: i64) -> RawFrame<'_> {
    RawFrame {
        at: Timestamp(0) + Span::micros(micros),
        link,
        interface: None,
        data,
        original_length: u32::try_from(data.len()).unwrap(),
    }
}

/// What comes out of these frames, and the counters.
fn decode(frames: &[(LinkType, Vec<u8>, i64)]) -> (Vec<Packet>, Counters) {
    let mut decoder = Decoder::new(DecodeOptions {
        dns_ports: vec![8053],
        ..DecodeOptions::default()
    });
    let mut packets = Vec::new();
    for (link, data, micros) in frames {
        decoder.decode(frame(*link, data, *micros), &mut |packet| {
            packets.push(packet);
        });
    }
    (packets, decoder.counters())
}

/// The ids of the DNS messages.
fn ids(packets: &[Packet]) -> Vec<(u16, Service)> {
    let id = |packet: &Packet| match packet {
        Packet::Dns {
            message, service, ..
        } => Some((message.id, *service)),
        _ => None,
    };
    packets.iter().filter_map(id).collect()
}

#[test]
fn every_link_type_leads_to_the_same_packet() {
    let ip = query(7, 53);
    let with = |header: &[u8]| [header, &ip].concat();
    let pppoe = [&[0x11, 0, 0, 1, 0, 0, 0, 0x21], &ip[..]].concat();
    let mut sll = vec![0; 14];
    sll.extend([8, 0]);
    let snap = with(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
    let mut wlan = vec![0x88, 1];
    wlan.resize(26, 0);
    wlan.extend(&snap);
    let radiotap = [&[0, 0, 8, 0, 0, 0, 0, 0][..], &wlan].concat();
    let attribute = u16::try_from(ip.len() + 4).unwrap();
    let nflog =
        |length: [u8; 2], kind: [u8; 2]| with(&[&[2, 0, 0, 0][..], &length, &kind].concat());
    let mut pktap = [0; 108];
    pktap[0] = 108;
    pktap[8] = 12;
    let frames = [
        (ETHERNET, ethernet(0x0800, &ip)),
        (ETHERNET, ethernet(0x8100, &with(&[0, 11, 8, 0]))),
        (
            ETHERNET,
            ethernet(0x88a8, &with(&[0, 11, 0x81, 0, 0, 5, 8, 0])),
        ),
        (ETHERNET, ethernet(0x8864, &pppoe)),
        (ETHERNET, ethernet(0x8847, &with(&[0, 0, 1, 64]))),
        (ETHERNET, ethernet(60, &snap)),
        (0, with(&[2, 0, 0, 0])),
        (108, with(&[0, 0, 0, 2])),
        (0, with(&[0, 0, 8, 0])),
        (RAW, ip.clone()),
        (12, ip.clone()),
        (228, ip.clone()),
        (9, with(&[0xff, 3, 0, 0x21])),
        (9, with(&[0x21])),
        (50, with(&[0x0f, 0, 8, 0])),
        (51, pppoe.clone()),
        (104, with(&[0x0f, 0, 8, 0])),
        (105, wlan),
        (127, radiotap),
        (113, [&sll[..], &ip].concat()),
        (SLL2, sll2(3, &ip)),
        (239, nflog(attribute.to_le_bytes(), [9, 0])),
        (239, nflog(attribute.to_be_bytes(), [0, 9])),
        (258, [&pktap[..], &ip].concat()),
    ];
    for (link, data) in frames {
        let (packets, counters) = decode(&[(link, data.clone(), 0)]);
        assert_eq!(
            ids(&packets),
            [(7, Service::Unicast)],
            "link type {link}: {data:x?}"
        );
        assert_eq!(counters, Counters::default(), "link type {link}");
    }
    let (packets, counters) = decode(&[(284, ip.clone(), 0), (284, ip, 0)]);
    assert!(packets.is_empty());
    assert_eq!(counters.unsupported[&284], 2);
}

/// Ports of encapsulations are ordinary ones, and some clients ask from any.
#[test]
fn an_answer_to_a_port_of_a_tunnel_is_an_answer() {
    for port in [3544, 4754, 4789, 6081] {
        let mut answer = question(7);
        // QR; the first byte, an id's, has VXLAN's I flag.
        answer[2] |= 0x80;
        answer[0] = 8;
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(SERVER, CLIENT, 64)
            .udp(53, port)
            .write(&mut bytes, &answer)
            .unwrap();
        let (packets, _) = decode(&[(RAW, bytes, 0)]);
        assert_eq!(
            ids(&packets),
            [(8 << 8 | 7, Service::Unicast)],
            "port {port}"
        );
    }
}

#[test]
fn tunnels_show_what_is_in_them() {
    let inner = query(7, 53);
    let frame = ethernet(0x0800, &inner);
    let udp = |port, header: &[u8], payload: &[u8]| {
        let mut bytes = Vec::new();
        let payload = [header, payload].concat();
        PacketBuilder::ipv4(CLIENT, SERVER, 64)
            .udp(4000, port)
            .write(&mut bytes, &payload)
            .unwrap();
        bytes
    };
    let ip = |protocol: u8, header: &[u8], payload: &[u8]| {
        let payload = [header, payload].concat();
        let length = u16::try_from(payload.len()).unwrap();
        let outer = Ipv4Header::new(length, 64, protocol.into(), CLIENT, SERVER).unwrap();
        [&outer.to_bytes()[..], &payload].concat()
    };
    let frames = [
        udp(4789, &[8, 0, 0, 0, 0, 0, 1, 0], &frame),
        udp(6081, &[1, 0, 0x65, 0x58, 0, 0, 0, 0, 1, 2, 3, 4], &frame),
        udp(4754, &[0, 0, 8, 0], &inner),
        ip(47, &[0x20, 0, 8, 0, 0, 0, 0, 1], &inner),
        ip(
            47,
            &[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            &frame,
        ),
        ip(47, &[0, 0, 0x88, 0xbe], &frame),
        ip(4, &[], &inner),
        ip(4, &[], &ip(4, &[], &inner)),
    ];
    for data in frames {
        let (packets, _) = decode(&[(RAW, data.clone(), 0)]);
        assert_eq!(ids(&packets), [(7, Service::Unicast)], "{data:x?}");
    }
    let deep = (0..20).fold(inner, |packet, _| ip(4, &[], &packet));
    let (packets, counters) = decode(&[(RAW, deep, 0)]);
    assert!(packets.is_empty());
    assert_eq!(counters.bounds, 1);
}

#[test]
fn services_are_told_by_ports() {
    let frames = [53, 5353, 5355, 8053, 40_000].map(|port| (RAW, query(1, port), 0));
    let expected = [
        Service::Unicast,
        Service::Mdns,
        Service::Llmnr,
        Service::Unicast,
        Service::Candidate,
    ];
    assert_eq!(
        ids(&decode(&frames).0),
        expected.map(|service| (1, service))
    );
    let mut noise = query(1, 53);
    noise[28..].fill(0xff);
    let (packets, counters) = decode(&[(RAW, noise, 0)]);
    assert!(packets.is_empty());
    assert_eq!(counters.undecodable, 1);
}

#[test]
fn copies_on_other_interfaces_are_removed_and_retransmissions_stay() {
    let (packets, counters) = decode(&[
        (SLL2, sll2(1, &syn()), 0),
        (SLL2, sll2(2, &[syn(), vec![0; 6]].concat()), 4),
        (SLL2, sll2(1, &syn()), 1_000_000),
        (SLL2, sll2(1, &query(3, 53)), 1_000_100),
        (SLL2, sll2(1, &query(3, 53)), 1_000_200),
    ]);
    assert_eq!((packets.len(), counters.duplicates), (4, 1));
    // Plain Ethernet does not name an interface.
    let frames = [0, 5].map(|micros| (ETHERNET, ethernet(0x86dd, &syn()), micros));
    assert_eq!(decode(&frames).0.len(), 2);
}

#[test]
fn cut_packets_keep_what_there_is() {
    let ip = query(7, 53);
    let cut = ip[..ip.len() - 3].to_vec();
    let Packet::Dns { message, .. } = &decode(&[(RAW, cut, 0)]).0[0] else {
        panic!("no DNS");
    };
    assert!(!message.complete && message.question.is_some());
    // Old tcpdump kept 68 bytes: enough for the flags, not for all options.
    let packet = syn();
    let (packets, counters) = decode(&[
        (RAW, packet[..55].to_vec(), 0),
        (RAW, packet[..50].to_vec(), 1),
    ]);
    let expected = TcpFlags {
        syn: true,
        ..TcpFlags::default()
    };
    assert!(matches!(packets[..], [Packet::Tcp { flags, seq: 77, .. }] if flags == expected));
    assert_eq!(counters.undecodable, 1);
}

#[test]
fn fragments_become_one_message() {
    let whole = query(9, 53);
    let part = |offset: u16, more, payload: &[u8]| {
        let length = u16::try_from(payload.len()).unwrap();
        let mut header = Ipv4Header::new(length, 64, ip_number::UDP, CLIENT, SERVER).unwrap();
        header.identification = 5;
        header.dont_fragment = false;
        header.more_fragments = more;
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        (RAW, [&header.to_bytes()[..], payload].concat(), 0)
    };
    let (first, last) = whole[20..].split_at(16);
    let (packets, counters) = decode(&[part(2, false, last), part(0, true, first)]);
    assert_eq!(ids(&packets), [(9, Service::Unicast)]);
    assert_eq!(counters, Counters::default());
    let (packets, counters) = decode(&[part(0, true, first)]);
    assert_eq!((packets.len(), counters.incomplete_datagrams), (0, 1));
}

#[test]
fn icmp_errors_quote_and_nothing_quoted_counts() {
    let icmp = |kind: u8, code: u8, quoted: &[u8]| {
        let payload = [&[kind, code, 0, 0, 0, 0, 0, 0], quoted].concat();
        let length = u16::try_from(payload.len()).unwrap();
        let header = Ipv4Header::new(length, 64, ip_number::ICMP, SERVER, CLIENT).unwrap();
        (RAW, [&header.to_bytes()[..], &payload].concat(), 0)
    };
    let (packets, _) = decode(&[
        icmp(3, 3, &query(7, 53)),
        icmp(3, 1, &query(7, 53)[..28]),
        icmp(0, 0, b"ping"),
    ]);
    let [
        Packet::Icmp {
            kind,
            quote: Some(quote),
            ..
        },
        Packet::Icmp {
            kind: second,
            quote: Some(short),
            ..
        },
    ] = &packets[..]
    else {
        panic!("{packets:?}");
    };
    assert_eq!(
        (*kind, *second),
        (IcmpKind::PortUnreachable, IcmpKind::HostUnreachable)
    );
    assert_eq!((quote.dns_id, quote.flow.dst.port), (Some(7), 53));
    assert_eq!(quote.question.as_ref().unwrap().to_string(), "A .");
    assert_eq!((short.dns_id, &short.question), (None, &None));
}

#[test]
fn neighbours_are_asked_and_answer() {
    let arp = |operation| {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation];
        bytes.extend([2; 6]);
        bytes.extend(CLIENT);
        bytes.extend([0; 6]);
        bytes.extend(SERVER);
        (ETHERNET, ethernet(0x0806, &bytes), 0)
    };
    let about = |about: [u8; 4], reply| Packet::Neighbour {
        about: about.into(),
        reply,
        from: Some(CLIENT.into()).filter(|_| !reply),
    };
    assert_eq!(
        decode(&[arp(1), arp(2)]).0,
        [about(SERVER, false), about(CLIENT, true)]
    );
}

#[test]
fn dns_over_tcp_is_read_at_the_packet_that_completes_it() {
    let message = [&[0, 17], &question(4)[..]].concat();
    let segment = |seq, data: &[u8]| {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(CLIENT, SERVER, 64)
            .tcp(4000, 53, seq, 1000)
            .ack(1)
            .write(&mut bytes, data)
            .unwrap();
        (RAW, bytes, 0)
    };
    let parts = [
        segment(1, &message[..2]),
        segment(3, &message[2..9]),
        segment(10, &message[9..]),
    ];
    assert_eq!(decode(&parts[..2]).0, []);
    assert_eq!(ids(&decode(&parts).0), [(4, Service::Unicast)]);
    assert_eq!(
        ids(&decode(&[parts.clone(), parts].concat()).0),
        [(4, Service::Unicast)]
    );
}

const LINKS: &[LinkType] = &[
    0, 1, 9, 12, 50, 51, 101, 104, 105, 108, 113, 127, 149, 228, 229, 239, 258, 276, 7,
];

proptest! {
    #[test]
    fn nothing_panics(link in prop::sample::select(LINKS), data in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&[(link, data, 0)]);
    }

    /// Bytes of real headers, with one changed and the end cut off.
    #[test]
    fn damaged_packets_never_panic(
        kind in 0_usize..4, at in 0_usize..100, byte: u8, length in 0_usize..200, protocol: u8,
    ) {
        let mut data = match kind {
            0 => query(1, 53),
            1 => query(1, 4789),
            2 => syn(),
            _ => {
                let mut data = query(1, 53);
                data[9] = protocol;
                data
            }
        };
        let at = at % data.len();
        data[at] = byte;
        data.truncate(length);
        decode(&[(RAW, data.clone(), 0), (RAW, data, 1)]);
    }
}

#[test]
fn lengths_say_whether_a_segment_carries_data() {
    let segment = |data: &[u8], six: bool| {
        let builder = if six {
            PacketBuilder::ipv6([1; 16], [2; 16], 64)
        } else {
            PacketBuilder::ipv4(CLIENT, SERVER, 64)
        };
        let mut bytes = Vec::new();
        let builder = builder.tcp(4000, 443, 77, 1000).ack(5);
        builder.write(&mut bytes, data).unwrap();
        bytes
    };
    for (six, header) in [(false, 20), (true, 40)] {
        assert!(!ip::may_have_data(&segment(b"", six), header));
        assert!(ip::may_have_data(&segment(b"x", six), header));
        // What the link layer padded is none of it, and what was cut is.
        let padded = [segment(b"", six), vec![0; 6]].concat();
        assert!(!ip::may_have_data(&padded, header));
        assert_eq!(ip::without_padding(&padded).len(), header + 20);
        let whole = segment(b"data", six);
        assert!(ip::may_have_data(&whole[..header + 14], header));
        // Offload leaves no length, or a broken header one that cannot be: somebody has to look.
        let mut offloaded = segment(b"", six);
        let length = if six { 4 } else { 2 };
        offloaded[length..length + 2].copy_from_slice(&[0, 0]);
        assert!(ip::may_have_data(&offloaded, header));
        offloaded[length + 1] = 1;
        assert!(ip::may_have_data(&offloaded, header));
    }
}
