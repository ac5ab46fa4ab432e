//! Text from packets, tracees, logs and file names, made safe to show.

use std::borrow::Cow;

/// Control characters, and the format characters that reorder or hide text on a terminal, as `\u{…}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// C0, C1 and DEL; zero-width and bidirectional controls (Unicode category Cf that changes the look of
/// other text); line and paragraph separators.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_terminal_would_obey_and_nothing_else() {
        assert_eq!(
            escape("a\u{1b}[31mb\n\u{202e}c"),
            "a\\u{1b}[31mb\\u{a}\\u{202e}c"
        );
        assert!(matches!(
            escape("zk1.example.lab Ünïcode"),
            Cow::Borrowed(_)
        ));
    }
}
