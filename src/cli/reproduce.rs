//! `presyn reproduce`, as the terminal sees it.

use super::output::{self, CONDITION, DAMAGED, Screen, UNUSABLE};
use super::{Format, Reproduce, UnknownQuestions, offline, settings};
use crate::bounded;
use crate::decode::resolv_conf::ResolvConf;
use crate::event::Event;
use crate::explain::assemble::Limits;
use crate::explain::comparison::reproduced::Reproduction;
use crate::explain::comparison::{self, Comparison};
use crate::explain::scenario::responder::Unknown;
use crate::explain::scenario::{Scenario, ScenarioError};
use crate::flow::Transport;
use crate::input::host::RecordedHost;
use crate::pipeline::{self, Gathered, Settings};
use crate::render::{json, safe::escape, text};
use crate::report::Report;
use crate::session::inputs::{self, InputOptions};
use crate::session::live::{self, Listener, Plan};
use crate::session::reproduce::{self, Configuration, Stage};
use crate::shell;
use crate::source::capture::CaptureSettings;
use crate::source::privilege::RetainedRights;
use crate::source::tracer::{self, Launch};
use crate::time::Span;
use anyhow::{Context, Result, bail};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Variables that lead out of the namespaces, or to services that are not there: D-Bus, proxies, the ssh agent.
const LEADING_OUT: [&str; 2] = ["SSH_AUTH_SOCK", "XDG_RUNTIME_DIR"];
/// `HOST_NAME_MAX` (gethostname(2)).
const LONGEST_HOSTNAME: usize = 64;
/// Name of the client's link where the case does not have one name for it.
const LINK: &str = "eth0";
/// The module of nsswitch.conf that asks a name service, by the service's socket.
const MODULES: [(&str, &str); 3] = [
    ("/avahi-daemon/socket", "mdns"),
    ("/io.systemd.Resolve", "resolve"),
    ("/sss/pipes/nss", "sss"),
];
/// What stands in hosts where the case has none.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// How it ended.
pub enum Reproduced {
    /// With this status.
    Status(u8),
    /// As the command did.
    Like(tracer::Exit),
}

/// Acts a case again. Returns the exit status.
pub fn reproduce(args: &Reproduce, out: &mut dyn Write) -> Result<Reproduced> {
    if !matches!(args.report.format, Format::Text | Format::Json) {
        bail!(
            "reproduce answers in text or JSON, not in {}",
            output::name(args.report.format)
        );
    }
    let recorded = Recorded::read(args)?;
    if args.command.is_empty() {
        command_of(&recorded.report, out)?;
        return Ok(Reproduced::Status(UNUSABLE));
    }
    // What is in a buffer must not be written twice.
    out.flush()?;
    let trial = recorded.act(args)?;
    trial.said.iter().for_each(|line| say(line));
    let mut found = comparison::compare(&recorded.report, &trial.report);
    if args.save.is_none() {
        found.after.paths = vec!["the reproduced run (--save CASE stores it)".into()];
    }
    let verdict = Reproduction::of(&recorded.report, &trial.report, &found);
    let written = if args.report.format == Format::Json {
        json::write(&found, out)
    } else {
        write(args, &trial.report, &found, &verdict, out)
    };
    written.context("cannot write the comparison")?;
    Ok(match (trial.exit, args.pass_status) {
        (exit, true) => Reproduced::Like(exit),
        (_, false) if recorded.damaged => Reproduced::Status(DAMAGED),
        (_, false) => Reproduced::Status(if verdict.same { 0 } else { CONDITION }),
    })
}

/// What came of acting a case once.
pub struct Trial {
    /// The report on the reproduced run.
    pub report: Report,
    /// How the command ended.
    pub exit: tracer::Exit,
    /// What was chosen, for want of a record.
    pub said: Vec<String>,
}

/// A recorded case, read once.
pub struct Recorded {
    /// The report on it.
    pub report: Report,
    damaged: bool,
    scenario: Result<Scenario, ScenarioError>,
    files: CaseFiles,
    settings: Settings,
}

impl Recorded {
    /// Reads it, and what a reproduction of it needs.
    pub fn read(args: &Reproduce) -> Result<Self> {
        let (settings, mut options) = settings::reproduce(args)?;
        options.capture.keep_messages = true;
        let mut gathered = inputs::gather(&args.paths, &options)?;
        let damaged = gathered.is_damaged();
        pipeline::files::apply(&mut gathered);
        let files = CaseFiles::of(&gathered, args.paths.first())?;
        let (report, scenario) = pipeline::checked_report_and(gathered, &settings, Scenario::of)?;
        Ok(Self {
            report,
            damaged,
            scenario,
            files,
            settings,
        })
    }

    /// Acts a case once, with the change that is wanted.
    pub fn act(&self, args: &Reproduce) -> Result<Trial> {
        let mut scenario = self.scenario.clone()?;
        let mut said = Vec::new();
        let configuration = configuration(args, &scenario, &self.files, &mut said)?;
        let environment = environment(args, &mut said)?;
        let mended = mended(args, &scenario)?;
        for ip in &mended {
            scenario.mend(*ip);
        }
        let changed = args.resolv_conf.is_some();
        for (resolver, _) in ResolvConf::parse(&configuration.resolv_conf).used() {
            scenario.play_resolver(*resolver, changed);
        }
        let temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
        let folder = match &args.save {
            Some(folder) => folder.clone(),
            None => temporary.path().join("case"),
        };
        let mut plan = plan(args, environment, folder.clone())?;
        if let Some(user) = &plan.launch.user {
            // Behind sudo the case is written as that user.
            std::os::unix::fs::chown(temporary.path(), Some(user.uid), Some(user.gid))
                .context("cannot give the temporary directory to the command's user")?;
        }
        // A little more than as recorded, for the answer itself.
        plan.linger = match scenario.linger {
            Span::ZERO => Duration::ZERO,
            linger => Duration::from_nanos(linger.0.unsigned_abs()) + Duration::from_millis(200),
        };
        let stage = Stage {
            scenario,
            configuration,
            unknown: match args.unknown {
                None => Unknown::AsUsual,
                Some(UnknownQuestions::Nxdomain) => Unknown::NoSuchName,
                Some(UnknownQuestions::Silent) => Unknown::Silent,
                Some(UnknownQuestions::Refuse) => Unknown::Refuse,
            },
            mended,
            link: self.files.link().to_owned(),
            as_root: self.files.host.user == Some(0),
            runtime: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            forward: args.forward.clone(),
            stay: args.keep,
        };
        let acted = reproduce::run(stage, plan, &mut Waits)?;
        said.extend(acted.choices);
        Ok(Trial {
            report: offline::read(&[folder], &InputOptions::default(), &self.settings)?.report,
            exit: acted.exit,
            said,
        })
    }
}

/// A line on standard error. If that is closed or full, there is no other place to say it.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "presyn: {}", escape(line));
}

/// The headline, then the verdict, then what is compared.
fn write(
    args: &Reproduce,
    report: &Report,
    found: &Comparison,
    verdict: &Reproduction,
    out: &mut dyn Write,
) -> io::Result<()> {
    let screen = Screen::of(io::stdout(), args.report.color);
    screen.write(out, |out| {
        text::reproduction::write(&report.summary, verdict, screen.look, out)?;
        text::comparison::write(found, screen.look, out)
    })
}

/// Without a command: the recorded one, for whoever wants to type it. Nothing of a case is ever executed.
fn command_of(recorded: &Report, out: &mut dyn Write) -> Result<()> {
    let Some(run) = recorded.run.as_ref().filter(|run| !run.command.is_empty()) else {
        bail!("give the client's command after --; the case does not say what it was");
    };
    let words: Vec<_> = run.command.iter().map(|word| shell::word(word)).collect();
    say("give the client's command after --; recorded was:");
    writeln!(out, "{}", words.join(" "))?;
    Ok(())
}

/// The files of a case that are acted with.
struct CaseFiles {
    resolv_conf: Option<String>,
    hosts: Option<String>,
    nsswitch_conf: Option<String>,
    gai_conf: Option<String>,
    host: RecordedHost,
}

impl CaseFiles {
    /// The name of the client's link.
    fn link(&self) -> &str {
        self.host.only_interface().unwrap_or(LINK)
    }

    /// Those of the inputs, and those beside them in a case folder.
    fn of(gathered: &Gathered, path: Option<&PathBuf>) -> Result<Self> {
        let folder = path.filter(|path| path.is_dir());
        let beside = |name: &str| -> Result<Option<String>> {
            let Some(path) = folder.map(|folder| folder.join(name)) else {
                return Ok(None);
            };
            match bounded::whole_text(&path) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => {
                    Err(error).with_context(|| format!("{} cannot be read", path.display()))
                }
            }
        };
        Ok(Self {
            resolv_conf: gathered.resolv_conf.as_ref().map(|(_, text)| text.clone()),
            hosts: gathered.hosts.clone(),
            nsswitch_conf: beside("nsswitch.conf")?,
            gai_conf: beside("gai.conf")?,
            host: gathered.recorded_host.clone(),
        })
    }
}

/// What the client is to see in /etc: as recorded, with the change that is tried.
fn configuration(
    args: &Reproduce,
    scenario: &Scenario,
    files: &CaseFiles,
    said: &mut Vec<String>,
) -> Result<Configuration> {
    let given = |path: &Path| {
        let text = inputs::resolver_text(path);
        text.with_context(|| format!("{} cannot be read", path.display()))
    };
    let recorded = files.resolv_conf.clone().unwrap_or_else(|| {
        said.push("resolv.conf is not recorded: it names the resolvers in the order in which they were asked".into());
        in_order_asked(scenario, files.link())
    });
    let mut resolv_conf = match &args.resolv_conf {
        Some(path) => given(path)?,
        None => recorded,
    };
    for resolver in &args.without {
        let before = resolv_conf.lines().count();
        let lines: Vec<&str> = resolv_conf
            .lines()
            .filter(|l| !names(l, *resolver))
            .collect();
        if lines.len() == before {
            bail!("--without {resolver}: no nameserver line of resolv.conf names it");
        }
        resolv_conf = lines.join("\n") + "\n";
    }
    for options in &args.options {
        resolv_conf = format!("{resolv_conf}\noptions {}\n", one_line(options)?);
    }
    let hosts = match &args.hosts {
        Some(path) => given(path)?,
        None => files.hosts.clone().unwrap_or_else(|| HOSTS.to_owned()),
    };
    let nsswitch_conf = files.nsswitch_conf.clone().unwrap_or_else(|| {
        let line = sources(scenario);
        said.push(format!("nsswitch.conf is not recorded: it says '{line}'"));
        line + "\n"
    });
    Ok(Configuration {
        hostname: hostname(&hosts),
        resolv_conf,
        nsswitch_conf,
        hosts,
        gai_conf: files.gai_conf.clone().unwrap_or_default(),
    })
}

/// The `hosts` line of nsswitch.conf where the case has none: whoever was asked is asked again, in that order.
fn sources(scenario: &Scenario) -> String {
    let dns = scenario.first_query;
    let asked = |path: &str| scenario.services.iter().find(|(p, _)| p.ends_with(path));
    let (mut before, mut after) = (String::new(), String::new());
    for (path, module) in MODULES {
        let Some(first) = asked(path).and_then(|(_, waits)| waits.first()) else {
            continue;
        };
        let side = if dns.is_some_and(|dns| dns < first.began) {
            &mut after
        } else {
            &mut before
        };
        side.push(' ');
        side.push_str(module);
    }
    format!("hosts: files{before} dns{after}")
}

/// A name for the client's host, one that its hosts file resolves: programs look up their own host's name, and the recorded
/// one had an answer for that.
fn hostname(hosts: &str) -> String {
    let lines = hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""));
    let own = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let ip: IpAddr = words.next()?.parse().ok()?;
        ip.is_loopback().then_some(words)
    });
    let plain = |name: &&str| {
        name.len() <= LONGEST_HOSTNAME
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
    };
    let localhost = |name: &str| name.starts_with("localhost") || name.starts_with("ip6-");
    let mut names = own.flatten().filter(plain).filter(|name| !localhost(name));
    names.next().unwrap_or("localhost").to_owned()
}

fn one_line(text: &str) -> Result<&str> {
    if text.chars().any(char::is_control) {
        bail!("--options takes one line of words");
    }
    Ok(text)
}

/// Whether a line of resolv.conf names this resolver.
fn names(line: &str, resolver: IpAddr) -> bool {
    let named = ResolvConf::parse(line).nameservers;
    named
        .iter()
        .any(|(ip, _)| ip.to_canonical() == resolver.to_canonical())
}

fn in_order_asked(scenario: &Scenario, link: &str) -> String {
    let asked = scenario.replies.questions();
    let mut first: Vec<_> = { asked }
        .filter(|(question, _)| question.transport == Transport::Udp)
        .filter_map(|(question, list)| Some((list.first()?.sent, question.server)))
        .collect();
    first.sort();
    let mut lines = String::new();
    for (_, server) in first {
        let scope = match server {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => format!("%{link}"),
            _ => String::new(),
        };
        let line = format!("nameserver {server}{scope}\n");
        if !lines.contains(&line) {
            lines.push_str(&line);
        }
    }
    lines
}

/// The command's environment: the user's own, without what leads out of the namespaces.
fn environment(args: &Reproduce, said: &mut Vec<String>) -> Result<Vec<(OsString, OsString)>> {
    let leads_out = |name: &OsStr| {
        let name = name.to_string_lossy();
        let upper = name.to_ascii_uppercase();
        LEADING_OUT.iter().any(|out| name == *out)
            || name.starts_with("DBUS_")
            || upper.ends_with("_PROXY")
    };
    let mut list = Vec::new();
    let mut taken = Vec::new();
    for (name, value) in std::env::vars_os() {
        if leads_out(&name) && !args.keep_env {
            taken.push(name.to_string_lossy().into_owned());
        } else {
            list.push((name, value));
        }
    }
    if !taken.is_empty() {
        said.push(format!(
            "not in the command's environment, since it leads out of the namespaces: {} (--keep-env keeps it)",
            taken.join(", ")
        ));
    }
    for setting in &args.env {
        let Some((name, value)) = setting.split_once('=').filter(|(name, _)| !name.is_empty())
        else {
            bail!("--env {setting}: give NAME=VALUE");
        };
        list.retain(|(other, _)| other != name);
        list.push((name.into(), value.into()));
    }
    Ok(list)
}

/// The resolvers that `--fix 'RESOLVER answers'` names.
fn mended(args: &Reproduce, scenario: &Scenario) -> Result<BTreeSet<IpAddr>> {
    let mut list = BTreeSet::new();
    for fix in &args.fix {
        let resolver = fix.strip_suffix(" answers").unwrap_or(fix).trim();
        let Ok(ip) = resolver.parse::<IpAddr>() else {
            bail!("--fix '{fix}': give 'ADDRESS answers'");
        };
        let ip = ip.to_canonical();
        let asked = scenario.hosts.get(&ip).map(|h| &h.resolver_ports);
        if asked.is_none_or(BTreeSet::is_empty) {
            bail!("--fix '{fix}': {ip} is not a resolver of this case");
        }
        list.insert(ip);
    }
    Ok(list)
}

fn plan(args: &Reproduce, environment: Vec<(OsString, OsString)>, folder: PathBuf) -> Result<Plan> {
    let user = live::command_user(None, &environment)?;
    let environment = match &user {
        Some(user) => user.environment(&environment),
        None => environment,
    };
    let mut launch = Launch::new(args.command.clone(), environment);
    launch.user = user;
    launch.dns_ports.extend(&args.report.dns_port);
    Ok(Plan {
        capture: Some(CaptureSettings {
            dns_ports: launch.dns_ports.clone(),
            ..CaptureSettings::default()
        }),
        launch,
        settings: Settings {
            limits: Limits::BOUNDED,
            ..Settings::default()
        },
        save: Some((folder, args.force)),
        // The namespace is the reproduction's own: whoever speaks in it belongs to it.
        others: true,
        linger: Duration::ZERO,
        keep_arguments: false,
    })
}

/// Says what is waited for while the command runs; the report is made of the saved case.
struct Waits;

impl Listener for Waits {
    fn line(&mut self, line: &str) {
        say(line);
    }

    fn trouble(&mut self, line: &str) {
        say(line);
    }

    fn event(&mut self, _: &Event) {}

    fn report(&mut self, _: Gathered) -> bool {
        true
    }

    fn rights(&mut self, _: &RetainedRights, _: &str) {}
}
