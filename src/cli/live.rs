//! `presyn run` and `presyn check`, as the terminal sees them.

use super::output::{self, colored};
use super::{Run, settings};
use crate::case::strace;
use crate::event::Event;
use crate::pipeline::{self, Gathered, Settings};
use crate::render::safe::escape;
use crate::report::Report;
use crate::session::live::{self, Listener, LiveError};
use crate::source::machine::{self, Answer};
use crate::source::privilege::{self, Kept};
use crate::source::tracer::Exit;
use crate::user::User;
use crate::user::files::{self as user_files, as_whom};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::{AsRawFd, RawFd};

/// Exit status of env(1) when it fails itself.
pub const FAILED: u8 = 125;

/// How `run` ended.
pub enum Ran {
    /// As the command did.
    Like(Exit),
    /// It could not be run.
    Failed(u8),
}

/// Runs a command and reports on it. Once the command runs, nothing that happens to presyn's own output changes its
/// status.
pub fn run(args: &Run) -> Result<Ran> {
    let prepared = settings::run(args).and_then(|(settings, plan)| {
        let report_file = open_report(args, plan.launch.user.as_ref())?;
        Ok((settings, plan, report_file))
    });
    let (settings, plan, report_file) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            output::complain(&error);
            return Ok(Ran::Failed(FAILED));
        }
    };
    let mut terminal = Terminal {
        args,
        settings: &settings,
        report_file,
    };
    match live::run(plan, &mut terminal) {
        Ok(outcome) => Ok(Ran::Like(outcome.exit)),
        Err(error) => {
            say(&escape_lines(&error.to_string()));
            let status = match &error {
                LiveError::Tracer(error) => u8::try_from(error.exit_status()).unwrap_or(FAILED),
                _ => FAILED,
            };
            Ok(Ran::Failed(status))
        }
    }
}

/// The file of `--report`, opened as the run's user would.
fn open_report(args: &Run, user: Option<&User>) -> Result<Option<File>> {
    let Some(path) = &args.report_file else {
        return Ok(None);
    };
    let opened = user_files::open_report(path, user);
    let what = || {
        let path = path.display();
        format!("cannot write the report to {path}{}", as_whom(user))
    };
    opened.map(Some).with_context(what)
}

/// A line on standard error. If that is closed or full, there is no other place to say it.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "presyn: {line}");
}

/// Multi-line messages keep their lines; everything else in them is escaped.
fn escape_lines(text: &str) -> String {
    text.lines()
        .map(|line| escape(line).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Standard error while the command runs.
struct Terminal<'a> {
    args: &'a Run,
    settings: &'a Settings,
    /// Opened before the command starts, by the tracing process.
    report_file: Option<File>,
}

impl Terminal<'_> {
    fn write(&self, report: &Report, colored: bool, out: &mut dyn Write) -> io::Result<()> {
        // A run that is not saved has no path.
        let save = self.args.save.as_ref();
        let case = save.map_or_else(|| "-".into(), |s| s.display().to_string());
        let args = &self.args.report;
        output::write(report, &case, args, colored, out)
    }
}

impl Listener for Terminal<'_> {
    fn line(&mut self, line: &str) {
        if !self.args.quiet {
            say(line);
        }
    }

    fn trouble(&mut self, line: &str) {
        say(&escape(line));
    }

    fn event(&mut self, event: &Event) {
        if self.args.verbose {
            let mut text = Vec::new();
            // Writing into memory cannot fail.
            let _ = strace::write(event, &mut text);
            for line in String::from_utf8_lossy(&text).lines() {
                say(&escape(line));
            }
        }
    }

    fn report(&mut self, gathered: Gathered) -> bool {
        if self.args.quiet && self.report_file.is_none() {
            return true;
        }
        let report = pipeline::report(gathered, self.settings);
        let done = if let Some(file) = &self.report_file {
            let mut out = BufWriter::new(file);
            emptied(file)
                .and_then(|()| self.write(&report, false, &mut out))
                .and_then(|()| out.flush())
                .context("cannot write the report")
        } else {
            let mut out = BufWriter::new(io::stderr().lock());
            let colored = colored(self.args.report.color, io::stderr().is_terminal());
            // A blank line between the command's words and presyn's.
            writeln!(out)
                .and_then(|()| self.write(&report, colored, &mut out))
                .and_then(|()| out.flush())
                .context("cannot write the report")
        };
        if let Err(problem) = &done {
            say(&escape(&format!("{problem:#}")));
        }
        done.is_ok()
    }

    fn descriptors(&self) -> Vec<RawFd> {
        self.report_file.iter().map(AsRawFd::as_raw_fd).collect()
    }

    fn rights(&mut self, kept: &Kept, analysis: &str) {
        if self.args.verbose {
            say(&format!("while it runs, presyn {kept}"));
            say(&format!("the analysis process {analysis}"));
        }
    }
}

/// What an older report left in the file goes when the new one comes.
fn emptied(file: &File) -> io::Result<()> {
    match file.set_len(0) {
        // A pipe or a device holds nothing. (What a file is, the filter of this process does not let it ask.)
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        done => done,
    }
}

/// Prints what this machine allows. Returns whether it suffices.
pub fn check(out: &mut dyn Write) -> io::Result<bool> {
    // As a run does: some of what it needs is only missing then.
    privilege::harden().map_err(io::Error::from)?;
    let facts = machine::facts();
    let wide = facts.iter().map(|f| f.name.len()).max().unwrap_or(0);
    for fact in &facts {
        let (mark, mend) = match &fact.answer {
            Answer::Yes => ("yes", None),
            Answer::Spared { mend } => ("no*", mend.as_deref()),
            Answer::No { mend } => ("NO", Some(mend.as_str())),
            Answer::Unsafe { mend } => ("!!", Some(mend.as_str())),
        };
        writeln!(
            out,
            "{mark:4} {:wide$}  {}",
            fact.name,
            escape(&fact.detail)
        )?;
        if let Some(mend) = mend {
            writeln!(out, "     {:wide$}  mend: {}", "", escape(mend))?;
        }
    }
    if facts
        .iter()
        .any(|f| matches!(f.answer, Answer::Spared { .. }))
    {
        writeln!(out, "\n* presyn does without")?;
    }
    if facts
        .iter()
        .any(|f| matches!(f.answer, Answer::Unsafe { .. }))
    {
        writeln!(out, "\n!! gives other users more than they should have")?;
    }
    Ok(machine::suffices(&facts))
}
