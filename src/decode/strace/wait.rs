//! `poll`, `select`, `epoll_wait` and their relatives: who is waited for, who was ready, how long at most.

use super::{descriptor, lex};
use crate::event::{Fd, Op, TimeoutForm, WaitSet};
use crate::time::Span;

/// Reads a waiting call. `result` is the text behind ` = `.
pub fn read(set: WaitSet, form: TimeoutForm, items: &[&[u8]], result: &[u8]) -> Op {
    let item = |at: usize| items.get(at).copied().unwrap_or_default();
    let timeout = item(set.timeout_at());
    let timeout = match form {
        TimeoutForm::Millis => millis(timeout),
        TimeoutForm::Timeval | TimeoutForm::Timespec => spec(timeout, form.fraction()),
    };
    let (fds, ready) = match set {
        WaitSet::Poll => (polled(item(0)), returned(result)),
        WaitSet::Select => {
            let mut fds: Vec<Fd> = Vec::new();
            for set in 1..4 {
                for fd in set_of(item(set)) {
                    if !fds.iter().any(|known| known.number == fd.number) {
                        fds.push(fd);
                    }
                }
            }
            (fds, selected(result))
        }
        WaitSet::Epoll => (Vec::new(), epolled(item(1))),
    };
    Op::Wait {
        fds,
        ready,
        timeout,
    }
}

/// Reads `restart_syscall(<... resuming interrupted poll ...>)`.
pub fn resumed(items: &[&[u8]], result: &[u8]) -> Option<Op> {
    let what = items.first()?;
    let waits = [&b" poll"[..], b" ppoll", b" select", b" pselect", b" epoll"];
    let is_wait = waits.iter().any(|name| lex::find(what, name).is_some());
    is_wait.then(|| Op::Wait {
        fds: Vec::new(),
        ready: returned(result),
        timeout: None,
    })
}

/// How many descriptors of one wait are kept.
const MAX_FDS: usize = 1024;

/// `[{fd=3<…>, events=POLLIN}, …]`
fn polled(value: &[u8]) -> Vec<Fd> {
    let fd = |item: &&[u8]| lex::field(&lex::inside(item), b"fd").and_then(descriptor::fd);
    lex::inside(value)
        .iter()
        .filter_map(fd)
        .take(MAX_FDS)
        .collect()
}

/// `1 ([{fd=3, revents=POLLIN}], left {…})`
fn returned(result: &[u8]) -> Vec<i32> {
    let Some(at) = lex::find(result, b"([") else {
        return Vec::new();
    };
    let items = lex::inside(&result[at + 1..]);
    let readable = items.iter().filter(|item| {
        let fields = lex::inside(item);
        lex::field(&fields, b"revents").is_none_or(|events| events != b"POLLOUT")
    });
    let fd = |item: &&[u8]| lex::field(&lex::inside(item), b"fd").and_then(descriptor::fd);
    let ready = readable.filter_map(fd).map(|fd| fd.number);
    ready.take(MAX_FDS).collect()
}

/// `[3<TCP:[…]> 4]`, `[3 4]`; with annotations that hold blanks.
fn set_of(value: &[u8]) -> Vec<Fd> {
    let mut fds = Vec::new();
    let Some(mut rest) = value.strip_prefix(b"[") else {
        return fds;
    };
    while fds.len() < MAX_FDS
        && let Some((_, after)) = lex::number(rest.trim_ascii_start())
    {
        fds.extend(descriptor::fd(rest.trim_ascii_start()));
        rest = match after.first() {
            Some(b'<') => match lex::annotation_end(after, 0) {
                Some(end) => &after[end..],
                None => break,
            },
            _ => after,
        };
        rest = rest.strip_prefix(b",").unwrap_or(rest);
    }
    fds
}

/// `2 (in [3], out [3 4], left {tv_sec=0, tv_usec=5})`
fn selected(result: &[u8]) -> Vec<i32> {
    let mut ready = Vec::new();
    let mut rest = result;
    while let Some(at) = rest.iter().position(|b| *b == b'[') {
        let writable = rest[..at].ends_with(b"out ");
        for fd in set_of(&rest[at..]) {
            if !writable && !ready.contains(&fd.number) {
                ready.push(fd.number);
            }
        }
        rest = &rest[at + 1..];
        if ready.len() >= MAX_FDS {
            break;
        }
    }
    ready
}

/// `[{events=EPOLLIN, data={u32=7, u64=7}}]`: the data are the program's own. Where both views agree on a
/// small number it is the descriptor, as the manual page's example has it; a pointer never is that small.
fn epolled(value: &[u8]) -> Vec<i32> {
    let fd = |item: &&[u8]| {
        let fields = lex::inside(item);
        let data = lex::inside(lex::field(&fields, b"data")?);
        let number = |name| lex::field(&data, name).and_then(lex::number).map(|n| n.0);
        let narrow = number(b"u32")?;
        let agree = number(b"u64").is_none_or(|wide| wide == narrow);
        (agree && narrow < 1 << 20)
            .then(|| i32::try_from(narrow).ok())
            .flatten()
    };
    lex::inside(value)
        .iter()
        .filter_map(fd)
        .take(MAX_FDS)
        .collect()
}

/// Milliseconds; a negative number is for ever, also where it was printed unsigned.
fn millis(value: &[u8]) -> Option<Span> {
    let (number, _) = lex::number(value)?;
    let number = i32::try_from(number)
        .or_else(|_| u32::try_from(number).map(u32::cast_signed))
        .ok()?;
    (number >= 0).then(|| Span::millis(i64::from(number)))
}

/// `{tv_sec=5, tv_nsec=0}`, `{5, 0}`, `NULL`; `unit` nanoseconds make one of the second number. A changed
/// value may follow (`{…} => {…}`).
fn spec(value: &[u8], unit: i64) -> Option<Span> {
    let fields = lex::inside(value);
    let seconds = lex::number(lex::named(fields.first()?).1)?.0;
    let parts = lex::number(lex::named(fields.get(1)?).1)?.0;
    let nanos = parts.saturating_mul(unit);
    Some(Span(Span::seconds(seconds).0.saturating_add(nanos)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use TimeoutForm::{Millis, Timespec, Timeval};
    use WaitSet::{Epoll, Poll, Select};

    fn wait(
        (set, form): (WaitSet, TimeoutForm),
        args: &str,
        result: &str,
    ) -> (Vec<i32>, Vec<i32>, Option<Span>) {
        let list = lex::list(args.as_bytes(), b')');
        match read(set, form, &list.items, result.as_bytes()) {
            Op::Wait {
                fds,
                ready,
                timeout,
            } => (fds.iter().map(|fd| fd.number).collect(), ready, timeout),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn polls() {
        let args = "[{fd=3<UDP:[1.1.1.1:5->2.2.2.2:53]>, events=POLLIN}, {fd=4, events=POLLOUT}], 2, 5000)";
        assert_eq!(
            wait(
                (Poll, Millis),
                args,
                "1 ([{fd=3<UDP:[x]>, revents=POLLIN}])"
            ),
            (vec![3, 4], vec![3], Some(Span::seconds(5)))
        );
        assert_eq!(
            wait((Poll, Millis), "NULL, 0, -1)", "? ERESTART"),
            (vec![], vec![], None)
        );
        assert_eq!(
            wait((Poll, Millis), "[{fd=3, events=0}], 1, 4294967295)", "0").2,
            None
        );
        assert_eq!(
            wait(
                (Poll, Timespec),
                "[{fd=7, events=POLLIN}], 1, {tv_sec=1, tv_nsec=5}, NULL, 8)",
                "1 ([{fd=7, revents=POLLIN}], left {tv_sec=0, tv_nsec=9})"
            ),
            (vec![7], vec![7], Some(Span(1_000_000_005)))
        );
        assert_eq!(
            wait((Poll, Timespec), "[{fd=7}], 1, NULL, NULL, 8)", "1").2,
            None
        );
    }

    #[test]
    fn selects() {
        assert_eq!(
            wait(
                (Select, Timeval),
                "8, [3<TCP:[1.1.1.1:1->2.2.2.2:2]> 7], [7], NULL, {tv_sec=1, tv_usec=5})",
                "2 (in [3], out [7], left {tv_sec=0, tv_usec=1})"
            ),
            (vec![3, 7], vec![3], Some(Span(1_000_005_000)))
        );
        assert_eq!(
            wait(
                (Select, Timeval),
                "1, [0], NULL, NULL, {900, 0})",
                "0 (Timeout)"
            )
            .2,
            Some(Span::seconds(900))
        );
        assert_eq!(
            wait(
                (Select, Timespec),
                "1, [0], [], [], NULL, NULL)",
                "1 (in [0])"
            ),
            (vec![0], vec![0], None)
        );
    }

    #[test]
    fn epolls() {
        let args = "5<anon_inode:[eventpoll]>, [{events=EPOLLIN, data={u32=7, u64=7}}, {events=EPOLLIN, data={u32=4026531841, u64=140000}}], 128, 4998)";
        assert_eq!(
            wait((Epoll, Millis), args, "2"),
            (vec![], vec![7], Some(Span::millis(4998)))
        );
        assert_eq!(
            wait((Epoll, Millis), "5, [], 128, -1)", "0"),
            (vec![], vec![], None)
        );
    }

    #[test]
    fn restarted() {
        let list = lex::list(b"<... resuming interrupted poll ...>) = 0", b')');
        assert!(resumed(&list.items, b"0").is_some());
        let list = lex::list(b"<... resuming interrupted futex ...>) = 0", b')');
        assert!(resumed(&list.items, b"0").is_none());
    }
}
