//! GitHub-flavoured Markdown (<https://github.github.com/gfm/>) in which hostile text stays text.
//!
//! A word that Markdown, GitHub or a wiki could take for markup, a link, a mention or an emoji stands in a code
//! span, where all of them leave it alone; the two characters that could end the span or a table's cell are
//! written as `\u{…}`, like everything else that [`escape`] replaces.

use crate::render::safe::escape;
use crate::render::text::style::{pad, width};
use std::io::{self, Write};

/// Text as a code span.
pub fn code(text: &str) -> String {
    let text = escape(text).replace('`', "\\u{60}").replace('|', "\\u{7c}");
    // A span of nothing or of blanks alone is none.
    if text.trim().is_empty() {
        return String::new();
    }
    format!("`{text}`")
}

/// Text as prose on one line.
pub fn text(text: &str) -> String {
    let words = escape(text);
    let words = words.split(' ').filter(|w| !w.is_empty()).enumerate();
    words
        .map(|(n, word)| prose(word, n == 0))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What to do, with the command to paste in a code span of its own.
pub fn advice(remedy: &str) -> String {
    match remedy.split_once('\n') {
        Some((sentences, command)) => format!("{} {}", text(sentences), code(command)),
        None => text(remedy),
    }
}

/// Text as prose that leads: bold.
pub fn strong(plain: &str) -> String {
    let marked = text(plain);
    if marked.is_empty() {
        marked
    } else {
        format!("**{marked}**")
    }
}

/// A word as it is, or in a code span without the punctuation of the sentence around it.
fn prose(word: &str, first: bool) -> String {
    let from_start = word.trim_start_matches(['(', '\'', '"']);
    let core = from_start.trim_end_matches(['.', ',', ';', ':', ')', '\'', '"', '!', '?']);
    if is_plain(word, core, first) {
        return word.to_owned();
    }
    if core.is_empty() {
        return code(word);
    }
    let (before, after) = (
        &word[..word.len() - from_start.len()],
        &from_start[core.len()..],
    );
    format!("{before}{}{after}", code(core))
}

fn is_plain(word: &str, core: &str, first: bool) -> bool {
    let harmless = |c: char| {
        c.is_alphanumeric() || ".,;:'\"()/-+=%?!".contains(c) || !c.is_ascii() && !c.is_whitespace()
    };
    let listed =
        first && !core.is_empty() && core.bytes().all(|b| b.is_ascii_digit()) && core != word;
    let linked = word.contains("://") || word.to_ascii_lowercase().contains("www.");
    word.chars().all(harmless)
        && !listed
        && !linked
        // List items, rules, underlines of headings; options of programs read better so, too.
        && !core.starts_with(['-', '+', '='])
        // `:100:` is an emoji, even within an IPv6 address.
        && word.matches(':').count() < 2
}

/// How a column is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A table of cells that are Markdown already. Its source is aligned, too: a mail shows nothing else.
pub fn table(head: &[(&str, Align)], rows: &[Vec<String>], out: &mut dyn Write) -> io::Result<()> {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(n, (title, _))| {
            let cells = rows.iter().filter_map(|r| r.get(n));
            cells
                .map(|c| width(c))
                .max()
                .unwrap_or(0)
                .max(width(title))
                .max(3)
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>, out: &mut dyn Write| {
        let set: Vec<String> = cells
            .zip(head)
            .zip(&widths)
            .map(|((cell, (_, align)), wide)| match align {
                Align::Left => pad(cell, *wide),
                Align::Right => format!("{}{cell}", " ".repeat(wide.saturating_sub(width(cell)))),
            })
            .collect();
        writeln!(out, "| {} |", set.join(" | "))
    };
    line(&mut head.iter().map(|(title, _)| *title), out)?;
    let rules: Vec<String> = head
        .iter()
        .zip(&widths)
        .map(|((_, align), wide)| match align {
            Align::Left => "-".repeat(*wide),
            Align::Right => format!("{}:", "-".repeat(wide - 1)),
        })
        .collect();
    line(&mut rules.iter().map(String::as_str), out)?;
    for row in rows {
        line(&mut row.iter().map(String::as_str), out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_sentences_stay_as_they_are() {
        for plain in [
            "10.0.1.93, 10.0.1.95 and 10.0.1.92 answered none of 12 queries (56.1 s)",
            "Asked about 231.110.168.192.in-addr.arpa: it cost 5.01 s.",
            "put '192.168.110.231 NAME' into /etc/hosts, or 'options timeout:1 attempts:2' (27 µs …)",
        ] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn words_that_mean_something_to_markdown_become_code() {
        for (word, set) in [
            ("_ldap._tcp.example.lab,", "`_ldap._tcp.example.lab`,"),
            (
                "(-Dzookeeper.sasl.client=false;",
                "(`-Dzookeeper.sasl.client=false`;",
            ),
            ("<script>alert(1)</script>", "`<script>alert(1)</script>`"),
            ("a|b`c", "`a\\u{7c}b\\u{60}c`"),
            ("@everyone", "`@everyone`"),
            ("https://evil.example/.", "`https://evil.example/`."),
            ("www.example.com", "`www.example.com`"),
            ("[fd00:1::93]:80", "`[fd00:1::93]:80`"),
            ("fd00:100::1", "`fd00:100::1`"),
            ("\u{1b}[31m\nx", "`\\u{1b}[31m\\u{a}x`"),
            ("1.", "`1`."),
            ("---", "`---`"),
        ] {
            assert_eq!(text(word), set);
        }
    }
}
