//! `presyn analyze`, as the terminal sees it.

use super::output::{self, CONDITION, DAMAGED, Screen, UNUSABLE};
use super::progress::{self, Bar, INTERRUPTED};
use super::{Analyze, Format, settings};
use crate::pipeline::{self, Different, Settings};
use crate::render::{markdown, safe::escape};
use crate::report::Report;
use crate::session::inputs::{self, InputError, InputOptions};
use anyhow::{Context, Result, bail};
use std::io::{self, Write};
use std::path::PathBuf;
use thiserror::Error;

/// Reports on a case, or on several. Returns the exit status.
pub fn analyze(args: &Analyze, out: &mut dyn Write) -> Result<u8> {
    let (settings, options, conditions) = settings::analyze(args)?;
    let cases = inputs::cases(&args.paths)?;
    let format = args.report.format;
    let screen = Screen::of(io::stdout(), args.report.color);
    let several = cases.len() > 1;
    let progress = &options.capture.progress;
    progress::stop_at_interrupt(progress).context("cannot watch for Ctrl-C")?;
    if several && format == Format::Json {
        bail!("--format json is one report; for several cases take --format jsonl");
    }
    let (mut unusable, mut damaged, mut condition) = (false, false, false);
    for (n, paths) in cases.into_iter().enumerate() {
        let bar = Bar::begin(progress);
        let read = read(paths, &options, &settings);
        // Nothing is said while the bar is drawn.
        drop(bar);
        let read = match read {
            Ok(read) => read,
            // Too soon for anything to be known.
            Err(_) if progress.is_stopped() => return Ok(INTERRUPTED),
            // One bad case of many does not take the others with it.
            Err(error) if several => {
                output::complain(&error.into());
                unusable = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let case = name(paths);
        damaged |= read.damaged;
        condition |= conditions.iter().any(|c| c.holds(&read.report));
        if several {
            heading(&case, n, format, out)?;
        }
        output::write(&read.report, &case, &args.report, screen, out)
            .context("cannot write the report")?;
        if progress.is_stopped() {
            return Ok(INTERRUPTED);
        }
    }
    Ok(if unusable {
        UNUSABLE
    } else if damaged {
        DAMAGED
    } else if condition {
        CONDITION
    } else {
        0
    })
}

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReadError {
    /// An input cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The inputs are of two runs.
    #[error(transparent)]
    Different(#[from] Different),
}

/// A case that was read.
pub struct ReadCase {
    /// What there is to say about it.
    pub report: Report,
    /// Some of its files are damaged.
    pub damaged: bool,
}

/// Reads the files of one case and explains them.
pub fn read(
    paths: &[PathBuf],
    options: &InputOptions,
    settings: &Settings,
) -> Result<ReadCase, ReadError> {
    let gathered = inputs::gather(paths, options)?;
    let damaged = gathered.is_damaged();
    Ok(ReadCase {
        report: pipeline::checked_report(gathered, settings)?,
        damaged,
    })
}

fn name(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
    names.join(" ")
}

/// What stands above each of several reports.
fn heading(case: &str, n: usize, format: Format, out: &mut dyn Write) -> io::Result<()> {
    if n > 0 && format != Format::Jsonl {
        writeln!(out)?;
    }
    match format {
        Format::Text => writeln!(out, "==== {}\n", escape(case)),
        Format::Markdown => writeln!(out, "# {}\n", markdown::mark::code(case)),
        Format::Json | Format::Jsonl => Ok(()),
    }
}
