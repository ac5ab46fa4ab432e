//! The user's BPF expression, compiled by libpcap for each link type that a capture has.

use super::CaptureFileError;
use pcap::{BpfProgram, Capture, Linktype};

/// A filter expression and its programs.
pub(super) struct Filter {
    expression: String,
    /// By link type. `None`: libpcap cannot compile the expression for it.
    programs: Vec<(i32, Option<BpfProgram>)>,
}

impl Filter {
    /// Checks the expression on Ethernet, so that a typing error is told before anything is read.
    pub fn new(expression: &str) -> Result<Self, CaptureFileError> {
        let program = compile(1, expression).map_err(|error| CaptureFileError::Filter {
            expression: expression.to_owned(),
            problem: error.to_string(),
        })?;
        Ok(Self {
            expression: expression.to_owned(),
            programs: vec![(1, Some(program))],
        })
    }

    /// Whether the filter keeps this frame. Frames of a link type for which it has no meaning are not kept.
    pub fn keeps(&mut self, link: i32, data: &[u8]) -> bool {
        let known = self.programs.iter().position(|(known, _)| *known == link);
        let index = known.unwrap_or_else(|| {
            let program = compile(link, &self.expression).ok();
            self.programs.push((link, program));
            self.programs.len() - 1
        });
        let program = self
            .programs
            .get(index)
            .and_then(|(_, program)| program.as_ref());
        program.is_some_and(|program| program.filter(data))
    }

    /// Link types that were met and that libpcap cannot filter.
    pub fn refused(&self) -> impl Iterator<Item = i32> {
        self.programs
            .iter()
            .filter(|(_, program)| program.is_none())
            .map(|(link, _)| *link)
    }
}

fn compile(link: i32, expression: &str) -> Result<BpfProgram, pcap::Error> {
    // libpcap compiles for DLT values; DLT_RAW is 12 on Linux where files say 101.
    let dlt = if link == 101 { 12 } else { link };
    Capture::dead(Linktype(dlt))?.compile(expression, true)
}
