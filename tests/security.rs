//! SECURITY.md cites tests: each is there, in the file that is named.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

#[test]
fn every_cited_test_exists() {
    let text = std::fs::read_to_string("SECURITY.md").unwrap();
    let mut cited = 0;
    for row in text.lines().filter(|l| l.starts_with('|')) {
        let cell = row.trim_matches('|').rsplit('|').next().unwrap();
        for one in cell
            .split(';')
            .map(str::trim)
            .filter(|c| c.starts_with('`'))
        {
            let (path, names) = one[1..].split_once('`').unwrap();
            assert!(Path::new(path).exists(), "{path}: {row}");
            let names = names.split(',').map(str::trim);
            for name in names.filter(|n| !n.is_empty() && !n.starts_with('(')) {
                let source = std::fs::read_to_string(path).unwrap();
                assert!(
                    source.contains(&format!("fn {name}(")),
                    "{path} has no {name}"
                );
                cited += 1;
            }
        }
    }
    assert!(cited > 15, "{cited}");
}
