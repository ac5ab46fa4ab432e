//! Text for terminals that show ASCII only.

/// The text in ASCII: signs of presyn's own by their nearest letters, anything else as `\u{…}`.
pub fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if c.is_ascii() => out.push(c),
            'µ' => out.push('u'),
            '×' => out.push('x'),
            '…' => out.push_str("..."),
            '±' => out.push_str("+-"),
            '→' => out.push_str("->"),
            '\u{2018}' | '\u{2019}' => out.push('\''),
            '\u{201c}' | '\u{201d}' => out.push('"'),
            '\u{2013}' | '\u{2014}' => out.push('-'),
            // Blocks of a bar; less than half of one is nothing, but a bar that has nothing else.
            '█' | '▉' | '▊' | '▋' | '▌' => out.push('#'),
            '▏' | '▎' | '▍' if !out.ends_with('#') => out.push('.'),
            '▏' | '▎' | '▍' => {}
            _ => out.extend(c.escape_unicode()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::ascii;

    #[test]
    fn signs_become_letters_and_foreign_ones_numbers() {
        assert_eq!(ascii("2 × 27 µs …"), "2 x 27 us ...");
        assert_eq!(ascii("██▏ ▏"), "## .");
        assert_eq!(ascii("bücher"), "b\\u{fc}cher");
    }
}
