//! Lines that are not plainly strace's: output of the program before a call, colours, quotation marks of
//! mails; and whether a text is a trace at all.

use super::prefix::{self, Body, CallText, Lead};
use super::{call, carried, clock::TimeReading, dressing, lex};
use crate::event::Syscall;

/// How far into a line a call is looked for.
const MAX_SEARCH: usize = 4096;

/// How many calls of a log are looked at closely before their names alone are believed.
const DOUBTED: u64 = 64;

/// What stands before the calls of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    time: Option<std::mem::Discriminant<TimeReading>>,
    relative: bool,
}

impl Shape {
    /// The shape of one line's beginning.
    pub fn of(lead: &Lead<'_>) -> Self {
        Self {
            time: lead.time.as_ref().map(std::mem::discriminant),
            relative: lead.relative.is_some(),
        }
    }
}

/// Whether a line that reads like strace's is one. Calls by name are believed once the log has proven to be
/// one; unknown names never.
pub fn is_substantial(body: &Body<'_>, calls: u64) -> bool {
    match body {
        Body::Call(CallText { syscall, args, .. }) => {
            let known = *syscall != Syscall::Unknown;
            known && calls >= DOUBTED || has_result(args) || known && has_open_list(args)
        }
        _ => true,
    }
}

/// `…) = 0` or `… <unfinished ...>`
fn has_result(args: &[u8]) -> bool {
    if args.ends_with(b" ...>") {
        return true;
    }
    let mut from = 0;
    while let Some(at) = lex::find(&args[from..], b")") {
        let rest = args[from + at + 1..].trim_ascii_start();
        if rest.starts_with(b"= ") && rest.len() > 2 {
            return true;
        }
        from += at + 1;
    }
    false
}

/// A call that was cut: an argument list that is not closed.
fn has_open_list(args: &[u8]) -> bool {
    !args.is_empty() && lex::list(args, b')').rest.is_none()
}

/// Takes colour codes and marks of quotation off.
pub fn without_dressing<'a>(text: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let mut text = text;
    if text.contains(&0x1b) {
        scratch.clear();
        let mut rest = text;
        // ECMA-48: ESC [, parameters, one final byte of 0x40 to 0x7e.
        while let Some(at) = lex::find(rest, b"\x1b[") {
            scratch.extend_from_slice(&rest[..at]);
            let end = rest[at + 2..]
                .iter()
                .position(|b| (0x40..=0x7e).contains(b));
            rest = end.map_or(&[][..], |end| &rest[at + 2 + end + 1..]);
        }
        scratch.extend_from_slice(rest);
        text = scratch;
    }
    while let [b'>' | b'|', rest @ ..] = text {
        text = rest.strip_prefix(b" ").unwrap_or(rest);
    }
    text
}

/// The strace line that begins somewhere in the text. It must look like the log's other lines, and be a
/// known call with its result.
pub fn line_within(text: &[u8], shape: Option<Shape>) -> Option<(Lead<'_>, Body<'_>)> {
    if lex::find(text, b") ").is_none() && !text.ends_with(b" ...>") && !text.ends_with(b" +++") {
        return None;
    }
    let search = text.len().min(MAX_SEARCH);
    (0..search).find_map(|at| {
        let before = at.checked_sub(1).map_or(b' ', |at| text[at]);
        let begins = match text[at] {
            b'[' => text[at..].starts_with(b"[pid"),
            b'0'..=b'9' => !before.is_ascii_digit() && !b".:-".contains(&before),
            b'a'..=b'z' => {
                !(before.is_ascii_alphanumeric() || b"_\"'/.".contains(&before))
                    || is_telling(&text[at..])
            }
            _ => false,
        };
        if !begins {
            return None;
        }
        let (lead, body) = prefix::line(&text[at..])?;
        if shape.is_some_and(|shape| shape != Shape::of(&lead)) || shape.is_none() && at > 0 {
            return None;
        }
        match body {
            Body::Call(CallText { syscall, args, .. }) => {
                let known = syscall != Syscall::Unknown && (at == 0 || !syscall.is_boring());
                (known && (args.ends_with(b" ...>") || call::read(syscall, args).is_some()))
                    .then_some((lead, body))
            }
            Body::Remark(_) => (at == 0).then_some((lead, body)),
            _ => (at == 0 || lead.time.is_some() || lead.tid.is_some()).then_some((lead, body)),
        }
    })
}

/// The calls that are worth finding directly behind a letter.
fn is_telling(text: &[u8]) -> bool {
    text.starts_with(b"connect(") || text.starts_with(b"sendto(") || text.starts_with(b"sendmmsg(")
}

/// What a file that is no trace looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guise {
    /// Nothing in it.
    Empty,
    /// Output of ltrace.
    Ltrace,
    /// The table of `strace -c`.
    Summary,
    /// A capture file.
    Capture,
    /// Binary data.
    Binary,
    /// Some text.
    Text,
}

/// What the beginning of a file that is no trace looks like.
pub fn guise(start: &[u8]) -> Guise {
    const CAPTURES: [[u8; 4]; 5] = [
        [0xa1, 0xb2, 0xc3, 0xd4],
        [0xd4, 0xc3, 0xb2, 0xa1],
        [0xa1, 0xb2, 0x3c, 0x4d],
        [0x4d, 0x3c, 0xb2, 0xa1],
        [0x0a, 0x0d, 0x0d, 0x0a],
    ];
    let ltrace = [
        &b"@SYS("[..],
        b"__libc_start_main(",
        b"+++ exited (status ",
        b"->malloc(",
    ];
    if start.is_empty() {
        Guise::Empty
    } else if CAPTURES.iter().any(|magic| start.starts_with(magic)) {
        Guise::Capture
    } else if ltrace.iter().any(|mark| lex::find(start, mark).is_some()) {
        Guise::Ltrace
    } else if lex::find(start, b"% time     seconds").is_some() {
        Guise::Summary
    } else if start.contains(&0) {
        Guise::Binary
    } else {
        Guise::Text
    }
}

/// Whether the beginning of a file holds a line of strace's, perhaps under what other programs did to it.
pub fn looks_like_trace(start: &[u8]) -> bool {
    dressing::is_log(start)
}

/// Whether a line is plainly strace's.
pub fn is_line(text: &[u8]) -> bool {
    let mut scratch = Vec::new();
    let nuls = text.iter().take_while(|b| **b == 0).count();
    let text = without_dressing(&text[nuls..], &mut scratch);
    match prefix::line(text).or_else(|| carried::line(text)) {
        Some((_, Body::Call(CallText { syscall, args, .. }))) => {
            syscall != Syscall::Unknown && has_result(args)
        }
        Some((_, Body::End(text))) => !text.starts_with(b"exited ("),
        Some((_, Body::Resumed { .. } | Body::Signal(_) | Body::Remark(_))) => true,
        _ => false,
    }
}

/// Whether a line behind something else is one of strace's. Behind words, only the name of a system call says so:
/// `Connecting toconnect(3, …) = 0` is a program's output, which ran into a line.
pub fn is_carried(body: &Body<'_>, words: bool) -> bool {
    match body {
        Body::Call(CallText { syscall, args, .. }) => {
            has_result(args) && (*syscall != Syscall::Unknown || !words)
        }
        Body::Remark(_) => false,
        _ => true,
    }
}
