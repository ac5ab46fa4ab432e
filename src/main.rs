//! The binary: parse what was typed, run it, say the exit status.

use anyhow::{Context, Result, bail};
use clap::Parser;
use presyn::cli::live::{self, Ran, colored};
use presyn::cli::progress::Progress;
use presyn::cli::{Analyze, Cli, Command, Contract, Format, Run, Whatif, settings};
use presyn::explain::finding;
use presyn::explain::whatif::told;
use presyn::pipeline;
use presyn::render::json;
use presyn::render::text::{self, Look};
use presyn::report::{self, Report};
use presyn::source::{headway, inputs};
use std::io::{self, BufWriter, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

/// Unusable input or usage.
const UNUSABLE: u8 = 2;
/// A report was printed, but from damaged input.
const DAMAGED: u8 = 3;
/// A `--fail-on` condition holds.
const CONDITION: u8 = 1;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "presyn: {}",
                presyn::render::safe::escape(&format!("{error:#}"))
            );
            ExitCode::from(UNUSABLE)
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|e| {
        e.downcast_ref::<io::Error>()
            .is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    })
}

fn run(cli: Cli) -> Result<u8> {
    let mut out = BufWriter::new(io::stdout().lock());
    let code = match cli.command {
        Command::Analyze(args) => analyze(&args, &mut out)?,
        Command::Whatif(args) => whatif(&args, &mut out)?,
        Command::Run(args) => {
            // The command shares standard output from here on.
            drop(out);
            return match live::run(&args, write_live)? {
                Ran::Like(exit) => presyn::source::tracer::end_like(exit),
                Ran::Failed(status) => Ok(status),
            };
        }
        Command::Check => u8::from(!live::check(&mut out)?),
        Command::Explain { finding } => explain(finding.as_deref(), &mut out)?,
        Command::Schema { of } => {
            match of {
                Contract::Report => json::write_schema::<Report>(&mut out)?,
                Contract::Whatif => json::write_schema::<report::whatif::WhatIf>(&mut out)?,
            }
            0
        }
    };
    out.flush()?;
    Ok(code)
}

fn analyze(args: &Analyze, out: &mut dyn Write) -> Result<u8> {
    let (settings, options, conditions) = settings::analyze(args)?;
    headway::heed_interrupts().context("cannot watch for Ctrl-C")?;
    let progress = Progress::begin();
    let gathered = inputs::gather(&args.paths, &options);
    if headway::stopped() && gathered.is_err() {
        // Too soon for anything to be known.
        return Ok(headway::INTERRUPTED);
    }
    let gathered = gathered?;
    let damaged = is_damaged(&gathered);
    let report = pipeline::report(gathered, &settings);
    drop(progress);
    let colored = colored(args.report.color, io::stdout().is_terminal());
    let look = Look {
        colored,
        verify: args.report.verify,
    };
    write(&report, args.report.format, look, out).context("cannot write the report")?;
    Ok(if headway::stopped() {
        headway::INTERRUPTED
    } else if damaged {
        DAMAGED
    } else if conditions.iter().any(|c| c.holds(&report)) {
        CONDITION
    } else {
        0
    })
}

fn whatif(args: &Whatif, out: &mut dyn Write) -> Result<u8> {
    let (settings, options, change) = settings::whatif(args)?;
    let gathered = inputs::gather(&args.paths, &options)?;
    let damaged = is_damaged(&gathered);
    let answer = pipeline::with_case(gathered, &settings, |case, _| {
        told::answer(case, settings.limits, change)
    })?;
    let written = match args.report.format {
        Format::Json => json::write(&answer, out),
        Format::Text => {
            let colored = colored(args.report.color, io::stdout().is_terminal());
            text::whatif::write(&answer, colored, out)
        }
    };
    written.context("cannot write the answer")?;
    Ok(if damaged { DAMAGED } else { 0 })
}

fn is_damaged(gathered: &pipeline::Gathered) -> bool {
    gathered.captures.iter().any(|c| c.damaged) || gathered.traces.iter().any(|(t, _)| t.damaged)
}

fn write(report: &Report, format: Format, look: Look, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Json => json::write(report, out),
        Format::Text => text::write(report, look, out),
    }
}

fn write_live(report: &Report, args: &Run, colored: bool, out: &mut dyn Write) -> io::Result<()> {
    let look = Look {
        colored,
        verify: args.report.verify,
    };
    write(report, args.report.format, look, out)
}

fn explain(id: Option<&str>, out: &mut dyn Write) -> Result<u8> {
    let Some(id) = id else {
        for page in finding::pages() {
            writeln!(
                out,
                "{:22}{}",
                page.id,
                page.text.lines().next().unwrap_or("")
            )?;
        }
        return Ok(0);
    };
    match finding::pages().find(|p| p.id == id) {
        Some(page) => writeln!(out, "{}\n\n{}", page.id, page.text.trim())?,
        None => bail!("no finding is called '{id}'; presyn explain lists them"),
    }
    Ok(0)
}
