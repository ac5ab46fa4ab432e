//! The map in `lib.rs` is true: every module imports only what its layer may, and pure modules name no file, socket,
//! clock, process or environment.
//!
//! Sources are parsed (syn), so that inline paths, `super::super`, grouped and renamed imports, re-exports, `extern
//! crate` and paths inside macro calls are all seen. `#[cfg(test)]` items are free.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

use proc_macro2::{TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Layers from the bottom up. A module imports modules of lower layers, and of its own where no circle comes of it.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["time", "flow", "shell"]),
    (
        1,
        &[
            "event", "input", "report", "totals", "append", "bounded", "user",
        ],
    ),
    (2, &["decode", "timetable"]),
    (3, &["clock", "merge", "coverage", "intern"]),
    (4, &["join"]),
    (5, &["explain"]),
    (6, &["eviction", "render", "case", "pipeline"]),
    (7, &["source"]),
    (8, &["session"]),
    (9, &["cli", "main"]),
];

/// `source` knows decoding and events, and nothing of what becomes of them.
const SOURCE_SEES_AT_MOST: u8 = 2;

/// Modules that touch the system.
const IMPURE: &[&str] = &[
    "append", "bounded", "user", "source", "case", "session", "cli", "main",
];

/// Crates that only impure modules may name.
const IMPURE_CRATES: &[&str] = &["clap", "indicatif", "libc", "nix", "pcap"];

/// Paths below `std` that only impure modules may name.
const IMPURE_STD: &[&[&str]] = &[
    &["env"],
    &["fs"],
    &["process"],
    &["thread"],
    &["os"],
    &["io", "stdin"],
    &["io", "stdout"],
    &["io", "stderr"],
    &["net", "TcpListener"],
    &["net", "TcpStream"],
    &["net", "UdpSocket"],
    &["time", "Instant"],
    &["time", "SystemTime"],
];

/// Macros that write to the process's own output.
const IMPURE_MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

fn layer(module: &str) -> Option<u8> {
    LAYERS
        .iter()
        .find(|(_, names)| names.contains(&module))
        .map(|(layer, _)| *layer)
}

/// Something that a module names and may not.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    line: usize,
    named: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.named)
    }
}

/// Reads the paths of one file.
struct Reader<'a> {
    /// The file's module path below the crate, as `["source", "tracer"]`.
    module: Vec<String>,
    /// Names that `use` brought in, with what they stand for.
    aliases: BTreeMap<String, Vec<String>>,
    found: &'a mut Vec<(usize, Vec<String>)>,
}

impl Reader<'_> {
    fn path(&mut self, line: usize, segments: &[String]) {
        if let Some(whole) = self.resolve(segments) {
            self.found.push((line, whole));
        }
    }

    /// The path from the crate's root, or from another crate's name.
    fn resolve(&self, segments: &[String]) -> Option<Vec<String>> {
        let first = segments.first()?;
        let rest = &segments[1..];
        let whole = match first.as_str() {
            // The binary's own library.
            "crate" | "presyn" => [&["crate".to_owned()], rest].concat(),
            "self" => [&["crate".to_owned()], self.module.as_slice(), rest].concat(),
            "super" => {
                let up = segments.iter().take_while(|s| *s == "super").count();
                let kept = self.module.len().saturating_sub(up);
                let (base, rest) = (&self.module[..kept], &segments[up..]);
                [&["crate".to_owned()], base, rest].concat()
            }
            name => match self.aliases.get(name) {
                Some(base) => [base.as_slice(), rest].concat(),
                None => segments.to_vec(),
            },
        };
        Some(whole)
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let line = tree.span().start().line;
        match tree {
            syn::UseTree::Path(path) => {
                let here = [before, &[path.ident.to_string()]].concat();
                self.tree(&path.tree, &here);
            }
            syn::UseTree::Name(name) => self.bring(line, before, &name.ident, &name.ident),
            syn::UseTree::Rename(name) => self.bring(line, before, &name.ident, &name.rename),
            syn::UseTree::Glob(_) => self.path(line, before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before);
                }
            }
        }
    }

    fn bring(&mut self, line: usize, before: &[String], name: &syn::Ident, known_as: &syn::Ident) {
        let whole = if name == "self" {
            before.to_vec()
        } else {
            [before, &[name.to_string()]].concat()
        };
        let known_as = if known_as == "self" {
            before.last().cloned().unwrap_or_default()
        } else {
            known_as.to_string()
        };
        self.path(line, &whole);
        if let Some(whole) = self.resolve(&whole) {
            self.aliases.insert(known_as, whole);
        }
    }

    /// Paths in the arguments of a macro, which syn leaves as tokens.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut joined = false;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if !(joined && colons == 2) {
                        self.finish(line, &mut path);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    (joined, colons) = (false, 0);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    joined = true;
                    colons += 1;
                }
                TokenTree::Group(group) => {
                    self.finish(line, &mut path);
                    (joined, colons) = (false, 0);
                    self.tokens(group.stream());
                }
                _ => {
                    self.finish(line, &mut path);
                    (joined, colons) = (false, 0);
                }
            }
        }
        self.finish(line, &mut path);
    }

    fn finish(&mut self, line: usize, path: &mut Vec<String>) {
        if path.len() > 1 {
            self.path(line, path);
        }
        path.clear();
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| {
        a.path().is_ident("test")
            || (a.path().is_ident("cfg")
                && a.parse_args::<syn::Path>()
                    .is_ok_and(|path| path.is_ident("test")))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(i) => &i.attrs,
        syn::Item::Enum(i) => &i.attrs,
        syn::Item::Fn(i) => &i.attrs,
        syn::Item::Impl(i) => &i.attrs,
        syn::Item::Mod(i) => &i.attrs,
        syn::Item::Static(i) => &i.attrs,
        syn::Item::Struct(i) => &i.attrs,
        syn::Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.content.is_none() {
            return;
        }
        let aliases = self.aliases.clone();
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
        self.aliases = aliases;
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.path(item.span().start().line, &[item.ident.to_string()]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 {
            self.path(path.span().start().line, &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let line = called.path.span().start().line;
        if let Some(name) = called.path.segments.last() {
            self.found.push((line, vec![format!("{}!", name.ident)]));
        }
        self.tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}
}

/// What a file of this module names: paths from the root.
fn paths(module: &[&str], text: &str) -> Vec<(usize, Vec<String>)> {
    let file = syn::parse_file(text).expect("the sources compile, so they parse");
    let mut found = Vec::new();
    let mut reader = Reader {
        module: module.iter().map(|m| (*m).to_owned()).collect(),
        aliases: BTreeMap::new(),
        found: &mut found,
    };
    // Imports first: a path may be used above its `use`.
    for item in &file.items {
        if let syn::Item::Use(item) = item
            && !is_test(&item.attrs)
        {
            reader.tree(&item.tree, &[]);
        }
    }
    reader.found.clear();
    reader.visit_file(&file);
    found
}

/// The other top modules that this path reaches.
fn reached<'a>(own: &str, path: &'a [String]) -> Option<&'a str> {
    match path {
        [root, module, ..] if root == "crate" && module != own => Some(module),
        _ => None,
    }
}

/// What one file names that its layer forbids.
fn against_layers(module: &[&str], text: &str) -> Vec<Violation> {
    let own = module.first().copied().unwrap_or("main");
    let (Some(own_layer), mut found) = (layer(own), Vec::new()) else {
        return vec![Violation {
            line: 1,
            named: format!("{own} is in no layer"),
        }];
    };
    for (line, path) in paths(module, text) {
        let Some(reached) = reached(own, &path) else {
            continue;
        };
        // Macros and items of the root itself.
        let Some(its_layer) = layer(reached) else {
            continue;
        };
        let forbidden = if own == "source" {
            its_layer > SOURCE_SEES_AT_MOST
        } else {
            its_layer > own_layer
        };
        if forbidden {
            found.push(Violation {
                line,
                named: path.join("::"),
            });
        }
    }
    found
}

/// What one file of a pure module names that touches the system.
fn impurities(module: &[&str], text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, path) in paths(module, text) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let forbidden = match path.as_slice() {
            [name] => {
                IMPURE_MACROS.iter().any(|m| *name == format!("{m}!"))
                    || IMPURE_CRATES.contains(name)
            }
            ["std" | "core" | "alloc", rest @ ..] => {
                IMPURE_STD.iter().any(|known| rest.starts_with(known))
            }
            [first, ..] => IMPURE_CRATES.contains(first),
            [] => false,
        };
        if forbidden {
            found.push(Violation {
                line,
                named: path.join("::"),
            });
        }
    }
    found
}

/// (module path, file, text) of every source file that is not for tests alone.
fn sources() -> Vec<(Vec<String>, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let inner = path.strip_prefix(&root).unwrap().with_extension("");
            let module: Vec<String> = inner
                .iter()
                .map(|s| s.to_str().unwrap().to_owned())
                .collect();
            if module == ["lib"] || module.last().is_some_and(|m| m == "tests" || m == "test") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            found.push((module, path.display().to_string(), text));
        }
    }
    found.sort();
    assert!(found.len() > 100, "the sources were not found");
    found
}

fn strs(module: &[String]) -> Vec<&str> {
    module.iter().map(String::as_str).collect()
}

#[test]
fn no_module_imports_a_higher_layer() {
    let mut wrong = Vec::new();
    for (module, file, text) in sources() {
        let found = against_layers(&strs(&module), &text);
        wrong.extend(found.iter().map(|v| format!("{file}:{v}")));
    }
    assert!(
        wrong.is_empty(),
        "imports against the layers:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn modules_of_one_layer_form_no_circle() {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, _, text) in sources() {
        let own = &module[0];
        for (_, path) in paths(&strs(&module), &text) {
            if let Some(to) = reached(own, &path).filter(|to| layer(to).is_some()) {
                arrows.entry(own.clone()).or_default().insert(to.to_owned());
            }
        }
    }
    for from in arrows.keys() {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = arrows[from].iter().collect();
        while let Some(to) = next.pop() {
            assert!(to != from, "{from} imports itself by way of others");
            if seen.insert(to) {
                next.extend(arrows.get(to).into_iter().flatten());
            }
        }
    }
}

#[test]
fn pure_modules_touch_nothing() {
    let mut wrong = Vec::new();
    for (module, file, text) in sources() {
        if IMPURE.contains(&module[0].as_str()) {
            continue;
        }
        let found = impurities(&strs(&module), &text);
        wrong.extend(found.iter().map(|v| format!("{file}:{v}")));
    }
    assert!(
        wrong.is_empty(),
        "pure modules touch the system:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_form_of_an_upward_import_is_seen() {
    let planted = [
        ("import", "use crate::render::safe;"),
        (
            "inline path",
            "fn f() { let _ = crate::render::safe::escape(x); }",
        ),
        ("type", "struct S { r: crate::render::Look }"),
        ("super", "use super::super::render::safe;"),
        (
            "inline super",
            "fn f() { super::super::render::safe::escape(x); }",
        ),
        ("group", "use crate::{event::Event, render::{self, safe}};"),
        (
            "renamed",
            "use crate::render as r;\nfn f() { r::safe::escape(x); }",
        ),
        ("glob", "use crate::render::*;"),
        ("re-export", "pub use crate::render::safe;"),
        (
            "in a macro",
            "fn f() { format!(\"{}\", crate::render::safe::escape(x)); }",
        ),
        (
            "in a nested module",
            "mod inner { use super::super::super::render::safe; }",
        ),
        ("impl", "impl crate::render::Show for S {}"),
        ("visibility", "pub(in crate::render) fn f() {}"),
    ];
    for (form, text) in planted {
        let found = against_layers(&["join", "query"], text);
        assert!(!found.is_empty(), "not seen: {form}");
    }
    let lawful = [
        "use crate::event::Event;",
        "use super::super::time::Span;",
        "/// See [`crate::render`].\nfn f() { let text = \"crate::render::safe\"; }",
        "#[cfg(test)]\nmod tests { use crate::render::safe; }",
        "#[cfg(test)]\nuse crate::render::safe;",
        "use self::render::safe;\nmod render {}",
        "fn f() { let render = 1; render::safe; }",
    ];
    for text in lawful {
        let found = against_layers(&["join", "query"], text);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
    // What lies between is not the source's business either.
    assert!(!against_layers(&["source"], "use crate::merge;").is_empty());
    assert!(against_layers(&["source"], "use crate::decode::dns;").is_empty());
    assert!(!against_layers(&["unheard"], "use crate::merge;").is_empty());
}

#[test]
fn every_form_of_an_impurity_is_seen() {
    let planted = [
        "fn f() { std::fs::read(p); }",
        "use std::env;",
        "use std::{collections::BTreeMap, fs};",
        "use std::{fmt, process::{self, Command}};",
        "use std::net::{IpAddr, TcpStream};",
        "fn f() { let t = std::time::Instant::now(); }",
        "use std::time as t;\nfn f() { t::SystemTime::now(); }",
        "use pcap::Capture;",
        "extern crate nix;",
        "fn f() { let x = libc::AF_INET; }",
        "fn f() { println!(\"x\"); }",
        "fn f() { format!(\"{:?}\", std::env::args()); }",
        "use std::io;\nfn f() { io::stderr(); }",
    ];
    for text in planted {
        assert!(!impurities(&["join"], text).is_empty(), "not seen: {text}");
    }
    let lawful = [
        "use std::net::IpAddr;",
        "use std::time::Duration;",
        "use std::io::Write;",
        "/// std::fs\nfn f() { let text = \"std::fs::read\"; }",
        "#[cfg(test)]\nmod tests { use std::fs; }",
        "use crate::decode::process;",
    ];
    for text in lawful {
        let found = impurities(&["join"], text);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}
