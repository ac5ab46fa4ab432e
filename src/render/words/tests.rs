use super::{known_seconds, others, rest};
use crate::explain::rows::report;
use crate::render::text::{self, Look};

/// So many answered lookups of one host, a second apart, and a connect after each.
fn lookups(count: usize) -> String {
    let one = |n: usize| {
        format!(
            "{n}.0 packet 10.0.0.1:{port} 10.0.1.93:53 query {n} A n{n}.example
             {n}.1 packet 10.0.1.93:53 10.0.0.1:{port} answer {n} A n{n}.example 10.9.9.{n}
             {n}.1 packet 10.0.0.1:{port} 10.9.9.{n}:80 syn {n}
             {n}.1 packet 10.9.9.{n}:80 10.0.0.1:{port} synack {n}",
            port = 4000 + n
        )
    };
    (1..=count).map(one).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_last_line_says_how_much_the_full_report_has() {
    let closing = |count| {
        let report = report(&lookups(count));
        let mut full = Vec::new();
        let look = Look {
            full: true,
            ..Look::default()
        };
        text::write(&report, look, &mut full).unwrap();
        let full = String::from_utf8(full).unwrap();
        let listed = |mark: &str| {
            let is = |line: &&str| {
                line.strip_prefix(mark)
                    .is_some_and(|l| l.starts_with(char::is_numeric))
            };
            full.lines().filter(is).count()
        };
        (rest(&report, 3, 8), listed("  L"), listed("  C"))
    };
    assert_eq!(
        closing(8),
        (
            "--full has every lookup, connection and input.".into(),
            8,
            8
        )
    );
    let some = "--full has 8 of 9 lookups, 8 of 9 connections, every input. --format json --all has all of them.";
    assert_eq!(closing(9), (some.into(), 8, 8));
}

#[test]
fn the_slowest_come_first_by_the_figure_that_is_shown() {
    // Three hosts. The second waits 1 s for its lookup and 7 s for the server, the third 5 s for its lookup: the report has
    // the second before the third, whose figure is greater.
    let host = |n: u8, answered: u8, connected: u8| {
        format!(
            "0 packet 10.0.0.{n}:4000 10.0.1.93:53 query 7 A n{n}.example
             {answered} packet 10.0.1.93:53 10.0.0.{n}:4000 answer 7 A n{n}.example 10.9.9.{n}
             {answered} packet 10.0.0.{n}:4001 10.9.9.{n}:80 syn {n}
             {connected} packet 10.9.9.{n}:80 10.0.0.{n}:4001 synack {n}\n"
        )
    };
    let report = report(&(host(1, 9, 9) + &host(2, 1, 8) + &host(3, 5, 5)));
    let rows: Vec<(String, String)> = others(&report)
        .into_iter()
        .map(|group| (known_seconds(group.slowest.since_start_s), group.what))
        .collect();
    let row = |seconds: &str, what: &str| (seconds.to_owned(), what.to_owned());
    assert_eq!(
        rows,
        [row("5.00 s", "10.9.9.3:80"), row("1.00 s", "10.9.9.2:80")]
    );
}

#[test]
fn a_list_that_was_cut_names_what_has_the_rest() {
    // Beside the slowest: three are shown, and by --full eight.
    let cut = |count| {
        let mut brief = Vec::new();
        text::write(&report(&lookups(count)), Look::default(), &mut brief).unwrap();
        let brief = String::from_utf8(brief).unwrap();
        let line = brief.lines().find(|line| line.contains(" more ("));
        line.map(|line| line.trim().to_owned())
    };
    assert_eq!(cut(9).as_deref(), Some("… and 5 more (--full)"));
    assert_eq!(
        cut(10).as_deref(),
        Some("… and 6 more (--format json --all)")
    );
}
