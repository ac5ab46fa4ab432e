//! Link-layer headers: from a frame to what it carries.
//!
//! Numbers are LINKTYPE values of capture files (<https://www.tcpdump.org/linktypes.html>), with the DLT
//! values that differ from them where libpcap uses those.
//!
//! Own, because of these headers etherparse knows Ethernet, VLAN tags and SLL alone, which take three lines here.

/// What a header says it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer<'a> {
    /// An Ethernet frame.
    Ethernet(&'a [u8]),
    /// Whatever this ethertype means.
    EtherType(u16, &'a [u8]),
    /// A PPP frame, address and control perhaps left out.
    Ppp(&'a [u8]),
    /// An IPv4 or IPv6 packet, as its first four bits say.
    Ip(&'a [u8]),
    /// An ARP packet.
    Arp(&'a [u8]),
    /// Something that presyn does not follow.
    Other,
    /// A header that ends too early or contradicts itself.
    Broken,
}

/// A frame without its link header, and the interface that header names.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkPayload<'a> {
    pub layer: Layer<'a>,
    pub interface: Option<u32>,
}

/// How many tags, labels and link headers may stand in front of an IP header. Real networks have three
/// or four.
const MAX_HEADERS: usize = 8;

mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const ARP: u16 = 0x0806;
    pub const TRANSPARENT_ETHERNET: u16 = 0x6558;
    pub const VLAN: u16 = 0x8100;
    pub const IPV6: u16 = 0x86dd;
    pub const MPLS: u16 = 0x8847;
    pub const MPLS_MULTICAST: u16 = 0x8848;
    pub const PPPOE_SESSION: u16 = 0x8864;
    pub const PROVIDER_BRIDGING: u16 = 0x88a8;
    pub const OLD_QINQ: u16 = 0x9100;
}

/// Removes the link header; `None` for a link type that presyn does not know.
pub(super) fn open(link: i32, data: &[u8]) -> Option<LinkPayload<'_>> {
    let layer = match link {
        1 => Layer::Ethernet(data),
        0 | 108 => family(data).unwrap_or(Layer::Broken),
        9 | 50 => Layer::Ppp(data),
        10 => fddi(data),
        51 => pppoe(data).unwrap_or(Layer::Broken),
        // DLT_RAW is 12 on Linux and 14 on OpenBSD; 101 is its LINKTYPE.
        12 | 14 | 101 | 228 | 229 => Layer::Ip(data),
        104 => ethertype_at(data, 2, 4),
        105 => wlan(data).unwrap_or(Layer::Broken),
        113 => ethertype_at(data, 14, 16),
        127 => radiotap(data).unwrap_or(Layer::Broken),
        // 149 is DLT_USER2, which Apple's tools used for PKTAP.
        149 | 258 => return pktap(data),
        192 => return ppi(data),
        239 => nflog(data).unwrap_or(Layer::Broken),
        276 => {
            return Some(LinkPayload {
                layer: ethertype_at(data, 0, 20),
                interface: data
                    .get(4..8)?
                    .first_chunk()
                    .map(|n| u32::from_be_bytes(*n)),
            });
        }
        _ => return None,
    };
    Some(LinkPayload {
        layer,
        interface: None,
    })
}

/// Removes tags until IP, ARP or something unknown appears.
pub(super) fn settle(mut layer: Layer<'_>) -> Layer<'_> {
    for _ in 0..MAX_HEADERS {
        layer = match layer {
            Layer::Ethernet(data) => ethernet(data),
            Layer::Ppp(data) => ppp(data).unwrap_or(Layer::Broken),
            Layer::EtherType(kind, data) => match kind {
                ethertype::IPV4 | ethertype::IPV6 => return Layer::Ip(data),
                ethertype::ARP => return Layer::Arp(data),
                ethertype::VLAN | ethertype::PROVIDER_BRIDGING | ethertype::OLD_QINQ => {
                    ethertype_at(data, 2, 4)
                }
                ethertype::TRANSPARENT_ETHERNET => Layer::Ethernet(data),
                ethertype::PPPOE_SESSION => pppoe(data).unwrap_or(Layer::Broken),
                ethertype::MPLS | ethertype::MPLS_MULTICAST => mpls(data),
                // Below 1536 this is a length, and an LLC header follows (IEEE 802.3).
                0..=1535 => snap(data),
                _ => return Layer::Other,
            },
            settled => return settled,
        };
    }
    Layer::Broken
}

fn ethernet(data: &[u8]) -> Layer<'_> {
    ethertype_at(data, 12, 14)
}

/// A header with its ethertype at one offset and its payload at another.
fn ethertype_at(data: &[u8], kind: usize, payload: usize) -> Layer<'_> {
    match (word(data, kind), data.get(payload..)) {
        (Some(kind), Some(payload)) => Layer::EtherType(kind, payload),
        _ => Layer::Broken,
    }
}

/// SNAP inside LLC (IEEE 802.2); any other LLC payload is nothing of ours.
fn snap(data: &[u8]) -> Layer<'_> {
    if data.starts_with(&[0xaa, 0xaa, 3, 0, 0, 0]) {
        ethertype_at(data, 6, 8)
    } else {
        Layer::Other
    }
}

/// MPLS labels (RFC 3032), down to the one at the bottom of the stack.
fn mpls(mut data: &[u8]) -> Layer<'_> {
    for _ in 0..MAX_HEADERS {
        let Some((label, rest)) = data.split_first_chunk::<4>() else {
            return Layer::Broken;
        };
        data = rest;
        if label[2] & 1 != 0 {
            return match data.first().map(|byte| byte >> 4) {
                Some(4 | 6) => Layer::Ip(data),
                // An Ethernet pseudowire with its control word (RFC 4448).
                Some(0) => data.get(4..).map_or(Layer::Broken, Layer::Ethernet),
                _ => Layer::Other,
            };
        }
    }
    Layer::Broken
}

/// `NULL` and `LOOP`: an address family in four bytes, in the byte order of whatever host wrote it. Some
/// writers put an ethertype there.
fn family(data: &[u8]) -> Option<Layer<'_>> {
    let (family, data) = data.split_first_chunk::<4>()?;
    let number = u32::from_be_bytes(*family).min(u32::from_le_bytes(*family));
    Some(match number {
        // AF_INET everywhere; AF_INET6 on Linux, NetBSD and OpenBSD, FreeBSD, Darwin.
        2 | 10 | 24 | 28 | 30 => Layer::Ip(data),
        _ => match word(family, 2) {
            Some(kind @ (ethertype::IPV4 | ethertype::IPV6)) => Layer::EtherType(kind, data),
            _ => Layer::Other,
        },
    })
}

/// PPP (RFC 1661, RFC 1662): address and control bytes may be left out, and the protocol be one byte. On
/// `PPP_HDLC` an address of 0x0f or 0x8f means Cisco's framing.
fn ppp(data: &[u8]) -> Option<Layer<'_>> {
    let data = match data {
        [0xff, 0x03, rest @ ..] => rest,
        [0x0f | 0x8f, _, ..] => return Some(ethertype_at(data, 2, 4)),
        _ => data,
    };
    let (protocol, data) = match data {
        [low, rest @ ..] if low & 1 == 1 => (u16::from(*low), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return None,
    };
    Some(match protocol {
        0x0021 | 0x0057 => Layer::Ip(data),
        0x0281 => mpls(data),
        _ => Layer::Other,
    })
}

/// A `PPPoE` session packet (RFC 2516 section 4).
fn pppoe(data: &[u8]) -> Option<Layer<'_>> {
    let (header, rest) = data.split_first_chunk::<6>()?;
    // Code 0 is session data; discovery has others.
    if header[1] != 0 {
        return Some(Layer::Other);
    }
    Some(Layer::Ppp(rest))
}

/// 802.11 behind a radiotap header.
fn radiotap(data: &[u8]) -> Option<Layer<'_>> {
    let length = u16::from_le_bytes(*data.get(2..)?.first_chunk()?);
    wlan(data.get(usize::from(length)..)?)
}

/// An 802.11 data frame that is not encrypted (IEEE 802.11 section 9.3.2).
fn wlan(data: &[u8]) -> Option<Layer<'_>> {
    let (&kind, &flags) = (data.first()?, data.get(1)?);
    // Data frames that have data (subtype bit 2 clear), not protected, and no later fragment's start.
    if kind & 0x0c != 0x08 || kind & 0x40 != 0 || flags & 0x40 != 0 {
        return Some(Layer::Other);
    }
    let mut header = 24;
    if flags & 0x03 == 0x03 {
        header += 6;
    }
    if kind & 0x80 != 0 {
        header += 2;
        if flags & 0x80 != 0 {
            header += 4;
        }
    }
    Some(snap(data.get(header..)?))
}

/// Apple's PKTAP: a header of its own in little-endian order, then a frame of the link type it names.
fn pktap(data: &[u8]) -> Option<LinkPayload<'_>> {
    let field =
        |at: usize| -> Option<u32> { Some(u32::from_le_bytes(*data.get(at..)?.first_chunk()?)) };
    let header = || {
        let length = usize::try_from(field(0)?).ok()?;
        let link = i32::try_from(field(8)?).ok()?;
        // 108 bytes is the header's least length; PKTAP within PKTAP does not exist.
        (length >= 108 && link != 149 && link != 192 && link != 258).then_some(())?;
        Some((link, data.get(length..)?))
    };
    match header() {
        Some((link, frame)) => open(link, frame),
        None => Some(LinkPayload {
            layer: Layer::Broken,
            interface: None,
        }),
    }
}

/// FDDI (ISO 9314-2): frame control, two addresses, then LLC in the frames that carry it.
fn fddi(data: &[u8]) -> Layer<'_> {
    match (data.first(), data.get(13..)) {
        (Some(0x50..=0x5f), Some(rest)) => snap(rest),
        (Some(_), _) => Layer::Other,
        _ => Layer::Broken,
    }
}

/// PPI: a header of its own in little-endian order, then a frame of the link type it names.
fn ppi(data: &[u8]) -> Option<LinkPayload<'_>> {
    let header = || {
        let length = u16::from_le_bytes(*data.get(2..)?.first_chunk()?);
        let link = u32::from_le_bytes(*data.get(4..)?.first_chunk()?);
        let link = i32::try_from(link)
            .ok()
            .filter(|link| !matches!(link, 149 | 192 | 258))?;
        Some((link, data.get(usize::from(length).max(8)..)?))
    };
    match header() {
        Some((link, frame)) => open(link, frame),
        None => Some(LinkPayload {
            layer: Layer::Broken,
            interface: None,
        }),
    }
}

/// Linux netfilter log: attributes, one of which (`NFULA_PAYLOAD`, 9) is the IP packet. Lengths and types
/// are in the byte order of the host that captured.
fn nflog(data: &[u8]) -> Option<Layer<'_>> {
    let attributes = data.get(4..)?;
    let walk = |number: fn([u8; 2]) -> u16| {
        let mut rest = attributes;
        loop {
            let (header, _) = rest.split_first_chunk::<4>()?;
            let length = usize::from(number([header[0], header[1]]));
            let value = rest.get(4..length)?;
            // The upper bit of the type is a flag of netlink's.
            if number([header[2], header[3]]) & 0x7fff == 9 {
                return Some(value);
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
    };
    walk(u16::from_le_bytes)
        .or_else(|| walk(u16::from_be_bytes))
        .map(Layer::Ip)
}

/// The big-endian 16-bit word at `at`.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*bytes))
}
