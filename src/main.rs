//! The binary: parse what was typed, run it, say the exit status.

use anyhow::{Result, bail};
use clap::Parser;
use presyn::cli::live::{self, Ran};
use presyn::cli::reproduce::{self, Reproduced};
use presyn::cli::{Cli, Command, diff, manual, offline, output, values, whatif};
use presyn::explain::finding;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // As clap's own exit: what cannot be printed changes no status.
            let _ = error.print();
            return ExitCode::from(usage_status(&error));
        }
    };
    match run(cli) {
        Ok(code) => ExitCode::from(code),
        // A reader that has seen enough (`| head`) is no failure.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(output::UNUSABLE)
        }
    }
}

/// As env(1): what keeps a command from being run is told apart from the command's own status.
fn usage_status(error: &clap::Error) -> u8 {
    let run = std::env::args_os().nth(1).is_some_and(|word| word == "run");
    match u8::try_from(error.exit_code()) {
        Ok(0) => 0,
        _ if run => live::FAILED,
        Ok(status) => status,
        Err(_) => output::UNUSABLE,
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
        Command::Analyze(args) => offline::analyze(&args, &mut out)?,
        Command::Whatif(args) => whatif::whatif(&args, &mut out)?,
        Command::Run(args) if !args.pid.is_empty() => {
            drop(out);
            return live::attach(&args.into());
        }
        Command::Attach(args) => {
            // The report is written by another process.
            drop(out);
            return live::attach(&args);
        }
        Command::Run(args) => {
            // The command shares standard output from here on.
            drop(out);
            return match live::run(&args)? {
                Ran::Like(exit) => presyn::source::tracer::end_like(exit),
                Ran::Failed(status) => Ok(status),
            };
        }
        Command::Reproduce(args) => match reproduce::reproduce(&args, &mut out)? {
            Reproduced::Status(status) => status,
            Reproduced::Like(exit) => {
                out.flush()?;
                presyn::source::tracer::end_like(exit)
            }
        },
        Command::Check => u8::from(!live::check(&mut out)?),
        Command::Explain { finding } => explain(finding.as_deref(), &mut out)?,
        Command::Diff(args) => diff::diff(&args, &mut out)?,
        Command::Schema { of } => {
            output::write_schema(of, &mut out)?;
            0
        }
        Command::Man { folder } => {
            manual::write(folder.as_deref(), &mut out)?;
            0
        }
        Command::Completions { shell } => {
            manual::completions(shell, &mut out)?;
            0
        }
    };
    out.flush()?;
    Ok(code)
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
    match finding::pages().find(|p| p.id.name() == id) {
        Some(page) => writeln!(out, "{}\n\n{}", page.id, page.text.trim())?,
        None => match values::nearest_finding(id) {
            Some(near) => {
                bail!("no finding is called '{id}'; did you mean {near}? presyn explain lists all")
            }
            None => bail!("no finding is called '{id}'; presyn explain lists them"),
        },
    }
    Ok(0)
}
