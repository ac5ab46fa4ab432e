//! A bounded number of values by key, of which the oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Values by key, the latest so many of them.
#[derive(Debug)]
pub struct Ring<K, V> {
    most: usize,
    /// Each with the turn at which it was added.
    known: HashMap<K, (u64, V)>,
    /// Keys by turn; those of values that were taken out or replaced stay until they are the oldest.
    order: VecDeque<(u64, K)>,
    turn: u64,
}

impl<K: Hash + Eq + Copy, V> Ring<K, V> {
    /// An empty one, for so many values.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            known: HashMap::new(),
            order: VecDeque::new(),
            turn: 0,
        }
    }

    /// Adds a value, in the place of one with its key. Returns the oldest one where there are too many.
    pub fn add(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.turn += 1;
        self.known.insert(key, (self.turn, value));
        self.order.push_back((self.turn, key));
        if self.order.len() > 2 * self.most {
            let known = &self.known;
            self.order
                .retain(|(turn, key)| is_current(known, *turn, key));
        }
        if self.known.len() <= self.most {
            return None;
        }
        while let Some((turn, key)) = self.order.pop_front() {
            if is_current(&self.known, turn, &key) {
                return self.known.remove(&key).map(|(_, value)| (key, value));
            }
        }
        None
    }

    /// The value of a key.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        self.known.get_mut(key).map(|(_, value)| value)
    }

    /// Takes the value of a key out.
    pub fn take(&mut self, key: &K) -> Option<V> {
        self.known.remove(key).map(|(_, value)| value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

/// Whether the value that a key had at this turn is still there.
fn is_current<K: Hash + Eq, V>(known: &HashMap<K, (u64, V)>, turn: u64, key: &K) -> bool {
    known.get(key).is_some_and(|(current, _)| *current == turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_one_that_came_again_is_not_old() {
        let mut ring = Ring::new(2);
        assert_eq!(ring.add('a', 1), None);
        assert_eq!(ring.add('b', 2), None);
        assert_eq!(ring.add('a', 3), None);
        assert_eq!(ring.add('c', 4), Some(('b', 2)));
        assert_eq!(ring.take(&'a'), Some(3));
        assert_eq!(ring.add('d', 5), None);
        assert_eq!(ring.add('a', 6), Some(('c', 4)));
        assert_eq!(ring.get(&'b'), None);
        assert_eq!(ring.get(&'d'), Some(&mut 5));
    }

    #[test]
    fn keys_of_what_was_taken_out_are_bounded_too() {
        let mut ring = Ring::new(10);
        for n in 0..1_000 {
            ring.add(n, n);
            ring.take(&n);
        }
        assert!(ring.is_empty() && ring.order.len() <= 20);
    }
}
