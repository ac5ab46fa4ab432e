//! Commands that are printed as advice, with hostile names in them, read by a real bash: each is one program with
//! exactly the arguments that were meant, and nothing in a name is executed.

#![allow(clippy::unwrap_used, reason = "tests")]

use presyn::event::dns::{Message, Name};
use presyn::event::{Event, EventKind, Op, Packet};
use presyn::pipeline::{self, Gathered, Settings};
use presyn::render::evidence::{self, Cited};
use presyn::render::text::{self, Look};
use presyn::session::inputs::{self, InputOptions};
use presyn::shell;
use std::path::Path;
use std::process::Command;

/// Labels that a shell, a terminal or dig would read as something else.
const HOSTILE: &[&str] = &[
    "x';touch pasted;'",
    "$(touch pasted)",
    "`touch pasted`",
    "\"; touch pasted; \"",
    "a|touch pasted",
    "&touch pasted&",
    "x\ntouch pasted\n",
    "\\'$'\\n touch pasted #",
    "\u{1b}[31m\u{1b}]0;owned\u{7}",
    "\u{9b}2J\u{7f}\u{8}",
    "safe\u{202e}gpj.exe\u{200b}\u{e0041}",
    "!touch !! !$",
    "-x",
    "+trace",
    "@10.9.9.9",
    "=ls",
    "~root",
    "*?[a-z]{a,b}",
    "größe 中文",
    "<script>#",
    "poweroff",
];

/// What bash makes of a command: its words.
fn words(command: &str, folder: &Path) -> Vec<String> {
    let bash = |arguments: &[&str]| {
        let mut bash = Command::new("bash");
        bash.args(arguments).current_dir(folder).output().unwrap()
    };
    let checked = bash(&["--norc", "-n", "-c", command]);
    assert!(checked.status.success(), "{command}: {checked:?}");
    let script = r#"set -f; eval "set -- $1"; printf '%s\0' "$@""#;
    let read = bash(&["--norc", "-c", script, "bash", command]);
    assert!(read.status.success(), "{command}: {read:?}");
    let said = String::from_utf8(read.stdout).unwrap();
    said.split_terminator('\0').map(str::to_owned).collect()
}

/// Gives every name of a case another first label.
fn rename(gathered: &mut Gathered, label: &str) {
    let message = |message: &mut Message| {
        if let Some(question) = &mut message.question
            && question.name.0.ends_with("example.lab")
        {
            question.name = Name(format!("{label}.example.lab").into());
        }
    };
    let traced = gathered.traces.iter_mut().flat_map(|(_, events)| events);
    for Event { what, .. } in traced.chain(&mut gathered.packets) {
        match what {
            EventKind::Packet(Packet::Dns { message: m, .. }) => message(m),
            EventKind::Call(call) => match &mut call.op {
                Op::Send { messages, .. } | Op::Receive { messages, .. } => {
                    messages
                        .iter_mut()
                        .flat_map(|m| &mut m.dns)
                        .for_each(message);
                }
                _ => {}
            },
            _ => {}
        }
    }
}

#[test]
fn remedies_hold_one_command_with_the_name_as_one_word() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases: Vec<_> = std::fs::read_dir("captures")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    cases.sort();
    for label in HOSTILE {
        let name = format!("{label}.example.lab");
        let mut seen = 0;
        for case in &cases {
            let mut gathered =
                inputs::gather(std::slice::from_ref(case), &InputOptions::default()).unwrap();
            rename(&mut gathered, label);
            let report = pipeline::report(gathered, &Settings::default());
            let mut shown = Vec::new();
            text::write(&report, Look::default(), &mut shown).unwrap();
            let shown = String::from_utf8(shown).unwrap();
            for remedy in report.findings.iter().filter_map(|f| f.remedy.as_deref()) {
                let (sentences, command) = match remedy.split_once('\n') {
                    Some((sentences, command)) => (sentences, Some(command)),
                    None => (remedy, None),
                };
                // Whoever builds a command into the sentences is told to put it on the second line.
                assert!(
                    !["dig @", "getent ", "sudo "]
                        .iter()
                        .any(|c| sentences.contains(c)),
                    "{remedy}"
                );
                let Some(command) = command else { continue };
                seen += 1;
                let words = words(command, folder.path());
                assert_eq!(words[0], "dig", "{command}");
                // A reverse lookup has an address where others have the name.
                if let [.., option, address] = &words[..]
                    && option == "-x"
                {
                    address.parse::<std::net::IpAddr>().unwrap();
                    continue;
                }
                assert_eq!(words.last(), Some(&name), "{command}");
                assert!(words[1..words.len() - 1].iter().all(|w| {
                    w == "-q"
                        || w.strip_prefix('@')
                            .is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok())
                }));
                let option = name.starts_with(['-', '+', '@']);
                assert_eq!(words.iter().any(|w| w == "-q"), option, "{command}");
                // Wrapped, its second part would be a command of its own.
                assert!(
                    shown.lines().any(|l| l.trim_start() == command),
                    "{command}\n{shown}"
                );
            }
        }
        assert!(seen > 0, "no remedy has a command: {label:?}");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "executed");
}

#[test]
fn paths_of_the_evidence_are_one_word() {
    let folder = tempfile::tempdir().unwrap();
    for name in HOSTILE {
        for path in [(*name).to_owned(), format!("/a b/{name}")] {
            let cited = Cited {
                path: &path,
                numbers: vec!["3", "7"],
            };
            for command in [evidence::tshark(&cited), evidence::sed(&cited)] {
                let words = words(&command, folder.path());
                let plain = |w: &String| w.strip_prefix("./").unwrap_or(w) == path;
                assert_eq!(words.iter().filter(|w| plain(w)).count(), 1, "{command}");
                assert_eq!(
                    words.len(),
                    if words[0] == "sed" { 4 } else { 6 },
                    "{command}"
                );
                assert!(
                    command.chars().all(|c| !c.is_control()),
                    "{command:?} cannot be shown"
                );
            }
        }
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "executed");
}

#[test]
fn bash_reads_back_what_was_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let every: String = (1..0x250).filter_map(char::from_u32).collect();
    for text in HOSTILE.iter().copied().chain([every.as_str(), "", "a'b"]) {
        let quoted = shell::word(text);
        assert_eq!(
            words(&format!("echo {quoted}"), folder.path()),
            ["echo", text]
        );
    }
}
