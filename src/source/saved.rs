//! Reports that `presyn analyze --format json` saved.

use crate::report::{Report, SCHEMA};
use std::fs::File;
use std::io::{self, BufReader, Read};
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
    /// It is no report that this presyn knows.
    #[error("{path}: not a report of {SCHEMA}")]
    Unknown {
        /// Path as given.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
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

/// How many bytes tell whether a file may be a saved report.
const SNIFF: u64 = 256;

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
    let mut head = Vec::new();
    let mut file = File::open(path).map_err(unreadable)?;
    file.by_ref()
        .take(SNIFF)
        .read_to_end(&mut head)
        .map_err(unreadable)?;
    let text = String::from_utf8_lossy(&head);
    if !text.trim_start().starts_with('{') || text.contains("\"presyn.trace/") {
        return Ok(None);
    }
    let unknown = |source| SavedError::Unknown {
        path: named(),
        source,
    };
    let whole = BufReader::new(head.chain(file));
    let value: serde_json::Value = serde_json::from_reader(whole).map_err(unknown)?;
    match value["schema"].as_str() {
        Some(other) if other != SCHEMA => Err(SavedError::Version {
            path: named(),
            schema: other.into(),
        }),
        _ => serde_json::from_value(value).map(Some).map_err(unknown),
    }
}
