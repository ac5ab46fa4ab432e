//! Lines of strace's with something in front that another program put there: a page's indent or bullet, grep's file and
//! number, ts's or journald's stamp, the name of a container.
//!
//! Whoever stamps a line does so when it is complete: such a time is that of the call's end.

use super::clock::{self, TimeReading};
use super::interleaved;
use super::prefix::{self, Body, Lead};

/// How many things may stand in front of a line, and how long one of them may be.
const MAX_PARTS: usize = 20;
const MAX_PART: usize = 128;

/// Marks of lists, quotations, patches and shells; a blank follows some of them.
const BULLETS: [&[u8]; 10] = [
    b"* ",
    b"- ",
    b"+ ",
    b"# ",
    b"$ ",
    b"> ",
    b"| ",
    b"`",
    "\u{2022}".as_bytes(),
    "\u{a0}".as_bytes(),
];

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const DAYS: [&[u8]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// The line behind what was put in front of it; `None` when there is none.
pub fn line(text: &[u8]) -> Option<(Lead<'_>, Body<'_>)> {
    find(text).map(|(lead, body, _)| (lead, body))
}

/// The same in a log whose lines name threads: words that hide the thread are a program's output, which ran into the
/// line (`Connecting11496 …`).
pub fn line_of_thread(text: &[u8]) -> Option<(Lead<'_>, Body<'_>)> {
    find(text)
        .filter(|(lead, _, words)| lead.tid.is_some() || !words)
        .map(|(lead, body, _)| (lead, body))
}

/// The line, and whether there were words in front.
fn find(text: &[u8]) -> Option<(Lead<'_>, Body<'_>, bool)> {
    let mut rest = text;
    let mut stamp = None;
    let mut words = false;
    for part in 0..MAX_PARTS {
        if part > 0
            && let Some((mut lead, body)) = prefix::line(rest)
            && interleaved::is_carried(&body, words)
        {
            if lead.time.is_none() && lead.relative.is_none() && stamp.is_some() {
                lead.time = stamp;
                lead.ended = true;
            }
            return Some((lead, body, words));
        }
        rest = without_part(rest, &mut stamp, &mut words)?;
    }
    None
}

/// The text behind the first thing in front. A stamp is noted, and that there were words.
fn without_part<'a>(
    text: &'a [u8],
    stamp: &mut Option<TimeReading>,
    words: &mut bool,
) -> Option<&'a [u8]> {
    let bare = text.trim_ascii_start();
    if bare.len() < text.len() {
        return Some(bare);
    }
    if let Some(rest) = BULLETS.iter().find_map(|mark| text.strip_prefix(*mark)) {
        return Some(rest);
    }
    if let Some((reading, rest)) = stamped(text) {
        *stamp = Some(reading);
        return Some(rest);
    }
    if let Some(inside) = text.strip_prefix(b"[") {
        let end = inside.iter().take(MAX_PART).position(|b| *b == b']')?;
        if let Some((reading, rest)) = stamped_alone(&inside[..end])
            && rest.trim_ascii().is_empty()
        {
            *stamp = Some(reading);
        }
        return Some(&inside[end + 1..]);
    }
    // A word: a host, a program and its pid, a container. Between the colons of grep's the line may begin at once.
    let end = text
        .iter()
        .take(MAX_PART)
        .position(u8::is_ascii_whitespace)?;
    let word = &text[..end];
    *words = true;
    if word.contains(&b'"') {
        return None;
    }
    let behind_colon = (0..end)
        .filter(|at| matches!(word[*at], b':' | b'-'))
        .map(|at| &text[at + 1..])
        .find(|rest| {
            prefix::line(rest).is_some_and(|(_, body)| interleaved::is_carried(&body, true))
        });
    match behind_colon {
        Some(rest) => Some(rest),
        None if word.contains(&b'(') => None,
        None => Some(&text[end..]),
    }
}

/// A stamp that ends at a blank, and what follows it.
fn stamped(text: &[u8]) -> Option<(TimeReading, &[u8])> {
    let (reading, rest) = stamped_alone(text)?;
    rest.first()?
        .is_ascii_whitespace()
        .then_some((reading, rest))
}

/// `13:55:25.123`, `2026-07-01T13:55:25Z`, `1795337549.7`, `Jul  1 13:55:25`, `Wed Jul  1 13:55:25 2026`, with a comma for
/// the point perhaps.
fn stamped_alone(text: &[u8]) -> Option<(TimeReading, &[u8])> {
    if let Some((reading, rest)) = clock::read_any(text) {
        return Some((reading, rest));
    }
    let word = |text: &'_ [u8], words: &[&[u8]]| words.iter().any(|w| text.starts_with(w));
    let mut rest = text;
    if word(rest, &DAYS) {
        rest = rest[3..]
            .strip_prefix(b",")
            .unwrap_or(&rest[3..])
            .trim_ascii_start();
    }
    if !word(rest, &MONTHS) {
        return None;
    }
    let day = rest[3..].trim_ascii_start();
    let digits = day.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=2).contains(&digits) {
        return None;
    }
    let (reading, rest) = clock::read_any(day[digits..].trim_ascii_start())?;
    // date(1) puts the zone and the year behind.
    let year = rest.trim_ascii_start();
    let digits = year.iter().take_while(|b| b.is_ascii_digit()).count();
    let is_year = digits == 4 && (year.starts_with(b"19") || year.starts_with(b"20"));
    let alone = is_year && year.get(4).is_none_or(|b| b" ]".contains(b));
    Some((reading, if alone { &year[4..] } else { rest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_put_in_front_is_seen_through() {
        let call = r#"connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0"#;
        // What stands in front, the thread, whether there is a time, and whether it is that of the end.
        let rows = [
            ("    ", None, false, false),
            ("\t", None, false, false),
            ("  * ", None, false, false),
            ("- ", None, false, false),
            ("\u{2022} ", None, false, false),
            ("\t[pid  77] ", Some(77), false, false),
            ("  10:00:00.000200 ", None, true, false),
            ("\t77 10:00:00.000200 ", Some(77), true, false),
            ("Jul 01 13:55:25 ", None, true, true),
            ("Jul  1 13:55:25 host strace[1234]: ", None, true, true),
            ("Jul 01 13:55:25 [pid 77] ", Some(77), true, true),
            ("Jul 01 13:55:25 77 10:00:00.000200 ", Some(77), true, false),
            (
                "2026-07-01T13:55:25.123+0200 host strace[12]: ",
                None,
                true,
                true,
            ),
            ("2026-07-01T13:55:25Z 10:00:00.000200 ", None, true, false),
            ("2026-07-01 13:55:25,123 INFO ", None, true, true),
            ("1795337549.720000 10:00:00.000200 ", None, true, false),
            ("[2026-07-01 13:55:25] ", None, true, true),
            ("[Wed Jul  1 13:55:25 2026] ", None, true, true),
            ("[Wed Jul  1 13:55:25 CEST 2026] ", None, false, false),
            ("[13:55:25] [pid 77] ", Some(77), true, true),
            ("[pod/web-0/web] ", None, false, false),
            ("web_1  | ", None, false, false),
            ("web-1 | 10:00:00.000200 ", None, true, false),
            ("12:", None, false, false),
            ("12-", None, false, false),
            ("12:10:00:00.000200 ", None, true, false),
            ("trace.log:", None, false, false),
            ("/tmp/a-b.log:12:10:00:00.000200 ", None, true, false),
            ("/tmp/a-b.log-12-77 10:00:00.000200 ", Some(77), true, false),
            ("trace.log:12:[pid 77] ", Some(77), false, false),
            // RFC 5424 section 6.
            (
                "<14>1 2026-07-01T13:55:25Z host app 99 - - ",
                None,
                true,
                true,
            ),
        ];
        for (front, tid, time, ended) in rows {
            let text = format!("{front}{call}");
            let (lead, _) = line(text.as_bytes()).unwrap_or_else(|| panic!("{front:?}"));
            let seen = (lead.tid, lead.time.is_some(), lead.ended);
            assert_eq!(seen, (tid, time, ended), "{front:?}");
        }
    }

    #[test]
    fn what_is_no_line_behind_something_is_not_read() {
        for text in [
            "Connecting to server",
            "",
            "10:00:00 IP 10.0.0.1.5 > 10.0.0.2.53: 1+ A? a. (5)",
            "\"x connect(3, NULL, 0) = 0",
            "main.c:12: warning: connect(fd) failed",
        ] {
            assert!(line(text.as_bytes()).is_none(), "{text}");
        }
        let call = "connect(3, NULL, 0) = -1 EFAULT (Bad address)";
        let glued = format!("Connecting11496 10:00:00.000200 {call}");
        assert!(line(glued.as_bytes()).is_some_and(|(lead, _)| lead.tid.is_none()));
        assert!(line_of_thread(glued.as_bytes()).is_none());
        assert!(line_of_thread(format!("web_1 | 7 10:00:00 {call}").as_bytes()).is_some());
    }
}
