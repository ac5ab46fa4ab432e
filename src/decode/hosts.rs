//! The hosts file (hosts(5)): an address, then its names; `#` begins a comment.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::OnceLock;

/// No longer name can be looked up (RFC 1035 section 2.3.4, with every byte escaped).
const LONGEST_NAME: usize = 4 * 255;

/// The names of a hosts file, sorted when one is first asked for: block lists have a hundred thousand, and every lookup
/// without an answer asks.
#[derive(Debug)]
pub struct HostsFile {
    text: String,
    /// Where the names are in the text.
    names: OnceLock<Vec<Range<usize>>>,
}

impl HostsFile {
    /// Of this text.
    pub fn new(text: String) -> Self {
        Self {
            text,
            names: OnceLock::new(),
        }
    }

    /// Whether a line gives an address to this name. Names are compared without regard to case, and without the final
    /// dot.
    pub fn has(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        self.names
            .get_or_init(|| sorted(&self.text))
            .binary_search_by(|known| order(&self.text[known.clone()], name))
            .is_ok()
    }

    /// The addresses of this name, in order of their lines.
    pub fn addresses(&self, name: &str) -> impl Iterator<Item = IpAddr> {
        let name = name.trim_end_matches('.');
        self.text.lines().filter_map(move |line| {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            { words }
                .any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
                .then_some(address)
        })
    }
}

fn sorted(text: &str) -> Vec<Range<usize>> {
    let range = |name: &str| {
        let start = name.as_ptr().addr() - text.as_ptr().addr();
        start..start + name.len()
    };
    let mut names: Vec<Range<usize>> = text
        .lines()
        .flat_map(|line| {
            let line = line.split('#').next().unwrap_or_default();
            line.split_whitespace().skip(1)
        })
        .map(|name| name.trim_end_matches('.'))
        .filter(|name| name.len() <= LONGEST_NAME)
        .map(range)
        .collect();
    names.sort_unstable_by(|a, b| order(&text[a.clone()], &text[b.clone()]));
    names
}

/// By their lower-case letters.
fn order(a: &str, b: &str) -> Ordering {
    a.bytes()
        .map(|b| b.to_ascii_lowercase())
        .cmp(b.bytes().map(|b| b.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::HostsFile;

    #[test]
    fn names_not_addresses_nor_comments() {
        let text = "127.0.0.1\tlocalhost Loop.\n# 10.0.0.1 gone\n10.0.0.2 web # api\n";
        let hosts = HostsFile::new(text.to_owned());
        for (name, expected) in [
            ("LOCALHOST", true),
            ("loop", true),
            ("web.", true),
            ("api", false),
            ("gone", false),
            ("127.0.0.1", false),
            ("we", false),
        ] {
            assert_eq!(hosts.has(name), expected, "{name}");
        }
    }

    #[test]
    fn a_block_list_is_sorted_once() {
        use std::fmt::Write;
        let mut text = String::new();
        for n in 0..200_000 {
            writeln!(text, "0.0.0.0 ads{n}.example.net").unwrap();
        }
        let hosts = HostsFile::new(text);
        // To read all lines for each of these took half a minute.
        let found = (0..100_000)
            .filter(|n| hosts.has(&format!("ads{}.example.net", 4 * n)))
            .count();
        assert_eq!(found, 50_000);
    }
}
