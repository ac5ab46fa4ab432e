//! When packets were dropped while capturing.

use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// So many times are kept apart; of more, those with the least time between them become one.
const MAX_TIMES: usize = 256;

/// A time in which packets were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropSpan {
    /// How many.
    pub packets: u64,
    /// The counters were as before then, or lower.
    pub from: Timestamp,
    /// The counters had grown by then.
    pub until: Timestamp,
}

/// The times in which packets were dropped, in order and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DropTimes(Vec<DropSpan>);

impl DropTimes {
    /// Takes note of a time. Those that touch become one.
    pub fn add(&mut self, new: DropSpan) {
        let first = self.0.partition_point(|old| old.until < new.from);
        let after = self.0.partition_point(|old| old.from <= new.until);
        let touched = self.0.drain(first..after.max(first));
        let whole = touched.fold(new, |one, other| one.with(&other));
        self.0.insert(first, whole);
        if self.0.len() > MAX_TIMES {
            self.merge_nearest();
        }
    }

    /// Makes one of the two times that are nearest to each other.
    fn merge_nearest(&mut self) {
        let between = |pair: &[DropSpan]| pair[1].from - pair[0].until;
        let pairs = self.0.windows(2).enumerate();
        let nearest = pairs.min_by_key(|(_, pair)| between(pair)).map(|(n, _)| n);
        if let Some(n) = nearest {
            let second = self.0.remove(n + 1);
            self.0[n] = self.0[n].with(&second);
        }
    }

    /// How many packets were dropped in all of them.
    pub fn packets(&self) -> u64 {
        self.0.iter().map(|span| span.packets).sum()
    }

    /// How many packets were dropped in those that an interval touches; `None` where it touches none.
    pub fn within(&self, from: Timestamp, until: Timestamp) -> Option<u64> {
        let first = self.0.partition_point(|span| span.until < from);
        let touched = self.0[first..].iter().take_while(|span| span.from <= until);
        touched.map(|span| span.packets).reduce(|a, b| a + b)
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &DropSpan> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves all of them to an earlier time.
    pub fn move_back(&mut self, by: Span) {
        for span in &mut self.0 {
            (span.from, span.until) = (span.from - by, span.until - by);
        }
    }
}

impl DropSpan {
    /// One span from the beginning of the earlier to the end of the later.
    fn with(&self, other: &Self) -> Self {
        Self {
            packets: self.packets.saturating_add(other.packets),
            from: self.from.min(other.from),
            until: self.until.max(other.until),
        }
    }
}

/// The counters of a running capture, read now and then.
#[derive(Clone, Copy, Debug)]
pub struct DropCounter {
    total: u64,
    read: Timestamp,
}

impl DropCounter {
    /// Of a capture that is opened now.
    pub fn start(now: Timestamp) -> Self {
        Self {
            total: 0,
            read: now,
        }
    }

    /// Takes note of what the counters say: the reading began and ended at these times. Returns the time in which they
    /// grew.
    pub fn note(&mut self, total: u64, (began, ended): (Timestamp, Timestamp)) -> Option<DropSpan> {
        let before = std::mem::replace(&mut self.read, began);
        // Counters that fall were not read.
        let packets = total.saturating_sub(self.total);
        self.total = self.total.max(total);
        (packets > 0).then(|| DropSpan {
            packets,
            // The clock may have been set meanwhile.
            from: before.min(ended),
            until: before.max(ended),
        })
    }

    /// How many packets were dropped by the last reading.
    pub fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    fn span((packets, from, until): (u64, i64, i64)) -> DropSpan {
        DropSpan {
            packets,
            from: at(from),
            until: at(until),
        }
    }

    fn times(rows: &[(u64, i64, i64)]) -> DropTimes {
        let mut times = DropTimes::default();
        for row in rows {
            times.add(span(*row));
        }
        times
    }

    fn rows(times: &DropTimes) -> Vec<(u64, i64, i64)> {
        let second = |at: Timestamp| at.0 / crate::time::SECOND;
        let row = |s: &DropSpan| (s.packets, second(s.from), second(s.until));
        times.iter().map(row).collect()
    }

    #[test]
    fn times_that_touch_become_one() {
        for (added, kept) in [
            (vec![(1, 0, 1), (2, 1, 2)], vec![(3, 0, 2)]),
            (vec![(1, 0, 1), (2, 3, 4)], vec![(1, 0, 1), (2, 3, 4)]),
            (vec![(1, 3, 4), (2, 0, 1)], vec![(2, 0, 1), (1, 3, 4)]),
            (vec![(1, 0, 1), (1, 3, 4), (1, 1, 3)], vec![(3, 0, 4)]),
            (vec![(1, 0, 9), (1, 3, 4)], vec![(2, 0, 9)]),
            (vec![(1, 3, 4), (1, 0, 9)], vec![(2, 0, 9)]),
        ] {
            assert_eq!(rows(&times(&added)), kept, "{added:?}");
        }
    }

    #[test]
    fn an_interval_touches_them_or_not() {
        let times = times(&[(1, 10, 11), (2, 20, 21)]);
        for (from, until, packets) in [
            (0, 9, None),
            (0, 10, Some(1)),
            (11, 11, Some(1)),
            (12, 19, None),
            (5, 25, Some(3)),
            (21, 30, Some(2)),
            (22, 30, None),
        ] {
            assert_eq!(times.within(at(from), at(until)), packets, "{from} {until}");
        }
    }

    #[test]
    fn many_are_bounded_and_none_is_lost() {
        // The nearest two are 1 s apart, all others 9 s.
        let mut many: Vec<(u64, i64, i64)> = (0..256).map(|n| (1, n * 10, n * 10 + 1)).collect();
        many.push((1, 53, 54));
        let times = times(&many);
        assert_eq!((times.iter().len(), times.packets()), (256, 257));
        assert!(rows(&times).contains(&(2, 50, 54)));
    }

    #[test]
    fn a_counter_that_grew_gives_a_time() {
        let mut counter = DropCounter::start(at(100));
        let readings = [(0, 101), (3, 102), (3, 103), (0, 104), (4, 105)];
        let grown = readings.map(|(total, now)| counter.note(total, (at(now), at(now))));
        let expected = [None, Some((3, 101, 102)), None, None, Some((1, 104, 105))];
        assert_eq!(grown, expected.map(|row| row.map(span)));
        assert_eq!(counter.total(), 4);
    }
}
