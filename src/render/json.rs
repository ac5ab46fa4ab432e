//! Reports and answers as JSON.

use super::safe::is_unsafe;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use std::io::{self, Write};

/// Writes a report or an answer as JSON, indented for people who look at it.
pub fn write<T: Serialize>(value: &T, out: &mut dyn Write) -> io::Result<()> {
    put(value, PrettyFormatter::new(), out)
}

/// Writes any value as JSON on one line.
pub fn line<T: Serialize>(value: &T, out: &mut dyn Write) -> io::Result<()> {
    put(value, CompactFormatter, out)
}

fn put<T: Serialize>(value: &T, format: impl Formatter, out: &mut dyn Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Safe(format));
    value.serialize(&mut serializer).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// Writes what a terminal would obey as `\uXXXX`: the same JSON value, and harmless to look at. JSON itself
/// asks that of C0 controls only.
struct Safe<F>(F);

/// The methods that `PrettyFormatter` has its own of.
macro_rules! forward {
    ($($method:ident ( $($first:ident)? ))*) => {
        $(fn $method<W: ?Sized + Write>(&mut self, out: &mut W $(, $first: bool)?) -> io::Result<()> {
            self.0.$method(out $(, $first)?)
        })*
    };
}

impl<F: Formatter> Formatter for Safe<F> {
    forward! {
        begin_array() end_array() begin_array_value(first) end_array_value()
        begin_object() end_object() begin_object_key(first) end_object_key()
        begin_object_value() end_object_value()
    }

    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (before, after) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut chars = after.chars();
            let mut units = [0; 2];
            for unit in chars
                .next()
                .into_iter()
                .flat_map(|c| c.encode_utf16(&mut units).to_vec())
            {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_means_the_same() {
        let hostile = "a\u{1b}[31m\u{7f}\u{9b}\u{202e}\u{e0041}\"µ\\b\0";
        let mut out = Vec::new();
        line(&hostile, &mut out).unwrap_or_default();
        let text = String::from_utf8(out).unwrap_or_default();
        assert_eq!(
            text,
            "\"a\\u001b[31m\\u007f\\u009b\\u202e\\udb40\\udc41\\\"µ\\\\b\\u0000\"\n"
        );
        let back: Option<String> = serde_json::from_str(&text).ok();
        assert_eq!(back.as_deref(), Some(hostile));
    }
}
