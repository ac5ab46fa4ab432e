//! Between whom a frame goes, told from its headers alone.

use super::ip::{self, protocol};
use super::link::{self, Layer};
use crate::flow::{Endpoint, FiveTuple, Transport};
use std::net::IpAddr;

/// Between whom a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outline {
    /// A TCP segment or a UDP datagram.
    Flow(FiveTuple),
    /// A part of an IP packet, from whom to whom.
    Fragment(IpAddr, IpAddr),
    /// Anything else.
    Other,
}

/// Reads the outermost headers of a frame.
pub fn outline(link: i32, data: &[u8]) -> Outline {
    let layer = link::open(link, data).map(|opened| link::settle(opened.layer));
    let Some(Layer::Ip(data)) = layer else {
        return Outline::Other;
    };
    let Some(packet) = ip::read(data) else {
        return Outline::Other;
    };
    if packet.fragment.is_some() {
        return Outline::Fragment(packet.src, packet.dst);
    }
    let transport = match packet.protocol {
        protocol::TCP => Transport::Tcp,
        protocol::UDP => Transport::Udp,
        _ => return Outline::Other,
    };
    let port = |at| link::word(packet.payload, at);
    match (port(0), port(2)) {
        (Some(src), Some(dst)) => Outline::Flow(FiveTuple {
            transport,
            src: Endpoint::new(packet.src, src),
            dst: Endpoint::new(packet.dst, dst),
        }),
        _ => Outline::Other,
    }
}
