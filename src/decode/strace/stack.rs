//! The lines that `strace -k` prints below a call, ` > FILE(FUNCTION+0xOFFSET) [0xADDRESS]`, innermost frame first.

use super::{Reader, Sink};
use crate::event::stack::{Frame, MAX_FRAMES, MAX_NAME, MAX_PATH, Stack, StackEnd, cut};
use crate::event::{Event, EventKind, Location};
use crate::time::Timestamp;
use std::sync::Arc;

/// The stack that is being read.
#[derive(Debug, Default)]
pub struct Lines {
    /// The call it belongs to began then; `None`: the line before was no call that was delivered.
    call: Option<Timestamp>,
    /// Its first line.
    number: u64,
    frames: Vec<Frame>,
    end: Option<StackEnd>,
}

impl Lines {
    /// A call was delivered: what follows is its stack.
    pub fn begin(&mut self, at: Timestamp) {
        self.call = Some(at);
    }
}

/// Whether a line is one of a stack.
pub fn is_line(text: &[u8]) -> bool {
    text.starts_with(b" > ")
}

impl Reader {
    /// One line of a stack.
    pub(super) fn frame(&mut self, number: u64, text: &[u8]) {
        self.tally.stacks = true;
        let lines = &mut self.stack;
        if lines.call.is_none() || lines.end.is_some() {
            return;
        }
        if lines.frames.is_empty() {
            lines.number = number;
        }
        match frame(text) {
            StackLine::Frame(_) if lines.frames.len() >= MAX_FRAMES => {
                lines.end = Some(StackEnd::Limit);
            }
            StackLine::Frame(frame) => lines.frames.push(frame),
            StackLine::Unknown(address) => lines.end = Some(StackEnd::Generated { address }),
            StackLine::Other => {}
        }
    }

    /// A line that is not of the stack: it is complete.
    pub(super) fn end_stack(&mut self, sink: Sink<'_>) {
        let Some(at) = self.stack.call.take() else {
            return;
        };
        let end = self.stack.end.take().unwrap_or(StackEnd::Unsaid);
        if self.stack.frames.is_empty() {
            return;
        }
        let frames = std::mem::take(&mut self.stack.frames);
        let place = Location {
            input: self.input,
            number: self.stack.number,
        };
        let what = EventKind::Stack(Arc::new(Stack { frames, end }));
        sink(Event { at, place, what });
    }
}

enum StackLine {
    Frame(Frame),
    /// strace found no file at this address.
    Unknown(u64),
    Other,
}

fn frame(text: &[u8]) -> StackLine {
    let text = String::from_utf8_lossy(&text[3..]);
    let (body, address) = match text.rsplit_once(" [0x") {
        Some((body, rest)) => {
            let digits = rest.strip_suffix(']').unwrap_or(rest);
            (body, u64::from_str_radix(digits, 16).unwrap_or(0))
        }
        // With `-kk` the line of the source stands there instead.
        None => (text.rfind(')').map_or(&*text, |end| &text[..=end]), 0),
    };
    if body == "unexpected_backtracing_error" {
        return StackLine::Unknown(address);
    }
    let Some((module, named)) = split(body) else {
        return StackLine::Other;
    };
    let (function, offset) = match named.rsplit_once("+0x") {
        Some((name, offset)) => (
            Some(cut(name, MAX_NAME).into()),
            u64::from_str_radix(offset, 16).unwrap_or(0),
        ),
        None => (None, 0),
    };
    StackLine::Frame(Frame {
        function,
        offset,
        module: cut(module, MAX_PATH).into(),
        address,
    })
}

/// `FILE(…)`: the file, and what is in the brackets. `FILE` alone has none. A file that was deleted has a bracket of
/// its own behind a blank.
fn split(body: &str) -> Option<(&str, &str)> {
    let open = body
        .match_indices('(')
        .map(|(at, _)| at)
        .find(|at| *at > 0 && !body[..*at].ends_with(' '));
    match open {
        Some(at) => Some((&body[..at], body[at + 1..].strip_suffix(')')?)),
        None => body.starts_with(['/', '[']).then_some((body, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Event> {
        let mut events = Vec::new();
        let mut reader = Reader::new(0);
        for (n, line) in lines.iter().enumerate() {
            reader.line(n as u64 + 1, line.as_bytes(), &mut |e| events.push(e));
        }
        reader.finish("log", &mut |e| events.push(e));
        events
    }

    fn stacks(events: &[Event]) -> Vec<(u64, Arc<Stack>)> {
        let stacks = events.iter().filter_map(|e| match &e.what {
            EventKind::Stack(stack) => Some((e.place.number, stack.clone())),
            _ => None,
        });
        stacks.collect()
    }

    const CONNECT: &str = "connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.1.93\")}, 16) = 0";

    #[test]
    fn a_stack_follows_its_call() {
        let events = read(&[
            " > /usr/lib/libc.so.6(nobody+0x1) [0x1]",
            CONNECT,
            " > /usr/lib/libc.so.6(__connect+0x10) [0x10a7c0]",
            " > /usr/lib/jvm/libjvm.so(PerfMemory::create(unsigned long)+0xf2) [0xc6f6f2]",
            " > /tmp/a b (deleted)(f+0x1) [0x2]",
            " > /usr/bin/getent() [0x47a2]",
            " > unexpected_backtracing_error [0x7fa67100cc48]",
            "getpid() = 1",
            " > /usr/lib/libc.so.6(getpid+0x1) [0x1]",
            CONNECT,
            " > /usr/bin/x(main+0x7) x.c:12",
        ]);
        let stacks = stacks(&events);
        let (number, first) = &stacks[0];
        assert_eq!((*number, stacks.len()), (3, 2));
        let said: Vec<_> = first
            .frames
            .iter()
            .map(|f| (f.file(), f.function.as_deref(), f.offset, f.address))
            .collect();
        assert_eq!(
            said,
            [
                ("libc.so.6", Some("__connect"), 0x10, 0x10_a7c0),
                (
                    "libjvm.so",
                    Some("PerfMemory::create(unsigned long)"),
                    0xf2,
                    0xc6_f6f2
                ),
                ("a b (deleted)", Some("f"), 1, 2),
                ("getent", None, 0, 0x47a2),
            ]
        );
        let address = 0x7fa6_7100_cc48;
        assert_eq!(first.end, StackEnd::Generated { address });
        assert_eq!(stacks[1].1.frames[0].function.as_deref(), Some("main"));
        assert_eq!(stacks[1].1.end, StackEnd::Unsaid);
    }

    #[test]
    fn hostile_stacks_are_bounded() {
        let long = format!(" > /{}({}+0x1) [0x1]", "x".repeat(9_000), "y".repeat(9_000));
        let mut lines = vec![CONNECT];
        lines.extend(std::iter::repeat_n(long.as_str(), 1_000));
        lines.extend([
            " > ",
            " > (",
            " > )",
            " > () [0x",
            " > a(b) [0xzz]",
            " > \u{e9}(",
        ]);
        let stacks = stacks(&read(&lines));
        let frames = &stacks[0].1.frames;
        assert_eq!(
            (frames.len(), stacks[0].1.end),
            (MAX_FRAMES, StackEnd::Limit)
        );
        assert!(frames[0].module.len() <= MAX_PATH);
        assert!(frames[0].function.as_ref().unwrap().len() <= MAX_NAME);
        for odd in &lines[lines.len() - 6..] {
            read(&[CONNECT, odd]);
        }
    }
}
