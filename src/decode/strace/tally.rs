//! What a log shows as a whole: counts, the options it was written with, what was wrong.

use super::lex;
use super::prefix::Lead;
use crate::event::{PayloadLayout, Syscall};
use crate::input::VisibleSyscalls;

/// How many warnings are kept; the rest is counted.
const MAX_WARNINGS: usize = 20;
/// Among so many calls the beginning of a traced program shows.
const FIRST_CALLS: u64 = 50;

/// Running totals of a log.
#[derive(Debug, Default)]
pub struct LogTally {
    /// Calls read.
    pub calls: u64,
    /// Lines that are no strace output.
    pub skipped: u64,
    /// Lines among them that hold `connect(`.
    pub unread_connects: u64,
    /// Connects to addresses that cannot be read.
    pub unreadable_addresses: u64,
    /// A program's beginning is among the first calls.
    pub from_start: bool,
    /// Times were those of the ends of calls.
    pub ended_times: bool,
    /// Something could not be read.
    pub damaged: bool,
    /// `-f`, `-Y`, `-T`, `-y`, `-yy`, `-k`, `-i`/`-n` were seen.
    pub follows: bool,
    /// Thread names.
    pub names: bool,
    /// Durations.
    pub durations: bool,
    /// Annotated descriptors.
    pub annotated: bool,
    /// Annotated with addresses.
    pub addressed: bool,
    /// Stack lines.
    pub stacks: bool,
    /// `[…]` before the call.
    pub bracketed: bool,
    sees: VisibleSyscalls,
    memory: bool,
    files: bool,
    network: bool,
    warnings: Vec<(u64, String)>,
    more_warnings: u64,
}

impl LogTally {
    /// Counts a call. A program that has just begun executes, or its dynamic loader reads its cache (ld.so(8)).
    pub fn call(&mut self, syscall: Syscall, args: &[u8]) {
        self.calls += 1;
        if !self.from_start && self.calls <= FIRST_CALLS {
            self.from_start =
                syscall == Syscall::Exec || lex::find(args, b"/ld.so.cache").is_some();
        }
        match syscall {
            Syscall::Socket => self.sees.sockets = true,
            Syscall::Send(PayloadLayout::Plain | PayloadLayout::Vector) => self.sees.writes = true,
            Syscall::Send(_) => self.sees.sends = true,
            Syscall::Wait(..) => self.sees.waits = true,
            Syscall::Close => self.sees.closes = true,
            Syscall::Clone | Syscall::Fork => self.sees.clones = true,
            Syscall::Memory => self.memory = true,
            Syscall::File => self.files = true,
            _ => self.network |= syscall.is_traced_as_network(),
        }
    }

    /// Counts a line that is not strace's, or could not be read.
    pub fn skip(&mut self, number: u64, text: &[u8]) {
        self.skipped += 1;
        if lex::find(text, b"connect(").is_some() {
            if self.unread_connects == 0 {
                self.warn(number, "holds 'connect(' but cannot be read");
            }
            self.unread_connects += 1;
        }
    }

    /// Counts a connect to an address that cannot be read.
    pub fn unreadable_address(&mut self, number: u64, text: &str) {
        if self.unreadable_addresses == 0 {
            let shown: String = text.escape_debug().collect();
            self.warn(
                number,
                format!(
                    "the address '{shown}' was masked: hosts are named as in the log, and several may share one name"
                ),
            );
        }
        self.unreadable_addresses += 1;
    }

    /// Notes what stands before a call.
    pub fn lead(&mut self, lead: &Lead<'_>) {
        self.follows |= lead.tid.is_some();
        self.names |= lead.comm.is_some();
        self.ended_times |= lead.ended;
        self.bracketed |= lead.bracketed;
    }

    /// Keeps a warning, unless there are many.
    pub fn warn(&mut self, line: u64, what: impl Into<String>) {
        if self.warnings.len() < MAX_WARNINGS {
            self.warnings.push((line, what.into()));
        } else {
            self.more_warnings += 1;
        }
    }

    /// The warnings as `FILE:LINE: what`.
    pub fn warnings(&self, path: &str) -> Vec<String> {
        let mut lines: Vec<String> = self
            .warnings
            .iter()
            .map(|(line, what)| format!("{path}:{line}: {what}"))
            .collect();
        if self.more_warnings > 0 {
            lines.push(format!("{path}: {} more warnings", self.more_warnings));
        }
        lines
    }

    /// Which calls the log can show. A log with memory and file calls is one of everything; one with
    /// `socket` and calls that nobody names by hand (`setsockopt`, …) is one of `-e trace=network`, which
    /// has the sends too.
    pub fn sees(&self) -> VisibleSyscalls {
        if self.memory && self.files {
            return VisibleSyscalls {
                sockets: true,
                sends: true,
                followed_sends_only: false,
                writes: true,
                waits: true,
                closes: true,
                clones: true,
                everything: true,
            };
        }
        VisibleSyscalls {
            sends: self.sees.sends || (self.sees.sockets && self.network),
            sockets: self.sees.sockets || (self.sees.sends && self.network),
            ..self.sees
        }
    }

    /// The options of strace that explain what was seen; `times` are the clock's.
    pub fn style(&self, times: &str) -> String {
        let flags = [
            (self.follows, "-f"),
            (!times.is_empty(), times),
            (self.durations, "-T"),
            (self.annotated && !self.addressed, "-y"),
            (self.addressed, "-yy"),
            (self.names, "-Y"),
            (self.bracketed, "-i"),
            (self.stacks, "-k"),
        ];
        let seen: Vec<&str> = flags
            .iter()
            .filter(|(seen, _)| *seen)
            .map(|(_, flag)| *flag)
            .collect();
        seen.join(" ")
    }
}
