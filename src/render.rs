//! The report written out, one file per format. Pure: everything goes to a `Write`.

pub mod ascii;
pub mod evidence;
pub mod json;
pub mod jsonl;
pub mod markdown;
pub mod safe;
pub mod text;
pub mod words;
