//! Lines about a task's life: signals, ends, attachments, and the marks of split calls.

use super::lex;
use crate::event::LifecycleChange;

/// `SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=5984, …}`, or older `SIGCHLD (Child exited) @ 0 (0)`.
pub fn signal(text: &[u8]) -> LifecycleChange {
    let end = text.iter().position(|b| *b == b' ').unwrap_or(text.len());
    let name = &text[..end];
    let fields = lex::inside(lex::trim(&text[end..]));
    let code = lex::field(&fields, b"si_code").unwrap_or_default();
    if name == b"SIGCHLD"
        && matches!(code, b"CLD_EXITED" | b"CLD_KILLED" | b"CLD_DUMPED")
        && let Some(pid) = lex::field(&fields, b"si_pid").and_then(|v| lex::number(v))
        && let Ok(pid) = u32::try_from(pid.0)
    {
        return LifecycleChange::ChildDied(pid);
    }
    LifecycleChange::Signal(String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned())
}

/// `exited with 0`, `killed by SIGTERM (core dumped)`. A thread `superseded by execve in pid N` lives on as
/// the one that called execve.
pub fn end(text: &[u8]) -> Option<LifecycleChange> {
    if let Some(status) = text.strip_prefix(b"exited with ") {
        let status = i32::try_from(lex::number(status)?.0).ok()?;
        return Some(LifecycleChange::Exited(status));
    }
    let signal = text.strip_prefix(b"killed by ")?;
    let end = signal
        .iter()
        .position(|b| *b == b' ')
        .unwrap_or(signal.len());
    let name = &signal[..end.min(64)];
    Some(LifecycleChange::Killed(
        String::from_utf8_lossy(name).into_owned(),
    ))
}

/// The thread in `Process 5 attached`, also with `strace: ` before it or more behind it.
pub fn attached(text: &[u8]) -> Option<u32> {
    let at = lex::find(text, b"Process ")?;
    let (tid, rest) = lex::number(&text[at + b"Process ".len()..])?;
    rest.starts_with(b" attached")
        .then(|| u32::try_from(tid).ok())
        .flatten()
}

/// What stands before `<unfinished ...>` or `<pid changed to 5 ...>`, and in the second case the id under
/// which the call will be resumed. A call that ended all the same (`= ? <unfinished ...>`) is not split.
pub fn unfinished(args: &[u8]) -> Option<(&[u8], Option<u32>)> {
    // Most lines with a duration end in `>` too.
    if !args.ends_with(b" ...>") {
        return None;
    }
    let (before, tid) = if let Some(before) = args.strip_suffix(b"<unfinished ...>") {
        (before, None)
    } else if let Some(before) = args.strip_suffix(b"<detached ...>") {
        (before, None)
    } else {
        let text = args.strip_suffix(b" ...>")?;
        let from = text.len().saturating_sub(40);
        let at = from + lex::find(&text[from..], b"<pid changed to ")?;
        let (tid, _) = lex::number(&text[at + b"<pid changed to ".len()..])?;
        (&text[..at], u32::try_from(tid).ok())
    };
    let bare = before.trim_ascii_end();
    Some((bare.strip_suffix(b"= ?").map_or(before, |b| b), tid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives() {
        let child = b"SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=5984<sh>, si_uid=0}";
        assert_eq!(signal(child), LifecycleChange::ChildDied(5984));
        let stopped = b"SIGCHLD {si_signo=SIGCHLD, si_code=CLD_STOPPED, si_pid=5984}";
        assert_eq!(signal(stopped), LifecycleChange::Signal("SIGCHLD".into()));
        assert_eq!(
            signal(b"SIGALRM (Alarm clock) @ 0 (0)"),
            LifecycleChange::Signal("SIGALRM".into())
        );
        assert_eq!(end(b"exited with 2"), Some(LifecycleChange::Exited(2)));
        assert_eq!(
            end(b"killed by SIGTERM (core dumped)"),
            Some(LifecycleChange::Killed("SIGTERM".into()))
        );
        assert_eq!(end(b"superseded by execve in pid 5"), None);
        assert_eq!(end(b"exited (status 0)"), None);
        assert_eq!(
            attached(b"strace: Process 5 attached with 3 threads"),
            Some(5)
        );
        assert_eq!(attached(b"strace: Process 5 detached"), None);
    }

    #[test]
    fn marks() {
        assert_eq!(
            unfinished(b"3, <unfinished ...>"),
            Some((&b"3, "[..], None))
        );
        assert_eq!(
            unfinished(b"\"/a\" <pid changed to 77 ...>"),
            Some((&b"\"/a\" "[..], Some(77)))
        );
        assert_eq!(unfinished(b"3) = 4<socket:[7]>"), None);
    }
}
