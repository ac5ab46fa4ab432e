//! Names of the things that the join lists: positions, one type for each list.
//!
//! The lists are written once and in order, so a position names its entry for good. An id of one list does not
//! index another.

use std::fmt;
use std::iter::Enumerate;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut, Index, IndexMut};
use std::slice;

/// A position in a list of one kind.
pub trait Id: Copy + Ord {
    /// The id of a position.
    fn at(position: usize) -> Self;
    /// The position, from 0.
    fn position(self) -> usize;
}

/// The position after the n-th: with a niche, so that an `Option` of an id takes four bytes as well. Four thousand
/// million entries of any list do not fit into memory, so the last id is never reached.
fn niche(position: usize) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(u32::try_from(position).unwrap_or(u32::MAX))
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(NonZeroU32);

        impl Id for $name {
            fn at(position: usize) -> Self {
                Self(niche(position))
            }

            fn position(self) -> usize {
                self.0.get() as usize - 1
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.position())
            }
        }
    )*};
}

ids! {
    /// An event, in the order of [`crate::merge`].
    EventId
    /// A process in [`super::process::Processes`].
    ProcessId
    /// A socket's association in [`super::socket::Sockets`].
    AssociationId
    /// A query, in order of time.
    QueryId
    /// A lookup, in order of its beginning.
    LookupId
    /// A connection attempt, in order of time.
    ConnectionId
    /// A query packet of the captures, in order of time.
    WireId
    /// A query that a call sent, in order of time.
    SentId
}

/// A list whose entries are named by ids of one kind. Reads as a slice, except that only its own ids index it.
#[derive(Clone, PartialEq, Eq)]
pub struct IdVec<I, T> {
    list: Vec<T>,
    kind: PhantomData<I>,
}

impl<I: Id, T> IdVec<I, T> {
    /// A list of nothing.
    pub const fn new() -> Self {
        Self {
            list: Vec::new(),
            kind: PhantomData,
        }
    }

    /// Adds an entry and names it.
    pub fn push(&mut self, entry: T) -> I {
        self.list.push(entry);
        I::at(self.list.len() - 1)
    }

    /// The entry of an id, if the list has it.
    pub fn get(&self, id: I) -> Option<&T> {
        self.list.get(id.position())
    }

    /// The entry of an id, if the list has it.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        self.list.get_mut(id.position())
    }

    /// All ids, in order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + use<I, T> {
        (0..self.list.len()).map(I::at)
    }

    /// All entries with their ids, in order.
    pub fn entries(&self) -> Entries<'_, I, T> {
        Entries {
            list: self.list.iter().enumerate(),
            kind: PhantomData,
        }
    }

    /// The entries as a slice.
    pub fn as_slice(&self) -> &[T] {
        &self.list
    }
}

/// Entries of an [`IdVec`] with their ids.
pub struct Entries<'a, I, T> {
    list: Enumerate<slice::Iter<'a, T>>,
    kind: PhantomData<I>,
}

impl<'a, I: Id, T> Iterator for Entries<'a, I, T> {
    type Item = (I, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        self.list.next().map(|(n, entry)| (I::at(n), entry))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.list.size_hint()
    }
}

impl<I: Id, T> DoubleEndedIterator for Entries<'_, I, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.list.next_back().map(|(n, entry)| (I::at(n), entry))
    }
}

impl<I, T> Default for IdVec<I, T> {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl<I, T> From<Vec<T>> for IdVec<I, T> {
    fn from(list: Vec<T>) -> Self {
        Self {
            list,
            kind: PhantomData,
        }
    }
}

impl<I, T> FromIterator<T> for IdVec<I, T> {
    fn from_iter<S: IntoIterator<Item = T>>(entries: S) -> Self {
        Self::from(Vec::from_iter(entries))
    }
}

impl<I, T> IntoIterator for IdVec<I, T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a, I, T> IntoIterator for &'a IdVec<I, T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

impl<I, T> Deref for IdVec<I, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.list
    }
}

impl<I, T> DerefMut for IdVec<I, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.list
    }
}

impl<I: Id, T> Index<I> for IdVec<I, T> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        &self.list[id.position()]
    }
}

impl<I: Id, T> IndexMut<I> for IdVec<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        &mut self.list[id.position()]
    }
}

impl<I, T: fmt::Debug> fmt::Debug for IdVec<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.list.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_entry_and_an_optional_one_costs_nothing() {
        let mut list: IdVec<QueryId, char> = IdVec::new();
        let (a, b) = (list.push('a'), list.push('b'));
        assert_eq!(
            (list[a], list[b], a.position(), b.position()),
            ('a', 'b', 0, 1)
        );
        assert_eq!(list.entries().collect::<Vec<_>>(), [(a, &'a'), (b, &'b')]);
        assert_eq!(list.ids().rev().collect::<Vec<_>>(), [b, a]);
        assert_eq!(list.get(QueryId::at(2)), None);
        assert_eq!(size_of::<Option<EventId>>(), 4);
        assert_eq!(format!("{a:?}"), "QueryId(0)");
    }
}
