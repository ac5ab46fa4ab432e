//! What was typed. Validation and defaults are in [`settings`].

pub mod live;
pub mod progress;
pub mod settings;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Why did my client wait before its SYN?
#[derive(Debug, Parser)]
#[command(
    name = "presyn",
    version,
    about,
    max_term_width = 100,
    propagate_version = true
)]
#[command(
    after_help = "Exit status of analyze: 0 done; 1 a --fail-on condition holds; 2 unusable input or usage; 3 a report \
was printed, but from damaged input; 130 Ctrl-C, with a report about what was read."
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
    /// Say what this machine allows, and how to mend what it does not.
    Check,
    /// Say what a finding means and what to do about it.
    Explain {
        /// A finding's id; without it, the list of all.
        finding: Option<String>,
    },
    /// Print the JSON schema of the report.
    Schema,
}

/// `presyn analyze`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  presyn analyze case/\n  presyn analyze slow.pcap strace.log\n  \
presyn analyze --format json --resolv-conf resolv.conf slow.pcap strace.log"
)]
pub struct Analyze {
    /// A case folder, or captures and strace logs in any order; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Options shared by everything that makes a report.
    #[command(flatten)]
    pub report: ReportArgs,
    /// Time zone of the strace log, where it prints local time: UTC, +08:00 or a name like Asia/Shanghai.
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// Seconds to add to the trace's times; otherwise solved from calls and their packets.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub clock_offset: Option<f64>,
    /// Only packets that this pcap-filter(7) expression keeps.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// The client's resolv.conf.
    #[arg(long, value_name = "FILE")]
    pub resolv_conf: Option<PathBuf>,
    /// Exit with 1 when this finding is among the findings, or when `delay>SECONDS` holds.
    #[arg(long, value_name = "FINDING|delay>SECONDS")]
    pub fail_on: Vec<String>,
}

/// `presyn run`.
#[derive(Debug, Args)]
#[command(
    after_help = "The report goes to standard error, or to --report FILE; standard output is the command's own.\n\
presyn ends as the command ends (125-127 as env(1) when it could not be run).\n\nExamples:\n  \
sudo presyn run -- curl -s http://web.example/\n  sudo presyn run --save case/ -- zkCli.sh -server 192.168.110.231:8998"
)]
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
    /// Save everything into this new case folder.
    #[arg(long, value_name = "CASE")]
    pub save: Option<PathBuf>,
    /// Write into an existing folder.
    #[arg(long, requires = "save")]
    pub force: bool,
    /// Write the report into this file instead of standard error.
    #[arg(long = "report", value_name = "FILE")]
    pub report_file: Option<PathBuf>,
    /// Trace only.
    #[arg(long, conflicts_with = "no_trace")]
    pub no_capture: bool,
    /// Capture only.
    #[arg(long)]
    pub no_trace: bool,
    /// Do not move fast-connecting threads onto one CPU with the tracer.
    #[arg(long)]
    pub no_pin: bool,
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
    #[arg(long, value_name = "HOST:PORT")]
    pub target: Option<String>,
    /// A port that DNS servers listen on, beside 53.
    #[arg(long, value_name = "PORT")]
    pub dns_port: Vec<u16>,
    /// Print for each entry of the account the commands that show its evidence.
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
