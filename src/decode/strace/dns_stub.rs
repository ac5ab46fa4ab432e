//! TEMPORARY: stands in for `decode::dns` until that module is merged; then this file goes and the one
//! `use` line in `payload.rs` changes. Header and first question only.

use crate::event::dns::{Message, Name, Question, Rcode, RecordType};
use std::fmt::Write;

/// Reads the beginning of a DNS message that may be cut.
pub fn glimpse(bytes: &[u8], cut: bool) -> Option<Message> {
    let header: &[u8; 12] = bytes.first_chunk()?;
    let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let flags = word(2);
    let opcode = (flags >> 11 & 15) as u8;
    if word(4) != 1 || opcode > 5 || flags & 0x8000 == 0 && (word(6) > 0 || flags & 15 != 0) {
        return None;
    }
    let mut message = Message {
        id: word(0),
        response: flags & 0x8000 != 0,
        opcode,
        truncated: flags & 0x0200 != 0,
        rcode: Rcode(flags & 15),
        question: None,
        answers: word(6),
        addresses: Vec::new(),
        names: Vec::new(),
        complete: false,
    };
    let mut name = String::new();
    let mut at = 12;
    let question = |name: String, kind, cut| {
        let name = if name.is_empty() {
            ".".to_owned()
        } else {
            name
        };
        Some(Question {
            name: Name(name.into_boxed_str()),
            kind,
            cut,
        })
    };
    loop {
        let Some(&length) = bytes.get(at) else {
            message.question = question(name, None, true);
            return cut.then_some(message);
        };
        at += 1;
        if length == 0 {
            break;
        }
        if length > 63 || at > 12 + 255 {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        let end = (at + usize::from(length)).min(bytes.len());
        for &byte in &bytes[at..end] {
            match byte {
                b'.' | b'\\' => name.extend(['\\', char::from(byte)]),
                0x21..=0x7e => name.push(char::from(byte)),
                _ => drop(write!(name, "\\{byte:03}")),
            }
        }
        at += usize::from(length);
        if at > bytes.len() {
            message.question = question(name, None, true);
            return cut.then_some(message);
        }
    }
    let kind = bytes
        .get(at..at + 2)
        .map(|k| RecordType(u16::from_be_bytes([k[0], k[1]])));
    if kind.is_none() && !cut {
        return None;
    }
    message.question = question(name, kind, false);
    Some(message)
}
