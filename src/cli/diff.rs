//! `presyn diff`, as the terminal sees it.

use super::output::{CONDITION, DAMAGED, Screen};
use super::{Diff, DiffFormat, offline};
use crate::explain::assemble::Limits;
use crate::explain::comparison;
use crate::pipeline::Settings;
use crate::render::{json, markdown, text};
use crate::session::inputs::InputOptions;
use crate::session::saved;
use anyhow::{Context, Result};
use std::io::{self, Write};
use std::path::PathBuf;

/// Compares two cases or saved reports. Returns the exit status.
pub fn diff(args: &Diff, out: &mut dyn Write) -> Result<u8> {
    let (before, after) = (side(&args.before)?, side(&args.after)?);
    let found = comparison::compare(&before.report, &after.report);
    let screen = Screen::of(io::stdout(), args.color);
    match args.format {
        DiffFormat::Text => {
            screen.write(out, |out| text::comparison::write(&found, screen.look, out))
        }
        DiffFormat::Json => json::write(&found, out),
        DiffFormat::Markdown => markdown::comparison::write(&found, out),
    }
    .context("cannot write the comparison")?;
    Ok(if before.damaged || after.damaged {
        DAMAGED
    } else if args.fail_on.is_some() && found.worse {
        CONDITION
    } else {
        0
    })
}

fn side(path: &PathBuf) -> Result<offline::ReadCase> {
    if let Some(report) = saved::read(path)? {
        return Ok(offline::ReadCase {
            report,
            damaged: false,
        });
    }
    let settings = Settings {
        // A server that is cut from one list only would look gone.
        limits: Limits::ALL,
        ..Settings::default()
    };
    let paths = std::slice::from_ref(path);
    Ok(offline::read(paths, &InputOptions::default(), &settings)?)
}
