//! What stands behind a call's arguments: ` = -1 EINPROGRESS (Operation now in progress) <0.000012>`.

use super::{clock, lex};
use crate::event::CallOutcome;
use crate::time::{SECOND, Span};
use std::sync::Arc;

/// Error numbers of x86 and most other machines (Linux `include/uapi/asm-generic/errno*.h`), those that
/// network calls return. Old versions, and raw output (`-X raw`), give numbers only.
const ERRORS: &[(i64, &str)] = &[
    (1, "EPERM"),
    (2, "ENOENT"),
    (4, "EINTR"),
    (5, "EIO"),
    (9, "EBADF"),
    (11, "EAGAIN"),
    (12, "ENOMEM"),
    (13, "EACCES"),
    (14, "EFAULT"),
    (22, "EINVAL"),
    (23, "ENFILE"),
    (24, "EMFILE"),
    (32, "EPIPE"),
    (38, "ENOSYS"),
    (71, "EPROTO"),
    (88, "ENOTSOCK"),
    (89, "EDESTADDRREQ"),
    (90, "EMSGSIZE"),
    (92, "ENOPROTOOPT"),
    (93, "EPROTONOSUPPORT"),
    (95, "EOPNOTSUPP"),
    (97, "EAFNOSUPPORT"),
    (98, "EADDRINUSE"),
    (99, "EADDRNOTAVAIL"),
    (100, "ENETDOWN"),
    (101, "ENETUNREACH"),
    (102, "ENETRESET"),
    (103, "ECONNABORTED"),
    (104, "ECONNRESET"),
    (105, "ENOBUFS"),
    (106, "EISCONN"),
    (107, "ENOTCONN"),
    (110, "ETIMEDOUT"),
    (111, "ECONNREFUSED"),
    (112, "EHOSTDOWN"),
    (113, "EHOSTUNREACH"),
    (114, "EALREADY"),
    (115, "EINPROGRESS"),
    (512, "ERESTARTSYS"),
    (514, "ERESTARTNOHAND"),
    (516, "ERESTART_RESTARTBLOCK"),
];

/// The name of an error number; the number itself when it has no name here.
pub fn error_name(number: i64) -> Arc<str> {
    match ERRORS.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => Arc::from(*name),
        None => Arc::from(number.to_string()),
    }
}

/// A call's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallEnd<'a> {
    /// What it returned.
    pub outcome: CallOutcome,
    /// The whole of the result, for those that say more: `1 ([{fd=3, revents=POLLIN}])`, `3<socket:[7]>`.
    pub text: &'a [u8],
    /// How long it took (`-T`).
    pub lasted: Option<Span>,
}

/// Reads what follows the closing bracket of the arguments; `None` when no result follows.
pub fn read(rest: &[u8]) -> Option<CallEnd<'_>> {
    let text = rest.trim_ascii_start().strip_prefix(b"=")?;
    if !matches!(text.first(), Some(b' ') | None) {
        return None;
    }
    let text = lex::trim(text);
    let (text, lasted) = match duration(text) {
        Some((lasted, before)) => (lex::trim(before), Some(lasted)),
        None => (text, None),
    };
    let outcome = outcome(text)?;
    Some(CallEnd {
        outcome,
        text,
        lasted,
    })
}

fn outcome(text: &[u8]) -> Option<CallOutcome> {
    if let Some(rest) = text.strip_prefix(b"?") {
        let rest = lex::trim(rest);
        return Some(match error_word(rest) {
            Some(name) => CallOutcome::Failed(name),
            None => CallOutcome::Unknown,
        });
    }
    let (value, rest) = lex::number(text)?;
    if value >= 0 {
        return Some(CallOutcome::Returned(value));
    }
    let rest = lex::trim(rest);
    if let Some(name) = error_word(rest) {
        return Some(CallOutcome::Failed(name));
    }
    // `-1 (errno 115)`, `-1 errno=115`, or the kernel's own `-115`.
    if let Some(at) = lex::find(&rest[..rest.len().min(16)], b"errno") {
        let digits = rest[at + 5..].iter().position(u8::is_ascii_digit);
        if let Some((number, _)) = digits.and_then(|d| lex::number(&rest[at + 5 + d..])) {
            return Some(CallOutcome::Failed(error_name(number)));
        }
    }
    Some(CallOutcome::Failed(match value {
        // Without a name: which error it was is not known.
        -1 => Arc::from("-1"),
        _ => error_name(value.saturating_neg()),
    }))
}

/// `EINPROGRESS`; also `ERESTART_RESTARTBLOCK`.
fn error_word(text: &[u8]) -> Option<Arc<str>> {
    let is_name = |b: &&u8| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b'_';
    let length = text.iter().take_while(is_name).count();
    if !(3..=32).contains(&length) || text[0] != b'E' {
        return None;
    }
    std::str::from_utf8(&text[..length]).ok().map(Arc::from)
}

/// The duration at the end of a line (` <0.000012>`), and what stands before it.
pub fn duration(text: &[u8]) -> Option<(Span, &[u8])> {
    if text.last() == Some(&b'>')
        && let Some(found) = duration_at_end(text)
    {
        return Some(found);
    }
    // A comment may follow. Look for the last ` <digit`.
    let mut end = text.len();
    for _ in 0..8 {
        let open = text[..end].iter().rposition(|b| *b == b'<')?;
        let close = text[open..].iter().take(32).position(|b| *b == b'>');
        if let Some(close) = close.filter(|_| open > 0 && text[open - 1] == b' ')
            && let Some(span) = seconds(&text[open + 1..open + close])
        {
            return Some((span, &text[..open]));
        }
        end = open;
    }
    None
}

fn duration_at_end(text: &[u8]) -> Option<(Span, &[u8])> {
    let from = text.len().saturating_sub(32);
    let open = from + text[from..].iter().rposition(|b| *b == b'<')?;
    if open > 0 && text[open - 1] != b' ' {
        return None;
    }
    let span = seconds(&text[open + 1..text.len() - 1])?;
    Some((span, &text[..open]))
}

/// Decimal seconds with nothing around them.
fn seconds(text: &[u8]) -> Option<Span> {
    let (whole, rest) = lex::decimal(text)?;
    let (nanos, _, behind) = clock::fraction(rest);
    let is_short = text.len() - rest.len() <= 9 && rest.len() <= 10;
    (is_short && behind.is_empty()).then(|| Span(whole * SECOND + nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (CallOutcome, Option<Span>) {
        let ending = read(text.as_bytes()).unwrap();
        (ending.outcome, ending.lasted)
    }

    fn failed(name: &str) -> CallOutcome {
        CallOutcome::Failed(name.into())
    }

    #[test]
    fn results() {
        let rows = [
            (" = 0", CallOutcome::Returned(0), None),
            (
                "       = 0 <0.000012>",
                CallOutcome::Returned(0),
                Some(Span(12_000)),
            ),
            (
                " = -1 EINPROGRESS (Operation now in progress)",
                failed("EINPROGRESS"),
                None,
            ),
            (
                " = -1 EINPROGRESS (Die Operation ist <jetzt> im Gange) <1.5>",
                failed("EINPROGRESS"),
                Some(Span(1_500_000_000)),
            ),
            (" = -1 (errno 115)", failed("EINPROGRESS"), None),
            (" = -111", failed("ECONNREFUSED"), None),
            (" = -1", failed("-1"), None),
            (
                " = ? ERESTARTSYS (To be restarted if SA_RESTART is set)",
                failed("ERESTARTSYS"),
                None,
            ),
            (" = ?", CallOutcome::Unknown, None),
            (
                " = 1 ([{fd=3, revents=POLLIN}]) <0.000011>",
                CallOutcome::Returned(1),
                Some(Span(11_000)),
            ),
            (
                " = 4<socket:[13281477]> <0.000012>",
                CallOutcome::Returned(4),
                Some(Span(12_000)),
            ),
            (
                " = 0 <0.000020>   # the culprit <here>",
                CallOutcome::Returned(0),
                Some(Span(20_000)),
            ),
            (" = 0x7f00", CallOutcome::Returned(0x7f00), None),
        ];
        for (text, outcome, lasted) in rows {
            assert_eq!(parsed(text), (outcome, lasted), "{text}");
        }
        for text in ["", " == 3", " = x", "= "] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("<0.000012>", Some(12_000)),
            ("<999999999.999999999>", Some(999_999_999_999_999_999)),
            ("<3>", Some(3 * SECOND)),
            ("<3.>", Some(3 * SECOND)),
            ("<.5>", None),
            ("<1000000000.0>", None),
            ("<0.0000000001>", None),
            ("<0.5s>", None),
        ] {
            let found = duration(text.as_bytes()).map(|(lasted, _)| lasted.0);
            assert_eq!(found, nanos, "{text}");
        }
    }
}
