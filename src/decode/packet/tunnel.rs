//! Packets inside packets: GRE, ERSPAN, VXLAN, GENEVE, Teredo, GTP-U, L2TP.

use super::link::{Layer, word};

/// UDP ports of encapsulations (IANA registry "Service Name and Transport Protocol Port Number").
mod port {
    pub const L2TP: u16 = 1701;
    pub const GTP_U: u16 = 2152;
    pub const TEREDO: u16 = 3544;
    pub const GRE_IN_UDP: u16 = 4754;
    pub const VXLAN: u16 = 4789;
    pub const VXLAN_GPE: u16 = 4790;
    pub const GENEVE: u16 = 6081;
    /// What Linux took before 4789 was assigned, and takes to this day unless told otherwise (`ip link add type vxlan`).
    pub const VXLAN_LINUX: u16 = 8472;
}

/// Whether an encapsulation lives on this UDP port.
pub(super) fn is_port(number: u16) -> bool {
    matches!(
        number,
        port::L2TP
            | port::GTP_U
            | port::TEREDO
            | port::GRE_IN_UDP
            | port::VXLAN
            | port::VXLAN_GPE
            | port::GENEVE
            | port::VXLAN_LINUX
    )
}

/// What a UDP datagram on these ports encapsulates, if it does.
pub(super) fn in_udp(src: u16, dst: u16, payload: &[u8]) -> Option<Layer<'_>> {
    match dst {
        port::VXLAN => vxlan(payload),
        // Nobody assigned the port: the reserved bits must be as VXLAN has them.
        port::VXLAN_LINUX if matches!(payload, [8, 0, 0, 0, _, _, _, 0, ..]) => vxlan(payload),
        port::VXLAN_GPE => vxlan_gpe(payload),
        port::GTP_U => gtp_u(payload),
        port::GENEVE => geneve(payload),
        port::GRE_IN_UDP => gre(payload),
        _ if src == port::L2TP || dst == port::L2TP => l2tp(payload),
        _ if src == port::TEREDO || dst == port::TEREDO => teredo(payload),
        _ => None,
    }
}

/// GRE (RFC 2784, RFC 2890; version 1 is PPTP's, RFC 2637), and ERSPAN in it.
pub(super) fn gre(data: &[u8]) -> Option<Layer<'_>> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGEMENT: u16 = 0x0080;
    let flags = word(data, 0)?;
    let kind = word(data, 2)?;
    let given = |flag: u16| if flags & flag != 0 { 4 } else { 0 };
    // Source routing (RFC 1701) is obsolete, and its length is the sender's word.
    if flags & ROUTING != 0 {
        return None;
    }
    let mut at = 4 + given(CHECKSUM) + given(KEY) + given(SEQUENCE);
    match flags & 0x0007 {
        0 => {}
        1 if kind == 0x880b => {
            at += given(ACKNOWLEDGEMENT);
            return Some(Layer::Ppp(data.get(at..).filter(|rest| !rest.is_empty())?));
        }
        _ => return None,
    }
    let payload = data.get(at..)?;
    match kind {
        // ERSPAN (draft-foschiano-erspan): type I has no header and no sequence number, type II has 8 bytes.
        0x88be if flags & SEQUENCE == 0 => Some(Layer::Ethernet(payload)),
        0x88be => Some(Layer::Ethernet(payload.get(8..)?)),
        // Type III has 12 bytes, and 8 more if the last bit says so.
        0x22eb => {
            let more = if payload.get(11)? & 1 == 1 { 8 } else { 0 };
            Some(Layer::Ethernet(payload.get(12 + more..)?))
        }
        _ => Some(Layer::EtherType(kind, payload)),
    }
}

/// VXLAN (RFC 7348 section 5): the I flag and the reserved bits around it.
fn vxlan(data: &[u8]) -> Option<Layer<'_>> {
    let (header, rest) = data.split_first_chunk::<8>()?;
    (header[0] & 0x08 != 0).then_some(Layer::Ethernet(rest))
}

/// VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe): with the P flag the last byte of the first four names the protocol.
fn vxlan_gpe(data: &[u8]) -> Option<Layer<'_>> {
    let (header, rest) = data.split_first_chunk::<8>()?;
    match (header[0] & 0x04 != 0, header[3]) {
        (false, _) => vxlan(data),
        (true, 1 | 2) => Some(Layer::Ip(rest)),
        (true, 3) => Some(Layer::Ethernet(rest)),
        _ => None,
    }
}

/// GTP-U (3GPP TS 29.281 section 5): version 1, a G-PDU, extension headers perhaps.
fn gtp_u(data: &[u8]) -> Option<Layer<'_>> {
    const G_PDU: u8 = 0xff;
    let (header, mut rest) = data.split_first_chunk::<8>()?;
    if header[0] & 0xf0 != 0x30 || header[1] != G_PDU {
        return None;
    }
    // With any of the flags E, S and PN all three fields are there.
    if header[0] & 0x07 != 0 {
        let (optional, after) = rest.split_first_chunk::<4>()?;
        let mut next = optional[3];
        rest = after;
        while next != 0 && header[0] & 0x04 != 0 {
            let length = usize::from(*rest.first()?) * 4;
            // A length of 0 would never end.
            next = *rest.get(length.checked_sub(1)?)?;
            rest = &rest[length..];
        }
    }
    matches!(rest.first()? >> 4, 4 | 6).then_some(Layer::Ip(rest))
}

/// A data message of L2TP version 2 (RFC 2661 section 3.1), which carries PPP.
fn l2tp(data: &[u8]) -> Option<Layer<'_>> {
    const CONTROL: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    const OFFSET: u16 = 0x0200;
    let flags = word(data, 0)?;
    if flags & 0x000f != 2 || flags & CONTROL != 0 {
        return None;
    }
    let given = |flag: u16, length| if flags & flag != 0 { length } else { 0 };
    let mut at = 6 + given(LENGTH, 2) + given(SEQUENCE, 4);
    if flags & OFFSET != 0 {
        at += 2 + usize::from(word(data, at)?);
    }
    Some(Layer::Ppp(data.get(at..).filter(|rest| !rest.is_empty())?))
}

/// The name of an encapsulation that is recognised but not read, because it is encrypted or its inner format is agreed
/// elsewhere.
pub(super) fn unread_in_udp(src: u16, dst: u16, payload: &[u8]) -> Option<&'static str> {
    let either = |port| src == port || dst == port;
    match payload {
        [0x30..=0x3f, ..] if either(port::GTP_U) => Some("GTP-U that holds no IP packet"),
        [_, 0x03, ..] if either(port::L2TP) => Some("L2TPv3"),
        _ if dst == port::VXLAN_GPE => Some("VXLAN-GPE of another protocol"),
        _ => None,
    }
}

/// GENEVE (RFC 8926 section 3.4), version 0, no control packets.
fn geneve(data: &[u8]) -> Option<Layer<'_>> {
    let (header, rest) = data.split_first_chunk::<8>()?;
    if header[0] & 0xc0 != 0 || header[1] & 0x80 != 0 {
        return None;
    }
    let options = usize::from(header[0] & 0x3f) * 4;
    Some(Layer::EtherType(
        u16::from_be_bytes([header[2], header[3]]),
        rest.get(options..)?,
    ))
}

/// Teredo (RFC 4380 section 5.1.1): IPv6, behind authentication and origin indications perhaps.
fn teredo(mut data: &[u8]) -> Option<Layer<'_>> {
    if data.starts_with(&[0, 1]) {
        let identifiers = usize::from(*data.get(2)?) + usize::from(*data.get(3)?);
        data = data.get(13 + identifiers..)?;
    }
    if data.starts_with(&[0, 0]) {
        data = data.get(8..)?;
    }
    let length = usize::from(word(data, 4)?);
    // The payload length must fit: any other protocol may use the port.
    (data[0] >> 4 == 6 && data.len() >= 40 && length <= data.len() - 40).then_some(Layer::Ip(data))
}
