//! How long answers took, and when somebody waited, in bounded room.

use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::mem;

/// Times from query to answer, counted by their length.
#[derive(Clone, Debug, Default)]
pub struct Times {
    counted: BTreeMap<Span, u64>,
}

impl Times {
    /// Counts some of one length.
    pub fn count(&mut self, time: Span, n: u64) {
        *self.counted.entry(time).or_default() += n;
    }

    /// Counts those of others too.
    pub fn add(&mut self, other: &Self) {
        for (time, n) in &other.counted {
            self.count(*time, *n);
        }
    }

    /// Keeps three digits of each, the longest apart: then there are no more than 9,000 lengths up to 1,000 s.
    pub fn round(&mut self) {
        let longest = self.longest();
        for (time, n) in mem::take(&mut self.counted) {
            let kept = if Some(time) == longest {
                time
            } else {
                three_digits(time)
            };
            self.count(kept, n);
        }
    }

    /// The longest.
    pub fn longest(&self) -> Option<Span> {
        self.counted.last_key_value().map(|(time, _)| *time)
    }

    /// The middle one; of an even number the mean of both.
    pub fn median(&self) -> Option<Span> {
        let len: u64 = self.counted.values().sum();
        let upper = self.nth(len / 2)?;
        let lower = self.nth(len.saturating_sub(1) / 2)?;
        Some(Span(i64::midpoint(lower.0, upper.0)))
    }

    /// The one that `n` others go before.
    fn nth(&self, n: u64) -> Option<Span> {
        let mut before = 0;
        self.counted.iter().find_map(|(time, count)| {
            before += count;
            (before > n).then_some(*time)
        })
    }
}

/// A length of time with its fourth and further digits zero.
fn three_digits(time: Span) -> Span {
    let step = 10_i64.pow(
        time.0
            .unsigned_abs()
            .checked_ilog10()
            .unwrap_or(0)
            .saturating_sub(2),
    );
    Span(time.0 / step * step)
}

/// Spans of time during which somebody waited: overlapping waits count once.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// In order, none touching the next.
    spans: Vec<(Timestamp, Timestamp)>,
    /// Of spans that are no longer told apart.
    folded: Span,
}

impl Waits {
    /// The waits of some queries.
    pub fn of(mut spans: Vec<(Timestamp, Timestamp)>) -> Self {
        spans.retain(|(from, to)| from < to);
        spans.sort_unstable();
        spans.dedup_by(|next, last| {
            let touches = next.0 <= last.1;
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        Self {
            spans,
            folded: Span::ZERO,
        }
    }

    /// Takes those of others too.
    pub fn add(&mut self, other: &Self) {
        let mut spans = mem::take(&mut self.spans);
        spans.extend(&other.spans);
        *self = Self {
            folded: self.folded + other.folded,
            ..Self::of(spans)
        };
    }

    /// Tells at most this many spans apart. Of the others, the oldest, the sum is kept.
    pub fn fold(&mut self, most: usize) {
        let old = self.spans.len().saturating_sub(most);
        let sum: Span = self.spans.drain(..old).map(|(from, to)| to - from).sum();
        self.folded = self.folded + sum;
    }

    /// How long somebody waited in all.
    pub fn total(&self) -> Span {
        let spans = self.spans.iter().map(|(from, to)| *to - *from);
        self.folded + spans.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_same_whether_counted_at_once_or_in_parts() {
        let lengths = [7, 1, 3, 3, 9, 200];
        let mut whole = Times::default();
        let mut parts = [Times::default(), Times::default()];
        for (i, n) in lengths.into_iter().enumerate() {
            whole.count(Span(n), 1);
            parts[i % 2].count(Span(n), 1);
        }
        let [mut first, second] = parts;
        first.add(&second);
        assert_eq!(first.median(), whole.median());
        assert_eq!(whole.median(), Some(Span(5)), "between 3 and 7");
        whole.count(Span(7), 1);
        assert_eq!(whole.median(), Some(Span(7)));
        assert_eq!(Times::default().median(), None);
    }

    #[test]
    fn rounding_keeps_three_digits_and_the_longest() {
        let mut times = Times::default();
        for n in [0, 999, 1_234_567, 1_239_999, 7_654_321] {
            times.count(Span(n), 1);
        }
        times.round();
        let kept: Vec<(i64, u64)> = times.counted.iter().map(|(t, n)| (t.0, *n)).collect();
        assert_eq!(kept, [(0, 1), (999, 1), (1_230_000, 2), (7_654_321, 1)]);
    }

    #[test]
    fn overlapping_waits_count_once_in_whatever_order_they_come() {
        let wait = |from, to| (Timestamp(from), Timestamp(to));
        let mut waits = Waits::of(vec![wait(10, 20), wait(0, 5), wait(4, 8), wait(9, 9)]);
        waits.add(&Waits::of(vec![wait(15, 25), wait(30, 31)]));
        assert_eq!(waits.total(), Span(8 + 15 + 1));
        waits.fold(1);
        assert_eq!(
            waits.total(),
            Span(8 + 15 + 1),
            "the sum of the others is kept"
        );
        waits.add(&Waits::of(vec![wait(31, 33)]));
        assert_eq!(waits.total(), Span(8 + 15 + 3));
    }
}
