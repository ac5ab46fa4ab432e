//! Logs that went through other hands: a log collector, a pager, a web page, a mail, a narrow terminal.
//!
//! What must be undone is judged once, from the beginning of a log; most logs are as strace wrote them and pay nothing.
//! What another program put in front of a line is not judged here but line by line (`carried`).

use super::interleaved::{self, Shape};
use super::prefix::{self, Body, CallText, Lead};
use super::{call, carried, clock::TimeReading, lex};
use crate::event::{CallOutcome, Op, Syscall};
use serde_json::{Map, Value};

/// How many lines of the beginning are looked at.
const SAMPLE: usize = 512;

/// No terminal is narrower.
const NARROWEST: usize = 40;

/// The longest line that is put together from parts.
const LONGEST: usize = 1 << 20;

/// A wait that timed out after less than this does not show on which side of it a time stands.
const TELLING_WAIT: i64 = 1_000_000_000;

/// Keys under which log collectors store the line (docker, journald, fluentd, the usual loggers), and its time.
const TEXTS: [&str; 6] = ["log", "MESSAGE", "message", "msg", "line", "text"];
const TIMES: [&str; 4] = ["time", "timestamp", "@timestamp", "ts"];

/// Tags that pages leave in what is copied from their source.
const TAGS: [&[u8]; 9] = [
    b"br", b"pre", b"code", b"p", b"div", b"span", b"li", b"tt", b"samp",
];

/// What pages make of characters, and the characters.
const ENTITIES: [(&[u8], &[u8]); 12] = [
    (b"&quot;", b"\""),
    (b"&#34;", b"\""),
    (b"&#x22;", b"\""),
    (b"&gt;", b">"),
    (b"&#62;", b">"),
    (b"&lt;", b"<"),
    (b"&#60;", b"<"),
    (b"&apos;", b"'"),
    (b"&#39;", b"'"),
    (b"&nbsp;", b" "),
    (b"&#124;", b"|"),
    (b"&amp;", b"&"),
];

/// What text processors make of quotes, dots and dashes, in UTF-8.
const TYPOGRAPHY: [(&[u8], &[u8]); 9] = [
    ("\u{201c}".as_bytes(), b"\""),
    ("\u{201d}".as_bytes(), b"\""),
    ("\u{201e}".as_bytes(), b"\""),
    ("\u{2018}".as_bytes(), b"'"),
    ("\u{2019}".as_bytes(), b"'"),
    ("\u{2026}".as_bytes(), b"..."),
    ("\u{2014}".as_bytes(), b"--"),
    ("\u{2013}".as_bytes(), b"-"),
    ("\u{a0}".as_bytes(), b" "),
];

/// What must be undone before the lines of a log are read.
#[derive(Debug, Default)]
pub struct Dressing {
    /// Each line is an object of a log collector.
    json: bool,
    /// RFC 2045 section 6.7.
    quoted_printable: bool,
    /// Entities and tags of a page, or typographic quotes.
    page: bool,
    /// Each line begins with its number, as `cat -n` writes it.
    numbered: bool,
    /// Lines were cut at this many characters and go on in the next line.
    width: Option<usize>,
    /// The times stand at the ends of the calls: a program stamped each line when it was complete.
    ends: bool,
    /// The times that another program put in front are those of the beginnings, as strace's own would be.
    begins: bool,
    /// The first time in the sample.
    pub opening: Option<TimeReading>,
    soft: Vec<u8>,
    held: Option<HeldLine>,
}

/// A line that may go on.
#[derive(Debug)]
struct HeldLine {
    line: LogLine,
    full: bool,
}

/// A line as strace wrote it, or nearly.
#[derive(Debug)]
pub struct LogLine {
    /// The number of its first line in the file.
    pub number: u64,
    /// Its text.
    pub text: Vec<u8>,
    /// Its time is that of its end.
    pub ended: bool,
}

impl Dressing {
    /// Judges the beginning of a log.
    pub fn of(sample: &[u8]) -> Self {
        let sample = without_mark(sample);
        let lines: Vec<&[u8]> = sample
            .split(|b| *b == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .take(SAMPLE)
            .collect();
        let has = |needle: &[u8]| lex::find(sample, needle).is_some();
        let mut this = Self {
            json: lines.iter().find(|l| !l.is_empty()).is_some_and(|l| {
                l.starts_with(b"{") && object(l).is_some_and(|o| text_of(&o).is_some())
            }),
            quoted_printable: has(b"=3D") && lines.iter().any(|l| l.ends_with(b"=")),
            ..Self::default()
        };
        // Bytes of a payload may look like that too: only where strace's own quotes and arrows do.
        let marks: [&[u8]; 16] = [
            b"(&quot;",
            b"&quot;,",
            b"&quot;)",
            b"-&gt;",
            b"&lt;unfinished",
            b"&lt;0.",
            b"(&#34;",
            b"<br",
            b"resumed&gt;",
            "(\u{201c}".as_bytes(),
            ", \u{201c}".as_bytes(),
            // Some write one sign on both sides, or the opening one below.
            "(\u{201d}".as_bytes(),
            ", \u{201d}".as_bytes(),
            "(\u{201e}".as_bytes(),
            ", \u{201e}".as_bytes(),
            // Copied from a page that keeps blanks apart.
            ",\u{a0}".as_bytes(),
        ];
        this.page = marks.into_iter().any(has);
        this.numbered = is_numbered(&this.clean(&lines));
        let clean = this.clean(&lines);
        this.width = width(&clean);
        let clean = this.clean(&lines);
        this.ends = sides(&clean, Stamps::OwnWithoutDurations) == (true, false);
        this.begins = sides(&clean, Stamps::Carried) == (false, true);
        let read = |line: &Vec<u8>| prefix::line(line).or_else(|| carried::line(line))?.0.time;
        this.opening = clean.iter().find_map(read);
        this.soft.clear();
        this.held = None;
        this
    }

    /// The lines of the sample, undone as far as is known by now.
    fn clean(&mut self, lines: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut clean = Vec::new();
        for (number, line) in lines.iter().enumerate() {
            for line in self.lines_of(line) {
                clean.extend(self.undo(number as u64, line).map(|line| line.text));
            }
        }
        clean.extend(self.finish().map(|line| line.text));
        clean
    }

    /// Whether the time that another program put in front of a line is that of the call's end: it is stamped when it is
    /// complete, unless waits show otherwise.
    pub fn carried_times_end(&self) -> bool {
        !self.begins
    }

    /// Whether lines can be read as they are.
    pub fn is_none(&self) -> bool {
        !(self.json
            || self.quoted_printable
            || self.page
            || self.numbered
            || self.ends
            || self.width.is_some())
    }

    /// The lines that a line of the file holds, each to be given to [`Self::undo`].
    pub fn lines_of<'a>(&self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let breaks = self.page.then(|| broken(text));
        let whole = breaks.is_none().then_some(text);
        breaks.into_iter().flatten().chain(whole)
    }

    /// Takes the next line of the file; gives one that is complete, usually the same.
    pub fn undo(&mut self, number: u64, text: &[u8]) -> Option<LogLine> {
        let mut line = LogLine {
            number,
            text: text.to_vec(),
            ended: self.ends,
        };
        if self.quoted_printable {
            let (decoded, soft) = quoted_printable(&line.text);
            self.soft.extend_from_slice(&decoded);
            if soft && self.soft.len() < LONGEST {
                return None;
            }
            line.text = std::mem::take(&mut self.soft);
        }
        if self.json {
            unpack(&mut line);
        }
        if self.page {
            line.text = unpaged(&line.text);
        }
        if self.numbered
            && let Some((_, rest)) = line_number(&line.text)
        {
            line.text = rest.to_vec();
        }
        let Some(width) = self.width else {
            return Some(line);
        };
        let full = characters(&line.text) == width;
        match &mut self.held {
            Some(held)
                if held.full
                    && goes_on(&held.line.text, &line.text)
                    && held.line.text.len() < LONGEST =>
            {
                held.line.text.extend_from_slice(&line.text);
                held.full = full;
                None
            }
            held => held.replace(HeldLine { line, full }).map(|held| held.line),
        }
    }

    /// The last line.
    pub fn finish(&mut self) -> Option<LogLine> {
        let soft = std::mem::take(&mut self.soft);
        let last = self.held.take().map(|held| held.line);
        last.or_else(|| {
            (!soft.is_empty()).then_some(LogLine {
                number: 0,
                text: soft,
                ended: self.ends,
            })
        })
    }
}

fn object(line: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(line).ok()
}

fn text_of(object: &Map<String, Value>) -> Option<&str> {
    TEXTS.iter().find_map(|key| object.get(*key)?.as_str())
}

/// The line within an object of a log collector; its stamp serves where the line has no time.
fn unpack(line: &mut LogLine) {
    let Some(object) = object(&line.text) else {
        return;
    };
    let Some(text) = text_of(&object) else {
        return;
    };
    let text = text.trim_end_matches(['\n', '\r']);
    let timed = prefix::line(text.as_bytes())
        .is_some_and(|(lead, _)| lead.time.is_some() || lead.relative.is_some());
    let stamp = TIMES.iter().find_map(|key| object.get(*key)?.as_str());
    line.text = match stamp.filter(|_| !timed) {
        Some(stamp) => {
            line.ended = true;
            format!("{stamp} {text}").into_bytes()
        }
        None => text.as_bytes().to_vec(),
    };
}

/// The bytes of a quoted-printable line, and whether it goes on.
fn quoted_printable(text: &[u8]) -> (Vec<u8>, bool) {
    let (text, soft) = match text.strip_suffix(b"=") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
        let escaped = digit(at + 1).zip(digit(at + 2)).filter(|_| byte == b'=');
        let (byte, length) = escaped.map_or((byte, 1), |(high, low)| {
            (u8::try_from(high << 4 | low).unwrap_or(b'?'), 3)
        });
        out.push(byte);
        at += length;
    }
    (out, soft)
}

/// Without tags, entities and typographic signs.
fn unpaged(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    'next: while let Some((&byte, more)) = rest.split_first() {
        if byte == b'<'
            && let Some(length) = tag(rest)
        {
            rest = &rest[length..];
            continue;
        }
        if byte == b'&' || byte >= 0x80 {
            for (sign, plain) in ENTITIES.iter().chain(&TYPOGRAPHY) {
                if let Some(after) = rest.strip_prefix(*sign) {
                    out.extend_from_slice(plain);
                    rest = after;
                    continue 'next;
                }
            }
        }
        out.push(byte);
        rest = more;
    }
    out
}

/// The lines between the breaks of a page.
fn broken(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let mut from = 0;
        while let Some(at) = lex::find(&text[from..], b"<br") {
            let (line, end) = text.split_at(from + at);
            if let Some(length) = tag(end) {
                // What follows the last break is the end of the line.
                rest = Some(&end[length..]).filter(|rest| !rest.trim_ascii().is_empty());
                return Some(line);
            }
            from += at + 1;
        }
        Some(text)
    })
}

/// The length of the tag at the beginning. `<unfinished ...>` and `<0.000123>` are strace's.
fn tag(text: &[u8]) -> Option<usize> {
    let inside = text.strip_prefix(b"<")?;
    let name = inside.strip_prefix(b"/").unwrap_or(inside);
    let end = name
        .iter()
        .position(|b| !b.is_ascii_alphanumeric())
        .filter(|end| {
            TAGS.iter()
                .any(|tag| name[..*end].eq_ignore_ascii_case(tag))
        })?;
    matches!(name[end], b'>' | b' ' | b'/').then_some(())?;
    let close = text.iter().take(256).position(|b| *b == b'>')?;
    Some(close + 1)
}

/// How many characters a terminal shows.
fn characters(text: &[u8]) -> usize {
    // Bytes 0x80 to 0xbf continue a character (RFC 3629).
    text.iter().filter(|b| **b & 0xc0 != 0x80).count()
}

/// The number at the beginning of a line, and the line.
fn line_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let number = std::str::from_utf8(text.get(..digits)?)
        .ok()?
        .parse()
        .ok()?;
    let (separator, rest) = text[digits..].split_first()?;
    matches!(separator, b'\t' | b' ' | b':' | b'|' | b'.').then_some((number, rest))
}

/// Whether the lines are numbered without a gap: neither threads nor times count like that.
fn is_numbered(lines: &[Vec<u8>]) -> bool {
    let mut last = None;
    let mut count = 0;
    for line in lines.iter().filter(|line| !line.trim_ascii().is_empty()) {
        // The sample may end inside a line.
        let Some((number, _)) = line_number(line) else {
            return false;
        };
        if last.is_some_and(|last: u64| last.checked_add(1) != Some(number)) {
            return false;
        }
        last = Some(number);
        count += 1;
    }
    count >= 3
}

/// The width at which a terminal or a form cut the lines, if it did: many lines have it, none is longer, and calls are
/// whole only when such lines are joined.
fn width(lines: &[Vec<u8>]) -> Option<usize> {
    let width = lines.iter().map(|line| characters(line)).max()?;
    if width < NARROWEST {
        return None;
    }
    let (mut mended, mut others) = (0, 0);
    let mut at = 0;
    while at < lines.len() {
        let mut joined = lines[at].clone();
        let mut last = at;
        if !is_whole(&joined) {
            while characters(&lines[last]) == width
                && let Some(next) = lines.get(last + 1)
                && goes_on(&joined, next)
                && joined.len() < LONGEST
            {
                joined.extend_from_slice(next);
                last += 1;
            }
            if last > at {
                *(if is_whole(&joined) {
                    &mut mended
                } else {
                    &mut others
                }) += 1;
            }
        }
        at = last + 1;
    }
    (mended > others).then_some(width)
}

/// Whether a line is a whole one of strace's.
fn is_whole(text: &[u8]) -> bool {
    match prefix::line(text).or_else(|| carried::line(text)) {
        Some((_, Body::Call(CallText { syscall, args, .. }))) => {
            args.ends_with(b" ...>") || call::read(syscall, args).is_some()
        }
        Some(_) => true,
        None => false,
    }
}

/// Whether a line may be the rest of the one before it: it does not begin like it.
fn goes_on(before: &[u8], text: &[u8]) -> bool {
    let read = |text| prefix::line(text).or_else(|| carried::line(text));
    match (read(before), read(text)) {
        (Some((first, _)), Some((lead, Body::Call(CallText { syscall, .. })))) => {
            syscall == Syscall::Unknown || Shape::of(&first) != Shape::of(&lead)
        }
        (_, Some((lead, _))) => lead.time.is_none() && lead.tid.is_none(),
        _ => true,
    }
}

/// Which times are looked at to find on which side of its line a wait went by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stamps {
    /// Those that stand where strace's would, in a log without durations: with durations they are strace's.
    OwnWithoutDurations,
    /// Those that another program put in front.
    Carried,
}

impl Stamps {
    fn read(self, line: &[u8]) -> Option<(Lead<'_>, Body<'_>)> {
        match self {
            Self::OwnWithoutDurations => prefix::line(line),
            Self::Carried => carried::line(line).filter(|(lead, _)| lead.ended),
        }
    }
}

/// Whether long waits show that the time went by before their line, and whether after it: times stand at the ends of the
/// calls where only the first is so, at their beginnings where only the second is.
fn sides(lines: &[Vec<u8>], stamps: Stamps) -> (bool, bool) {
    let nanos = |reading| match reading {
        TimeReading::Epoch { nanos, .. }
        | TimeReading::Day { nanos, .. }
        | TimeReading::Date { nanos, .. } => Some(nanos),
        TimeReading::Relative { .. } => None,
    };
    let mut calls: Vec<(i64, Option<u32>, Option<i64>)> = Vec::new();
    for line in lines {
        let Some((lead, Body::Call(CallText { syscall, args, .. }))) = stamps.read(line) else {
            continue;
        };
        let Some(at) = lead.time.and_then(nanos) else {
            continue;
        };
        let parsed = call::read(syscall, args);
        let lasted = parsed.as_ref().and_then(|p| p.lasted).map(|span| span.0);
        if lasted.is_some() && stamps == Stamps::OwnWithoutDurations {
            return (false, false);
        }
        let waited = parsed.and_then(|parsed| match (parsed.op, parsed.outcome) {
            (Some(Op::Wait { timeout, .. }), CallOutcome::Returned(0)) => timeout.map(|t| t.0),
            _ => None,
        });
        calls.push((at, lead.tid, lasted.or(waited)));
    }
    // Lines of threads interleave; the sort is stable.
    calls.sort_by_key(|(_, tid, _)| *tid);
    let (mut before, mut after) = (false, false);
    for three in calls.windows(3) {
        let [(earlier, a, _), (at, b, Some(waited)), (later, c, _)] = three else {
            continue;
        };
        if a != b || b != c || *waited < TELLING_WAIT {
            continue;
        }
        // A clock of whole seconds is a second off.
        let least = (waited - TELLING_WAIT).max(1);
        before |= at - earlier >= least && later - at < least;
        after |= later - at >= least;
    }
    (before, after)
}

/// The text behind the byte order mark that some editors and shells put before UTF-8.
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

/// Whether the beginning of a file is a log once it is undone.
pub fn is_log(sample: &[u8]) -> bool {
    let sample = without_mark(sample);
    let mut dressing = Dressing::of(sample);
    let mut lines = Vec::new();
    for line in sample.split(|b| *b == b'\n').take(SAMPLE) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        for line in dressing.lines_of(line) {
            lines.extend(dressing.undo(0, line));
        }
    }
    lines.extend(dressing.finish());
    lines.iter().any(|line| interleaved::is_line(&line.text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [&str; 4] = [
        r#"10:00:00.000200 connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 0"#,
        r#"10:00:00.000300 sendto(3, "\22\64\1\0\0\1\0\0\0\0\0\0\3www\7example\3com\0\0\1\0\1", 33, MSG_NOSIGNAL, NULL, 0) = 33"#,
        "10:00:00.000400 poll([{fd=3, events=POLLIN}], 1, 5000) = 0 (Timeout)",
        "10:00:05.005500 close(3) = 0",
    ];

    fn undone(text: &str) -> Vec<String> {
        let mut dressing = Dressing::of(text.as_bytes());
        let mut lines = Vec::new();
        for line in text.lines() {
            for line in dressing.lines_of(line.as_bytes()) {
                lines.extend(dressing.undo(0, line));
            }
        }
        lines.extend(dressing.finish());
        lines
            .into_iter()
            .map(|line| String::from_utf8(line.text).unwrap())
            .collect()
    }

    #[test]
    fn a_plain_log_is_left_alone() {
        assert!(Dressing::of(LOG.join("\n").as_bytes()).is_none());
    }

    #[test]
    fn lines_cut_at_any_width_are_joined() {
        for width in [40, 41, 60, 72, 79, 80, 99, 100, 110] {
            let mut text = String::new();
            for line in LOG {
                let characters: Vec<char> = line.chars().collect();
                for part in characters.chunks(width) {
                    text.extend(part);
                    text.push('\n');
                }
            }
            assert_eq!(undone(&text), LOG, "{width}");
        }
    }

    #[test]
    fn pages_numbers_mails_and_collectors_are_undone() {
        let escape = |line: &str| {
            line.replace('&', "&amp;")
                .replace('"', "&quot;")
                .replace('>', "&gt;")
        };
        let page: Vec<String> = LOG.map(|l| format!("{}<br />", escape(l))).into();
        assert_eq!(undone(&page.join("\n")), LOG);
        let one_line = LOG.map(|l| escape(l).replace(' ', "&nbsp;")).join("<br>");
        assert_eq!(undone(&format!("<pre>{one_line}</pre>")), LOG);
        let quotes: Vec<String> = LOG
            .map(|l| l.replace("(\"", "(\u{201c}").replace('"', "\u{201d}"))
            .into();
        assert_eq!(undone(&quotes.join("\n")), LOG);
        let one_sign = LOG.join("\n").replace('"', "\u{201d}");
        assert_eq!(undone(&one_sign), LOG);
        let blanks = LOG
            .join("\n")
            .replace(", ", ",\u{a0}")
            .replace(" = ", "\u{a0}=\u{a0}");
        assert_eq!(undone(&blanks), LOG);
        let numbered: Vec<String> = (1..).zip(LOG).map(|(n, l)| format!("{n:6}\t{l}")).collect();
        assert_eq!(undone(&numbered.join("\n")), LOG);
        let mail: Vec<String> = LOG
            .map(|l| {
                let (head, tail) = l.split_at(50.min(l.len() - 1));
                format!(
                    "{}=\n{}",
                    head.replace('=', "=3D"),
                    tail.replace('=', "=3D")
                )
            })
            .into();
        assert_eq!(undone(&mail.join("\n")), LOG);
        let json: Vec<String> = LOG
            .map(|l| {
                serde_json::json!({"log": format!("{l}\n"), "stream": "stderr", "time": "2026-07-01T13:55:25Z"})
                    .to_string()
            })
            .into();
        assert_eq!(undone(&json.join("\n")), LOG);
    }

    #[test]
    fn a_wait_shows_which_end_a_time_is_of() {
        assert!(!Dressing::of(LOG.join("\n").as_bytes()).ends);
        let ended = LOG.join("\n").replace("10:00:00.000400", "10:00:05.005450");
        assert!(Dressing::of(ended.as_bytes()).ends);
    }

    #[test]
    fn a_wait_shows_which_end_a_carried_time_is_of() {
        let bracketed = |log: &str| {
            let lines = log.lines().map(|line| {
                let (time, call) = line.split_once(' ').unwrap();
                format!("[2026-07-01 {time}] {call}")
            });
            lines.collect::<Vec<String>>().join("\n")
        };
        let begun = LOG.join("\n");
        let ended = begun.replace("10:00:00.000400", "10:00:05.005450");
        for (log, end) in [(&begun, false), (&ended, true)] {
            for duration in ["", " <5.005030>"] {
                let log = log.replace("(Timeout)", &format!("(Timeout){duration}"));
                let dressing = Dressing::of(bracketed(&log).as_bytes());
                assert_eq!(dressing.carried_times_end(), end, "{log}");
            }
        }
        // Nothing shows it: who stamps a line does so when it is complete.
        let short = bracketed(&LOG[..2].join("\n"));
        assert!(Dressing::of(short.as_bytes()).carried_times_end());
    }
}
