//! The functions of an ELF file, by address.

use crate::event::stack::{MAX_NAME, cut};
use object::elf::{STT_FUNC, STT_GNU_IFUNC, SymbolType};
use std::fmt::{self, Write};
use std::sync::Arc;

/// A function's place and where its name is.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its first address, as the file counts.
    pub start: u64,
    /// Its length; never 0.
    pub size: u64,
    /// Where its name begins in the table of names.
    pub name: u32,
}

/// The functions of one file, in order of their addresses.
#[derive(Debug, Default)]
pub struct Functions {
    list: Vec<Function>,
    /// The last address of the function that reaches farthest among those before and at this place: where a search may
    /// stop.
    reach: Vec<u64>,
}

/// So many functions before an address are looked at, and so many names of one function: aliases are few.
const LOOK_BACK: usize = 64;

impl Functions {
    /// Makes the table.
    pub fn new(mut list: Vec<Function>) -> Self {
        list.sort_unstable_by_key(|f| (f.start, f.size));
        list.shrink_to_fit();
        let mut farthest = 0;
        let reach = list
            .iter()
            .map(|f| {
                farthest = farthest.max(f.start.saturating_add(f.size - 1));
                farthest
            })
            .collect();
        Self { list, reach }
    }

    /// Whether this kind of symbol is a function.
    pub fn is_function(kind: SymbolType) -> bool {
        kind == STT_FUNC || kind == STT_GNU_IFUNC
    }

    /// The innermost function at an address, under all its names. An address between functions is in none: a name with
    /// a large offset would be that of a neighbour.
    pub fn at(&self, address: u64) -> Vec<Function> {
        let after = self.list.partition_point(|f| f.start <= address);
        let mut found: Vec<Function> = Vec::new();
        for i in (0..after).rev().take(LOOK_BACK) {
            let f = self.list[i];
            if self.reach[i] < address || found.first().is_some_and(|best| best.start != f.start) {
                break;
            }
            if address - f.start < f.size {
                found.push(f);
            }
        }
        found
    }
}

/// The name people know among the aliases of a function: without leading underscores, then the shortest.
pub fn best(names: impl IntoIterator<Item = String>) -> Option<String> {
    names
        .into_iter()
        .filter(|name| !name.is_empty())
        .min_by_key(|name| {
            let underscores = name.bytes().take_while(|b| *b == b'_').count();
            // Mangled names begin with `_Z` and `_R`.
            let internal = if name.starts_with("_Z") || name.starts_with("_R") {
                0
            } else {
                underscores
            };
            (internal, name.len(), name.clone())
        })
}

/// A name as people write it: Rust and C++ undone, bounded.
pub fn readable(raw: &str) -> Arc<str> {
    let mut text = Bounded(String::new());
    // An error is the bound's: what fits is the name.
    if let Ok(rust) = rustc_demangle::try_demangle(raw) {
        let _ = write!(text, "{rust:#}");
    } else if raw.starts_with("_Z") {
        let options = cpp_demangle::DemangleOptions::new().recursion_limit(64);
        if let Ok(symbol) = cpp_demangle::BorrowedSymbol::new(raw.as_bytes()) {
            let _ = symbol.structured_demangle(&mut text, &options);
        }
    }
    if text.0.is_empty() {
        return cut(raw, MAX_NAME).into();
    }
    text.0.into()
}

/// Takes so much text and refuses the rest, which ends the demangling of names that grow without bound.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_NAME - self.0.len().min(MAX_NAME);
        self.0.push_str(cut(text, room));
        if text.len() > room {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(list: &[(u64, u64)]) -> Functions {
        let list = list.iter().enumerate();
        Functions::new(
            list.map(|(i, (start, size))| Function {
                start: *start,
                size: *size,
                name: u32::try_from(i).unwrap(),
            })
            .collect(),
        )
    }

    fn names(functions: &Functions, address: u64) -> Vec<u32> {
        let mut names: Vec<u32> = functions.at(address).iter().map(|f| f.name).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn an_address_is_in_a_function_or_in_none() {
        let table = functions(&[(0x100, 0x10), (0x200, 0x20), (0x200, 0x20), (0x208, 4)]);
        assert!(table.at(0xff).is_empty());
        assert_eq!(names(&table, 0x10f), [0]);
        assert!(table.at(0x110).is_empty(), "between two functions");
        assert_eq!(names(&table, 0x200), [1, 2], "both names");
        assert_eq!(names(&table, 0x209), [3], "the inner one");
        assert_eq!(names(&table, 0x21f), [1, 2], "behind the inner one");
        assert!(table.at(u64::MAX).is_empty());
        // Hostile sizes.
        let wide = functions(&[(0x10, u64::MAX), (u64::MAX - 1, u64::MAX)]);
        assert_eq!(names(&wide, u64::MAX - 2), [0]);
        assert_eq!(names(&wide, u64::MAX), [1]);
    }

    #[test]
    fn the_best_alias_is_the_public_one() {
        let best = |names: &[&str]| best(names.iter().map(|n| (*n).to_owned()));
        assert_eq!(best(&["__connect", "connect"]).as_deref(), Some("connect"));
        assert_eq!(best(&["_ZN1aE", "x_alias"]).as_deref(), Some("_ZN1aE"));
        assert_eq!(best(&[""]), None);
    }

    #[test]
    fn names_are_undone_and_bounded() {
        assert_eq!(
            &*readable("_ZN10PerfMemory10initializeEv"),
            "PerfMemory::initialize()"
        );
        assert_eq!(
            &*readable("_ZN3std2io5stdio6_print17h0123456789abcdefE"),
            "std::io::stdio::_print"
        );
        assert_eq!(
            &*readable("net.(*Resolver).lookupIPAddr"),
            "net.(*Resolver).lookupIPAddr"
        );
        assert_eq!(
            &*readable("_Znonsense\u{1b}"),
            "_Znonsense\u{1b}",
            "escaped where it is shown"
        );
        assert_eq!(readable(&"é".repeat(500)).len(), MAX_NAME);
        // Substitutions that double their length with every step.
        let mut bomb = String::from("_Z1fI1aE");
        for i in 0..40 {
            write!(bomb, "St4pairIS{i}_S{i}_E").unwrap();
        }
        assert!(readable(&bomb).len() <= MAX_NAME);
    }
}
