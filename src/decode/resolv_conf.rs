//! resolv.conf(5), as glibc reads it.
//!
//! Own, because evidence cites the line of each resolver, which the crate resolv-conf drops, and because that crate
//! refuses the whole file for a directive, option or address that glibc passes over.

use crate::timetable::ResolverOptions;
use std::net::IpAddr;

/// `MAXNS` of glibc's `<resolv.h>`: further resolvers are ignored.
pub const MAX_NAMESERVERS: usize = 3;
/// `RES_MAXNDOTS`.
const MAX_NDOTS: u32 = 15;
/// Names in a search list that are kept; more would only be a hostile file.
const MAX_SEARCH: usize = 64;
/// Likewise resolvers and options: there are about twenty options.
const MAX_LISTED: usize = 64;
/// And the length of an option or a domain: no name is longer (RFC 1035 section 2.3.4, with every byte escaped).
const MAX_WORD: usize = 4 * 255;

/// What a stub resolver is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Every resolver, in order, with the line that names it; glibc uses the first three.
    pub nameservers: Vec<(IpAddr, usize)>,
    /// Search list.
    pub search: Vec<String>,
    /// Options as written.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the file's text. Unknown keywords and odd lines are ignored, as glibc does.
    pub fn parse(text: &str) -> Self {
        let mut this = Self::default();
        for (number, line) in text.lines().enumerate() {
            // A comment begins a line, or follows the values on it.
            let line = line.split(['#', ';']).next().unwrap_or("");
            let mut words = line.split_whitespace().filter(|w| w.len() <= MAX_WORD);
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().map(|a| a.split('%').next().unwrap_or(a));
                    if let Some(Ok(address)) = address.map(str::parse)
                        && this.nameservers.len() < MAX_LISTED
                    {
                        this.nameservers.push((address, number + 1));
                    }
                }
                // The last of `search` and `domain` wins.
                Some("search") => this.search = words.take(MAX_SEARCH).map(domain).collect(),
                Some("domain") => this.search = words.take(1).map(domain).collect(),
                Some("options") => {
                    let room = MAX_LISTED - this.options.len();
                    this.options.extend(words.take(room).map(str::to_owned));
                }
                _ => {}
            }
        }
        this
    }

    /// The resolvers that glibc asks.
    pub fn used(&self) -> &[(IpAddr, usize)] {
        &self.nameservers[..self.nameservers.len().min(MAX_NAMESERVERS)]
    }

    /// What the file tells a stub resolver, with further options that win over its own: those of the
    /// environment (`RES_OPTIONS`), or a change to be tried.
    pub fn options_with(&self, more: &[String]) -> ResolverOptions {
        let words = || self.options.iter().chain(more);
        let has = |name: &str| words().any(|o| o == name);
        ResolverOptions {
            servers: self.used().len(),
            timeout: number(words(), "timeout"),
            attempts: number(words(), "attempts"),
            rotate: has("rotate"),
            single_request: has("single-request"),
            single_request_reopen: has("single-request-reopen"),
        }
    }

    /// `ndots`, 1 by default.
    pub fn ndots(&self) -> u32 {
        number(self.options.iter(), "ndots")
            .unwrap_or(1)
            .min(MAX_NDOTS)
    }

    /// Whether an option without a value is set.
    pub fn has(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }
}

/// The value of the last option of this name.
fn number<'a, T: std::str::FromStr>(
    options: impl DoubleEndedIterator<Item = &'a String>,
    name: &str,
) -> Option<T> {
    { options }
        .rev()
        .find_map(|o| o.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_servers_search_and_options() {
        let conf = ResolvConf::parse(
            "# a comment\nnameserver 10.0.1.93\nnameserver fe80::1%eth0 ; home\nsearch a.example. b.example\n\
             options ndots:3 timeout:99 attempts:0 rotate\nnameserver nonsense\n",
        );
        assert_eq!(conf.nameservers.len(), 2);
        assert_eq!(conf.nameservers[1].1, 3);
        assert_eq!(conf.search, ["a.example", "b.example"]);
        let options_with = conf.options_with(&[]);
        assert_eq!(
            (options_with.timeout, options_with.attempts),
            (Some(99), Some(0))
        );
        assert!(options_with.rotate && !options_with.single_request);
        let environment = ["timeout:2".to_owned()];
        assert_eq!(conf.options_with(&environment).timeout, Some(2));
        assert_eq!(conf.ndots(), 3);
        assert!(conf.has("rotate"));
    }

    #[test]
    fn a_hostile_file_is_bounded() {
        let lines = "nameserver 10.0.0.1\noptions timeout:1 attempts:2\n";
        let mut text = lines.repeat(1_000) + "search ";
        text += &"a".repeat(1 << 20);
        text += &" b.example".repeat(1_000);
        let conf = ResolvConf::parse(&text);
        assert_eq!(conf.nameservers.len(), MAX_LISTED);
        assert_eq!(conf.options.len(), MAX_LISTED);
        assert_eq!(conf.search, vec!["b.example"; MAX_SEARCH]);
    }

    #[test]
    fn an_empty_file_has_the_defaults() {
        let conf = ResolvConf::parse("");
        assert_eq!(conf.options_with(&[]), ResolverOptions::default());
        assert!(conf.used().is_empty());
    }
}
