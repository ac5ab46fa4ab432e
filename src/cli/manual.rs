//! Manual pages and shell completions, made of the same description that the arguments are read by.

use super::Cli;
use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Prints the page of presyn itself, or writes one page for each command into a folder.
pub fn write(folder: Option<&Path>, out: &mut dyn Write) -> Result<()> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = folder else {
        return page(&program, "presyn", out).context("cannot print the manual page");
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let commands = program
        .get_subcommands()
        .map(|c| (format!("presyn-{}", c.get_name()), c));
    for (name, command) in commands.chain([("presyn".into(), &program)]) {
        let mut text = Vec::new();
        page(command, &name, &mut text)?;
        let path = folder.join(format!("{name}.1"));
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Interfaces and users in bash, for which its generator knows no hint.
const BASH: &str = r#"
_presyn_of_this_host() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    case "${COMP_WORDS[1]} $prev" in
        "run -i"|"run --interface")
            COMPREPLY=($(compgen -W "any $(command ls /sys/class/net 2>/dev/null)" -- "$cur")) ;;
        "run -u"|"run --user")
            COMPREPLY=($(compgen -u -- "$cur")) ;;
        *)
            _presyn "$@" ;;
    esac
}
complete -F _presyn_of_this_host -o bashdefault -o default presyn
"#;

/// Interfaces in fish; users it knows.
const FISH: &str = r#"
complete -c presyn -n "__fish_seen_subcommand_from run" -s i -l interface -x -a "any (command ls /sys/class/net)"
"#;

/// Prints completions for a shell.
pub fn completions(shell: Shell, out: &mut dyn Write) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "presyn", &mut script);
    let script = String::from_utf8(script).context("completions are text")?;
    match shell {
        Shell::Bash => write!(out, "{script}{BASH}"),
        Shell::Fish => write!(out, "{script}{FISH}"),
        // zsh has a function for interfaces, and clap no hint for it.
        Shell::Zsh => write!(
            out,
            "{}",
            script.replace(":IFACE:_default", ":IFACE:_net_interfaces")
        ),
        _ => write!(out, "{script}"),
    }
    .context("cannot print completions")
}

fn page(command: &clap::Command, name: &str, out: &mut dyn Write) -> io::Result<()> {
    let man = Man::new(command.clone()).title(name).manual("presyn");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(out)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(out)?;
    }
    let after = command.get_after_help().map(ToString::to_string);
    let mut roff = sections(&after.unwrap_or_default());
    if name != "presyn" {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("presyn"), roman("(1)")]);
    }
    roff.to_writer(out)
}

/// The text below the options: a heading becomes a section, indented lines stay as they are.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut verbatim = false;
    if !text.is_empty() && !starts_with_heading(text) {
        roff.control("SH", ["NOTES"]);
    }
    for line in text.lines() {
        let indented = line.starts_with("  ");
        if indented != verbatim {
            roff.control(if indented { "nf" } else { "fi" }, []);
            verbatim = indented;
        }
        match line.strip_suffix(':') {
            Some(heading) if !indented => {
                roff.control("SH", [heading.to_uppercase().as_str()]);
            }
            _ if line.is_empty() => {}
            _ => {
                roff.text([roman(line.trim_start())]);
            }
        }
    }
    if verbatim {
        roff.control("fi", []);
    }
    roff
}

fn starts_with_heading(text: &str) -> bool {
    text.lines().next().is_some_and(|line| line.ends_with(':'))
}
