//! Compressed inputs, told by their first bytes: captures and logs alike.

use super::unpack;
use std::io::{BufRead, BufReader, Read, Result};

/// Compressions that are undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip (RFC 1952), of several members perhaps.
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// The compression of a file with these first bytes.
pub fn sniff(head: &[u8]) -> Option<Compression> {
    match head {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
        _ => None,
    }
}

/// Undoes a compression.
pub fn decompress<'r>(
    compression: Option<Compression>,
    reader: impl BufRead + 'r,
) -> Result<Box<dyn BufRead + 'r>> {
    Ok(match compression {
        None => Box::new(reader),
        Some(Compression::Gzip) => {
            let gzip = |packed| Ok(flate2::read::MultiGzDecoder::new(packed));
            Box::new(BufReader::new(unpack::guarded(reader, gzip)?))
        }
        Some(Compression::Zstd) => {
            Box::new(BufReader::new(unpack::guarded(reader, zstd::Decoder::new)?))
        }
    })
}

/// The first bytes of a file as they are once unpacked, as far as these bytes of it allow; at most `limit` of them.
pub fn unpacked_head(head: &[u8], limit: usize) -> Vec<u8> {
    let mut unpacked = Vec::new();
    if let Ok(reader) = decompress(sniff(head), head) {
        // A part of a compressed file ends in an error; what came before it is good.
        let _ = reader.take(limit as u64).read_to_end(&mut unpacked);
    }
    unpacked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_compressed_file_shows_its_beginning() {
        let text = b"1234 connect(3, ...) = 0\n".repeat(2000);
        let packed = zstd::encode_all(&text[..], 1).unwrap();
        assert_eq!(unpacked_head(&packed, 24), text[..24]);
        assert_eq!(unpacked_head(&text, 24), text[..24]);
        assert!(unpacked_head(&packed[..6], 24).is_empty());
    }
}
