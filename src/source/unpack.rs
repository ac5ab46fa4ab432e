//! Undoing a compression, up to what recordings can be packed to: 33 kB that unpack to a gigabyte are an attack.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// So many unpacked bytes come of every packed one at most. Captures and logs have times in every line, and the densest
/// that zstd -19 makes of them are some forty times smaller.
const RATIO: u64 = 200;
/// The ratio does not matter before so many unpacked bytes.
const FREE: u64 = 64 << 20;

/// Reads what `unpack` makes of packed bytes, and fails where it is out of all proportion to them.
pub fn guarded<'r, R: Read + 'r, D: Read + 'r>(
    packed: R,
    unpack: impl FnOnce(UnpackTally<R>) -> io::Result<D>,
) -> io::Result<Guarded<D>> {
    let read = Rc::new(Cell::new(0));
    let tally = UnpackTally {
        packed,
        read: Rc::clone(&read),
    };
    Ok(Guarded {
        unpacked: unpack(tally)?,
        packed: read,
        given: 0,
    })
}

/// Counts packed bytes.
pub struct UnpackTally<R> {
    packed: R,
    read: Rc<Cell<u64>>,
}

impl<R: Read> Read for UnpackTally<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.packed.read(buffer)?;
        self.read.set(self.read.get() + read as u64);
        Ok(read)
    }
}

/// Compares unpacked bytes with packed ones.
pub struct Guarded<D> {
    unpacked: D,
    packed: Rc<Cell<u64>>,
    given: u64,
}

impl<D: Read> Read for Guarded<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given > FREE && self.given / RATIO > self.packed.get() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "unpacked to more than {RATIO} times its size, as no recording is; unpack it yourself if you trust it"
                ),
            ));
        }
        let read = self.unpacked.read(buffer)?;
        self.given += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(packed: &[u8]) -> (u64, io::Result<u64>) {
        let mut reader = guarded(packed, zstd::Decoder::new).unwrap();
        let result = io::copy(&mut reader, &mut io::sink());
        (reader.given, result)
    }

    #[test]
    fn a_bomb_is_stopped_and_named() {
        let bomb = zstd::encode_all(io::repeat(0).take(4 * FREE), 1).unwrap();
        let (given, result) = unpack(&bomb);
        assert!(given < FREE + (1 << 20), "{given}");
        let error = result.unwrap_err().to_string();
        assert!(error.contains("more than 200 times its size"), "{error}");
    }

    #[test]
    fn what_is_small_or_honest_is_whole() {
        let small = zstd::encode_all(io::repeat(0).take(FREE / 2), 1).unwrap();
        assert_eq!(unpack(&small).1.unwrap(), FREE / 2);
        // A log of one call over and over.
        let mut log = String::new();
        for n in 0..1_200_000_u64 {
            let line = format!(
                "{}.{:06} connect(3, {{sa_family=AF_INET}}, 16) = 0 <0.000012>\n",
                n / 7,
                n * 13 % 999_983
            );
            log.push_str(&line);
        }
        let packed = zstd::encode_all(log.as_bytes(), 9).unwrap();
        assert!(log.len() as u64 > FREE);
        assert_eq!(unpack(&packed).1.unwrap(), log.len() as u64);
    }
}
