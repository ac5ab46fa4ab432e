//! An input that can be read more than once.

use super::super::classify::{Found, Kind};
use super::super::spool::Spooled;
use crate::case::jsonl;
use crate::event::Event;
use crate::input::progress::Progress;
use crate::input::{CaptureFacts, TraceFacts};
use crate::source::capture_file::{self, CaptureFileError, CaptureOptions};
use crate::source::compression;
use crate::source::strace_log::{self, StraceLogError};
use std::path::{Path, PathBuf};

/// Where an input is read, perhaps twice.
pub(super) enum Place {
    File(PathBuf),
    Pipe(Spooled),
}

impl Place {
    pub(super) fn of(found: Found) -> Self {
        match found {
            Found::Spooled(spooled) => Self::Pipe(spooled),
            Found::Capture(path) | Found::Trace(path) | Found::Own(path) => Self::File(path),
            // Neither is of a kind that is read together.
            Found::Stream(stream) => Self::File(PathBuf::from(stream.name)),
            Found::ResolverFile(path, _) => Self::File(PathBuf::from(path)),
        }
    }

    pub(super) fn into_found(self, kind: Kind) -> Found {
        match (self, kind) {
            (Self::Pipe(spooled), _) => Found::Spooled(spooled),
            (Self::File(path), Kind::Capture) => Found::Capture(path),
            (Self::File(path), Kind::Log) => Found::Trace(path),
            (Self::File(path), Kind::Own) => Found::Own(path),
        }
    }

    pub(super) fn size(&self) -> u64 {
        match self {
            Self::File(path) => path.metadata().map_or(0, |facts| facts.len()),
            Self::Pipe(spooled) => spooled.size().unwrap_or(0),
        }
    }

    /// Whether its size says little about what it holds.
    pub(super) fn is_packed(&self) -> bool {
        match self {
            Self::File(path) => is_packed(path),
            Self::Pipe(spooled) => compression::sniff(&spooled.head).is_some(),
        }
    }

    pub(super) fn capture(
        &self,
        input: u16,
        options: &CaptureOptions,
        sink: &mut dyn FnMut(Event),
    ) -> Result<CaptureFacts, CaptureFileError> {
        match self {
            Self::File(path) => capture_file::read(path, input, options, sink),
            Self::Pipe(s) => capture_file::read_from(s.reader(), &s.name, input, options, sink),
        }
    }

    pub(super) fn log(
        &self,
        input: u16,
        progress: &Progress,
        sink: &mut dyn FnMut(Event),
    ) -> Result<TraceFacts, StraceLogError> {
        match self {
            Self::File(path) => strace_log::read(path, input, progress, sink),
            Self::Pipe(s) => strace_log::read_from(&s.name, s.reader(), input, progress, sink),
        }
    }

    pub(super) fn own(
        &self,
        input: u16,
        progress: &Progress,
        sink: &mut dyn FnMut(Event),
    ) -> Result<jsonl::TraceFile, jsonl::JsonlError> {
        match self {
            Self::File(path) => jsonl::read(path, input, progress, sink),
            Self::Pipe(s) => jsonl::read_from(s.reader(), &s.name, input, progress, sink),
        }
    }
}

fn is_packed(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| ["gz", "zst", "zstd"].contains(&e))
}
