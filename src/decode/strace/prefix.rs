//! What stands before the call on a line: thread, name, times, instruction pointer, call number
//! (strace's `printleader`), and what kind of line follows.

use super::clock::{self, TimeReading};
use super::lex::{self, decimal};
use crate::event::Syscall;

/// How far into a line a thread's name may reach: 15 bytes (`TASK_COMM_LEN`), each escaped with four.
const MAX_COMM: usize = 80;

/// The beginning of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lead<'a> {
    /// Thread, if the line names one.
    pub tid: Option<u32>,
    /// Its name (`-Y`), still escaped.
    pub comm: Option<&'a [u8]>,
    /// The absolute time, if any.
    pub time: Option<TimeReading>,
    /// Nanoseconds since the previous line (`-r`), if any, and the least step.
    pub relative: Option<(i64, i64)>,
    /// The time is that of the line's end, not of its beginning: another program stamped the line.
    pub ended: bool,
    /// `[00007f…]` of `-i` or `[ 42]` of `-n` stood there.
    pub bracketed: bool,
}

/// A call as a line shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallText<'a> {
    /// What the name stands for.
    pub syscall: Syscall,
    /// The call's name.
    pub name: &'a [u8],
    /// Everything behind the opening bracket.
    pub args: &'a [u8],
}

/// The line's substance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body<'a> {
    /// `name(…`
    Call(CallText<'a>),
    /// `<... name resumed>…`
    Resumed {
        /// The call's name.
        name: &'a [u8],
        /// What follows.
        tail: &'a [u8],
    },
    /// `<... resuming interrupted …`, `<detached ...>`: the end of something not seen.
    Detached,
    /// `--- SIGCHLD {…} ---`, without the dashes.
    Signal(&'a [u8]),
    /// `+++ exited with 0 +++`, without the plus signs.
    End(&'a [u8]),
    /// `strace: …` or an old version's bare `Process 123 attached`.
    Remark(&'a [u8]),
}

/// Reads a line from its first byte; `None` when it is no line of strace's.
pub fn line(text: &[u8]) -> Option<(Lead<'_>, Body<'_>)> {
    match *text.first()? {
        b'[' => bracketed(text),
        b'0'..=b'9' => numbered(text),
        b' ' => padded(text),
        _ => Some((Lead::default(), body(text)?)),
    }
}

/// `[pid 123] …`, `[pid 123<comm>] …`, `[Process PID=…`, `[00007f…] call(`.
fn bracketed(text: &[u8]) -> Option<(Lead<'_>, Body<'_>)> {
    let Some(inside) = text.strip_prefix(b"[pid") else {
        return timed(Lead::default(), text);
    };
    let (tid, rest) = decimal(inside.trim_ascii_start())?;
    let lead = Lead {
        tid: Some(u32::try_from(tid).ok()?),
        ..Lead::default()
    };
    match rest.first()? {
        b']' => timed(lead, rest[1..].trim_ascii_start()),
        b'<' => named(lead, &rest[1..], b"] "),
        _ => None,
    }
}

/// `123 …`, `123<comm> …`, `12:34:56 …`, `1795337549.7 …`, `2026-11-22T…`.
fn numbered(text: &[u8]) -> Option<(Lead<'_>, Body<'_>)> {
    let (value, rest) = decimal(text)?;
    let lead = Lead::default();
    match rest.first()? {
        b'<' => {
            let tid = Some(u32::try_from(value).ok()?);
            named(Lead { tid, ..lead }, &rest[1..], b" ")
        }
        b' ' if value < clock::LEAST_EPOCH => {
            let tid = Some(u32::try_from(value).ok()?);
            timed(Lead { tid, ..lead }, rest.trim_ascii_start())
        }
        _ => timed(lead, text),
    }
}

/// Blanks first: `-r` is padded on the left, and so were process ids once.
fn padded(text: &[u8]) -> Option<(Lead<'_>, Body<'_>)> {
    let rest = text.trim_ascii_start();
    let (value, after) = decimal(rest)?;
    if after.first() == Some(&b' ') {
        let after = after.trim_ascii_start();
        if after.first()?.is_ascii_digit() {
            let lead = Lead {
                tid: Some(u32::try_from(value).ok()?),
                ..Lead::default()
            };
            return timed(lead, after);
        }
        // `-r` with whole seconds.
        let lead = Lead {
            relative: Some((value.checked_mul(1_000_000_000)?, 1_000_000_000)),
            ..Lead::default()
        };
        return timed(lead, after);
    }
    timed(Lead::default(), rest)
}

/// A thread's name may hold anything, `> ` and `] ` too: it ends where a line of strace's begins.
fn named<'a>(lead: Lead<'a>, text: &'a [u8], end: &[u8]) -> Option<(Lead<'a>, Body<'a>)> {
    let limit = text.len().min(MAX_COMM);
    (0..limit).filter(|at| text[*at] == b'>').find_map(|at| {
        let rest = text[at + 1..].strip_prefix(end)?;
        let comm = Some(&text[..at]);
        timed(Lead { comm, ..lead }, rest.trim_ascii_start())
    })
}

/// Times, then brackets, then the body.
fn timed<'a>(mut lead: Lead<'a>, text: &'a [u8]) -> Option<(Lead<'a>, Body<'a>)> {
    let mut text = text;
    if text.first().is_some_and(u8::is_ascii_digit) {
        let (reading, rest) = clock::read(text)?;
        text = rest.trim_ascii_start();
        if let TimeReading::Relative { nanos, step } = reading {
            lead.relative = Some((nanos, step));
        } else {
            lead.time = Some(reading);
        }
        if let Some(inside) = text.strip_prefix(b"(+") {
            let (reading, rest) = clock::read(inside.trim_ascii_start())?;
            if let TimeReading::Relative { nanos, step } = reading {
                lead.relative = Some((nanos, step));
            }
            text = rest
                .trim_ascii_start()
                .strip_prefix(b")")?
                .trim_ascii_start();
        }
    }
    while let Some(inside) = text.strip_prefix(b"[") {
        let close = inside.iter().take(32).position(|b| *b == b']')?;
        let is_address = |b: &u8| b.is_ascii_hexdigit() || b" x?".contains(b);
        if !inside[..close].iter().all(is_address) {
            break;
        }
        lead.bracketed = true;
        text = inside[close + 1..].trim_ascii_start();
    }
    Some((lead, body(text)?))
}

/// Which kind of line it is.
fn body(text: &[u8]) -> Option<Body<'_>> {
    match *text.first()? {
        b'a'..=b'z' | b'_' => {
            let is_name = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'_';
            let end = text.iter().position(|b| !is_name(b))?;
            if text[end] == b'(' {
                return Some(Body::Call(CallText {
                    syscall: Syscall::named(&text[..end]),
                    name: &text[..end],
                    args: &text[end + 1..],
                }));
            }
            text.strip_prefix(b"strace: ").map(Body::Remark)
        }
        b'<' => {
            let rest = text.strip_prefix(b"<... ")?;
            if let Some(at) = lex::find(&rest[..rest.len().min(64)], b" resumed>") {
                let tail = &rest[at + b" resumed>".len()..];
                return Some(Body::Resumed {
                    name: &rest[..at],
                    tail,
                });
            }
            // Before 4.2x: `<... poll resumed> )`; with a comment: `<... clone resumed>, flags=…`.
            Some(Body::Detached)
        }
        b'-' => fenced(text, b"--- ", b" ---")
            .filter(|inside| inside.starts_with(b"SIG") || inside.starts_with(b"stopped by "))
            .map(Body::Signal),
        b'+' => fenced(text, b"+++ ", b" +++").map(Body::End),
        b'P' => {
            let rest = text.strip_prefix(b"Process ")?;
            let (_, rest) = decimal(rest)?;
            let known = [&b" attached"[..], b" detached", b" suspended", b" resumed"];
            known
                .iter()
                .any(|word| rest.starts_with(word))
                .then_some(Body::Remark(text))
        }
        b'[' => text
            .starts_with(b"[ Process PID=")
            .then_some(Body::Remark(text)),
        _ => None,
    }
}

fn fenced<'a>(text: &'a [u8], open: &[u8], close: &[u8]) -> Option<&'a [u8]> {
    let inside = text.strip_prefix(open)?;
    let end = lex::find(inside, close)?;
    Some(&inside[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tid, comm, whether a time stands there, and the call's name.
    fn read(text: &str) -> Option<(Option<u32>, Option<&str>, bool, &str)> {
        let (lead, body) = line(text.as_bytes())?;
        let name = match body {
            Body::Call(CallText { name, .. }) | Body::Resumed { name, .. } => name,
            Body::Signal(_) => b"signal",
            Body::End(_) => b"end",
            Body::Remark(_) => b"remark",
            Body::Detached => b"detached",
        };
        let show = |b| std::str::from_utf8(b).unwrap();
        Some((
            lead.tid,
            lead.comm.map(show),
            lead.time.is_some(),
            show(name),
        ))
    }

    #[test]
    fn every_prefix() {
        let rows = [
            ("connect(3, ", None, None, false),
            ("123 connect(3, ", Some(123), None, false),
            ("123   12:34:56 connect(3, ", Some(123), None, true),
            ("12:34:56.123456 connect(3, ", None, None, true),
            ("1795337549.727164 connect(3, ", None, None, true),
            ("1795337549 connect(3, ", None, None, true),
            (
                "123 1795337549.727164123 connect(3, ",
                Some(123),
                None,
                true,
            ),
            ("     0.000071 connect(3, ", None, None, false),
            ("123        0.000071 connect(3, ", Some(123), None, false),
            ("     0 connect(3, ", None, None, false),
            ("[pid   869] 10:07:39.27 connect(3, ", Some(869), None, true),
            ("[pid 869] connect(3, ", Some(869), None, false),
            (
                "[pid 869<a b>] x>] 10:07:39 connect(3, ",
                Some(869),
                Some("a b>] x"),
                true,
            ),
            (
                "11496<main-Send> Thr> 17:00:00 connect(3, ",
                Some(11496),
                Some("main-Send> Thr"),
                true,
            ),
            (
                "123 1795337549.7 (+     0.000071) connect(3, ",
                Some(123),
                None,
                true,
            ),
            ("[00007f1c2d3e4f50] connect(3, ", None, None, false),
            (
                "12:34:56 [  42] [00007f1c2d3e4f50] connect(3, ",
                None,
                None,
                true,
            ),
            ("2026-11-22T10:45:24.5 connect(3, ", None, None, true),
            (
                "7 2026-11-22 10:45:24+01:00 connect(3, ",
                Some(7),
                None,
                true,
            ),
        ];
        for (text, tid, comm, time) in rows {
            assert_eq!(read(text), Some((tid, comm, time, "connect")), "{text}");
        }
    }

    #[test]
    fn other_lines() {
        assert_eq!(read("5 <... poll resumed>) = 0").unwrap().3, "poll");
        assert_eq!(
            read("5 --- SIGSEGV {si_signo=SIGSEGV} ---").unwrap().3,
            "signal"
        );
        assert_eq!(
            read("[pid 5] 10:00:00 +++ exited with 0 +++").unwrap().3,
            "end"
        );
        assert_eq!(read("strace: Process 5 attached").unwrap().3, "remark");
        assert_eq!(
            read("Process 5 attached (waiting for parent)").unwrap().3,
            "remark"
        );
        for text in [
            "",
            "brk@SYS(nil) = 1",
            "100.00    0.000123          12        10           total",
            "--- ----------- ----------- --------- ---------",
            "Connecting to 192.168.110.231:8998",
            "12:34:56",
            "[pid 99999999999999999999] connect(",
            "1: connect(3",
            "[zookeeper]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
