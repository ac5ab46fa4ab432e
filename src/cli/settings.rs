//! From what was typed to what is meant.

use super::condition::Condition;
use super::{
    Analyze, AttachArgs, Format, ReadingArgs, ReportArgs, Reproduce, RunArgs, Whatif, entered,
    output,
};
use crate::clock::Given;
use crate::decode::resolv_conf::ResolvConf;
use crate::event::dns::Name;
use crate::explain::assemble::Limits;
use crate::explain::whatif::Change;
use crate::flow::{DNS_PORT, Endpoint, NAME_SERVICE_PORTS, Target, TargetHost};
use crate::input::progress::Progress;
use crate::input::selection::{Moment, Selection};
use crate::pipeline::Settings;
use crate::session::inputs::{self, InputOptions};
use crate::session::live::attach::AttachPlan;
use crate::session::live::{self, Plan};
use crate::source::capture;
use crate::source::capture_file::CaptureOptions;
use crate::source::target::Asked;
use crate::source::tracer::{self, Launch};
use crate::time::{SECOND, Span, Timestamp};
use crate::user::User;
use crate::user::files::{self as user_files, as_whom};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of an analysis.
pub fn analyze(args: &Analyze) -> Result<(Settings, InputOptions, Vec<Condition>)> {
    let (settings, inputs) = recorded(&args.report, &args.reading, args.resolv_conf.clone())?;
    Ok((settings, inputs, Condition::parse_all(&args.fail_on)?))
}

/// Settings of a question, and the question; `None`: whatever may help.
pub fn whatif(args: &Whatif) -> Result<(Settings, InputOptions, Option<Change>)> {
    if args.report.verify {
        bail!("--verify shows the evidence of what was seen; use it with analyze");
    }
    let (settings, inputs) = recorded(
        &args.report,
        &args.reading,
        args.recorded_resolv_conf.clone(),
    )?;
    let conf = args.resolv_conf.as_deref().map(|path| {
        let text = inputs::resolver_text(path)
            .with_context(|| format!("--resolv-conf {} cannot be read", path.display()))?;
        let conf = ResolvConf::parse(&text);
        if conf.nameservers.is_empty() {
            bail!(
                "--resolv-conf {}: no nameserver line with an address",
                path.display()
            );
        }
        Ok::<_, anyhow::Error>((path.display().to_string(), conf))
    });
    let words = args.options.iter().flat_map(|o| o.split_whitespace());
    let change = Change {
        without: args.without.clone(),
        conf: conf.transpose()?,
        options: words.map(str::to_owned).collect(),
        no_reverse: args.without_reverse_lookup,
    };
    let asked = Some(change).filter(|c| !c.is_empty());
    Ok((settings, inputs, asked))
}

/// Settings of a reproduction.
pub fn reproduce(args: &Reproduce) -> Result<(Settings, InputOptions)> {
    let resolv_conf = args.recorded_resolv_conf.clone();
    let (mut settings, mut inputs) = recorded(&args.report, &args.reading, resolv_conf)?;
    // Who is left out of a list would look gone.
    settings.limits = Limits::ALL;
    inputs.limits = Limits::ALL;
    Ok((settings, inputs))
}

/// Settings for recorded files; `resolv_conf` is the client's, where it is given.
fn recorded(
    wanted: &ReportArgs,
    reading: &ReadingArgs,
    resolv_conf: Option<PathBuf>,
) -> Result<(Settings, InputOptions)> {
    let mut settings = report(wanted)?;
    settings.pids.clone_from(&reading.pid);
    settings.clock = Given {
        offset: reading.clock_offset.map(seconds).transpose()?,
        utc_offset: reading.tz.as_deref().map(zone).transpose()?,
    };
    settings.force_join = reading.force_join;
    let inputs = InputOptions {
        capture: CaptureOptions {
            dns_ports: wanted.dns_port.clone(),
            filter: reading.filter.clone(),
            selection: selection(reading)?,
            progress: Progress::default(),
            keep_messages: false,
        },
        resolv_conf,
        // Which addresses a name has is known when all is read: nothing may be evicted before.
        limits: match settings.target.as_ref().map(|target| &target.host) {
            Some(TargetHost::Name(_)) => Limits::ALL,
            Some(TargetHost::Any | TargetHost::At(_)) | None => settings.limits,
        },
        target: settings.target.clone(),
        pids: settings.pids.clone(),
        clock: settings.clock,
    };
    Ok((settings, inputs))
}

/// Which packets of the captures are wanted.
fn selection(reading: &ReadingArgs) -> Result<Selection> {
    let name = reading.name.as_deref();
    let name = name.map(|name| Name(name.trim_end_matches('.').into()));
    Ok(Selection {
        client: reading.client,
        name,
        since: reading.since.as_deref().map(moment).transpose()?,
        until: reading.until.as_deref().map(moment).transpose()?,
    })
}

/// A time as typed: RFC 3339, or seconds.
fn moment(text: &str) -> Result<Moment> {
    if let Ok(after) = text.parse() {
        return Ok(Moment::After(seconds(after)?));
    }
    let at: jiff::Timestamp = text.parse().with_context(|| {
        format!("'{text}' is neither seconds nor a time like 2026-11-22T11:07:50Z")
    })?;
    let nanos = i64::try_from(at.as_nanosecond())
        .with_context(|| format!("'{text}' is too far from 1970"))?;
    Ok(Moment::At(Timestamp(nanos)))
}

/// What to run, capture and save.
pub fn run(args: &RunArgs) -> Result<(Settings, Plan)> {
    let format = args.live.report.format;
    if matches!(format, Format::Json | Format::Jsonl) && args.live.report_file.is_none() {
        bail!(
            "--format {} needs --report FILE: standard error also carries the command's own messages",
            output::name(format)
        );
    }
    let settings = Settings {
        stored: args.live.save.is_some(),
        ..report(&args.live.report)?
    };
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let user = live::command_user(args.user.as_deref(), &environment)?;
    let environment = user
        .as_ref()
        .map_or_else(|| environment.clone(), |u| u.environment(&environment));
    let mut launch = Launch::new(args.command.clone(), environment);
    launch.resolv_conf = resolv_conf(args, user.as_ref())?;
    launch.user = user;
    launch.begin_in(entered::entrance(args)?);
    launch.trace = !args.no_trace;
    launch.allow_setuid = args.allow_setuid;
    launch.pin = !args.no_pin;
    launch.stacks = args.stacks;
    launch.dns_ports.extend(&args.live.report.dns_port);
    let capture = (!args.no_capture).then(|| capture::CaptureSettings {
        interface: args.interface.clone(),
        snaplen: args.snaplen,
        filter: args.filter.clone(),
        dns_ports: launch.dns_ports.clone(),
        netns: launch
            .network()
            .or_else(|| entered::by_command(&args.command)),
    });
    Ok((
        settings.clone(),
        Plan {
            settings,
            launch,
            capture,
            save: args
                .live
                .save
                .clone()
                .map(|folder| (folder, args.live.force)),
            others: args.others,
            linger: Duration::ZERO,
            keep_arguments: args.live.keep_arguments,
        },
    ))
}

/// What `presyn attach` is to do.
pub fn attach(args: &AttachArgs) -> Result<(Settings, AttachPlan)> {
    let settings = Settings {
        stored: args.live.save.is_some(),
        ..report(&args.live.report)?
    };
    let environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let asked = match (&args.unit, &args.container) {
        (Some(unit), _) => Asked::Unit(unit.clone()),
        (None, Some(container)) => Asked::Container(container.clone()),
        (None, None) => Asked::Processes(args.pids.clone()),
    };
    let mut dns_ports = NAME_SERVICE_PORTS.to_vec();
    dns_ports.extend(&args.live.report.dns_port);
    let plan = AttachPlan {
        settings: settings.clone(),
        asked,
        capture: capture::CaptureSettings {
            interface: args.interface.clone(),
            snaplen: args.snaplen,
            filter: args.filter.clone(),
            dns_ports,
            netns: None,
        },
        save: args
            .live
            .save
            .clone()
            .map(|folder| (folder, args.live.force)),
        user: live::command_user(None, &environment)?,
        calls: args.calls,
        duration: args.duration.map(Duration::from_secs_f64),
        until_delay: { args.until_delay.map(Duration::from_secs_f64) }
            .and_then(|delay| i64::try_from(delay.as_nanos()).ok().map(Span)),
        keep_arguments: args.live.keep_arguments,
    };
    Ok((settings, plan))
}

/// What the command is to see as its resolv.conf, read as the run's user would.
fn resolv_conf(args: &RunArgs, user: Option<&User>) -> Result<Option<tracer::SubstituteFile>> {
    let Some(path) = &args.resolv_conf else {
        return Ok(None);
    };
    let text = user_files::read_small(path, user, tracer::LONGEST_RESOLV_CONF);
    let path = path.display().to_string();
    let text = text.with_context(|| format!("--resolv-conf {path}{}", as_whom(user)))?;
    Ok(Some(tracer::SubstituteFile { path, text }))
}

/// Settings that every report shares.
pub fn report(args: &ReportArgs) -> Result<Settings> {
    let mut dns_ports = vec![DNS_PORT];
    dns_ports.extend(args.dns_port.iter().copied().filter(|p| *p != DNS_PORT));
    Ok(Settings {
        dns_ports,
        target: args.target.as_deref().map(target).transpose()?,
        // Whoever counts lines would take a cut list for the whole.
        limits: if args.all || args.format == Format::Jsonl {
            Limits::ALL
        } else {
            Limits::BOUNDED
        },
        ..Settings::default()
    })
}

fn seconds(value: f64) -> Result<Span> {
    if !value.is_finite() || value.abs() > 1e10 {
        bail!("--clock-offset {value}: not a number of seconds that makes sense");
    }
    // The range is checked above.
    #[allow(clippy::cast_possible_truncation)]
    Ok(Span((value * 1e9).round() as i64))
}

/// A zone's offset from UTC, east positive.
fn zone(text: &str) -> Result<Span> {
    if text.eq_ignore_ascii_case("utc") || text == "Z" {
        return Ok(Span::ZERO);
    }
    if let Some(sign) = text.chars().next().filter(|c| matches!(c, '+' | '-')) {
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let (hours, minutes) = match digits.len() {
            1 | 2 => (digits.parse::<i64>()?, 0),
            4 => (digits[..2].parse()?, digits[2..].parse()?),
            _ => bail!("--tz {text}: give an offset as +HH:MM"),
        };
        let offset = Span::seconds(hours * 3600 + minutes * 60);
        return Ok(if sign == '-' { -offset } else { offset });
    }
    let zone = jiff::tz::TimeZone::get(text)
        .with_context(|| format!("--tz {text}: give UTC, +HH:MM or a name like Europe/Berlin"))?;
    // The log has no date; a zone with daylight saving is taken as it is now, and pairs of events correct it.
    let now = zone.to_offset(jiff::Timestamp::now());
    Ok(Span(i64::from(now.seconds()) * SECOND))
}

/// `HOST:PORT`, `[V6]:PORT` or `:PORT`.
fn target(text: &str) -> Result<Target> {
    if let Ok(address) = text.parse::<std::net::SocketAddr>() {
        return Ok(Endpoint::from(address).into());
    }
    let forms = || format!("--target {text}: give HOST:PORT, [V6]:PORT or :PORT");
    let (host, port) = text.rsplit_once(':').with_context(forms)?;
    let port = port.parse().with_context(forms)?;
    let is_name =
        |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ':' | '[' | ']' | '/');
    let host = match host {
        "" => TargetHost::Any,
        name if name.chars().all(is_name) => TargetHost::Name(name.into()),
        _ => bail!(forms()),
    };
    Ok(Target { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_or_refused_with_the_forms() {
        let read = |text| target(text).map(|t| (t.host, t.port)).ok();
        let at = |ip: &str| Some(TargetHost::At(ip.parse().unwrap()));
        for (text, host) in [
            (":80", Some(TargetHost::Any)),
            ("192.0.2.1:80", at("192.0.2.1")),
            ("[2001:db8::1]:80", at("2001:db8::1")),
            ("[::ffff:192.0.2.1]:80", at("192.0.2.1")),
            (
                "web.example:80",
                Some(TargetHost::Name("web.example".into())),
            ),
        ] {
            assert_eq!(read(text), host.map(|host| (host, 80)), "{text}");
        }
        for text in [
            "",
            ":",
            "80",
            "web.example",
            "web:http",
            "2001:db8::1:80",
            "[::1:80",
            "http://web:80",
            "a b:80",
            "web:99999",
        ] {
            let said = target(text).map_or_else(|e| e.to_string(), |t| format!("{t:?}"));
            assert!(said.contains("give HOST:PORT"), "{text}: {said}");
        }
    }
}
