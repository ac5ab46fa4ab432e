//! Inputs as people have them, told by a presyn that believes every absence: most of it must be wrong, or the conditions of
//! negative claims stand elsewhere than in `coverage`.
//!
//! The program is both: with `analyze` it is that presyn, as `PRESYN_TRUST` says; otherwise it asks the judge in
//! `../shared/tools` about itself.

#![allow(clippy::unwrap_used, reason = "tests")]

use clap::Parser;
use presyn::cli::{Cli, Command, offline, output, settings};
use presyn::coverage::Trust;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// So many of the inputs that people have are told wrong by whoever takes every absence for true: the more, the more of the
/// conditions stand in `coverage`.
const LEAST_WRONG: usize = 30;

fn main() -> ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|word| word == "analyze")
    {
        return analyze();
    }
    let shared = Path::new("../shared");
    if !shared.join("field").is_dir() {
        eprintln!("SKIPPED: ../shared/field is not here");
        return ExitCode::SUCCESS;
    }
    let (wrong, all) = wrong_with(shared, "judged");
    assert!(
        all >= 56 && wrong <= 2,
        "{wrong} of {all} are wrong as judged"
    );
    let (wrong, all) = wrong_with(shared, "everything");
    assert!(
        wrong >= LEAST_WRONG,
        "only {wrong} of {all} are wrong with blind trust"
    );
    ExitCode::SUCCESS
}

/// How many inputs the judge finds told wrong, and of how many.
fn wrong_with(shared: &Path, trust: &str) -> (usize, usize) {
    let judged = std::process::Command::new("python3")
        .arg(shared.join("tools/check.py"))
        .arg("field")
        .arg(shared.join("field"))
        .env("PRESYN", std::env::current_exe().unwrap())
        .env("PRESYN_TRUST", trust)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&judged.stdout).into_owned();
    eprintln!("{trust}:\n{said}");
    // `field: 56 of 56 agree`
    let last: Vec<&str> = said.lines().last().unwrap().split(' ').collect();
    let number = |at: usize| last[at].parse::<usize>().unwrap();
    (number(3) - number(1), number(3))
}

/// `presyn analyze`, with its arguments and exit status.
fn analyze() -> ExitCode {
    let Command::Analyze(args) = Cli::parse().command else {
        return ExitCode::from(output::UNUSABLE);
    };
    let report = settings::analyze(&args).and_then(|(mut settings, options, _)| {
        settings.trust = match std::env::var("PRESYN_TRUST").as_deref() {
            Ok("everything") => Trust::Everything,
            Ok("nothing") => Trust::Nothing,
            _ => Trust::Judged,
        };
        Ok(offline::read(&args.paths, &options, &settings)?)
    });
    match report {
        Ok(case) => {
            output::write(
                &case.report,
                "",
                &args.report,
                output::Screen::file(),
                &mut io::stdout(),
            )
            .unwrap();
            ExitCode::from(if case.damaged { output::DAMAGED } else { 0 })
        }
        Err(error) => {
            output::complain(&error);
            ExitCode::from(output::UNUSABLE)
        }
    }
}
