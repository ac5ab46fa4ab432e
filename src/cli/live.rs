//! `presyn run`, `presyn attach` and `presyn check`, as the terminal sees them.

use super::condition::Condition;
use super::output::{self, Screen};
use super::{AttachArgs, Format, LiveArgs, RunArgs, fallback, settings};
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
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;

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
        let user = plan.launch.user.clone();
        let destination = Destination::of_run(&args.live, user.as_ref())?;
        let terminal = Terminal::new(&args.live, settings, destination)?;
        Ok((terminal, plan, user))
    });
    let (mut terminal, plan, user) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            output::complain(&error);
            return Ok(Ran::Failed(FAILED));
        }
    };
    tracer::survive_file_size_limit();
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

/// Watches what already runs and reports on it. Returns the exit status.
pub fn attach(args: &AttachArgs) -> Result<u8> {
    let (settings, plan) = settings::attach(args)?;
    let user = plan.user.clone();
    let destination = Destination::of_attach(&args.live, user.as_ref())?;
    let mut terminal = Terminal::new(&args.live, settings, destination)?;
    tracer::survive_file_size_limit();
    live::attach::attach(&plan, &mut terminal)?;
    terminal.rescue(user.as_ref());
    Ok(u8::from(terminal.something_holds()))
}

/// What the report is written to.
enum Destination {
    /// Beside the command's own messages: its standard output is its own.
    StandardError,
    /// A copy of presyn's own, for the process that reports has none.
    StandardOutput(File),
    /// That of `--report`, opened before anything begins, by the process that has the right.
    File(File),
}

impl Destination {
    fn of_run(args: &LiveArgs, user: Option<&User>) -> Result<Self> {
        let file = open_report(args, user)?;
        Ok(file.map_or(Self::StandardError, Self::File))
    }

    fn of_attach(args: &LiveArgs, user: Option<&User>) -> Result<Self> {
        if let Some(file) = open_report(args, user)? {
            return Ok(Self::File(file));
        }
        let output = io::stdout().as_fd().try_clone_to_owned();
        let output = output.context("cannot write to standard output")?;
        Ok(Self::StandardOutput(output.into()))
    }

    fn file(&self) -> Option<&File> {
        match self {
            Self::StandardError => None,
            Self::StandardOutput(file) | Self::File(file) => Some(file),
        }
    }
}

/// The file of `--report`, opened as the run's user would.
fn open_report(args: &LiveArgs, user: Option<&User>) -> Result<Option<File>> {
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

/// The terminal while the command runs.
struct Terminal<'a> {
    args: &'a LiveArgs,
    settings: Settings,
    /// Of `--fail-on`.
    conditions: Vec<Condition>,
    destination: Destination,
    /// What the report is written on.
    screen: Screen,
    /// Memory of both processes: a report that the analysis process can write nowhere, and no file may it open.
    spare: Option<File>,
    /// Memory of both processes: a byte for each condition of `--fail-on` that holds.
    holding: Option<File>,
}

impl<'a> Terminal<'a> {
    fn new(args: &'a LiveArgs, settings: Settings, destination: Destination) -> Result<Self> {
        let memory = |name| {
            memfd_create(name, MFdFlags::MFD_CLOEXEC)
                .ok()
                .map(File::from)
        };
        Ok(Self {
            args,
            settings,
            conditions: Condition::parse_all(&args.fail_on)?,
            screen: match destination {
                Destination::StandardError => Screen::of(io::stderr(), args.report.color),
                Destination::StandardOutput(_) => Screen::of(io::stdout(), args.report.color),
                Destination::File(_) => Screen::file(),
            },
            destination,
            // Without them a report that cannot be written is lost, and no condition is seen to hold.
            spare: memory(c"presyn-report"),
            holding: { (!args.fail_on.is_empty()).then(|| memory(c"presyn-conditions")) }.flatten(),
        })
    }

    /// Whether a condition of `--fail-on` was seen to hold.
    fn something_holds(&self) -> bool {
        let length = self.holding.as_ref().and_then(|file| file.metadata().ok());
        length.is_some_and(|file| file.len() > 0)
    }
}

impl Terminal<'_> {
    /// After the run: a report that could not be written where it belongs goes into a file of its own.
    fn rescue(&self, user: Option<&User>) {
        let file = match &self.destination {
            Destination::File(file) => Some(file),
            Destination::StandardError | Destination::StandardOutput(_) => None,
        };
        if let Some(report) = file.and_then(removed) {
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
            // Memory takes it.
            let _ = self.holding.as_ref().map(|mut file| file.write_all(&[1]));
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
        let to_file = matches!(self.destination, Destination::File(_));
        // --quiet is about standard error.
        let wanted = !self.args.quiet || self.destination.file().is_some();
        if !wanted && self.conditions.is_empty() {
            return true;
        }
        let report = pipeline::report(gathered, &self.settings);
        self.say_what_holds(&report);
        if !wanted {
            return true;
        }
        let mut text = match self.destination {
            // A blank line between the command's words and presyn's.
            Destination::StandardError => vec![b'\n'],
            Destination::StandardOutput(_) | Destination::File(_) => Vec::new(),
        };
        // Writing into memory cannot fail.
        let _ = self.write(&report, &mut text);
        let Some(mut file) = self.destination.file() else {
            return self.to_standard_error(&text);
        };
        let emptied = if to_file { emptied(file) } else { Ok(()) };
        let written = emptied.and_then(|()| file.write_all(&text));
        let Err(error) = written else { return true };
        let place = match &self.args.report_file {
            Some(path) => path.display().to_string(),
            // A reader that has seen enough (`| head`) is no failure.
            None if error.kind() == io::ErrorKind::BrokenPipe => return true,
            None => "standard output".into(),
        };
        say(&escape(&format!(
            "cannot write the report to {place}: {error}; it follows here"
        )));
        self.to_standard_error(&text)
    }

    fn descriptors(&self) -> Vec<RawFd> {
        let files = { self.destination.file().into_iter() }
            .chain(&self.spare)
            .chain(&self.holding);
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
