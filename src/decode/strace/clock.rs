//! The times on the lines of a log, and what they add up to.

use super::lex;
use crate::input::TraceClock;
use crate::time::{SECOND, Span, Timestamp};

/// Whole numbers below this are not seconds since the epoch but differences (`-r`) or thread ids: it is
/// 1973, before any strace, and more than any thread id (`PID_MAX_LIMIT` is 2^22).
pub const LEAST_EPOCH: i64 = 100_000_000;

const DAY: i64 = 86_400 * SECOND;

/// A step back by more than this is midnight, not disorder.
const HALF_DAY: i64 = DAY / 2;

/// One time as it stands on a line, in nanoseconds, with its least step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeReading {
    /// Since the epoch (`-ttt`).
    Epoch {
        /// Nanoseconds.
        nanos: i64,
        /// Least step.
        step: i64,
    },
    /// Since local midnight (`-t`, `-tt`).
    Day {
        /// Nanoseconds.
        nanos: i64,
        /// Least step.
        step: i64,
    },
    /// Local date and time without a zone, as if it were UTC.
    Date {
        /// Nanoseconds.
        nanos: i64,
        /// Least step.
        step: i64,
    },
    /// Since the previous line (`-r`).
    Relative {
        /// Nanoseconds.
        nanos: i64,
        /// Least step.
        step: i64,
    },
}

/// Reads a time at the beginning of the text; it must end at a blank or a bracket.
pub fn read(text: &[u8]) -> Option<(TimeReading, &[u8])> {
    let (reading, rest) = parse(text)?;
    matches!(rest.first(), Some(b' ' | b')')).then_some((reading, rest))
}

/// Reads an absolute time at the beginning of the text, whatever follows it. A comma may stand for the point.
pub fn read_any(text: &[u8]) -> Option<(TimeReading, &[u8])> {
    let (reading, rest) = parse(text)?;
    if matches!(reading, TimeReading::Relative { .. }) {
        return None;
    }
    let fraction = rest.strip_prefix(b",").map(|rest| {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        &rest[digits..]
    });
    Some((reading, fraction.unwrap_or(rest)))
}

fn parse(text: &[u8]) -> Option<(TimeReading, &[u8])> {
    let (seconds, rest) = lex::decimal(text)?;
    match (text.len() - rest.len(), rest.first()) {
        (2, Some(b':')) => {
            let (nanos, step, rest) = time_of_day(text)?;
            Some((TimeReading::Day { nanos, step }, rest))
        }
        (4, Some(b'-')) => dated(text),
        (1..=12, _) => {
            let (fraction, step, rest) = fraction(rest);
            let nanos = seconds.checked_mul(SECOND)?.checked_add(fraction)?;
            let reading = if seconds >= LEAST_EPOCH {
                TimeReading::Epoch { nanos, step }
            } else {
                TimeReading::Relative { nanos, step }
            };
            Some((reading, rest))
        }
        _ => None,
    }
}

/// `2026-11-22T10:45:24.5`, with a blank instead of the T, with `Z` or `+01:00` behind it.
fn dated(text: &[u8]) -> Option<(TimeReading, &[u8])> {
    let date = text.get(..11)?;
    if date[7] != b'-' || !matches!(date[10], b'T' | b' ') {
        return None;
    }
    let days = days(int(&date[..4])?, int(&date[5..7])?, int(&date[8..10])?)?;
    let (time, step, rest) = time_of_day(&text[11..])?;
    let nanos = days.checked_mul(DAY)?.checked_add(time)?;
    if let Some(rest) = rest.strip_prefix(b"Z") {
        return Some((TimeReading::Epoch { nanos, step }, rest));
    }
    let sign = match rest.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some((TimeReading::Date { nanos, step }, rest)),
    };
    let hours = int(rest.get(1..3)?)?;
    let rest = &rest[3..];
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let minutes = int(rest.get(..2)?)?;
    let nanos = nanos - sign * (hours * 60 + minutes) * 60 * SECOND;
    Some((TimeReading::Epoch { nanos, step }, &rest[2..]))
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years 1970 to 2200 only.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1970..=2200).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let y = if month <= 2 { year - 1 } else { year };
    let m = (month + 9) % 12;
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    Some(365 * y + y / 4 - y / 100 + y / 400 + day_of_year - 719_468)
}

/// `10:45:24.123456`: nanoseconds since midnight and the least step.
fn time_of_day(text: &[u8]) -> Option<(i64, i64, &[u8])> {
    let head = text.get(..8)?;
    if head[2] != b':' || head[5] != b':' {
        return None;
    }
    let (h, m, s) = (int(&head[..2])?, int(&head[3..5])?, int(&head[6..8])?);
    if h > 23 || m > 59 || s > 60 {
        return None;
    }
    let (fraction, step, rest) = fraction(&text[8..]);
    Some((((h * 60 + m) * 60 + s) * SECOND + fraction, step, rest))
}

/// Nanoseconds in the last digit of a fraction of this many digits.
const STEPS: [i64; 10] = [
    SECOND,
    100_000_000,
    10_000_000,
    1_000_000,
    100_000,
    10_000,
    1_000,
    100,
    10,
    1,
];

/// `.123456`, if it is there: nanoseconds, its least step, and what follows it.
pub fn fraction(text: &[u8]) -> (i64, i64, &[u8]) {
    let Some(digits) = text.strip_prefix(b".") else {
        return (0, SECOND, text);
    };
    let mut value = 0;
    let mut length = 0;
    for digit in digits.iter().map_while(|byte| lex::digit(*byte)) {
        if length < STEPS.len() - 1 {
            value = value * 10 + i64::from(digit);
        }
        length += 1;
    }
    let step = STEPS[length.min(STEPS.len() - 1)];
    (value * step, step, &digits[length..])
}

fn int(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0_i64, |value, b| {
        b.is_ascii_digit().then(|| value * 10 + i64::from(b - b'0'))
    })
}

/// Turns the readings of a log, line by line, into one running time.
#[derive(Debug, Default)]
pub struct LogClock {
    /// The kind and least step of the first absolute reading.
    style: Option<TimeReading>,
    relative: Option<i64>,
    /// The latest time given out.
    last: i64,
    /// Midnights passed, in nanoseconds.
    midnights: i64,
    /// The latest reading of a time of day.
    last_of_day: Option<i64>,
    /// Sum of the differences.
    sum: i64,
    /// Sum of the times of day, in case they are differences.
    sum_of_day: i64,
    /// The first line was stamped within the first second of a day.
    from_zero: bool,
    /// The times of day are differences from line to line: `ts -i` stamps so.
    intervals: bool,
    /// The first time of the log, where its beginning was looked at.
    opening: Option<i64>,
}

impl LogClock {
    /// The time of a line. A line without one happened no earlier than the line before it; in a log
    /// without any, the time is the line's number.
    pub fn at(
        &mut self,
        time: Option<TimeReading>,
        relative: Option<(i64, i64)>,
        line: u64,
    ) -> Timestamp {
        if let Some((difference, step)) = relative {
            self.sum = self.sum.saturating_add(difference);
            self.relative.get_or_insert(step);
        }
        let at = match time {
            Some(reading) => {
                self.style.get_or_insert(reading);
                match reading {
                    TimeReading::Day { nanos, .. } => self.of_day(nanos),
                    TimeReading::Epoch { nanos, .. }
                    | TimeReading::Date { nanos, .. }
                    | TimeReading::Relative { nanos, .. } => nanos,
                }
            }
            None if relative.is_some() && self.style.is_none() => self.sum,
            None if self.is_timed() => self.last,
            None => {
                let number = || i64::try_from(line).unwrap_or(i64::MAX);
                self.opening.unwrap_or_else(number)
            }
        };
        self.last = at;
        Timestamp(at)
    }

    /// The first time that a log has, before its first line is read: lines above it (the first one of a paste, cut behind its
    /// time) happened no later, and nothing says how much earlier.
    pub fn opens(&mut self, first: TimeReading) {
        self.opening = match first {
            TimeReading::Day { nanos, .. }
            | TimeReading::Epoch { nanos, .. }
            | TimeReading::Date { nanos, .. } => Some(nanos),
            TimeReading::Relative { .. } => None,
        };
    }

    /// Whether the log has had any time so far.
    pub fn is_timed(&self) -> bool {
        self.style.is_some() || self.relative.is_some()
    }

    /// Another file of the same set begins: its day begins with the first one's.
    pub fn rewind(&mut self) {
        self.midnights = 0;
        self.last_of_day = None;
        self.sum = 0;
        self.sum_of_day = 0;
    }

    /// A time of day, or an interval that looks like one. A log that begins at 00:00:00 and returns there from a second or
    /// more has intervals: no clock does that.
    fn of_day(&mut self, nanos: i64) -> i64 {
        self.sum_of_day = self.sum_of_day.saturating_add(nanos);
        let last = self.last_of_day;
        self.from_zero |= last.is_none() && nanos < SECOND;
        let back = last.is_some_and(|last| (SECOND..HALF_DAY).contains(&last) && nanos < SECOND);
        self.intervals |= self.from_zero && back;
        if self.intervals {
            self.last_of_day = Some(nanos);
            self.sum_of_day.max(self.last)
        } else {
            self.past_midnight(nanos)
        }
    }

    fn past_midnight(&mut self, nanos: i64) -> i64 {
        if let Some(last) = self.last_of_day {
            if nanos < last - HALF_DAY {
                self.midnights = self.midnights.saturating_add(DAY);
            } else if self.midnights > 0 && nanos > last + HALF_DAY + HALF_DAY / 2 {
                // A line of before midnight that comes after one of after midnight.
                return self.midnights - DAY + nanos;
            }
        }
        self.last_of_day = Some(nanos);
        self.midnights.saturating_add(nanos)
    }

    /// What the times mean, for [`crate::input::TraceFacts`].
    pub fn meaning(&self) -> TraceClock {
        match self.style {
            Some(TimeReading::Epoch { step, .. }) => TraceClock::Epoch {
                resolution: Span(step),
            },
            Some(TimeReading::Day { step, .. }) if self.intervals => TraceClock::Relative {
                resolution: Span(step),
            },
            Some(TimeReading::Day { step, .. }) => TraceClock::TimeOfDay {
                resolution: Span(step),
            },
            Some(TimeReading::Date { step, .. }) => TraceClock::LocalDate {
                resolution: Span(step),
            },
            Some(TimeReading::Relative { step, .. }) => TraceClock::Relative {
                resolution: Span(step),
            },
            None => match self.relative {
                Some(step) => TraceClock::Relative {
                    resolution: Span(step),
                },
                None => TraceClock::None,
            },
        }
    }

    /// The options of strace that write such times.
    pub fn options(&self) -> String {
        let mut options = Vec::new();
        match self.style {
            Some(TimeReading::Epoch { .. }) => options.push("-ttt"),
            Some(TimeReading::Day { .. }) if self.intervals => options.push("(stamped by ts -i)"),
            Some(TimeReading::Day { step: SECOND, .. }) => options.push("-t"),
            Some(TimeReading::Day { .. }) => options.push("-tt"),
            Some(TimeReading::Date { .. }) => options.push("(local dates)"),
            Some(TimeReading::Relative { .. }) | None => {}
        }
        if self.relative.is_some() {
            options.push("-r");
        }
        options.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(text: &str) -> Option<TimeReading> {
        read(text.as_bytes()).map(|(reading, _)| reading)
    }

    #[test]
    fn stamps_that_return_to_zero_are_intervals() {
        let times = |texts: &[&str]| -> (Vec<i64>, bool) {
            let mut clock = LogClock::default();
            let at = |text: &&str| clock.at(nanos(&format!("{text} ")), None, 0).0 / SECOND;
            let seconds = texts.iter().map(at).collect();
            (
                seconds,
                matches!(clock.meaning(), TraceClock::Relative { .. }),
            )
        };
        let log = ["00:00:00", "00:00:00", "00:00:05", "00:00:00", "00:00:03"];
        assert_eq!(times(&log), (vec![0, 0, 5, 5, 8], true));
        // strace -t, past midnight; and two threads whose lines are out of order.
        let log = ["23:59:59", "00:00:00", "00:00:05"];
        assert_eq!(times(&log), (vec![86_399, 86_400, 86_405], false));
        let log = ["00:00:00", "00:00:07", "00:00:06", "00:00:08"];
        assert_eq!(times(&log), (vec![0, 7, 6, 8], false));
    }

    #[test]
    fn readings() {
        let day = TimeReading::Day {
            nanos: 3_723 * SECOND + 500_000_000,
            step: 1_000,
        };
        assert_eq!(nanos("01:02:03.500000 "), Some(day));
        let epoch = TimeReading::Epoch {
            nanos: 1_795_337_549 * SECOND + 7,
            step: 1,
        };
        assert_eq!(nanos("1795337549.000000007 "), Some(epoch));
        let relative = TimeReading::Relative {
            nanos: 71_000,
            step: 1_000,
        };
        assert_eq!(nanos("0.000071)"), Some(relative));
        // date(1): 2026-11-22T10:45:24Z is 1795344324.
        let at = 1_795_344_324 * SECOND;
        assert_eq!(
            nanos("2026-11-22T10:45:24 "),
            Some(TimeReading::Date {
                nanos: at,
                step: SECOND
            })
        );
        assert_eq!(
            nanos("2026-11-22 11:45:24+01:00 "),
            Some(TimeReading::Epoch {
                nanos: at,
                step: SECOND
            })
        );
        assert_eq!(
            nanos("2026-11-22T10:45:24Z "),
            Some(TimeReading::Epoch {
                nanos: at,
                step: SECOND
            })
        );
        for bad in [
            "25:00:00 ",
            "12:34:5",
            "12:34:56x",
            "9999999999999 ",
            "2026-13-01T00:00:00 ",
        ] {
            assert_eq!(nanos(bad), None, "{bad}");
        }
    }

    #[test]
    fn midnight_and_disorder() {
        let mut clock = LogClock::default();
        let mut at = |h: i64| {
            let reading = TimeReading::Day {
                nanos: h * SECOND,
                step: SECOND,
            };
            clock.at(Some(reading), None, 1).0 / SECOND
        };
        let seen: Vec<i64> = [80_000, 79_999, 86_399, 0, 86_399, 1].map(&mut at).into();
        assert_eq!(seen, [80_000, 79_999, 86_399, 86_400, 86_399, 86_401]);
    }

    #[test]
    fn differences_are_summed() {
        let mut clock = LogClock::default();
        let seen: Vec<i64> = [0, 5, 7]
            .map(|n| clock.at(None, Some((n, 1000)), 1).0)
            .into();
        assert_eq!(seen, [0, 5, 12]);
        assert_eq!(
            clock.meaning(),
            TraceClock::Relative {
                resolution: Span(1000)
            }
        );
    }
}
