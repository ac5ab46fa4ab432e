//! Which network namespace is captured in.

use std::path::PathBuf;

/// A network namespace to capture in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Netns {
    /// That of a process.
    Process(u32),
    /// One that `ip netns add` made.
    Named(String),
}

impl Netns {
    /// As typed: a number is a process.
    pub fn parse(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Named(text.to_owned()), Self::Process)
    }

    /// Where the kernel shows it.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Process(pid) => format!("/proc/{pid}/ns/net").into(),
            Self::Named(name) => format!("/run/netns/{name}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_by_number_and_name() {
        assert_eq!(Netns::parse("12").path(), PathBuf::from("/proc/12/ns/net"));
        assert_eq!(Netns::parse("a").path(), PathBuf::from("/run/netns/a"));
    }
}
