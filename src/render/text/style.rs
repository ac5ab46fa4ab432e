//! Widths, colours and numbers of the text report.

use super::Look;
pub use crate::render::words::seconds;

use anstyle::{AnsiColor, Style as Ansi};
use unicode_width::UnicodeWidthStr;

/// Colours or none, and the room on a line.
pub struct Style {
    look: Look,
}

impl Style {
    /// As the text is to look.
    pub fn new(look: Look) -> Self {
        Self { look }
    }

    /// The columns that are left beside so many.
    pub fn left(&self, used: usize) -> usize {
        self.look.columns.saturating_sub(used)
    }

    /// The text in lines that leave room for so many columns.
    pub fn wrap(&self, text: &str, used: usize) -> Vec<String> {
        wrap(text, self.left(used).max(1))
    }

    /// Whether everything is shown.
    pub fn is_full(&self) -> bool {
        self.look.full
    }

    /// How many elements of a list are shown.
    pub fn shown(&self) -> usize {
        if self.look.full {
            super::SHOWN
        } else {
            super::SHOWN_BRIEFLY
        }
    }

    fn paint(&self, style: Ansi, text: &str) -> String {
        if self.look.colored {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// The answer itself.
    pub fn strong(&self, text: &str) -> String {
        self.paint(Ansi::new().bold(), text)
    }

    /// Headings.
    pub fn head(&self, text: &str) -> String {
        self.paint(
            Ansi::new().bold().fg_color(Some(AnsiColor::Cyan.into())),
            text,
        )
    }

    /// What may be overlooked.
    pub fn faint(&self, text: &str) -> String {
        self.paint(Ansi::new().dimmed(), text)
    }

    /// What must not be overlooked.
    pub fn bad(&self, text: &str) -> String {
        self.paint(Ansi::new().fg_color(Some(AnsiColor::Red.into())), text)
    }
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in exactly or at least this many columns.
pub fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text in at most this many columns, cut in the middle: the ends of names tell more.
pub fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let keep = columns.saturating_sub(1);
    let (head, tail) = (keep - keep / 2, keep / 2);
    let take = |limit: usize, chars: &mut dyn Iterator<Item = char>| -> Vec<char> {
        let mut used = 0;
        chars
            .take_while(|c| {
                used += c.to_string().width();
                used <= limit
            })
            .collect()
    };
    let start: String = take(head, &mut text.chars()).into_iter().collect();
    let end: String = take(tail, &mut text.chars().rev())
        .into_iter()
        .rev()
        .collect();
    format!("{start}…{end}")
}

/// Breaks text into lines of at most so many columns, between words.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && width(&line) + 1 + width(word) > columns {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
    }
    lines
}

/// Blocks of one to eight eighths.
const PARTS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// A bar of at most `columns` blocks; anything above nothing gets a sliver.
pub fn bar(value: f64, most: f64, columns: usize) -> String {
    if value <= 0.0 || most <= 0.0 || columns == 0 {
        return String::new();
    }
    // Between 1 and 8 * columns.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let eighths = ((value / most * 8.0 * columns as f64).round() as usize).clamp(1, 8 * columns);
    let mut text = "█".repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        text.push(PARTS[eighths % 8 - 1]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let all: Vec<String> = [57.044, 5.0, 0.9, 0.0123, 0.000_03, 0.0]
            .map(seconds)
            .into();
        assert_eq!(
            all,
            ["57.0 s", "5.00 s", "900 ms", "12.3 ms", "30 µs", "0 s"]
        );
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(fit("231.110.168.192.in-addr.arpa", 15), "231.110…dr.arpa");
        assert_eq!(fit("short", 15), "short");
    }

    #[test]
    fn wraps_between_words() {
        assert_eq!(wrap("aa bb cc", 5), ["aa bb", "cc"]);
    }
}
