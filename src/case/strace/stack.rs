//! Stacks as `strace -k` prints them.

use crate::event::stack::{Stack, StackEnd};
use crate::render::safe::escape;
use std::io::{self, Write};

/// Writes a stack as the lines below its call.
pub fn write(stack: &Stack, out: &mut dyn Write) -> io::Result<()> {
    for frame in &stack.frames {
        write!(out, " > {}(", escape(&frame.module))?;
        if let Some(function) = &frame.function {
            write!(out, "{}+0x{:x}", escape(function), frame.offset)?;
        }
        writeln!(out, ") [0x{:x}]", frame.address)?;
    }
    if let StackEnd::Generated { address } = stack.end {
        writeln!(out, " > unexpected_backtracing_error [0x{address:x}]")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::strace::Reader;
    use crate::event::EventKind;
    use crate::event::stack::Frame;

    #[test]
    fn what_is_written_is_read() {
        let frame = |function: Option<&str>, module: &str| Frame {
            function: function.map(Into::into),
            offset: if function.is_some() { 0x1f } else { 0 },
            module: module.into(),
            address: 0x10_a7c0,
        };
        let stack = Stack {
            frames: vec![
                frame(Some("getnameinfo"), "/usr/lib/libc.so.6"),
                frame(Some("net.(*Resolver).exchange"), "/opt/a b (deleted)"),
                frame(None, "/usr/bin/getent"),
                frame(Some("operator+(A<int>, B)"), "[vdso]"),
            ],
            end: StackEnd::Generated { address: 0x7f00 },
        };
        let mut log = b"connect(3, {sa_family=AF_UNIX, sun_path=\"/run/x\"}, 110) = 0\n".to_vec();
        write(&stack, &mut log).unwrap();
        let mut read = Vec::new();
        let mut reader = Reader::new(0);
        for (n, line) in log.split(|b| *b == b'\n').enumerate() {
            reader.line(n as u64 + 1, line, &mut |e| read.push(e));
        }
        reader.finish("log", &mut |e| read.push(e));
        let found = read.iter().find_map(|e| match &e.what {
            EventKind::Stack(stack) => Some(stack),
            _ => None,
        });
        assert_eq!(**found.unwrap(), stack);
    }

    #[test]
    fn a_name_cannot_begin_a_line() {
        let frame = Frame {
            function: Some("f\n+++ exited with 0 +++".into()),
            offset: 0,
            module: "/tmp/\u{1b}[2J".into(),
            address: 0,
        };
        let stack = Stack {
            frames: vec![frame],
            end: StackEnd::Outermost,
        };
        let mut log = Vec::new();
        write(&stack, &mut log).unwrap();
        let log = String::from_utf8(log).unwrap();
        assert_eq!(log.lines().count(), 1);
        assert!(!log.contains('\u{1b}'));
    }
}
