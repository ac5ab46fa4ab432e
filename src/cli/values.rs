//! Values that completions offer, and the nearest one to a misspelt word. What is valid is decided where a value is used.

use crate::report::FindingId;
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};
use std::ffi::OsStr;

/// Findings, as `presyn explain` takes them.
#[derive(Clone, Debug)]
pub struct Findings;

/// Conditions of `--fail-on`: findings, and the two quantities. Without their `>`, which a shell would read as a
/// redirection where it is not quoted.
#[derive(Clone, Debug)]
pub struct Conditions;

/// What `--fail-on` compares with a number.
pub const QUANTITIES: [&str; 2] = ["delay", "unanswered"];

/// The names of all findings.
pub fn findings() -> impl Iterator<Item = &'static str> {
    FindingId::ALL.iter().map(|id| id.name())
}

impl TypedValueParser for Findings {
    type Value = String;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, text: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(cmd, arg, text)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(findings().map(PossibleValue::new)))
    }
}

impl TypedValueParser for Conditions {
    type Value = String;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, text: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(cmd, arg, text)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = findings().chain(QUANTITIES);
        Some(Box::new(all.map(PossibleValue::new)))
    }
}

/// A positive number of seconds, a year at most.
pub fn seconds(text: &str) -> Result<f64, String> {
    const YEAR: f64 = 366.0 * 24.0 * 3_600.0;
    let seconds = text.strip_suffix('s').unwrap_or(text).trim_end().parse();
    match seconds {
        Ok(seconds) if seconds > 0.0 && seconds <= YEAR => Ok(seconds),
        _ => Err("a number of seconds, more than 0".into()),
    }
}

/// The finding that a misspelt word is most likely to mean; `None` where none is near.
pub fn nearest_finding(word: &str) -> Option<&'static str> {
    // A hostile word of a megabyte is near to nothing.
    let longest = findings().map(str::len).max().unwrap_or(0);
    if word.len() > 2 * longest {
        return None;
    }
    let word = word.to_lowercase();
    let nearest = findings().min_by_key(|name| distance(&word, name))?;
    // More than a third of the letters wrong is another word.
    (distance(&word, nearest) * 3 <= nearest.len()).then_some(nearest)
}

/// Levenshtein's: letters to insert, remove or replace.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_finding_is_suggested_or_none() {
        for (word, meant) in [
            ("resolver-silant", Some("resolver-silent")),
            ("Resolver-Silent", Some("resolver-silent")),
            ("reverse_lookup", Some("reverse-lookup")),
            ("reverselookup", Some("reverse-lookup")),
            ("syn-unansered", Some("syn-unanswered")),
            ("dns", None),
            ("", None),
            ("something-else-entirely", None),
        ] {
            assert_eq!(nearest_finding(word), meant, "{word}");
        }
        assert_eq!(nearest_finding(&"x".repeat(1 << 20)), None);
    }

    #[test]
    fn distances() {
        for (a, b, n) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
            ("abc", "axc", 1),
            ("abc", "ac", 1),
            ("ac", "abc", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), n, "{a} {b}");
        }
    }
}
