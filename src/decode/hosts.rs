//! The hosts file (hosts(5)): an address, then its names; `#` begins a comment.

/// Whether a line gives an address to this name. Names are compared without regard to case, and without the final
/// dot.
pub fn has(text: &str, name: &str) -> bool {
    let name = name.trim_end_matches('.');
    text.lines().any(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace()
            .skip(1)
            .any(|n| n.trim_end_matches('.').eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn names_not_addresses_nor_comments() {
        let text = "127.0.0.1\tlocalhost Loop.\n# 10.0.0.1 gone\n10.0.0.2 web # api\n";
        for (name, expected) in [
            ("LOCALHOST", true),
            ("loop", true),
            ("web.", true),
            ("api", false),
            ("gone", false),
            ("127.0.0.1", false),
            ("we", false),
        ] {
            assert_eq!(has(text, name), expected, "{name}");
        }
    }
}
