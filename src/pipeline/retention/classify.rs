//! What a frame holds, as far as the rule looks at it: of each frame by itself, for what stays is decided before copies
//! are taken out and fragments and streams are put together.

use super::PacketKey;
use crate::decode::packet::{DecodeOptions, Decoder, Outline, RawFrame, outline};
use crate::event::{Packet, dns};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// Reads frames one by one.
#[derive(Debug)]
pub struct Classifier {
    decoder: Decoder,
    keys: Vec<PacketKey>,
}

impl Classifier {
    /// With these DNS ports beside 53.
    pub fn new(dns_ports: &[u16]) -> Self {
        Self {
            decoder: Decoder::new(DecodeOptions {
                dns_ports: dns_ports.to_vec(),
                ..DecodeOptions::default()
            }),
            keys: Vec::new(),
        }
    }

    /// What is in a frame; at least one key.
    pub fn keys(&mut self, frame: RawFrame<'_>) -> &[PacketKey] {
        self.keys.clear();
        let keys = &mut self.keys;
        self.decoder
            .decode_alone(frame, &mut |packet| keys.push(key(&packet)));
        if keys.is_empty() {
            keys.push(match outline(frame.link, frame.data) {
                Outline::Flow(flow) => PacketKey::Part(flow),
                Outline::Fragment(from, to) => PacketKey::Fragment(from, to),
                Outline::Other => PacketKey::Other,
            });
        }
        keys
    }
}

/// Of a decoded packet.
fn key(packet: &Packet) -> PacketKey {
    match packet {
        Packet::Tcp {
            flow, flags, seq, ..
        } => PacketKey::Tcp {
            flow: *flow,
            syn: flags.syn && !flags.ack,
            seq: *seq,
        },
        Packet::QuicInitial { flow } | Packet::Opening { flow, .. } => PacketKey::Part(*flow),
        Packet::Dns { flow, message, .. } => PacketKey::Dns {
            flow: *flow,
            response: message.response,
            name: message.question.as_ref().map(name),
        },
        Packet::Icmp { quote, .. } => PacketKey::Error {
            quoted: quote.as_ref().map(|q| q.flow),
            name: quote.as_ref().and_then(|q| q.question.as_ref()).map(name),
        },
        Packet::Neighbour { about, .. } => PacketKey::Neighbour(*about),
    }
}

/// A name in one number: names of other processes are not stored to be compared.
pub fn name(question: &dns::Question) -> u64 {
    let mut hasher = DefaultHasher::new();
    question.name.folded().hash(&mut hasher);
    hasher.finish()
}
