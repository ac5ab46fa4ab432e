//! The brackets, strings and annotations of strace's syntax.
//!
//! Everything is scanned once from left to right with a depth counter; nothing recurses, so no line can
//! exhaust the stack.

/// How many items of one list are kept: more only costs memory.
const MAX_ITEMS: usize = 4096;

/// Where `needle` first stands in `text`.
pub fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, more) = needle.split_first()?;
    let mut from = 0;
    while let Some(step) = memchr::memchr(*first, text.get(from..)?) {
        let at = from + step;
        if text[at + 1..].starts_with(more) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Past the string whose opening quote stands at `at`; `None` when it is never closed.
pub fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut i = at + 1;
    loop {
        match text.get(i)? {
            b'\\' => i += 2,
            b'"' => return Some(i + 1),
            _ => i += 1,
        }
    }
}

/// Past the annotation (`<UDP:[1.2.3.4:5->6.7.8.9:53]>`, `</dev/null<char 1:3>>`, `<comm>`) whose `<`
/// stands at `at`. `->` closes nothing. `None` when it is never closed.
pub fn annotation_end(text: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut i = at;
    loop {
        match text.get(i)? {
            b'<' => depth += 1,
            b'>' if text[i - 1] != b'-' => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            // The path of a unix socket: <UNIX-STREAM:[1->2,"/a>b"]>
            b'"' if matches!(text[i - 1], b',' | b'@') => {
                i = string_end(text, i)?;
                continue;
            }
            _ => {}
        }
        i += 1;
    }
}

/// The items of a bracketed list.
pub struct List<'a> {
    /// The items between commas at the top level, trimmed.
    pub items: Vec<&'a [u8]>,
    /// What follows the closing bracket; `None` when the list is not closed.
    pub rest: Option<&'a [u8]>,
}

/// Past the string, annotation or comment that begins at `at`: brackets and commas in it mean nothing. `None` where
/// none begins, or an annotation or a comment is never closed; a string that is not goes to the end of the text.
fn opaque_end(text: &[u8], at: usize) -> Option<usize> {
    match text[at] {
        b'"' => Some(string_end(text, at).unwrap_or(text.len())),
        b'<' if at > 0 && text[at - 1].is_ascii_alphanumeric() => annotation_end(text, at),
        b'/' if text.get(at + 1) == Some(&b'*') => {
            find(&text[at..], b"*/").map(|length| at + length + 2)
        }
        _ => None,
    }
}

/// Reads a list from behind its opening bracket up to its closing one.
pub fn list(text: &[u8], close: u8) -> List<'_> {
    let mut items = Vec::new();
    let mut depth = 0_usize;
    let mut start = 0;
    let mut i = 0;
    // The depth at which a `{sin_family=…` was opened: old versions of strace closed it twice.
    let mut doubled = None;
    let keep = |items: &mut Vec<_>, item| {
        let item = trim(item);
        if !<[u8]>::is_empty(item) && items.len() < MAX_ITEMS {
            items.push(item);
        }
    };
    while let Some(&byte) = text.get(i) {
        if let Some(end) = opaque_end(text, i) {
            i = end;
            continue;
        }
        match byte {
            b'(' | b'[' | b'{' => {
                depth += 1;
                let inside = &text[i + 1..];
                if inside.starts_with(b"sin_family=") || inside.starts_with(b"sin6_family=") {
                    doubled = Some(depth);
                }
            }
            b')' | b']' | b'}' if depth > 0 => {
                if doubled == Some(depth) {
                    doubled = None;
                    if text.get(i + 1) == Some(&b'}') {
                        i += 1;
                    }
                }
                depth -= 1;
            }
            _ if byte == close => {
                keep(&mut items, &text[start..i]);
                let rest = Some(&text[i + 1..]);
                return List { items, rest };
            }
            b',' if depth == 0 => {
                keep(&mut items, &text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
        i += 1;
    }
    keep(&mut items, &text[start..]);
    List { items, rest: None }
}

/// The items of a `{…}` or `[…]` value; none when it is no such value (a pointer, `NULL`).
pub fn inside(value: &[u8]) -> Vec<&[u8]> {
    match value.first() {
        Some(b'{') => list(&value[1..], b'}').items,
        Some(b'[') => list(&value[1..], b']').items,
        _ => Vec::new(),
    }
}

/// Splits `name=value` or `name(16)=value`; an item without a name is a value with an empty name.
pub fn named(item: &[u8]) -> (&[u8], &[u8]) {
    let word = item
        .iter()
        .position(|b| !(b.is_ascii_alphanumeric() || *b == b'_'))
        .unwrap_or(item.len());
    let mut at = word;
    if item.get(at) == Some(&b'(') {
        let digits = item[at + 1..].iter().take_while(|b| b.is_ascii_digit());
        let close = at + 1 + digits.count();
        if item.get(close) != Some(&b')') {
            return (b"", item);
        }
        at = close + 1;
    }
    if word > 0 && item.get(at) == Some(&b'=') {
        (&item[..word], trim(&item[at + 1..]))
    } else {
        (b"", item)
    }
}

/// The value of the first item with this name.
pub fn field<'a>(items: &[&'a [u8]], name: &[u8]) -> Option<&'a [u8]> {
    items
        .iter()
        .map(|item| named(item))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Without blanks at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    text.trim_ascii()
}

/// The digit that a byte is.
pub fn digit(byte: u8) -> Option<u8> {
    let digit = byte.wrapping_sub(b'0');
    (digit < 10).then_some(digit)
}

/// Plain decimal digits at the beginning, at most 18 of them, and what follows them.
pub fn decimal(text: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_i64;
    let mut length = 0;
    // Every line has several numbers: one pass over each.
    for digit in text.iter().map_while(|byte| digit(*byte)) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
        length += 1;
    }
    (1..=18).contains(&length).then(|| (value, &text[length..]))
}

/// The decimal or (`0x`) hexadecimal number at the beginning, and what follows it.
pub fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.strip_prefix(b"0x") {
        Some(hex) => (16, hex),
        None => (10, digits),
    };
    let mut value = 0_i64;
    let mut length = 0;
    while let Some(digit) = digits
        .get(length)
        .and_then(|b| char::from(*b).to_digit(radix))
    {
        value = value
            .saturating_mul(i64::from(radix))
            .saturating_add(i64::from(digit));
        length += 1;
    }
    let signed = if negative { -value } else { value };
    (length > 0).then_some((signed, &digits[length..]))
}

/// Decodes a C string literal's inside, at most `limit` bytes of it. Stops at an unescaped quote.
pub fn unescape(text: &[u8], limit: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().min(limit));
    let mut i = 0;
    while out.len() < limit {
        let Some((byte, length)) = unescape_one(&text[i.min(text.len())..]) else {
            break;
        };
        out.push(byte);
        i += length;
    }
    out
}

/// The first byte of an escaped string and how much text it took; `None` at the end or at a quote.
pub fn unescape_one(text: &[u8]) -> Option<(u8, usize)> {
    match (text.first()?, text.get(1)) {
        (b'"', _) => None,
        (b'\\', Some(next)) => Some(match next {
            b'n' => (b'\n', 2),
            b't' => (b'\t', 2),
            b'r' => (b'\r', 2),
            b'v' => (0x0b, 2),
            b'f' => (0x0c, 2),
            b'a' => (0x07, 2),
            b'b' => (0x08, 2),
            b'e' => (0x1b, 2),
            b'x' => digits(&text[2..], 16, 2).map_or((b'x', 2), |(byte, n)| (byte, 2 + n)),
            b'0'..=b'7' => digits(&text[1..], 8, 3).map_or((*next, 2), |(byte, n)| (byte, 1 + n)),
            other => (*other, 2),
        }),
        (byte, _) => Some((*byte, 1)),
    }
}

/// Up to `most` digits of a byte; three octal digits above 255 keep their low byte, as in C.
fn digits(text: &[u8], radix: u32, most: usize) -> Option<(u8, usize)> {
    let mut value = 0_u32;
    let mut length = 0;
    while length < most {
        let Some(digit) = text
            .get(length)
            .and_then(|b| char::from(*b).to_digit(radix))
        else {
            break;
        };
        value = value * radix + digit;
        length += 1;
    }
    (length > 0).then_some(((value & 0xff) as u8, length))
}

/// A quoted string argument (`"…"`, `"…"...`, `@"…"`): its bytes, at most `limit`, and whether strace cut it.
pub fn string(value: &[u8], limit: usize) -> Option<(Vec<u8>, bool)> {
    let inside = value.strip_prefix(b"\"")?;
    let bytes = unescape(inside, limit);
    let cut = match string_end(value, 0) {
        Some(end) => value[end..].starts_with(b"..."),
        None => true,
    };
    Some((bytes, cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items<'a>(text: &'a str, close: char) -> (Vec<&'a str>, Option<&'a str>) {
        let list = list(text.as_bytes(), close as u8);
        let show = |b: &'a [u8]| std::str::from_utf8(b).unwrap();
        (
            list.items.into_iter().map(show).collect(),
            list.rest.map(show),
        )
    }

    #[test]
    fn arguments_are_split_outside_brackets_strings_and_annotations() {
        assert_eq!(
            items(
                r#"3<UDP:[1.1.1.1:5->2.2.2.2:53]>, "a, b) = \" 7", {x=1, y=[2, 3]}) = 7"#,
                ')'
            ),
            (
                vec![
                    r"3<UDP:[1.1.1.1:5->2.2.2.2:53]>",
                    r#""a, b) = \" 7""#,
                    "{x=1, y=[2, 3]}"
                ],
                Some(" = 7")
            )
        );
        assert_eq!(
            items("0</dev/null<char 1:3>>, [/* 2 vars, a) */]) = 0", ')')
                .0
                .len(),
            2
        );
        assert_eq!(items("3, \"never closed) = 0", ')').1, None);
    }

    #[test]
    fn old_double_braces_close_once() {
        let text = "3, {sin_family=AF_INET, sin_port=htons(53)}}, 16) = 0";
        assert_eq!(items(text, ')').0.len(), 3);
        let nested = r#"3, {msg_name(16)={sin_family=AF_INET, sin_port=htons(53)}}, msg_iov(1)=[{"a", 1}]}, 0) = 1"#;
        assert_eq!(items(nested, ')').0.len(), 3);
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(
            named(b"msg_name(16)={a=b}"),
            (&b"msg_name"[..], &b"{a=b}"[..])
        );
        assert_eq!(named(b"fd=3"), (&b"fd"[..], &b"3"[..]));
        assert_eq!(named(b"inet_pton(AF_INET6, \"=\")").0, b"");
        assert_eq!(number(b"-115 E"), Some((-115, &b" E"[..])));
        assert_eq!(number(b"0x10]"), Some((16, &b"]"[..])));
        assert_eq!(number(b"99999999999999999999").map(|n| n.0), Some(i64::MAX));
        assert_eq!(number(b"x"), None);
        assert_eq!(decimal(b"007 x"), Some((7, &b" x"[..])));
        assert_eq!(
            decimal(b"999999999999999999"),
            Some((999_999_999_999_999_999, &b""[..]))
        );
        assert_eq!(decimal(b"9999999999999999999"), None);
        assert_eq!(decimal(b"-1"), None);
    }

    #[test]
    fn escapes() {
        assert_eq!(
            unescape(br"\0\1\x41\303\n\\b", 99),
            [0, 1, 0x41, 0o303, b'\n', b'\\', b'b']
        );
        assert_eq!(
            string(br#""\7hotmail"..."#, 99),
            Some((b"\x07hotmail".to_vec(), true))
        );
        assert_eq!(string(br#""abc""#, 2), Some((b"ab".to_vec(), false)));
        assert_eq!(string(b"0x7ffe", 2), None);
    }
}
