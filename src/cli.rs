//! What was typed. Validation and defaults are in [`settings`].

pub mod condition;
pub mod diff;
pub mod fallback;
pub mod help;
pub mod live;
pub mod manual;
pub mod offline;
pub mod output;
pub mod progress;
pub mod settings;
pub mod whatif;

use clap::{Args, Parser, Subcommand, ValueEnum};
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
    Run(Run),
    /// Say what the delay would have been with other name servers or options.
    Whatif(Whatif),
    /// Compare two runs of one client: what went away, what is new, what it gained.
    Diff(Diff),
    /// Say what this machine allows, and how to mend what it does not.
    #[command(after_help = help::CHECK)]
    Check,
    /// Say what a finding means and what to do about it.
    #[command(after_help = help::EXPLAIN)]
    Explain {
        /// A finding's id; without it, the list of all.
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
    /// A case folder, or captures and strace logs of one run in any order; `-` is standard input. Several
    /// folders are a case each.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Options shared by everything that makes a report.
    #[command(flatten)]
    pub report: ReportArgs,
    /// How to read the files.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// The client's resolv.conf.
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// Exit with 1 when this holds: a finding, `delay>SECONDS` or `unanswered>N`. May be repeated; one is enough.
    #[arg(long, value_name = "CONDITION")]
    pub fail_on: Vec<String>,
}

/// `presyn whatif`.
#[derive(Debug, Args)]
#[command(after_help = help::WHATIF)]
pub struct Whatif {
    /// A case folder, or captures and strace logs in any order; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Without this name server.
    #[arg(long, value_name = "RESOLVER")]
    pub without: Vec<std::net::IpAddr>,
    /// With this resolv.conf instead of the client's.
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// With these options of resolv.conf(5); they win over those of the file and of `RES_OPTIONS`.
    #[arg(long, value_name = "OPTIONS")]
    pub options: Vec<String>,
    /// Without the lookup of the address that is connected to.
    #[arg(long)]
    pub without_reverse_lookup: bool,
    /// The client's resolv.conf as it was, where the inputs do not hold it.
    #[arg(long, value_name = "FILE")]
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
#[command(after_help = help::RUN)]
pub struct Run {
    /// Capture on this interface.
    #[arg(short, long, value_name = "IFACE", default_value = "any")]
    pub interface: String,
    /// Bytes of each packet to capture.
    #[arg(short, long, value_name = "BYTES", value_parser = clap::value_parser!(i32).range(64..=262_144))]
    pub snaplen: Option<i32>,
    /// Capture in the network namespace of a process, or in one that ip-netns(8) named.
    #[arg(long, value_name = "PID|NAME")]
    pub netns: Option<String>,
    /// Capture only packets that this pcap-filter(7) expression keeps as well.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// For tcpdump's habit: presyn never resolves names.
    #[arg(short = 'n', hide = true)]
    pub numeric: bool,
    /// Run the command as this user; under sudo, as the one who typed it.
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Let set-user-ID programs and those with file capabilities (sudo, ping) gain their rights below the command of an
    /// ordinary user; presyn then stays root while it traces. Takes root.
    #[arg(long, conflicts_with = "no_trace")]
    pub allow_setuid: bool,
    /// Save everything into this new case folder.
    #[arg(long, value_name = "CASE")]
    pub save: Option<PathBuf>,
    /// Replace the case in an existing folder.
    #[arg(long, requires = "save")]
    pub force: bool,
    /// Keep the packets of all processes of the host. Without, only those of the command's and what explains them.
    #[arg(long, conflicts_with = "no_capture")]
    pub others: bool,
    /// Store arguments and environment as they are. Without, what looks like a password, a token or a key is masked.
    #[arg(long)]
    pub keep_arguments: bool,
    /// Write the report into this file instead of standard error.
    #[arg(long = "report", value_name = "FILE")]
    pub report_file: Option<PathBuf>,
    /// The command sees this file as /etc/resolv.conf; nobody else does.
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// Trace only.
    #[arg(long, conflicts_with = "no_trace")]
    pub no_capture: bool,
    /// Capture only.
    #[arg(long)]
    pub no_trace: bool,
    /// Do not move fast-connecting threads onto one CPU with the tracer.
    #[arg(long)]
    pub no_pin: bool,
    /// Tell which functions asked for names and connected: the user-space stack of those calls.
    #[arg(long, conflicts_with = "no_trace")]
    pub stacks: bool,
    /// Say nothing while the command runs, and report only to --report.
    #[arg(short, long)]
    pub quiet: bool,
    /// Say every event, and what rights were kept.
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Options shared by everything that makes a report.
    #[command(flatten)]
    pub report: ReportArgs,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<std::ffi::OsString>,
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
#[derive(Debug, Args)]
pub struct ReadingArgs {
    /// Time zone of the strace log, where it prints local time: UTC, +08:00 or a name like Asia/Shanghai.
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// Seconds to add to the trace's times; otherwise solved from calls and their packets.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub clock_offset: Option<f64>,
    /// Only packets that this pcap-filter(7) expression keeps.
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
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Colours: on terminals only, unless said otherwise.
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Only these processes or threads of the trace.
    #[arg(short, long, value_name = "PID")]
    pub pid: Vec<u32>,
    /// Only connections to this server: an `ADDRESS:PORT` (IPv6 in brackets), or `:PORT`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub target: Option<String>,
    /// A port that DNS servers listen on, beside 53.
    #[arg(long, value_name = "PORT")]
    pub dns_port: Vec<u16>,
    /// Everything there is to say: details, lookups, connections, inputs and timetables too.
    #[arg(long)]
    pub full: bool,
    /// Print for each entry of the breakdown the commands that show its evidence.
    #[arg(long)]
    pub verify: bool,
    /// Leave nothing out of the lists.
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
