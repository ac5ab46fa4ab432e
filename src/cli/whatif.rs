//! `presyn whatif`, as the terminal sees it.

use super::output::{self, DAMAGED, Screen};
use super::{Format, Whatif, settings};
use crate::explain::whatif::answer::answer;
use crate::pipeline;
use crate::render::{json, text};
use crate::session::inputs;
use anyhow::{Context, Result, bail};
use std::io::{self, Write};

/// Answers a question about a case. Returns the exit status.
pub fn whatif(args: &Whatif, out: &mut dyn Write) -> Result<u8> {
    let (settings, options, change) = settings::whatif(args)?;
    let format = args.report.format;
    if matches!(format, Format::Markdown | Format::Jsonl) {
        bail!(
            "whatif answers in text or JSON, not in {}",
            output::name(format)
        );
    }
    if inputs::cases(&args.paths)?.len() > 1 {
        bail!("several folders are a case each; whatif answers about one");
    }
    let gathered = inputs::gather(&args.paths, &options)?;
    let damaged = gathered.is_damaged();
    let answers = pipeline::checked_case(gathered, &settings, |case| {
        answer(case, settings.limits, change)
    })??;
    let written = if format == Format::Json {
        json::write(&answers, out)
    } else {
        let screen = Screen::of(io::stdout(), args.report.color);
        screen.write(out, |out| text::whatif::write(&answers, screen.look, out))
    };
    written.context("cannot write the answer")?;
    Ok(if damaged { DAMAGED } else { 0 })
}
