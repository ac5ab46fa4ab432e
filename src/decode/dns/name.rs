//! Domain names on the wire (RFC 1035 section 4.1.4), walked within bounds.
//!
//! dns-parser's own `Name` refuses bytes beyond ASCII, prints dots and escape sequences raw, and
//! prints by recursion, so that a chain of pointers costs quadratic time. Hence this walk.

use crate::event::dns::Name;
use std::fmt::Write;

/// The longest name on the wire, its length bytes and final zero included (RFC 1035 section 2.3.4).
const MAX_WIRE: usize = 255;

/// How many compression pointers one name may follow. A name of 255 bytes has at most 127 labels, and
/// a sane encoder points at most once per label.
const MAX_POINTERS: usize = 127;

/// The offset after the name at `at`. Pointers are not followed: the cost is the name's own bytes.
pub(super) fn skip(message: &[u8], mut at: usize) -> Option<usize> {
    let start = at;
    loop {
        let length = usize::from(*message.get(at)?);
        match length {
            0 => return Some(at + 1),
            1..=63 => at += 1 + length,
            0xc0.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
        if at - start >= MAX_WIRE {
            return None;
        }
    }
}

/// The name at `at` and the offset after it. Pointers must lead strictly backwards, which ends every
/// loop.
pub(super) fn read(message: &[u8], at: usize) -> Option<(Name, usize)> {
    let mut text = String::new();
    let mut end = None;
    let mut position = at;
    let mut lowest = at;
    let mut wire = 1;
    let mut pointers = 0;
    loop {
        let length = usize::from(*message.get(position)?);
        match length {
            0 => {
                if text.is_empty() {
                    text.push('.');
                }
                return Some((Name(text.into()), end.unwrap_or(position + 1)));
            }
            1..=63 => {
                wire += 1 + length;
                if wire > MAX_WIRE {
                    return None;
                }
                push_label(&mut text, message.get(position + 1..position + 1 + length)?);
                position += 1 + length;
            }
            0xc0.. => {
                let target = (length & 0x3f) << 8 | usize::from(*message.get(position + 1)?);
                pointers += 1;
                if target >= lowest || pointers > MAX_POINTERS {
                    return None;
                }
                end = end.or(Some(position + 2));
                lowest = target;
                position = target;
            }
            _ => return None,
        }
    }
}

/// As much as there is of the uncompressed name at `at` in a message that was cut: the name, and the
/// offset after it when all of it is there.
pub(super) fn read_cut(message: &[u8], at: usize) -> Option<(Name, Option<usize>)> {
    let mut text = String::new();
    let mut position = at;
    loop {
        let Some(&length) = message.get(position) else {
            return Some((Name(text.into()), None));
        };
        let length = usize::from(length);
        if length == 0 {
            return read(message, at).map(|(name, end)| (name, Some(end)));
        }
        if length > 63 || position + 1 + length - at >= MAX_WIRE {
            return None;
        }
        let rest = &message[position + 1..];
        push_label(&mut text, &rest[..length.min(rest.len())]);
        position += 1 + length;
    }
}

/// Appends a label in presentation form, as [`Name`] promises.
fn push_label(text: &mut String, label: &[u8]) {
    if !text.is_empty() {
        text.push('.');
    }
    for &byte in label {
        match byte {
            b'.' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            0x21..=0x7e => text.push(char::from(byte)),
            // Writing into a String cannot fail.
            _ => drop(write!(text, "\\{byte:03}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_compressed_ones_followed() {
        let message = b"\x05a.b\\\x1b\x03com\x00\x01x\xc0\x06";
        let (name, end) = read(message, 0).unwrap();
        assert_eq!((&*name.0, end), ("a\\.b\\\\\\027.com", 11));
        let (name, end) = read(message, 11).unwrap();
        assert_eq!((&*name.0, end), ("x.com", 15));
        assert_eq!(skip(message, 11), Some(15));
        assert_eq!(&*read(b"\0", 0).unwrap().0.0, ".");
    }

    #[test]
    fn pointers_never_lead_forward_or_in_circles() {
        assert!(read(b"\xc0\x00", 0).is_none());
        assert!(read(b"\xc0\x02\x00", 0).is_none());
        assert!(read(b"\x01a\xc0\x00", 0).is_none());
        assert!(read(b"\x40a", 0).is_none());
    }

    #[test]
    fn names_end_at_255_bytes() {
        let mut message = b"\x3f".to_vec();
        message.extend([b'a'; 63]);
        let mut long = message.repeat(4);
        long.push(0);
        assert!(read(&long, 0).is_none());
        assert!(skip(&long, 0).is_none());
        let mut fits = message.repeat(3);
        fits.push(61);
        fits.extend([b'b'; 61]);
        fits.push(0);
        assert_eq!(fits.len(), 255);
        assert!(read(&fits, 0).is_some());
        assert_eq!(skip(&fits, 0), Some(255));
    }

    #[test]
    fn cut_names_keep_their_beginning() {
        assert_eq!(
            read_cut(b"\x03www\x07exam", 0).unwrap().0.0.as_ref(),
            "www.exam"
        );
        let whole = read_cut(b"\x03www\x00\x00", 0).unwrap();
        assert_eq!((whole.0.0.as_ref(), whole.1), ("www", Some(5)));
    }
}
