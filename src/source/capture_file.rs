//! Capture files: pcap and pcapng, plain or compressed by gzip or zstd.
//!
//! Read here and not by libpcap, because libpcap refuses pcapng files of mixed link types, hides interfaces
//! and drops, and stops at damage without saying where. Filters are compiled and run by libpcap.

mod buffer;
mod classic;
mod filter;
mod format;
mod pcapng;
mod reading;

use crate::bounded;
use crate::decode::packet::{DecodeOptions, Decoder};
use crate::event::Event;
use crate::input::CaptureFacts;
use crate::input::progress::Progress;
use crate::input::selection::{Selection, Selector};
use crate::source::compression;
use buffer::ReadWindow;
use filter::Filter;
use format::CaptureFormat;
pub use format::sniff;
pub(crate) use reading::Reading;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use thiserror::Error;

/// What the user may say about reading captures.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// Ports of resolvers besides 53.
    pub dns_ports: Vec<u16>,
    /// A BPF expression: only packets that it keeps are used.
    pub filter: Option<String>,
    /// The client, the name and the time that are wanted.
    pub selection: Selection,
    /// Where the reading is counted, and stopped.
    pub progress: Progress,
    /// Keep the bytes of whole DNS messages.
    pub keep_messages: bool,
}

/// Why a capture cannot be read at all. Damage inside a capture is no error: see
/// [`CaptureFacts::warnings`].
#[derive(Debug, Error)]
pub enum CaptureFileError {
    /// The file cannot be opened or its first bytes cannot be read.
    #[error("{path} cannot be read")]
    Open {
        /// Path as given.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is something else.
    #[error("{path} {seems}, not a packet capture (pcap or pcapng): {remedy}")]
    NotACapture {
        /// Path as given.
        path: String,
        /// What it seems to be, e.g. "is text".
        seems: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// libpcap does not understand the filter.
    #[error("filter '{expression}': {problem}")]
    Filter {
        /// As typed.
        expression: String,
        /// What libpcap says.
        problem: String,
    },
}

/// Reads a capture file; `sink` gets what matters, in the order of the file. Events carry `input` and the
/// packet's number, from 1.
pub fn read(
    path: &Path,
    input: u16,
    options: &CaptureOptions,
    sink: &mut dyn FnMut(Event),
) -> Result<CaptureFacts, CaptureFileError> {
    let name = path.display().to_string();
    match bounded::open_regular(path) {
        Ok(file) => read_from(options.progress.count(file), &name, input, options, sink),
        Err(source) => Err(CaptureFileError::Open { path: name, source }),
    }
}

/// Reads a capture from anything, standard input for one; `name` is what messages call it.
pub fn read_from(
    mut reader: impl Read,
    name: &str,
    input: u16,
    options: &CaptureOptions,
    sink: &mut dyn FnMut(Event),
) -> Result<CaptureFacts, CaptureFileError> {
    let filter = options.filter.as_deref().map(Filter::new).transpose()?;
    let open_error = |source| CaptureFileError::Open {
        path: name.to_owned(),
        source,
    };
    let mut head = Vec::new();
    reader
        .by_ref()
        .take(format::HEAD as u64)
        .read_to_end(&mut head)
        .map_err(open_error)?;
    let compression = compression::sniff(&head);
    let whole = BufReader::new(Cursor::new(head).chain(reader));
    let reader = compression::decompress(compression, whole).map_err(open_error)?;
    let mut buffer = ReadWindow::new(reader, options.progress.clone());
    let head = buffer.peek(format::HEAD);
    let Some(format) = format::format(head).filter(|_| head.len() >= format::SHORTEST) else {
        let (seems, remedy) = match format::describe(head) {
            _ if compression.is_some() && buffer.failure().is_some() => {
                ("is damaged: it cannot be decompressed", "copy it again")
            }
            words => words,
        };
        return Err(CaptureFileError::NotACapture {
            path: name.to_owned(),
            seems,
            remedy,
        });
    };
    let facts = CaptureFacts {
        path: name.to_owned(),
        input,
        filter: options.filter.clone(),
        ..CaptureFacts::default()
    };
    let decoder = Decoder::new(DecodeOptions {
        dns_ports: options.dns_ports.clone(),
        keep_messages: options.keep_messages,
    });
    let mut reading = Reading::new(facts, decoder, filter, sink);
    reading.selector = Selector::new(options.selection.clone());
    match format {
        CaptureFormat::Classic(classic) => classic::read(&mut buffer, classic, &mut reading),
        CaptureFormat::Pcapng => pcapng::read(&mut buffer, &mut reading),
    }
    Ok(reading.finish())
}
