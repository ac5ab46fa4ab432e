//! The report as JSON, and the JSON schema of it.

use crate::report::Report;
use std::io::{self, Write};

/// Writes the report as JSON, indented for people who look at it.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, report).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// Writes the JSON schema of the report.
pub fn write_schema(out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &schemars::schema_for!(Report))
        .map_err(io::Error::from)?;
    out.write_all(b"\n")
}
