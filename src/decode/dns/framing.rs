//! DNS messages in a byte stream: each behind its length in two bytes (RFC 1035 section 4.2.2).

/// The length of the message that begins here, and what follows the two bytes that say it.
pub fn prefix(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_be_bytes(*length)), rest))
}

/// The first message of the bytes without its prefix, and what follows it; `None` when it is not all there.
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = prefix(bytes)?;
    rest.split_at_checked(length)
}

/// Writes a message with its prefix; one that is too long for a prefix is cut.
pub fn write(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend(&message[..usize::from(length)]);
    framed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_split_again() {
        let two = [write(b"one"), write(b"")].concat();
        let (first, rest) = split(&two).unwrap();
        assert_eq!(
            (first, split(rest)),
            (&b"one"[..], Some((&b""[..], &b""[..])))
        );
        assert_eq!((split(b"\0\x03on"), split(b"\0")), (None, None));
        assert_eq!(prefix(b"\0\x03on"), Some((3, &b"on"[..])));
    }
}
