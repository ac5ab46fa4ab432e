//! `presyn run` and `presyn check`, as the terminal sees them.

use super::condition::Condition;
use super::output::{self, Screen};
use super::{Format, RunArgs, fallback, settings};
use crate::case::strace;
use crate::event::Event;
use crate::pipeline::{self, Gathered, Settings};
use crate::render::safe::escape;
use crate::report::Report;
use crate::session::live::{self, Listener, LiveError};
use crate::source::preflight::{self, Availability};
use crate::source::privilege::{self, RetainedRights};
use crate::source::tracer::{self, Exit};
use crate::user::User;
use crate::user::files::{self as user_files, as_whom};
use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

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
pub fn run(args: &RunArgs) -> Result<Ran> {
    if args.container.is_some()
        && nix::unistd::geteuid().is_root()
        && let Err(error) = tracer::become_sealed()
    {
        let advice = tracer::sealed_advice(&error);
        say(&format!(
            "cannot run from a sealed copy of presyn, as --container needs: {error}{advice}"
        ));
        return Ok(Ran::Failed(FAILED));
    }
    let prepared = settings::run(args).and_then(|(settings, plan)| {
        let conditions = Condition::parse_all(&args.fail_on)?;
        let report_file = open_report(args, plan.launch.user.as_ref())?;
        Ok((settings, plan, conditions, report_file))
    });
    let (settings, plan, conditions, report_file) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            output::complain(&error);
            return Ok(Ran::Failed(FAILED));
        }
    };
    tracer::survive_file_size_limit();
    let user = plan.launch.user.clone();
    let mut terminal = Terminal {
        args,
        settings: &settings,
        screen: if report_file.is_some() {
            Screen::file()
        } else {
            Screen::of(io::stderr(), args.report.color)
        },
        conditions,
        report_file,
        // Without it a report that cannot be written is lost; the command runs all the same.
        spare: memfd_create(c"presyn-report", MFdFlags::MFD_CLOEXEC)
            .ok()
            .map(File::from),
    };
    match live::run(plan, &mut terminal) {
        Ok(outcome) => {
            terminal.rescue(user.as_ref());
            Ok(Ran::Like(outcome.exit))
        }
        Err(error) => {
            say(&output::escape_lines(&error.to_string()));
            let status = match &error {
                LiveError::Tracer(error) => u8::try_from(error.exit_status()).unwrap_or(FAILED),
                _ => FAILED,
            };
            Ok(Ran::Failed(status))
        }
    }
}

/// The file of `--report`, opened as the run's user would.
fn open_report(args: &RunArgs, user: Option<&User>) -> Result<Option<File>> {
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

/// Standard error while the command runs.
struct Terminal<'a> {
    args: &'a RunArgs,
    settings: &'a Settings,
    /// Of `--fail-on`.
    conditions: Vec<Condition>,
    /// Opened before the command starts, by the tracing process.
    report_file: Option<File>,
    /// What the report is written on.
    screen: Screen,
    /// Memory of both processes: a report that the analysis process can write nowhere, and no file may it open.
    spare: Option<File>,
}

impl Terminal<'_> {
    /// After the run: a report that could not be written where it belongs goes into a file of its own.
    fn rescue(&self, user: Option<&User>) {
        if let Some(report) = self.report_file.as_ref().and_then(removed) {
            say("the report's file was removed while the command ran; it follows here");
            self.to_standard_error(&report);
        }
        let mut report = Vec::new();
        let Some(mut spare) = self.spare.as_ref() else {
            return;
        };
        let read = spare.rewind().and_then(|()| spare.read_to_end(&mut report));
        if read.is_err() || report.is_empty() {
            return;
        }
        let extension = match self.args.report.format {
            Format::Text => "txt",
            Format::Markdown => "md",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
        };
        match fallback::save(&report, extension, user) {
            // Perhaps there is room for one line, or a reader again.
            Ok(path) => say(&escape(&format!("the report is in {}", path.display()))),
            Err(error) => say(&format!(
                "the report could not be written anywhere: {error}"
            )),
        }
    }

    /// A line for each condition of `--fail-on` that holds, with `--quiet` too: whoever gives one waits for that line. The
    /// exit status is the command's.
    fn say_what_holds(&self, report: &Report) {
        let typed = self.args.fail_on.iter().zip(&self.conditions);
        for (text, _) in typed.filter(|(_, condition)| condition.holds(report)) {
            say(&escape(&format!("--fail-on {text} holds")));
        }
    }

    /// To standard error; where that takes nothing, into the spare memory.
    fn to_standard_error(&self, report: &[u8]) -> bool {
        let stderr = io::stderr();
        let mut out = stderr.lock();
        // A closed descriptor is `/dev/null` by now, and takes everything; no flush is needed.
        if tracer::started_with(libc::STDERR_FILENO) && out.write_all(report).is_ok() {
            return true;
        }
        let saved = self.spare.as_ref().map(|mut spare| spare.write_all(report));
        saved.is_some_and(|saved| saved.is_ok())
    }

    fn write(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        // A run that is not saved has no path.
        let save = self.args.save.as_ref();
        let case = save.map_or_else(|| "-".into(), |s| s.display().to_string());
        let args = &self.args.report;
        output::write(report, &case, args, self.screen, out)
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
        let wanted = !self.args.quiet || self.report_file.is_some();
        if !wanted && self.conditions.is_empty() {
            return true;
        }
        let report = pipeline::report(gathered, self.settings);
        self.say_what_holds(&report);
        if !wanted {
            return true;
        }
        let to_file = self.report_file.is_some();
        // A blank line between the command's words and presyn's.
        let mut text = if to_file { Vec::new() } else { vec![b'\n'] };
        // Writing into memory cannot fail.
        let _ = self.write(&report, &mut text);
        let Some(mut file) = self.report_file.as_ref() else {
            return self.to_standard_error(&text);
        };
        if let Err(error) = emptied(file).and_then(|()| file.write_all(&text)) {
            let path = self.args.report_file.as_deref().map(Path::display);
            let path = path.map_or_else(String::new, |path| path.to_string());
            say(&escape(&format!(
                "cannot write the report to {path}: {error}; it follows here"
            )));
            return self.to_standard_error(&text);
        }
        true
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let files = self.report_file.iter().chain(&self.spare);
        files.map(AsRawFd::as_raw_fd).collect()
    }

    fn rights(&mut self, kept: &RetainedRights, analysis: &str) {
        if self.args.verbose {
            say(&format!("while it runs, presyn {kept}"));
            say(&format!("the analysis process {analysis}"));
        }
    }
}

/// What a file holds that has lost its name, and would be gone with presyn.
fn removed(file: &File) -> Option<Vec<u8>> {
    let facts = file.metadata().ok()?;
    if !facts.is_file() || facts.nlink() > 0 {
        return None;
    }
    std::fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
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
    let facts = preflight::facts();
    let wide = facts.iter().map(|f| f.name.len()).max().unwrap_or(0);
    for fact in &facts {
        let (mark, mend) = match &fact.answer {
            Availability::Yes => ("yes", None),
            Availability::Spared { mend } => ("no*", mend.as_deref()),
            Availability::No { mend } => ("NO", Some(mend.as_str())),
            Availability::Unsafe { mend } => ("!!", Some(mend.as_str())),
        };
        writeln!(
            out,
            "{mark:4} {:wide$}  {}",
            fact.name,
            escape(&fact.detail)
        )?;
        if let Some(mend) = mend {
            writeln!(out, "     {:wide$}  fix: {}", "", escape(mend))?;
        }
    }
    if facts
        .iter()
        .any(|f| matches!(f.answer, Availability::Spared { .. }))
    {
        writeln!(out, "\n* presyn does without")?;
    }
    if facts
        .iter()
        .any(|f| matches!(f.answer, Availability::Unsafe { .. }))
    {
        writeln!(out, "\n!! gives other users more than they should have")?;
    }
    Ok(preflight::suffices(&facts))
}
