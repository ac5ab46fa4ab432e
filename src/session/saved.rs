//! Reports that `presyn analyze --format json` saved.

use crate::bounded;
use crate::case::jsonl;
use crate::report::{Report, SCHEMA};
use serde::Deserialize;
use std::io;
use std::path::Path;
use thiserror::Error;

/// Why a saved report cannot be used.
#[derive(Debug, Error)]
pub enum SavedError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// Path as given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// It is no report that this presyn knows: damaged, or of a later presyn and with values that this one does not
    /// know. Such values are not passed over: what they say would silently be missing from the comparison.
    #[error("{path}: not a report that presyn {VERSION} can read ({SCHEMA}): {problem}")]
    Unknown {
        /// Path as given.
        path: String,
        /// What is wrong with it, the value included.
        problem: String,
    },
    /// It is longer than what is read.
    #[error(
        "{path} is longer than {longest} MiB, which is the most that is read of a saved report; give its case instead"
    )]
    TooLong {
        /// Path as given.
        path: String,
        /// In MiB.
        longest: u64,
    },
    /// It is a report of another version.
    #[error(
        "{path}: a report of {schema}, where this presyn reads {SCHEMA}; analyze its case again"
    )]
    Version {
        /// Path as given.
        path: String,
        /// What it says it is.
        schema: String,
    },
}

/// What says which version a report is of; the rest is passed over.
#[derive(Deserialize)]
struct Version {
    #[serde(default)]
    schema: Option<String>,
}

/// The version of this presyn.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How many characters of a reader's message are passed on.
const MOST_SAID: usize = 200;

/// How many bytes tell whether a file may be a saved report.
const SNIFF: u64 = 1 << 16;

/// The longest report that is read. One of `--all` has a megabyte for some thousand lookups.
const LONGEST: u64 = 32 << 20;

/// Reads a saved report; `None` if the file is something else. Captures and strace logs do not begin with a brace,
/// presyn's own traces say what they are.
pub fn read(path: &Path) -> Result<Option<Report>, SavedError> {
    if !path.is_file() {
        return Ok(None);
    }
    let named = || path.display().to_string();
    let unreadable = |source| SavedError::Unreadable {
        path: named(),
        source,
    };
    let (head, _) = bounded::bytes(path, SNIFF).map_err(unreadable)?;
    let text = String::from_utf8_lossy(&head);
    if !text.trim_start().starts_with('{') || jsonl::is_trace(&head) {
        return Ok(None);
    }
    let (bytes, whole) = bounded::bytes(path, LONGEST).map_err(unreadable)?;
    if !whole {
        return Err(SavedError::TooLong {
            path: named(),
            longest: LONGEST >> 20,
        });
    }
    // The message quotes the value, which may be as long as the file.
    let unknown = |source: serde_json::Error| SavedError::Unknown {
        path: named(),
        problem: source.to_string().chars().take(MOST_SAID).collect(),
    };
    // Not by way of a `serde_json::Value`, which takes a hundred times the text.
    let Version { schema } = serde_json::from_slice(&bytes).map_err(unknown)?;
    match schema {
        Some(schema) if schema != SCHEMA => Err(SavedError::Version {
            path: named(),
            schema: schema.chars().take(MOST_SAID).collect(),
        }),
        _ => serde_json::from_slice(&bytes).map(Some).map_err(unknown),
    }
}
