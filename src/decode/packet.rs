//! Frames to packets: link, IP, UDP, TCP and ICMP headers, tunnels, fragments, DNS over both transports.
//!
//! Most packets of a capture do not matter; they are told by their first bytes and cost no allocation.

mod icmp;
mod ip;
mod link;
mod outline;
mod quic;
mod trim;
mod tunnel;

use super::dns;
use super::duplicate::Duplicates;
use super::fragment::Fragments;
use super::handshake::Handshakes;
use super::opening::{OpeningSegment, Openings};
use super::stream::{Segment, StreamMessage, Streams};
use crate::event::{Packet, Service, TcpFlags};
use crate::flow::{DNS_PORT, Endpoint, FiveTuple, LLMNR_PORT, MDNS_PORT, NETBIOS_PORT, Transport};
use crate::time::Timestamp;
use etherparse::{TcpHeaderSlice, UdpSlice};
use ip::{IpPacket, protocol};
use link::Layer;
pub use outline::{Outline, outline};
use std::collections::BTreeMap;
use std::sync::Arc;
pub use trim::trimmed_length;

/// A link type by its number in capture files (LINKTYPE) or in libpcap (DLT).
pub type LinkType = i32;

/// How many IP headers may stand in each other. A mirrored overlay network has three.
const MAX_NESTING: usize = 4;

/// How many different unsupported link types are counted by number.
const MAX_UNSUPPORTED: usize = 16;

/// What the user may say about DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Ports of resolvers besides 53.
    pub dns_ports: Vec<u16>,
    /// Keep the bytes of whole DNS messages: they are to be sent again.
    pub keep_messages: bool,
}

/// One frame as captured.
#[derive(Clone, Copy, Debug)]
pub struct RawFrame<'a> {
    /// When it was captured.
    pub at: Timestamp,
    /// What its first header is.
    pub link: LinkType,
    /// The interface as far as the capture says; the link header may say it too.
    pub interface: Option<u32>,
    /// The captured bytes.
    pub data: &'a [u8],
    /// How long it was on the wire, in bytes.
    pub original_length: u32,
}

/// What a [`Decoder`] counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames with a broken header, and messages on DNS ports that are no DNS.
    pub undecodable: u64,
    /// Copies of packets from other interfaces, removed.
    pub duplicates: u64,
    /// Frames of unsupported link types, by link type.
    pub unsupported: BTreeMap<LinkType, u64>,
    /// Packets of encapsulations that are recognised but not read, by name.
    pub unread: BTreeMap<&'static str, u64>,
    /// DNS messages of which the capture holds only a part.
    pub cut_messages: u64,
    /// Those of them of which not even the header is there.
    pub hidden_messages: u64,
    /// Fragments, stream parts and nested packets that were dropped because of a limit or a hole.
    pub bounds: u64,
    /// Datagrams of which not all fragments are in the capture.
    pub incomplete_datagrams: u64,
}

/// Turns frames into packets that matter. Frames must come in the order of the capture.
#[derive(Clone, Debug)]
pub struct Decoder {
    ports: Vec<u16>,
    keep_messages: bool,
    counters: Counters,
    fragments: Fragments,
    streams: Streams,
    duplicates: Duplicates,
    handshakes: Handshakes,
    openings: Openings,
}

/// Where packets go.
type PacketSink<'s> = dyn FnMut(Packet) + 's;

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new(options: DecodeOptions) -> Self {
        let mut ports = options.dns_ports;
        ports.insert(0, DNS_PORT);
        Self {
            ports,
            keep_messages: options.keep_messages,
            counters: Counters::default(),
            fragments: Fragments::default(),
            streams: Streams::default(),
            duplicates: Duplicates::default(),
            handshakes: Handshakes::default(),
            openings: Openings::default(),
        }
    }

    /// What was counted so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.bounds += self.fragments.given_up() + self.streams.given_up();
        counters.incomplete_datagrams = self.fragments.incomplete() as u64;
        counters
    }

    /// Decodes one frame; `sink` gets what matters in it.
    pub fn decode(&mut self, frame: RawFrame<'_>, sink: &mut PacketSink<'_>) {
        let Some(opened) = link::open(frame.link, frame.data) else {
            let unsupported = &mut self.counters.unsupported;
            if unsupported.len() < MAX_UNSUPPORTED || unsupported.contains_key(&frame.link) {
                *unsupported.entry(frame.link).or_default() += 1;
            }
            return;
        };
        let layer = link::settle(opened.layer);
        if let Layer::Ip(data) = layer
            && self.is_dull(data)
        {
            return;
        }
        if let Layer::Ip(data) | Layer::Arp(data) = layer
            && let interface = opened.interface.or(frame.interface)
            && self
                .duplicates
                .is_copy(frame.at, interface, ip::without_padding(data))
        {
            self.counters.duplicates += 1;
            return;
        }
        self.layer(frame.at, layer, 0, sink);
    }

    /// Decodes one frame by itself: copies are not taken out, and nothing is put together from several frames.
    pub fn decode_alone(&mut self, frame: RawFrame<'_>, sink: &mut PacketSink<'_>) {
        if let Some(opened) = link::open(frame.link, frame.data) {
            self.layer(frame.at, opened.layer, 0, sink);
        }
        (self.fragments, self.streams) = (Fragments::default(), Streams::default());
        self.handshakes.clear();
        self.openings.clear();
    }

    /// Whether a packet says nothing that matters, by its first bytes.
    fn is_dull(&self, data: &[u8]) -> bool {
        ip::is_dull(
            data,
            |port| self.is_wanted(port),
            |segment| {
                let (from, to) = (segment.source, segment.destination);
                self.handshakes.may_concern(from, to)
                    || self.openings.may_concern(from, to, segment.data)
            },
        )
    }

    /// Whether packets on this port are looked at whatever they are.
    fn is_wanted(&self, port: u16) -> bool {
        self.is_dns_port(port)
            || matches!(port, MDNS_PORT | LLMNR_PORT | NETBIOS_PORT)
            || tunnel::is_port(port)
    }

    fn is_dns_port(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    fn layer(&mut self, at: Timestamp, layer: Layer<'_>, depth: usize, sink: &mut PacketSink<'_>) {
        match link::settle(layer) {
            Layer::Ip(data) => self.ip(at, data, depth, sink),
            Layer::Arp(data) => {
                if let Some(packet) = icmp::arp(data) {
                    sink(packet);
                }
            }
            Layer::Broken => self.counters.undecodable += 1,
            _ => {}
        }
    }

    fn ip(&mut self, at: Timestamp, data: &[u8], depth: usize, sink: &mut PacketSink<'_>) {
        if depth > MAX_NESTING {
            self.counters.bounds += 1;
            return;
        }
        if depth > 0 && self.is_dull(data) {
            return;
        }
        let Some(packet) = ip::read(data) else {
            self.counters.undecodable += 1;
            return;
        };
        let Some(fragment) = packet.fragment else {
            return self.transport(at, packet, depth, sink);
        };
        if packet.missing > 0 {
            // A hole that nothing will fill.
            self.counters.bounds += 1;
        } else if let Some(payload) = self.fragments.add(at, fragment) {
            match packet.whole(&payload) {
                Some(whole) => self.transport(at, whole, depth, sink),
                None => self.counters.undecodable += 1,
            }
        }
    }

    fn transport(
        &mut self,
        at: Timestamp,
        packet: IpPacket<'_>,
        depth: usize,
        sink: &mut PacketSink<'_>,
    ) {
        let is_dns_port = |port| self.ports.contains(&port);
        match packet.protocol {
            protocol::TCP => self.tcp(at, &packet, sink),
            protocol::UDP => self.udp(at, &packet, depth, sink),
            protocol::ICMP => {
                let error = icmp::error_v4(packet.src, packet.dst, packet.payload, &is_dns_port);
                error.into_iter().for_each(sink);
            }
            protocol::ICMPV6 => {
                let message =
                    icmp::message_v6(packet.src, packet.dst, packet.payload, &is_dns_port);
                message.into_iter().for_each(sink);
            }
            protocol::IPV4 | protocol::IPV6 => self.ip(at, packet.payload, depth + 1, sink),
            protocol::ESP => *self.counters.unread.entry("IPsec ESP").or_default() += 1,
            protocol::L2TP => *self.counters.unread.entry("L2TPv3").or_default() += 1,
            protocol::GRE => {
                if let Some(layer) = tunnel::gre(packet.payload) {
                    self.nested(at, layer, depth, sink);
                }
            }
            _ => {}
        }
    }

    /// What a tunnel carries.
    fn nested(&mut self, at: Timestamp, layer: Layer<'_>, depth: usize, sink: &mut PacketSink<'_>) {
        // Anything but IP concerns neighbours of some other link.
        if let Layer::Ip(data) = link::settle(layer) {
            self.ip(at, data, depth + 1, sink);
        }
    }

    fn udp(
        &mut self,
        at: Timestamp,
        packet: &IpPacket<'_>,
        depth: usize,
        sink: &mut PacketSink<'_>,
    ) {
        let Ok(udp) = UdpSlice::from_slice_lax(packet.payload) else {
            self.counters.undecodable += 1;
            return;
        };
        let (src, dst) = (udp.source_port(), udp.destination_port());
        let payload = udp.payload();
        let either = |port| src == port || dst == port;
        let flow = || FiveTuple {
            transport: Transport::Udp,
            src: Endpoint::new(packet.src, src),
            dst: Endpoint::new(packet.dst, dst),
        };
        let service = if self.is_dns_port(src) || self.is_dns_port(dst) {
            // Whatever the other port: a client may ask from any, from a tunnel's too.
            Service::Unicast
        } else if let Some(layer) = tunnel::in_udp(src, dst, payload) {
            return self.nested(at, layer, depth, sink);
        } else if let Some(name) = tunnel::unread_in_udp(src, dst, payload) {
            *self.counters.unread.entry(name).or_default() += 1;
            return;
        } else if either(MDNS_PORT) {
            Service::Mdns
        } else if either(LLMNR_PORT) {
            Service::Llmnr
        } else if src == NETBIOS_PORT || dst == NETBIOS_PORT {
            Service::NetBios
        } else if quic::is_initial(src, dst, payload) {
            return sink(Packet::QuicInitial { flow: flow() });
        } else if dns::looks_like_dns(payload) {
            Service::Candidate
        } else {
            return;
        };
        let cut = packet.missing > 0 || usize::from(udp.length()) > packet.payload.len();
        if cut && service == Service::Unicast {
            self.counters.cut_messages += 1;
        }
        let message = match dns::parse(payload) {
            Ok(_) if service == Service::NetBios => dns::netbios::parse(payload),
            Ok(message) if message.complete || !cut => Some(message),
            _ if cut => dns::glimpse(payload, true),
            _ => None,
        };
        match message {
            Some(mut message) => {
                message.bytes = kept(self.keep_messages && message.complete, payload);
                sink(Packet::Dns {
                    flow: flow(),
                    service,
                    message: Box::new(message),
                });
            }
            None if service == Service::Unicast => {
                self.counters.undecodable += 1;
                self.counters.hidden_messages += u64::from(cut);
            }
            None => {}
        }
    }

    fn tcp(&mut self, at: Timestamp, packet: &IpPacket<'_>, sink: &mut PacketSink<'_>) {
        let mut fixed = [0; TCP_HEADER];
        let Some((tcp, data)) = tcp_header(packet, &mut fixed) else {
            self.counters.undecodable += 1;
            return;
        };
        let flow = FiveTuple {
            transport: Transport::Tcp,
            src: Endpoint::new(packet.src, tcp.source_port()),
            dst: Endpoint::new(packet.dst, tcp.destination_port()),
        };
        let flags = TcpFlags {
            syn: tcp.syn(),
            ack: tcp.ack(),
            rst: tcp.rst(),
            fin: tcp.fin(),
        };
        let seq = tcp.sequence_number();
        let ack = if flags.ack {
            tcp.acknowledgment_number()
        } else {
            0
        };
        let shows_handshake = self.handshakes.take(flow, flags, seq, ack);
        if flags.syn || flags.fin || flags.rst || shows_handshake {
            sink(Packet::Tcp {
                flow,
                flags,
                seq,
                ack,
            });
        }
        let part = OpeningSegment {
            at,
            flow,
            flags,
            data: data.len() + packet.missing > 0,
        };
        self.openings
            .take(part, &mut |flow, step| sink(Packet::Opening { flow, step }));
        if !(self.is_dns_port(flow.src.port) || self.is_dns_port(flow.dst.port)) {
            return;
        }
        let segment = Segment {
            seq,
            syn: flags.syn,
            last: flags.fin || flags.rst,
            data,
            missing: packet.missing,
        };
        self.messages(flow, segment, sink);
    }

    /// The DNS messages that a segment completes.
    fn messages(&mut self, flow: FiveTuple, segment: Segment<'_>, sink: &mut PacketSink<'_>) {
        let undecodable = &mut self.counters.undecodable;
        let keep = self.keep_messages;
        self.streams.add(flow, segment, &mut |piece| {
            let (bytes, message) = match piece {
                StreamMessage::Whole(bytes) => (bytes, dns::parse(bytes).ok()),
                StreamMessage::Cut(bytes) => (bytes, dns::glimpse(bytes, true)),
            };
            let Some(mut message) = message else {
                *undecodable += 1;
                return false;
            };
            message.bytes = kept(keep && message.complete, bytes);
            sink(Packet::Dns {
                flow,
                service: Service::Unicast,
                message: Box::new(message),
            });
            true
        });
    }
}

/// The bytes of a message that is to be sent again.
fn kept(wanted: bool, bytes: &[u8]) -> Option<Arc<[u8]>> {
    wanted.then(|| bytes.into())
}

/// Length of a TCP header without options (RFC 9293 section 3.1).
const TCP_HEADER: usize = 20;

/// The TCP header and the payload. A capture may have cut the options, or all behind the flags: the header is
/// then completed in `fixed`, and there is no payload.
fn tcp_header<'a>(
    packet: &IpPacket<'a>,
    fixed: &'a mut [u8; TCP_HEADER],
) -> Option<(TcpHeaderSlice<'a>, &'a [u8])> {
    let data = packet.payload;
    if let Ok(header) = TcpHeaderSlice::from_slice(data) {
        let length = header.slice().len();
        return Some((header, &data[length..]));
    }
    // Up to the flags everything must be there, and a data offset that can be.
    if packet.missing == 0 || data.len() < 14 || data[12] >> 4 < 5 {
        return None;
    }
    let there = data.len().min(TCP_HEADER);
    fixed[..there].copy_from_slice(&data[..there]);
    fixed[12] = 5 << 4 | data[12] & 0x0f;
    let header = TcpHeaderSlice::from_slice(fixed).ok()?;
    Some((header, &[]))
}

#[cfg(test)]
mod tests;
