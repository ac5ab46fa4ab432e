//! How what is said leaves: formats, colours, exit statuses, complaints.

use super::{Color, Document, Format, ReportArgs};
use crate::explain::comparison::Comparison;
use crate::render::jsonl::Line;
use crate::render::text::{self, Look};
use crate::render::{ascii::ascii, json, jsonl, markdown, safe::escape};
use crate::report::Report;
use crate::report::whatif::WhatIf;
use crate::source::target::TargetError;
use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use terminal_size::{Width, terminal_size_of};

/// Unusable input or usage.
pub const UNUSABLE: u8 = 2;
/// A report was printed, but from damaged input.
pub const DAMAGED: u8 = 3;
/// A `--fail-on` condition holds.
pub const CONDITION: u8 = 1;

/// Writes a report in the chosen format.
pub fn write(
    report: &Report,
    case: &str,
    args: &ReportArgs,
    screen: Screen,
    out: &mut dyn Write,
) -> io::Result<()> {
    let look = Look {
        full: args.full,
        verify: args.verify,
        ..screen.look
    };
    match args.format {
        Format::Text => screen.write(out, |out| text::write(report, look, out)),
        Format::Json => json::write(report, out),
        Format::Markdown => markdown::write(report, out),
        Format::Jsonl => jsonl::write(case, report, out),
    }
}

/// Writes the JSON schema of what presyn writes for programs.
pub fn write_schema(of: Document, out: &mut dyn Write) -> io::Result<()> {
    // Of what is written: a field that may be null is there all the same.
    let schemas = SchemaSettings::default().for_serialize().into_generator();
    let schema = match of {
        Document::Report => schemas.into_root_schema_for::<Report>(),
        Document::Lines => schemas.into_root_schema_for::<Line>(),
        Document::Diff => schemas.into_root_schema_for::<Comparison>(),
        Document::Whatif => schemas.into_root_schema_for::<WhatIf>(),
    };
    json::write(&schema, out)
}

/// What the text is written on.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Colours and columns.
    pub look: Look,
    /// It shows ASCII only.
    ascii: bool,
}

impl Screen {
    /// The screen of a stream: colours where it is a terminal that has them, its own width, 80 columns elsewhere.
    pub fn of(stream: impl AsFd + IsTerminal, color: Color) -> Self {
        let terminal = stream.is_terminal();
        let columns = terminal_size_of(stream).filter(|_| terminal);
        let columns = columns.map_or(Look::COLUMNS, |(Width(w), _)| usize::from(w).clamp(40, 200));
        Self {
            look: Look {
                colored: colored(color, terminal),
                columns,
                ..Look::default()
            },
            ascii: is_ascii_locale(|name| std::env::var(name).ok()),
        }
    }

    /// The screen of a file.
    pub fn file() -> Self {
        Self {
            look: Look::default(),
            ascii: is_ascii_locale(|name| std::env::var(name).ok()),
        }
    }

    /// Writes text, in ASCII where nothing else can be shown.
    pub fn write(
        self,
        out: &mut dyn Write,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        if !self.ascii {
            return text(out);
        }
        let mut bytes = Vec::new();
        text(&mut bytes)?;
        out.write_all(ascii(&String::from_utf8_lossy(&bytes)).as_bytes())
    }
}

/// Whether to use colours: on terminals that have them, unless `NO_COLOR` (no-color.org) or `CLICOLOR=0` (bixense.com/clicolors) is
/// set; `CLICOLOR_FORCE` asks for them everywhere.
fn colored(color: Color, terminal: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if anstyle_query::no_color() => false,
        Color::Auto if anstyle_query::clicolor_force() => true,
        Color::Auto => {
            terminal
                && anstyle_query::clicolor() != Some(false)
                && anstyle_query::term_supports_ansi_color()
        }
    }
}

/// Whether the locale's character set is ASCII: that of locale(7)'s first variable that is set is `C` or `POSIX`. Without any
/// of them the text stays UTF-8: services and cron jobs have none, and their readers are elsewhere.
fn is_ascii_locale(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    matches!(locale.as_deref(), Some("C" | "POSIX"))
}

/// A format as it is typed.
pub fn name(format: Format) -> String {
    let value = format.to_possible_value();
    value.map_or_else(String::new, |v| v.get_name().to_owned())
}

/// Says on standard error what went wrong: on one line, but for lists that presyn itself made.
pub fn complain(error: &anyhow::Error) {
    let text = match error.downcast_ref::<TargetError>() {
        Some(error) => escape_lines(&error.to_string()),
        None => escape(&format!("{error:#}")).into_owned(),
    };
    // eprintln! would panic where nothing can be said; the exit status says it.
    let _ = writeln!(io::stderr(), "presyn: {text}");
}

/// Multi-line messages keep their lines; everything else in them is escaped.
pub fn escape_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(|line| escape(line).into_owned()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::is_ascii_locale;

    #[test]
    fn the_first_variable_that_is_set_names_the_characters() {
        let ascii = |set: &[(&str, &str)]| {
            is_ascii_locale(|name| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(ascii(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(ascii(&[("LC_ALL", ""), ("LANG", "POSIX")]));
        assert!(!ascii(&[("LC_ALL", "C.UTF-8")]));
        assert!(!ascii(&[("LC_CTYPE", "en_US.UTF-8"), ("LANG", "C")]));
        assert!(!ascii(&[]));
    }
}
