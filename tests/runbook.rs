//! RUNBOOK.md, README.md and `--help` say only what is so: every finding has its action, every command line parses,
//! and the example for `DuckDB` runs.

#![allow(clippy::unwrap_used, reason = "tests")]

use assert_cmd::Command;
use clap::{CommandFactory, Parser};
use presyn::cli::Cli;
use presyn::explain::finding;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The blocks of a Markdown file that are fenced as this language.
fn fenced(file: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let opening = format!("```{language}\n");
    let blocks = text.split(&opening).skip(1);
    blocks
        .map(|b| b.split("\n```").next().unwrap().to_owned())
        .collect()
}

/// The calls of presyn in shell text: each to the end of its command, without redirections.
fn calls(shell: &str) -> Vec<Vec<String>> {
    let mut calls = Vec::new();
    for line in shell.replace("\\\n", " ").lines() {
        let words = shlex::split(line).unwrap_or_else(|| panic!("quotes do not match: {line}"));
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            if word != "presyn" {
                continue;
            }
            let mut call = vec![word];
            while let Some(word) =
                words.next_if(|w| !["|", "||", "&&", ";", ">", "<"].contains(&&**w))
            {
                call.push(word);
            }
            calls.push(call);
        }
    }
    calls
}

fn parses(call: &[String], place: &str) {
    if let Err(error) = Cli::try_parse_from(call) {
        panic!("{place}: {}\n{error}", call.join(" "));
    }
    // Conditions are read later than arguments.
    for pair in call
        .windows(2)
        .filter(|p| p[0] == "--fail-on" && call[1] == "analyze")
    {
        presyn::cli::condition::Condition::parse(&pair[1]).unwrap();
    }
}

#[test]
fn every_finding_has_its_action() {
    let text = fs::read_to_string("RUNBOOK.md").unwrap();
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|l| l.starts_with("| `"))
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let of = |id: &str| {
        rows.iter()
            .filter(move |r| r[0] == format!("`{id}`"))
            .count()
    };
    for page in finding::pages() {
        assert_eq!(
            of(page.id.name()),
            1,
            "RUNBOOK.md has no one row of {}",
            page.id
        );
    }
    let ids: BTreeSet<&str> = finding::pages().map(|p| p.id.name()).collect();
    for row in rows.iter().filter(|r| r.len() == 3) {
        let id = row[0].trim_matches('`');
        assert!(ids.contains(id), "no finding is called {id}");
        assert!(
            row[1].len() > 10 && row[2].len() > 20,
            "{id} has no action: {row:?}"
        );
    }
}

#[test]
fn every_command_line_of_the_documents_parses() {
    for (file, least) in [("RUNBOOK.md", 10), ("README.md", 10)] {
        let mut found: Vec<Vec<String>> =
            fenced(file, "sh").iter().flat_map(|b| calls(b)).collect();
        let text = fs::read_to_string(file).unwrap();
        // Commands within sentences and tables; `presyn explain FINDING` has a placeholder.
        let inline = text.split('`').skip(1).step_by(2);
        let inline = inline.filter(|code| code.contains("presyn ") && !code.contains('\n'));
        found.extend(inline.flat_map(calls));
        assert!(found.len() >= least, "{file}: {found:?}");
        for call in found {
            parses(&call, file);
        }
    }
}

#[test]
fn every_example_of_the_help_parses() {
    let program = Cli::command();
    let mut commands: Vec<&clap::Command> = program.get_subcommands().collect();
    commands.push(&program);
    for command in commands {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string);
        let help = help.unwrap_or_else(|| panic!("{name} has no examples"));
        let examples = help.split("Examples:\n").nth(1).unwrap_or_default();
        let examples: Vec<&str> = examples
            .lines()
            .take_while(|l| l.starts_with("  "))
            .collect();
        assert!(!examples.is_empty(), "{name} has no examples");
        let found = calls(&examples.join("\n"));
        assert!(found.len() >= examples.len(), "{name}: {examples:?}");
        let own = |call: &Vec<String>| name == "presyn" || call[1] == name;
        assert!(found.iter().any(own), "{name}: {found:?}");
        for call in found {
            parses(&call, name);
        }
    }
}

/// With `UPDATE_README=1` the outputs are written into README.md again.
#[test]
fn what_the_readme_shows_is_what_is_printed() {
    let update = std::env::var_os("UPDATE_README").is_some_and(|v| v == "1");
    let mut text = fs::read_to_string("README.md").unwrap();
    let mut commands = BTreeSet::new();
    for block in fenced("README.md", "text") {
        let Some(call) = block.strip_prefix("$ presyn ") else {
            continue;
        };
        let (args, shown) = call.split_once('\n').unwrap();
        let words: Vec<&str> = args.split(' ').collect();
        let mut presyn = Command::new(env!("CARGO_BIN_EXE_presyn"));
        let output = presyn.args(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args}");
        let printed = String::from_utf8(output.stdout).unwrap();
        let printed = printed.trim_end();
        commands.insert(words[0].to_owned());
        if update {
            text = text.replace(&block, &format!("$ presyn {args}\n{printed}"));
        } else {
            assert_eq!(printed, shown, "{args}: UPDATE_README=1 writes it again");
        }
    }
    if update {
        fs::write("README.md", text).unwrap();
    }
    assert_eq!(Vec::from_iter(commands), ["analyze", "diff", "whatif"]);
}

#[test]
fn the_map_names_files_that_exist() {
    let text = ["ARCHITECTURE.md", "CONTRIBUTING.md"]
        .map(|file| fs::read_to_string(file).unwrap())
        .concat();
    let named = text.split('`').skip(1).step_by(2);
    let named = named.filter(|code| {
        ["src/", "tests/", "scripts/"]
            .iter()
            .any(|at| code.starts_with(at))
            && !code.contains(' ')
    });
    let mut count = 0;
    for path in named {
        assert!(std::path::Path::new(path).exists(), "{path}");
        count += 1;
    }
    assert!(count > 40, "{count}");
}

#[test]
fn links_between_the_papers_lead_somewhere() {
    for file in [
        "README.md",
        "RUNBOOK.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "COST.md",
    ] {
        let text = fs::read_to_string(file).unwrap();
        for link in text.split("](").skip(1) {
            let to = link.split(')').next().unwrap();
            assert!(std::path::Path::new(to).exists(), "{file}: {to}");
        }
    }
}

/// A program that runs SQL from standard input, its arguments and what it is, if there is one.
fn duckdb() -> Option<(&'static str, Vec<&'static str>)> {
    const SCRIPT: &str = "import duckdb, re, sys\n\
        for statement in re.sub('--.*', '', sys.stdin.read()).split(';'):\n    \
        found = duckdb.sql(statement) if statement.strip() else None\n    \
        if found: [print(','.join(map(str, row))) for row in found.fetchall()]";
    let runs = |program: &str, args: &[&str]| {
        let output = std::process::Command::new(program).args(args).output();
        output.is_ok_and(|o| o.status.success())
    };
    if runs("duckdb", &["--version"]) {
        return Some(("duckdb", vec!["-csv", "-noheader"]));
    }
    runs("python3", &["-c", "import duckdb"]).then(|| ("python3", vec!["-c", SCRIPT]))
}

#[test]
fn the_example_for_duckdb_runs() {
    let Some((program, args)) = duckdb() else {
        let said =
            "SKIPPED: duckdb is not here (pip install duckdb), RUNBOOK.md's SQL is NOT tried\n";
        // Not eprintln: the test harness swallows what passing tests print.
        std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut cases: Vec<String> = fs::read_dir("captures")
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .map(|p| p.display().to_string())
        .collect();
    cases.sort();
    let lines = Command::new(env!("CARGO_BIN_EXE_presyn"))
        .args(["analyze", "--format", "jsonl"])
        .args(&cases)
        .output()
        .unwrap();
    assert_eq!(lines.status.code(), Some(0));
    fs::write(folder.path().join("cases.jsonl"), lines.stdout).unwrap();
    let sql = fenced("RUNBOOK.md", "sql").concat();
    let output = Command::new(program)
        .args(args)
        .current_dir(folder.path())
        .write_stdin(sql)
        .output()
        .unwrap();
    let rows = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{complaints}");
    // One row of each question that the captures' own story tells.
    for start in [
        "10.0.1.93:53,",
        "resolver-silent,10.0.1.93:53,",
        "resolver-silent,13,56.1",
        "captures/zookeeper-three-silent,192.168.110.231:8998,231.110.168.192.in-addr.arpa,57.8",
    ] {
        let found = rows.lines().filter(|l| l.starts_with(start)).count();
        assert_eq!(found, 1, "{start} in\n{rows}{complaints}");
    }
    assert_eq!(rows.lines().count(), 20, "{rows}");
}

#[test]
fn the_job_for_cron_works_from_the_first_night_on() {
    let blocks = fenced("RUNBOOK.md", "sh");
    let job = blocks
        .iter()
        .find(|block| block.contains("--fail-on worse"));
    let folder = tempfile::tempdir().unwrap();
    let tool = |name: &str, script: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    // Tracing needs no right; what there is to wait for is the test's.
    let presyn = env!("CARGO_BIN_EXE_presyn");
    tool(
        "presyn",
        &format!(
            "case $1 in run) shift; exec {presyn} run --no-capture \"$@\";; esac\nexec {presyn} \"$@\""
        ),
    );
    tool("mail", "cat > mailed");
    let night = |curl: &str| {
        tool("curl", curl);
        let path = format!(
            "{}:{}",
            folder.path().display(),
            std::env::var("PATH").unwrap()
        );
        let output = std::process::Command::new("sh")
            .args(["-c", job.unwrap()])
            .env("PATH", path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert_eq!(
            String::from_utf8_lossy(&said),
            "",
            "cron mails what a job prints"
        );
        assert_eq!(output.status.code(), Some(0));
        assert!(folder.path().join("last.json").exists());
        folder.path().join("mailed").exists()
    };
    let connect = "exec python3 -c 'import socket; socket.socket().connect_ex((\"127.0.0.1\", 1))'";
    assert!(!night("exit 0"), "the first night");
    assert!(!night("exit 0"), "nothing new");
    assert!(night(connect), "a refused connection is new");
}
