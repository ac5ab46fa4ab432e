//! What the arguments of a call point to: addresses, payloads, poll sets, times. Everything comes from the
//! tracee and may be nonsense or change under our eyes; every length is capped here.

use super::abi::Abi;
use super::memory::Memory;

use crate::event::Address;
use crate::flow::Endpoint;
use crate::time::Span;

/// Bytes of one payload that are looked at: the largest DNS message over UDP that anybody sends (RFC 6891
/// advises 4096), and enough for the beginning of one over TCP.
pub const PAYLOAD: usize = 4096;
/// Messages of one `sendmmsg` that are looked at; resolvers send two.
pub const MESSAGES: usize = 16;
/// Pieces of one scattered buffer that are looked at.
const PIECES: usize = 16;
/// Descriptors of one poll that are looked at.
const POLLED: usize = 64;
/// `sizeof(struct sockaddr_storage)`
const ADDRESS: usize = 128;

/// Reads words of a calling convention out of memory.
pub struct ArgumentReader<'m, M> {
    /// Whose memory.
    pub memory: &'m M,
    /// How wide its words are.
    pub abi: Abi,
}

/// Where the bytes of one message lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// The address given with the message: where, how long.
    pub name: (u64, usize),
    /// Address and length of each piece.
    pub pieces: Vec<(u64, usize)>,
    /// All bytes, as the call claims.
    pub length: u64,
}

/// The descriptors that a poll or select names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Set {
    /// `struct pollfd` array at this address.
    Poll(u64),
    /// Addresses of the three `fd_set`s, and how many descriptors they cover.
    Select([u64; 3], usize),
    /// Unnamed: epoll.
    Unnamed,
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

impl<M: Memory> ArgumentReader<'_, M> {
    fn word(&self, bytes: &[u8], index: usize) -> u64 {
        let wide = self.abi.word();
        let Some(bytes) = bytes.get(index * wide..(index + 1) * wide) else {
            return 0;
        };
        bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
    }

    /// The words at an address; unreadable ones are 0.
    pub fn words<const N: usize>(&self, address: u64) -> [u64; N] {
        let bytes = self.memory.bytes(address, N * self.abi.word());
        std::array::from_fn(|i| self.word(&bytes, i))
    }

    /// A socket address argument; `None` when there is none or it cannot be read.
    pub fn address(&self, at: u64, length: u64) -> Option<Address> {
        if at == 0 || length < 2 {
            return None;
        }
        let mut bytes = [0; ADDRESS];
        // The kernel takes the length as an int, and no more than fits.
        let want = size(length & 0xffff_ffff).min(ADDRESS);
        let got = self.memory.read(at, &mut bytes[..want]);
        (got >= 2).then(|| crate::decode::sockaddr::parse(&bytes[..got]))
    }

    /// Likewise, when it is an Internet address.
    pub fn endpoint(&self, at: u64, length: u64) -> Option<Endpoint> {
        match self.address(at, length)? {
            Address::Inet(end) => Some(end),
            _ => None,
        }
    }

    /// One plain buffer.
    pub fn plain(at: u64, length: u64) -> Buffer {
        Buffer {
            name: (0, 0),
            pieces: vec![(at, size(length))],
            length,
        }
    }

    /// A `struct iovec` array.
    pub fn scattered(&self, at: u64, count: u64) -> Buffer {
        let wide = self.abi.word();
        let count = size(count).min(PIECES);
        let bytes = self.memory.bytes(at, count * 2 * wide);
        let pieces: Vec<_> = (0..bytes.len() / (2 * wide))
            .map(|i| (self.word(&bytes, 2 * i), size(self.word(&bytes, 2 * i + 1))))
            .collect();
        Buffer {
            name: (0, 0),
            length: pieces
                .iter()
                .fold(0, |n: u64, p| n.saturating_add(p.1 as u64)),
            pieces,
        }
    }

    /// A `struct msghdr` (`compat_msghdr` for 32-bit programs).
    pub fn header(&self, at: u64) -> Buffer {
        // Name, name length (an int; padded to a word), pieces, count of pieces.
        let [name, name_length, pieces, count] = self.words(at);
        let mut buffer = self.scattered(pieces, count);
        buffer.name = (name, size(name_length & 0xffff_ffff));
        buffer
    }

    /// Bytes from one `struct mmsghdr` to the next.
    fn header_step(&self) -> u64 {
        // Seven words with padding on 64 bits, seven on 32; then the length, padded to a word.
        8 * self.abi.word() as u64
    }

    /// The first of a `struct mmsghdr` array, and how many bytes the kernel says each has carried.
    pub fn headers(&self, at: u64, count: u64) -> Vec<(Buffer, u64)> {
        let step = self.header_step();
        let length_at = step - self.abi.word() as u64;
        (0..count.min(MESSAGES as u64))
            .map(|i| {
                let at = at.wrapping_add(i * step);
                let length = self.memory.array(at.wrapping_add(length_at));
                let length = u32::from_ne_bytes(length.unwrap_or_default());
                (self.header(at), length.into())
            })
            .collect()
    }

    /// The first bytes of a buffer, no more than `limit`, and whether that was not all.
    pub fn payload(&self, buffer: &Buffer, limit: u64) -> (Vec<u8>, bool) {
        let total = buffer.length.min(limit);
        let mut left = size(total).min(PAYLOAD);
        let mut bytes = Vec::new();
        for (at, length) in &buffer.pieces {
            let want = left.min(*length);
            if want == 0 {
                continue;
            }
            let piece = self.memory.bytes(*at, want);
            left -= piece.len();
            let short = piece.len() < want;
            bytes.extend(piece);
            if short {
                break;
            }
        }
        let cut = (bytes.len() as u64) < total;
        (bytes, cut)
    }

    /// A `timespec` (`unit` 1) or `timeval` (`unit` 1000 nanoseconds); `None` for a null pointer.
    pub fn time(&self, at: u64, word: usize, unit: i64) -> Option<Span> {
        if at == 0 {
            return None;
        }
        let bytes = self.memory.bytes(at, 2 * word);
        let half = |i: usize| -> Option<i64> {
            let bytes = bytes.get(i * word..(i + 1) * word)?;
            match <[u8; 8]>::try_from(bytes) {
                Ok(bytes) => Some(i64::from_ne_bytes(bytes)),
                Err(_) => <[u8; 4]>::try_from(bytes)
                    .ok()
                    .map(|b| i32::from_ne_bytes(b).into()),
            }
        };
        let (whole, part) = (half(0)?, half(1)?);
        Some(Span::seconds(whole) + Span(part.saturating_mul(unit)))
    }

    /// The descriptors that a set names.
    pub fn named(&self, set: &Set, count: u64) -> Vec<i32> {
        match set {
            Set::Poll(at) => self.poll(*at, count).into_iter().map(|p| p.0).collect(),
            Set::Select(..) => self.selected(set),
            Set::Unnamed => Vec::new(),
        }
    }

    /// The descriptors that are ready when the call has returned.
    pub fn ready(&self, set: &Set, count: u64) -> Vec<i32> {
        match set {
            Set::Poll(at) => {
                let polled = self.poll(*at, count).into_iter();
                polled.filter(|p| p.1 != 0).map(|p| p.0).collect()
            }
            Set::Select(..) => self.selected(set),
            Set::Unnamed => Vec::new(),
        }
    }

    fn poll(&self, at: u64, count: u64) -> Vec<(i32, u16)> {
        const STEP: usize = 8; // int fd; short events, revents
        let bytes = self.memory.bytes(at, size(count).min(POLLED) * STEP);
        bytes
            .chunks_exact(STEP)
            .map(|p| {
                let fd = i32::from_ne_bytes([p[0], p[1], p[2], p[3]]);
                (fd, u16::from_ne_bytes([p[6], p[7]]))
            })
            .filter(|(fd, _)| *fd >= 0)
            .collect()
    }

    fn selected(&self, set: &Set) -> Vec<i32> {
        /// `FD_SETSIZE`
        const MOST: usize = 1024;
        let Set::Select(sets, count) = set else {
            return Vec::new();
        };
        let count = (*count).min(MOST);
        let mut bits = vec![0u8; count.div_ceil(8)];
        for at in sets.iter().filter(|at| **at != 0) {
            let some = self.memory.bytes(*at, bits.len());
            bits.iter_mut().zip(some).for_each(|(b, s)| *b |= s);
        }
        let named = (0..count).filter(|i| bits[i / 8] & 1 << (i % 8) != 0);
        named
            .take(POLLED)
            .filter_map(|i| i32::try_from(i).ok())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::FakeMemory;
    use super::*;

    fn reader(memory: &FakeMemory, abi: Abi) -> ArgumentReader<'_, FakeMemory> {
        ArgumentReader { memory, abi }
    }

    #[test]
    fn two_messages_of_sendmmsg_are_read_in_both_widths() {
        for (abi, wide) in [(Abi::X86_64, 8), (Abi::I386, 4)] {
            let mut memory = FakeMemory {
                base: 0x1000,
                bytes: vec![0; 0x200],
            };
            let mut put = |at: usize, value: u64| {
                memory.bytes[at..at + wide].copy_from_slice(&value.to_ne_bytes()[..wide]);
            };
            for i in 0..2 {
                let header = i * 8 * wide;
                put(header + 2 * wide, 0x1100 + (i * 2 * wide) as u64);
                put(header + 3 * wide, 1);
                put(header + 7 * wide, 5 + i as u64);
                put(0x100 + i * 2 * wide, 0x1180 + 8 * i as u64);
                put(0x100 + i * 2 * wide + wide, 4);
            }
            memory.bytes[0x180..0x184].copy_from_slice(b"abcd");
            memory.bytes[0x188..0x18c].copy_from_slice(b"efgh");
            let reader = reader(&memory, abi);
            let headers = reader.headers(0x1000, 2);
            assert_eq!(headers.len(), 2, "{abi:?}");
            let payloads: Vec<_> = headers
                .iter()
                .map(|(b, n)| (reader.payload(b, u64::MAX).0, *n))
                .collect();
            assert_eq!(payloads, [(b"abcd".to_vec(), 5), (b"efgh".to_vec(), 6)]);
        }
    }

    #[test]
    fn what_cannot_be_read_is_short_not_fatal() {
        let memory = FakeMemory {
            base: 0x1000,
            bytes: vec![7; 10],
        };
        let reader = reader(&memory, Abi::X86_64);
        assert_eq!(reader.address(0x2000, 16), None);
        assert_eq!(reader.address(0, 16), None);
        let buffer = ArgumentReader::<FakeMemory>::plain(0x1004, u64::MAX);
        assert_eq!(reader.payload(&buffer, u64::MAX), (vec![7; 6], true));
        assert!(reader.headers(u64::MAX - 3, u64::MAX).len() <= MESSAGES);
        assert!(reader.named(&Set::Poll(0x9999), u64::MAX).is_empty());
        assert_eq!(reader.time(0x9999, 8, 1), None);
    }

    #[test]
    fn poll_and_select_sets() {
        let mut bytes = Vec::new();
        for (fd, revents) in [(3i32, 1u16), (-1, 0), (9, 0)] {
            bytes.extend(fd.to_ne_bytes());
            bytes.extend(1u16.to_ne_bytes());
            bytes.extend(revents.to_ne_bytes());
        }
        bytes.extend([0b0001_1000, 0b0000_0010]);
        let memory = FakeMemory { base: 64, bytes };
        let reader = reader(&memory, Abi::X86_64);
        assert_eq!(reader.named(&Set::Poll(64), 3), [3, 9]);
        assert_eq!(reader.ready(&Set::Poll(64), 3), [3]);
        assert_eq!(reader.named(&Set::Select([88, 0, 0], 10), 0), [3, 4, 9]);
    }

    #[test]
    fn times_of_both_widths() {
        let mut bytes = Vec::from(5i64.to_ne_bytes());
        bytes.extend(500_000i64.to_ne_bytes());
        bytes.extend([2i32, 7].map(i32::to_ne_bytes).concat());
        let memory = FakeMemory { base: 8, bytes };
        let reader = reader(&memory, Abi::I386);
        assert_eq!(reader.time(8, 8, 1000), Some(Span(5_500_000_000)));
        assert_eq!(reader.time(24, 4, 1), Some(Span(2_000_000_007)));
        assert_eq!(reader.time(0, 8, 1), None);
    }
}
