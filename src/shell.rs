//! Words of shell commands. Every command that presyn prints as advice gets its outside text (names, paths) through
//! here, so that pasting it runs one program with exactly these arguments, whatever a packet or a file name holds.

use std::borrow::Cow;
use std::fmt::Write;

/// One word for sh, bash, zsh and ksh. Plain text stays plain; the rest is put into single quotes. Text with control
/// characters, or others that a terminal would obey or hide, is written as `$'…'` (POSIX.1-2024 section 2.2.4) in three-digit
/// octal: printing it does no harm, and `\xHH` would take a digit that follows it.
pub fn word(text: &str) -> Cow<'_, str> {
    if !text.is_empty() && !text.starts_with('=') && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    if text.chars().all(is_printable) {
        return Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")));
    }
    let mut quoted = String::from("$'");
    for c in text.chars() {
        // '!' would be read as a reference to the history by an interactive bash.
        if is_printable(c) && !matches!(c, '\'' | '\\' | '!') {
            quoted.push(c);
            continue;
        }
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            // Writing into a String cannot fail.
            let _ = write!(quoted, "\\{byte:03o}");
        }
    }
    quoted.push('\'');
    Cow::Owned(quoted)
}

/// A word that names a file, and is never read as an option.
pub fn path(path: &str) -> Cow<'_, str> {
    if path.starts_with('-') {
        Cow::Owned(word(&format!("./{path}")).into_owned())
    } else {
        word(path)
    }
}

/// What no shell reads as anything but itself, at any place of a word.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c)
}

/// What is safe to show and to paste within single quotes. Of the characters beyond ASCII only letters and digits are:
/// the others include those that reorder or hide text. Backtick and bar would end a code span or a cell of a Markdown table.
fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~') && !matches!(c, '`' | '|') || !c.is_ascii() && c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (text, quoted) in [
            ("web.example", "web.example"),
            ("", "''"),
            ("=ls", "'=ls'"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("x';reboot;'", "'x'\\'';reboot;'\\'''"),
            ("größe", "'größe'"),
            ("\u{1b}[2J", "$'\\033[2J'"),
            ("a'\n!\\1", "$'a\\047\\012\\041\\1341'"),
            ("`id`|sh", "$'\\140id\\140\\174sh'"),
            ("a\u{202e}b", "$'a\\342\\200\\256b'"),
        ] {
            assert_eq!(word(text), quoted, "{text:?}");
        }
        assert_eq!(path("-rf"), "./-rf");
        assert_eq!(path("-r f"), "'./-r f'");
    }
}
