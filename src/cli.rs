//! What was typed. Validation and defaults are in [`settings`].

pub mod condition;
pub mod diff;
mod entered;
pub mod fallback;
pub mod help;
pub mod live;
pub mod manual;
pub mod offline;
pub mod output;
pub mod progress;
pub mod reproduce;
pub mod settings;
pub mod values;
pub mod whatif;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

/// Why did my client wait before its SYN?
#[derive(Debug, Parser)]
#[command(
    name = "presyn",
    version,
    about,
    max_term_width = 100,
    propagate_version = true,
    after_help = help::PRESYN
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Explain a recorded case: a case folder, or any mix of captures and strace logs.
    Analyze(Analyze),
    /// Run a command, trace and capture it, and explain what it waited for.
    Run(RunArgs),
    /// Watch what already runs, without stopping it, and explain its delays.
    Attach(AttachArgs),
    /// Estimate the delay with other resolvers or options.
    Whatif(Whatif),
    /// Reproduce a case: its resolvers and servers in private namespaces, your client between them.
    Reproduce(Reproduce),
    /// Compare two runs of one client: what went away, what is new, what it gained.
    Diff(Diff),
    /// Show what this machine permits, and how to fix what is missing.
    #[command(after_help = help::CHECK)]
    Check,
    /// Show what a finding means and what to do about it.
    #[command(after_help = help::EXPLAIN)]
    Explain {
        /// A finding's id; without it, the list of all.
        #[arg(value_parser = values::Findings, hide_possible_values = true)]
        finding: Option<String>,
    },
    /// Print the JSON schema of what presyn writes for programs.
    #[command(after_help = help::SCHEMA)]
    Schema {
        /// Of what.
        #[arg(value_enum, default_value_t = Document::Report)]
        of: Document,
    },
    /// Print the manual page, or write one page for each command into a folder.
    #[command(after_help = help::MAN)]
    Man {
        /// The folder.
        folder: Option<PathBuf>,
    },
    /// Print completions for a shell.
    #[command(after_help = help::COMPLETIONS)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `presyn analyze`.
#[derive(Debug, Args)]
#[command(after_help = help::ANALYZE)]
pub struct Analyze {
    /// A case folder, or the files of one run in any order: captures, strace logs, the client's resolv.conf; `-` is
    /// standard input. Several folders are a case each.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Options shared by everything that makes a report.
    #[command(flatten)]
    pub report: ReportArgs,
    /// How to read the files.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// The client's resolv.conf at the time of the run; replaces the one that the inputs hold.
    #[arg(long, value_name = "FILE", help_heading = "Reading")]
    pub resolv_conf: Option<PathBuf>,
    /// Exit with 1 when this holds: a finding, `delay>SECONDS` or `unanswered>N`. May be repeated; one is enough.
    #[arg(long, value_name = "CONDITION", value_parser = values::Conditions, hide_possible_values = true)]
    pub fail_on: Vec<String>,
}

/// `presyn whatif`.
#[derive(Debug, Args)]
#[command(after_help = help::WHATIF, override_usage = "presyn whatif [OPTIONS] PATH... [--prove -- CMD [ARG]...]")]
pub struct Whatif {
    /// A case folder, or the files of one run in any order: captures, strace logs, the client's resolv.conf; `-` is
    /// standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Without this resolver.
    #[arg(long, value_name = "RESOLVER")]
    pub without: Vec<std::net::IpAddr>,
    /// With this resolv.conf instead of the one that the client had: the change to try.
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// With these options of resolv.conf(5); they win over those of the file and of `RES_OPTIONS`.
    #[arg(long, value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Without the lookup of the address that is connected to.
    #[arg(long)]
    pub without_reverse_lookup: bool,
    /// Prove the estimate: reproduce the case with CMD, without and with the change, and measure.
    #[arg(long, requires = "command")]
    pub prove: bool,
    /// The client of --prove, after `--`.
    #[arg(last = true, requires = "prove", value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<std::ffi::OsString>,
    /// The client's resolv.conf at the time of the run; replaces the one that the inputs hold. (`--resolv-conf` of
    /// analyze.)
    #[arg(long, value_name = "FILE", help_heading = "Reading")]
    pub recorded_resolv_conf: Option<PathBuf>,
    /// Options shared by everything that makes a report.
    #[command(flatten)]
    pub report: ReportArgs,
    /// How to read the files.
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// `presyn run`.
#[derive(Debug, Args)]
#[command(after_help = help::RUN, override_usage = "presyn run [OPTIONS] [--] CMD [ARG]...")]
pub struct RunArgs {
    /// The command and its arguments. Options after CMD are the command's own; `--` before CMD is permitted.
    #[arg(
        trailing_var_arg = true,
        required_unless_present = "pid",
        value_name = "CMD",
        value_hint = ValueHint::CommandWithArguments
    )]
    pub command: Vec<std::ffi::OsString>,
    /// Watch these processes instead, as presyn attach does.
    #[arg(
        short,
        long,
        value_name = "PID",
        conflicts_with = "command",
        help_heading = "Command"
    )]
    pub pid: Vec<u32>,
    /// Run the command as this user; under sudo, the default is the user who typed sudo.
    #[arg(short, long, value_name = "USER", help_heading = "Command", value_hint = ValueHint::Username)]
    pub user: Option<String>,
    /// The command sees this file as its /etc/resolv.conf; the rest of the host does not.
    #[arg(long, value_name = "FILE", help_heading = "Command")]
    pub resolv_conf: Option<PathBuf>,
    /// Run the command inside this container, as its first process's user and with that process's rights, and capture
    /// there. A name, an id or its beginning, POD/CONTAINER or NAMESPACE/POD/CONTAINER. Needs root.
    #[arg(
        long,
        value_name = "NAME|ID",
        conflicts_with_all = ["user", "resolv_conf", "netns", "allow_setuid"],
        help_heading = "Command"
    )]
    pub container: Option<String>,
    /// Run the command in this network namespace, and capture there: one that ip-netns(8) named (with its files in
    /// /etc/netns/NAME), a file, or the one of a process. Needs root.
    #[arg(long, value_name = "NAME|FILE|PID", help_heading = "Command")]
    pub netns: Option<String>,
    /// Let set-user-ID programs and those with file capabilities (sudo, ping) gain their rights below the command of an
    /// ordinary user; presyn then stays root while it traces. Needs root.
    #[arg(long, conflicts_with = "no_trace", help_heading = "Command")]
    pub allow_setuid: bool,
    /// Capture on this interface.
    #[arg(
        short,
        long,
        value_name = "IFACE",
        default_value = "any",
        help_heading = "Capture"
    )]
    pub interface: String,
    /// Bytes of each packet to capture.
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(64..=262_144), help_heading = "Capture")]
    pub snaplen: Option<i32>,
    /// Capture only packets that this pcap-filter(7) expression matches as well.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Capture")]
    pub filter: Option<String>,
    /// Retain the packets of all processes of the host. Without, only those of the command's and what explains them.
    #[arg(long, conflicts_with = "no_capture", help_heading = "Capture")]
    pub others: bool,
    /// Trace only.
    #[arg(long, conflicts_with = "no_trace", help_heading = "Capture")]
    pub no_capture: bool,
    /// For tcpdump's habit: presyn never resolves names.
    #[arg(short = 'n', hide = true)]
    pub numeric: bool,
    /// Capture only.
    #[arg(long, help_heading = "Trace")]
    pub no_trace: bool,
    /// Show which functions asked for names and connected: the user-space stack of those calls.
    #[arg(long, conflicts_with = "no_trace", help_heading = "Trace")]
    pub stacks: bool,
    /// Do not move fast-connecting threads onto one CPU with the tracer.
    #[arg(long, help_heading = "Trace")]
    pub no_pin: bool,
    /// What is saved and reported.
    #[command(flatten)]
    pub live: LiveArgs,
}

/// What is saved of a live run or a watch, and where its report goes.
#[derive(Debug, Args)]
pub struct LiveArgs {
    /// Save everything into this new case folder.
    #[arg(long, value_name = "CASE", help_heading = "Case", value_hint = ValueHint::DirPath)]
    pub save: Option<PathBuf>,
    /// Replace the case in an existing folder.
    #[arg(long, requires = "save", help_heading = "Case")]
    pub force: bool,
    /// Store arguments and environment as they are. Without, what looks like a password, a token or a key is masked.
    #[arg(long, help_heading = "Case")]
    pub keep_arguments: bool,
    /// Write the report into this file. Without, it goes to standard error (run) or standard output (attach).
    #[arg(long = "report", value_name = "FILE", help_heading = "Report")]
    pub report_file: Option<PathBuf>,
    /// Print a line on standard error when this holds: a finding, `delay>SECONDS` or `unanswered>N`. The exit status of run
    /// stays the command's, that of attach is 1. May be repeated.
    #[arg(
        long,
        value_name = "CONDITION",
        help_heading = "Report",
        value_parser = values::Conditions,
        hide_possible_values = true
    )]
    pub fail_on: Vec<String>,
    /// Print nothing on standard error but errors; run then reports only to --report.
    #[arg(short, long, help_heading = "Report")]
    pub quiet: bool,
    /// Print every event, and the rights that presyn retains.
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Report")]
    pub verbose: bool,
    /// Options shared by everything that makes a report.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `presyn attach`.
#[derive(Debug, Args)]
#[command(after_help = help::ATTACH)]
pub struct AttachArgs {
    /// Processes, with their descendants.
    #[arg(value_name = "PID", required_unless_present_any = ["unit", "container"])]
    pub pids: Vec<u32>,
    /// A unit of systemd's: all its processes.
    #[arg(long, value_name = "NAME", conflicts_with = "pids")]
    pub unit: Option<String>,
    /// A container, by its name or id: all its processes. No daemon is asked.
    #[arg(long, value_name = "NAME|ID", conflicts_with_all = ["pids", "unit"])]
    pub container: Option<String>,
    /// End after so many seconds. Without, at Ctrl-C or when the last process has ended.
    #[arg(long = "for", value_name = "SECONDS", value_parser = values::seconds)]
    pub duration: Option<f64>,
    /// End when a wait that was this long is over: for a resolver, or for the answer to a SYN. One that goes on ends the watch
    /// a minute later.
    #[arg(long, value_name = "SECONDS", value_parser = values::seconds)]
    pub until_delay: Option<f64>,
    /// Trace every call of the target, as strace -f -p does, instead of watching its sockets. Each call then stops its
    /// thread twice: services become several times slower while it lasts.
    #[arg(long, conflicts_with = "until_delay")]
    pub calls: bool,
    /// Capture on this interface of the target's network namespace.
    #[arg(
        short,
        long,
        value_name = "IFACE",
        default_value = "any",
        help_heading = "Capture"
    )]
    pub interface: String,
    /// Bytes of each packet to capture.
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(64..=262_144), help_heading = "Capture")]
    pub snaplen: Option<i32>,
    /// Capture only packets that this pcap-filter(7) expression matches as well.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Capture")]
    pub filter: Option<String>,
    /// For tcpdump's habit: presyn never resolves names.
    #[arg(short = 'n', hide = true)]
    pub numeric: bool,
    /// What is saved and reported.
    #[command(flatten)]
    pub live: LiveArgs,
}

impl From<RunArgs> for AttachArgs {
    /// `run -p PID`, as strace(1) has it.
    fn from(run: RunArgs) -> Self {
        Self {
            pids: run.pid,
            unit: None,
            container: None,
            calls: false,
            duration: None,
            until_delay: None,
            interface: run.interface,
            snaplen: run.snaplen,
            filter: run.filter,
            numeric: run.numeric,
            live: run.live,
        }
    }
}

/// `presyn reproduce`.
#[derive(Debug, Args)]
#[command(after_help = help::REPRODUCE, override_usage = "presyn reproduce [OPTIONS] CASE... -- CMD [ARG]...")]
pub struct Reproduce {
    /// A case folder, or the files of one run.
    #[arg(required = true, value_name = "CASE")]
    pub paths: Vec<PathBuf>,
    /// The client to run, after `--`. Without it the recorded command is printed: nothing of a case is ever executed.
    #[arg(last = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<std::ffi::OsString>,
    /// The change to try: with this resolv.conf.
    #[arg(long, value_name = "FILE", help_heading = "Change")]
    pub resolv_conf: Option<PathBuf>,
    /// With these options of resolv.conf(5) added.
    #[arg(long, value_name = "OPTIONS", help_heading = "Change")]
    pub options: Vec<String>,
    /// Without this resolver in resolv.conf.
    #[arg(long, value_name = "RESOLVER", help_heading = "Change")]
    pub without: Vec<std::net::IpAddr>,
    /// With this resolver answering at once: `'ADDRESS answers'`.
    #[arg(long, value_name = "FIX", help_heading = "Change")]
    pub fix: Vec<String>,
    /// With this hosts file.
    #[arg(long, value_name = "FILE", help_heading = "Change")]
    pub hosts: Option<PathBuf>,
    /// With this variable in the command's environment.
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Change")]
    pub env: Vec<String>,
    /// What questions get that the case does not hold; without, what the resolver did otherwise.
    #[arg(long, value_enum, value_name = "REPLY", help_heading = "Reproducing")]
    pub unknown: Option<UnknownQuestions>,
    /// Pass the client's connections on to this real server, the only way out of the namespaces: for TLS, whose servers cannot
    /// be played.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Reproducing")]
    pub forward: Option<String>,
    /// Leave `DBUS_*`, `*_PROXY`, `SSH_AUTH_SOCK` and `XDG_RUNTIME_DIR` in the command's environment.
    #[arg(long, help_heading = "Reproducing")]
    pub keep_env: bool,
    /// Leave the namespaces standing until Ctrl-C, and say how to enter them.
    #[arg(long, help_heading = "Reproducing")]
    pub keep: bool,
    /// Exit as the command did.
    #[arg(long, help_heading = "Reproducing")]
    pub pass_status: bool,
    /// Save the reproduced run into this new case folder.
    #[arg(long, value_name = "CASE", help_heading = "Case", value_hint = ValueHint::DirPath)]
    pub save: Option<PathBuf>,
    /// Replace the case in an existing folder.
    #[arg(long, requires = "save", help_heading = "Case")]
    pub force: bool,
    /// The client's resolv.conf at the time of the run; replaces the one that the inputs hold.
    #[arg(long, value_name = "FILE", help_heading = "Reading")]
    pub recorded_resolv_conf: Option<PathBuf>,
    /// Options shared by everything that makes a report.
    #[command(flatten)]
    pub report: ReportArgs,
    /// How to read the files.
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// What questions get that a case does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum UnknownQuestions {
    /// There is no such name.
    Nxdomain,
    /// No answer.
    Silent,
    /// An ICMP error.
    Refuse,
}

/// `presyn diff`.
#[derive(Debug, Args)]
#[command(after_help = help::DIFF)]
pub struct Diff {
    /// The run before: a case folder, a capture, a trace, or a report saved with --format json.
    pub before: PathBuf,
    /// The run after.
    pub after: PathBuf,
    /// How to write the comparison.
    #[arg(long, value_enum, default_value_t = DiffFormat::Text)]
    pub format: DiffFormat,
    /// Colours: on terminals only, unless said otherwise.
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Exit with 1 when a finding is new or costs more, or the client waits longer for a resolver, a service or a
    /// server.
    #[arg(long, value_enum, value_name = "CONDITION")]
    pub fail_on: Option<DiffCondition>,
}

/// Formats of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people.
    Text,
    /// For programs; see `presyn schema diff`.
    Json,
    /// For tickets and wikis, as GitHub writes it.
    Markdown,
}

/// Conditions of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffCondition {
    /// Something got worse.
    Worse,
}

/// What `presyn schema` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// The report of --format json.
    Report,
    /// A line of --format jsonl.
    Lines,
    /// The comparison of `presyn diff --format json`.
    Diff,
    /// The answers of `presyn whatif --format json`.
    Whatif,
}

/// How recorded files are read.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Reading")]
pub struct ReadingArgs {
    /// Time zone of the strace log, where it prints local time: UTC, +08:00 or a name like Asia/Shanghai.
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// Seconds to add to the trace's times; otherwise solved from calls and their packets.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub clock_offset: Option<f64>,
    /// Only these processes or threads of the trace.
    #[arg(short, long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only packets that this pcap-filter(7) expression matches.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// Only packets from and to this host.
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<std::net::IpAddr>,
    /// Only lookups of this name, and connections to the addresses that they gave.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only packets from this time on: RFC 3339, or seconds after the capture's first packet.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only packets up to this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Join a trace and a capture although they do not seem to be of one run.
    #[arg(long)]
    pub force_join: bool,
}

/// What shapes a report.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Colours: on terminals only, unless said otherwise.
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Only connections to this server: `HOST:PORT` or `:PORT`. HOST is an address (IPv6 in brackets), or a name that a
    /// lookup of the case or its hosts file resolves.
    #[arg(long, value_name = "HOST:PORT")]
    pub target: Option<String>,
    /// A port that DNS servers listen on, in addition to 53.
    #[arg(long, value_name = "PORT")]
    pub dns_port: Vec<u16>,
    /// Everything there is to say: details, lookups, connections, inputs and timetables too.
    #[arg(long)]
    pub full: bool,
    /// Print for each entry of the breakdown the commands that show its evidence.
    #[arg(long)]
    pub verify: bool,
    /// Do not truncate lists.
    #[arg(long)]
    pub all: bool,
}

/// Formats of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs; see `presyn schema`.
    Json,
    /// For tickets and wikis, as GitHub writes it; with the commands of --verify.
    Markdown,
    /// For databases: a line for each query, connection, delay and finding, of any number of cases; leaves nothing out.
    Jsonl,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}
