//! Reports, errors, help and papers keep to the words of the vocabulary: what reads like a private dialect is found by a list
//! of words.
//!
//! Literals are those of the parsed sources (syn), attributes and macro calls included; items of tests are left out. What the
//! program composes from them is checked in the text goldens.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

use clap::CommandFactory;
use presyn::cli::Cli;
use proc_macro2::{Literal, TokenStream, TokenTree};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use syn::visit::{self, Visit};

/// Words and turns that a stranger trips over, with the word to write instead.
const LISTED: &[(&str, &str)] = &[
    ("mend", "fix"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("told", "reported, shown"),
    ("tells", "reports, shows"),
    ("kept", "retained"),
    ("let go", "dropped"),
    ("nobody", "unknown, no host, no program"),
    ("somebody", "another process, unknown"),
    ("in vain", "failed, without an answer"),
    ("house", "module"),
    ("room", "module, space"),
    ("lives", "is, runs"),
    ("live on", "still run"),
    ("born", "forked, created"),
    ("without a word", "silently"),
    ("beside that", "also"),
    ("in the same time", "at the same time"),
    ("waited itself", "was itself waiting"),
    ("let it connect", "accept the connection"),
    ("let the client connect", "accept the connection"),
    ("let no connect through", "no connection was established"),
    ("worth the name", "(the figure)"),
    ("denial", "negative response"),
    ("denials", "negative responses"),
    ("queries of it", "its queries"),
    ("as it seems", "apparently"),
    ("name server", "resolver; authoritative server"),
    ("name servers", "resolvers; authoritative servers"),
    ("asleep", "sleeping"),
    ("got a syn", "sent a SYN"),
    ("told itself", "the local kernel generated"),
    ("cannot be; the rest", "implausible; stopped reading here"),
];

/// A listed word that stays where the whole text is the second string: why.
const ALLOWED: &[(&str, &str, &str)] = &[
    (
        "told",
        "told",
        "the name of a field of the JSON report, which is a contract",
    ),
    (
        "born",
        "born",
        "a value of the trace file, whose format is a contract",
    ),
    (
        "room",
        "no-room",
        "a value of the JSON report, which is a contract",
    ),
];

/// Where a text stands, and the text.
struct Text {
    place: String,
    text: String,
}

/// The listed words of a text, each with what to write instead.
fn listed(text: &str) -> Vec<(&'static str, &'static str)> {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let lower = flat.to_lowercase();
    let found = LISTED.iter().filter(|(word, _)| {
        lower.match_indices(word).any(|(at, _)| {
            let before = lower[..at].chars().next_back();
            let after = lower[at + word.len()..].chars().next();
            // `{told}` is the name of a value.
            let inside =
                |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_{".contains(c));
            !inside(before) && !inside(after) && !is_allowed(word, text)
        })
    });
    found.copied().collect()
}

fn is_allowed(word: &str, text: &str) -> bool {
    ALLOWED
        .iter()
        .any(|(allowed, whole, _)| *allowed == word && *whole == text)
}

/// One line for each listed word of the texts.
fn complaints(texts: &[Text]) -> Vec<String> {
    let each = texts.iter().flat_map(|t| {
        let words = listed(&t.text).into_iter();
        words.map(|(word, instead)| {
            let shown: String = t.text.chars().take(120).collect();
            format!("{}: '{word}' (write: {instead}) in {shown:?}", t.place)
        })
    });
    each.collect()
}

/// The string literals of a source that are not its tests'.
#[derive(Default)]
struct Literals(Vec<(usize, String)>);

impl Literals {
    fn tokens(&mut self, tokens: TokenStream) {
        for tree in tokens {
            match tree {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(l) => {
                    if let Some(text) = literal(&l) {
                        self.0.push((l.span().start().line, text));
                    }
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

fn is_of_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| {
        let syn::Meta::List(list) = &a.meta else {
            return a.path().is_ident("test");
        };
        a.path().is_ident("cfg") && list.tokens.to_string() == "test"
    })
}

impl<'a> Visit<'a> for Literals {
    fn visit_item(&mut self, item: &'a syn::Item) {
        let attributes = match item {
            syn::Item::Mod(x) => &x.attrs,
            syn::Item::Fn(x) => &x.attrs,
            syn::Item::Use(x) => &x.attrs,
            syn::Item::Impl(x) => &x.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, attribute: &'a syn::Attribute) {
        // Documentation is checked where it is printed: in help and schemas.
        if let syn::Meta::List(list) = &attribute.meta
            && !["doc", "allow", "expect", "cfg", "cfg_attr"]
                .iter()
                .any(|name| attribute.path().is_ident(name))
        {
            self.tokens(list.tokens.clone());
        }
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        let name = call.path.segments.last().map(|s| s.ident.to_string());
        let asserts =
            name.is_some_and(|n| n.starts_with("assert") || n.starts_with("debug_assert"));
        if !asserts {
            self.tokens(call.tokens.clone());
        }
    }

    fn visit_lit_str(&mut self, l: &'a syn::LitStr) {
        self.0.push((l.span().start().line, l.value()));
    }
}

/// The text of a string literal.
fn literal(l: &Literal) -> Option<String> {
    let tree = TokenTree::Literal(l.clone());
    match syn::parse2::<syn::Lit>(tree.into()).ok()? {
        syn::Lit::Str(s) => Some(s.value()),
        _ => None,
    }
}

fn literals(source: &str) -> Vec<(usize, String)> {
    let mut found = Literals::default();
    found.visit_file(&syn::parse_file(source).unwrap());
    found.0
}

fn files(folder: &Path, ending: &str, list: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ending, list);
        } else if path.extension().is_some_and(|e| e == ending) {
            list.push(path);
        }
    }
}

fn sources(of: impl Fn(&str) -> bool) -> Vec<Text> {
    let mut paths = Vec::new();
    files(Path::new("src"), "rs", &mut paths);
    let shown = |p: &PathBuf| p.to_string_lossy().into_owned();
    let own = paths.iter().filter(|p| {
        let name = shown(p);
        of(&name) && !name.ends_with("/tests.rs") && !name.contains("/tests/")
    });
    own.flat_map(|path| {
        let place = shown(path);
        let all = literals(&fs::read_to_string(path).unwrap());
        all.into_iter().map(move |(line, text)| Text {
            place: format!("{place}:{line}"),
            text,
        })
    })
    .collect()
}

fn lines(path: &Path) -> Vec<Text> {
    let text = fs::read_to_string(path).unwrap();
    let place = path.display().to_string();
    // A paragraph at a time: a turn may be broken over two lines.
    let paragraphs = text.split("\n\n").map(|text| Text {
        place: place.clone(),
        text: text.to_owned(),
    });
    paragraphs.collect()
}

fn is_plain(texts: &[Text], least: usize) {
    assert!(
        texts.len() >= least,
        "only {} texts were found",
        texts.len()
    );
    let complaints = complaints(texts);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn literals_are_plain() {
    is_plain(&sources(|name| !name.starts_with("src/cli")), 2_000);
}

#[test]
fn goldens_are_plain() {
    let mut paths = Vec::new();
    files(Path::new("tests/golden"), "txt", &mut paths);
    files(Path::new("tests/golden"), "md", &mut paths);
    let texts: Vec<Text> = paths.iter().flat_map(|p| lines(p)).collect();
    is_plain(&texts, 50);
}

#[test]
fn the_runbook_is_plain() {
    is_plain(&lines(Path::new("RUNBOOK.md")), 20);
}

#[test]
fn the_readme_is_plain() {
    is_plain(&lines(Path::new("README.md")), 20);
}

#[test]
fn the_help_is_plain() {
    let mut texts = sources(|name| name.starts_with("src/cli"));
    let mut program = Cli::command();
    program.build();
    let commands = program.get_subcommands_mut();
    texts.extend(commands.map(|command| Text {
        place: format!("presyn {} --help", command.get_name()),
        text: command.render_long_help().to_string(),
    }));
    texts.push(Text {
        place: "presyn --help".into(),
        text: program.render_long_help().to_string(),
    });
    is_plain(&texts, 100);
}

/// The descriptions of fields, which are the documentation of the report's types.
#[test]
fn the_schemas_are_plain() {
    for of in ["report", "lines", "diff", "whatif"] {
        let mut schema = Command::new(env!("CARGO_BIN_EXE_presyn"));
        let output = schema.args(["schema", of]).output().unwrap();
        let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut texts = Vec::new();
        descriptions(of, &schema, &mut texts);
        is_plain(&texts, 10);
    }
}

fn descriptions(place: &str, value: &serde_json::Value, list: &mut Vec<Text>) {
    if let Some(text) = value.get("description").and_then(|d| d.as_str()) {
        // Names of fields and values stand in backquotes.
        let prose = text.split('`').step_by(2);
        list.push(Text {
            place: place.to_owned(),
            text: prose.collect(),
        });
    }
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                descriptions(&format!("{place}.{name}"), value, list);
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                descriptions(place, value, list);
            }
        }
        _ => {}
    }
}

/// Each way in which a listed word can reach a reader is found, and what is no such word is not.
#[test]
fn a_listed_word_is_found() {
    let source = r#"
        #[derive(Error)]
        enum Failed {
            #[error("{path}: nobody knows")]
            Unknown,
        }
        /// Nobody reads this.
        fn say() -> String {
            let fixed = "Mend it";
            format!("{told}, {fixed}, which waited \
                     itself: {}", vec!["name servers"].len())
        }
        #[cfg(test)]
        mod tests {
            const OWN: &str = "somebody";
        }
    "#;
    let texts = literals(source).into_iter().map(|(line, text)| Text {
        place: line.to_string(),
        text,
    });
    let found = complaints(&texts.collect::<Vec<_>>());
    let words: Vec<&str> = found.iter().filter_map(|c| c.split('\'').nth(1)).collect();
    assert_eq!(words, ["nobody", "mend", "waited itself", "name servers"]);
    assert!(listed("It recommends --keep-arguments; rooms, toldly").is_empty());
    assert_eq!(listed("it was\nlet\n  go").len(), 1);
    assert!(listed("told").is_empty() && !listed("it told").is_empty());
}

/// An exception that nothing needs any more is taken away.
#[test]
fn every_exception_is_needed() {
    let texts = sources(|_| true);
    for (word, whole, reason) in ALLOWED {
        assert!(!reason.is_empty());
        assert!(
            texts.iter().any(|t| t.text == *whole) && whole.contains(word),
            "{word}"
        );
    }
}
