//! Text in UTF-16, as PowerShell's `>` writes it, recoded as UTF-8.

use std::io::{BufRead, Read, Result};

/// How many bytes are looked at to tell UTF-16 from other text.
const LOOK: usize = 256;

/// In which order the two bytes of a unit stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The lower byte first.
    Little,
    /// The higher byte first.
    Big,
}

/// The byte order of a text with this beginning, if it is UTF-16: by its mark (RFC 2781 section 3.2), or because every
/// other byte is 0, as in ASCII characters.
pub fn byte_order(start: &[u8]) -> Option<ByteOrder> {
    match start {
        [0xff, 0xfe, ..] => return Some(ByteOrder::Little),
        [0xfe, 0xff, ..] => return Some(ByteOrder::Big),
        _ => {}
    }
    let pairs = start.get(..start.len().min(LOOK))?.chunks_exact(2);
    let count = pairs.len();
    let zeros = |at: usize| {
        pairs
            .clone()
            .filter(|pair| pair[at] == 0 && pair[1 - at] != 0)
            .count()
    };
    match (zeros(0), zeros(1)) {
        _ if count < 8 => None,
        (0, ascii) if ascii * 10 > count * 9 => Some(ByteOrder::Little),
        (ascii, 0) if ascii * 10 > count * 9 => Some(ByteOrder::Big),
        _ => None,
    }
}

/// Reads UTF-16 and gives UTF-8.
pub struct Utf16<R> {
    from: R,
    order: ByteOrder,
    /// The first half of a character beyond 0xffff.
    surrogate: Option<u16>,
    /// A byte whose partner has not come.
    odd: Option<u8>,
    ready: Vec<u8>,
    given: usize,
}

impl<R: BufRead> Utf16<R> {
    pub fn new(from: R, order: ByteOrder) -> Self {
        Self {
            from,
            order,
            surrogate: None,
            odd: None,
            ready: Vec::new(),
            given: 0,
        }
    }

    /// Recodes what lies in the buffer; whether there was anything.
    fn fill(&mut self) -> Result<bool> {
        self.ready.clear();
        self.given = 0;
        let bytes = self.from.fill_buf()?;
        let length = bytes.len();
        let whole: Vec<u8> = self
            .odd
            .take()
            .into_iter()
            .chain(bytes.iter().copied())
            .collect();
        self.from.consume(length);
        let pairs = whole.chunks_exact(2);
        self.odd = pairs.remainder().first().copied();
        let order = self.order;
        let units = pairs.map(|pair| match order {
            ByteOrder::Little => u16::from_le_bytes([pair[0], pair[1]]),
            ByteOrder::Big => u16::from_be_bytes([pair[0], pair[1]]),
        });
        let mut units: Vec<u16> = self.surrogate.take().into_iter().chain(units).collect();
        if length > 0
            && units
                .last()
                .is_some_and(|unit| (0xd800..0xdc00).contains(unit))
        {
            self.surrogate = units.pop();
        }
        let mut room = [0; 4];
        for character in char::decode_utf16(units) {
            let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
            // The mark of the byte order is no text.
            if character != '\u{feff}' {
                self.ready
                    .extend_from_slice(character.encode_utf8(&mut room).as_bytes());
            }
        }
        Ok(length > 0)
    }
}

impl<R: BufRead> Read for Utf16<R> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        while self.given == self.ready.len() {
            if !self.fill()? && self.ready.is_empty() {
                return Ok(0);
            }
        }
        let length = to.len().min(self.ready.len() - self.given);
        to[..length].copy_from_slice(&self.ready[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    #[test]
    fn both_orders_are_told_and_read_in_any_pieces() {
        let text = "10:00:00 connect(3, \u{1f980}) = 0\r\n";
        for mark in ["", "\u{feff}"] {
            let units: Vec<u16> = format!("{mark}{text}").encode_utf16().collect();
            let little: Vec<u8> = units.iter().flat_map(|u| u.to_le_bytes()).collect();
            let big: Vec<u8> = units.iter().flat_map(|u| u.to_be_bytes()).collect();
            for (bytes, order) in [(little, ByteOrder::Little), (big, ByteOrder::Big)] {
                assert_eq!(byte_order(&bytes), Some(order));
                for piece in [1, 2, 3, 7, 1000] {
                    let mut read = String::new();
                    let from = BufReader::with_capacity(piece, &bytes[..]);
                    Utf16::new(from, order).read_to_string(&mut read).unwrap();
                    assert_eq!(read, text);
                }
            }
        }
        for other in [
            &b""[..],
            text.as_bytes(),
            b"\x00\x00\x00\x00\x00\x00\x00\x00",
            &[0x1f, 0x8b],
        ] {
            assert_eq!(byte_order(other), None);
        }
    }
}
