//! The report fits a screen: every terminal's width, about thirty lines, the answer first.

#![allow(clippy::unwrap_used, reason = "tests")]

use presyn::pipeline::{self, Settings};
use presyn::render::ascii::ascii;
use presyn::render::text::{self, Look};
use presyn::report::Report;
use presyn::session::inputs::{self, InputOptions};
use std::fs;
use std::path::PathBuf;
use unicode_width::UnicodeWidthStr;

fn reports() -> Vec<(String, Report)> {
    let folders = fs::read_dir("captures").unwrap().map(|e| e.unwrap().path());
    let folders: Vec<PathBuf> = folders.filter(|p| p.is_dir()).collect();
    assert!(folders.len() >= 30, "cases are missing: {folders:?}");
    let read = |folder: PathBuf| {
        let name = folder.display().to_string();
        let gathered = inputs::gather(&[folder], &InputOptions::default()).unwrap();
        (name, pipeline::report(gathered, &Settings::default()))
    };
    folders.into_iter().map(read).collect()
}

fn written(report: &Report, look: Look) -> String {
    let mut out = Vec::new();
    text::write(report, look, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn half_of_the_reports_take_thirty_lines_at_most() {
    let lines = |(_, report): &(String, Report)| written(report, Look::default()).lines().count();
    let mut lengths: Vec<usize> = reports().iter().map(lines).collect();
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] <= 30, "{lengths:?}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut wrong = Vec::new();
    for (name, report) in reports() {
        for columns in [40, 60, 80, 200] {
            for full in [false, true] {
                let look = Look {
                    columns,
                    full,
                    ..Look::default()
                };
                for line in written(&report, look).lines() {
                    // A name or a command is not broken: it is to be copied.
                    let one_word = line.split_whitespace().count() <= 2;
                    if line.width() > columns && !one_word || line.ends_with(' ') {
                        wrong.push(format!("{name}, {columns} columns: {line}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_narrow_terminal_loses_no_word_of_the_breakdown() {
    let narrow = Look {
        columns: 40,
        ..Look::default()
    };
    let mut seen = 0;
    for (name, report) in reports() {
        let text = written(&report, narrow);
        let head = text.find("\nWhere ").unwrap_or(text.len());
        let account = text[head..].trim_start().split("\n\n").next();
        let account = account.unwrap_or_default();
        assert!(!account.contains('…'), "{name}: {account}");
        seen += usize::from(account.contains(" silent "));
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn everything_can_be_shown_in_ascii() {
    for (name, report) in reports() {
        let full = Look {
            full: true,
            ..Look::default()
        };
        let text = ascii(&written(&report, full));
        assert!(text.is_ascii());
        assert!(!text.contains("\\u{"), "{name}: {text}");
    }
}
