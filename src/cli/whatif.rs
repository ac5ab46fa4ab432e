//! `presyn whatif`, as the terminal sees it.

use super::output::{self, CONDITION, DAMAGED, Screen};
use super::reproduce::{self, Recorded};
use super::{Format, Reproduce, Whatif, settings};
use crate::explain::comparison;
use crate::explain::comparison::reproduced::Proof;
use crate::explain::whatif::answer::answer;
use crate::pipeline;
use crate::render::{json, text};
use crate::report::whatif::WhatIf;
use crate::session::inputs;
use anyhow::{Context, Result, bail};
use std::io::{self, Write};

/// Answers a question about a case. Returns the exit status.
pub fn whatif(args: &Whatif, out: &mut dyn Write) -> Result<u8> {
    let (settings, options, change) = settings::whatif(args)?;
    let format = args.report.format;
    if matches!(format, Format::Markdown | Format::Jsonl) {
        bail!(
            "whatif answers in text or JSON, not in {}",
            output::name(format)
        );
    }
    if args.prove && format != Format::Text {
        bail!("--prove answers in text");
    }
    if args.prove && args.without_reverse_lookup {
        bail!(
            "--prove cannot keep a client from looking up an address: give the client's own option for that to presyn \
             reproduce, in CMD or by --env"
        );
    }
    if inputs::cases(&args.paths)?.len() > 1 {
        bail!("several folders are a case each; whatif answers about one");
    }
    let gathered = inputs::gather(&args.paths, &options)?;
    let damaged = gathered.is_damaged();
    let answers = pipeline::checked_case(gathered, &settings, |case| {
        answer(case, settings.limits, change)
    })??;
    let written = if format == Format::Json {
        json::write(&answers, out)
    } else {
        let screen = Screen::of(io::stdout(), args.report.color);
        screen.write(out, |out| text::whatif::write(&answers, screen.look, out))
    };
    written.context("cannot write the answer")?;
    if args.prove {
        return prove(args, &answers, out);
    }
    Ok(if damaged { DAMAGED } else { 0 })
}

/// Acts the case without and with the change, and holds what was measured against what was predicted.
fn prove(args: &Whatif, answers: &WhatIf, out: &mut dyn Write) -> Result<u8> {
    let [answer] = &answers.answers[..] else {
        bail!("--prove needs a change: --without, --options or --resolv-conf");
    };
    let Some(delay) = answer.delays.first() else {
        bail!("--prove: the case has no delay that could be measured");
    };
    out.flush()?;
    let recorded = Recorded::read(&trial_of(args, false))?;
    let mut rows = Vec::new();
    for (changed, least, most) in [
        (false, delay.seen_s, delay.seen_s),
        (true, delay.least_s, delay.most_s),
    ] {
        let trial = recorded.act(&trial_of(args, changed))?;
        trial.said.iter().for_each(|line| reproduce::say(line));
        let compared = comparison::compare(&recorded.report, &trial.report);
        rows.push(Proof {
            what: if changed {
                answer.change.clone()
            } else {
                "As recorded".into()
            },
            predicted: (least, most),
            measured: compared.slowest_after(),
        });
    }
    let screen = Screen::of(io::stdout(), args.report.color);
    screen
        .write(out, |out| {
            text::reproduction::proof(&rows, screen.look, out)
        })
        .context("cannot write the proof")?;
    Ok(if rows.iter().all(Proof::holds) {
        0
    } else {
        CONDITION
    })
}

/// How the case is acted, without or with the change.
fn trial_of(args: &Whatif, changed: bool) -> Reproduce {
    let some = |list: &[String]| if changed { list.to_vec() } else { Vec::new() };
    Reproduce {
        paths: args.paths.clone(),
        command: args.command.clone(),
        resolv_conf: args.resolv_conf.clone().filter(|_| changed),
        options: some(&args.options),
        without: if changed {
            args.without.clone()
        } else {
            Vec::new()
        },
        fix: Vec::new(),
        hosts: None,
        env: Vec::new(),
        unknown: None,
        forward: None,
        keep_env: false,
        keep: false,
        pass_status: false,
        save: None,
        force: false,
        recorded_resolv_conf: args.recorded_resolv_conf.clone(),
        report: args.report.clone(),
        reading: args.reading.clone(),
    }
}
