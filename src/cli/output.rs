//! How what is said leaves: formats, colours, exit statuses, complaints.

use super::{Color, Document, Format, ReportArgs};
use crate::explain::comparison::Comparison;
use crate::render::jsonl::Line;
use crate::render::text::{self, Look};
use crate::render::{json, jsonl, markdown, safe::escape};
use crate::report::Report;
use crate::report::whatif::WhatIf;
use clap::ValueEnum;
use schemars::generate::SchemaSettings;
use std::io::{self, Write};

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
    colored: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let look = Look {
        colored,
        verify: args.verify,
    };
    match args.format {
        Format::Text => text::write(report, look, out),
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

/// Whether to use colours: on terminals, unless `NO_COLOR` (no-color.org) is set.
pub fn colored(color: Color, terminal: bool) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    }
}

/// A format as it is typed.
pub fn name(format: Format) -> String {
    let value = format.to_possible_value();
    value.map_or_else(String::new, |v| v.get_name().to_owned())
}

/// Says on standard error what went wrong, on one line.
pub fn complain(error: &anyhow::Error) {
    // eprintln! would panic where nothing can be said; the exit status says it.
    let _ = writeln!(io::stderr(), "presyn: {}", escape(&format!("{error:#}")));
}
