//! What was evicted so long ago, or with so much after it, that nothing is remembered of it although more of it may come.
//!
//! What comes then may be a part of that or something new: nobody can tell, and no claim rests on it.

use crate::input::drops::{DropSpan, DropTimes};
use crate::time::{Span, Timestamp};

/// So long after its query an answer may come.
const LATEST_ANSWER: Span = Span::seconds(600);

/// Connection attempts and queries of which nothing is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// For each attempt: from when it was forgotten until its next SYN would have come.
    attempts: DropTimes,
    /// The least time between the first SYN of one and the moment when it was forgotten.
    least_age: Option<Span>,
    /// For each query: from when it was forgotten until an answer would have come.
    queries: DropTimes,
}

/// A connection attempt that is forgotten.
#[derive(Clone, Copy, Debug)]
pub struct ForgottenAttempt {
    /// When its first SYN left.
    pub first: Timestamp,
    /// When it was forgotten.
    pub forgotten: Timestamp,
    /// When another SYN of it may come at the latest.
    pub until: Timestamp,
}

impl Forgotten {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.queries.is_empty()
    }

    /// Takes note of an attempt.
    pub fn attempt(&mut self, attempt: ForgottenAttempt) {
        let ForgottenAttempt {
            first,
            forgotten,
            until,
        } = attempt;
        if until < forgotten {
            // Nothing more of it can come.
            return;
        }
        let age = forgotten - first;
        self.least_age = Some(self.least_age.map_or(age, |least| least.min(age)));
        self.attempts.add(DropSpan {
            packets: 1,
            from: forgotten,
            until,
        });
    }

    /// Takes note of a query.
    pub fn query(&mut self, sent: Timestamp, forgotten: Timestamp) {
        let until = sent + LATEST_ANSWER;
        if until >= forgotten {
            self.queries.add(DropSpan {
                packets: 1,
                from: forgotten,
                until,
            });
        }
    }

    /// How many attempts there are one of which a SYN of this time may belong to.
    pub fn attempts_at(&self, at: Timestamp) -> Option<u64> {
        self.attempts.within(at, at)
    }

    /// How many attempts there are one of which a call that lasted from one moment to another may have made. One that was
    /// shorter than any of them was remembered came back before.
    pub fn attempts_of(&self, from: Timestamp, until: Timestamp) -> Option<u64> {
        let lasted = until - from;
        self.least_age.filter(|age| *age <= lasted)?;
        self.attempts.within(from, until)
    }

    /// Whether a response of this time may answer a query that is forgotten.
    pub fn may_answer(&self, at: Timestamp) -> bool {
        self.queries.within(at, at).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    /// Attempts as their first SYN, when they were forgotten, and when their last SYN may come.
    fn forgotten(rows: &[(i64, i64, i64)]) -> Forgotten {
        let mut all = Forgotten::default();
        for (first, forgotten, until) in rows.iter().copied() {
            all.attempt(ForgottenAttempt {
                first: at(first),
                forgotten: at(forgotten),
                until: at(until),
            });
        }
        all
    }

    #[test]
    fn a_syn_may_be_one_of_theirs_while_another_may_come() {
        let all = forgotten(&[(0, 10, 65), (1, 12, 66), (200, 300, 265)]);
        for (syn, may) in [
            (9, None),
            (10, Some(2)),
            (66, Some(2)),
            (67, None),
            (300, None),
        ] {
            assert_eq!(all.attempts_at(at(syn)), may, "{syn}");
        }
    }

    #[test]
    fn a_call_that_was_short_is_not_theirs() {
        let all = forgotten(&[(0, 10, 65), (4, 12, 66)]);
        for (from, until, may) in [
            (0, 9, false),
            (0, 10, true),
            (20, 27, false),
            (20, 28, true),
        ] {
            assert_eq!(
                all.attempts_of(at(from), at(until)).is_some(),
                may,
                "{from} to {until}"
            );
        }
    }

    #[test]
    fn an_answer_may_come_for_ten_minutes() {
        let mut all = Forgotten::default();
        all.query(at(0), at(50));
        for (answer, may) in [(49, false), (50, true), (600, true), (601, false)] {
            assert_eq!(all.may_answer(at(answer)), may, "{answer}");
        }
    }
}
