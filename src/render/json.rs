//! Reports and answers as JSON, and the JSON schemas of them.

use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};

/// Writes a report or an answer as JSON, indented for people who look at it.
pub fn write(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// Writes the JSON schema of a type.
pub fn write_schema<T: JsonSchema>(out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &schemars::schema_for!(T)).map_err(io::Error::from)?;
    out.write_all(b"\n")
}
