//! A thread's stack, read in pieces as the unwinder goes up.

use crate::source::tracer::memory::Memory;

/// One reading: the resolver's buffers are on the stack, so the callers of interest are some kilobytes up.
const PIECE: usize = 16 << 10;
/// So many readings for one stack.
const MAX_PIECES: usize = 16;

/// What was read of the memory around a stack pointer.
pub struct Window<'m, M> {
    memory: &'m M,
    pieces: Vec<(u64, Vec<u8>)>,
}

impl<'m, M: Memory> Window<'m, M> {
    /// Nothing yet.
    pub fn new(memory: &'m M) -> Self {
        Self {
            memory,
            pieces: Vec::new(),
        }
    }

    /// The word at an address.
    pub fn word(&mut self, address: u64) -> Option<u64> {
        if let Some(word) = self.pieces.iter().find_map(|p| within(p, address)) {
            return Some(word);
        }
        if self.pieces.len() >= MAX_PIECES {
            return None;
        }
        let piece = (address, self.memory.bytes(address, PIECE));
        let word = within(&piece, address);
        self.pieces.push(piece);
        word
    }
}

fn within((start, bytes): &(u64, Vec<u8>), address: u64) -> Option<u64> {
    let at = usize::try_from(address.checked_sub(*start)?).ok()?;
    let word = bytes.get(at..at.checked_add(8)?)?;
    word.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tracer::memory::FakeMemory;

    #[test]
    fn words_are_read_as_far_as_memory_goes() {
        let memory = FakeMemory {
            base: 0x1000,
            bytes: (0..64_u8).collect(),
        };
        let mut window = Window::new(&memory);
        let word = u64::from_ne_bytes([8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(window.word(0x1008), Some(word));
        assert_eq!(window.word(0x1038).map(u64::to_ne_bytes).unwrap()[0], 56);
        assert_eq!(window.word(0x1039), None, "it ends within the word");
        assert_eq!(window.word(u64::MAX - 3), None);
        for i in 0..100 {
            assert_eq!(window.word(0x9000 + i * 0x10_0000), None);
        }
        assert_eq!(window.pieces.len(), MAX_PIECES);
    }
}
